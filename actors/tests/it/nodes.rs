//! Sessions and rooms on different nodes: what a client sees does not depend on where its socket landed.

use std::time::Duration;

use caside_protocol::{RoomId, TrackId};
use serde_json::json;

use crate::support::{Cluster, claims};

#[tokio::test(start_paused = true)]
async fn members_on_three_nodes_are_in_one_room() {
    let cluster = Cluster::of(3).await;
    let mut ada = cluster.worlds[0].member("ada", "r").await;
    let mut bob = cluster.worlds[1].member("bob", "r").await;
    let mut cyd = cluster.worlds[2].member("cyd", "r").await;
    let owner = cluster.owner("r");
    ada.event("peer-joined").await;
    ada.event("peer-joined").await;
    bob.event("peer-joined").await;
    assert_eq!(cyd.state["participants"].as_array().unwrap().len(), 2);

    bob.ok("chat", json!({ "text": "to all" })).await;
    assert_eq!(ada.event("chat").await["text"], "to all");
    assert_eq!(cyd.event("chat").await["from"], json!(bob.participant));
    ada.ok(
        "data",
        json!({ "topic": "t", "value": {"deep": [1, "two", null, 3.5]}, "to": cyd.participant }),
    )
    .await;
    assert_eq!(cyd.event("data").await["value"], json!({"deep": [1, "two", null, 3.5]}));
    cyd.ok("offer", json!({ "sdp": "v=0", "to": ada.participant, "x": {"y": 1} }))
        .await;
    let relayed = ada.event("offer").await;
    assert_eq!(
        (&relayed["x"], &relayed["from"]),
        (&json!({"y": 1}), &json!(cyd.participant))
    );
    cyd.refused(
        "chat",
        json!({ "text": "x", "to": TrackId::new() }),
        "participant_not_found",
    )
    .await;
    let again = bob.ask("join", json!({ "room": "r" })).await;
    assert_eq!(again["payload"]["participant_id"], json!(bob.participant));

    // By REST, on each node alike.
    let room = RoomId::new("r").unwrap();
    for world in &cluster.worlds {
        let view = world.node.room_view(&room).await.unwrap().unwrap();
        assert_eq!(view.participants.len(), 3);
        assert_eq!(view.node, Some(cluster.member(owner).node));
    }
    let elsewhere = &cluster.worlds[(owner + 1) % 3].node;
    let host = claims("ada");
    let target = cyd.participant.parse().unwrap();
    elsewhere.kick(&room, target, &host).await.unwrap();
    cyd.event("kicked").await;
    cyd.closed_with(4403, "kicked").await;
    assert_eq!(bob.event("peer-left").await["reason"], "kicked");
    ada.event("peer-left").await;
    bob.ok("leave", json!({})).await;
    ada.event("peer-left").await;
    ada.ok("leave", json!({})).await;
    for world in &cluster.worlds {
        assert_eq!(world.node.room_view(&room).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_not_owned_here_is_one_hop_away() {
    let cluster = Cluster::of(3).await;
    let _first = cluster.worlds[0].member("ada", "r").await;
    let owner = cluster.owner("r");
    let other = (owner + 1) % 3;
    let mut bob = cluster.worlds[other].member("bob", "r").await;
    cluster.wires.log.lock().unwrap().clear();
    bob.ok("data", json!({ "topic": "t", "value": 1 })).await;
    let (me, went) = (cluster.member(other), cluster.wires.log.lock().unwrap().clone());
    let sent = went.iter().filter(|(from, _)| *from == me).count();
    let got = went
        .iter()
        .filter(|(from, kind)| *from == cluster.member(owner) && kind.contains("Reply"))
        .count();
    assert_eq!((sent, got), (1, 1), "{went:?}");
    assert!(
        went.iter()
            .all(|(from, _)| *from == me || *from == cluster.member(owner))
    );
}

#[tokio::test(start_paused = true)]
async fn a_race_of_first_joins_makes_one_room() {
    for round in 0..30 {
        let cluster = Cluster::of(3).await;
        let room = format!("room-{round}");
        let mut clients = Vec::new();
        for world in &cluster.worlds {
            let mut client = world.client("ada").await;
            let id = client.send("join", json!({ "room": room })).await;
            clients.push((client, id));
        }
        for (client, id) in &mut clients {
            let joined = client.answer(*id).await;
            assert_eq!(joined["type"], "joined", "{joined}");
        }
        let owner = cluster.owner(&room);
        let view = cluster.worlds[owner].node.room_view(&RoomId::new(room).unwrap()).await;
        assert_eq!(view.unwrap().unwrap().participants.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_client_comes_back_on_another_node_to_what_it_missed() {
    let cluster = Cluster::of(3).await;
    let mut ada = cluster.worlds[0].member("ada", "r").await;
    let mut bob = cluster.worlds[0].member("bob", "r").await;
    ada.event("peer-joined").await;
    let participant = bob.participant.clone();
    for (round, node) in [1, 2, 0, 2].into_iter().enumerate() {
        bob.drop_socket();
        assert_eq!(ada.event("connection-quality").await["quality"], "lost");
        for n in 0..3 {
            ada.ok("chat", json!({ "text": format!("{round} {n}") })).await;
        }
        let resumed = bob.resume(cluster.worlds[node].socket().await).await;
        assert_eq!(resumed["payload"]["participant_id"], json!(participant), "{resumed}");
        assert_eq!(resumed["payload"]["reset"], false);
        for n in 0..3 {
            assert_eq!(bob.event("chat").await["text"], format!("{round} {n}"));
        }
        assert_eq!(ada.event("connection-quality").await["quality"], "good");
        bob.ok("chat", json!({ "text": "here" })).await;
        assert_eq!(ada.event("chat").await["text"], "here");
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    ada.silence().await;
    bob.ok("leave", json!({})).await;
    ada.event("peer-left").await;
}

#[tokio::test(start_paused = true)]
async fn a_live_socket_is_replaced_by_one_on_another_node() {
    let cluster = Cluster::of(2).await;
    let mut ada = cluster.worlds[0].member("ada", "r").await;
    let mut bob = cluster.worlds[0].member("bob", "r").await;
    ada.event("peer-joined").await;
    let mut next = cluster.worlds[1].socket().await;
    let resume = json!({ "resume_token": bob.token, "last_seq": bob.last_seq });
    let resumed = next.ask("resume", resume.clone()).await;
    assert_eq!(resumed["type"], "resumed", "{resumed}");
    bob.closed_with(4001, "replaced").await;
    // Its token is used up, here and there.
    for world in &cluster.worlds {
        world
            .socket()
            .await
            .refused("resume", resume.clone(), "resume_expired")
            .await;
    }
    ada.ok("chat", json!({ "text": "still there?" })).await;
    assert_eq!(next.event("chat").await["text"], "still there?");
}

#[tokio::test(start_paused = true)]
async fn a_session_outside_of_rooms_goes_along_too() {
    let cluster = Cluster::of(2).await;
    let mut ada = cluster.worlds[0].client("ada").await;
    ada.drop_socket();
    let resumed = ada.resume(cluster.worlds[1].socket().await).await;
    assert_eq!(resumed["payload"]["participant_id"], json!(null));
    ada.join("r").await;
    assert_eq!(cluster.worlds[0].node.counts().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cut_wire_costs_no_event() {
    let cluster = Cluster::of(2).await;
    let _ada = cluster.worlds[0].member("ada", "r").await;
    let (owner, other) = (cluster.owner("r"), 1 - cluster.owner("r"));
    let mut bob = cluster.worlds[other].member("bob", "r").await;
    let mut cyd = cluster.worlds[owner].member("cyd", "r").await;
    bob.event("peer-joined").await;
    cluster.cut(0, 1);
    let lost = cyd.event("connection-quality").await;
    assert_eq!(lost["quality"], "lost");
    cyd.ok("chat", json!({ "text": "while cut" })).await;
    bob.refused("chat", json!({ "text": "nobody hears" }), "moving").await;
    cluster.mend(0, 1);
    loop {
        let event = bob.next().await;
        if event["type"] == "chat" {
            assert_eq!(event["payload"]["text"], "while cut");
            break;
        }
    }
    bob.ok("chat", json!({ "text": "back" })).await;
    cyd.event("connection-quality").await;
}
