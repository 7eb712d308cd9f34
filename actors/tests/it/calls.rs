//! Users who call and invite each other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use caside_actors::node::Limits;
use caside_protocol::RoomId;
use caside_protocol::claims::Claims;
use serde_json::json;

use crate::support::{World, claims};

/// A token of this user for one room, as that room's host may mint it.
fn for_one_room(user: &str, room: &str) -> Claims {
    Claims {
        room: Some(RoomId::new(room).unwrap()),
        ..claims(user)
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_rings_every_session_of_the_user_until_one_takes_it() {
    let world = World::with(Limits {
        auto_create_rooms: false,
        ..Limits::default()
    })
    .await;
    let mut ada = world.client("ada").await;
    ada.refused("call", json!({ "to_user": "bob" }), "user_offline").await;
    let mut phone = world.client("bob").await;
    let mut laptop = world.client("bob").await;
    let called = ada.ok("call", json!({ "to_user": "bob" })).await;
    ada.join(called["room"].as_str().unwrap()).await;
    assert_eq!(ada.state["mode"], "p2p");
    for client in [&mut phone, &mut laptop] {
        let invite = client.event("invite").await;
        assert_eq!(
            (&invite["kind"], &invite["invite_id"]),
            (&json!("call"), &called["invite_id"])
        );
        assert_eq!(invite["from"], json!({ "id": "ada", "name": "ada" }));
    }
    let accept = json!({ "invite_id": called["invite_id"] });
    let joined = phone.ask("accept", accept.clone()).await;
    assert_eq!(
        (&joined["type"], &joined["payload"]["room_state"]["room"]),
        (&json!("joined"), &called["room"])
    );
    ada.event("peer-joined").await;
    assert_eq!(ada.event("invite-answered").await["answer"], "accepted");
    assert_eq!(laptop.event("invite-answered").await["answer"], "accepted");
    laptop.refused("accept", accept, "invite_expired").await;
    // Hanging up ends a call between two for both.
    phone.event("invite-answered").await;
    phone.ok("hangup", json!({})).await;
    assert_eq!(ada.event("call-state-changed").await["state"], "ended");
    ada.refused("hangup", json!({}), "call_not_found").await;
    world
        .until("the room is gone", |w| {
            w.node.counts().rooms == 0 && w.node.counts().invites == 0
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_may_be_declined_hung_up_or_not_answered() {
    let world = World::new().await;
    let mut ada = world.client("ada").await;
    let mut bob = world.client("bob").await;
    let called = ada.ok("call", json!({ "to_user": "bob" })).await;
    bob.event("invite").await;
    bob.ok("decline", json!({ "invite_id": called["invite_id"] })).await;
    assert_eq!(ada.event("invite-answered").await["answer"], "declined");
    bob.event("invite-answered").await;

    ada.ok("call", json!({ "to_user": "bob" })).await;
    bob.event("invite").await;
    ada.ok("hangup", json!({})).await;
    assert_eq!(bob.event("invite-answered").await["answer"], "cancelled");
    ada.event("invite-answered").await;

    let called = ada.ok("call", json!({ "to_user": "bob" })).await;
    bob.event("invite").await;
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert_eq!(ada.event("invite-answered").await["answer"], "expired");
    assert_eq!(bob.event("invite-answered").await["answer"], "expired");
    bob.refused("accept", json!({ "invite_id": called["invite_id"] }), "invite_expired")
        .await;

    ada.ok("call", json!({ "to_user": "bob" })).await;
    bob.event("invite").await;
    ada.close();
    assert_eq!(bob.event("invite-answered").await["answer"], "cancelled");
}

#[tokio::test(start_paused = true)]
async fn an_invitation_waits_for_its_user_and_leads_into_the_room() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    ada.ok("invite", json!({ "user": "bob" })).await;
    let mut eve = world.client("eve").await;
    eve.refused("invite", json!({ "user": "bob" }), "not_joined").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let mut bob = world.client("bob").await;
    let invite = bob.event("invite").await;
    assert_eq!((&invite["kind"], &invite["room"]), (&json!("invite"), &json!("r")));
    eve.refused("accept", json!({ "invite_id": invite["invite_id"] }), "invite_expired")
        .await;
    let joined = bob.ask("accept", json!({ "invite_id": invite["invite_id"] })).await;
    assert_eq!(joined["type"], "joined");
    ada.event("peer-joined").await;
    assert_eq!(ada.event("invite-answered").await["answer"], "accepted");
}

#[tokio::test(start_paused = true)]
async fn one_who_could_not_enter_may_try_again() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.client("bob").await;
    ada.ok("lock", json!({})).await;
    let invited = ada.ok("invite", json!({ "user": "bob" })).await;
    bob.event("invite").await;
    let accept = json!({ "invite_id": invited["invite_id"] });
    bob.refused("accept", accept.clone(), "room_locked").await;
    ada.ok("unlock", json!({})).await;
    assert_eq!(bob.ask("accept", accept).await["type"], "joined");
}

#[tokio::test(start_paused = true)]
async fn invitations_run_out_and_are_bounded() {
    let world = World::with(Limits {
        max_invites: 2,
        ..Limits::default()
    })
    .await;
    let mut ada = world.member("ada", "r").await;
    for _ in 0..2 {
        ada.ok("invite", json!({ "user": "bob", "expires_s": 60 })).await;
    }
    ada.refused("invite", json!({ "user": "bob" }), "rate_limited").await;
    assert_eq!(world.node.counts().invites, 2);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(ada.event("invite-answered").await["answer"], "expired");
    assert_eq!(ada.event("invite-answered").await["answer"], "expired");
    world.client("bob").await.silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_for_one_room_neither_hears_nor_answers_its_users_calls() {
    let world = World::new().await;
    let mut mallory = world.client_with(for_one_room("bob", "trap")).await;
    let mut ada = world.client("ada").await;
    ada.refused("call", json!({ "to_user": "bob" }), "user_offline").await;
    let mut bob = world.client("bob").await;
    let called = ada.ok("call", json!({ "to_user": "bob" })).await;
    let invite = json!({ "invite_id": called["invite_id"] });
    mallory.silence().await;
    mallory.refused("accept", invite.clone(), "forbidden").await;
    mallory.refused("decline", invite.clone(), "forbidden").await;
    bob.event("invite").await;
    bob.ok("decline", invite).await;
    assert_eq!(ada.event("invite-answered").await["answer"], "declined");
    bob.event("invite-answered").await;
    mallory.silence().await;

    ada.join("party").await;
    ada.ok("invite", json!({ "user": "bob" })).await;
    world.client_with(for_one_room("bob", "party")).await.silence().await;
    bob.event("invite").await;
}

#[tokio::test(start_paused = true)]
async fn a_renewed_token_decides_whether_calls_come() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    ada.ok("invite", json!({ "user": "bob" })).await;
    let mut bob = world.client_with(for_one_room("bob", "r")).await;
    bob.silence().await;
    assert_eq!(bob.ask("auth", json!({ "token": "bob" })).await["type"], "welcome");
    bob.event("invite").await;
    assert_eq!(bob.ask("auth", json!({ "token": "bob@r" })).await["type"], "welcome");
    ada.ok("invite", json!({ "user": "bob" })).await;
    bob.silence().await;
}

#[tokio::test(start_paused = true)]
async fn an_invitation_outlives_the_process_and_a_call_does_not() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.client("bob").await;
    ada.ok("invite", json!({ "user": "bob" })).await;
    let declined = bob.event("invite").await;
    bob.ok("decline", json!({ "invite_id": declined["invite_id"] })).await;
    ada.ok("invite", json!({ "user": "bob", "expires_s": 3600 })).await;
    assert_eq!(bob.event("invite-answered").await["answer"], "declined");
    let waiting = bob.event("invite").await;
    let mut eve = world.client("eve").await;
    eve.ok("call", json!({ "to_user": "bob" })).await;
    bob.event("invite").await;
    let journal = world.journal.clone();
    world.node.drain(Duration::from_secs(5)).await;

    let world = World::after(Limits::default(), journal.clone()).await;
    let mut bob = world.client("bob").await;
    let invite = bob.event("invite").await;
    assert_eq!(invite, waiting, "as it was");
    bob.silence().await;
    let mut ada = world.client("ada").await;
    let accept = json!({ "invite_id": invite["invite_id"] });
    assert_eq!(bob.ask("accept", accept).await["type"], "joined");
    assert_eq!(ada.event("invite-answered").await["answer"], "accepted");

    let world = World::after(Limits::default(), journal).await;
    world.client("bob").await.silence().await;
    assert_eq!(world.node.counts().invites, 0);
}

#[tokio::test(start_paused = true)]
async fn invitations_are_read_back_when_the_database_answers() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let invited = ada.ok("invite", json!({ "user": "bob", "expires_s": 86_400 })).await;
    let (journal, accept) = (world.journal.clone(), json!({ "invite_id": invited["invite_id"] }));
    world.node.drain(Duration::from_secs(5)).await;

    journal.unreadable.store(true, Ordering::Relaxed);
    let world = World::after(Limits::default(), Arc::clone(&journal)).await;
    let mut bob = world.client("bob").await;
    bob.refused("accept", accept.clone(), "dependency_unavailable").await;
    journal.unreadable.store(false, Ordering::Relaxed);
    world
        .until("it is read", |world| world.node.counts().invites == 1)
        .await;
    bob.event("invite").await;
    assert_eq!(bob.ask("accept", accept.clone()).await["type"], "joined");
    bob.event("invite-answered").await;
    bob.refused("accept", accept, "invite_expired").await;
}
