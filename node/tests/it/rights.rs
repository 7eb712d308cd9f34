//! What a token gives power over, and what it does not: later rooms, earlier calls, longer lives, strange names.

use serde_json::{Value, json};

use crate::support::ws::JSON;
use crate::support::{Answer, Node, Ws};

async fn post(node: &Node, by: &str, path: &str, body: Value) -> Answer {
    node.request("POST", path).bearer(by).json(&body).send().await
}

async fn delete(node: &Node, by: &str, path: &str) -> u16 {
    node.request("DELETE", path).bearer(by).send().await.status
}

async fn get(node: &Node, by: &str, path: &str) -> Answer {
    node.request("GET", path).bearer(by).send().await
}

fn forbidden() -> (u16, String) {
    (403, "forbidden".to_owned())
}

/// What a token says.
fn claims(token: &str) -> Value {
    let mut text = token.split('.').nth(1).unwrap().to_owned();
    let mut bytes = Vec::new();
    let (mut bits, mut have) = (0_u32, 0);
    for c in text.drain(..) {
        let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        (bits, have) = (bits << 6 | u32::try_from(digits.find(c).unwrap()).unwrap(), have + 6);
        if have >= 8 {
            have -= 8;
            bytes.push(u8::try_from(bits >> have & 0xff).unwrap());
        }
    }
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_hosts_token_ends_with_its_room() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let (ada, bob) = (node.user("ada").await, node.user("bob").await);
    let room = json!({"id": "contested"});
    assert_eq!(post(&node, &ada, "/rooms", room.clone()).await.status, 201);
    // One by the owner, one by that one's bearer, one by an admin: however it was come by.
    let host = node.mint(&ada, "eve", "contested", "host").await;
    let of_host = node.mint(&host, "eve", "contested", "host").await;
    let of_admin = node.mint(&admin, "eve", "contested", "host").await;
    let old = [host, of_host, of_admin];
    let (mut eve, _) = Ws::welcomed(&node, &old[0], JSON).await;
    assert_eq!(delete(&node, &ada, "/rooms/contested").await, 204);
    // A token that is made by an old one while there is no room is no newer.
    let between = node.mint(&old[0], "eve", "contested", "host").await;
    assert_eq!(post(&node, &bob, "/rooms", room.clone()).await.status, 201);

    for token in old.iter().chain([&between]) {
        assert_eq!(get(&node, token, "/rooms/contested").await.refusal(), forbidden());
        let minting = json!({"user": "eve", "room": "contested", "role": "host"});
        for (path, body) in [
            ("/auth/token", minting),
            ("/rooms/contested/recording/start", json!({})),
            ("/rooms", room.clone()),
        ] {
            assert_eq!(post(&node, token, path, body).await.refusal(), forbidden(), "{path}");
        }
        assert_eq!(delete(&node, token, "/rooms/contested").await, 403);
        assert_eq!(
            Ws::open(&node, &format!("/ws?token={token}"), &[]).await.err(),
            Some(403)
        );
    }
    let join = json!({"room": "contested"});
    assert_eq!(eve.ask("join", join).await["payload"]["code"], "forbidden");

    // What is given for the room that is there is good for it, at once.
    let guest = node.mint(&bob, "guest", "contested", "moderator").await;
    let (_guest, joined) = Ws::joined(&node, &guest, "contested", JSON).await;
    assert_eq!(joined["role"], "moderator");

    // And her own stay good, for a room that she makes anew.
    assert_eq!(post(&node, &ada, "/rooms", json!({"id": "hers"})).await.status, 201);
    let guest = node.mint(&ada, "guest", "hers", "moderator").await;
    assert_eq!(delete(&node, &ada, "/rooms/hers").await, 204);
    assert_eq!(post(&node, &ada, "/rooms", json!({"id": "hers"})).await.status, 201);
    assert_eq!(get(&node, &guest, "/rooms/hers").await.status, 200);
}

#[tokio::test]
async fn a_later_room_of_an_id_shows_no_call_of_an_earlier_one() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let (ada, bob) = (node.user("ada").await, node.user("bob").await);
    let (ws, joined) = Ws::joined(&node, &ada, "contested", JSON).await;
    let call = format!("/calls/{}", joined["call_id"].as_str().unwrap());
    let ada_id = claims(&ada)["sub"].as_str().unwrap().to_owned();
    ws.close().await;
    while get(&node, &ada, &call).await.json()["status"] != "ended" {
        tokio::task::yield_now().await;
    }
    let waiting = post(&node, &ada, "/calls", json!({"room_id": "contested"}))
        .await
        .json();
    assert_eq!(delete(&node, &ada, "/rooms/contested").await, 204);
    assert_eq!(
        post(&node, &bob, "/rooms", json!({"id": "contested"})).await.status,
        201
    );

    // Not to its owner, not to the bearer of his host's token, and not by a name that he gives somebody.
    let host = node.mint(&bob, "guest", "contested", "host").await;
    let as_ada = node.mint(&bob, &ada_id, "contested", "host").await;
    let visible = async |by: &str, path: &str| get(&node, by, path).await.json()["items"].as_array().unwrap().len();
    for token in [&bob, &host, &as_ada] {
        assert_eq!(
            get(&node, token, &call).await.refusal(),
            (404, "call_not_found".to_owned())
        );
        assert_eq!(visible(token, "/calls").await, 0);
        assert_eq!(visible(token, "/calls?room=contested").await, 0);
        assert_eq!(post(&node, token, &format!("{call}/end"), json!({})).await.status, 404);
    }
    // The call that waited in hers is not taken up in his.
    let (_bob, joined) = Ws::joined(&node, &bob, "contested", JSON).await;
    assert_ne!(joined["call_id"], waiting["id"]);
    assert_eq!(visible(&bob, "/calls").await, 1);
    assert_eq!(visible(&host, "/calls").await, 1);
    // Hers stay hers, and the admin sees all.
    assert_eq!(get(&node, &ada, &call).await.status, 200);
    assert_eq!(visible(&ada, "/calls?room=contested").await, 2);
    assert_eq!(visible(&admin, "/calls?room=contested").await, 3);
}

