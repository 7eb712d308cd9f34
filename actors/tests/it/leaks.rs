//! After everybody has gone nothing is left.

use std::sync::atomic::Ordering;
use std::time::Duration;

use caside_store::JournalEntry;
use serde_json::json;

use crate::support::World;

#[tokio::test(start_paused = true)]
async fn a_thousand_joins_and_leaves_of_every_kind_leave_nothing() {
    let world = World::new().await;
    let mut open = Vec::new();
    for n in 0..1000 {
        let room = format!("room-{}", n % 60);
        let mut client = world.member(&format!("user-{}", n % 300), &room).await;
        if n % 10 == 0 {
            client.ask("offer", json!({ "sdp": "microphone camera" })).await;
        }
        match n % 5 {
            0 => client.drop_socket(),
            1 => client.close(),
            2 => {
                client.ok("leave", json!({})).await;
                client.close();
            }
            3 => {
                client.drop_socket();
                assert_eq!(client.resume(world.socket().await).await["type"], "resumed");
                open.push(client);
            }
            _ => open.push(client),
        }
    }
    assert_eq!(world.node.counts().sessions, world.node.counts().participants);
    for (n, mut client) in open.into_iter().enumerate() {
        if n % 2 == 0 {
            client.close()
        } else {
            client.drop_socket()
        }
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.until_empty().await;
    let joins = world.journal.count(|e| matches!(e, JournalEntry::ParticipantJoined(_)));
    let leaves = world
        .journal
        .count(|e| matches!(e, JournalEntry::ParticipantLeft { .. }));
    assert_eq!((joins, leaves), (1000, 1000));
    let begun = world.journal.count(|e| matches!(e, JournalEntry::CallStarted(_)));
    let ended = world.journal.count(|e| matches!(e, JournalEntry::CallEnded { .. }));
    assert_eq!(begun, ended);
    assert!(!world.catalog.away.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn sockets_that_never_say_who_they_are_leave_nothing() {
    let world = World::new().await;
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(world.socket().await);
    }
    for socket in &mut sockets[..50] {
        socket.drop_socket();
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
    world.until_empty().await;
}
