//! Recordings that are there already: who sees them, and how their files are sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caside_protocol::rest::{FileKind, RecordingState};
use caside_protocol::{NodeId, RecordingId, RoomId, UserId};
use caside_store::journal::RecordingStarted;
use caside_store::recordings::StoredFile;
use caside_store::{JournalEntry, ObjectStore, Store, StoreOptions};
use serde_json::json;
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::support::Node;

const NAME: &str = "ada camera.webm";
const BYTES: &[u8] = b"0123456789";

/// Puts a finished recording where a node will look.
async fn record(dir: &TempDir, state: RecordingState) -> RecordingId {
    record_of(dir, state, None).await
}

/// The same, of a room that this user owned.
async fn record_of(dir: &TempDir, state: RecordingState, owner: Option<UserId>) -> RecordingId {
    let recording = RecordingId::new();
    let url = format!("sqlite:{}", dir.path().join("data/caside.db").display());
    let store = Store::connect(&url, StoreOptions::default()).await.unwrap();
    let objects = ObjectStore::local(dir.path().join("data/objects")).await.unwrap();
    let storage_key = format!("recordings/{recording}/ada-camera.webm");
    objects
        .put(&storage_key, "video/webm", Bytes::from_static(BYTES))
        .await
        .unwrap();
    let entries = [
        JournalEntry::RecordingStarted(RecordingStarted {
            recording,
            room: RoomId::new("r").unwrap(),
            call: None,
            owner,
            node: NodeId::new("elsewhere").unwrap(),
            epoch: 1,
            started_at: OffsetDateTime::now_utc(),
        }),
        JournalEntry::RecordingFileAdded(StoredFile {
            recording,
            name: NAME.to_owned(),
            kind: FileKind::Participant,
            participant: None,
            source: None,
            content_type: "video/webm".to_owned(),
            codecs: vec!["vp8".to_owned()],
            encryption: None,
            size_bytes: BYTES.len() as u64,
            duration_ms: Duration::from_secs(2).as_millis() as u64,
            offset_ms: 0,
            storage_key,
        }),
        JournalEntry::RecordingState {
            recording,
            state,
            error: None,
            duration_ms: Some(2000),
        },
    ];
    store.apply(&entries).await.unwrap();
    store.close().await.unwrap();
    recording
}

/// A node that has had its first start, and so has a database.
async fn node() -> (Node, String, Arc<TempDir>) {
    let node = Node::start().await;
    let token = node.admin().await;
    let dir = node.dir.clone();
    (node, token, dir)
}

