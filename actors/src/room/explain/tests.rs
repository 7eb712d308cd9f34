//! Rooms that are told what happened, and say what is wrong.

use std::time::Duration;

use caside_protocol::ParticipantId;
use caside_protocol::client::Target;
use caside_protocol::error::Refusal;
use caside_protocol::explain::{CauseCode, ExplainedCall};
use caside_protocol::server::{MoveReason, ServerMessage};
use caside_protocol::view::{Mode, Quality, TrackKind};
use caside_protocol::{ErrorCode, ParticipantId as Id};
use caside_store::JournalEntry;

use crate::room::command::Command;
use crate::room::trial::{Trial, participant, published, room, track};
use crate::sfu::{ConnectionStep, SfuEvent, TrackStep};

fn step(participant: Id, step: ConnectionStep) -> Command {
    Command::Sfu(SfuEvent::ConnectionStep {
        participant,
        target: Target::Publish,
        connection: 1,
        step,
    })
}

const OFFERED: ConnectionStep = ConnectionStep::Offered {
    udp: true,
    tcp: true,
    reached: false,
};

/// What a participant was told of connections: of whom, how good, and why.
fn heard(trial: &Trial, who: ParticipantId) -> Vec<(ParticipantId, Quality, Option<String>)> {
    let told = trial.told.get(&who).map(Vec::as_slice).unwrap_or_default();
    told.iter()
        .filter_map(|(_, message)| match &**message {
            ServerMessage::ConnectionQuality(it) => Some((it.participant_id, it.quality, it.cause.clone())),
            _ => None,
        })
        .collect()
}

fn codes(explained: &ExplainedCall) -> Vec<CauseCode> {
    let current = explained.causes.iter().filter(|cause| cause.until.is_none());
    current.map(|cause| cause.code).collect()
}

fn due(trial: &mut Trial) {
    trial.clock = trial.state.next_deadline().unwrap();
    trial.apply(Command::Tick);
}

#[test]
fn a_client_that_nothing_comes_of_is_told_why_and_told_when_it_is_over() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    trial.apply(step(bob, ConnectionStep::Checked { tcp: false }));
    trial.apply(step(ada, OFFERED));
    due(&mut trial);
    let word = Some("udp_blocked".to_owned());
    assert_eq!(heard(&trial, ada), [(ada, Quality::Poor, word.clone())]);
    assert_eq!(heard(&trial, bob), [(ada, Quality::Poor, word)]);
    let explained = trial.state.explained();
    assert_eq!(codes(&explained), [CauseCode::UdpBlocked]);
    assert_eq!(explained.causes[0].participant_id, Some(ada));
    assert!(explained.timeline.iter().any(|entry| entry.what == "udp_blocked"));

    trial.apply(step(ada, ConnectionStep::Checked { tcp: false }));
    trial.apply(step(ada, ConnectionStep::Connected));
    trial.apply(Command::Sfu(SfuEvent::Connected {
        participant: ada,
        target: Target::Publish,
    }));
    assert_eq!(heard(&trial, ada).last(), Some(&(ada, Quality::Good, None)));
    let explained = trial.state.explained();
    assert_eq!(codes(&explained), []);
    assert!(explained.causes[0].until.is_some(), "what was is still told");
    assert_eq!(explained.participants[0].publish, "secured");
}

#[test]
fn a_codec_mismatch_is_a_cause_until_an_offer_is_taken() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let ada = trial.join(1, "ada");
    let answered = |result| {
        Command::Sfu(SfuEvent::PublishAnswered {
            participant: ada,
            request: 1,
            result,
            published: Vec::new(),
            unpublished: Vec::new(),
        })
    };
    trial.apply(answered(Err(Refusal::new(ErrorCode::NoCommonCodec, "none of H265"))));
    assert_eq!(codes(&trial.state.explained()), [CauseCode::CodecMismatch]);
    assert_eq!(heard(&trial, ada), [], "the error says it");
    trial.apply(answered(Ok((String::new(), Default::default()))));
    assert_eq!(codes(&trial.state.explained()), []);
}

