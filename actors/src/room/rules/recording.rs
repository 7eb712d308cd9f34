//! What is recorded, when, and what is told of it.

use caside_protocol::rest::RecordingState;
use caside_protocol::server::RecordingFinished;
use caside_protocol::{ParticipantId, RecordingId};

use super::*;
use crate::ports::RecorderEvent;

#[test]
fn two_talk_directly_and_a_third_or_a_recording_moves_them_to_the_sfu_for_good() {
    let mut trial = Trial::new(room(Mode::Auto));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    assert_eq!(joined_mode(&trial), Mode::P2p);
    trial.events(ada);
    let eve = trial.join(3, "eve");
    assert_eq!(joined_mode(&trial), Mode::Sfu);
    assert_eq!(trial.events(ada), ["mode-changed", "peer-joined"]);
    assert_eq!(trial.events(eve), Vec::<&str>::new());
    trial.apply(Command::Leave {
        participant: eve,
        reply: None,
    });
    trial.apply(Command::Leave {
        participant: bob,
        reply: None,
    });
    trial.join(4, "bob");
    assert_eq!(joined_mode(&trial), Mode::Sfu);

    let mut trial = Trial::new(room(Mode::Auto));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    assert_eq!(trial.outcome(ada, "start-recording", &json!({})), "later");
    assert_eq!(trial.events(bob), ["mode-changed"]);

    let mut always = room(Mode::Auto);
    always.record = RecordPolicy::Auto;
    let mut trial = Trial::new(always);
    trial.join(1, "ada");
    assert_eq!(joined_mode(&trial), Mode::Sfu);
}

#[test]
fn a_recording_is_one_at_a_time_and_hears_of_every_track() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    assert_eq!(trial.outcome(ada, "stop-recording", &json!({})), "recording_not_found");
    trial.publish(bob, track(1), TrackKind::Audio);
    trial.events(bob);
    assert_eq!(trial.outcome(ada, "start-recording", &json!({})), "later");
    assert_eq!(trial.outcome(ada, "start-recording", &json!({})), "later");
    let recording = trial.recorders_started[0];
    trial.apply(Command::RecorderStarted {
        recording,
        failure: None,
    });
    assert_eq!(trial.recorders_started.len(), 1);
    assert_eq!(trial.events(bob), ["recording-started", "call-state-changed"]);
    assert_eq!(trial.outcome(ada, "start-recording", &json!({})), "ok");
    trial.publish(ada, track(2), TrackKind::Video);
    trial.outcome(bob, "mute", &json!({ "track": track(1).to_string() }));
    trial.apply(Command::Leave {
        participant: bob,
        reply: None,
    });
    assert_eq!(trial.outcome(ada, "stop-recording", &json!({})), "ok");
    assert_eq!(trial.outcome(ada, "stop-recording", &json!({})), "ok");
    let (one, two) = (track(1), track(2));
    let want = [
        format!("published {one}"),
        format!("published {two}"),
        format!("paused {one} true"),
        format!("unpublished {one}"),
        "stop".to_owned(),
    ];
    assert_eq!(trial.recorder_orders, want);
    assert_eq!(
        trial.events(ada).iter().filter(|e| **e == "recording-stopped").count(),
        1
    );
}

