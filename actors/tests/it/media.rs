//! The room's side of media: the SFU is asked, its answers and tracks are told, recordings follow.

use std::sync::atomic::Ordering;

use caside_actors::ports::RecorderEvent;
use caside_actors::sfu::SfuEvent;
use caside_protocol::client::Target;
use caside_protocol::rest::RecordingState;
use caside_protocol::server::RecordingFinished;
use caside_protocol::view::RecordPolicy;
use serde_json::json;

use crate::support::World;

#[tokio::test(start_paused = true)]
async fn the_sfu_starts_with_the_first_offer_and_everybody_is_attached() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    assert_eq!(world.sfus.open(), 0);
    let answer = ada
        .ask("offer", json!({ "target": "publish", "sdp": "microphone camera" }))
        .await;
    assert_eq!(
        (&answer["type"], &answer["payload"]["target"]),
        (&json!("answer"), &json!("publish"))
    );
    assert_eq!(answer["payload"]["tracks"].as_object().unwrap().len(), 2);
    assert_eq!(world.sfus.last().orders(), ["attach", "attach", "publish"]);
    for source in ["microphone", "camera"] {
        let track = bob.event("track-published").await;
        assert_eq!(
            (&track["source"], &track["participant_id"]),
            (&json!(source), &json!(ada.participant))
        );
    }
    let eve = world.member("eve", "r").await;
    assert_eq!(eve.state["participants"][0]["tracks"].as_array().unwrap().len(), 2);
    assert_eq!(world.sfus.last().orders(), ["attach"]);
    bob.close();
    world
        .until("bob is detached", |w| w.sfus.last().orders() == ["detach"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_sfu_refuses_is_told_and_hurts_nobody() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    ada.refused("offer", json!({ "sdp": "nonsense" }), "bad_sdp").await;
    ada.refused("offer", json!({ "sdp": "full" }), "overloaded").await;
    assert_eq!(ada.ask("offer", json!({ "sdp": "camera" })).await["type"], "answer");
    let stats = ada.ask("stats", json!({})).await;
    assert_eq!(stats["payload"]["connections"], json!([1]));
    assert_eq!(world.sfus.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_sfu_that_does_not_start_is_asked_again_with_the_next_offer() {
    let world = World::new().await;
    world.sfus.fails.store(true, Ordering::Relaxed);
    let mut ada = world.member("ada", "r").await;
    ada.refused("offer", json!({ "sdp": "camera" }), "overloaded").await;
    world.sfus.fails.store(false, Ordering::Relaxed);
    assert_eq!(ada.ask("offer", json!({ "sdp": "camera" })).await["type"], "answer");
}

#[tokio::test(start_paused = true)]
async fn an_sfu_that_takes_no_orders_is_replaced_and_media_moves() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    ada.ask("offer", json!({ "sdp": "camera" })).await;
    let broken = world.sfus.last();
    // The double refuses this order, which is no request that could be refused in turn.
    ada.ok("hold", json!({})).await;
    for kind in ["track-unpublished", "room-moved"] {
        ada.event(kind).await;
    }
    assert_eq!(world.sfus.open(), 0);
    // What the old one still says is not heard.
    broken.report(SfuEvent::ActiveSpeakers { tracks: Vec::new() });
    ada.ok("unhold", json!({})).await;
    assert_eq!(ada.ask("offer", json!({ "sdp": "camera" })).await["type"], "answer");
    assert_eq!(world.sfus.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn media_stays_attached_over_a_resume() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    ada.ask("offer", json!({ "sdp": "camera" })).await;
    world.sfus.last().orders();
    ada.drop_socket();
    ada.resume(world.socket().await).await;
    ada.ok("chat", json!({ "text": "x" })).await;
    assert_eq!(world.sfus.last().orders(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn offers_and_failures_of_the_sfu_are_numbered_events() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    ada.ask("offer", json!({ "sdp": "camera" })).await;
    let participant = ada.participant.parse().unwrap();
    let sfu = world.sfus.last();
    sfu.report(SfuEvent::SubscribeOffer {
        participant,
        sdp: "v=0".to_owned(),
        tracks: [].into(),
    });
    assert_eq!(ada.event("offer").await["target"], "subscribe");
    sfu.report(SfuEvent::Disconnected {
        participant,
        target: Target::Publish,
        cause: "ice_timeout",
    });
    let quality = ada.event("connection-quality").await;
    assert_eq!(
        (&quality["quality"], &quality["cause"]),
        (&json!("poor"), &json!("ice_timeout"))
    );
    sfu.report(SfuEvent::Connected {
        participant,
        target: Target::Publish,
    });
    assert_eq!(ada.event("connection-quality").await["quality"], "good");
}

#[tokio::test(start_paused = true)]
async fn a_recording_is_told_to_all_and_hears_of_tracks_until_it_is_stopped() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    bob.ask("offer", json!({ "sdp": "microphone" })).await;
    ada.event("track-published").await;
    bob.refused("start-recording", json!({}), "forbidden").await;
    let started = ada.ok("start-recording", json!({})).await;
    for client in [&mut ada, &mut bob] {
        assert_eq!(
            client.event("recording-started").await["recording_id"],
            started["recording_id"]
        );
        assert_eq!(client.event("call-state-changed").await["state"], "recording");
    }
    let recorder = world.recorders.last();
    assert_eq!(json!(recorder.job.recording.to_string()), started["recording_id"]);
    let eve = world.member("eve", "r").await;
    assert_eq!(eve.state["recording"], started["recording_id"]);
    bob.ok("hold", json!({ "track": "audio" })).await;
    ada.ok("stop-recording", json!({})).await;
    bob.event("peer-joined").await;
    assert_eq!(
        bob.event("recording-stopped").await["recording_id"],
        started["recording_id"]
    );
    assert_eq!(bob.event("call-state-changed").await["state"], "active");
    assert_eq!(recorder.told(), ["published", "paused true", "stop"]);
    bob.silence().await;
    recorder.report(RecorderEvent::Finished(Box::new(RecordingFinished {
        recording_id: recorder.job.recording,
        state: RecordingState::Ready,
        error: None,
        duration_ms: 2_000,
        size_bytes: 10,
        files: Vec::new(),
    })));
    let finished = bob.event("recording-finished").await;
    assert_eq!(
        (&finished["recording_id"], &finished["state"]),
        (&started["recording_id"], &json!("ready"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_recorder_stops_with_its_call_and_with_a_room_that_fails() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    ada.ok("start-recording", json!({})).await;
    ada.close();
    world.until_empty().await;
    assert_eq!(world.recorders.last().told(), ["stop"]);

    let mut ada = world.member("ada", "r").await;
    ada.ok("start-recording", json!({})).await;
    world.journal.panics_on_lock.store(true, Ordering::Relaxed);
    ada.refused("lock", json!({}), "internal").await;
    world
        .until("the recorder stopped", |w| w.recorders.last().told() == ["stop"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_does_not_start_is_an_error_to_who_asked_alone() {
    let world = World::new().await;
    world.recorders.fails.store(true, Ordering::Relaxed);
    let mut ada = world.member("ada", "r").await;
    ada.refused("start-recording", json!({}), "dependency_unavailable")
        .await;
    ada.silence().await;
    world.recorders.fails.store(false, Ordering::Relaxed);
    ada.ok("start-recording", json!({})).await;
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_always_recorded_starts_with_the_first_track() {
    let world = World::new().await;
    world.catalog.add("r", |room| room.room.record = RecordPolicy::Auto);
    let mut ada = world.member("ada", "r").await;
    assert!(world.recorders.started.lock().unwrap().is_empty());
    ada.ask("offer", json!({ "sdp": "microphone camera" })).await;
    ada.event("recording-started").await;
    assert_eq!(world.recorders.last().told(), ["published", "published"]);
}
