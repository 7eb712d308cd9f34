//! Who may do what to whom, in the room and by REST.

use super::*;

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
fn a_change_to_the_room_is_told_to_everybody_once() {
    let mut trial = Trial::new(room(Mode::Sfu));
    let (ada, bob) = (trial.join(1, "ada"), trial.join(2, "bob"));
    trial.events(ada);
    let told = |trial: &mut Trial| {
        let last = trial.told[&bob]
            .last()
            .map(|(_, event)| serde_json::to_value(event.payload()).unwrap());
        (
            trial.events(ada).len(),
            trial.events(bob).len(),
            last.unwrap_or_default(),
        )
    };
    trial.outcome(ada, "lock", &json!({}));
    assert_eq!(told(&mut trial), (1, 1, json!({ "locked": true })));
    trial.outcome(ada, "lock", &json!({}));
    assert_eq!(told(&mut trial).1, 0, "locked already");
    trial.outcome(ada, "unlock", &json!({}));
    assert_eq!(told(&mut trial), (1, 1, json!({ "locked": false })));
    let change = UpdateRoom {
        name: Some("Standup".to_owned()),
        locked: Some(true),
        metadata: Some(json!({ "topic": "x" })),
        ..UpdateRoom::default()
    };
    trial.apply(Command::Update(change.clone()));
    let all = json!({ "name": "Standup", "locked": true, "metadata": { "topic": "x" } });
    assert_eq!(told(&mut trial), (1, 1, all));
    trial.apply(Command::Update(change));
    assert_eq!(told(&mut trial).1, 0, "nothing changed");
}

#[test]
fn a_token_for_an_earlier_room_of_this_id_has_no_power_here() {
    let second = |n| Timestamp::from_unix_timestamp(n).unwrap();
    let since = |n| Standing {
        role: Some(Role::Host),
        right_since: Some(second(n)),
        ..Standing::default()
    };
    let mut later = room(Mode::Sfu);
    later.tokens_since = Some(second(100));
    let mut trial = Trial::new(later);
    for old in [99, 100] {
        trial.join_with(1, "eve", since(old));
        assert_eq!(
            trial.refused.pop(),
            Some((participant(1), ErrorCode::Forbidden)),
            "{old}"
        );
    }
    let bob = trial.join_with(2, "bob", since(101));
    assert_eq!(trial.state.len(), 1);
    let renewed = Standing {
        role: Some(Role::Viewer),
        ..since(100)
    };
    trial.apply(Command::Renewed {
        participant: bob,
        standing: renewed,
    });
    assert_eq!(role_of(&trial, 2), Role::Host);
    // Nor for whoever else bears one: the token is what is void.
    for (user_name, admin) in [("eve", false), ("ada", false), ("root", true)] {
        let by = |standing| Authority {
            user: user(user_name),
            admin,
            standing,
        };
        let act = Act::SetRole(bob, Role::Host);
        assert_eq!(
            trial.act(by(since(100)), act),
            Some(Err(ErrorCode::Forbidden)),
            "{user_name}"
        );
        assert!(matches!(trial.act(by(since(101)), act), Some(Ok(_))), "{user_name}");
    }
}