#[test]
fn a_recorder_that_does_not_start_or_fails_is_told() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let ada = trial.join(1, "ada");
    trial.outcome(ada, "start-recording", &json!({}));
    let recording = trial.recorders_started[0];
    trial.apply(Command::RecorderStarted {
        recording,
        failure: Some("disk full".to_owned()),
    });
    let Some(ServerMessage::Error(error)) = trial.answers.values().next_back() else {
        panic!("not refused")
    };
    assert_eq!(error.code, ErrorCode::DependencyUnavailable);
    assert!(matches!(
        trial.journal.last(),
        Some(JournalEntry::RecordingState { .. })
    ));

    trial.outcome(ada, "start-recording", &json!({}));
    let recording = trial.recorders_started[1];
    trial.apply(Command::RecorderStarted {
        recording,
        failure: None,
    });
    let failed = RecorderEvent::Failed {
        reason: "disk full".to_owned(),
    };
    trial.apply(Command::Recorder {
        recording,
        event: failed,
    });
    let want = [
        "recording-started",
        "call-state-changed",
        "recording-stopped",
        "call-state-changed",
    ];
    assert_eq!(trial.events(ada), want);

    // One that is there only after its recording was stopped is stopped.
    trial.outcome(ada, "start-recording", &json!({}));
    trial.outcome(ada, "stop-recording", &json!({}));
    assert!(trial.recorder_orders.is_empty());
    trial.apply(Command::RecorderStarted {
        recording: trial.recorders_started[2],
        failure: None,
    });
    assert_eq!(trial.recorder_orders, ["stop"]);
}

fn finished(recording_id: RecordingId) -> RecorderEvent {
    RecorderEvent::Finished(Box::new(RecordingFinished {
        recording_id,
        state: RecordingState::Ready,
        error: None,
        duration_ms: 2_000,
        size_bytes: 0,
        files: Vec::new(),
    }))
}

#[test]
fn the_files_of_a_recording_are_told_once_to_those_in_its_call() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let ada = trial.join(1, "ada");
    let record = |trial: &mut Trial, by: ParticipantId, nth: usize| {
        trial.outcome(by, "start-recording", &json!({}));
        let recording = trial.recorders_started[nth];
        trial.apply(Command::RecorderStarted {
            recording,
            failure: None,
        });
        recording
    };
    let first = record(&mut trial, ada, 0);
    trial.outcome(ada, "stop-recording", &json!({}));
    // The next one runs while the files of the first are made.
    let second = record(&mut trial, ada, 1);
    trial.events(ada);
    for _ in 0..2 {
        trial.apply(Command::Recorder {
            recording: first,
            event: finished(first),
        });
    }
    assert_eq!(trial.events(ada), ["recording-finished"]);
    // A recorder that failed is over first.
    trial.apply(Command::Recorder {
        recording: second,
        event: finished(second),
    });
    let want = ["recording-stopped", "call-state-changed", "recording-finished"];
    assert_eq!(trial.events(ada), want);
    // Another call of the room does not hear of those of the one before.
    let third = record(&mut trial, ada, 2);
    trial.apply(Command::Leave {
        participant: ada,
        reply: None,
    });
    let bob = trial.join(2, "bob");
    trial.events(bob);
    trial.apply(Command::Recorder {
        recording: third,
        event: finished(third),
    });
    assert_eq!(trial.events(bob), Vec::<&str>::new());
}

#[test]
fn what_is_recorded_follows_the_rooms_policy_and_mode() {
    let off = |r: &mut caside_store::rooms::StoredRoom| r.record = RecordPolicy::Off;
    let mut configured = room(Mode::Sfu);
    off(&mut configured);
    let mut trial = Trial::new(configured);
    let ada = trial.join(1, "ada");
    assert_eq!(trial.outcome(ada, "start-recording", &json!({})), "forbidden");

    let mut trial = Trial::new(room(Mode::P2p));
    let ada = trial.join(1, "ada");
    assert_eq!(trial.outcome(ada, "start-recording", &json!({})), "forbidden");

    let mut configured = room(Mode::Sfu);
    configured.record = RecordPolicy::Auto;
    let mut trial = Trial::new(configured);
    let ada = trial.join(1, "ada");
    assert!(trial.recorders_started.is_empty());
    trial.publish(ada, track(1), TrackKind::Audio);
    let recording = trial.recorders_started[0];
    trial.apply(Command::RecorderStarted {
        recording,
        failure: None,
    });
    assert_eq!(trial.outcome(ada, "stop-recording", &json!({})), "ok");
    trial.publish(ada, track(2), TrackKind::Video);
    assert_eq!(trial.recorders_started.len(), 1, "stopping it holds");
}
