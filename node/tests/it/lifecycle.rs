//! Starting, stopping, and what is said meanwhile.

use serde_json::json;

use crate::support::ws::JSON;
use crate::support::{Node, Ws};

#[tokio::test]
async fn a_stop_says_goodbye_and_ends_in_order() {
    let mut node = Node::start().await;
    let token = node.admin().await;
    let (mut ada, joined) = Ws::joined(&node, &token, "r", JSON).await;
    let call = joined["call_id"].as_str().unwrap().to_owned();
    node.signal("TERM").await;
    let goodbye = ada.until("goodbye").await;
    assert!(goodbye["payload"]["retry_after_ms"].is_u64(), "{goodbye}");
    assert_eq!(ada.closed().await.code, 1001);
    assert_eq!(node.ended().await.code(), Some(0));
    node.line("stopped").await;

    // What the call was is in the database.
    let again = Node::in_dir(node.dir.clone(), &[]).await;
    let call = again
        .request("GET", &format!("/calls/{call}"))
        .bearer(&token)
        .send()
        .await
        .json();
    assert_eq!(call["status"], "ended");
    assert!(call["participants"][0]["left_at"].is_string(), "{call}");
}

#[tokio::test]
async fn a_node_that_was_killed_ends_its_calls_at_the_next_start() {
    let mut node = Node::start().await;
    let token = node.admin().await;
    let (_ada, joined) = Ws::joined(&node, &token, "r", JSON).await;
    let path = format!("/calls/{}", joined["call_id"].as_str().unwrap());
    // Once it is answered as started, it is in the database.
    let on = node.request("GET", &path).bearer(&token).send().await.json();
    assert_eq!(on["status"], "active");
    node.signal("KILL").await;
    assert!(!node.ended().await.success());
    let again = Node::in_dir(node.dir.clone(), &[]).await;
    assert_eq!(
        again.request("GET", &path).bearer(&token).send().await.json()["status"],
        "ended"
    );
}

#[tokio::test]
async fn a_dependency_that_is_away_is_named_and_does_not_stop_calls() {
    let away = [
        ("S3_BUCKET", "recordings"),
        ("S3_ENDPOINT", "http://127.0.0.1:1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let node = Node::with(&away).await;
    let token = node.admin().await;
    let ready = node.request("GET", "/health/ready").send().await;
    let body = ready.json();
    assert_eq!((ready.status, &body["status"]), (503, &json!("unavailable")));
    assert_eq!(body["missing"], json!(["object_store"]));
    assert_eq!(node.request("GET", "/health/live").send().await.status, 200);
    let (mut ada, _) = Ws::joined(&node, &token, "r", JSON).await;
    assert_eq!(ada.ask("chat", json!({"text": "hello"})).await["type"], "ok");
}

#[tokio::test]
async fn the_log_is_json_when_it_is_asked_for() {
    let node = Node::with(&[("CASIDE_LOG_FORMAT", "json")]).await;
    let answer = node
        .request("GET", "/rooms/secret-room-name")
        .header("x-request-id", "find-me")
        .send()
        .await;
    assert_eq!(answer.status, 401);
    node.signal("TERM").await;
    node.line("stopped").await;
    let output = node.output();
    let lines = output.iter().filter(|line| line.starts_with('{'));
    let parsed: Vec<serde_json::Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let request = parsed
        .iter()
        .find(|line| line["request.id"] == "find-me")
        .expect("the request's line");
    assert_eq!(request["http.route"], "/rooms/{id}");
    assert_eq!(
        (&request["http.status"], &request["error.code"]),
        (&json!(401), &json!("unauthorized"))
    );
    assert!(request["duration_ms"].is_u64());
    assert!(output.iter().all(|line| !line.contains("secret-room-name")));
}
