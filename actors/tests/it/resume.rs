//! A session outlives its sockets: every event once and in order, whatever the sockets do.

use std::time::Duration;

use caside_actors::node::Limits;
use serde_json::json;

use crate::support::{Cluster, World, turn};

#[tokio::test(start_paused = true)]
async fn a_dropped_client_comes_back_to_what_it_missed() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    bob.drop_socket();
    let lost = ada.event("connection-quality").await;
    assert_eq!(
        (&lost["participant_id"], &lost["quality"]),
        (&json!(bob.participant), &json!("lost"))
    );
    for n in 0..3 {
        ada.ok("chat", json!({ "text": n.to_string() })).await;
    }
    tokio::time::sleep(Duration::from_secs(14)).await;
    let participant = bob.participant.clone();
    let resumed = bob.resume(world.socket().await).await;
    assert_eq!(resumed["payload"]["participant_id"], json!(participant));
    assert_eq!(resumed["payload"]["reset"], false);
    for n in 0..3 {
        assert_eq!(bob.event("chat").await["text"], n.to_string());
    }
    assert_eq!(ada.event("connection-quality").await["quality"], "good");
    ada.ok("chat", json!({ "text": "live" })).await;
    assert_eq!(bob.event("chat").await["text"], "live");
    tokio::time::sleep(Duration::from_secs(60)).await;
    ada.silence().await;
}

#[tokio::test(start_paused = true)]
async fn events_are_in_order_and_once_over_many_drops() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    for round in 0..40u64 {
        // What is on the socket when it drops may be read or not.
        for n in 0..(round % 7) {
            ada.ok("chat", json!({ "text": format!("{round} {n}") })).await;
        }
        for _ in 0..(round % 3).min(round % 7) {
            bob.next().await;
        }
        if round % 2 == 0 {
            bob.drop_socket();
        }
        let resumed = bob.resume(world.socket().await).await;
        assert_eq!(resumed["payload"]["reset"], false, "{resumed}");
    }
    // The client checks that numbers have no gap; here, that the last one is the last of all.
    ada.ok("chat", json!({ "text": "end" })).await;
    loop {
        let event = bob.next().await;
        if event["payload"]["text"] == "end" {
            break;
        }
    }
    assert_eq!(bob.last_seq, (0..40).map(|r| r % 7).sum::<u64>() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_resume_while_the_old_socket_lives_replaces_it() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    let (token, last_seq) = (bob.token.clone(), bob.last_seq);
    let mut next = world.socket().await;
    let resumed = next
        .ask("resume", json!({ "resume_token": token, "last_seq": last_seq }))
        .await;
    assert_eq!(resumed["type"], "resumed");
    bob.closed_with(4001, "replaced").await;
    // What the replaced socket still says is not heard, and its end is not the session's.
    bob.send("leave", json!({})).await;
    bob.close();
    next.ok("chat", json!({ "text": "it is me" })).await;
    assert_eq!(ada.event("chat").await["text"], "it is me");
    ada.silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_token_is_good_once() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let used = ada.token.clone();
    ada.drop_socket();
    assert_eq!(ada.resume(world.socket().await).await["type"], "resumed");
    let mut thief = world.socket().await;
    thief
        .refused(
            "resume",
            json!({ "resume_token": used, "last_seq": 0 }),
            "resume_expired",
        )
        .await;
    thief
        .refused(
            "resume",
            json!({ "resume_token": "nonsense", "last_seq": 0 }),
            "resume_expired",
        )
        .await;
    // The socket is not lost for it: it may still present a token.
    assert_eq!(thief.ask("auth", json!({ "token": "eve" })).await["type"], "welcome");
    ada.ok("chat", json!({ "text": "x" })).await;
}

