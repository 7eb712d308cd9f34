//! Calls and the stays in them.

use caside_protocol::rest::CallStatus;
use caside_protocol::{CallId, NodeId, ParticipantId, Role, RoomId, UserId};
use caside_store::calls::CallFilter;
use caside_store::journal::{CallStarted, ParticipantJoined};
use caside_store::{JournalEntry, PageRequest, Store, StoreError};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::database::{Database, on_both};
use crate::rooms::room;

on_both!(
    a_call_from_first_join_to_last_leave,
    applying_everything_twice_changes_nothing,
    a_call_made_before_is_taken_up_by_its_first_join,
    calls_are_listed_for_whoever_may_see_them,
    a_stay_keeps_where_it_came_from,
    what_a_dead_node_ran_is_closed,
    an_older_epoch_does_not_take_a_call_back,
    entries_that_fail_leave_nothing_behind,
);

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09.123456 UTC);

pub(crate) fn at(seconds: i64) -> OffsetDateTime {
    AT + time::Duration::seconds(seconds)
}

pub(crate) fn started(call: CallId, room: &str, node: &str, epoch: u64) -> JournalEntry {
    JournalEntry::CallStarted(CallStarted {
        call,
        room: RoomId::new(room).unwrap(),
        owner: None,
        created_at: at(0),
        started_at: at(0),
        node: NodeId::new(node).unwrap(),
        epoch,
    })
}

pub(crate) fn joined(call: CallId, user: &str) -> (ParticipantId, JournalEntry) {
    let participant = ParticipantId::new();
    let entry = JournalEntry::ParticipantJoined(ParticipantJoined {
        participant,
        call,
        user: UserId::new(user).unwrap(),
        display_name: user.to_uppercase(),
        role: Role::Participant,
        joined_at: at(1),
        client_ip: Some("2001:db8::1".parse().unwrap()),
        metadata: json!({"device": "phone"}),
    });
    (participant, entry)
}

/// A call of two, one of whom was given a role and left, then the call ended.
fn script(call: CallId) -> Vec<JournalEntry> {
    let (ada, ada_joined) = joined(call, "ada");
    let (_, bob_joined) = joined(call, "bob");
    vec![
        JournalEntry::RoomEnsured(room("standup", "ada")),
        started(call, "standup", "n1", 1),
        ada_joined,
        bob_joined,
        JournalEntry::ParticipantRole {
            participant: ada,
            role: Role::Host,
        },
        JournalEntry::CallRecording { call },
        JournalEntry::ParticipantLeft {
            participant: ada,
            left_at: at(30),
        },
        JournalEntry::CallEnded { call, ended_at: at(60) },
    ]
}

async fn a_call_from_first_join_to_last_leave(db: Database) {
    let id = CallId::new();
    let script = script(id);
    let (before_end, end) = script.split_at(script.len() - 1);
    db.store.apply(before_end).await.unwrap();
    let call = db.store.call(id).await.unwrap().unwrap();
    assert_eq!((call.status, call.ended_at), (CallStatus::Active, None));
    assert_eq!((call.created_at, call.started_at), (at(0), Some(at(0))));
    assert!(call.recording);

    db.store.apply(end).await.unwrap();
    let call = db.store.call(id).await.unwrap().unwrap();
    assert_eq!((call.status, call.ended_at), (CallStatus::Ended, Some(at(60))));
    let stays: Vec<_> = call
        .participants
        .iter()
        .map(|stay| {
            (
                stay.user.as_str(),
                stay.display_name.as_str(),
                stay.role,
                stay.joined_at,
                stay.left_at,
            )
        })
        .collect();
    assert_eq!(
        stays,
        [
            ("ada", "ADA", Role::Host, at(1), Some(at(30))),
            ("bob", "BOB", Role::Participant, at(1), Some(at(60))),
        ]
    );
    assert_eq!(db.store.call(CallId::new()).await.unwrap(), None);
}

