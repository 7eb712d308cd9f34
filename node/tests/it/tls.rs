//! TLS of the listeners: who is greeted and who is not, and certificates that change while calls go on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::tls::{Certificate, VERSIONS};
use crate::support::ws::JSON;
use crate::support::{Node, PATIENCE, Request, Ws, run};

/// A node that shows this certificate.
async fn secure(certificate: &Certificate, more: &[(&str, &str)]) -> Node {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let (cert, key) = certificate.write(dir.path());
    let mut env = vec![
        ("CASIDE_TLS_CERT", cert.to_str().unwrap()),
        ("CASIDE_TLS_KEY", key.to_str().unwrap()),
    ];
    env.extend(more);
    Node::in_dir(dir, &env).await
}

async fn get(certificate: &Certificate, node: &Node, path: &str) -> crate::support::Answer {
    let stream = certificate.greet(&node.address).await.unwrap();
    Request::new(&node.address, "GET", path).over(stream).await
}

async fn refused(certificate: &Certificate, node: &Node, reason: &str) -> u64 {
    let page = get(certificate, node, "/metrics").await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let start = format!("caside_refused_total{{reason=\"{reason}\"}} ");
    page.lines()
        .find_map(|line| line.strip_prefix(&start))
        .unwrap()
        .parse()
        .unwrap()
}

