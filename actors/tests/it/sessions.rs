//! Sessions: who a client is, how it is let in and shown out.

use std::time::Duration;

use caside_actors::node::Limits;
use caside_protocol::ErrorCode;
use serde_json::json;

use crate::support::{World, claims};

#[tokio::test(start_paused = true)]
async fn a_token_in_the_upgrade_is_welcomed_unasked_and_unnumbered() {
    let world = World::new().await;
    let mut client = world.open(Some(claims("ada"))).await.unwrap();
    let welcome = client.next().await;
    assert_eq!(welcome["type"], "welcome");
    assert!(welcome.get("seq").is_none() && welcome.get("id").is_none());
    assert_eq!(welcome["payload"]["user"], json!({ "id": "ada", "name": "ada" }));
    assert_eq!(welcome["payload"]["heartbeat_ms"], 10_000);
    assert_eq!(
        welcome["payload"]["server"],
        json!({ "version": "0.1.0", "node": "n1" })
    );
    client.silence().await;
}

#[tokio::test(start_paused = true)]
async fn before_auth_everything_else_is_unauthorized_and_does_not_close() {
    let world = World::new().await;
    let mut client = world.socket().await;
    client.refused("join", json!({ "room": "r" }), "unauthorized").await;
    assert_eq!(client.ask("ping", json!({})).await["type"], "pong");
    assert_eq!(client.ask("auth", json!({ "token": "ada" })).await["type"], "welcome");
    client.join("r").await;
}

#[tokio::test(start_paused = true)]
async fn requests_sent_behind_an_auth_wait_for_it() {
    let world = World::new().await;
    let mut client = world.socket().await;
    let auth = client.send("auth", json!({ "token": "ada" })).await;
    let join = client.send("join", json!({ "room": "r" })).await;
    let chat = client.send("chat", json!({ "text": "hi" })).await;
    let leave = client.send("leave", json!({})).await;
    let other = client.send("join", json!({ "room": "s" })).await;
    for (id, kind) in [
        (auth, "welcome"),
        (join, "joined"),
        (chat, "ok"),
        (leave, "ok"),
        (other, "joined"),
    ] {
        assert_eq!(client.answer(id).await["type"], kind);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_or_none_in_time_is_an_error_and_a_close() {
    let world = World::new().await;
    let mut client = world.socket().await;
    client.refused("auth", json!({ "token": "bad" }), "unauthorized").await;
    client.closed_with(4401, "unauthorized").await;

    let mut client = world.socket().await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    client.silence().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.next().await["payload"]["code"], "unauthorized");
    client.closed_with(4401, "unauthorized").await;
    world.until_empty().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_checked_now_may_be_sent_again() {
    let world = World::new().await;
    let mut client = world.socket().await;
    client
        .refused("auth", json!({ "token": "away" }), "dependency_unavailable")
        .await;
    client.refused("auth", json!({ "token": "panic" }), "internal").await;
    let slow = client.send("auth", json!({ "token": "slow" })).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(client.answer(slow).await["payload"]["code"], "dependency_unavailable");
    assert_eq!(client.ask("auth", json!({ "token": "ada" })).await["type"], "welcome");
}

#[tokio::test(start_paused = true)]
async fn auth_again_renews_the_same_user_only_and_nobody_is_cut_off() {
    let world = World::new().await;
    let mut client = world.member("ada", "r").await;
    let renewed = client.ask("auth", json!({ "token": "ada" })).await;
    assert_eq!(renewed["type"], "welcome");
    assert_ne!(renewed["payload"]["resume_token"], client.token);
    client.refused("auth", json!({ "token": "bob" }), "unauthorized").await;
    client.refused("auth", json!({ "token": "bad" }), "unauthorized").await;
    client.ok("chat", json!({ "text": "still here" })).await;
}

#[tokio::test(start_paused = true)]
async fn the_node_takes_as_many_sessions_as_it_may() {
    let world = World::with(Limits {
        max_sessions: 1,
        ..Limits::default()
    })
    .await;
    let mut first = world.client("ada").await;
    let refusal = world.open(Some(claims("bob"))).await.err().unwrap();
    assert_eq!(refusal.code, ErrorCode::TooManyConnections);
    assert!(refusal.retry_after_ms.is_some());
    first.close();
    world.until_empty().await;
    world.client("bob").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_keep_up_is_closed_and_finds_everything_on_its_resume() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    for n in 0..150 {
        ada.ok("chat", json!({ "text": format!("{n} {}", "x".repeat(10_000)) }))
            .await;
    }
    bob.closed_with(1008, "slow_consumer").await;
    assert_eq!(ada.event("connection-quality").await["quality"], "lost");
    let answer = bob.resume(world.socket().await).await;
    assert_eq!(answer["type"], "resumed");
    // A megabyte is more than is kept.
    assert_eq!(answer["payload"]["reset"], true);
    assert_eq!(answer["payload"]["room_state"]["participants"][0]["user"], "ada");
    assert_eq!(ada.event("connection-quality").await["quality"], "good");
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_are_bounded_by_credits() {
    let world = World::with(Limits {
        credits: 2,
        ..Limits::default()
    })
    .await;
    let mut client = world.member("ada", "r").await;
    let first = client.send("offer", json!({ "sdp": "silence" })).await;
    let second = client.send("offer", json!({ "sdp": "silence" })).await;
    // The third finds no credit until its patience ends, which is before the SFU's.
    let third = client.send("chat", json!({ "text": "hi" })).await;
    assert_eq!(client.answer(third).await["payload"]["code"], "overloaded");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(client.answer(first).await["payload"]["code"], "negotiation_timeout");
    assert_eq!(client.answer(second).await["payload"]["code"], "negotiation_timeout");
    client.ok("chat", json!({ "text": "hi" })).await;
}

#[tokio::test(start_paused = true)]
async fn draining_says_goodbye_closes_in_order_and_writes_everything_down() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.client("bob").await;
    let mut nobody = world.socket().await;
    let node = world.node.clone();
    let draining = tokio::spawn(async move { node.drain(Duration::from_secs(10)).await });
    let goodbye = ada.event("goodbye").await;
    assert!(goodbye["retry_after_ms"].as_u64().is_some());
    ada.closed_with(1001, "going_away").await;
    bob.event("goodbye").await;
    bob.closed_with(1001, "going_away").await;
    nobody.closed_with(1001, "going_away").await;
    draining.await.unwrap();
    assert!(world.journal.flushed.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(
        world
            .journal
            .count(|e| matches!(e, caside_store::JournalEntry::CallEnded { .. })),
        1
    );
    assert_eq!(
        world.open(Some(claims("eve"))).await.err().unwrap().code,
        ErrorCode::Draining
    );
}
