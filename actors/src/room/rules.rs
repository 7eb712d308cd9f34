//! The rules of a room, one by one.

use std::time::Duration;

use caside_protocol::server::ServerMessage;
use caside_protocol::view::{Mode, RecordPolicy, TrackKind};
use caside_protocol::{CallId, ErrorCode, Grants, Role};
use caside_store::JournalEntry;
use serde_json::json;
use uuid::Uuid;

use super::command::{Act, Authority, Command, Standing};
use super::effects::{ReleaseCause, Report};
use super::trial::{Trial, participant, published, room, track, user};
use crate::sfu::SfuEvent;

fn role_of(trial: &Trial, n: u128) -> Role {
    let view = trial.state.view();
    view.participants
        .iter()
        .find(|p| p.participant_id == participant(n))
        .expect("inside")
        .role
}

fn joined_mode(trial: &Trial) -> Mode {
    let last = trial.answers.values().next_back().expect("answered");
    let ServerMessage::Joined(joined) = last else {
        panic!("not joined: {last:?}")
    };
    joined.room_state.mode
}

#[test]
fn the_role_is_the_tokens_then_the_owners_then_a_participants() {
    for (name, explicit, want) in [
        ("ada", None, Role::Host),
        ("ada", Some(Role::Viewer), Role::Viewer),
        ("bob", None, Role::Participant),
        ("bob", Some(Role::Moderator), Role::Moderator),
    ] {
        let mut trial = Trial::new(room(Mode::Sfu));
        trial.join_as(1, name, explicit, Grants::default());
        assert_eq!(role_of(&trial, 1), want, "{name} {explicit:?}");
    }
}

#[test]
fn a_lock_keeps_out_newcomers_below_moderator_but_not_who_resumes() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    assert_eq!(trial.outcome(bob, "lock", &json!({})), "forbidden");
    assert_eq!(trial.outcome(ada, "lock", &json!({})), "ok");
    trial.join(3, "eve");
    trial.join_as(4, "mod", Some(Role::Moderator), Grants::default());
    assert_eq!(trial.refused, [(participant(3), ErrorCode::RoomLocked)]);
    trial.apply(Command::Lost { participant: bob });
    trial.apply(Command::Resume {
        participant: bob,
        last_seq: 1,
    });
    assert!(trial.resumed[0].is_some());
    assert_eq!(trial.outcome(ada, "unlock", &json!({})), "ok");
    trial.join(3, "eve");
    assert_eq!(trial.refused.len(), 1);
    let locks = trial
        .journal
        .iter()
        .filter(|e| matches!(e, JournalEntry::RoomLocked { .. }))
        .count();
    assert_eq!(locks, 2);
}

#[test]
fn a_room_takes_as_many_as_it_may_and_the_nodes_limit_is_above_its_own() {
    for (own, node, want) in [(0, 2, 2), (3, 100, 3), (5, 2, 2)] {
        let mut configured = room(Mode::Sfu);
        configured.max_participants = own;
        let mut trial = Trial::with(configured, |setup| setup.max_size = node);
        for n in 1..=6 {
            trial.join(n, "bob");
        }
        assert_eq!(trial.state.len(), want, "own {own}, node {node}");
        assert!(trial.refused.iter().all(|(_, code)| *code == ErrorCode::RoomFull));
    }
}

#[test]
fn a_dropped_participant_is_lost_then_back_or_after_the_grace_time_gone() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    trial.events(ada);
    trial.apply(Command::Lost { participant: bob });
    trial.pass(Duration::from_millis(14_999));
    trial.apply(Command::Resume {
        participant: bob,
        last_seq: 0,
    });
    assert_eq!(trial.events(ada), ["connection-quality", "connection-quality"]);
    trial.pass(Duration::from_secs(60));
    assert_eq!(trial.state.len(), 2);
    trial.apply(Command::Lost { participant: bob });
    assert_eq!(trial.state.next_deadline(), Some(trial.clock + Duration::from_secs(15)));
    trial.pass(Duration::from_secs(15));
    assert_eq!(trial.events(ada), ["connection-quality", "peer-left"]);
    assert_eq!(trial.released, [(bob, ReleaseCause::GraceOver)]);
    assert_eq!(trial.state.next_deadline(), None);
}

