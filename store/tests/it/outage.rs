//! The database goes away and comes back.

use std::time::Duration;

use caside_protocol::CallId;
use caside_protocol::rest::CallStatus;
use caside_store::journal::{AppendError, Journal, JournalOptions};
use caside_store::{JournalEntry, Store, StoreOptions};
use sea_orm::TransactionTrait;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;

use crate::calls::{at, joined, started};
use crate::database;

const LONG: Duration = Duration::from_secs(60);

const IMPATIENT: StoreOptions = StoreOptions {
    max_connections: 4,
    acquire_timeout: Duration::from_millis(500),
    query_timeout: Duration::from_secs(1),
};

/// Waits until the journal's task has met the outage.
async fn until_away(journal: &Journal) {
    let away = async {
        while !journal.stats().away {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, away)
        .await
        .expect("the outage was not noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_wait_while_postgres_is_stopped_and_catch_up_in_order() {
    let mut db = database::postgres_with(IMPATIENT).await;
    let journal = Journal::start(db.store.clone(), JournalOptions::default());
    let call = CallId::new();
    journal.append(started(call, "standup", "n1", 1)).unwrap();
    let (ada, join) = joined(call, "ada");
    journal.append(join).unwrap();
    journal.flush(LONG).await.unwrap();

    db.postgres.as_mut().unwrap().stop();
    assert!(db.store.call(call).await.unwrap_err().is_unavailable());
    assert!(db.store.ping().await.is_err());
    for _ in 0..1_000 {
        journal.append(joined(call, "bob").1).unwrap();
    }
    let left = JournalEntry::ParticipantLeft {
        participant: ada,
        left_at: at(5),
    };
    journal.append(left).unwrap();
    let second = CallId::new();
    journal
        .append(JournalEntry::CallEnded { call, ended_at: at(9) })
        .unwrap();
    journal.append(started(second, "standup", "n1", 2)).unwrap();
    journal.append(joined(second, "ada").1).unwrap();
    until_away(&journal).await;
    assert_eq!(journal.depth(), 1_004);
    assert_eq!(journal.flush(Duration::ZERO).await.unwrap_err().left, 1_004);

    db.postgres.as_mut().unwrap().restart().await;
    journal.flush(LONG).await.unwrap();
    let stats = journal.stats();
    assert_eq!((stats.applied, stats.skipped, stats.away), (1_006, 0, false));
    let first = db.store.call(call).await.unwrap().unwrap();
    assert_eq!((first.status, first.ended_at), (CallStatus::Ended, Some(at(9))));
    assert_eq!(first.participants.len(), 1_000, "the earliest of 1,001");
    assert_eq!(first.participants[0].left_at, Some(at(5)));
    assert!(first.participants[1..].iter().all(|stay| stay.left_at == Some(at(9))));
    let second = db.store.call(second).await.unwrap().unwrap();
    assert_eq!((second.status, second.participants.len()), (CallStatus::Active, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_postgres_is_a_timeout_and_then_serves_again() {
    let db = database::postgres_with(IMPATIENT).await;
    let postgres = db.postgres.as_ref().unwrap();
    let journal = Journal::start(db.store.clone(), JournalOptions::default());
    let call = CallId::new();
    journal.append(started(call, "standup", "n1", 1)).unwrap();
    journal.flush(LONG).await.unwrap();

    postgres.freeze();
    for _ in 0..100 {
        journal.append(joined(call, "ada").1).unwrap();
    }
    // More of them than the pool has connections: none may be lost for good.
    let reads: Vec<_> = (0..12)
        .map(|_| {
            let store = db.store.clone();
            tokio::spawn(async move { store.call(call).await })
        })
        .collect();
    for read in reads {
        let error = read.await.unwrap().unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
    }
    until_away(&journal).await;

    postgres.thaw();
    journal.flush(LONG).await.unwrap();
    assert_eq!(journal.stats().skipped, 0);
    assert_eq!(db.store.call(call).await.unwrap().unwrap().participants.len(), 100);
    assert_eq!(
        db.store.close_orphans(&"n1".parse().unwrap(), at(9)).await.unwrap(),
        [call]
    );
}

/// A way to the server whose connections can be cut off without their ends noticing; new ones get through.
async fn way_to(socket: std::path::PathBuf) -> (String, watch::Sender<u32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cut, cuts) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = UnixStream::connect(&socket).await.unwrap();
            let mut cuts = cuts.clone();
            cuts.mark_unchanged();
            tokio::spawn(async move {
                tokio::select! {
                    // Either end closed, which is the same to the other.
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    cut = cuts.changed() => if cut.is_ok() { std::future::pending().await },
                }
            });
        }
    });
    (
        format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable"),
        cut,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_cut_off_are_replaced() {
    let db = database::postgres().await;
    let (url, cut) = way_to(db.postgres.as_ref().unwrap().socket()).await;
    let store = Store::connect(&url, IMPATIENT).await.unwrap();
    let call = CallId::new();
    store.apply(&[started(call, "standup", "n1", 1)]).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..IMPATIENT.max_connections {
        held.push(store.connection().begin().await.unwrap());
    }
    cut.send_modify(|cuts| *cuts += 1);
    // Each has to be rolled back on a connection that never answers.
    drop(held);
    assert!(store.call(call).await.unwrap_err().is_unavailable());
    let recovered = async { while store.call(call).await.is_err() {} };
    tokio::time::timeout(LONG, recovered)
        .await
        .expect("the pool has connections again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_refuses_and_counts_and_loses_nothing_it_took() {
    let mut db = database::postgres_with(IMPATIENT).await;
    let options = JournalOptions {
        max_entries: 10,
        ..JournalOptions::default()
    };
    let journal = Journal::start(db.store.clone(), options);
    db.postgres.as_mut().unwrap().stop();
    let calls: Vec<_> = (0..15).map(|_| CallId::new()).collect();
    let taken = calls
        .iter()
        .filter(|call| journal.append(started(**call, "standup", "n1", 1)).is_ok())
        .count();
    assert_eq!((taken, journal.stats().refused), (10, 5));
    let refusal = journal.append(JournalEntry::CallRecording { call: calls[0] });
    assert_eq!(refusal, Err(AppendError::Full { max_entries: 10 }));

    db.postgres.as_mut().unwrap().restart().await;
    journal.flush(LONG).await.unwrap();
    journal.append(started(calls[14], "standup", "n1", 1)).unwrap();
    journal.flush(LONG).await.unwrap();
    for (n, call) in calls.iter().enumerate() {
        assert_eq!(db.store.call(*call).await.unwrap().is_some(), n < 10 || n == 14, "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_to_nobody_says_that_the_database_is_away() {
    let mut server = crate::postgres::Postgres::start().await;
    let url = server.url();
    server.stop();
    let error = Store::connect(&url, IMPATIENT).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}
