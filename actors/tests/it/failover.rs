//! A room whose node is killed, cut off or drained goes on at another: the same participants, events numbered without a gap,
//! media asked to move, the recording continued.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use caside_actors::node::Limits;
use caside_protocol::RoomId;
use serde_json::{Value, json};

use crate::support::{Client, Cluster, Slow};

/// A room with one member on each of three nodes; the owner's number, and the members by node.
async fn three(cluster: &Cluster) -> (usize, Vec<Client>) {
    let mut members = Vec::new();
    for (n, user) in ["ada", "bob", "cyd"].into_iter().enumerate() {
        members.push(cluster.worlds[n].member(user, "r").await);
    }
    members[0].event("peer-joined").await;
    members[0].event("peer-joined").await;
    members[1].event("peer-joined").await;
    // What changed last is kept by now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    (cluster.owner("r"), members)
}

/// The next event that says that the room moved; those before it are left out.
async fn moved(client: &mut Client) -> Value {
    loop {
        let event = client.next().await;
        assert_ne!(event["type"], "peer-left", "{event}");
        if event["type"] == "room-moved" {
            if event["payload"]["reason"] == "failover" {
                assert_eq!(client.event("connection-quality").await["cause"], "owner_lost");
            }
            return event["payload"].clone();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_owner_costs_no_participant_and_no_event_number() {
    let cluster = Cluster::of(3).await;
    let (owner, mut members) = three(&cluster).await;
    let ids: Vec<String> = members.iter().map(|m| m.participant.clone()).collect();
    cluster.kill(owner);
    let survivors: Vec<usize> = (0..3).filter(|n| *n != owner).collect();
    for n in &survivors {
        let moved = moved(&mut members[*n]).await;
        assert_eq!((&moved["reason"], &moved["reset"]), (&json!("failover"), &json!(true)));
        assert_eq!(moved["room_state"]["participants"].as_array().unwrap().len(), 2);
        assert_eq!(moved["you"]["participant_id"], json!(ids[*n]));
    }
    let next = cluster.owner("r");
    assert_ne!(next, owner);
    members[survivors[0]].ok("chat", json!({ "text": "still here" })).await;
    assert_eq!(
        members[survivors[1]].event("chat").await["from"],
        json!(ids[survivors[0]])
    );

    // The one whose socket died with the node comes back by any other.
    let mut lost = members.remove(owner);
    lost.drop_socket();
    let resumed = lost.resume(cluster.worlds[survivors[1]].socket().await).await;
    assert_eq!(resumed["payload"]["participant_id"], json!(ids[owner]), "{resumed}");
    assert_eq!(resumed["payload"]["reset"], true);
    assert_eq!(
        resumed["payload"]["room_state"]["participants"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    moved(&mut lost).await;
    lost.ok("chat", json!({ "text": "back" })).await;

    let room = RoomId::new("r").unwrap();
    let view = cluster.worlds[survivors[0]]
        .node
        .room_view(&room)
        .await
        .unwrap()
        .unwrap();
    let mut now: Vec<String> = view.participants.iter().map(|p| p.participant_id.to_string()).collect();
    now.sort();
    let mut before = ids.clone();
    before.sort();
    assert_eq!(now, before);
    assert_eq!(view.node, Some(cluster.member(next).node));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_come_back_leaves_when_the_grace_time_is_over() {
    let cluster = Cluster::of(3).await;
    let (owner, mut members) = three(&cluster).await;
    let gone = members[owner].participant.clone();
    cluster.kill(owner);
    let one = (owner + 1) % 3;
    moved(&mut members[one]).await;
    tokio::time::sleep(Duration::from_secs(16)).await;
    let left = members[one].event("peer-left").await;
    assert_eq!(
        (&left["participant_id"], &left["reason"]),
        (&json!(gone), &json!("connection_lost"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_death_is_survived_too() {
    let cluster = Cluster::of(4).await;
    let mut ada = cluster.worlds[3].member("ada", "r").await;
    let first = cluster.owner("r");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let participant = ada.participant.clone();
    let mut alive = vec![0, 1, 2, 3];
    let mut home = 3;
    for _ in 0..2 {
        let owner = cluster.owner_among("r", &alive);
        cluster.kill(owner);
        alive.retain(|n| *n != owner);
        if owner == home {
            home = alive[0];
            ada.drop_socket();
            let resumed = ada.resume(cluster.worlds[home].socket().await).await;
            assert_eq!(resumed["payload"]["participant_id"], json!(participant), "{resumed}");
        }
        moved(&mut ada).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(alive.len() == 2 && first < 4);
    ada.ok("chat", json!({ "text": "alone" })).await;
}

#[tokio::test(start_paused = true)]
async fn another_node_that_dies_with_a_socket_only_costs_the_socket() {
    let cluster = Cluster::of(3).await;
    let (owner, mut members) = three(&cluster).await;
    let dead = (owner + 1) % 3;
    cluster.kill(dead);
    let lost = members[owner].event("connection-quality").await;
    assert_eq!(lost["quality"], "lost");
    members[owner].ok("chat", json!({ "text": "missed" })).await;
    let mut back = members.remove(dead);
    back.drop_socket();
    let other = (0..3).find(|n| *n != owner && *n != dead).unwrap();
    let participant = back.participant.clone();
    let resumed = back.resume(cluster.worlds[other].socket().await).await;
    assert_eq!(resumed["payload"]["participant_id"], json!(participant), "{resumed}");
    assert_eq!(resumed["payload"]["reset"], false);
    loop {
        let event = back.next().await;
        if event["type"] == "chat" {
            break assert_eq!(event["payload"]["text"], "missed");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drained_node_hands_its_rooms_over_with_every_event() {
    let cluster = Cluster::of(3).await;
    let (owner, mut members) = three(&cluster).await;
    let speaker = (owner + 1) % 3;
    for n in 0..5 {
        members[speaker].ok("chat", json!({ "text": n.to_string() })).await;
    }
    let node = cluster.worlds[owner].node.clone();
    let draining = tokio::spawn(async move { node.drain(Duration::from_secs(30)).await });
    for (n, member) in members.iter_mut().enumerate() {
        let mut chats = 0;
        loop {
            let event = member.next().await;
            assert_ne!(event["type"], "peer-left", "{event}");
            match event["type"].as_str().unwrap() {
                "chat" => chats += 1,
                "room-moved" => {
                    assert_eq!(event["payload"]["reason"], "drain");
                    break;
                }
                _ => {}
            }
        }
        assert_eq!(chats, if n == speaker { 0 } else { 5 }, "member {n}");
    }
    members[owner].event("goodbye").await;
    draining.await.unwrap();
    cluster.kill(owner);
    let mut back = members.remove(owner);
    let participant = back.participant.clone();
    let resumed = back.resume(cluster.worlds[speaker].socket().await).await;
    assert_eq!(resumed["payload"]["participant_id"], json!(participant), "{resumed}");
    back.ok("chat", json!({ "text": "moved" })).await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_rooms_of_a_killed_node_are_taken_over() {
    let cluster = Cluster::of(2).await;
    let mut members = Vec::new();
    for n in 0..400 {
        let (user, room) = (format!("user-{n}"), format!("room-{n}"));
        members.push(cluster.worlds[1].member(&user, &room).await);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = cluster.worlds[0].node.counts().rooms;
    assert!(before > 100, "{before}");
    cluster.kill(0);
    cluster.worlds[1]
        .until("every room runs", |world| world.node.counts().rooms == 400)
        .await;
    let mut moves = 0;
    for member in &mut members {
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(10), member.next()).await {
            assert_eq!(event["type"], "room-moved");
            moves += 1;
        }
    }
    assert_eq!(moves, before);
}

/// A node that had many rooms costs the directory no burst: the lease of who takes them over is renewed beside its claims.
#[tokio::test(start_paused = true)]
async fn many_rooms_are_taken_over_few_at_a_time() {
    const ROOMS: usize = 400;
    let ways = Mutex::new(Vec::new());
    let cluster = Cluster::asking(2, Limits::default(), |directory| {
        let way = Slow::new(directory);
        ways.lock().unwrap().push(way.clone());
        way
    })
    .await;
    let rooms: Vec<String> = (0..ROOMS).map(|n| format!("r{n}")).collect();
    let mut members = Vec::new();
    for room in &rooms {
        members.push(cluster.worlds[0].member(room, room).await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let lost = rooms.iter().filter(|room| cluster.owner(room) == 0).count();
    assert!(lost > 100, "{lost} of {ROOMS}");
    cluster.kill(0);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(rooms.iter().all(|room| cluster.owner(room) == 1));
    let most = ways.lock().unwrap()[1].most_claims.load(Ordering::Relaxed);
    assert!((32..=64).contains(&most), "{most} claims at once");
}
