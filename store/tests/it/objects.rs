//! Object storage: the same tests on a directory and on an S3-compatible server.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use caside_store::ObjectStore;
use caside_store::objects::{Object, ObjectError};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::s3::S3Server;

/// A store of a test's own.
struct Objects {
    store: ObjectStore,
    dir: Option<TempDir>,
    server: Option<S3Server>,
}

async fn local() -> Objects {
    let dir = tempfile::tempdir().unwrap();
    Objects {
        store: ObjectStore::local(dir.path()).await.unwrap(),
        dir: Some(dir),
        server: None,
    }
}

async fn s3() -> Objects {
    let server = S3Server::start().await;
    Objects {
        store: ObjectStore::s3(server.settings("recordings")).unwrap(),
        dir: None,
        server: Some(server),
    }
}

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod local {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(super::local().await).await;
                }
            )+
        }
        mod s3 {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(super::s3().await).await;
                }
            )+
        }
    };
}

on_both!(
    what_is_put_is_got_whole_and_in_ranges,
    an_object_is_replaced_and_deleted,
    objects_are_listed_by_prefix_and_page,
    all_below_a_prefix_is_deleted,
    a_stream_of_any_length_is_put,
    a_stream_that_breaks_leaves_nothing,
    a_key_that_is_none_is_refused_everywhere,
);

async fn read(object: Object) -> Vec<u8> {
    let mut object = object;
    let mut bytes = Vec::new();
    object.reader.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len() as u64, object.range.end - object.range.start);
    bytes
}

/// Bytes whose every window tells where it is.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

async fn what_is_put_is_got_whole_and_in_ranges(objects: Objects) {
    let store = &objects.store;
    store.ping().await.unwrap();
    let bytes = pattern(100_000);
    store.put("a/b.webm", "video/webm", bytes.clone().into()).await.unwrap();
    store.put("a/empty", "text/plain", Bytes::new()).await.unwrap();
    let info = store.head("a/b.webm").await.unwrap();
    assert_eq!((info.key.as_str(), info.size_bytes), ("a/b.webm", 100_000));
    let age = time::OffsetDateTime::now_utc() - info.modified_at;
    assert!(age.abs() < time::Duration::minutes(5), "{age}");

    let whole = store.get("a/b.webm", None).await.unwrap();
    assert_eq!((whole.range.clone(), whole.info.size_bytes), (0..100_000, 100_000));
    assert_eq!(read(whole).await, bytes);
    for (asked, given) in [
        (0..1, 0..1),
        (0..100_000, 0..100_000),
        (500..70_001, 500..70_001),
        (99_999..u64::MAX, 99_999..100_000),
    ] {
        let part = store.get("a/b.webm", Some(asked)).await.unwrap();
        assert_eq!((part.range.clone(), part.info.size_bytes), (given.clone(), 100_000));
        assert_eq!(read(part).await, bytes[given.start as usize..given.end as usize]);
    }
    assert_eq!(read(store.get("a/empty", None).await.unwrap()).await, b"");

    let refused = async |key, range: Range<u64>, size| {
        let error = store.get(key, Some(range)).await.unwrap_err();
        assert!(
            matches!(error, ObjectError::Range { size_bytes } if size_bytes == size),
            "{error:?}"
        );
    };
    refused("a/b.webm", 100_000..100_001, 100_000).await;
    refused("a/b.webm", 7..7, 100_000).await;
    refused("a/empty", 0..1, 0).await;
}

async fn an_object_is_replaced_and_deleted(objects: Objects) {
    let store = &objects.store;
    store.put("x/y", "text/plain", "one".into()).await.unwrap();
    store.put("x/y", "text/plain", "three".into()).await.unwrap();
    assert_eq!(read(store.get("x/y", None).await.unwrap()).await, b"three");
    store.delete("x/y").await.unwrap();
    store.delete("x/y").await.unwrap();
    for missing in ["x/y", "x", "x/y/z"] {
        let error = store.get(missing, None).await.unwrap_err();
        assert!(
            matches!(&error, ObjectError::NotFound { key } if key == missing),
            "{error:?}"
        );
        assert!(matches!(store.head(missing).await, Err(ObjectError::NotFound { .. })));
        assert!(!error.is_unavailable());
    }
}

async fn objects_are_listed_by_prefix_and_page(objects: Objects) {
    let store = &objects.store;
    for key in ["r/1/0.mkv", "r/1/1.mkv", "r/10/0.mkv", "r/2/0.mkv", "s", "r-x"] {
        store.put(key, "video/x-matroska", key.to_owned().into()).await.unwrap();
    }
    let list = async |prefix, after, limit| -> Vec<String> {
        let found = store.list(prefix, after, limit).await.unwrap();
        assert!(found.iter().all(|info| info.size_bytes == info.key.len() as u64));
        found.into_iter().map(|info| info.key).collect()
    };
    assert_eq!(list("r/1/", None, 10).await, ["r/1/0.mkv", "r/1/1.mkv"]);
    assert_eq!(list("r/1", None, 10).await, ["r/1/0.mkv", "r/1/1.mkv", "r/10/0.mkv"]);
    assert_eq!(list("r/", None, 2).await, ["r/1/0.mkv", "r/1/1.mkv"]);
    assert_eq!(list("r/", Some("r/1/1.mkv"), 2).await, ["r/10/0.mkv", "r/2/0.mkv"]);
    assert_eq!(list("", None, 10).await.len(), 6);
    assert_eq!(list("none", None, 10).await, [""; 0]);
}

/// Three parts of an upload, the last of them short.
const LONG: usize = 20 * 1024 * 1024 + 17;

