//! Media by the SFU or directly: negotiation, tracks, speakers.

use caside_protocol::view::Quality;

use super::*;

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
    assert_eq!(serde_json::to_value(relayed.payload()).unwrap(), want);
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
fn how_well_media_does_is_told_unless_something_worse_is() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    trial.events(ada);
    let judged = |quality, cause| {
        Command::Sfu(SfuEvent::Quality {
            participant: bob,
            quality,
            cause,
        })
    };
    trial.apply(judged(Quality::Excellent, None));
    assert_eq!(trial.events(ada), ["connection-quality"]);
    trial.apply(Command::Lost { participant: bob });
    assert_eq!(trial.events(ada), ["connection-quality"]);
    trial.apply(judged(Quality::Poor, Some("loss")));
    assert!(trial.events(ada).is_empty(), "a lost participant is lost");
    trial.apply(Command::Resume {
        participant: bob,
        last_seq: 0,
    });
    assert_eq!(
        trial.events(ada),
        ["connection-quality", "connection-quality"],
        "back, and then as judged"
    );
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
    assert_eq!(trial.sfu_orders, ["start", "attach", "publish"]);
    // Nothing meets connections of before: who has not begun anew is offered something when they do, or a second later.
    trial.pass(Duration::from_millis(999));
    assert_eq!(trial.attached.len(), 1);
    trial.pass(Duration::from_millis(1));
    assert_eq!(trial.attached.len(), 2);
}
