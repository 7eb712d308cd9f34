//! A room at its next owner: who is in it, what they publish, what is recorded.

use caside_protocol::node::{decode, encode};
use caside_protocol::server::MoveReason;
use caside_protocol::{ParticipantId, TrackId};

use super::*;
use crate::room::snapshot::Snapshot;

/// The room as its next owner begins with it.
fn taken_over(trial: &Trial, reason: MoveReason) -> Trial {
    let bytes = encode(&trial.state.snapshot(reason == MoveReason::Drain)).unwrap();
    let snapshot: Snapshot = decode(&bytes).unwrap();
    assert_eq!(
        snapshot,
        trial.state.snapshot(reason == MoveReason::Drain),
        "it is read as it was written"
    );
    Trial::taking_over(snapshot, reason)
}

fn here(trial: &mut Trial, who: ParticipantId, last_seq: u64) {
    trial.apply(Command::Here {
        participant: who,
        last_seq,
        connected: true,
    });
}

#[test]
fn participants_are_the_same_and_their_numbers_go_on() {
    let mut before = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (before.join(1, "ada"), before.join(2, "bob"));
    before.outcome(bob, "chat", &json!({ "text": "not kept" }));
    let mut after = taken_over(&before, MoveReason::Failover);
    assert_eq!(after.state.view().call_id, before.state.view().call_id);
    assert_eq!(after.state.len(), 2);
    // Nothing is said to who has not spoken up, and what was said before is not known: numbers go on after what was seen.
    assert!(after.told.values().all(Vec::is_empty));
    here(&mut after, ada, 7);
    let (seq, moved) = after.told[&ada].first().cloned().unwrap();
    assert_eq!((seq, moved.kind()), (8, "room-moved"));
    let ServerMessage::RoomMoved(moved) = &*moved else {
        panic!()
    };
    assert_eq!(moved.room_state.as_ref().unwrap().participants[0].participant_id, bob);
    assert_eq!(moved.you.as_ref().unwrap().participant_id, ada);
    assert_eq!(after.events(bob), [""; 0]);
    // Who does not come leaves when the grace time is over.
    after.pass(Duration::from_secs(16));
    let told = after.events(ada);
    assert_eq!(told[..2], ["room-moved", "connection-quality"], "as it moves, and why");
    assert_eq!(told.iter().filter(|kind| **kind == "peer-left").count(), 1);
    assert_eq!(after.released.len(), 1);
}

#[test]
fn a_room_that_is_handed_over_takes_along_what_was_not_seen() {
    let mut before = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (before.join(1, "ada"), before.join(2, "bob"));
    for text in ["one", "two", "three"] {
        before.outcome(bob, "chat", &json!({ "text": text }));
    }
    let mut after = taken_over(&before, MoveReason::Drain);
    // She saw that Bob came, and the first of the three.
    here(&mut after, ada, 2);
    let told: Vec<_> = after.told[&ada]
        .iter()
        .map(|(seq, message)| (*seq, message.kind()))
        .collect();
    assert_eq!(told, [(3, "chat"), (4, "chat"), (5, "room-moved")]);
}

#[test]
fn tracks_keep_their_ids_and_nobody_is_told_of_them() {
    let mut before = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (before.join(1, "ada"), before.join(2, "bob"));
    before.publish(ada, track(1), TrackKind::Audio);
    before.publish(ada, track(2), TrackKind::Video);
    before.outcome(ada, "mute", &json!({ "track": track(1).to_string() }));
    let mut after = taken_over(&before, MoveReason::Failover);
    here(&mut after, ada, 0);
    here(&mut after, bob, 0);
    after.events(bob);
    assert_eq!(after.state.view().participants[0].tracks.len(), 2, "they are expected");
    // A wish for one is kept until it is there.
    let wish = json!({ "track": track(1).to_string(), "quality": "low" });
    assert_eq!(after.outcome(bob, "subscribe", &wish), "ok");
    assert_eq!(after.outcome(ada, "subscribe", &wish), "not_found");
    after.publish(ada, track(1), TrackKind::Audio);
    assert_eq!(after.events(bob), [""; 0], "the track is as they know it");
    let orders = after.sfu_orders.join(" ");
    assert!(
        orders.contains("paused true") && orders.contains("subscribe"),
        "{orders}"
    );
    // The other is not published again in time.
    after.pass(Duration::from_secs(31));
    let told = after.events(bob);
    assert_eq!(
        told,
        ["track-unpublished", "connection-quality"],
        "he is not kept from anything any more"
    );
    assert_eq!(after.state.view().participants[0].tracks.len(), 1);
}

#[test]
fn only_ones_own_tracks_that_are_expected_go_on() {
    let mut before = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (before.join(1, "ada"), before.join(2, "bob"));
    before.publish(ada, track(1), TrackKind::Audio);
    let mut after = taken_over(&before, MoveReason::Failover);
    here(&mut after, ada, 0);
    here(&mut after, bob, 0);
    let claim = |id: TrackId| json!({ "sdp": "v=0", "tracks": { "0": { "track": id.to_string() }, "1": { "track": id.to_string() } } });
    for (who, want) in [(bob, [None, None]), (ada, [Some(track(1)), None])] {
        after.outcome(who, "offer", &claim(track(1)));
        let mut said: Vec<_> = after.last_sources.values().map(|source| source.track).collect();
        said.sort_unstable_by_key(Option::is_none);
        assert_eq!(said, want);
    }
}

#[test]
fn a_recording_goes_on_as_the_same_one() {
    let mut before = Trial::new(room(Mode::Sfu));
    let ada = before.join(1, "ada");
    before.outcome(ada, "start-recording", &json!({}));
    let recording = *before.recorders_started.last().unwrap();
    before.apply(Command::RecorderStarted {
        recording,
        failure: None,
    });
    before.publish(ada, track(1), TrackKind::Audio);
    let mut after = taken_over(&before, MoveReason::Failover);
    assert_eq!(after.recorders_started, [recording]);
    here(&mut after, ada, 0);
    after.apply(Command::RecorderStarted {
        recording,
        failure: None,
    });
    after.publish(ada, track(1), TrackKind::Audio);
    let told = after.events(ada);
    assert_eq!(
        told,
        ["room-moved", "connection-quality"],
        "it is not told as one that begins"
    );
    assert_eq!(after.recorder_orders, [format!("published {}", track(1))]);
    assert_eq!(after.outcome(ada, "stop-recording", &json!({})), "ok");
}

#[test]
fn a_resume_at_the_next_owner_brings_the_room_as_it_is() {
    let mut before = Trial::new(room(Mode::Sfu));
    let ada = before.join(1, "ada");
    let mut after = taken_over(&before, MoveReason::Failover);
    after.apply(Command::Resume {
        participant: ada,
        last_seq: 41,
    });
    assert_eq!(after.resumed, [Some((true, vec![]))]);
    assert_eq!(
        after.told[&ada].first().map(|(seq, message)| (*seq, message.kind())),
        Some((42, "room-moved"))
    );
    after.pass(Duration::from_secs(60));
    assert_eq!(after.state.len(), 1);
}
