//! Identities: passwords, tokens, refresh, minting, keys.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{Answer, Node, run};

async fn login(node: &Node, username: &str, password: &str) -> Answer {
    node.request("POST", "/login")
        .json(&json!({"username": username, "password": password}))
        .send()
        .await
}

async fn rooms_status(node: &Node, token: &str) -> (u16, Value) {
    let answer = node.request("GET", "/rooms").bearer(token).send().await;
    (answer.status, answer.json())
}

async fn refresh(node: &Node, token: &str) -> Answer {
    node.request("POST", "/auth/token")
        .json(&json!({"refresh_token": token}))
        .send()
        .await
}

#[tokio::test]
async fn the_first_start_makes_an_admin_and_keys_that_outlive_it() {
    let node = Node::start().await;
    let password = node.line("demo password: ").await;
    let answer = login(&node, "demo", &password).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(
        (&body["token_type"], &body["expires_in"]),
        (&json!("Bearer"), &json!(3600))
    );
    let token = body["token"].as_str().unwrap().to_owned();
    assert_eq!(rooms_status(&node, &token).await.0, 200);

    let again = Node::in_dir(node.stop().await, &[]).await;
    assert_eq!(rooms_status(&again, &token).await.0, 200);
    assert_eq!(login(&again, "DEMO", &password).await.status, 200);
    assert!(again.output().iter().all(|line| !line.contains("demo password")));

    let reset = run(again.dir.path(), &["user", "passwd", "demo"], &[]).await;
    let reset = String::from_utf8(reset.stdout).unwrap();
    assert_eq!(
        login(&again, "demo", &password).await.refusal(),
        (401, "invalid_credentials".to_owned())
    );
    assert_eq!(
        login(&again, "demo", reset.trim().strip_prefix("password: ").unwrap())
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_told_alike() {
    let node = Node::start().await;
    let wrong = login(&node, "demo", "wrong").await;
    let unknown = login(&node, "nobody", "wrong").await;
    assert_eq!(wrong.refusal(), (401, "invalid_credentials".to_owned()));
    assert_eq!(unknown.refusal(), wrong.refusal());
    assert_eq!(unknown.json()["error"]["message"], wrong.json()["error"]["message"]);
    let malformed = node
        .request("POST", "/login")
        .json(&json!({"username": "demo"}))
        .send()
        .await;
    assert_eq!(malformed.refusal(), (400, "invalid_payload".to_owned()));
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_replay_ends_the_session() {
    let node = Node::start().await;
    let password = node.line("demo password: ").await;
    let first = login(&node, "demo", &password).await.json()["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let rotated = refresh(&node, &first).await;
    assert_eq!(rotated.status, 200);
    let second = rotated.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(
        refresh(&node, &first).await.refusal(),
        (401, "invalid_credentials".to_owned())
    );
    assert_eq!(
        refresh(&node, &second).await.refusal(),
        (401, "invalid_credentials".to_owned())
    );
    assert_eq!(refresh(&node, "cr_nonsense").await.refusal().0, 401);

    let other = login(&node, "demo", &password).await.json()["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let logout = node
        .request("POST", "/auth/logout")
        .json(&json!({"refresh_token": other}))
        .send()
        .await;
    assert_eq!(logout.status, 204);
    assert_eq!(refresh(&node, &other).await.refusal().0, 401);
}

#[tokio::test]
async fn forged_and_foreign_tokens_are_refused() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let keys = node.request("GET", "/.well-known/jwks.json").send().await.json();
    let key = &keys["keys"][0];
    let mut claims: Value =
        json!({"iss": "caside", "sub": "eve", "iat": 0, "exp": 4_000_000_000_u64, "scope": "user admin"});
    let forge = |claims: &Value, secret: &str, kid: Option<&str>| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = kid.map(ToOwned::to_owned);
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let public = key["x"].as_str().unwrap();
    let kid = key["kid"].as_str().unwrap();
    let unsigned = format!("{}.", admin.rsplit_once('.').unwrap().0);
    for token in [
        forge(&claims, public, Some(kid)),
        forge(&claims, public, None),
        forge(&claims, kid, Some(kid)),
        unsigned,
    ] {
        let answer = node.request("GET", "/rooms").bearer(&token).send().await;
        assert_eq!(answer.refusal(), (401, "unauthorized".to_owned()));
    }
    for authorization in ["Basic ZGVtbzp4", "Bearer", "Bearer ", "nonsense"] {
        let answer = node
            .request("GET", "/rooms")
            .header("authorization", authorization)
            .send()
            .await;
        assert_eq!(answer.refusal(), (401, "unauthorized".to_owned()), "{authorization}");
    }

    // An application that shares a secret with us makes its own tokens.
    let secret = "0123456789abcdef0123456789abcdef";
    let shared = Node::with(&[("JWT_SECRET", secret)]).await;
    assert_eq!(
        shared.request("GET", "/.well-known/jwks.json").send().await.json(),
        json!({"keys": []})
    );
    assert_eq!(rooms_status(&shared, &forge(&claims, secret, None)).await.0, 200);
    claims["exp"] = json!(1_000);
    let expired = shared
        .request("GET", "/rooms")
        .bearer(&forge(&claims, secret, None))
        .send()
        .await;
    assert_eq!(expired.refusal(), (401, "token_expired".to_owned()));
    assert_eq!(rooms_status(&shared, &admin).await.0, 401);
}

#[tokio::test]
async fn minted_tokens_are_for_one_room_and_never_above_the_minter() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let ada = node.user("ada").await;
    let created = node
        .request("POST", "/rooms")
        .bearer(&ada)
        .json(&json!({"id": "adas"}))
        .send()
        .await;
    assert_eq!(created.status, 201);

    let mint = |by: String, body: Value| node.request("POST", "/auth/token").bearer(&by).json(&body).send();
    let guest = mint(
        ada.clone(),
        json!({"user": "guest", "room": "adas", "role": "participant", "ttl_s": 60}),
    )
    .await;
    assert_eq!(guest.status, 200);
    assert_eq!(guest.json()["expires_in"], 60);
    assert!(guest.json().get("refresh_token").is_none());
    let guest = guest.json()["token"].as_str().unwrap().to_owned();
    let own = node.request("GET", "/rooms/adas").bearer(&guest).send().await;
    assert_eq!(own.status, 200);
    let other = node.request("GET", "/rooms/elsewhere").bearer(&guest).send().await;
    assert_eq!(other.refusal(), (403, "forbidden".to_owned()));

    for (by, room, code) in [
        (&guest, "adas", (403, "forbidden")),
        (&ada, "not-hers", (403, "forbidden")),
        (&admin, "a b", (400, "invalid_payload")),
    ] {
        let refused = mint(by.clone(), json!({"user": "eve", "room": room, "role": "host"})).await;
        assert_eq!(refused.refusal(), (code.0, code.1.to_owned()));
    }
    for ttl_s in [0, 30 * 86_400 + 1] {
        let refused = mint(admin.clone(), json!({"user": "eve", "room": "adas", "ttl_s": ttl_s})).await;
        assert_eq!(refused.refusal(), (400, "invalid_payload".to_owned()));
    }
    let nobody = node
        .request("POST", "/auth/token")
        .json(&json!({"user": "eve", "room": "adas"}))
        .send()
        .await;
    assert_eq!(nobody.refusal(), (401, "unauthorized".to_owned()));
}

#[tokio::test]
async fn an_api_key_acts_until_it_is_revoked() {
    let node = Node::start().await;
    let dir = node.dir.path();
    let made = String::from_utf8(run(dir, &["apikey", "add", "backend"], &[]).await.stdout).unwrap();
    let field = |name: &str| {
        made.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .to_owned()
    };
    let (id, key) = (field("id: "), field("key: "));
    assert!(key.starts_with("ck_"));
    assert_eq!(rooms_status(&node, &key).await.0, 200);
    assert!(!node.mint(&key, "guest", "any-room", "host").await.is_empty());
    let listed = String::from_utf8(run(dir, &["apikey", "list"], &[]).await.stdout).unwrap();
    assert!(
        listed.contains(&id) && listed.contains("backend") && !listed.contains(&key),
        "{listed}"
    );
    assert!(run(dir, &["apikey", "rm", &id], &[]).await.status.success());
    let refused = node.request("GET", "/rooms").bearer(&key).send().await;
    assert_eq!(refused.refusal(), (401, "unauthorized".to_owned()));
    assert!(!run(dir, &["apikey", "rm", &id], &[]).await.status.success());
}

#[tokio::test]
async fn credentials_stay_out_of_the_log() {
    let node = Node::with(&[("RUST_LOG", "caside=trace,caside_actors=trace,info")]).await;
    let password = node.line("demo password: ").await;
    let body = login(&node, "demo", &password).await.json();
    let token = body["token"].as_str().unwrap();
    let by_query = node.request("GET", &format!("/rooms?token={token}")).send().await;
    assert_eq!(by_query.status, 200);
    refresh(&node, body["refresh_token"].as_str().unwrap()).await;
    node.signal("TERM").await;
    node.line("stopped").await;
    for line in node.output().iter().filter(|line| !line.starts_with("demo password: ")) {
        for secret in [password.as_str(), token, body["refresh_token"].as_str().unwrap()] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}
