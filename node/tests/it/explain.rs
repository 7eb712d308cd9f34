//! `GET /admin/calls/{id}`: who may ask, and what is known of whom nobody let in.

use serde_json::{Value, json};

use crate::support::ws::JSON;
use crate::support::{Node, Ws};

async fn explained(node: &Node, by: &str, id: &str) -> Value {
    let answer = node
        .request("GET", &format!("/admin/calls/{id}"))
        .bearer(by)
        .send()
        .await;
    assert_eq!(answer.status, 200);
    answer.json()
}

fn codes(explained: &Value) -> Vec<&str> {
    let causes = explained["causes"].as_array().unwrap();
    causes.iter().map(|cause| cause["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn admins_ask_by_call_or_room_and_others_not_at_all() {
    let node = Node::start().await;
    let (admin, ada) = (node.admin().await, node.user("ada").await);
    let (mut socket, joined) = Ws::joined(&node, &ada, "standup", JSON).await;
    let call = joined["call_id"].as_str().unwrap();
    for id in [call, "standup"] {
        let explained = explained(&node, &admin, id).await;
        assert_eq!(
            (&explained["call"], &explained["room"]),
            (&joined["call_id"], &json!("standup"))
        );
        assert_eq!((&explained["status"], codes(&explained).len()), (&json!("active"), 0));
        assert_eq!(explained["participants"][0]["participant_id"], joined["participant_id"]);
        let whats: Vec<_> = explained["timeline"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["what"])
            .collect();
        assert_eq!(whats, ["call began", "joined"]);
    }
    let report = json!({"target": "publish", "ice": "checking", "candidates": {"udp": 0, "tcp": 1}});
    assert_eq!(socket.ask("media-report", report).await["type"], "ok");
    let wrong = json!({"target": "publish", "ice": "excellent"});
    assert_eq!(
        socket.ask("media-report", wrong).await["payload"]["code"],
        "invalid_payload"
    );
    let timeline = explained(&node, &admin, call).await["timeline"].clone();
    assert_eq!(
        timeline[2]["detail"],
        "publish: checking; candidates: 0 udp, 1 tcp, 0 relay"
    );

    let asked = |by: &str, id: &str| node.request("GET", &format!("/admin/calls/{id}")).bearer(by).send();
    assert_eq!(asked(&ada, call).await.refusal(), (403, "forbidden".to_owned()));
    let unknown = (404, "call_not_found".to_owned());
    assert_eq!(asked(&admin, "nowhere").await.refusal(), unknown);
    assert_eq!(asked(&admin, "a%20room").await.refusal(), unknown);
}

#[tokio::test]
async fn who_is_not_let_in_is_known_by_the_room_and_by_the_user() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let token = node.mint(&admin, "bob", "mine", "participant").await;
    let (mut socket, _) = Ws::welcomed(&node, &token, JSON).await;
    assert_eq!(
        socket.ask("join", json!({"room": "theirs"})).await["payload"]["code"],
        "forbidden"
    );
    for id in ["theirs", "bob"] {
        let explained = explained(&node, &admin, id).await;
        assert_eq!(
            (&explained["call"], &explained["status"]),
            (&Value::Null, &json!("none"))
        );
        assert_eq!(codes(&explained), ["no_grant"]);
        assert_eq!(explained["causes"][0]["user"], "bob");
        assert_eq!(explained["timeline"][0]["what"], "turned away");
    }
}

#[tokio::test]
async fn a_full_node_says_so_to_who_asks_without_an_upgrade_too() {
    let node = Node::with(&[("CASIDE_MAX_CONNECTIONS", "1")]).await;
    let (admin, ada) = (node.admin().await, node.user("ada").await);
    let plain = || node.request("GET", "/ws").send();
    assert_eq!(plain().await.status, 426);
    let (socket, _) = Ws::welcomed(&node, &ada, JSON).await;
    assert_eq!(plain().await.refusal(), (503, "too_many_connections".to_owned()));
    assert_eq!(Ws::open(&node, &format!("/ws?token={ada}"), &[]).await.err(), Some(503));
    assert_eq!(codes(&explained(&node, &admin, "any-room").await), ["node_full"]);
    socket.close().await;
}
