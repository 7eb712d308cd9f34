//! Joining and leaving, and what members say to each other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use caside_actors::node::Limits;
use caside_protocol::{CallId, ErrorCode, Grants, Role, RoomId};
use caside_store::JournalEntry;
use serde_json::json;

use crate::support::{World, claims, turn};

#[tokio::test(start_paused = true)]
async fn members_see_each_other_come_talk_and_go() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    assert_eq!(ada.state["participants"], json!([]));
    let mut bob = world.client("bob").await;
    let joined = bob.ask("join", json!({ "room": "r", "display_name": "Bob B." })).await;
    bob.joined(&joined["payload"]);
    assert_eq!(joined["payload"]["role"], "participant");
    assert_eq!(bob.state["participants"][0]["participant_id"], json!(ada.participant));
    assert_eq!(bob.state["participants"][0]["role"], "host");
    let peer = ada.event("peer-joined").await;
    assert_eq!(
        (&peer["display_name"], &peer["connection"]),
        (&json!("Bob B."), &json!("connected"))
    );

    let sent = bob.ok("chat", json!({ "text": "hello" })).await;
    let chat = ada.event("chat").await;
    assert_eq!(
        (&chat["message_id"], &chat["from"]),
        (&sent["message_id"], &json!(bob.participant))
    );
    ada.ok(
        "data",
        json!({ "topic": "t", "value": { "x": 1 }, "to": bob.participant }),
    )
    .await;
    assert_eq!(bob.event("data").await["value"], json!({ "x": 1 }));
    ada.ok("dtmf", json!({ "tones": "12#" })).await;
    assert_eq!(bob.event("dtmf").await["tones"], "12#");
    let info = bob.ask("get-room-info", json!({})).await;
    assert_eq!(
        (&info["type"], &info["payload"]["room"]),
        (&json!("room-info"), &json!("r"))
    );

    bob.ok("leave", json!({})).await;
    assert_eq!(ada.event("peer-left").await["reason"], "left");
    bob.refused("leave", json!({}), "not_joined").await;
    bob.silence().await;
}

#[tokio::test(start_paused = true)]
async fn joining_again_is_the_same_participant_and_a_second_room_is_refused() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let again = ada.ask("join", json!({ "room": "r" })).await;
    assert_eq!(again["payload"]["participant_id"], json!(ada.participant));
    ada.refused("join", json!({ "room": "s" }), "already_joined").await;
    let tab = world.member("ada", "r").await;
    assert_ne!(tab.participant, ada.participant);
    assert_eq!(world.node.counts().participants, 2);
}

