//! The REST API: shapes, rooms, calls, pages, origins.

use serde_json::{Value, json};

use crate::support::ws::JSON;
use crate::support::{Node, Ws, run};

#[tokio::test]
async fn refusals_have_the_documented_shape() {
    let node = Node::start().await;
    let token = node.admin().await;
    let nothing = node
        .request("GET", "/nothing/here")
        .header("x-request-id", "my-id.7")
        .send()
        .await;
    assert_eq!(nothing.refusal(), (404, "not_found".to_owned()));
    assert_eq!(nothing.header("x-request-id"), "my-id.7");
    let strange = node
        .request("GET", "/nothing")
        .header("x-request-id", "a b\tc")
        .send()
        .await;
    assert_ne!(strange.header("x-request-id"), "a b\tc");
    assert_eq!(strange.refusal().0, 404);

    let method = node.request("PUT", "/rooms/x").send().await;
    assert_eq!(method.refusal().0, 405);
    let mut allowed: Vec<_> = method.header("allow").split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH"]);
    assert_eq!(node.request("POST", "/").send().await.refusal().0, 405);

    let post = || node.request("POST", "/rooms").bearer(&token);
    let form = post().header("content-type", "text/plain").body("{}").send().await;
    assert_eq!(form.refusal(), (415, "invalid_payload".to_owned()));
    for broken in [
        "{",
        "[]",
        "{\"mode\":\"huge\"}",
        "{\"id\":\"a b\"}",
        "{\"max_participants\":-1}",
    ] {
        let answer = post()
            .header("content-type", "application/json; charset=utf-8")
            .body(broken)
            .send()
            .await;
        assert_eq!(answer.refusal(), (400, "invalid_payload".to_owned()), "{broken}");
    }
    let large = post().json(&json!({"metadata": "x".repeat(70_000)})).send().await;
    assert_eq!(large.refusal(), (413, "too_large".to_owned()));
    for too_long in [json!({"name": "n".repeat(257)}), json!({"metadata": "x".repeat(4096)})] {
        assert_eq!(
            post().json(&too_long).send().await.refusal(),
            (413, "too_large".to_owned())
        );
    }
    let limit = node.request("GET", "/rooms?limit=201").bearer(&token).send().await;
    assert_eq!(limit.refusal(), (400, "invalid_payload".to_owned()));
    let cursor = node
        .request("GET", "/rooms?cursor=nonsense")
        .bearer(&token)
        .send()
        .await;
    assert_eq!(cursor.refusal(), (400, "invalid_payload".to_owned()));
    for path in ["/rooms", "/rooms/x", "/rooms/x/participants", "/calls", "/recordings"] {
        assert_eq!(
            node.request("GET", path).send().await.refusal(),
            (401, "unauthorized".to_owned()),
            "{path}"
        );
    }
    for (path, code) in [
        ("/rooms/none", "room_not_found"),
        ("/rooms/a%20b", "room_not_found"),
        ("/calls/none", "call_not_found"),
        ("/calls/01980000-0000-7000-8000-000000000000", "call_not_found"),
        (
            "/recordings/01980000-0000-7000-8000-000000000000",
            "recording_not_found",
        ),
    ] {
        let answer = node.request("GET", path).bearer(&token).send().await;
        assert_eq!(answer.refusal(), (404, code.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_room_is_made_read_changed_and_deleted_by_its_owner() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let ada = node.user("ada").await;
    let bob = node.user("bob").await;
    let body = json!({"id": "team:stand.up", "name": "Stand-up", "mode": "p2p", "max_participants": 5,
        "record": "off", "metadata": {"colour": "blue"}});
    let created = node.request("POST", "/rooms").bearer(&ada).json(&body).send().await;
    assert_eq!(
        (created.status, created.header("location")),
        (201, "/rooms/team:stand.up")
    );
    let room = created.json();
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(&room[name], value, "{name}");
    }
    assert_eq!(
        (&room["state"], &room["participants"], &room["locked"]),
        (&json!("inactive"), &json!([]), &json!(false))
    );

    let same = node
        .request("POST", "/rooms")
        .bearer(&ada)
        .json(&json!({"id": "team:stand.up"}))
        .send()
        .await;
    assert_eq!((same.status, same.json()), (200, room.clone()));
    let taken = node
        .request("POST", "/rooms")
        .bearer(&bob)
        .json(&json!({"id": "team:stand.up"}))
        .send()
        .await;
    assert_eq!(taken.refusal(), (409, "room_exists".to_owned()));
    let encoded = node.request("GET", "/rooms/team%3Astand.up").bearer(&bob).send().await;
    assert_eq!(encoded.json(), room);

    let path = "/rooms/team:stand.up";
    let change = json!({"name": "Daily", "locked": true});
    let refused = node.request("PATCH", path).bearer(&bob).json(&change).send().await;
    assert_eq!(refused.refusal(), (403, "forbidden".to_owned()));
    let changed = node
        .request("PATCH", path)
        .bearer(&ada)
        .json(&change)
        .send()
        .await
        .json();
    assert_eq!(
        (&changed["name"], &changed["locked"], &changed["mode"]),
        (&json!("Daily"), &json!(true), &json!("p2p"))
    );

    assert_eq!(node.request("DELETE", path).bearer(&bob).send().await.refusal().0, 403);
    assert_eq!(node.request("DELETE", path).bearer(&admin).send().await.status, 204);
    assert_eq!(node.request("GET", path).bearer(&ada).send().await.refusal().0, 404);
}

#[tokio::test]
async fn rooms_are_listed_newest_first_to_those_who_may_see_them() {
    let node = Node::start().await;
    let admin = node.admin().await;
    let ada = node.user("ada").await;
    for n in 0..5 {
        let body = json!({"id": format!("room-{n}")});
        assert_eq!(
            node.request("POST", "/rooms")
                .bearer(&ada)
                .json(&body)
                .send()
                .await
                .status,
            201
        );
    }
    let mut seen = Vec::new();
    let mut path = "/rooms?limit=2".to_owned();
    loop {
        let page: Value = node.request("GET", &path).bearer(&admin).send().await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|room| room["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/rooms?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, ["room-4", "room-3", "room-2", "room-1", "room-0"]);
    let bob = node.user("bob").await;
    assert_eq!(
        node.request("GET", "/rooms").bearer(&bob).send().await.json()["items"],
        json!([])
    );
}

#[tokio::test]
async fn a_call_is_made_once_and_ended_once() {
    let node = Node::start().await;
    let ada = node.user("ada").await;
    let bob = node.user("bob").await;
    let post = |token: &str, path: &str, body: Value| node.request("POST", path).bearer(token).json(&body).send();
    let made = post(&ada, "/calls", json!({"metadata": {"ticket": 7}})).await;
    assert_eq!(made.status, 201);
    let call = made.json();
    assert_eq!(
        (&call["status"], &call["started_at"], &call["metadata"]),
        (&json!("active"), &Value::Null, &json!({"ticket": 7}))
    );
    let path = format!("/calls/{}", call["id"].as_str().unwrap());
    assert_eq!(made.header("location"), path);
    let again = post(&ada, "/calls", json!({"room_id": call["room_id"]})).await;
    assert_eq!((again.status, &again.json()["id"]), (200, &call["id"]));
    assert_eq!(
        post(&bob, "/calls", json!({"room_id": call["room_id"]}))
            .await
            .refusal()
            .0,
        403
    );
    assert_eq!(node.request("GET", &path).bearer(&bob).send().await.refusal().0, 404);
    let listed = node
        .request("GET", "/calls?status=active")
        .bearer(&ada)
        .send()
        .await
        .json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);

    let end = format!("{path}/end");
    assert_eq!(node.request("POST", &end).bearer(&bob).send().await.refusal().0, 404);
    let ended = node.request("POST", &end).bearer(&ada).send().await.json();
    assert_eq!(ended["status"], "ended");
    assert!(ended["ended_at"].is_string());
    assert_eq!(node.request("POST", &end).bearer(&ada).send().await.json(), ended);
}

#[tokio::test]
async fn the_web_app_its_documentation_and_the_document_are_served() {
    let node = Node::start().await;
    let page = node.request("GET", "/?room=standup&name=Ada").send().await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(page.header("content-security-policy").starts_with("default-src 'self'"));
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let again = node
        .request("GET", "/")
        .header("if-none-match", page.header("etag"))
        .send()
        .await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let head = node.request("HEAD", "/").send().await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, page.body.len().to_string().as_str())
    );
    for (path, kind) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/docs.js", "text/javascript; charset=utf-8"),
        ("/sdk/caside.js", "text/javascript; charset=utf-8"),
        ("/openapi.json", "application/json"),
    ] {
        let answer = node.request("GET", path).send().await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
    }
    for outside in [
        "/../Cargo.toml",
        "/sdk/../../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/tests/package.json",
    ] {
        assert_eq!(node.request("GET", outside).send().await.status, 404, "{outside}");
    }
    for path in ["/health", "/health/live", "/health/ready"] {
        let health = node.request("GET", path).send().await;
        assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")));
    }
}

