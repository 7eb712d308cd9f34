//! Attacks through the front door: each is refused, counted under its reason, and no matter to a bystander.
//!
//! `docs/security.md` names these tests beside the threats.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::PublicKeyData;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::support::ws::JSON;
use crate::support::{Answer, Node, PATIENCE, Ws};

/// Two members of a room who notice nothing.
struct Bystanders(Ws, Ws);

impl Bystanders {
    async fn join(node: &Node, token: &str) -> Self {
        let (first, _) = Ws::joined(node, token, "bystanders", JSON).await;
        let (second, _) = Ws::joined(node, token, "bystanders", JSON).await;
        Self(first, second)
    }

    async fn go_on(&mut self) {
        assert_eq!(self.0.ask("chat", json!({"text": "still here"})).await["type"], "ok");
        assert_eq!(self.1.until("chat").await["payload"]["text"], "still here");
    }
}

/// Waits until a refusal is counted so often: what ends a connection is counted behind the client's back.
async fn counted(node: &Node, reason: &str, at_least: u64) {
    let mut have = 0;
    for _ in 0..500 {
        have = node.refused(reason).await;
        if have >= at_least {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{reason}: {have} of {at_least}");
}

/// Says this over a fresh connection; all that is answered until the server ends it.
async fn raw(node: &Node, said: &[u8]) -> String {
    let mut stream = TcpStream::connect(&node.address).await.unwrap();
    // The server may have had enough before all of it is there.
    drop(stream.write_all(said).await);
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("an end in time");
    drop(read);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Checks what every answer to a flood says.
fn assert_rate_limited(answer: &Answer) {
    assert_eq!(answer.refusal(), (429, "rate_limited".to_owned()));
    assert!(answer.json()["error"]["retry_after_ms"].as_u64().unwrap() > 0);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn requests_that_are_dripped_are_cut_off() {
    let node = Node::start().await;
    let token = node.admin().await;
    let mut bystanders = Bystanders::join(&node, &token).await;
    let mut dripping = Vec::new();
    for start in [
        // A head that never ends, one that has not begun, and the second of a connection.
        "GET /health HTTP/1.1\r\nhost: x\r\n",
        "G",
        "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\nGET /he",
        // A body that never ends, with a length and in chunks.
        "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{",
        "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
    ] {
        let address = node.address.clone();
        let body = start.starts_with("POST");
        dripping.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(start.as_bytes()).await.unwrap();
            let (mut reading, mut writing) = stream.split();
            let mut answer = Vec::new();
            let read = async { drop(reading.read_to_end(&mut answer).await) };
            // A byte every half second, each well before anybody could call the client silent.
            let drip = async {
                while writing.write_all(if body { b" " } else { b"x" }).await.is_ok() {
                    sleep(Duration::from_millis(500)).await;
                }
                std::future::pending::<()>().await;
            };
            let ended = async {
                tokio::select! {
                    () = read => {}
                    () = drip => {}
                }
            };
            timeout(PATIENCE, ended).await.expect("cut off");
            (start, String::from_utf8_lossy(&answer).into_owned())
        }));
    }
    bystanders.go_on().await;
    for one in dripping {
        let (start, answer) = one.await.unwrap();
        if start.contains("content-length") {
            assert!(answer.starts_with("HTTP/1.1 408 "), "{start} {answer}");
        }
    }
    counted(&node, "header_timeout", 3).await;
    counted(&node, "body_timeout", 1).await;
    bystanders.go_on().await;
}

#[tokio::test]
async fn heads_bodies_and_frames_beyond_their_bounds_are_refused() {
    let node = Node::start().await;
    let token = node.admin().await;
    let mut bystanders = Bystanders::join(&node, &token).await;
    let long = format!(
        "GET /health HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    assert!(raw(&node, long.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert!(raw(&node, many.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(64 * 1024));
    let answer = raw(&node, path.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 414 ") || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    counted(&node, "header_too_large", 3).await;

    let body = format!("{{\"username\":\"{}\"}}", "x".repeat(70_000));
    let login = || {
        node.request("POST", "/login")
            .header("content-type", "application/json")
    };
    assert_eq!(
        login().body(body.clone()).send().await.refusal(),
        (413, "too_large".to_owned())
    );
    // Whatever the head says of its length.
    let mut endless = b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
        transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        .to_vec();
    endless.extend(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).bytes());
    assert!(raw(&node, &endless).await.starts_with("HTTP/1.1 413 "));
    assert_eq!(node.refused("body_too_large").await, 2);

    let (mut ws, _) = Ws::welcomed(&node, &token, JSON).await;
    ws.try_send_frame(Message::Text("x".repeat(70_000).into())).await;
    assert_eq!(ws.closed().await.code, 1009);
    assert_eq!(node.refused("message_too_large").await, 1);
    bystanders.go_on().await;
}

#[tokio::test]
async fn pages_of_other_origins_get_no_socket_and_no_answer_to_read() {
    let node = Node::with(&[("CASIDE_CORS_ORIGINS", "https://app.example")]).await;
    let token = node.admin().await;
    let bearer = format!("Bearer {token}");
    let own = format!("http://{}", node.address);
    let open = async |origins: &[&str]| {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(origins.iter().map(|origin| ("origin", *origin)));
        Ws::open(&node, "/ws", &headers).await.err()
    };
    for admitted in [
        &[][..],
        &["https://app.example"],
        &["HTTPS://APP.EXAMPLE"],
        &[own.as_str()],
    ] {
        assert_eq!(open(admitted).await, None, "{admitted:?}");
    }
    let strangers: [&[&str]; 8] = [
        &["https://evil.example"],
        &["null"],
        &["*"],
        &[""],
        &["http://app.example"],
        &["https://app.example:8443"],
        &["https://app.example.evil.example"],
        &["https://app.example", "https://evil.example"],
    ];
    for refused in strangers {
        assert_eq!(open(refused).await, Some(403), "{refused:?}");
    }
    assert_eq!(node.refused("origin").await, 8);

    let ask = |method: &str, origin: &str| {
        let request = node.request(method, "/rooms").bearer(&token).header("origin", origin);
        request.header("access-control-request-method", "GET").send()
    };
    for (origin, named) in [
        ("https://app.example", "https://app.example"),
        ("null", ""),
        ("https://evil.example", ""),
    ] {
        for method in ["GET", "OPTIONS"] {
            let answer = ask(method, origin).await;
            assert_eq!(answer.header("access-control-allow-origin"), named, "{method} {origin}");
            assert_eq!(answer.header("access-control-allow-credentials"), "");
            assert_eq!(answer.header("vary"), "Origin");
        }
    }
    for wrong in ["*", "null", "https://*.example"] {
        let dir = tempfile::tempdir().unwrap();
        let env = [("CASIDE_CORS_ORIGINS", wrong)];
        let ended = crate::support::run(dir.path(), &["config", "check"], &env).await;
        assert_eq!(ended.status.code(), Some(2), "{wrong}");
    }
}

#[tokio::test]
async fn tokens_that_choose_how_they_are_checked_are_refused() {
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let file = dir.path().join("rsa.pem");
    std::fs::write(&file, rsa.serialize_pem()).unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    let env = [("JWT_PRIVATE_KEY_FILE", file.to_str().unwrap()), ("JWT_SECRET", secret)];
    let node = Node::in_dir(dir.clone(), &env).await;
    let keys = node.request("GET", "/.well-known/jwks.json").send().await.json();
    let kid = keys["keys"][0]["kid"].as_str().unwrap().to_owned();
    let claims = json!({"iss": "caside", "sub": "eve", "iat": 1, "exp": 4_000_000_000_u64, "scope": "user admin"});
    let sign = |algorithm, kid: Option<&str>, key: &EncodingKey| {
        let mut header = Header::new(algorithm);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, &claims, key).unwrap()
    };
    let private = EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes()).unwrap();
    let status = async |token: &str| node.request("GET", "/rooms").bearer(token).send().await.status;
    // What the keys are for.
    assert_eq!(status(&sign(Algorithm::RS256, Some(&kid), &private)).await, 200);
    assert_eq!(
        status(&sign(
            Algorithm::HS256,
            None,
            &EncodingKey::from_secret(secret.as_bytes())
        ))
        .await,
        200
    );

    let unsigned = |alg: &str| {
        let part = |value: &Value| jsonwebtoken_part(&value.to_string());
        let header = json!({"alg": alg, "typ": "JWT", "kid": kid});
        format!("{}.{}.", part(&header), part(&claims))
    };
    let good = sign(Algorithm::RS256, Some(&kid), &private);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let other_claims = json!({"iss": "caside", "sub": "mallory", "exp": 4_000_000_000_u64, "scope": "user admin"});
    let swapped = format!(
        "{}.{}.{signature}",
        head.split_once('.').unwrap().0,
        jsonwebtoken_part(&other_claims.to_string())
    );
    let public_pem = rsa.public_key_pem();
    let public_der = rsa.subject_public_key_info();
    let modulus = keys["keys"][0]["n"].as_str().unwrap();
    let by = |secret: &[u8], kid: Option<&str>| sign(Algorithm::HS256, kid, &EncodingKey::from_secret(secret));
    let forged = [
        unsigned("none"),
        unsigned("None"),
        unsigned("NONE"),
        unsigned("RS256"),
        // The public key as a secret, in each form that it is known in.
        by(public_pem.as_bytes(), Some(&kid)),
        by(public_pem.as_bytes(), None),
        by(&public_der, Some(&kid)),
        by(&public_der, None),
        by(modulus.as_bytes(), Some(&kid)),
        by(b"", None),
        // The right key under another's name, and names that nobody has.
        sign(Algorithm::RS256, Some("no-such-key"), &private),
        sign(Algorithm::RS256, Some("../../etc/passwd"), &private),
        by(secret.as_bytes(), Some(&kid)),
        // Another algorithm of the same key.
        sign(Algorithm::RS512, Some(&kid), &private),
        swapped,
        format!("{head}."),
        "x".repeat(10_000),
    ];
    let count = u64::try_from(forged.len()).unwrap();
    for token in forged {
        assert_eq!(status(&token).await, 401, "{token}");
        let bearer = format!("Bearer {token}");
        assert_eq!(
            Ws::open(&node, "/ws", &[("authorization", &bearer)]).await.err(),
            Some(401)
        );
    }
    assert_eq!(node.refused("unauthorized").await, 2 * count);
}