#[test]
fn what_a_lost_participant_missed_comes_with_the_resume_or_the_room_as_it_is() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    trial.apply(Command::Lost { participant: bob });
    for _ in 0..3 {
        trial.outcome(ada, "chat", &json!({ "text": "hi" }));
    }
    trial.apply(Command::Resume {
        participant: bob,
        last_seq: 1,
    });
    assert_eq!(trial.resumed.pop().unwrap(), Some((false, vec![2, 3])));
    for _ in 0..300 {
        trial.outcome(ada, "chat", &json!({ "text": "hi" }));
    }
    trial.apply(Command::Resume {
        participant: bob,
        last_seq: 3,
    });
    assert_eq!(trial.resumed.pop().unwrap(), Some((true, vec![])));
    trial.apply(Command::Resume {
        participant: bob,
        last_seq: 304,
    });
    assert_eq!(trial.resumed.pop().unwrap(), None);
}

#[test]
fn one_call_lasts_from_the_first_join_to_the_last_leave_and_takes_up_the_one_that_waits() {
    let waiting = CallId(Uuid::from_u128(99));
    let mut trial = Trial::with(room(Mode::Sfu), |setup| setup.waiting_call = Some(waiting));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    assert_eq!(trial.state.call(), Some(waiting));
    trial.apply(Command::Leave {
        participant: ada,
        reply: None,
    });
    assert_eq!(trial.state.call(), Some(waiting));
    trial.apply(Command::Leave {
        participant: bob,
        reply: None,
    });
    assert_eq!(trial.state.call(), None);
    trial.join(3, "ada");
    assert!(trial.state.call().is_some_and(|call| call != waiting));
    let ended = trial
        .journal
        .iter()
        .position(|e| matches!(e, JournalEntry::CallEnded { .. }))
        .unwrap();
    assert!(matches!(trial.journal[0], JournalEntry::CallStarted(_)));
    assert_eq!(ended, 5, "after its start, two joins and two leaves");
}

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
fn without_to_a_description_is_for_the_sfu_or_for_the_only_other() {
    let sdp = json!({ "sdp": "v=0" });
    let mut trial = Trial::new(room(Mode::P2p));
    let ada = trial.join(1, "ada");
    assert_eq!(trial.outcome(ada, "offer", &sdp), "target_required");
    let bob = trial.join(2, "bob");
    assert_eq!(trial.outcome(ada, "offer", &sdp), "ok");
    assert_eq!(trial.outcome(ada, "ice-candidate", &json!({ "candidate": "c" })), "ok");
    assert_eq!(trial.events(bob), ["offer", "ice-candidate"]);
    let eve = trial.join(3, "eve");
    assert_eq!(trial.outcome(bob, "answer", &sdp), "target_required");
    assert_eq!(
        trial.outcome(bob, "answer", &json!({ "to": eve.to_string(), "x": 1 })),
        "ok"
    );
    let (_, relayed) = trial.told[&eve].last().cloned().unwrap();
    let want = json!({ "to": eve.to_string(), "x": 1, "from": bob.to_string() });
    assert_eq!(serde_json::to_value(&*relayed).unwrap(), want);
    assert_eq!(
        trial.outcome(bob, "offer", &json!({ "to": bob.to_string() })),
        "participant_not_found"
    );
    assert!(trial.sfu_orders.is_empty());

    let mut trial = Trial::new(room(Mode::Sfu));
    let ada = trial.join(1, "ada");
    trial.join(2, "bob");
    for (kind, payload, want) in [
        ("ice-candidate", json!({ "candidate": "c" }), "ok"),
        ("answer", sdp.clone(), "invalid_payload"),
        ("offer", json!({}), "invalid_payload"),
        (
            "offer",
            json!({ "sdp": "v=0", "target": "subscribe" }),
            "invalid_payload",
        ),
        (
            "answer",
            json!({ "sdp": "v=0", "target": "publish" }),
            "invalid_payload",
        ),
        ("offer", sdp.clone(), "later"),
        ("answer", json!({ "sdp": "v=0", "target": "subscribe" }), "later"),
        ("offer", json!({ "target": "subscribe" }), "ok"),
    ] {
        assert_eq!(trial.outcome(ada, kind, &payload), want, "{kind} {payload}");
    }
    assert_eq!(
        trial.sfu_orders,
        ["start", "attach", "attach", "publish", "answer", "attach"]
    );
}