#[tokio::test]
async fn a_file_is_sent_whole_or_in_part() {
    let (node, token, dir) = node().await;
    let id = record(&dir, RecordingState::Ready).await;
    let path = format!("/recordings/{id}/files/ada%20camera.webm");
    let get = |range: &str| node.request("GET", &path).bearer(&token).header("range", range).send();
    let whole = node.request("GET", &path).bearer(&token).send().await;
    assert_eq!((whole.status, &whole.body[..]), (200, BYTES));
    assert_eq!(
        (whole.header("content-type"), whole.header("accept-ranges")),
        ("video/webm", "bytes")
    );
    let etag = whole.header("etag");
    for (range, content_range, part) in [
        ("bytes=0-3", "bytes 0-3/10", "0123"),
        ("bytes=8-", "bytes 8-9/10", "89"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=5-500", "bytes 5-9/10", "56789"),
    ] {
        let answer = get(range).await;
        assert_eq!(
            (answer.status, answer.header("content-range")),
            (206, content_range),
            "{range}"
        );
        assert_eq!(answer.body, part);
    }
    let beyond = get("bytes=10-").await;
    assert_eq!(
        (beyond.refusal().0, beyond.header("content-range")),
        (416, "bytes */10")
    );
    let head = node
        .request("HEAD", &path)
        .bearer(&token)
        .header("range", "bytes=0-3")
        .send()
        .await;
    assert_eq!(
        (head.status, head.header("content-length"), head.body.len()),
        (206, "4", 0)
    );
    let conditional = |name: &str, value: &str| {
        node.request("GET", &path)
            .bearer(&token)
            .header("range", "bytes=0-3")
            .header(name, value)
            .send()
    };
    assert_eq!(conditional("if-range", etag).await.status, 206);
    assert_eq!(conditional("if-range", "\"other\"").await.status, 200);
    assert_eq!(conditional("if-none-match", etag).await.status, 304);
}

#[tokio::test]
async fn a_url_plays_without_a_header_and_cannot_be_changed() {
    let (node, token, dir) = node().await;
    let id = record(&dir, RecordingState::Ready).await;
    let recording = node
        .request("GET", &format!("/recordings/{id}"))
        .bearer(&token)
        .send()
        .await
        .json();
    assert_eq!(
        (&recording["state"], &recording["files"][0]["name"]),
        (&json!("ready"), &json!(NAME))
    );
    let url = recording["files"][0]["url"].as_str().unwrap();
    let played = node.request("GET", url).header("range", "bytes=0-0").send().await;
    assert_eq!((played.status, &played.body[..]), (206, &b"0"[..]));
    let path = url.split('?').next().unwrap();
    assert_eq!(
        node.request("GET", path).send().await.refusal(),
        (401, "unauthorized".to_owned())
    );
    let later = url.replacen("expires=1", "expires=2", 1);
    assert_ne!(later, url);
    assert_eq!(
        node.request("GET", &later).send().await.refusal(),
        (401, "token_expired".to_owned())
    );
    let other = url.replace("ada", "bob");
    assert_eq!(node.request("GET", &other).send().await.refusal().0, 401);
}

#[tokio::test]
async fn others_do_not_see_a_recording_and_its_host_deletes_it() {
    let (node, token, dir) = node().await;
    // Of an earlier room of that id: no concern of whoever hosts the one that comes.
    let before = record(&dir, RecordingState::Ready).await;
    let room = json!({"id": "r"});
    assert_eq!(
        node.request("POST", "/rooms")
            .bearer(&token)
            .json(&room)
            .send()
            .await
            .status,
        201
    );
    let id = record(&dir, RecordingState::Ready).await;
    let running = record(&dir, RecordingState::Finalizing).await;
    let ada = node.user("ada").await;
    let path = format!("/recordings/{id}");
    let files = format!("{path}/files/ada%20camera.webm");
    for path in [&path, &files] {
        let refused = node.request("GET", path).bearer(&ada).send().await;
        assert_eq!(refused.refusal(), (404, "recording_not_found".to_owned()));
    }
    assert_eq!(node.request("DELETE", &path).bearer(&ada).send().await.refusal().0, 404);
    assert_eq!(
        node.request("GET", "/recordings").bearer(&ada).send().await.json()["items"],
        json!([])
    );
    let ready = node
        .request("GET", "/recordings?room=r&state=ready")
        .bearer(&token)
        .send()
        .await
        .json();
    assert_eq!(ready["items"].as_array().unwrap().len(), 2, "an admin sees both");
    assert_eq!(
        node.request("DELETE", &format!("/recordings/{running}"))
            .bearer(&token)
            .send()
            .await
            .status,
        409
    );
    // The bearer of a host's token of that room is its host.
    let host = node.mint(&token, "host", "r", "host").await;
    let earlier = format!("/recordings/{before}");
    for method in ["GET", "DELETE"] {
        let refused = node.request(method, &earlier).bearer(&host).send().await;
        assert_eq!(refused.refusal(), (404, "recording_not_found".to_owned()));
    }
    let listed = node
        .request("GET", "/recordings?state=ready")
        .bearer(&host)
        .send()
        .await
        .json();
    let ids: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["id"].clone())
        .collect();
    assert_eq!(ids, [json!(id.to_string())]);
    assert_eq!(node.request("DELETE", &path).bearer(&host).send().await.status, 204);
    assert_eq!(node.request("GET", &files).bearer(&token).send().await.refusal().0, 404);
    let left = dir.path().join(format!("data/objects/recordings/{id}/ada-camera.webm"));
    assert!(!left.exists());
}

#[tokio::test]
async fn an_owner_does_by_a_token_of_a_lower_role_no_more_than_look() {
    let (node, admin, dir) = node().await;
    let ada = node.user("ada").await;
    let made = node
        .request("POST", "/rooms")
        .bearer(&ada)
        .json(&json!({"id": "r"}))
        .send()
        .await;
    let owner = made.json()["owner"].as_str().unwrap().to_owned();
    let id = record_of(&dir, RecordingState::Ready, Some(UserId::new(&*owner).unwrap())).await;
    let path = format!("/recordings/{id}");
    let viewer = node.mint(&admin, &owner, "r", "viewer").await;
    assert_eq!(node.request("GET", &path).bearer(&viewer).send().await.status, 200);
    let refused = node.request("DELETE", &path).bearer(&viewer).send().await;
    assert_eq!(refused.refusal(), (403, "forbidden".to_owned()));
    assert_eq!(node.request("DELETE", &path).bearer(&ada).send().await.status, 204);
}