#[tokio::test(start_paused = true)]
async fn a_room_is_made_by_joining_it_where_that_is_allowed() {
    let world = World::new().await;
    let mut may_not = claims("eve");
    may_not.grants = Some(Grants {
        create: Some(false),
        ..Grants::default()
    });
    let mut eve = world.client_with(may_not).await;
    eve.refused("join", json!({ "room": "new" }), "room_not_found").await;
    let ada = world.member("ada", "new").await;
    assert_eq!(ada.state["mode"], "sfu");
    eve.join("new").await;
    assert_eq!(world.journal.count(|e| matches!(e, JournalEntry::RoomEnsured(_))), 1);
    let mut direct = world.client("dan").await;
    let joined = direct.ask("join", json!({ "room": "direct", "mode": "p2p" })).await;
    assert_eq!(joined["payload"]["room_state"]["mode"], "p2p");

    let closed = World::with(Limits {
        auto_create_rooms: false,
        ..Limits::default()
    })
    .await;
    let mut ada = closed.client("ada").await;
    ada.refused("join", json!({ "room": "new" }), "room_not_found").await;
    closed.catalog.add("made", |_| {});
    ada.join("made").await;
    assert_eq!(closed.node.counts().rooms, 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_a_low_role_does_not_come_by_a_room_of_their_own() {
    let world = World::new().await;
    let with_role = |user, role| {
        let mut claims = claims(user);
        claims.role = Some(role);
        claims
    };
    let mut viewer = world.client_with(with_role("eve", Role::Viewer)).await;
    viewer.refused("join", json!({ "room": "new" }), "room_not_found").await;
    // A participant makes the room, for users need not wait for each other; it is nobody's.
    let mut bob = world.client_with(with_role("bob", Role::Participant)).await;
    bob.join("new").await;
    let mut again = world.client("bob").await;
    let joined = again.ask("join", json!({ "room": "new" })).await;
    assert_eq!(joined["payload"]["role"], "participant");
    assert!(world.node.live_rooms().iter().all(|room| room.owner.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_outlived_its_room_makes_no_other_of_that_id() {
    let world = World::new().await;
    world.catalog.forget("old", "ada", 1_000);
    let host = |user, iat| {
        let mut claims = claims(user);
        (claims.room, claims.role, claims.iat) = (Some(RoomId::new("old").unwrap()), Some(Role::Host), iat);
        claims
    };
    let mut eve = world.client_with(host("eve", 1_000)).await;
    eve.refused("join", json!({ "room": "old" }), "room_not_found").await;
    let mut bob = world.client_with(host("bob", 1_001)).await;
    bob.join("old").await;
    eve.refused("join", json!({ "room": "old" }), "forbidden").await;
    let room = RoomId::new("old").unwrap();
    let refused = world
        .node
        .start_recording(&room, &host("eve", 1_000))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    assert!(!world.node.admits(&room, &host("eve", 1_000)).await.unwrap().unwrap());
    assert!(world.node.admits(&room, &host("bob", 1_001)).await.unwrap().unwrap());

    // Her own are good for the room that she makes anew.
    world.catalog.forget("hers", "ada", 1_000);
    let mut ada = world.member("ada", "hers").await;
    let mut hers = host("guest", 1_000);
    hers.room = Some(RoomId::new("hers").unwrap());
    world.client_with(hers).await.join("hers").await;
    ada.event("peer-joined").await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_goes_nowhere_with_a_token_that_has_expired() {
    let world = World::new().await;
    let mut expired = claims("ada");
    expired.exp = 1_000;
    let mut ada = world.client_with(expired).await;
    ada.refused("join", json!({ "room": "r" }), "token_expired").await;
    assert_eq!(world.node.counts().rooms, 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_for_one_room_opens_no_other_and_its_role_holds() {
    let world = World::new().await;
    world.catalog.add("mine", |_| {});
    let mut scoped = claims("bob");
    scoped.room = Some(RoomId::new("mine").unwrap());
    scoped.role = Some(Role::Moderator);
    let mut bob = world.client_with(scoped).await;
    bob.refused("join", json!({ "room": "other" }), "forbidden").await;
    let joined = bob.ask("join", json!({ "room": "mine" })).await;
    assert_eq!(joined["payload"]["role"], "moderator");
}

#[tokio::test(start_paused = true)]
async fn the_first_join_takes_up_the_call_that_waits() {
    let world = World::new().await;
    let call = CallId::new();
    world.catalog.add("r", |room| room.waiting_call = Some(call));
    let mut owner = world.client("owner").await;
    let joined = owner.ask("join", json!({ "room": "r" })).await;
    assert_eq!(joined["payload"]["call_id"], json!(call.to_string()));
    assert_eq!(joined["payload"]["role"], "host");
    assert_eq!(world.node.room_of_call(call).await.unwrap().as_str(), "r");
    world.catalog.add("r", |_| {});
    owner.ok("leave", json!({})).await;
    let next = owner.ask("join", json!({ "room": "r" })).await;
    let next: CallId = serde_json::from_value(next["payload"]["call_id"].clone()).unwrap();
    assert_eq!(world.node.room_of_call(call).await, None, "it is over");
    assert_eq!(world.node.room_of_call(next).await.unwrap().as_str(), "r");
    owner.close();
    world.until_empty().await;
    assert_eq!(world.node.room_of_call(next).await, None);
    assert_eq!(
        world
            .journal
            .count(|e| matches!(e, JournalEntry::CallEnded { call: c, .. } if *c == call)),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_catalog_that_is_away_or_frozen_refuses_joins_and_nothing_else() {
    let world = World::new().await;
    let mut ada = world.member("ada", "running").await;
    world.catalog.away.store(true, Ordering::Relaxed);
    let mut bob = world.client("bob").await;
    bob.refused("join", json!({ "room": "r" }), "dependency_unavailable")
        .await;
    world.catalog.frozen.store(true, Ordering::Relaxed);
    let waiting = bob.send("join", json!({ "room": "r" })).await;
    let mut eve = world.client("eve").await;
    eve.join("running").await;
    ada.event("peer-joined").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(bob.answer(waiting).await["payload"]["code"], "dependency_unavailable");
    world.catalog.away.store(false, Ordering::Relaxed);
    world.catalog.frozen.store(false, Ordering::Relaxed);
    bob.join("r").await;
}

#[tokio::test(start_paused = true)]
async fn who_goes_while_the_door_opens_is_not_left_inside() {
    let world = World::new().await;
    world.catalog.frozen.store(true, Ordering::Relaxed);
    let mut ada = world.client("ada").await;
    ada.send("join", json!({ "room": "r" })).await;
    ada.close();
    world.until_empty().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_journal_does_not_end_a_call() {
    let world = World::new().await;
    world.journal.full.store(true, Ordering::Relaxed);
    let mut ada = world.member("ada", "r").await;
    ada.ok("chat", json!({ "text": "x" })).await;
}

#[tokio::test(start_paused = true)]
async fn a_room_that_emptied_and_filled_again_is_a_new_call() {
    let world = World::new().await;
    let mut ada = world.client("ada").await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        let joined = ada.ask("join", json!({ "room": "r" })).await;
        calls.push(joined["payload"]["call_id"].to_string());
        // Behind the leave, before the room has gone.
        let leave = ada.send("leave", json!({})).await;
        ada.answer(leave).await;
    }
    calls.sort();
    calls.dedup();
    assert_eq!(calls.len(), 3);
    world.until("the room is gone", |w| w.node.counts().rooms == 0).await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_the_last_one_goes_gets_in() {
    let world = World::new().await;
    for steps in 0..16 {
        let mut ada = world.member("ada", "r").await;
        let mut bob = world.client("bob").await;
        let coming = tokio::spawn(async move {
            for _ in 0..steps {
                turn().await;
            }
            bob.join("r").await;
            bob
        });
        ada.ok("leave", json!({})).await;
        coming.await.unwrap().close();
        world.until("the room is gone", |w| w.node.counts().rooms == 0).await;
    }
}
