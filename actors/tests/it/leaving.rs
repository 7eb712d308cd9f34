//! Requests under way to a node that goes: each is answered, and whoever comes gets in.

use std::time::Duration;

use caside_protocol::ErrorCode;
use serde_json::json;

use crate::support::Cluster;

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
