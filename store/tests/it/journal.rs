//! The journal while the database is there.

use std::time::Duration;

use caside_protocol::rest::CallStatus;
use caside_protocol::{CallId, NodeId, RoomId, UserId};
use caside_store::journal::{AppendError, Journal, JournalOptions};
use caside_store::{JournalEntry, Store, StoreOptions};

use crate::calls::{at, joined, started};
use crate::database::{Database, on_both};
use crate::rooms::room;

on_both!(
    entries_become_rows_in_the_order_they_came,
    what_begins_at_once_is_as_if_it_had_begun_one_by_one,
    a_write_that_never_succeeds_stops_nobody_else,
    two_processes_write_at_once,
);

const LONG: Duration = Duration::from_secs(60);

async fn entries_become_rows_in_the_order_they_came(db: Database) {
    let journal = Journal::start(db.store.clone(), JournalOptions::default());
    let calls: Vec<_> = (0..50).map(|_| CallId::new()).collect();
    for call in &calls {
        journal.append(started(*call, "standup", "n1", 1)).unwrap();
        let (first, entry) = joined(*call, "ada");
        journal.append(entry).unwrap();
        for _ in 0..10 {
            journal.append(joined(*call, "bob").1).unwrap();
        }
        let left = JournalEntry::ParticipantLeft {
            participant: first,
            left_at: at(2),
        };
        journal.append(left).unwrap();
        let end = JournalEntry::CallEnded {
            call: *call,
            ended_at: at(9),
        };
        journal.append(end).unwrap();
    }
    journal.close(LONG).await.unwrap();
    assert_eq!(
        journal.append(started(calls[0], "x", "n1", 1)),
        Err(AppendError::Closed)
    );
    let stats = journal.stats();
    assert_eq!(
        (stats.depth, stats.applied, stats.refused, stats.skipped),
        (0, 50 * 14, 1, 0)
    );
    for call in calls {
        let call = db.store.call(call).await.unwrap().unwrap();
        assert_eq!(call.status, CallStatus::Ended);
        let left: Vec<_> = call.participants.iter().map(|stay| stay.left_at).collect();
        assert_eq!(left.len(), 11);
        assert_eq!(left[0], Some(at(2)));
        assert!(left[1..].iter().all(|left| *left == Some(at(9))));
    }
}

async fn what_begins_at_once_is_as_if_it_had_begun_one_by_one(db: Database) {
    // Of one id there was a room before, and of another there is one.
    let (former, there) = (room("r-3", "eve"), room("r-5", "mallory"));
    db.store.create_room(&former).await.unwrap();
    db.store.delete_room(&former.id, at(0)).await.unwrap();
    db.store.create_room(&there).await.unwrap();
    let calls: Vec<_> = (0..100).map(|_| CallId::new()).collect();
    let mut entries = Vec::new();
    for (n, call) in calls.iter().enumerate() {
        let id = format!("r-{n}");
        entries.push(JournalEntry::RoomEnsured(room(&id, "ada")));
        entries.push(started(*call, &id, "n1", 1));
        entries.push(joined(*call, "ada").1);
        entries.push(joined(*call, "bob").1);
        if n % 10 == 0 {
            // Somebody else makes the room, and a later owner takes the call up.
            entries.push(JournalEntry::RoomEnsured(room(&id, "bob")));
            entries.push(started(*call, &id, "n2", 2));
        }
    }
    db.store.apply(&entries).await.unwrap();
    // Nothing changes when the same is applied once more, as after a connection that broke at its end.
    db.store.apply(&entries).await.unwrap();
    for (n, call) in calls.iter().enumerate() {
        let seen = db
            .store
            .room(&RoomId::new(format!("r-{n}")).unwrap())
            .await
            .unwrap()
            .unwrap();
        let owner = if n == 5 { "mallory" } else { "ada" };
        assert_eq!(seen.owner.as_ref().map(UserId::as_str), Some(owner), "{n}");
        assert_eq!(
            seen.tokens_since.is_some(),
            n == 3,
            "tokens for the room before are void"
        );
        let seen = db.store.call(*call).await.unwrap().unwrap();
        assert_eq!((seen.status, seen.participants.len()), (CallStatus::Active, 2));
    }
    for (node, runs) in [("n1", 90), ("n2", 10)] {
        let node = NodeId::new(node).unwrap();
        assert_eq!(
            db.store.close_orphans(&node, at(9)).await.unwrap().len(),
            runs,
            "{node}"
        );
    }
}

async fn a_write_that_never_succeeds_stops_nobody_else(db: Database) {
    let journal = Journal::start(db.store.clone(), JournalOptions::default());
    let call = CallId::new();
    journal.append(started(call, "standup", "n1", 1)).unwrap();
    for n in 0..300 {
        // A third of them join a call that is not there.
        let call = if n % 3 == 0 { CallId::new() } else { call };
        journal.append(joined(call, "ada").1).unwrap();
    }
    journal.flush(LONG).await.unwrap();
    let stats = journal.stats();
    assert_eq!((stats.applied, stats.skipped, stats.depth), (201, 100, 0));
    assert_eq!(db.store.call(call).await.unwrap().unwrap().participants.len(), 200);
}

async fn two_processes_write_at_once(db: Database) {
    let other = Store::connect(&db.url, StoreOptions::default()).await.unwrap();
    let journals = [db.store.clone(), other].map(|store| Journal::start(store, JournalOptions::default()));
    let calls = [CallId::new(), CallId::new()];
    for (journal, call) in journals.iter().zip(calls) {
        journal.append(started(call, "standup", "n1", 1)).unwrap();
    }
    for _ in 0..500 {
        for (journal, call) in journals.iter().zip(calls) {
            journal.append(joined(call, "ada").1).unwrap();
        }
        tokio::task::yield_now().await;
    }
    for (journal, call) in journals.iter().zip(calls) {
        journal.flush(LONG).await.unwrap();
        assert_eq!(journal.stats().skipped, 0);
        assert_eq!(db.store.call(call).await.unwrap().unwrap().participants.len(), 500);
    }
}

#[tokio::test]
async fn dropping_the_last_clone_applies_what_waits() {
    let db = crate::database::sqlite().await;
    let call = CallId::new();
    let journal = Journal::start(db.store.clone(), JournalOptions::default());
    journal.append(started(call, "standup", "n1", 1)).unwrap();
    drop(journal.clone());
    drop(journal);
    let applied = async {
        while db.store.call(call).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, applied).await.unwrap();
}