async fn applying_everything_twice_changes_nothing(db: Database) {
    let id = CallId::new();
    let script = script(id);
    db.store.apply(&script).await.unwrap();
    let once = db.store.call(id).await.unwrap();
    db.store.apply(&script).await.unwrap();
    for entry in &script {
        db.store.apply(std::slice::from_ref(entry)).await.unwrap();
    }
    assert_eq!(db.store.call(id).await.unwrap(), once);
    let node = NodeId::new("n1").unwrap();
    assert!(
        db.store.close_orphans(&node, at(99)).await.unwrap().is_empty(),
        "nobody runs it"
    );
}

async fn a_call_made_before_is_taken_up_by_its_first_join(db: Database) {
    let standup = RoomId::new("standup").unwrap();
    let id = CallId::new();
    let made = db
        .store
        .create_call(id, &standup, None, &json!({"topic": "x"}), at(-60))
        .await
        .unwrap();
    assert_eq!((made.started_at, made.status), (None, CallStatus::Active));
    assert!(
        db.store
            .create_call(id, &standup, None, &json!({}), at(0))
            .await
            .unwrap_err()
            .is_conflict()
    );
    assert_eq!(db.store.waiting_call(&standup).await.unwrap(), Some(made));

    db.store.apply(&[started(id, "standup", "n1", 1)]).await.unwrap();
    assert_eq!(db.store.waiting_call(&standup).await.unwrap(), None);
    let call = db.store.call(id).await.unwrap().unwrap();
    assert_eq!((call.created_at, call.started_at), (at(-60), Some(at(0))));
    assert_eq!(call.metadata, json!({"topic": "x"}));

    assert!(db.store.end_call(id, at(5)).await.unwrap());
    assert!(!db.store.end_call(id, at(6)).await.unwrap());
    assert_eq!(db.store.call(id).await.unwrap().unwrap().ended_at, Some(at(5)));
}

async fn calls_are_listed_for_whoever_may_see_them(db: Database) {
    // That the room is somebody else's by now changes nothing.
    db.store.create_room(&room("standup", "mallory")).await.unwrap();
    let ids: Vec<_> = (0..4).map(|_| CallId::new()).collect();
    for (id, (room, user)) in ids.iter().zip([
        ("standup", "bob"),
        ("other", "bob"),
        ("standup", "eve"),
        ("other", "eve"),
    ]) {
        let (_, join) = joined(*id, user);
        let mut start = started(*id, room, "n1", 1);
        if let (JournalEntry::CallStarted(start), "standup") = (&mut start, room) {
            start.owner = Some(UserId::new("ada").unwrap());
        }
        db.store.apply(&[start, join]).await.unwrap();
    }
    db.store.end_call(ids[0], at(9)).await.unwrap();
    let list = async |filter: CallFilter| {
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let page = db
                .store
                .calls(&filter, &PageRequest::new(Some(1), cursor))
                .await
                .unwrap();
            for call in page.items {
                assert_eq!(call.participants.len(), 1, "its own stays and no others");
                found.push(ids.iter().position(|id| *id == call.id).unwrap());
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return found;
            }
        }
    };
    let visible_to = |user| CallFilter {
        visible_to: Some(UserId::new(user).unwrap()),
        ..CallFilter::default()
    };
    assert_eq!(list(CallFilter::default()).await, [3, 2, 1, 0]);
    assert_eq!(list(visible_to("ada")).await, [2, 0], "those of her room");
    assert_eq!(list(visible_to("bob")).await, [1, 0], "those he was in");
    assert_eq!(list(visible_to("mallory")).await, [0; 0]);
    let filter = CallFilter {
        room: Some(RoomId::new("standup").unwrap()),
        status: Some(CallStatus::Active),
        ..CallFilter::default()
    };
    assert_eq!(list(filter).await, [2]);
    let since = |since| CallFilter {
        since: Some(since),
        ..CallFilter::default()
    };
    let now = OffsetDateTime::now_utc();
    assert_eq!(list(since(now - time::Duration::HOUR)).await, [3, 2, 1, 0]);
    assert_eq!(list(since(now + time::Duration::SECOND)).await, [0; 0]);
    assert_eq!(db.store.call_owner(ids[0]).await.unwrap().unwrap().as_str(), "ada");
    assert_eq!(db.store.call_owner(ids[1]).await.unwrap(), None);

    let bob = UserId::new("bob").unwrap();
    assert!(db.store.was_in_call(ids[1], &bob).await.unwrap());
    assert!(!db.store.was_in_call(ids[2], &bob).await.unwrap());
}

