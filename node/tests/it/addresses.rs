//! Clients by their addresses: proxies that name them, limits an address, and those who take what they asked for slowly or
//! say nothing of themselves.

use std::net::{IpAddr, UdpSocket};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::support::ws::JSON;
use crate::support::{Closed, Node, PATIENCE, Ws};

const PUBLIC: [(&str, &str); 2] = [
    ("CASIDE_LISTEN", "0.0.0.0:0"),
    ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
];

/// An address of this machine that is not loopback; nothing is sent to find it.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("a machine with a network");
    socket.local_addr().unwrap().ip()
}

#[tokio::test]
async fn failures_count_for_the_client_that_a_proxy_names() {
    let node = Node::start().await;
    let password = node.line("demo password: ").await;
    let refresh = async |from: &str| {
        let body = json!({"refresh_token": "cr_nonsense"});
        let request = node.request("POST", "/auth/token").header("x-forwarded-for", from);
        request.json(&body).send().await.refusal()
    };
    let login = async |from: &str| {
        let body = json!({"username": "demo", "password": password});
        let request = node.request("POST", "/login").header("x-forwarded-for", from);
        request.json(&body).send().await
    };
    for _ in 0..20 {
        let refused = refresh("198.51.100.7, 203.0.113.9").await;
        assert_eq!(refused, (401, "invalid_credentials".to_owned()));
    }
    // Whatever the client writes before its own address.
    for forged in ["203.0.113.9", "127.0.0.1, 203.0.113.9"] {
        assert_eq!(refresh(forged).await, (429, "rate_limited".to_owned()));
        assert_eq!(login(forged).await.refusal(), (429, "rate_limited".to_owned()));
    }
    assert_eq!(login("203.0.113.10").await.status, 200);
    assert_eq!(refresh("").await.0, 401, "this machine itself is exempt");
}

#[tokio::test]
async fn metrics_are_for_those_on_this_machine_and_the_bearers_of_their_token() {
    let token = "a token for metrics alone";
    let node = Node::with(&[("CASIDE_METRICS_TOKEN", token)]).await;
    let ask = || node.request("GET", "/metrics");
    assert_eq!(ask().send().await.status, 200);
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
    ] {
        let by_proxy = || ask().header(name, value);
        let refused = (401, "unauthorized".to_owned());
        assert_eq!(by_proxy().send().await.refusal(), refused, "{name}");
        assert_eq!(
            by_proxy().bearer("a token for metrics alonf").send().await.refusal(),
            refused
        );
        assert_eq!(by_proxy().bearer(token).send().await.status, 200, "{name}");
    }
    let elsewhere = node.request("GET", "/rooms").bearer(token).send().await;
    assert_eq!(elsewhere.refusal(), (401, "unauthorized".to_owned()));
}

#[tokio::test]
async fn an_address_has_its_share_of_connections_and_no_more() {
    let mut env = PUBLIC.to_vec();
    env.push(("CASIDE_MAX_CONNECTIONS_PER_ADDRESS", "2"));
    let mut node = Node::with(&env).await;
    let port = node.address.rsplit_once(':').unwrap().1.to_owned();
    let outside = format!("{}:{port}", own_address());
    node.address = format!("127.0.0.1:{port}");
    // Answered once, so surely accepted, and then idle.
    let idle = async || {
        let mut stream = TcpStream::connect(&outside).await.unwrap();
        let request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut answer = vec![0; 12];
        let asked = async {
            stream.write_all(request).await?;
            stream.read_exact(&mut answer).await
        };
        timeout(PATIENCE, asked).await.expect("an end in time").ok()?;
        Some(stream)
    };
    let first = idle().await.expect("the first");
    let _second = idle().await.expect("the second");
    assert!(idle().await.is_none(), "a third is closed");
    assert_eq!(
        node.request("GET", "/health").send().await.status,
        200,
        "others are not in the way"
    );
    drop(first);
    let mut tries = 0;
    while idle().await.is_none() {
        tries += 1;
        assert!(tries < 1000, "the share does not come back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_asks_and_does_not_read_is_cut_off() {
    let node = Node::with(&[("CASIDE_WRITE_TIMEOUT", "1s")]).await;
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    // The answers fill every buffer, then the requests do; then the server has had enough.
    let cut_off = async { while stream.write_all(request).await.is_ok() {} };
    timeout(PATIENCE, cut_off).await.expect("cut off");
    assert_eq!(node.request("GET", "/health").send().await.status, 200);
}

#[tokio::test]
async fn a_socket_without_a_token_is_read_no_further_than_a_token_is_long() {
    let node = Node::start().await;
    let token = node.admin().await;
    let ping = |size: usize| {
        let head = r#"{"type":"ping","id":1,"payload":""#;
        Message::Text(format!("{head}{}\"}}", "x".repeat(size)).into())
    };
    let mut unknown = Ws::open(&node, "/ws", &[("sec-websocket-protocol", JSON)])
        .await
        .unwrap();
    unknown.send_frame(ping(100)).await;
    assert_eq!(unknown.receive().await["type"], "pong");
    unknown.send_frame(ping(40_000)).await;
    // What comes behind its token is read when that holds.
    let mut known = Ws::open(&node, "/ws", &[("sec-websocket-protocol", JSON)])
        .await
        .unwrap();
    known.send(&json!({"type": "auth", "payload": {"token": token}})).await;
    known.send_frame(ping(40_000)).await;
    assert_eq!(known.receive().await["type"], "welcome");
    assert_eq!(known.receive().await["type"], "pong");

    let closed = loop {
        match unknown.next().await {
            Ok(message) => assert_eq!(message["payload"]["code"], "unauthorized", "{message}"),
            Err(closed) => break closed,
        }
    };
    let want = Closed {
        code: 4401,
        reason: "unauthorized".to_owned(),
    };
    assert_eq!(closed, want);
}

#[tokio::test]
async fn an_address_has_few_sockets_without_a_token() {
    let node = Node::with(&[("CASIDE_MAX_CONNECTIONS_PER_ADDRESS", "2")]).await;
    let token = node.admin().await;
    let open = async |from: &'static str, token: &str| {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("x-forwarded-for", from), ("sec-websocket-protocol", JSON)];
        if !token.is_empty() {
            headers.push(("authorization", bearer.as_str()));
        }
        Ws::open(&node, "/ws", &headers).await
    };
    let mut first = open("203.0.113.9", "").await.unwrap();
    let _second = open("203.0.113.9", "").await.unwrap();
    assert_eq!(open("203.0.113.9", "").await.err(), Some(503));
    assert!(open("203.0.113.9", &token).await.is_ok());
    assert!(open("203.0.113.10", "").await.is_ok());
    assert_eq!(first.ask("auth", json!({"token": token})).await["type"], "welcome");
    assert!(open("203.0.113.9", "").await.is_ok(), "who is known counts no more");
}