#[test]
fn what_the_sfu_does_not_answer_in_time_is_a_negotiation_timeout() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let ada = trial.join(1, "ada");
    trial.outcome(ada, "offer", &json!({ "sdp": "v=0" }));
    trial.pass(Duration::from_secs(10));
    let Some(ServerMessage::Error(error)) = trial.answers.values().next_back() else {
        panic!("not refused")
    };
    assert_eq!(error.code, ErrorCode::NegotiationTimeout);
    // The answer that comes after all publishes without answering twice.
    let late = SfuEvent::PublishAnswered {
        participant: ada,
        request: trial.sfu_requests[0],
        result: Ok(("v=0".to_owned(), [].into())),
        published: vec![published(ada, track(1), TrackKind::Audio)],
        unpublished: Vec::new(),
    };
    trial.apply(Command::Sfu(late));
    assert_eq!(trial.state.view().participants[0].tracks.len(), 1);
}

#[test]
fn grants_decide_beyond_the_role_and_an_explicit_false_holds_whatever_the_role() {
    let no_publish = Grants {
        publish: Some(false),
        ..Grants::default()
    };
    let no_data = Grants {
        data: Some(false),
        ..Grants::default()
    };
    let may_record = Grants {
        record: Some(true),
        ..Grants::default()
    };
    for (role, grants, kind, payload, want) in [
        (
            Role::Viewer,
            Grants::default(),
            "offer",
            json!({ "sdp": "v=0" }),
            "forbidden",
        ),
        (Role::Host, no_publish, "offer", json!({ "sdp": "v=0" }), "forbidden"),
        (
            Role::Participant,
            Grants::default(),
            "offer",
            json!({ "sdp": "v=0" }),
            "later",
        ),
        (
            Role::Viewer,
            Grants::default(),
            "chat",
            json!({ "text": "x" }),
            "forbidden",
        ),
        (Role::Host, no_data, "dtmf", json!({ "tones": "1" }), "forbidden"),
        (
            Role::Moderator,
            Grants::default(),
            "start-recording",
            json!({}),
            "forbidden",
        ),
        (Role::Participant, may_record, "start-recording", json!({}), "later"),
        (Role::Moderator, Grants::default(), "end-call", json!({}), "forbidden"),
        (Role::Moderator, Grants::default(), "lock", json!({}), "ok"),
    ] {
        let mut trial = Trial::new(room(Mode::Sfu));
        let bob = trial.join_as(1, "bob", Some(role), grants);
        assert_eq!(trial.outcome(bob, kind, &payload), want, "{role:?} {grants:?} {kind}");
    }
    let mut trial = Trial::new(room(Mode::Sfu));
    let ada = trial.join(1, "ada");
    let bob = trial.join_as(2, "bob", None, no_publish);
    assert_eq!(
        trial.outcome(
            ada,
            "set-role",
            &json!({ "participant_id": bob.to_string(), "role": "host" })
        ),
        "ok"
    );
    assert_eq!(trial.outcome(bob, "offer", &json!({ "sdp": "v=0" })), "forbidden");
}

#[test]
fn nobody_touches_a_higher_role_nor_gives_one_above_their_own() {
    for (actor, target, kind, extra, want) in [
        (Role::Moderator, Role::Host, "kick", json!({}), "forbidden"),
        (Role::Moderator, Role::Moderator, "kick", json!({}), "ok"),
        (Role::Participant, Role::Viewer, "kick", json!({}), "forbidden"),
        (Role::Host, Role::Host, "mute-participant", json!({}), "ok"),
        (Role::Moderator, Role::Host, "mute-participant", json!({}), "forbidden"),
        (
            Role::Moderator,
            Role::Viewer,
            "set-role",
            json!({ "role": "participant" }),
            "forbidden",
        ),
        (Role::Host, Role::Viewer, "set-role", json!({ "role": "host" }), "ok"),
    ] {
        let mut trial = Trial::new(room(Mode::Sfu));
        let bob = trial.join_as(1, "bob", Some(actor), Grants::default());
        let eve = trial.join_as(2, "eve", Some(target), Grants::default());
        let mut payload = extra.clone();
        payload["participant_id"] = json!(eve.to_string());
        assert_eq!(
            trial.outcome(bob, kind, &payload),
            want,
            "{actor:?} {kind} {target:?} {extra}"
        );
    }
    let mut trial = Trial::new(room(Mode::Sfu));
    let bob = trial.join_as(1, "bob", Some(Role::Moderator), Grants::default());
    assert_eq!(
        trial.outcome(bob, "kick", &json!({ "participant_id": bob.to_string() })),
        "invalid_payload"
    );
    let gone = participant(9).to_string();
    assert_eq!(
        trial.outcome(bob, "kick", &json!({ "participant_id": gone })),
        "participant_not_found"
    );
}