#[tokio::test(start_paused = true)]
async fn a_number_that_was_never_sent_is_refused_and_does_not_use_the_token_up() {
    let world = World::new().await;
    for joined in [true, false] {
        let mut ada = world.client("ada").await;
        if joined {
            ada.join("r").await;
        }
        ada.drop_socket();
        let mut next = world.socket().await;
        next.refused(
            "resume",
            json!({ "resume_token": ada.token, "last_seq": 99 }),
            "bad_sequence",
        )
        .await;
        assert_eq!(ada.resume(next).await["type"], "resumed");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_grace_time_the_session_is_over() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    let mut eve = world.client("eve").await;
    ada.event("peer-joined").await;
    bob.drop_socket();
    eve.drop_socket();
    ada.event("connection-quality").await;
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(ada.event("peer-left").await["reason"], "connection_lost");
    for client in [&mut bob, &mut eve] {
        let answer = client.resume(world.socket().await).await;
        assert_eq!(answer["payload"]["code"], "resume_expired");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_close_is_a_leave_at_once_and_ends_the_session() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    bob.close();
    assert_eq!(ada.event("peer-left").await["reason"], "left");
    let answer = bob.resume(world.socket().await).await;
    assert_eq!(answer["payload"]["code"], "resume_expired");
    ada.close();
    world.until_empty().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_kept_comes_as_the_room_is_now_and_numbers_go_on() {
    let world = World::with(Limits {
        history: 4,
        ..Limits::default()
    })
    .await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    bob.drop_socket();
    for _ in 0..6 {
        ada.ok("chat", json!({ "text": "x" })).await;
    }
    let resumed = bob.resume(world.socket().await).await;
    assert_eq!(resumed["payload"]["reset"], true);
    assert_eq!(
        resumed["payload"]["room_state"]["participants"][0]["participant_id"],
        json!(ada.participant)
    );
    ada.ok("chat", json!({ "text": "x" })).await;
    bob.last_seq = 6;
    bob.event("chat").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_client_is_known_to_have_is_not_kept_for_it_on_any_node() {
    let cluster = Cluster::of(2).await;
    for (n, room) in [(0, "r"), (1, "r")] {
        let other = &cluster.worlds[1 - n];
        let mut ada = cluster.worlds[n].member("ada", room).await;
        let mut bob = other.member("bob", room).await;
        for _ in 0..3 {
            ada.ok("chat", json!({ "text": "x" })).await;
            bob.event("chat").await;
        }
        bob.has(2);
        turn().await;
        bob.drop_socket();
        // The third is kept, as it may be on its way.
        bob.last_seq = 2;
        let resumed = bob.resume(other.socket().await).await;
        assert_eq!(resumed["payload"]["reset"], false, "{resumed}");
        bob.event("chat").await;
        bob.has(3);
        turn().await;
        bob.drop_socket();
        bob.last_seq = 1;
        let resumed = bob.resume(other.socket().await).await;
        assert_eq!(resumed["payload"]["reset"], true, "{resumed}");
        bob.close();
        ada.close();
        other.until_empty().await;
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_go_on_from_outside_into_a_room_and_out_again() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.client("bob").await;
    ada.ok("invite", json!({ "user": "bob" })).await;
    bob.event("invite").await;
    bob.join("r").await;
    ada.ok("chat", json!({ "text": "in" })).await;
    bob.event("chat").await;
    bob.ok("leave", json!({})).await;
    ada.ok("invite", json!({ "user": "bob" })).await;
    bob.event("invite").await;
    assert_eq!(bob.last_seq, 3);
    bob.drop_socket();
    bob.last_seq = 0;
    assert_eq!(
        bob.resume(world.socket().await).await["payload"]["participant_id"],
        json!(null)
    );
    for kind in ["invite", "chat", "invite"] {
        bob.event(kind).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_away_when_the_call_ended_learns_it_on_the_resume() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    bob.drop_socket();
    ada.ok("end-call", json!({})).await;
    let resumed = bob.resume(world.socket().await).await;
    assert_eq!(
        (&resumed["type"], &resumed["payload"]["participant_id"]),
        (&json!("resumed"), &json!(null))
    );
    assert_eq!(bob.event("call-state-changed").await["state"], "ended");
    bob.refused("chat", json!({ "text": "x" }), "not_joined").await;
    bob.join("r").await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_dies_on_its_way_to_the_session_leaves_it_its_grace_time() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    bob.drop_socket();
    ada.event("connection-quality").await;
    let (token, last_seq) = (bob.token.clone(), bob.last_seq);
    let mut next = world.socket().await;
    let resumed = next
        .ask("resume", json!({ "resume_token": token, "last_seq": last_seq }))
        .await;
    next.drop_socket();
    assert_eq!(ada.event("connection-quality").await["quality"], "good");
    assert_eq!(ada.event("connection-quality").await["quality"], "lost");
    bob.token = resumed["payload"]["resume_token"].as_str().unwrap().to_owned();
    assert_eq!(bob.resume(world.socket().await).await["type"], "resumed");
}

#[tokio::test(start_paused = true)]
async fn a_kicked_participant_is_told_closed_and_cannot_resume() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    ada.ok("kick", json!({ "participant_id": bob.participant })).await;
    assert_eq!(bob.event("kicked").await["by"], json!(ada.participant));
    bob.closed_with(4403, "kicked").await;
    assert_eq!(
        bob.resume(world.socket().await).await["payload"]["code"],
        "resume_expired"
    );
    assert_eq!(ada.event("peer-left").await["reason"], "kicked");
}

#[tokio::test(start_paused = true)]
async fn the_old_socket_may_end_at_any_moment_of_the_resume() {
    let world = World::new().await;
    let _ada = world.member("ada", "r").await;
    for (steps, clean) in (0..16).flat_map(|steps| [(steps, false), (steps, true)]) {
        let mut bob = world.member("bob", "r").await;
        let payload = json!({ "resume_token": bob.token, "last_seq": bob.last_seq });
        let mut next = world.socket().await;
        let ending = tokio::spawn(async move {
            for _ in 0..steps {
                turn().await;
            }
            if clean {
                bob.close()
            } else {
                bob.drop_socket()
            }
            bob
        });
        let answer = next.ask("resume", payload).await;
        ending.await.unwrap();
        if answer["type"] == "error" {
            // A client that says goodbye before it is found by its successor has left.
            assert!(clean, "after {steps} steps: {answer}");
            continue;
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        let kept = next.ask("chat", json!({ "text": "still here" })).await;
        assert!(kept["type"] == "ok" || clean, "after {steps} steps: {kept}");
        next.close();
    }
}

#[tokio::test(start_paused = true)]
async fn who_missed_too_much_is_told_again_what_rings_and_what_became_of_them() {
    let world = World::new().await;
    let mut ada = world.member("ada", "r").await;
    let mut bob = world.member("bob", "r").await;
    ada.event("peer-joined").await;
    bob.drop_socket();
    ada.event("connection-quality").await;
    ada.ok("invite", json!({ "user": "bob" })).await;
    let viewer = json!({ "participant_id": bob.participant, "role": "viewer" });
    ada.ok("set-role", viewer).await;
    for _ in 0..300 {
        ada.ok("chat", json!({ "text": "x" })).await;
    }
    let answer = bob.resume(world.socket().await).await;
    assert_eq!(answer["payload"]["reset"], true);
    assert_eq!(answer["payload"]["you"]["role"], "viewer");
    bob.event("invite").await;
}