/// One part of a token by hand.
fn jsonwebtoken_part(text: &str) -> String {
    use std::fmt::Write;
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            let digit = DIGITS[usize::try_from(bits >> (18 - 6 * n) & 63).unwrap()];
            out.write_char(char::from(digit)).unwrap();
        }
    }
    out
}

#[tokio::test]
async fn a_replayed_refresh_token_ends_its_family() {
    let node = Node::start().await;
    let password = node.line("demo password: ").await;
    let ask = |body: Value| node.request("POST", "/auth/token").json(&body).send();
    let token = |answer: &Answer| answer.json()["refresh_token"].as_str().unwrap().to_owned();
    let login = json!({"username": "demo", "password": password});
    let (stolen, other) = (token(&ask(login.clone()).await), token(&ask(login).await));
    let mut latest = stolen.clone();
    for _ in 0..3 {
        let next = ask(json!({"refresh_token": latest})).await;
        assert_eq!(next.status, 200);
        latest = token(&next);
    }
    let refused = (401, "invalid_credentials".to_owned());
    assert_eq!(ask(json!({"refresh_token": stolen})).await.refusal(), refused);
    assert_eq!(
        ask(json!({"refresh_token": latest})).await.refusal(),
        refused,
        "the thief's and the owner's"
    );
    assert_eq!(
        ask(json!({"refresh_token": other})).await.status,
        200,
        "another session goes on"
    );
    assert_eq!(node.refused("refresh_replayed").await, 1);
    assert_eq!(node.refused("credentials").await, 2);
}

