//! Requests under way to a node that goes: each is answered, and whoever comes gets in.

use std::time::Duration;

use caside_actors::node::Limits;
use caside_protocol::{ErrorCode, RoomId};
use serde_json::json;

use crate::support::{Cluster, Slow, turn};

/// Two nodes of three that stay, beside the owner of `room`.
async fn owner_and_others(cluster: &Cluster, room: &str) -> (usize, [usize; 2]) {
    let mut first = cluster.worlds[0].member("first", room).await;
    let owner = cluster.owner(room);
    first.ok("leave", json!({})).await;
    (owner, [(owner + 1) % 3, (owner + 2) % 3])
}

#[tokio::test(start_paused = true)]
async fn who_is_sent_to_a_node_that_has_ended_gets_in_elsewhere() {
    let cluster = Cluster::of(3).await;
    let (gone, [one, other]) = owner_and_others(&cluster, "r").await;
    cluster.worlds[gone].node.drain(Duration::from_secs(30)).await;
    // The others have not heard that it drains, and its links are not closed yet.
    cluster.wires.forget_drains();
    let mut ada = cluster.worlds[one].client("ada").await;
    let join = ada.send("join", json!({ "room": "r" })).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    cluster.kill(gone);
    let joined = ada.answer(join).await;
    assert_eq!(joined["type"], "joined", "{joined}");
    ada.joined(&joined["payload"]);
    let mut bob = cluster.worlds[other].member("bob", "r").await;
    bob.ok("chat", json!({ "text": "here" })).await;
    ada.event("peer-joined").await;
    assert_eq!(ada.event("chat").await["text"], "here");
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_though_its_node_has_ended_and_is_not_gone_yet() {
    let cluster = Cluster::of(3).await;
    let (owner, [home, other]) = owner_and_others(&cluster, "r").await;
    let mut ada = cluster.worlds[home].member("ada", "r").await;
    assert_eq!(cluster.owner("r"), owner);
    let participant = ada.participant.clone();
    let node = cluster.worlds[home].node.clone();
    let draining = tokio::spawn(async move { node.drain(Duration::from_secs(30)).await });
    ada.event("goodbye").await;
    draining.await.unwrap();
    ada.drop_socket();
    let mut socket = cluster.worlds[other].socket().await;
    let asked = json!({ "resume_token": ada.token, "last_seq": ada.last_seq });
    let (resumed, ()) = tokio::join!(socket.ask("resume", asked), async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        cluster.kill(home);
    });
    assert_eq!(resumed["payload"]["participant_id"], json!(participant), "{resumed}");
    socket.ok("chat", json!({ "text": "still here" })).await;
}

#[tokio::test(start_paused = true)]
async fn what_another_node_never_answers_is_refused_in_time() {
    let cluster = Cluster::of(3).await;
    let (owner, [one, other]) = owner_and_others(&cluster, "r").await;
    let mut ada = cluster.worlds[one].member("ada", "r").await;
    cluster.wires.deafen(&cluster.member(owner));
    let mut bob = cluster.worlds[other].client("bob").await;
    let join = bob.send("join", json!({ "room": "r" })).await;
    let chat = ada.send("chat", json!({ "text": "to nobody" })).await;
    for _ in 0..11 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for world in &cluster.worlds {
            world.node.describe();
        }
    }
    for (client, request) in [(&mut bob, join), (&mut ada, chat)] {
        let answer = client.answer(request).await;
        assert_eq!(answer["payload"]["code"], "moving", "{answer}");
        assert_eq!(answer["payload"]["retryable"], true, "{answer}");
    }
    // Neither is out of order: what is asked next is answered.
    cluster.wires.hear_again(&cluster.member(owner));
    bob.join("r").await;
    bob.ok("chat", json!({ "text": "heard" })).await;
    ada.event("peer-joined").await;
    assert_eq!(ada.event("chat").await["text"], "heard");
}

#[tokio::test(start_paused = true)]
async fn who_is_at_a_node_that_lost_touch_comes_back_by_another() {
    let cluster = Cluster::of(3).await;
    let (_, [home, other]) = owner_and_others(&cluster, "r").await;
    let mut ada = cluster.worlds[home].member("ada", "r").await;
    let participant = ada.participant.clone();
    cluster.fence(home);
    ada.closed_with(1001, "going_away").await;
    let refused = cluster.worlds[home].open(None).await.map(drop).unwrap_err();
    assert_eq!(refused.code, ErrorCode::DependencyUnavailable);
    let resumed = ada.resume(cluster.worlds[other].socket().await).await;
    assert_eq!(resumed["payload"]["participant_id"], json!(participant), "{resumed}");
    ada.ok("chat", json!({ "text": "still here" })).await;
}

/// Whoever joins at the node that a room is handed over to, at whatever moment of it, is in the one room that there is.
#[tokio::test(start_paused = true)]
async fn who_joins_at_any_moment_of_a_handover_is_in_the_one_room() {
    let room = RoomId::new("r").unwrap();
    for turns in -80_i32..80 {
        let cluster = Cluster::asking(2, Limits::default(), Slow::new).await;
        let mut ada = cluster.worlds[0].member("ada", "r").await;
        let owner = cluster.owner("r");
        let next = 1 - owner;
        let mut bob = cluster.worlds[next].client("bob").await;
        let node = cluster.worlds[owner].node.clone();
        // The one begins so many turns before the other.
        let draining = tokio::spawn(async move {
            wait(-turns).await;
            node.drain(Duration::from_secs(30)).await;
        });
        let joining = tokio::spawn(async move {
            wait(turns).await;
            let join = bob.send("join", json!({ "room": "r" })).await;
            let joined = bob.answer(join).await;
            (bob, joined)
        });
        let (mut bob, joined) = joining.await.unwrap();
        assert_eq!(joined["type"], "joined", "after {turns} turns: {joined}");
        bob.joined(&joined["payload"]);
        draining.await.unwrap();
        cluster.kill(owner);
        assert_eq!(cluster.owner("r"), next, "after {turns} turns");
        let view = cluster.worlds[next].node.room_view(&room).await.unwrap().unwrap();
        let mut members: Vec<_> = view.participants.iter().map(|p| p.participant_id.to_string()).collect();
        members.sort();
        let mut both = [ada.participant.clone(), bob.participant.clone()];
        both.sort();
        assert_eq!(members, both, "after {turns} turns");
        let cyd = cluster.worlds[next].member("cyd", "r").await;
        assert_eq!(
            cyd.state["participants"].as_array().unwrap().len(),
            2,
            "after {turns} turns"
        );
        if owner == 0 {
            let resumed = ada.resume(cluster.worlds[next].socket().await).await;
            assert_eq!(resumed["type"], "resumed", "after {turns} turns: {resumed}");
        }
        bob.ok("chat", json!({ "text": "here" })).await;
        while ada.next().await["type"] != "chat" {}
    }
}

/// Lets a task's others run so often; not at all when that is past. Only a task that was spawned takes turns with the others.
async fn wait(turns: i32) {
    for _ in 0..turns {
        turn().await;
    }
}
