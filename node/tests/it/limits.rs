//! What hostile or careless clients get, while a bystander's call goes on.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::ws::JSON;
use crate::support::{Closed, Node, Ws};

/// Two members of a room who notice nothing.
struct Bystanders(Ws, Ws);

impl Bystanders {
    async fn join(node: &Node, token: &str) -> Self {
        let (first, _) = Ws::joined(node, token, "bystanders", JSON).await;
        let (second, _) = Ws::joined(node, token, "bystanders", JSON).await;
        Self(first, second)
    }

    async fn go_on(mut self) {
        assert_eq!(self.0.ask("chat", json!({"text": "still here"})).await["type"], "ok");
        assert_eq!(self.1.until("chat").await["payload"]["text"], "still here");
    }
}

#[tokio::test]
async fn nonsense_is_answered_fifteen_times_and_then_closed() {
    let node = Node::start().await;
    let token = node.admin().await;
    let bystanders = Bystanders::join(&node, &token).await;
    let (mut ws, _) = Ws::joined(&node, &token, "r", JSON).await;
    for n in 0..15 {
        ws.send_frame(Message::Text(format!("nonsense {n}").into())).await;
        assert_eq!(ws.until("error").await["payload"]["code"], "invalid_payload");
    }
    // Sense, even if it is refused, begins the count anew.
    assert_eq!(ws.ask("dance", json!({})).await["payload"]["code"], "unknown_type");
    for _ in 0..15 {
        ws.send_frame(Message::Text("{}".into())).await;
        assert_eq!(ws.until("error").await["payload"]["code"], "invalid_payload");
    }
    ws.send_frame(Message::Text("null".into())).await;
    assert_eq!(
        ws.closed().await,
        Closed {
            code: 1008,
            reason: "malformed".to_owned()
        }
    );
    bystanders.go_on().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_its_own_socket() {
    let node = Node::start().await;
    let token = node.admin().await;
    let bystanders = Bystanders::join(&node, &token).await;
    let (mut ws, _) = Ws::joined(&node, &token, "r", JSON).await;
    let padded = |size: usize| {
        let head = r#"{"type":"ping","id":1,"payload":""#;
        Message::Text(format!("{head}{}\"}}", "x".repeat(size - head.len() - 2)).into())
    };
    ws.send_frame(padded(65_536)).await;
    assert_eq!(ws.receive().await["type"], "pong");
    assert!(ws.try_send_frame(padded(65_537)).await);
    assert_eq!(
        ws.closed().await,
        Closed {
            code: 1009,
            reason: "too_large".to_owned()
        }
    );
    bystanders.go_on().await;
}

#[tokio::test]
async fn messages_beyond_the_rate_are_refused_and_not_acted_on() {
    let node = Node::start().await;
    let token = node.admin().await;
    let bystanders = Bystanders::join(&node, &token).await;
    let (mut flooder, _) = Ws::joined(&node, &token, "r", JSON).await;
    let (mut witness, _) = Ws::joined(&node, &token, "r", JSON).await;
    // Faster than 100 a second, whatever this machine can do: the burst is 400.
    for n in 0..1000 {
        flooder
            .send(&json!({"type": "chat", "id": n, "payload": {"text": n.to_string()}}))
            .await;
    }
    let (mut done, mut refused) = (0, 0);
    while done + refused < 1000 {
        let answer = flooder.receive().await;
        if answer.get("id").is_none() {
            continue;
        }
        match answer["type"].as_str() {
            Some("ok") => done += 1,
            _ => {
                assert_eq!(answer["payload"]["code"], "rate_limited", "{answer}");
                assert!(answer["payload"]["retry_after_ms"].as_u64().unwrap() > 0);
                refused += 1;
            }
        }
    }
    assert!(done >= 400 && refused > 0, "{done} done, {refused} refused");
    // The witness saw exactly what was acted on.
    flooder.close().await;
    let mut heard = 0;
    loop {
        let event = witness.receive().await;
        match event["type"].as_str() {
            Some("chat") => heard += 1,
            Some("peer-left") => break,
            _ => {}
        }
    }
    assert_eq!(heard, done);
    bystanders.go_on().await;
}

#[tokio::test]
async fn connections_are_bounded_and_their_places_come_back() {
    let node = Node::with(&[("CASIDE_MAX_CONNECTIONS", "2")]).await;
    let token = node.admin().await;
    let (first, _) = Ws::welcomed(&node, &token, JSON).await;
    let (mut second, _) = Ws::welcomed(&node, &token, JSON).await;
    assert_eq!(Ws::open(&node, "/ws", &[]).await.err(), Some(503));
    assert_eq!(second.ask("ping", json!({})).await["type"], "pong");
    first.close().await;
    // The place is given up when the server has seen the close, which the client cannot.
    let mut tries = 0;
    while Ws::open(&node, "/ws", &[]).await.is_err() {
        tries += 1;
        assert!(tries < 500, "the place does not come back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_answers_no_heartbeat_is_lost() {
    let node = Node::start().await;
    let token = node.admin().await;
    let (silent, joined) = Ws::joined(&node, &token, "r", JSON).await;
    let (mut witness, _) = Ws::joined(&node, &token, "r", JSON).await;
    // Its pings are answered only when it reads, which it does not.
    let lost = witness.until("connection-quality").await;
    assert_eq!(lost["payload"]["participant_id"], joined["participant_id"]);
    assert_eq!(lost["payload"]["quality"], "lost");
    drop(silent);
}