#[test]
fn a_kicked_participant_is_told_and_out() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    trial.events(ada);
    trial.outcome(ada, "kick", &json!({ "participant_id": bob.to_string() }));
    assert_eq!(trial.events(bob), ["kicked"]);
    assert_eq!(trial.events(ada), ["peer-left"]);
    assert_eq!(trial.released, [(bob, ReleaseCause::Kicked)]);
}

#[test]
fn a_role_given_is_told_to_all_and_takes_away_what_it_does_not_permit() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    trial.publish(bob, track(1), TrackKind::Audio);
    trial.events(ada);
    trial.events(bob);
    trial.outcome(
        ada,
        "set-role",
        &json!({ "participant_id": bob.to_string(), "role": "viewer" }),
    );
    assert_eq!(trial.events(bob), ["role-changed", "track-updated"]);
    assert_eq!(trial.events(ada), ["peer-updated", "track-updated"]);
    assert_eq!(trial.sfu_orders.last().unwrap(), "paused true");
    assert_eq!(
        trial.outcome(bob, "unmute", &json!({ "track": track(1).to_string() })),
        "forbidden"
    );
}

#[test]
fn muting_and_holding_pause_a_track_once_and_tell_the_others() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    trial.publish(bob, track(1), TrackKind::Audio);
    trial.publish(bob, track(2), TrackKind::Video);
    trial.events(ada);
    trial.events(bob);
    trial.sfu_orders.clear();
    let audio = json!({ "track": track(1).to_string() });
    for (kind, payload, want, orders) in [
        ("mute", audio.clone(), "ok", vec!["paused true"]),
        ("hold", json!({ "track": "audio" }), "ok", vec![]),
        ("unmute", audio.clone(), "ok", vec![]),
        ("unhold", audio.clone(), "ok", vec!["paused false"]),
        ("unhold", audio.clone(), "ok", vec![]),
        (
            "hold",
            json!({}),
            "ok",
            vec!["receiving false", "paused true", "paused true"],
        ),
        (
            "unhold",
            json!({}),
            "ok",
            vec!["receiving true", "paused false", "paused false"],
        ),
        ("mute", json!({ "track": track(9).to_string() }), "not_found", vec![]),
    ] {
        assert_eq!(trial.outcome(bob, kind, &payload), want, "{kind} {payload}");
        assert_eq!(std::mem::take(&mut trial.sfu_orders), orders, "{kind} {payload}");
    }
    assert_eq!(trial.events(ada).len(), 8, "each change once");
    assert_eq!(trial.events(bob), Vec::<&str>::new());
    assert_eq!(trial.outcome(ada, "mute", &audio), "not_found");
    // A moderator's mute is told to its publisher, who may undo it.
    trial.outcome(ada, "mute-participant", &json!({ "participant_id": bob.to_string() }));
    assert_eq!(trial.events(bob), ["track-updated", "track-updated"]);
    assert_eq!(trial.outcome(bob, "unmute", &audio), "ok");
}

#[test]
fn a_track_published_on_hold_is_held() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let bob = trial.join(1, "bob");
    trial.outcome(bob, "hold", &json!({}));
    trial.publish(bob, track(1), TrackKind::Audio);
    assert!(trial.state.view().participants[0].tracks[0].held);
    assert_eq!(trial.sfu_orders.last().unwrap(), "paused true");
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
        trial.events(ada).iter().filter(|e| **e == "recording-finished").count(),
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
    let failed = crate::ports::RecorderEvent::Failed {
        reason: "disk full".to_owned(),
    };
    trial.apply(Command::Recorder {
        recording,
        event: failed,
    });
    let want = [
        "recording-started",
        "call-state-changed",
        "recording-finished",
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

#[test]
fn ending_the_call_releases_everybody_and_leaves_nothing_attached() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    trial.publish(bob, track(1), TrackKind::Audio);
    trial.events(bob);
    assert_eq!(trial.outcome(bob, "end-call", &json!({})), "forbidden");
    assert_eq!(trial.outcome(ada, "end-call", &json!({})), "ok");
    assert_eq!(trial.events(bob), ["call-state-changed"]);
    assert_eq!(
        trial.released,
        [(ada, ReleaseCause::CallEnded), (bob, ReleaseCause::CallEnded)]
    );
    assert!(trial.state.is_empty() && trial.attached.is_empty());
    assert!(matches!(trial.journal.last(), Some(JournalEntry::CallEnded { .. })));
}