#[tokio::test]
async fn only_configured_origins_may_read_answers() {
    let node = Node::with(&[("CASIDE_CORS_ORIGINS", "https://app.example")]).await;
    let asked = |method: &str, origin: &str| {
        let request = node.request(method, "/rooms").header("origin", origin);
        request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization")
    };
    let permitted = asked("OPTIONS", "https://app.example").send().await;
    assert_eq!(permitted.status, 204);
    assert_eq!(permitted.header("access-control-allow-origin"), "https://app.example");
    assert!(permitted.header("access-control-allow-methods").contains("POST"));
    assert!(
        permitted
            .header("access-control-allow-headers")
            .contains("Authorization")
    );
    let foreign = asked("OPTIONS", "https://evil.example").send().await;
    assert_eq!(
        (foreign.status, foreign.header("access-control-allow-origin")),
        (204, "")
    );
    assert_eq!(foreign.header("access-control-allow-methods"), "");
    let refused = asked("GET", "https://app.example").send().await;
    assert_eq!(refused.refusal().0, 401);
    assert_eq!(refused.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(refused.header("vary"), "Origin");
}

#[tokio::test]
async fn metrics_are_open_on_loopback_and_for_admins_elsewhere() {
    let node = Node::start().await;
    let (_ada, _) = Ws::joined(&node, &node.admin().await, "r", JSON).await;
    let metrics = node.request("GET", "/metrics").send().await;
    assert_eq!(metrics.status, 200);
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "caside_websockets 1",
        "caside_rooms 1",
        "caside_participants 1",
        "caside_actors{actor=\"room\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }

    let env = [
        ("CASIDE_LISTEN", "0.0.0.0:0"),
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
    ];
    let mut public = Node::with(&env).await;
    public.address = public.address.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(
        public.request("GET", "/metrics").send().await.refusal(),
        (401, "unauthorized".to_owned())
    );
    let args = ["token", "--user", "ada"];
    let token = run(public.dir.path(), &args, &env).await.stdout;
    let token = String::from_utf8(token).unwrap();
    let refused = public.request("GET", "/metrics").bearer(token.trim()).send().await;
    assert_eq!(refused.refusal(), (403, "forbidden".to_owned()));
}