async fn a_stay_keeps_where_it_came_from(db: Database) {
    let call = CallId::new();
    db.store.apply(&[started(call, "standup", "n1", 1)]).await.unwrap();
    for (address, kept) in [
        (Some("192.0.2.7"), Some("192.0.2.7")),
        (Some("2001:db8::1"), Some("2001:db8::1")),
        (Some("::ffff:192.0.2.7"), Some("192.0.2.7")),
        (None, None),
    ] {
        let (participant, entry) = joined(call, "ada");
        let JournalEntry::ParticipantJoined(mut entry) = entry else {
            unreachable!()
        };
        entry.client_ip = address.map(|address| address.parse().unwrap());
        db.store.apply(&[JournalEntry::ParticipantJoined(entry)]).await.unwrap();
        let stored = db.store.participant(participant).await.unwrap().unwrap();
        assert_eq!(stored.client_ip, kept.map(|address| address.parse().unwrap()));
        assert_eq!((stored.call, stored.metadata), (call, json!({"device": "phone"})));
    }
    assert_eq!(db.store.participant(ParticipantId::new()).await.unwrap(), None);
}

async fn what_a_dead_node_ran_is_closed(db: Database) {
    let (mine, over, theirs, waiting) = (CallId::new(), CallId::new(), CallId::new(), CallId::new());
    for (call, node) in [(mine, "n1"), (over, "n1"), (theirs, "n2")] {
        let (_, join) = joined(call, "ada");
        db.store
            .apply(&[started(call, "standup", node, 1), join])
            .await
            .unwrap();
    }
    let end = JournalEntry::CallEnded {
        call: over,
        ended_at: at(5),
    };
    db.store.apply(&[end]).await.unwrap();
    db.store
        .create_call(waiting, &RoomId::new("standup").unwrap(), None, &json!({}), at(0))
        .await
        .unwrap();

    let node = NodeId::new("n1").unwrap();
    assert_eq!(db.store.close_orphans(&node, at(100)).await.unwrap(), [mine]);
    let ended = async |call| {
        let call = db.store.call(call).await.unwrap().unwrap();
        (call.ended_at, call.participants.first().and_then(|stay| stay.left_at))
    };
    assert_eq!(ended(mine).await, (Some(at(100)), Some(at(100))));
    assert_eq!(ended(over).await, (Some(at(5)), Some(at(5))));
    assert_eq!(ended(theirs).await, (None, None));
    assert_eq!(ended(waiting).await, (None, None));
    assert!(db.store.close_orphans(&node, at(200)).await.unwrap().is_empty());
}

async fn an_older_epoch_does_not_take_a_call_back(db: Database) {
    let call = CallId::new();
    let takeover = started(call, "standup", "n2", 7);
    db.store
        .apply(&[started(call, "standup", "n1", 5), takeover])
        .await
        .unwrap();
    db.store.apply(&[started(call, "standup", "n1", 5)]).await.unwrap();
    let orphans = async |store: &Store, node| store.close_orphans(&NodeId::new(node).unwrap(), at(9)).await.unwrap();
    assert!(orphans(&db.store, "n1").await.is_empty());
    assert_eq!(orphans(&db.store, "n2").await, [call]);
}

async fn entries_that_fail_leave_nothing_behind(db: Database) {
    let (call, unknown) = (CallId::new(), CallId::new());
    let (_, fails) = joined(unknown, "ada");
    let error = db
        .store
        .apply(&[started(call, "standup", "n1", 1), fails])
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Dangling { .. }), "{error:?}");
    assert!(!error.is_unavailable());
    assert_eq!(db.store.call(call).await.unwrap(), None);
}
