//! The WebSocket protocol, in both dialects.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::ws::{JSON, MSGPACK};
use crate::support::{Closed, Node, Ws};

#[tokio::test]
async fn two_dialects_meet_chat_and_signal_in_one_room() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let ada = node.mint(&admin, "ada", "standup", "host").await;
    let bob = node.mint(&admin, "bob", "standup", "participant").await;
    let (mut ada, first) = Ws::joined(&node, &ada, "standup", JSON).await;
    let (mut bob, second) = Ws::joined(&node, &bob, "standup", MSGPACK).await;
    assert_eq!(
        second["room_state"]["participants"][0]["participant_id"],
        first["participant_id"]
    );
    let came = ada.until("peer-joined").await;
    assert_eq!(came["payload"]["participant_id"], second["participant_id"]);
    assert_eq!(came["payload"]["user"], "bob");

    let said = bob.ask("chat", json!({"text": "hello"})).await;
    assert_eq!(said["type"], "ok");
    let heard = ada.until("chat").await;
    assert_eq!(heard["payload"]["text"], "hello");
    assert_eq!(heard["payload"]["from"], second["participant_id"]);
    assert_eq!(heard["payload"]["message_id"], said["payload"]["message_id"]);

    // What is relayed keeps what we do not know.
    let offer =
        json!({"to": second["participant_id"], "sdp": {"type": "offer", "sdp": "v=0"}, "mine": [1, {"x": null}]});
    assert_eq!(ada.ask("offer", offer.clone()).await["type"], "ok");
    let relayed = bob.until("offer").await["payload"].clone();
    assert_eq!((&relayed["sdp"], &relayed["mine"]), (&offer["sdp"], &offer["mine"]));
    assert_eq!(relayed["from"], first["participant_id"]);

    let listed = node
        .request("GET", "/rooms/standup/participants")
        .bearer(&admin)
        .send()
        .await
        .json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let room = node.request("GET", "/rooms/standup").bearer(&admin).send().await.json();
    assert_eq!(room["state"], "active");
    assert_eq!(room["call_id"], first["call_id"]);

    bob.close().await;
    let left = ada.until("peer-left").await;
    assert_eq!(
        left["payload"],
        json!({"participant_id": second["participant_id"], "reason": "left"})
    );
}

#[tokio::test]
async fn a_token_is_taken_from_header_query_or_message() {
    let node = Node::start().await;
    let token = node.admin().await;
    let mut by_query = Ws::open(&node, &format!("/ws?token={token}"), &[]).await.unwrap();
    let welcome = by_query.receive().await;
    assert_eq!(welcome["type"], "welcome");
    assert!(welcome.get("id").is_none() && welcome.get("seq").is_none(), "{welcome}");
    assert_eq!(welcome["payload"]["heartbeat_ms"], 10_000);
    assert_eq!(welcome["payload"]["user"]["name"], "demo");

    let mut by_message = Ws::open(&node, "/ws", &[]).await.unwrap();
    let early = by_message.ask("join", json!({"room": "r"})).await;
    assert_eq!(
        (&early["type"], &early["payload"]["code"]),
        (&json!("error"), &json!("unauthorized"))
    );
    assert_eq!(by_message.ask("auth", json!({"token": token})).await["type"], "welcome");
    assert_eq!(by_message.ask("join", json!({"room": "r"})).await["type"], "joined");

    assert_eq!(Ws::open(&node, "/ws?token=wrong", &[]).await.err(), Some(401));
    let mut wrong = Ws::open(&node, "/ws", &[]).await.unwrap();
    assert_eq!(
        wrong.ask("auth", json!({"token": "wrong"})).await["payload"]["code"],
        "unauthorized"
    );
    assert_eq!(wrong.closed().await.code, 4401);
}

#[tokio::test]
async fn upgrades_are_refused_for_unknown_dialects_foreign_pages_and_wrong_rooms() {
    let node = Node::start().await;
    let token = node.admin().await;
    let open = |headers: &'static [(&'static str, &'static str)]| Ws::open(&node, "/ws", headers);
    assert_eq!(
        open(&[("sec-websocket-protocol", "chat, superchat")]).await.err(),
        Some(400)
    );
    assert_eq!(open(&[("origin", "https://evil.example")]).await.err(), Some(403));
    let own = format!("http://{}", node.address);
    assert!(Ws::open(&node, "/ws", &[("origin", &own)]).await.is_ok());
    assert!(
        open(&[("sec-websocket-protocol", "chat, caside.msgpack.v1, caside.json.v1")])
            .await
            .is_ok()
    );
    let plain = node.request("GET", "/ws").send().await;
    assert_eq!((plain.refusal().0, plain.header("upgrade")), (426, "websocket"));

    let guest = node.mint(&token, "guest", "here", "participant").await;
    let (mut guest, _) = Ws::welcomed(&node, &guest, JSON).await;
    let elsewhere = guest.ask("join", json!({"room": "elsewhere"})).await;
    assert_eq!(elsewhere["payload"]["code"], "forbidden");
    assert_eq!(guest.ask("join", json!({"room": "here"})).await["type"], "joined");
}