/// The demo admin's token, asked for by TLS.
async fn admin(certificate: &Certificate, node: &Node) -> String {
    let password = node.line("demo password: ").await;
    let stream = certificate.greet(&node.address).await.unwrap();
    let login = Request::new(&node.address, "POST", "/login").json(&json!({"username": "demo", "password": password}));
    login.over(stream).await.json()["token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

async fn joined(certificate: &Certificate, node: &Node, token: &str, room: &str) -> Ws {
    let stream = certificate.greet(&node.address).await.unwrap();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("sec-websocket-protocol", JSON)];
    let mut ws = Ws::over(Box::new(stream), node, "/ws", &headers)
        .await
        .expect("an upgrade");
    assert_eq!(ws.receive().await["type"], "welcome");
    let joined = ws.ask("join", json!({"room": room, "display_name": "Ada"})).await;
    assert_eq!(joined["type"], "joined", "{joined}");
    ws
}

#[tokio::test]
async fn http_and_websockets_are_served_by_tls_and_nothing_else_is() {
    let certificate = Certificate::new();
    let node = secure(&certificate, &[]).await;
    for version in VERSIONS {
        let stream = certificate
            .connect(&node.address, version, &[b"http/1.1"])
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let answer = Request::new(&node.address, "GET", "/health").over(stream).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000");
    }
    let token = admin(&certificate, &node).await;
    let mut ws = joined(&certificate, &node, &token, "r").await;
    // More than the buffers of TLS hold at a time, both ways.
    let text = "x".repeat(16_000);
    let said = ws.ask("data", json!({"topic": "t", "value": text})).await;
    assert_eq!(said["type"], "ok", "{said}");

    // The command line knows the node by its certificate.
    let files = ["tls.pem", "tls.key"].map(|name| node.dir.path().join(name).to_str().unwrap().to_owned());
    let env = [
        ("CASIDE_TLS_CERT", files[0].as_str()),
        ("CASIDE_TLS_KEY", files[1].as_str()),
    ];
    for (command, says) in [(&["inspect", "nodes"][..], "answers"), (&["health"], "ready")] {
        let command = [command, &["--listen", &node.address]].concat();
        let asked = run(node.dir.path(), &command, &env).await;
        assert!(asked.status.success(), "{asked:?}");
        assert!(String::from_utf8(asked.stdout).unwrap().contains(says), "{command:?}");
    }
    let other = tempfile::tempdir().unwrap();
    let (cert, key) = Certificate::new().write(other.path());
    let env = [
        ("CASIDE_TLS_CERT", cert.to_str().unwrap()),
        ("CASIDE_TLS_KEY", key.to_str().unwrap()),
    ];
    let asked = run(node.dir.path(), &["health", "--listen", &node.address], &env).await;
    assert!(
        !asked.status.success(),
        "whoever shows another certificate is not asked"
    );

    // No TLS, and no protocol in common.
    let mut plain = TcpStream::connect(&node.address).await.unwrap();
    plain
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    let end = timeout(PATIENCE, plain.read_to_end(&mut said))
        .await
        .expect("an end in time");
    assert!(end.is_err() || !said.starts_with(b"HTTP"), "{said:?}");
    assert!(certificate.connect(&node.address, VERSIONS[1], &[b"h2"]).await.is_err());
    assert!(
        Certificate::new().greet(&node.address).await.is_err(),
        "a client that trusts another"
    );
    let mut tries = 0;
    while refused(&certificate, &node, "handshake_failed").await < 3 {
        tries += 1;
        assert!(tries < 500, "failed handshakes are not counted");
    }
    assert_eq!(ws.ask("ping", json!({})).await["type"], "pong");
}

#[tokio::test]
async fn sighup_shows_the_new_certificate_and_drops_no_connection() {
    let first = Certificate::new();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("caside.toml"), "rust_log = \"info\"\n").unwrap();
    let (cert, key) = first.write(dir.path());
    let env = [
        ("CASIDE_TLS_CERT", cert.to_str().unwrap()),
        ("CASIDE_TLS_KEY", key.to_str().unwrap()),
        ("RUST_LOG", ""),
    ];
    let node = Node::in_dir(dir.clone(), &env).await;
    let token = admin(&first, &node).await;
    let mut members = Vec::new();
    for n in 0..10 {
        members.push(joined(&first, &node, &token, &format!("r{}", n / 2)).await);
    }
    // They talk all the while.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let talking: Vec<_> = members
        .into_iter()
        .map(|mut ws| {
            let stopped = stopped.clone();
            tokio::spawn(async move {
                let mut said = 0_u32;
                while !*stopped.borrow() || said == 0 {
                    let answer = ws.ask("data", json!({"topic": "t", "value": said})).await;
                    assert_eq!(answer["type"], "ok", "{answer}");
                    said += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                said
            })
        })
        .collect();
    let begun = Instant::now();
    let mut shown = first;
    for n in 0..5_usize {
        let next = Certificate::new();
        next.write(dir.path());
        node.signal("HUP").await;
        node.lines("shown the certificate as it is now", n + 1).await;
        assert!(next.greet(&node.address).await.is_ok(), "the new one is shown");
        assert!(shown.greet(&node.address).await.is_err(), "the one before is not");
        shown = next;
    }
    eprintln!("five certificates in {:?}", begun.elapsed());

    // One that cannot be used is not.
    let (_, other_key) = (Certificate::new().write(dir.path()), shown.write(dir.path()).1);
    std::fs::write(&other_key, "no key").unwrap();
    node.signal("HUP").await;
    node.line("the certificate cannot be used; the one before stays").await;
    assert!(shown.greet(&node.address).await.is_ok());

    // The levels of the log.
    std::fs::write(
        dir.path().join("caside.toml"),
        "rust_log = \"info,caside=debug\"\nmax_room_size = 7\n",
    )
    .unwrap();
    node.signal("HUP").await;
    node.lines("the levels of the log were read again", 7).await;
    node.line("these have changed and need a restart").await;
    assert_eq!(get(&shown, &node, "/health").await.status, 200);
    node.line("/health").await;
    // What is wrong leaves everything as it is.
    std::fs::write(
        dir.path().join("caside.toml"),
        "rust_log = \"info\"\nmax_room_size = 0\n",
    )
    .unwrap();
    node.signal("HUP").await;
    node.line("the configuration is wrong; the one before stays").await;

    stop.send_replace(true);
    for one in talking {
        assert!(
            timeout(PATIENCE, one).await.expect("an end in time").unwrap() > 0,
            "a connection was dropped"
        );
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start_and_name_their_setting() {
    let dir = TempDir::new().unwrap();
    let (cert, key) = Certificate::new().write(dir.path());
    let other = TempDir::new().unwrap();
    let (_, other_key) = Certificate::new().write(other.path());
    let nowhere = dir.path().join("nowhere.pem");
    for (cert, key, names, says) in [
        (Some(&cert), None, "CASIDE_TLS_KEY", "missing"),
        (None, Some(&key), "CASIDE_TLS_CERT", "missing"),
        (Some(&nowhere), Some(&key), "CASIDE_TLS_CERT", "cannot be read"),
        (Some(&key), Some(&key), "CASIDE_TLS_CERT", "no certificate"),
        (Some(&cert), Some(&cert), "CASIDE_TLS_KEY", "no private key"),
        (Some(&cert), Some(&other_key), "CASIDE_TLS_KEY", "is not the key"),
    ] {
        let mut env = Vec::new();
        if let Some(cert) = cert {
            env.push(("CASIDE_TLS_CERT", cert.to_str().unwrap()));
        }
        if let Some(key) = key {
            env.push(("CASIDE_TLS_KEY", key.to_str().unwrap()));
        }
        for command in [&["serve"][..], &["config", "check"]] {
            let ended = run(dir.path(), command, &env).await;
            let said = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(2), "{said}");
            let line = said.lines().last().unwrap_or_default();
            assert!(line.contains(names) && line.contains(says), "{line}");
        }
    }
}

#[tokio::test]
async fn a_handshake_that_says_nothing_is_ended_and_counted() {
    let certificate = Certificate::new();
    let node = secure(&certificate, &[]).await;
    let mut silent = TcpStream::connect(&node.address).await.unwrap();
    let mut half = TcpStream::connect(&node.address).await.unwrap();
    // The head of a record that never comes.
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]).await.unwrap();
    assert_eq!(
        get(&certificate, &node, "/health").await.status,
        200,
        "others are not in the way"
    );
    for stream in [&mut silent, &mut half] {
        let mut said = [0; 1];
        let ended = timeout(PATIENCE, stream.read(&mut said)).await.expect("ended in time");
        assert!(matches!(ended, Ok(0) | Err(_)));
    }
    assert_eq!(refused(&certificate, &node, "handshake_timeout").await, 2);
}
