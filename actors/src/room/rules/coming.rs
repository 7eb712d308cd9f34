//! Who is let in, and how they go and come back.

use super::*;

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
fn a_renewed_token_gives_and_takes_rights_at_once() {
    let grants = |publish, subscribe, data| Grants {
        publish,
        subscribe,
        data,
        ..Grants::default()
    };
    let renewed = |trial: &mut Trial, role, grants| {
        trial.sfu_orders.clear();
        trial.apply(Command::Renewed {
            participant: participant(2),
            standing: Standing {
                role,
                grants,
                right_since: None,
            },
        });
        std::mem::take(&mut trial.sfu_orders)
    };
    let mut trial = Trial::new(room(Mode::Sfu));
    let ada = trial.join(1, "ada");
    let bob = trial.join_as(2, "bob", Some(Role::Viewer), Grants::default());
    trial.publish(ada, track(1), TrackKind::Audio);
    trial.events(ada);
    trial.events(bob);
    assert_eq!(trial.outcome(bob, "chat", &json!({ "text": "hi" })), "forbidden");

    let orders = renewed(&mut trial, None, grants(Some(true), None, Some(true)));
    assert_eq!(orders, ["subscribe true data true"]);
    assert_eq!(trial.outcome(bob, "chat", &json!({ "text": "hi" })), "ok");
    trial.publish(bob, track(2), TrackKind::Audio);
    assert!(!trial.state.view().participants[1].tracks[0].muted);

    let orders = renewed(&mut trial, None, grants(Some(false), Some(false), Some(true)));
    assert_eq!(orders, ["subscribe false data true", "paused true"]);
    assert_eq!(trial.outcome(bob, "offer", &json!({ "sdp": "v=0" })), "forbidden");
    let nothing_new = renewed(&mut trial, None, grants(Some(false), Some(false), Some(true)));
    assert_eq!(nothing_new, Vec::<String>::new());
    trial.events(ada);
    trial.events(bob);

    // The token's role holds too, until one is given here.
    let orders = renewed(&mut trial, Some(Role::Moderator), Grants::default());
    assert_eq!(orders, ["subscribe true data true"]);
    assert_eq!(trial.events(bob), ["role-changed"]);
    assert_eq!(trial.events(ada), ["peer-updated"]);
    let given = json!({ "participant_id": bob.to_string(), "role": "viewer" });
    trial.sfu_orders.clear();
    assert_eq!(trial.outcome(ada, "set-role", &given), "ok");
    assert_eq!(trial.sfu_orders, ["subscribe true data false"]);
    assert_eq!(
        renewed(&mut trial, Some(Role::Moderator), Grants::default()),
        Vec::<String>::new()
    );
    assert_eq!(role_of(&trial, 2), Role::Viewer);
}