async fn all_below_a_prefix_is_deleted(objects: Objects) {
    let store = &objects.store;
    for n in 0..5 {
        let key = format!("a/{n}.mkv");
        store.put(&key, "video/x-matroska", Bytes::new()).await.unwrap();
    }
    store.put("b/0.mkv", "video/x-matroska", Bytes::new()).await.unwrap();
    assert_eq!(store.delete_all("a/").await.unwrap(), 5);
    assert_eq!(store.delete_all("a/").await.unwrap(), 0);
    let left = store.list("", None, 10).await.unwrap();
    assert_eq!(left.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["b/0.mkv"]);
}

async fn a_stream_of_any_length_is_put(objects: Objects) {
    let store = &objects.store;
    for length in [0, 1, 8 * 1024 * 1024 - 1, 8 * 1024 * 1024, LONG] {
        let bytes = pattern(length);
        let key = format!("stream/{length}");
        let size = store.put_stream(&key, "video/webm", &bytes[..]).await.unwrap();
        assert_eq!(size, length as u64);
        assert!(read(store.get(&key, None).await.unwrap()).await == bytes, "{length}");
    }
    let end = LONG as u64 - 5..u64::MAX;
    let part = store.get(&format!("stream/{LONG}"), Some(end)).await.unwrap();
    assert_eq!(read(part).await, pattern(LONG)[LONG - 5..]);
}

/// Gives `left` bytes and then an error.
struct Breaks {
    left: usize,
}

impl AsyncRead for Breaks {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("the source broke")));
        }
        let some = buffer.remaining().min(self.left);
        buffer.initialize_unfilled_to(some);
        buffer.advance(some);
        self.left -= some;
        Poll::Ready(Ok(()))
    }
}

async fn a_stream_that_breaks_leaves_nothing(objects: Objects) {
    let store = &objects.store;
    store.put("kept", "text/plain", "before".into()).await.unwrap();
    for left in [0, 100, LONG] {
        let error = store
            .put_stream("kept", "video/webm", Breaks { left })
            .await
            .unwrap_err();
        assert!(matches!(error, ObjectError::Io { .. }), "{error:?}");
        assert_eq!(read(store.get("kept", None).await.unwrap()).await, b"before");
    }
    if let Some(dir) = &objects.dir {
        assert_eq!(std::fs::read_dir(dir.path().join(".tmp")).unwrap().count(), 0);
    }
    if let Some(server) = &objects.server {
        server.wait_until_no_uploads("recordings").await;
    }
}

async fn a_key_that_is_none_is_refused_everywhere(objects: Objects) {
    let store = &objects.store;
    if let Some(dir) = &objects.dir {
        let outside = dir.path().parent().unwrap().join("outside");
        assert!(!outside.exists());
    }
    for key in ["../outside", "/etc/passwd", "a/../../outside", ".tmp/x", ""] {
        let refusals = [
            store.put(key, "text/plain", "x".into()).await.unwrap_err(),
            store.put_stream(key, "text/plain", &b"x"[..]).await.unwrap_err(),
            store.get(key, None).await.unwrap_err(),
            store.head(key).await.unwrap_err(),
            store.delete(key).await.unwrap_err(),
            store.presign_get(key, Duration::from_secs(1)).await.unwrap_err(),
        ];
        assert!(
            refusals.iter().all(|error| matches!(error, ObjectError::Key { .. })),
            "{key}"
        );
    }
    assert!(store.list("../", None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_directory_has_no_presigned_urls() {
    let objects = local().await;
    objects.store.put("a", "text/plain", "x".into()).await.unwrap();
    assert_eq!(
        objects.store.presign_get("a", Duration::from_secs(60)).await.unwrap(),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_url_reads_without_credentials() {
    let objects = s3().await;
    objects
        .store
        .put("a/b.webm", "video/webm", "hello".into())
        .await
        .unwrap();
    let url = objects
        .store
        .presign_get("a/b.webm", Duration::from_secs(3_600))
        .await
        .unwrap()
        .unwrap();
    assert!(
        url.contains("X-Amz-Signature=") && url.contains("X-Amz-Expires=3600"),
        "{url}"
    );
    let answer = crate::s3::http_get(&url).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.to_lowercase().contains("content-type: video/webm"), "{answer}");
    assert!(answer.ends_with("hello"), "{answer}");
    let long = objects
        .store
        .presign_get("a/b.webm", Duration::from_secs(u64::MAX))
        .await
        .unwrap()
        .unwrap();
    assert!(long.contains("X-Amz-Expires=604800"), "{long}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_says_so_and_a_bucket_that_is_missing_too() {
    let mut objects = s3().await;
    let server = objects.server.as_mut().unwrap();
    let missing = ObjectStore::s3(server.settings("no-such-bucket")).unwrap();
    let error = missing.ping().await.unwrap_err();
    assert!(matches!(error, ObjectError::Refused { .. }), "{error:?}");
    let error = missing.put("a", "text/plain", "x".into()).await.unwrap_err();
    assert!(matches!(error, ObjectError::Refused { .. }), "{error:?}");

    server.stop();
    let error = objects.store.put("a", "text/plain", "x".into()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert!(objects.store.ping().await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn unfinished_files_of_a_crash_are_gone_a_day_later() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = dir.path().join(".tmp");
    std::fs::create_dir(&fresh).unwrap();
    for (name, age) in [("old", 25), ("new", 1)] {
        let file = std::fs::File::create(fresh.join(name)).unwrap();
        let then = std::time::SystemTime::now() - Duration::from_secs(age * 60 * 60);
        file.set_modified(then).unwrap();
    }
    ObjectStore::local(dir.path()).await.unwrap();
    assert!(!fresh.join("old").exists());
    assert!(fresh.join("new").exists());
}