#[test]
fn a_picture_without_key_frame_is_asked_for_one_and_then_told_of() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let ada = trial.join(1, "ada");
    let camera = published(ada, track(1), TrackKind::Video);
    trial.apply(step(ada, OFFERED));
    trial.apply(step(ada, ConnectionStep::Checked { tcp: false }));
    trial.apply(step(ada, ConnectionStep::Connected));
    trial.apply(Command::Sfu(SfuEvent::PublishAnswered {
        participant: ada,
        request: 1,
        result: Ok((String::new(), Default::default())),
        published: vec![camera],
        unpublished: Vec::new(),
    }));
    trial.apply(Command::Sfu(SfuEvent::Connected {
        participant: ada,
        target: Target::Publish,
    }));
    trial.apply(Command::Sfu(SfuEvent::TrackStep {
        participant: ada,
        track: track(1),
        step: TrackStep::Started,
    }));
    due(&mut trial);
    assert!(trial.state.explained().causes.is_empty());
    due(&mut trial);
    assert_eq!(codes(&trial.state.explained()), [CauseCode::NoKeyFrame]);
    assert_eq!(
        heard(&trial, ada),
        [(ada, Quality::Poor, Some("no_key_frame".to_owned()))]
    );
}

#[test]
fn while_the_directory_is_away_each_is_told_once_and_of_themself() {
    let mut trial = Trial::new(room(Mode::P2p));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    for _ in 0..2 {
        trial.apply(Command::DirectoryAway(true));
    }
    for who in [ada, bob] {
        assert_eq!(
            heard(&trial, who),
            [(who, Quality::Good, Some("directory_away".to_owned()))]
        );
    }
    assert_eq!(codes(&trial.state.explained()), [CauseCode::DirectoryAway]);
    trial.apply(Command::DirectoryAway(false));
    assert_eq!(heard(&trial, ada).last(), Some(&(ada, Quality::Good, None)));
}

#[test]
fn a_room_that_outlived_its_node_says_so_when_its_people_are_back() {
    let mut first = Trial::new(room(Mode::Sfu));
    let ada = first.join(1, "ada");
    let mut trial = Trial::taking_over(first.state.snapshot(false), MoveReason::Failover);
    assert_eq!(codes(&trial.state.explained()), [CauseCode::OwnerLost]);
    trial.apply(Command::Here {
        participant: ada,
        last_seq: 0,
        connected: true,
    });
    let word = Some("owner_lost".to_owned());
    assert_eq!(heard(&trial, ada), [(ada, Quality::Poor, word)]);
    trial.apply(Command::Sfu(SfuEvent::Connected {
        participant: ada,
        target: Target::Publish,
    }));
    assert_eq!(heard(&trial, ada).last(), Some(&(ada, Quality::Good, None)));
}

#[test]
fn a_call_that_went_badly_is_written_down_when_it_ends_and_no_other() {
    let written = |trial: &Trial| {
        let entries = trial.journal.iter();
        entries
            .filter(|entry| matches!(entry, JournalEntry::CallExplained { .. }))
            .count()
    };
    let mut well = Trial::new(room(Mode::Sfu));
    let ada = well.join(1, "ada");
    well.apply(Command::Leave {
        participant: ada,
        reply: None,
    });
    assert_eq!(written(&well), 0);

    let mut badly = Trial::new(room(Mode::Sfu));
    let ada = badly.join(1, "ada");
    badly.apply(step(ada, OFFERED));
    due(&mut badly);
    badly.apply(Command::Leave {
        participant: ada,
        reply: None,
    });
    assert_eq!(written(&badly), 1);
    let Some(JournalEntry::CallExplained { explained, .. }) = badly.journal.last() else {
        panic!("it is the last entry");
    };
    let explained: ExplainedCall = serde_json::from_value(explained.clone()).unwrap();
    assert_eq!(explained.status, "ended");
    assert_eq!(explained.causes[0].code, CauseCode::AddressUnreachable);
    assert_eq!(explained.participants[0].user.as_str(), "ada");
    assert!(explained.timeline.iter().any(|entry| entry.what == "left"));
}

#[test]
fn the_same_word_is_not_told_twice() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let ada = trial.join(1, "ada");
    trial.apply(step(ada, OFFERED));
    trial.apply(Command::Sfu(SfuEvent::Disconnected {
        participant: ada,
        target: Target::Publish,
        cause: "fingerprint_mismatch",
    }));
    let word = Some("fingerprint_mismatch".to_owned());
    assert_eq!(heard(&trial, ada), [(ada, Quality::Poor, word)]);
    assert_eq!(codes(&trial.state.explained()), [CauseCode::FingerprintMismatch]);
}

#[test]
fn a_room_in_which_nothing_happens_asks_for_no_clock() {
    let mut trial = Trial::new(room(Mode::P2p));
    trial.join(1, "ada");
    trial.clock += Duration::from_secs(1);
    assert_eq!(trial.state.next_deadline(), None);
    assert_eq!(trial.state.explained().participants[0].participant_id, participant(1));
}
