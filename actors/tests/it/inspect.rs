//! What operators see: every actor of every node, whichever is asked; also those that are stuck and those that failed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use caside_protocol::RoomId;
use caside_protocol::inspect::{ActorQuery, ActorView, Actors};
use caside_protocol::view::Quality;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Cluster, World};

fn all() -> ActorQuery {
    ActorQuery {
        kind: None,
        room: None,
        limit: 1000,
    }
}

fn of_kind(kind: &str) -> ActorQuery {
    ActorQuery {
        kind: Some(kind.to_owned()),
        ..all()
    }
}

fn of_room(room: &str) -> ActorQuery {
    ActorQuery {
        room: Some(RoomId::new(room).unwrap()),
        ..all()
    }
}

fn kinds(actors: &Actors) -> Vec<&str> {
    actors.items.iter().map(|actor| actor.kind.as_str()).collect()
}

fn the_room<'a>(actors: &'a Actors, room: &str) -> &'a ActorView {
    let mut rooms = actors.items.iter().filter(|actor| actor.kind == "room");
    let found = rooms.find(|actor| actor.name.as_deref() == Some(room));
    found.unwrap_or_else(|| panic!("{room} is not among {actors:?}"))
}

#[tokio::test(start_paused = true)]
async fn any_node_answers_for_the_actors_of_all() {
    let cluster = Cluster::of(3).await;
    let mut ada = cluster.worlds[0].member("ada", "r").await;
    let bob = cluster.worlds[1].member("bob", "r").await;
    let _eve = cluster.worlds[2].member("eve", "other").await;
    ada.event("peer-joined").await;
    let owner = cluster.member(cluster.owner("r")).node;
    let mut seen = Vec::new();
    for world in &cluster.worlds {
        let actors = world.node.actors(&all(), None).await;
        assert_eq!((actors.total, actors.truncated), (3 * 4 + 2 + 3, false));
        assert!(actors.silent.is_empty() && actors.items.iter().all(|actor| actor.answers));
        let room = the_room(&actors, "r");
        assert_eq!(
            (&room.node, room.room.as_ref().map(RoomId::as_str)),
            (&owner, Some("r"))
        );
        let state = room.state.as_ref().unwrap();
        assert_eq!((&state["mode"], &state["participants"]), (&json!("sfu"), &json!(2)));
        // Each is below its supervisor, up to the roots.
        for actor in &actors.items {
            let parent = actors.items.iter().find(|it| Some(&it.id) == actor.parent.as_ref());
            match actor.kind.as_str() {
                "node" => assert_eq!((parent, actor.children), (None, 3)),
                "room" => assert_eq!(parent.unwrap().kind, "rooms"),
                "peer" => assert_eq!(parent.unwrap().kind, "peers"),
                _ => assert_eq!(parent.unwrap().kind, "node"),
            }
            assert!(parent.is_none_or(|parent| parent.node == actor.node));
        }
        let mut ids: Vec<String> = actors.items.iter().map(|actor| actor.id.clone()).collect();
        ids.sort_unstable();
        seen.push(ids);
    }
    assert!(seen.iter().all(|ids| *ids == seen[0]), "{seen:?}");

    // Filters.
    let asked = &cluster.worlds[2].node;
    assert_eq!(
        kinds(&asked.actors(&of_room("r"), None).await),
        ["room", "peer", "peer"]
    );
    assert_eq!(kinds(&asked.actors(&of_kind("invites"), None).await), ["invites"; 3]);
    let of_bobs = asked.actors(&of_kind("peer"), Some(&cluster.member(1).node)).await;
    assert_eq!(kinds(&of_bobs), ["peer"]);
    let state = of_bobs.items[0].state.as_ref().unwrap();
    assert_eq!((&state["user"], &state["room"]), (&json!("bob"), &json!("r")));
    assert_eq!(state["participant_id"], json!(bob.participant));
    assert_eq!(state["socket"]["dialect"], "json");
    let few = asked.actors(&ActorQuery { limit: 5, ..all() }, None).await;
    assert_eq!((few.items.len(), few.total, few.truncated), (5, 17, true));
    assert!(
        kinds(&few).iter().all(|kind| ["node", "rooms"].contains(kind)),
        "{few:?}"
    );

    // Looking is not work: nothing is counted as handled.
    let handled = |actors: &Actors| the_room(actors, "r").mailbox.as_ref().unwrap().handled;
    let before = handled(&asked.actors(&all(), None).await);
    assert_eq!(handled(&asked.actors(&all(), None).await), before);
    ada.ok("chat", json!({ "text": "x" })).await;
    assert_eq!(handled(&asked.actors(&all(), None).await), before + 1);

    // Whoever leaves the room is not among its actors.
    ada.ok("leave", json!({})).await;
    assert_eq!(kinds(&asked.actors(&of_room("r"), None).await), ["room", "peer"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_named() {
    let cluster = Cluster::of(2).await;
    let asked = &cluster.worlds[0].node;
    let gone = cluster.member(1).node;
    cluster.kill(1);
    let actors = asked.actors(&all(), None).await;
    assert!(actors.silent.is_empty() && actors.items.iter().all(|actor| actor.node != gone));
    let actors = asked.actors(&all(), Some(&gone)).await;
    assert_eq!((actors.items.len(), actors.silent), (0, vec![gone]));
}

#[tokio::test(start_paused = true)]
async fn a_room_that_failed_is_shown_with_its_error_and_its_restart() {
    let cluster = Cluster::of(2).await;
    let mut ada = cluster.worlds[0].member("ada", "r").await;
    let owner = cluster.owner("r");
    let other = &cluster.worlds[1 - owner].node;
    let before = other.actors(&of_room("r"), None).await;
    assert_eq!((the_room(&before, "r").restarts, before.failures.len()), (0, 0));
    cluster.worlds[owner]
        .journal
        .panics_on_lock
        .store(true, Ordering::Relaxed);
    ada.refused("lock", json!({}), "internal").await;
    cluster.worlds[owner]
        .until("the room is gone", |world| world.node.counts().rooms == 0)
        .await;

    // While nobody has begun it anew.
    let after = other.actors(&of_room("r"), None).await;
    assert!(after.items.iter().all(|actor| actor.kind != "room"), "{after:?}");
    let failure = &after.failures[0];
    assert_eq!(
        (failure.kind.as_str(), failure.name.as_deref(), failure.failures),
        ("room", Some("r"), 1)
    );
    assert_eq!(failure.node, cluster.member(owner).node);
    assert!(failure.error.message.contains("as the test wishes"), "{failure:?}");

    // And after.
    ada.event("error").await;
    let others_room = cluster.worlds[owner].member("bob", "r").await;
    let again = other.actors(&of_room("r"), None).await;
    let room = the_room(&again, "r");
    if room.node == cluster.member(owner).node {
        assert_eq!(room.restarts, 1);
        assert_eq!(room.last_error.as_ref(), Some(&failure.error));
    }
    assert_eq!(again.failures.len(), 1);
    drop(others_room);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_failed_is_among_the_failures() {
    let world = World::new().await;
    let mut mallory = world.socket().await;
    mallory.send("auth", json!({ "token": "mallory" })).await;
    mallory.closed_with(1011, "internal").await;
    world
        .until("it is gone", |world| world.node.counts().sessions == 0)
        .await;
    let actors = world.node.actors(&of_kind("peer"), None).await;
    assert_eq!((actors.total, actors.failures.len()), (0, 1));
    assert!(actors.failures[0].error.message.contains("mallory"), "{actors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_actor_that_is_stuck_is_shown_so_and_holds_nobody_up() {
    let cluster = Cluster::of(2).await;
    let mut ada = cluster.worlds[0].member("ada", "stuck").await;
    let _eve = cluster.worlds[0].member("eve", "well").await;
    let (owner, journal) = (cluster.owner("stuck"), &cluster.worlds[0].journal);
    journal.holds_on_lock.store(true, Ordering::Relaxed);
    let lock = ada.send("lock", json!({})).await;
    let waiting = ada.send("chat", json!({ "text": "waits" })).await;
    let asked = &cluster.worlds[1 - owner].node;
    let is_stuck = |actors: &Actors| {
        let mailbox = the_room(actors, "stuck").mailbox.clone().unwrap();
        mailbox.busy_ms.is_some() && mailbox.depth == 1
    };
    let mut actors = asked.actors(&all(), None).await;
    while !is_stuck(&actors) {
        actors = asked.actors(&all(), None).await;
    }
    // Whoever asks more than once leaves one question there, not many.
    let began = Instant::now();
    for _ in 0..3 {
        actors = asked.actors(&all(), None).await;
        assert!(is_stuck(&actors));
    }
    eprintln!("three answers with a stuck actor took {:?}", began.elapsed());
    let stuck = the_room(&actors, "stuck");
    assert_eq!((stuck.answers, &stuck.state), (false, &None));
    assert!(actors.silent.is_empty());
    let others = actors.items.iter().filter(|actor| actor.id != stuck.id);
    assert!(others.clone().count() > 6 && others.clone().all(|actor| actor.answers));
    journal.holds_on_lock.store(false, Ordering::Relaxed);
    for id in [lock, waiting] {
        assert_eq!(ada.answer(id).await["type"], "ok");
    }
    let actors = asked.actors(&all(), None).await;
    let well = the_room(&actors, "stuck");
    assert_eq!(well.state.as_ref().unwrap()["locked"], true);
    assert_eq!(well.mailbox.as_ref().unwrap().depth, 0);
    assert!(well.mailbox.as_ref().unwrap().high_water >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_room_in_full_comes_from_whoever_has_it() {
    let cluster = Cluster::of(2).await;
    let mut ada = cluster.worlds[0].member("ada", "r").await;
    let mut bob = cluster.worlds[1].member("bob", "r").await;
    ada.event("peer-joined").await;
    ada.ask("offer", json!({ "sdp": "camera" })).await;
    bob.event("track-published").await;
    bob.drop_socket();
    ada.event("connection-quality").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (room, owner) = (RoomId::new("r").unwrap(), cluster.owner("r"));
    for world in &cluster.worlds {
        let seen = world.node.examine_room(&room).await.unwrap().unwrap();
        assert_eq!(seen.node, cluster.member(owner).node);
        assert_eq!(seen.standby, Some(cluster.member(1 - owner).node));
        assert!(seen.epoch > 0 && seen.sfu == "up");
        assert_eq!(seen.room.participants.len(), 2);
        let of = |who: &str| {
            let members = seen.members.iter().zip(&seen.room.participants);
            let mut of_user = members.filter(|(_, participant)| participant.user.as_str() == who);
            of_user.next().unwrap()
        };
        let ((ada, as_shown), (bob, _)) = (of("ada"), of("bob"));
        assert_eq!(ada.participant_id, as_shown.participant_id);
        assert_eq!((&ada.node, ada.quality), (&cluster.member(0).node, Quality::Good));
        assert_eq!((&bob.node, bob.quality), (&cluster.member(1).node, Quality::Lost));
        // The double of an SFU is no actor: what it would know is said to be missing.
        assert!(seen.truncated && ada.media.is_none());
    }
    let nowhere = RoomId::new("nowhere").unwrap();
    assert_eq!(cluster.worlds[0].node.examine_room(&nowhere).await.unwrap(), None);
}