#[test]
fn hanging_up_a_call_of_two_ends_it_and_leaves_a_larger_one() {
    for (members, ringing, want) in [(2, true, 0), (3, true, 2), (2, false, 1)] {
        let mut trial = Trial::with(room(Mode::Auto), |setup| setup.ringing = ringing);
        for n in 1..=members {
            trial.join(n, "bob");
        }
        assert_eq!(trial.outcome(participant(1), "hangup", &json!({})), "ok");
        assert_eq!(trial.state.len(), want, "{members} ringing {ringing}");
    }
}

#[test]
fn rest_acts_by_admin_owner_token_or_the_callers_own_role_inside() {
    let as_user = |name: &str| Authority {
        user: user(name),
        admin: false,
        standing: Standing::default(),
    };
    let admin = Authority {
        admin: true,
        ..as_user("root")
    };
    let moderator = Standing {
        role: Some(Role::Moderator),
        ..Standing::default()
    };
    let by_token = Authority {
        standing: moderator,
        ..as_user("app")
    };
    for (by, want) in [
        (admin, Ok(())),
        (as_user("ada"), Ok(())),
        (by_token, Ok(())),
        (as_user("mod"), Ok(())),
        (as_user("bob"), Err(ErrorCode::Forbidden)),
        (as_user("eve"), Err(ErrorCode::Forbidden)),
    ] {
        let mut trial = Trial::new(room(Mode::Sfu));
        let bob = trial.join(1, "bob");
        trial.join_as(2, "mod", Some(Role::Moderator), Grants::default());
        let result = trial.act(by.clone(), Act::Kick(bob)).expect("answered at once");
        assert_eq!(result.map(|_| ()), want, "{by:?}");
    }
    let mut trial = Trial::new(room(Mode::Sfu));
    let bob = trial.join(1, "bob");
    let owner = as_user("ada");
    let Some(Ok(Report::Participant(view))) = trial.act(owner.clone(), Act::SetRole(bob, Role::Viewer)) else {
        panic!("no participant")
    };
    assert_eq!(view.role, Role::Viewer);
    assert!(
        trial.act(owner.clone(), Act::StartRecording).is_none(),
        "answered when it runs"
    );
    let recording = trial.recorders_started[0];
    trial.apply(Command::RecorderStarted {
        recording,
        failure: None,
    });
    let Some(Ok(Report::Recording(stopped))) = trial.act(owner.clone(), Act::StopRecording) else {
        panic!("no recording")
    };
    assert_eq!(stopped.id, recording);
    assert!(matches!(
        trial.act(owner.clone(), Act::EndCall),
        Some(Ok(Report::Call(_)))
    ));
    assert_eq!(trial.act(owner, Act::EndCall), Some(Err(ErrorCode::CallNotFound)));
}

#[test]
fn speakers_are_told_as_participants_on_change() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    trial.publish(ada, track(1), TrackKind::Audio);
    trial.publish(bob, track(2), TrackKind::Audio);
    trial.publish(bob, track(3), TrackKind::Audio);
    trial.events(ada);
    let speaking = |tracks| Command::Sfu(SfuEvent::ActiveSpeakers { tracks });
    trial.apply(speaking(vec![track(3), track(1), track(2), track(9)]));
    trial.apply(speaking(vec![track(2), track(1)]));
    assert_eq!(trial.events(ada), ["active-speakers"]);
    assert_eq!(trial.state.speakers, [bob, ada]);
    trial.apply(Command::Leave {
        participant: bob,
        reply: None,
    });
    assert_eq!(trial.events(ada), ["peer-left", "active-speakers"]);
}

#[test]
fn a_lost_sfu_takes_its_tracks_and_everybody_moves_to_the_next() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    trial.publish(bob, track(1), TrackKind::Audio);
    trial.outcome(ada, "offer", &json!({ "sdp": "v=0" }));
    trial.events(ada);
    trial.attached.clear();
    trial.apply(Command::SfuLost);
    let Some(ServerMessage::Error(error)) = trial.answers.values().next_back() else {
        panic!("not refused")
    };
    assert_eq!(error.code, ErrorCode::Overloaded);
    assert_eq!(trial.events(ada), ["track-unpublished", "room-moved"]);
    trial.sfu_orders.clear();
    trial.publish(bob, track(2), TrackKind::Audio);
    assert_eq!(trial.sfu_orders, ["start", "attach", "attach", "publish"]);
}