#[tokio::test]
async fn a_dropped_socket_is_resumed_with_what_it_missed() {
    let node = Node::start().await;
    let token = node.admin().await;
    let (mut ada, welcome) = Ws::welcomed(&node, &token, JSON).await;
    let joined = ada.ask("join", json!({"room": "r"})).await["payload"].clone();
    let (mut bob, _) = Ws::joined(&node, &token, "r", JSON).await;
    let seen = ada.until("peer-joined").await["seq"].as_u64().unwrap();
    drop(ada);
    let lost = bob.until("connection-quality").await;
    assert_eq!(lost["payload"]["quality"], "lost");
    for text in ["one", "two"] {
        assert_eq!(bob.ask("chat", json!({"text": text})).await["type"], "ok");
    }

    let resume = json!({"resume_token": welcome["resume_token"], "last_seq": seen});
    let mut again = Ws::open(&node, "/ws", &[]).await.unwrap();
    let resumed = again.ask("resume", resume.clone()).await;
    assert_eq!(resumed["type"], "resumed", "{resumed}");
    assert_eq!(resumed["payload"]["reset"], false);
    assert_eq!(resumed["payload"]["participant_id"], joined["participant_id"]);
    let mut missed = Vec::new();
    let mut last = seen;
    while missed.len() < 2 {
        let event = again.receive().await;
        let seq = event["seq"].as_u64().unwrap();
        assert_eq!(seq, last + 1, "{event}");
        last = seq;
        if event["type"] == "chat" {
            missed.push(event["payload"]["text"].clone());
        }
    }
    assert_eq!(missed, [json!("one"), json!("two")]);
    assert_eq!(bob.until("connection-quality").await["payload"]["quality"], "good");

    // The token was good once.
    let mut replay = Ws::open(&node, "/ws", &[]).await.unwrap();
    assert_eq!(replay.ask("resume", resume).await["payload"]["code"], "resume_expired");

    // A resume while the socket lives takes its place.
    let next = json!({"resume_token": resumed["payload"]["resume_token"], "last_seq": last});
    let mut third = Ws::open(&node, "/ws", &[]).await.unwrap();
    assert_eq!(third.ask("resume", next).await["type"], "resumed");
    assert_eq!(
        again.closed().await,
        Closed {
            code: 4001,
            reason: "replaced".to_owned()
        }
    );
    assert_eq!(third.ask("chat", json!({"text": "three"})).await["type"], "ok");
}

#[tokio::test]
async fn a_moderator_acts_by_rest() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let guest_token = node.mint(&admin, "guest", "r", "participant").await;
    let (mut host, _) = Ws::joined(&node, &admin, "r", JSON).await;
    let (mut guest, joined) = Ws::joined(&node, &guest_token, "r", JSON).await;
    let path = |act: &str| {
        format!(
            "/rooms/r/participants/{}/{act}",
            joined["participant_id"].as_str().unwrap()
        )
    };
    let post = |token: &str, act: &str, body: Value| node.request("POST", &path(act)).bearer(token).json(&body).send();
    assert_eq!(
        post(&guest_token, "role", json!({"role": "host"})).await.refusal(),
        (403, "forbidden".to_owned())
    );
    let promoted = post(&admin, "role", json!({"role": "moderator"})).await;
    assert_eq!((promoted.status, &promoted.json()["role"]), (200, &json!("moderator")));
    assert_eq!(guest.until("role-changed").await["payload"]["role"], "moderator");
    assert_eq!(
        post(&admin, "role", json!({"role": "king"})).await.refusal(),
        (400, "invalid_payload".to_owned())
    );
    let kicked = node.request("POST", &path("kick")).bearer(&admin).send().await;
    assert_eq!(kicked.json()["participant_id"], joined["participant_id"]);
    guest.until("kicked").await;
    assert_eq!(host.until("peer-left").await["payload"]["reason"], "kicked");
    assert_eq!(
        post(&admin, "mute", json!({})).await.refusal(),
        (404, "participant_not_found".to_owned())
    );
}

#[tokio::test]
async fn a_call_is_written_down_from_the_first_join_to_the_last_leave() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let made = node
        .request("POST", "/calls")
        .bearer(&admin)
        .json(&json!({"room_id": "r"}))
        .send()
        .await
        .json();
    let path = format!("/calls/{}", made["id"].as_str().unwrap());
    let (mut host, joined) = Ws::joined(&node, &admin, "r", JSON).await;
    assert_eq!(joined["call_id"], made["id"]);
    let on = node.request("GET", &path).bearer(&admin).send().await.json();
    assert_eq!(
        (&on["status"], on["participants"].as_array().unwrap().len()),
        (&json!("active"), 1)
    );
    assert!(on["started_at"].is_string());
    assert_eq!(host.ask("leave", json!({})).await["type"], "ok");
    let over = node.request("GET", &path).bearer(&admin).send().await.json();
    assert_eq!(over["status"], "ended", "{over}");
    assert!(over["participants"][0]["left_at"].is_string());
}

#[tokio::test]
async fn a_frame_of_the_wrong_kind_is_malformed() {
    let node = Node::start().await;
    let token = node.admin().await;
    let (mut ws, _) = Ws::welcomed(&node, &token, JSON).await;
    ws.send_frame(Message::Binary(br#"{"type":"ping"}"#.to_vec().into()))
        .await;
    let refused = ws.receive().await;
    assert_eq!(
        (&refused["type"], &refused["payload"]["code"]),
        (&json!("error"), &json!("invalid_payload"))
    );
    assert_eq!(ws.ask("ping", json!({})).await["type"], "pong");
}
