//! What REST does to rooms that run.

use caside_protocol::rest::{RecordingState, UpdateRoom};
use caside_protocol::view::RoomActivity;
use caside_protocol::{ErrorCode, Role, RoomId};
use serde_json::json;

use crate::support::{World, claims};

fn r() -> RoomId {
    RoomId::new("r").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_room_that_runs_is_shown_and_one_that_does_not_is_not() {
    let world = World::new().await;
    assert_eq!(world.node.room_view(&r()).await.unwrap(), None);
    assert!(world.node.participants(&r()).await.unwrap().is_empty());
    let ada = world.member("ada", "r").await;
    let view = world.node.room_view(&r()).await.unwrap().unwrap();
    assert_eq!(
        (view.state, view.owner.unwrap().as_str()),
        (RoomActivity::Active, "ada")
    );
    assert_eq!(view.participants[0].participant_id.to_string(), ada.participant);
    let live = world.node.live_rooms();
    assert_eq!((live.len(), live[0].participants, live[0].call), (1, 1, view.call_id));
}

#[tokio::test(start_paused = true)]
async fn moderation_is_for_admins_owners_and_roles() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    bob.ask("offer", json!({ "sdp": "microphone" })).await;
    ada.event("track-published").await;
    let who = bob.participant.parse().unwrap();
    let refused = world.node.kick(&r(), who, &claims("eve")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    let mut elsewhere = claims("ada");
    elsewhere.room = Some(RoomId::new("other").unwrap());
    assert_eq!(
        world.node.kick(&r(), who, &elsewhere).await.unwrap_err().code,
        ErrorCode::Forbidden
    );

    let muted = world.node.mute(&r(), who, None, &claims("ada")).await.unwrap();
    assert!(muted.tracks[0].muted);
    assert_eq!(bob.event("track-updated").await["muted"], true);
    let mut admin = claims("root");
    admin.scope = "user admin".to_owned();
    let given = world.node.set_role(&r(), who, Role::Moderator, &admin).await.unwrap();
    assert_eq!(given.role, Role::Moderator);
    assert_eq!(bob.event("role-changed").await["role"], "moderator");
    world.node.kick(&r(), who, &admin).await.unwrap();
    assert_eq!(bob.event("kicked").await, json!({}));
    assert_eq!(
        world.node.kick(&r(), who, &admin).await.unwrap_err().code,
        ErrorCode::ParticipantNotFound
    );
    let nowhere = RoomId::new("nowhere").unwrap();
    assert_eq!(
        world.node.kick(&nowhere, who, &admin).await.unwrap_err().code,
        ErrorCode::RoomNotFound
    );
}

#[tokio::test(start_paused = true)]
async fn recordings_start_and_stop_and_doing_so_again_answers_the_same() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let host = claims("ada");
    let none = world.node.stop_recording(&r(), &host).await.unwrap_err();
    assert_eq!(none.code, ErrorCode::RecordingNotFound);
    let started = world.node.start_recording(&r(), &host).await.unwrap();
    assert_eq!(started.state, RecordingState::Recording);
    assert_eq!(world.node.start_recording(&r(), &host).await.unwrap(), started);
    let stopped = world.node.stop_recording(&r(), &host).await.unwrap();
    assert_eq!((stopped.id, stopped.state), (started.id, RecordingState::Finalizing));
    assert_eq!(world.node.stop_recording(&r(), &host).await.unwrap(), stopped);
    for kind in [
        "recording-started",
        "call-state-changed",
        "recording-stopped",
        "call-state-changed",
    ] {
        ada.event(kind).await;
    }
}

#[tokio::test(start_paused = true)]
async fn ending_the_call_or_the_room_releases_everybody_and_their_sessions_live() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let call = world.node.end_call(&r(), &claims("ada")).await.unwrap();
    let ended = ada.event("call-state-changed").await;
    assert_eq!(
        (&ended["state"], &ended["call_id"]),
        (&json!("ended"), &json!(call.to_string()))
    );
    world.until("the room is gone", |w| w.node.counts().rooms == 0).await;
    assert_eq!(
        world.node.end_call(&r(), &claims("ada")).await.unwrap_err().code,
        ErrorCode::RoomNotFound
    );
    ada.join("r").await;
    assert!(world.node.delete_room(&r()).await.unwrap());
    ada.event("call-state-changed").await;
    world.until("the room is gone", |w| w.node.counts().rooms == 0).await;
    assert!(!world.node.delete_room(&r()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_changed_configuration_holds_at_once() {
    let world = World::new().await;
    world.member("ada", "r").await;
    let ada = world.member("ada", "r").await;
    let change = UpdateRoom {
        locked: Some(true),
        name: Some("Standup".to_owned()),
        ..UpdateRoom::default()
    };
    assert!(world.node.update_room(&r(), &change).await.unwrap());
    let view = world.node.room_view(&r()).await.unwrap().unwrap();
    assert_eq!((view.locked, view.name.as_deref()), (true, Some("Standup")));
    world
        .client("bob")
        .await
        .refused("join", json!({ "room": "r" }), "room_locked")
        .await;
    let nowhere = RoomId::new("nowhere").unwrap();
    assert!(!world.node.update_room(&nowhere, &UpdateRoom::default()).await.unwrap());
    drop(ada);
}