#[tokio::test]
async fn nobody_gives_what_lasts_longer_than_their_own_right() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let ada = node.user("ada").await;
    assert_eq!(post(&node, &ada, "/rooms", json!({"id": "adas"})).await.status, 201);
    let long = 30 * 86_400;
    for minter in [&ada, &admin] {
        let body = json!({"user": "guest", "room": "adas", "role": "host", "ttl_s": long});
        let answer = post(&node, minter, "/auth/token", body).await.json();
        let (given, own) = (claims(answer["token"].as_str().unwrap()), claims(minter));
        assert_eq!(given["exp"], own["exp"]);
        assert!(answer["expires_in"].as_u64().unwrap() <= 3600);
    }
    let made = crate::support::run(node.dir.path(), &["apikey", "add", "app"], &[]).await;
    let made = String::from_utf8(made.stdout).unwrap();
    let key = made.lines().find_map(|line| line.strip_prefix("key: ")).unwrap();
    let body = json!({"user": "guest", "room": "adas", "ttl_s": long});
    let answer = post(&node, key, "/auth/token", body).await.json();
    assert_eq!(answer["expires_in"], long);
}

#[tokio::test]
async fn an_admin_whose_token_is_for_one_room_gives_none_for_another() {
    let secret = "0123456789abcdef0123456789abcdef";
    let node = Node::with(&[("JWT_SECRET", secret)]).await;
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let now = jsonwebtoken::get_current_timestamp();
    let scoped =
        json!({"iss": "app", "sub": "root", "iat": now, "exp": now + 60, "scope": "user admin", "room": "one"});
    let scoped = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &scoped, &key).unwrap();
    let mint = |room: &str| json!({"user": "guest", "room": room, "role": "host"});
    assert_eq!(post(&node, &scoped, "/auth/token", mint("one")).await.status, 200);
    assert_eq!(
        post(&node, &scoped, "/auth/token", mint("two")).await.refusal(),
        forbidden()
    );
}

#[tokio::test]
async fn a_low_role_makes_no_room_of_its_own() {
    let node = Node::start().await;
    let admin = node.admin().await;
    for (role, joins) in [("viewer", false), ("participant", true)] {
        let room = format!("by-{role}");
        let token = node.mint(&admin, "guest", &room, role).await;
        assert_eq!(
            post(&node, &token, "/rooms", json!({"id": room})).await.refusal(),
            forbidden()
        );
        assert_eq!(
            post(&node, &token, "/calls", json!({"room_id": room})).await.refusal(),
            forbidden()
        );
        let (mut ws, _) = Ws::welcomed(&node, &token, JSON).await;
        let answer = ws.ask("join", json!({"room": room})).await;
        assert_eq!(answer["type"] == "joined", joins, "{answer}");
        if joins {
            let made = get(&node, &admin, &format!("/rooms/{room}")).await.json();
            assert_eq!(made["owner"], Value::Null);
        }
    }
}

#[tokio::test]
async fn text_that_cannot_be_shown_or_kept_is_refused_by_name() {
    let node = Node::start().await;
    let admin = node.admin().await;
    for bad in ["a\u{0}b", "a\nb", "\u{7f}"] {
        for (path, body, field) in [
            ("/rooms", json!({"name": bad}), "name"),
            ("/auth/token", json!({"user": "u", "room": "r", "name": bad}), "name"),
            ("/login", json!({"username": bad, "password": "x"}), "username"),
        ] {
            let answer = post(&node, &admin, path, body).await;
            assert_eq!(answer.refusal(), (400, "invalid_payload".to_owned()), "{path} {bad:?}");
            let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.starts_with(&format!("{field}: ")), "{message}");
        }
    }
    assert_eq!(post(&node, &admin, "/rooms", json!({"id": "r"})).await.status, 201);
    let nul = json!({"metadata": {"deep": ["x\u{0}"]}});
    for (method, path) in [("POST", "/rooms"), ("PATCH", "/rooms/r"), ("POST", "/calls")] {
        let answer = node.request(method, path).bearer(&admin).json(&nul).send().await;
        assert_eq!(answer.refusal(), (400, "invalid_payload".to_owned()), "{method} {path}");
    }
    let lines = json!({"metadata": {"notes": "two\nlines"}});
    assert_eq!(post(&node, &admin, "/rooms", lines).await.status, 201);
}

#[tokio::test]
async fn what_is_secret_is_private_again_at_the_start() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::start().await;
    let dir = node.stop().await;
    let secret = ["keys/signing.pem", "caside.db"].map(|name| dir.path().join("data").join(name));
    let mode = |path: &std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in &secret {
        assert_eq!(mode(path), 0o600, "{}", path.display());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let again = Node::in_dir(dir.clone(), &[]).await;
    for path in &secret {
        assert_eq!(mode(path), 0o600, "{}", path.display());
        again
            .line(&format!("it is private again path={}", path.display()))
            .await;
    }
}
