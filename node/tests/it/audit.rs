//! The audit log: each act leaves its line, whatever `RUST_LOG` says, and no secret is in any.

use serde_json::{Value, json};

use crate::support::ws::JSON;
use crate::support::{Node, Ws, run};

const QUIET: [(&str, &str); 2] = [("RUST_LOG", "off"), ("CASIDE_LOG_FORMAT", "json")];

/// The lines of the audit log so far.
fn acts(node: &Node) -> Vec<Value> {
    let output = node.output();
    let lines = output.iter().filter(|line| line.starts_with('{'));
    let parsed = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed.filter(|line| line["target"] == "caside::audit").collect()
}

/// The line with this action and these fields.
async fn line(node: &Node, action: &str, fields: &[(&str, &str)]) -> Value {
    let is_it = |act: &Value| act["audit.action"] == action && fields.iter().all(|(name, value)| act[*name] == *value);
    for _ in 0..2000 {
        if let Some(found) = acts(node).into_iter().find(is_it) {
            return found;
        }
        // What was answered is written before or soon after, by another thread.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("no {action} with {fields:?} among {:#?}", acts(node));
}

#[tokio::test]
async fn each_act_by_http_leaves_its_line() {
    let node = Node::with(&QUIET).await;
    let password = node.line("demo password: ").await;
    let post = |path: &str, body: Value| {
        let request = node
            .request("POST", path)
            .header("x-request-id", "req-1")
            .header("x-forwarded-for", "203.0.113.9");
        request.json(&body)
    };
    let wrong = json!({"username": "demo", "password": "a wrong password"});
    assert_eq!(post("/login", wrong).send().await.status, 401);
    let login = post("/login", json!({"username": "demo", "password": password}))
        .send()
        .await
        .json();
    let (token, refresh) = (
        login["token"].as_str().unwrap(),
        login["refresh_token"].as_str().unwrap(),
    );
    let refreshed = post("/auth/token", json!({"refresh_token": refresh})).send().await;
    let next = refreshed.json()["refresh_token"].as_str().unwrap().to_owned();
    let mint = json!({"user": "guest", "room": "r", "role": "moderator", "ttl_s": 60});
    let minted = post("/auth/token", mint).bearer(token).send().await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        post("/auth/token", json!({"refresh_token": refresh}))
            .send()
            .await
            .status,
        401
    );

    let from = [
        ("client.address", "203.0.113.9"),
        ("request.id", "req-1"),
        ("audit.via", "http"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&from[..], more].concat();
    let failed = line(
        &node,
        "login",
        &with(&[("audit.outcome", "refused"), ("error.code", "invalid_credentials")]),
    )
    .await;
    assert_eq!(
        (&failed["audit.target"], &failed["user.id"]),
        (&json!("demo"), &Value::Null)
    );
    line(
        &node,
        "login",
        &with(&[("audit.outcome", "success"), ("audit.target", "demo")]),
    )
    .await;
    line(&node, "token.refresh", &with(&[("audit.outcome", "success")])).await;
    line(&node, "token.refresh", &with(&[("audit.outcome", "refused")])).await;
    line(
        &node,
        "session.revoke",
        &[("audit.via", "node"), ("client.address", "203.0.113.9")],
    )
    .await;
    let given = with(&[
        ("audit.target", "guest"),
        ("room.id", "r"),
        ("audit.detail", "role moderator, ttl_s 60"),
    ]);
    let given = line(&node, "token.mint", &given).await;
    let me = given["user.id"].as_str().expect("who minted").to_owned();
    line(&node, "user.create", &[("audit.via", "node")]).await;

    // What is done to rooms and to who is in them.
    let act = |method: &str, path: &str, body: Value| {
        let request = node.request(method, path).bearer(token).header("x-request-id", "req-2");
        request.json(&body).send()
    };
    assert_eq!(act("POST", "/rooms", json!({"id": "r"})).await.status, 201);
    let (_ada, ada) = Ws::joined(&node, token, "r", JSON).await;
    let (_bob, bob) = Ws::joined(&node, token, "r", JSON).await;
    let (ada, bob) = (
        ada["participant_id"].as_str().unwrap(),
        bob["participant_id"].as_str().unwrap(),
    );
    let person = |id: &str, what: &str| format!("/rooms/r/participants/{id}/{what}");
    assert_eq!(
        act("POST", &person(bob, "role"), json!({"role": "viewer"}))
            .await
            .status,
        200
    );
    assert_eq!(act("POST", &person(bob, "mute"), json!({})).await.status, 200);
    assert_eq!(act("POST", &person(bob, "kick"), json!({})).await.status, 200);
    assert_eq!(act("PATCH", "/rooms/r", json!({"locked": true})).await.status, 200);
    assert_eq!(act("PATCH", "/rooms/r", json!({"name": "Stand-up"})).await.status, 200);
    let recording = act("POST", "/rooms/r/recording/start", json!({})).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(act("POST", "/rooms/r/recording/stop", json!({})).await.status, 200);
    let call = node.request("GET", "/rooms/r").bearer(token).send().await.json()["call_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(act("POST", &format!("/calls/{call}/end"), json!({})).await.status, 200);
    act("DELETE", &format!("/recordings/{recording}"), json!({})).await;
    assert_eq!(act("DELETE", "/rooms/r", json!({})).await.status, 204);
    let denied = node.request("DELETE", "/rooms/r").bearer(&minted).send().await;
    assert!(denied.status >= 400);
    assert_eq!(
        act("POST", "/admin/drain", json!({"node": "no-such-node"}))
            .await
            .status,
        404
    );
    assert_eq!(
        post("/auth/logout", json!({"refresh_token": next})).send().await.status,
        204
    );

    let room = ("room.id", "r");
    let done = ("audit.outcome", "success");
    for (action, fields) in [
        ("room.create", vec![room, done]),
        (
            "participant.role",
            vec![room, done, ("audit.target", bob), ("audit.detail", "viewer")],
        ),
        ("participant.mute", vec![room, done, ("audit.target", bob)]),
        ("participant.kick", vec![room, done, ("audit.target", bob)]),
        ("room.lock", vec![room, done]),
        ("room.update", vec![room, done]),
        ("recording.start", vec![room, done]),
        ("recording.stop", vec![room, done]),
        ("call.end", vec![done, ("audit.target", call.as_str())]),
        ("recording.delete", vec![("audit.target", recording.as_str())]),
        ("room.delete", vec![room, done]),
        (
            "node.drain",
            vec![("audit.target", "no-such-node"), ("error.code", "not_found")],
        ),
    ] {
        let fields = [fields, vec![("user.id", me.as_str()), ("request.id", "req-2")]].concat();
        line(&node, action, &fields).await;
    }
    line(
        &node,
        "room.delete",
        &[room, ("user.id", "guest"), ("audit.outcome", "refused")],
    )
    .await;
    line(&node, "logout", &from).await;
    assert_ne!(ada, bob);

    let output = node
        .output()
        .into_iter()
        .filter(|line| !line.starts_with("demo password: "));
    for line in output {
        assert!(
            !line.starts_with('{') || line.contains("caside::audit"),
            "RUST_LOG is off: {line}"
        );
        for secret in [password.as_str(), token, refresh, &next, &minted, "a wrong password"] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[tokio::test]
async fn each_act_by_a_socket_leaves_its_line() {
    let node = Node::with(&QUIET).await;
    let token = node.admin().await;
    let (mut ada, me) = Ws::joined(&node, &token, "r", JSON).await;
    let (_bob, bob) = Ws::joined(&node, &token, "r", JSON).await;
    let viewer = node.mint(&token, "eve", "r", "viewer").await;
    let (mut eve, _) = Ws::joined(&node, &viewer, "r", JSON).await;
    let bob = bob["participant_id"].as_str().unwrap();
    let me = me["participant_id"].as_str().unwrap();
    assert_eq!(
        eve.ask("kick", json!({"participant_id": me})).await["payload"]["code"],
        "forbidden"
    );
    for (kind, payload) in [
        ("mute-participant", json!({"participant_id": bob})),
        ("set-role", json!({"participant_id": bob, "role": "viewer"})),
        ("lock", json!({})),
        ("unlock", json!({})),
        ("start-recording", json!({})),
        ("stop-recording", json!({})),
        ("kick", json!({"participant_id": bob})),
        ("end-call", json!({})),
    ] {
        let answer = ada.ask(kind, payload).await;
        assert_ne!(answer["type"], "error", "{kind}: {answer}");
    }
    let common = [
        ("audit.via", "websocket"),
        ("room.id", "r"),
        ("client.address", "127.0.0.1"),
    ];
    for (action, more) in [
        ("participant.mute", vec![("audit.target", bob)]),
        (
            "participant.role",
            vec![("audit.target", bob), ("audit.detail", "viewer")],
        ),
        ("participant.kick", vec![("audit.target", bob)]),
        ("room.lock", vec![]),
        ("room.unlock", vec![]),
        ("recording.start", vec![]),
        ("recording.stop", vec![]),
        ("call.end", vec![]),
    ] {
        let act = line(
            &node,
            action,
            &[&common[..], &more, &[("audit.outcome", "success")]].concat(),
        )
        .await;
        assert!(act["user.id"].is_string() && act["request.id"].is_string(), "{act}");
    }
    let refused = [("user.id", "eve"), ("audit.target", me), ("error.code", "forbidden")];
    line(&node, "participant.kick", &[&common[..], &refused].concat()).await;
}

#[tokio::test]
async fn each_act_by_the_command_line_leaves_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let env = [QUIET[0], QUIET[1], ("USER", "operator")];
    let done = async |args: &[&str]| {
        let ended = run(dir.path(), args, &env).await;
        let (out, err) = (
            String::from_utf8(ended.stdout).unwrap(),
            String::from_utf8(ended.stderr).unwrap(),
        );
        let acts: Vec<Value> = err
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(acts.len(), 1, "{args:?}: {err}");
        for secret in out.lines().filter_map(|line| line.split_once(": ")) {
            assert!(
                secret.0 == "id" || secret.0 == "user" || !err.contains(secret.1),
                "{err}"
            );
        }
        for token in out.lines().filter(|line| !line.contains(": ")) {
            assert!(!err.contains(token), "{err}");
        }
        let act = acts.into_iter().next().unwrap();
        assert_eq!(
            (&act["audit.via"], &act["user.id"]),
            (&json!("cli"), &json!("operator"))
        );
        (out, act)
    };
    for (args, action, target, outcome) in [
        (&["user", "add", "ada", "--admin"][..], "user.create", "ada", "success"),
        (&["user", "add", "ada"], "user.create", "ada", "failure"),
        (&["user", "passwd", "ada"], "user.password", "ada", "success"),
        (&["user", "rm", "ada"], "user.delete", "ada", "success"),
        (&["apikey", "add", "backend"], "apikey.create", "backend", "success"),
        (
            &["token", "--user", "guest", "--room", "r", "--role", "host"],
            "token.mint",
            "guest",
            "success",
        ),
    ] {
        let (out, act) = done(args).await;
        let got = (&act["audit.action"], &act["audit.target"], &act["audit.outcome"]);
        assert_eq!(got, (&json!(action), &json!(target), &json!(outcome)));
        if let Some(id) = out.lines().find_map(|line| line.strip_prefix("id: ")) {
            let (_, revoked) = done(&["apikey", "rm", id]).await;
            assert_eq!(
                (&revoked["audit.action"], &revoked["audit.target"]),
                (&json!("apikey.revoke"), &json!(id))
            );
        }
    }
}

#[tokio::test]
async fn it_is_off_only_when_it_is_turned_off() {
    let env = [
        ("RUST_LOG", "info"),
        ("CASIDE_LOG_FORMAT", "json"),
        ("CASIDE_AUDIT_LOG", "false"),
    ];
    let node = Node::with(&env).await;
    node.admin().await;
    node.line("request answered").await;
    assert_eq!(acts(&node), Vec::<Value>::new());
    // A name cannot forge a line of it.
    let node = Node::with(&[("RUST_LOG", "caside::audit=off,warn"), QUIET[1]]).await;
    let forged = json!({"username": "x".repeat(500), "password": "no"});
    assert_eq!(node.request("POST", "/login").json(&forged).send().await.status, 401);
    let act = line(&node, "login", &[("audit.outcome", "refused")]).await;
    assert_eq!(act["audit.target"].as_str().unwrap().len(), 128);
}
