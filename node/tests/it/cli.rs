//! Commands, and configurations that stop a start.

use std::process::Output;

use serde_json::json;

use crate::support::{Node, run};

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line on standard error, beside what is written down of acts.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let mut lines = text.lines().filter(|line| !line.contains("audit.action="));
    let (line, more) = (lines.next(), lines.next());
    assert!(line.is_some() && more.is_none(), "{text}");
    line.unwrap().to_owned()
}

#[tokio::test]
async fn a_wrong_setting_stops_the_start_with_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let port = [("CASIDE_MEDIA_PORT", "99999")];
    let public = [("CASIDE_LISTEN", "0.0.0.0:0")];
    let secret = [("JWT_SECRET", "too short")];
    let misspelt = [("CASIDE_LISTNE", "127.0.0.1:0")];
    for (env, parts) in [
        (port, ["CASIDE_MEDIA_PORT", "\"99999\"", "environment", "0 to 65535"]),
        (public, ["CASIDE_LISTEN", "0.0.0.0:0", "environment", "JWT_SECRET"]),
        (secret, ["JWT_SECRET", "(hidden)", "environment", "32 bytes"]),
        (
            misspelt,
            ["CASIDE_LISTNE", "environment", "did you mean", "CASIDE_LISTEN"],
        ),
    ] {
        let output = run(dir.path(), &[], &env).await;
        assert_eq!(output.status.code(), Some(2));
        let line = complaint(&output);
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        assert!(!line.contains("too short\""), "{line}");
    }
    std::fs::write(
        dir.path().join("caside.toml"),
        "node_id = \"n1\"\nmax_connections = \"many\"\n",
    )
    .unwrap();
    let line = complaint(&run(dir.path(), &["serve"], &[]).await);
    assert!(line.contains("max_connections = \"many\" (caside.toml:2)"), "{line}");
    let missing = run(dir.path(), &["--config", "nowhere.toml"], &[]).await;
    assert_eq!(missing.status.code(), Some(2));
    assert!(complaint(&missing).contains("nowhere.toml"));
}

#[tokio::test]
async fn the_configuration_is_printed_with_sources_and_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join(".env"),
        "CASIDE_MAX_ROOM_SIZE=7\nJWT_SECRET=0123456789abcdef0123456789abcdef\n",
    )
    .unwrap();
    let env = [
        ("DATABASE_URL", "postgres://ada:hush@db/caside"),
        ("CASIDE_MAX_ROOM_SIZE", "8"),
    ];
    let printed = stdout(&run(dir.path(), &["config", "print", "--node-id", "n7"], &env).await);
    let line = |name: &str| {
        printed
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name}: {printed}"))
    };
    assert!(line("node_id").contains("\"n7\"") && line("node_id").ends_with("# flag"));
    assert!(line("max_room_size").contains('8') && line("max_room_size").ends_with("# environment"));
    assert!(line("jwt_secret").ends_with("# .env:2"));
    assert!(line("media_workers").ends_with("# default"));
    assert!(
        !printed.contains("hush") && !printed.contains("0123456789abcdef"),
        "{printed}"
    );
    assert!(run(dir.path(), &["config", "check"], &[]).await.status.success());
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let node = Node::start().await;
    let other = tempfile::tempdir().unwrap();
    let output = run(
        other.path(),
        &[],
        &[("CASIDE_LISTEN", &node.address), ("CASIDE_MEDIA_PORT", "0")],
    )
    .await;
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains(&node.address));
}

#[tokio::test]
async fn accounts_are_managed_from_the_command_line() {
    let node = Node::start().await;
    let dir = node.dir.path();
    let token = node.user("Zoë").await;
    let answer = node.request("GET", "/rooms").bearer(&token).send().await;
    assert_eq!(answer.status, 200);
    let listed = stdout(&run(dir, &["user", "list"], &[]).await);
    assert!(
        listed
            .lines()
            .any(|line| line.contains("admin") && line.ends_with("demo")),
        "{listed}"
    );
    assert!(
        listed
            .lines()
            .any(|line| line.contains("user") && line.ends_with("Zoë")),
        "{listed}"
    );
    let twice = run(dir, &["user", "add", "zoë"], &[]).await;
    assert!(!twice.status.success() && complaint(&twice).contains("already"));
    assert!(run(dir, &["user", "rm", "Zoë"], &[]).await.status.success());
    assert!(!run(dir, &["user", "rm", "Zoë"], &[]).await.status.success());
}

#[tokio::test]
async fn a_token_from_the_command_line_opens_its_room() {
    let node = Node::start().await;
    let args = [
        "token", "--user", "ada", "--room", "standup", "--role", "host", "--ttl", "1h",
    ];
    let token = stdout(&run(node.dir.path(), &args, &[]).await).trim().to_owned();
    let room = node
        .request("POST", "/rooms")
        .bearer(&token)
        .json(&json!({"id": "standup"}))
        .send()
        .await;
    assert_eq!(room.status, 201);
    let other = node
        .request("POST", "/rooms")
        .bearer(&token)
        .json(&json!({"id": "other"}))
        .send()
        .await;
    assert_eq!(other.refusal(), (403, "forbidden".to_owned()));
    assert_eq!(
        run(node.dir.path(), &["token", "--user", "a", "--role", "king"], &[])
            .await
            .status
            .code(),
        Some(2)
    );
}

#[tokio::test]
async fn the_schema_goes_up_and_down() {
    let dir = tempfile::tempdir().unwrap();
    let before = stdout(&run(dir.path(), &["migrate", "status"], &[]).await);
    assert!(
        before.lines().count() > 0 && before.lines().all(|line| line.starts_with("pending")),
        "{before}"
    );
    let up = stdout(&run(dir.path(), &["migrate", "up"], &[]).await);
    assert_eq!(up.lines().count(), before.lines().count());
    assert_eq!(
        stdout(&run(dir.path(), &["migrate", "up"], &[]).await).trim(),
        "nothing to do"
    );
    let down = stdout(&run(dir.path(), &["migrate", "down"], &[]).await);
    assert!(down.starts_with("taken back: "), "{down}");
    let after = stdout(&run(dir.path(), &["migrate", "status"], &[]).await);
    assert_eq!(after.lines().filter(|line| line.starts_with("pending")).count(), 1);
}
