//! A failure of ours hurts what failed: a session its socket, a room its call; never the node.

use std::sync::atomic::Ordering;

use caside_store::JournalEntry;
use serde_json::json;

use crate::support::World;

#[tokio::test(start_paused = true)]
async fn a_room_that_fails_tells_its_participants_who_may_join_again() {
    let world = World::new().await;
    let mut bystander = world.member("eve", "other").await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    ada.ask("offer", json!({ "sdp": "camera" })).await;
    bob.event("track-published").await;
    world.journal.panics_on_lock.store(true, Ordering::Relaxed);
    let lock = ada.send("lock", json!({})).await;
    let waiting = ada.send("chat", json!({ "text": "lost with the room" })).await;
    for id in [lock, waiting] {
        assert_eq!(ada.answer(id).await["payload"]["code"], "internal");
    }
    for client in [&mut ada, &mut bob] {
        // Numbered after what came before: the client checks that there is no gap.
        assert_eq!(client.event("error").await["code"], "internal");
        client.refused("chat", json!({ "text": "x" }), "not_joined").await;
    }
    world
        .until("the room is gone", |w| w.node.counts().rooms == 1 && w.sfus.open() == 0)
        .await;
    ada.join("r").await;
    bob.join("r").await;
    ada.event("peer-joined").await;
    bystander.ok("chat", json!({ "text": "nothing happened" })).await;
    let reports = world.node.actors_report();
    let of = |actor| reports.iter().find(|report| report.actor == actor).unwrap();
    let (rooms, peers) = (of("room"), of("peer"));
    // The bystander's goes on, one failed, one is its successor.
    assert_eq!((rooms.started, rooms.alive, rooms.failed, rooms.ended), (3, 2, 1, 0));
    assert_eq!((peers.started, peers.alive, peers.failed), (3, 3, 0));
    let handled = |word| {
        let took = rooms.works.iter().find(|(known, _)| *known == word);
        took.map(|(_, took)| took.count())
    };
    assert_eq!(handled("join"), Some(5));
    assert_eq!(
        rooms.waits.count(),
        rooms.handled() + 1,
        "of what failed nobody knows how long it took"
    );
    assert!(peers.high_water >= 1 && peers.high_water <= 64, "{}", peers.high_water);
    assert_eq!((rooms.waiting, rooms.deepest), (0, 0));
    assert_eq!(world.journal.count(|e| matches!(e, JournalEntry::CallEnded { .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_fails_closes_its_socket_and_leaves_its_room() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    // The double of the configuration fails on the welcome of this user.
    let mut mallory = world.socket().await;
    mallory.send("auth", json!({ "token": "mallory" })).await;
    mallory.closed_with(1011, "internal").await;
    ada.ok("chat", json!({ "text": "x" })).await;
    bob.event("chat").await;
    bob.close();
    ada.event("peer-left").await;
    ada.close();
    world.until_empty().await;
    let failed = world
        .node
        .actors_report()
        .into_iter()
        .find(|r| r.actor == "peer")
        .unwrap()
        .failed;
    assert_eq!(failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_resume_after_the_room_failed_goes_on_outside() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    bob.drop_socket();
    world.journal.panics_on_lock.store(true, Ordering::Relaxed);
    ada.refused("lock", json!({}), "internal").await;
    let resumed = bob.resume(world.socket().await).await;
    assert_eq!(resumed["payload"]["participant_id"], json!(null));
    assert_eq!(bob.event("error").await["code"], "internal");
    bob.join("r").await;
}