#[tokio::test]
async fn paths_lead_to_nothing_outside_of_the_table() {
    let node = Node::start().await;
    let token = node.admin().await;
    let key = std::fs::read_to_string(node.dir.path().join("data/keys/signing.pem")).unwrap();
    let some_id = "01890a5d-ac96-774b-bcce-b302099a8057";
    for path in [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/keys/signing.pem",
        "/..\\..\\keys\\signing.pem",
        "//etc/passwd",
        "/keys/signing.pem",
        "/data/keys/signing.pem",
        "/index.html/../../keys/signing.pem",
        "/rooms/..%2f..%2fkeys",
        &format!("/recordings/{some_id}/files/..%2f..%2f..%2f..%2fkeys%2fsigning.pem"),
        "/recordings/..%2f..%2fkeys/files/signing.pem",
        &format!("/recordings/{some_id}/files/%00"),
        &format!("/recordings/{some_id}/files/%ff%fe"),
    ] {
        for request in ["GET", "HEAD", "DELETE"] {
            let said = format!(
                "{request} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
            );
            let answer = raw(&node, said.as_bytes()).await;
            let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
            assert!((400..=405).contains(&status), "{request} {path}: {answer}");
            assert!(
                !answer.contains("root:") && !answer.contains(key.lines().nth(1).unwrap()),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn what_two_servers_could_read_differently_is_not_read() {
    let node = Node::start().await;
    let token = node.admin().await;
    let mut bystanders = Bystanders::join(&node, &token).await;
    let inner = "GET /health/live HTTP/1.1\r\nhost: smuggled\r\n\r\n";
    let head = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let length = inner.len() + 5;
    let ambiguous = [
        // Two lengths, and lengths that are none.
        format!("{head}content-length: 2\r\ncontent-length: {length}\r\n\r\n{{}}{inner}"),
        format!("{head}content-length: 2, {length}\r\n\r\n{{}}{inner}"),
        format!("{head}content-length: +2\r\n\r\n{{}}{inner}"),
        format!("{head}content-length: -1\r\n\r\n{inner}"),
        format!("{head}content-length: 0x2\r\n\r\n{{}}{inner}"),
        format!("{head}content-length: 99999999999999999999999\r\n\r\n{inner}"),
        // An encoding that is not understood, is not last, or hides.
        format!("{head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}"),
        format!("{head}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("{head}transfer-encoding : chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n\r\n{inner}"),
        format!("{head}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{inner}"),
        // Lines and names that are none.
        format!("GET /health HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n{inner}"),
        format!("GET /health HTTP/1.1\r\nho st: x\r\n\r\n{inner}"),
        format!("GET /health HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n{inner}"),
        format!("GET /health HTTP/1.1\rhost: x\r\r{inner}"),
        format!("GET  /health HTTP/1.1\r\nhost: x\r\n\r\n{inner}"),
        format!("GET /health HTTP/9.9\r\nhost: x\r\n\r\n{inner}"),
        format!("GET /health\r\n{inner}"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\0\0\0\0".to_owned(),
    ];
    let count = ambiguous.len();
    for said in ambiguous {
        let answer = raw(&node, said.as_bytes()).await;
        let answers: Vec<_> = answer.match_indices("HTTP/1.").collect();
        assert!(answers.len() <= 1, "{said:?}: {answer}");
        assert!(!answer.contains("\"status\":\"ok\""), "{said:?}: {answer}");
        if !answer.is_empty() {
            let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
            assert!((400..=505).contains(&status) && status != 500, "{said:?}: {answer}");
        }
    }
    counted(&node, "malformed_request", u64::try_from(count / 2).unwrap()).await;
    bystanders.go_on().await;
}

#[tokio::test]
async fn a_flood_of_requests_from_one_address_is_refused_and_another_is_not() {
    let node = Node::with(&[("CASIDE_REQUEST_RATE", "10")]).await;
    let token = node.admin().await;
    let ask = |from: &str| {
        node.request("GET", "/rooms")
            .bearer(&token)
            .header("x-forwarded-for", from)
            .send()
    };
    let mut refused = 0_u64;
    for _ in 0..100 {
        let answer = ask("203.0.113.9").await;
        if answer.status != 200 {
            assert_rate_limited(&answer);
            refused += 1;
        }
    }
    // Forty at once; what comes behind them depends on how fast this machine is.
    assert!((1..=60).contains(&refused), "{refused}");
    assert_eq!(node.refused("requests_address").await, refused);
    assert_eq!(ask("203.0.113.10").await.status, 200);
    // Pages are no way around, nor are upgrades.
    let mut last = 200;
    for _ in 0..100 {
        last = node
            .request("GET", "/")
            .header("x-forwarded-for", "198.51.100.1")
            .send()
            .await
            .status;
    }
    assert_eq!(last, 429);
    let flooded = [("x-forwarded-for", "198.51.100.1")];
    assert_eq!(Ws::open(&node, "/ws", &flooded).await.err(), Some(429));
}

#[tokio::test]
async fn a_users_requests_are_counted_over_all_addresses() {
    let node = Node::with(&[("CASIDE_REQUEST_RATE", "10")]).await;
    let (eve, ada) = (node.user("eve").await, node.user("ada").await);
    let mut refused = 0_u64;
    for n in 0..100 {
        let from = format!("203.0.113.{n}");
        let answer = node
            .request("GET", "/rooms")
            .bearer(&eve)
            .header("x-forwarded-for", &from)
            .send()
            .await;
        if answer.status != 200 {
            assert_rate_limited(&answer);
            refused += 1;
        }
    }
    assert!((1..=60).contains(&refused), "{refused}");
    assert_eq!(node.refused("requests_user").await, refused);
    assert_eq!(node.request("GET", "/rooms").bearer(&ada).send().await.status, 200);
}

#[tokio::test]
async fn a_storm_of_logins_from_one_address_is_refused_and_another_is_not() {
    let node = Node::start().await;
    let password = node.line("demo password: ").await;
    let login = async |from: &str, password: &str| {
        let body = json!({"username": "demo", "password": password});
        node.request("POST", "/login")
            .header("x-forwarded-for", from)
            .json(&body)
            .send()
            .await
    };
    let mut wrong = 0_u64;
    let mut refused = 0_u64;
    for n in 0..40 {
        let answer = login("203.0.113.9", &format!("guess {n}")).await;
        if answer.status == 429 {
            assert_rate_limited(&answer);
            refused += 1;
        } else {
            assert_eq!(answer.refusal(), (401, "invalid_credentials".to_owned()));
            wrong += 1;
        }
    }
    assert!(wrong >= 20 && refused > 0, "{wrong} wrong, {refused} refused");
    assert_eq!(node.refused("logins_address").await, refused);
    assert_eq!(node.refused("credentials").await, wrong);
    assert_eq!(
        login("203.0.113.9", &password).await.status,
        429,
        "the right one is not told from the wrong"
    );
    assert_eq!(login("203.0.113.10", &password).await.status, 200);
}

#[tokio::test]
async fn a_users_sockets_share_one_rate_of_messages() {
    let node = Node::with(&[("CASIDE_USER_MESSAGE_RATE", "50")]).await;
    let eve = node.user("eve").await;
    let ada = node.user("ada").await;
    let admin = node.admin().await;
    let mut sockets = Vec::new();
    for n in 0..4 {
        sockets.push(Ws::joined(&node, &eve, &format!("r{n}"), JSON).await.0);
    }
    // Each far below what one socket may send at once.
    for ws in &mut sockets {
        for n in 0..150 {
            ws.send(&json!({"type": "chat", "id": n, "payload": {"text": "x"}}))
                .await;
        }
    }
    let (mut done, mut refused) = (0_u64, 0_u64);
    for ws in &mut sockets {
        let mut answered = 0;
        while answered < 150 {
            let answer = ws.receive().await;
            if answer.get("id").is_none() {
                continue;
            }
            answered += 1;
            if answer["type"] == "ok" {
                done += 1;
            } else {
                assert_eq!(answer["payload"]["code"], "rate_limited", "{answer}");
                assert!(answer["payload"]["retry_after_ms"].as_u64().unwrap() > 0);
                refused += 1;
            }
        }
    }
    assert!(done >= 190 && refused > 0, "{done} done, {refused} refused");
    assert_eq!(node.refused("messages_user").await, refused);
    assert_eq!(node.refused("messages_connection").await, 0);
    let mut bystanders = Bystanders::join(&node, &ada).await;
    bystanders.go_on().await;
    // An admin's are the deployment's own.
    let (mut own, _) = Ws::joined(&node, &admin, "r9", JSON).await;
    for _ in 0..300 {
        assert_eq!(own.ask("chat", json!({"text": "x"})).await["type"], "ok");
    }
}

#[tokio::test]
async fn joins_and_rooms_of_one_user_are_bounded() {
    let node = Node::with(&[("CASIDE_MAX_ROOMS_PER_USER", "3"), ("CASIDE_MAX_ROOMS", "3")]).await;
    let (eve, ada) = (node.user("eve").await, node.user("ada").await);
    let admin = node.admin().await;
    let create = |by: &str, id: &str| {
        node.request("POST", "/rooms")
            .bearer(by)
            .json(&json!({"id": id}))
            .send()
    };
    for id in ["a", "b", "c"] {
        assert_eq!(create(&eve, id).await.status, 201);
    }
    assert_eq!(create(&eve, "d").await.refusal(), (403, "forbidden".to_owned()));
    assert_eq!(create(&eve, "a").await.status, 200, "what is there already is answered");
    assert_eq!(node.refused("rooms_user").await, 1);
    assert_eq!(create(&ada, "d").await.status, 201);
    let gone = node.request("DELETE", "/rooms/a").bearer(&eve).send().await;
    assert_eq!(gone.status, 204);
    assert_eq!(create(&eve, "e").await.status, 201);

    // In and out, for ever.
    let (mut ws, _) = Ws::welcomed(&node, &eve, JSON).await;
    let mut refused = 0_u64;
    for _ in 0..70 {
        let answer = ws.ask("join", json!({"room": "b", "display_name": "Eve"})).await;
        if answer["type"] == "joined" {
            assert_eq!(ws.ask("leave", json!({})).await["type"], "ok");
        } else {
            assert_eq!(answer["payload"]["code"], "rate_limited", "{answer}");
            assert!(answer["payload"]["retry_after_ms"].as_u64().unwrap() > 0);
            refused += 1;
        }
    }
    assert!(refused > 0);
    assert_eq!(node.refused("joins_user").await, refused);
    // Rooms that run at a time.
    let mut inside = Vec::new();
    for room in ["b", "c", "d"] {
        inside.push(Ws::joined(&node, &admin, room, JSON).await.0);
    }
    let (mut late, _) = Ws::welcomed(&node, &admin, JSON).await;
    let answer = late.ask("join", json!({"room": "e", "display_name": "Ada"})).await;
    assert_eq!(answer["payload"]["code"], "overloaded", "{answer}");
    assert_eq!(node.refused("rooms").await, 1);
}

#[tokio::test]
async fn every_answer_tells_browsers_what_it_is_not_for() {
    let node = Node::start().await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/rooms"),
        ("GET", "/nothing"),
        ("POST", "/login"),
        ("GET", "/health"),
        ("OPTIONS", "/rooms"),
        ("GET", "/metrics"),
        ("GET", "/ws"),
    ] {
        let answer = node.request(method, path).send().await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{method} {path}");
        }
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("frame-ancestors 'none'") && policy.contains("default-src"),
            "{method} {path}: {policy}"
        );
        assert!(!policy.contains("unsafe-"), "{method} {path}: {policy}");
        assert!(
            answer.header("permissions-policy").contains("camera=(self)"),
            "{method} {path}"
        );
        assert_eq!(answer.header("strict-transport-security"), "", "not without TLS");
    }
}

#[tokio::test]
async fn a_page_that_dns_leads_here_reads_no_metrics() {
    let node = Node::start().await;
    for (host, status) in [
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
        ("rebound.example:8080", 401),
    ] {
        let said = format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = raw(&node, said.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
}
