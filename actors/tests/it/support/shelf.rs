//! An object store in memory that fails as the test wishes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;
use std::ops::Range;
use std::sync::Mutex;

use bytes::Bytes;
use caside_store::objects::{CustomObjects, Object, ObjectError, ObjectInfo, Pending, UploadSource};
use time::OffsetDateTime;
use tokio::io::AsyncReadExt;

/// Says of an operation (`put`, `put_stream`, `get`, `delete`, `list`) and its key whether and how it fails.
type Rule = Box<dyn FnMut(&str, &str) -> Option<ObjectError> + Send>;

/// What is put, by key. It outlives the node that puts it there.
pub(crate) struct Shelf {
    objects: Mutex<BTreeMap<String, Bytes>>,
    rule: Mutex<Rule>,
    /// Steps that are left to the node's life; `None` while it is not to die here.
    left: Mutex<Option<u32>>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            objects: Mutex::default(),
            rule: Mutex::new(Box::new(|_, _| None)),
            left: Mutex::default(),
        }
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shelf")
    }
}

/// As while S3 answers 503.
pub(crate) fn away() -> ObjectError {
    ObjectError::Unavailable {
        reason: "SlowDown".to_owned(),
    }
}

/// As S3 says it.
pub(crate) fn refused() -> ObjectError {
    ObjectError::Refused {
        reason: "AccessDenied: Access Denied".to_owned(),
    }
}

impl Shelf {
    /// From now on this rule says what fails.
    pub(crate) fn fails(&self, rule: impl FnMut(&str, &str) -> Option<ObjectError> + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    pub(crate) fn works(&self) {
        self.fails(|_, _| None);
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn bytes(&self, key: &str) -> Option<Bytes> {
        self.objects.lock().unwrap().get(key).cloned()
    }

    /// The node dies at this step, counted before and after what each operation does.
    pub(crate) fn node_dies_in(&self, steps: Option<u32>) {
        *self.left.lock().unwrap() = steps;
    }

    /// Whether the node came to the step at which it dies.
    pub(crate) fn node_is_dead(&self) -> bool {
        *self.left.lock().unwrap() == Some(0)
    }

    /// A dead node gets no further.
    async fn step(&self) {
        tokio::task::yield_now().await;
        let dead = {
            let mut left = self.left.lock().unwrap();
            *left = left.map(|left| left.saturating_sub(1));
            *left == Some(0)
        };
        if dead {
            std::future::pending::<()>().await;
        }
    }

    async fn check(&self, operation: &str, key: &str) -> Result<(), ObjectError> {
        self.step().await;
        match (self.rule.lock().unwrap())(operation, key) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn store(&self, key: &str, bytes: Bytes) {
        self.objects.lock().unwrap().insert(key.to_owned(), bytes);
    }
}

fn info(key: &str, bytes: &Bytes) -> ObjectInfo {
    ObjectInfo {
        key: key.to_owned(),
        size_bytes: bytes.len() as u64,
        modified_at: OffsetDateTime::UNIX_EPOCH,
    }
}

impl CustomObjects for Shelf {
    fn ping(&self) -> Pending<'_, ()> {
        Box::pin(self.check("ping", ""))
    }

    fn put<'a>(&'a self, key: &'a str, _: &'a str, bytes: Bytes) -> Pending<'a, ()> {
        Box::pin(async move {
            self.check("put", key).await?;
            self.store(key, bytes);
            // It is there, and nobody has heard of it yet.
            self.step().await;
            Ok(())
        })
    }

    fn put_stream<'a>(&'a self, key: &'a str, _: &'a str, mut source: UploadSource<'a>) -> Pending<'a, u64> {
        Box::pin(async move {
            self.check("put_stream", key).await?;
            let mut bytes = Vec::new();
            source.read_to_end(&mut bytes).await.map_err(|source| ObjectError::Io {
                what: "read the source".to_owned(),
                source,
            })?;
            let size_bytes = bytes.len() as u64;
            self.store(key, bytes.into());
            self.step().await;
            Ok(size_bytes)
        })
    }

    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Pending<'a, Object> {
        Box::pin(async move {
            assert_eq!(range, None, "the recorder reads whole segments");
            self.check("get", key).await?;
            let bytes = self
                .bytes(key)
                .ok_or_else(|| ObjectError::NotFound { key: key.to_owned() })?;
            Ok(Object {
                info: info(key, &bytes),
                range: 0..bytes.len() as u64,
                reader: Box::pin(Cursor::new(bytes)),
            })
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> Pending<'a, ObjectInfo> {
        Box::pin(async move {
            self.check("head", key).await?;
            let bytes = self.bytes(key);
            let missing = || ObjectError::NotFound { key: key.to_owned() };
            bytes.as_ref().map(|bytes| info(key, bytes)).ok_or_else(missing)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            self.check("delete", key).await?;
            self.objects.lock().unwrap().remove(key);
            self.step().await;
            Ok(())
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>, limit: usize) -> Pending<'a, Vec<ObjectInfo>> {
        Box::pin(async move {
            self.check("list", prefix).await?;
            let objects = self.objects.lock().unwrap();
            let found = objects
                .iter()
                .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
            Ok(found.take(limit).map(|(key, bytes)| info(key, bytes)).collect())
        })
    }
}
