//! Object storage: whole, immutable files under keys, in a local directory or an S3 bucket.

mod custom;
mod local;
mod s3;

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;
use tokio::io::AsyncRead;

pub use self::custom::{CustomObjects, Pending, UploadSource};
pub use self::local::LocalObjects;
pub use self::s3::{S3Credentials, S3Objects, S3Settings};

use crate::trace;

/// Longest key, in bytes. S3 takes 1,024; the rest is for a prefix of the operator's.
pub const MAX_KEY_BYTES: usize = 900;
/// Most objects of one list.
pub const MAX_LIST: usize = 1_000;
/// Longest validity of a presigned URL, by S3's rule.
pub const MAX_PRESIGN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Why object storage refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// No such object.
    #[error("no object {key}")]
    NotFound {
        /// Under which key.
        key: String,
    },
    /// Not a key: 1–900 of `A-Z a-z 0-9 . _ : -` in parts between `/`, none of which is empty or begins with a dot.
    #[error("not a key: {key:?}")]
    Key {
        /// What was given.
        key: String,
    },
    /// The range begins after the object's end.
    #[error("the range begins after the end of {size_bytes} bytes")]
    Range {
        /// The object's size.
        size_bytes: u64,
    },
    /// The store cannot be reached, refuses at the moment, or did not answer in time.
    #[error("object store unavailable: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// The credentials or settings are wrong.
    #[error("object store refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// No room left on the disk.
    #[error("no space left on the disk of the object store")]
    DiskFull,
    /// More than an upload can hold (10,000 parts of 8 MiB).
    #[error("larger than {max_bytes} bytes")]
    TooLarge {
        /// What it can hold.
        max_bytes: u64,
    },
    /// The local file system, or the source of an upload.
    #[error("object store: {what}")]
    Io {
        /// What was done.
        what: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

impl ObjectError {
    /// Whether the same request may succeed later without change.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::DiskFull)
    }

    /// A stable word for it, for traces.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Key { .. } => "bad_key",
            Self::Range { .. } => "bad_range",
            Self::Unavailable { .. } => "unavailable",
            Self::Refused { .. } => "refused",
            Self::DiskFull => "disk_full",
            Self::TooLarge { .. } => "too_large",
            Self::Io { .. } => "io",
        }
    }
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was put.
    pub modified_at: OffsetDateTime,
}

/// The bytes of an object, as they arrive.
pub type ObjectReader = Pin<Box<dyn AsyncRead + Send>>;

/// An object, or a part of it.
pub struct Object {
    /// What is known of it.
    pub info: ObjectInfo,
    /// Which bytes follow; all when no range was asked.
    pub range: Range<u64>,
    /// The bytes.
    pub reader: ObjectReader,
}

impl std::fmt::Debug for Object {
    /// Without the bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object")
            .field("info", &self.info)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// Object storage. Clones share it.
#[derive(Debug, Clone)]
pub enum ObjectStore {
    /// Files below a directory.
    Local(LocalObjects),
    /// An S3 bucket.
    S3(S3Objects),
    /// Something else.
    Custom(Arc<dyn CustomObjects>),
}

impl ObjectStore {
    /// Files below `dir`, which is made when missing.
    ///
    /// # Errors
    /// [`ObjectError::Io`] when it cannot be made.
    pub async fn local(dir: impl Into<PathBuf> + Send) -> Result<Self, ObjectError> {
        LocalObjects::open(dir.into()).await.map(Self::Local)
    }

    /// An S3 bucket. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`ObjectError::Refused`] when the settings cannot be used.
    pub fn s3(settings: S3Settings) -> Result<Self, ObjectError> {
        S3Objects::new(settings).map(Self::S3)
    }

    /// Whether it survives the loss of this machine.
    pub fn is_remote(&self) -> bool {
        !matches!(self, Self::Local(_))
    }

    /// Whether the store answers and lets us in.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), ObjectError> {
        match self {
            Self::Local(local) => local.ping().await,
            Self::S3(s3) => s3.ping().await,
            Self::Custom(custom) => custom.ping().await,
        }
    }

    /// Puts an object, in place of one of this key.
    ///
    /// # Errors
    /// [`ObjectError`]; then no part of it is to be seen.
    pub async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), ObjectError> {
        check(key)?;
        let call = async {
            match self {
                Self::Local(local) => local.put(key, bytes).await,
                Self::S3(s3) => s3.put(key, content_type, bytes).await,
                Self::Custom(custom) => custom.put(key, content_type, bytes).await,
            }
        };
        Box::pin(trace::object("put", self.is_remote(), key, call)).await
    }

    /// Puts an object of unknown length as it is read; its size. Holds at most 4 parts of 8 MiB in memory.
    ///
    /// # Errors
    /// [`ObjectError`]; then, and when the call is dropped, no part of it is to be seen.
    pub async fn put_stream<R: AsyncRead + Send + Unpin>(
        &self,
        key: &str,
        content_type: &str,
        reader: R,
    ) -> Result<u64, ObjectError> {
        check(key)?;
        // Of a stream's parts there is much to keep.
        let call = Box::pin(async {
            match self {
                Self::Local(local) => local.put_stream(key, reader).await,
                Self::S3(s3) => s3.put_stream(key, content_type, reader).await,
                Self::Custom(custom) => custom.put_stream(key, content_type, Box::new(reader)).await,
            }
        });
        trace::object("put_stream", self.is_remote(), key, call).await
    }

    /// An object, or the bytes of `range` that it has (its end may lie beyond the object's).
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], [`ObjectError::Range`] and others.
    pub async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object, ObjectError> {
        check(key)?;
        if let Some(range) = range.as_ref().filter(|range| range.is_empty()) {
            tracing::debug!(?range, "an empty range of an object");
            let size_bytes = self.head(key).await?.size_bytes;
            return Err(ObjectError::Range { size_bytes });
        }
        let call = async {
            match self {
                Self::Local(local) => local.get(key, range).await,
                Self::S3(s3) => s3.get(key, range).await,
                Self::Custom(custom) => custom.get(key, range).await,
            }
        };
        Box::pin(trace::object("get", self.is_remote(), key, call)).await
    }

    /// What is known of an object.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] and others.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, ObjectError> {
        check(key)?;
        let call = async {
            match self {
                Self::Local(local) => local.head(key).await,
                Self::S3(s3) => s3.head(key).await,
                Self::Custom(custom) => custom.head(key).await,
            }
        };
        trace::object("head", self.is_remote(), key, call).await
    }

    /// Deletes an object; one that is not there is deleted already.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        check(key)?;
        let call = async {
            match self {
                Self::Local(local) => local.delete(key).await,
                Self::S3(s3) => s3.delete(key).await,
                Self::Custom(custom) => custom.delete(key).await,
            }
        };
        trace::object("delete", self.is_remote(), key, call).await
    }

    /// Objects whose keys begin with `prefix`, by key, after the key `after`, at most `limit` (≤ [`MAX_LIST`]).
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>, ObjectError> {
        let limit = limit.clamp(1, MAX_LIST);
        let call = async {
            match self {
                Self::Local(local) => local.list(prefix, after, limit).await,
                Self::S3(s3) => s3.list(prefix, after, limit).await,
                Self::Custom(custom) => custom.list(prefix, after, limit).await,
            }
        };
        trace::object("list", self.is_remote(), prefix, call).await
    }

    /// Deletes every object whose key begins with `prefix`; how many.
    ///
    /// # Errors
    /// [`ObjectError`]; then some may be gone.
    pub async fn delete_all(&self, prefix: &str) -> Result<u64, ObjectError> {
        let mut deleted = 0;
        let mut after: Option<String> = None;
        loop {
            let found = self.list(prefix, after.as_deref(), MAX_LIST).await?;
            for object in &found {
                self.delete(&object.key).await?;
                deleted += 1;
            }
            match found.into_iter().next_back() {
                Some(last) => after = Some(last.key),
                None => return Ok(deleted),
            }
        }
    }

    /// A URL that reads the object without credentials for `valid` (≤ [`MAX_PRESIGN`]); `None` when the store has no
    /// such thing and the node must serve it.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn presign_get(&self, key: &str, valid: Duration) -> Result<Option<String>, ObjectError> {
        check(key)?;
        match self {
            Self::Local(_) | Self::Custom(_) => Ok(None),
            Self::S3(s3) => s3.presign_get(key, valid.min(MAX_PRESIGN)).await.map(Some),
        }
    }
}

/// Refuses keys that a file system could take for something else.
fn check(key: &str) -> Result<(), ObjectError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    let part_is_good = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed);
    if key.len() <= MAX_KEY_BYTES && key.split('/').all(part_is_good) {
        return Ok(());
    }
    Err(ObjectError::Key {
        key: key.chars().take(64).collect(),
    })
}

/// Makes an error of what the file system or the source of an upload said.
fn io_error(what: impl Into<String>, source: io::Error) -> ObjectError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ObjectError::DiskFull,
        _ => ObjectError::Io {
            what: what.into(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_keys_are_taken() {
        for good in ["a", "recordings/0190-x/7/p:1/camera/0.mkv", &"k".repeat(900)] {
            assert!(check(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            ".hidden",
            "a/.tmp",
            "a\\b",
            "a b",
            "ä",
            "a\0b",
            "C:/a b",
            "%2e%2e/a",
            &"k".repeat(901),
        ];
        for bad in bad {
            assert!(matches!(check(bad), Err(ObjectError::Key { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = io_error("write", io::ErrorKind::StorageFull.into());
        assert!(matches!(full, ObjectError::DiskFull) && full.is_unavailable());
        let other = io_error("write", io::ErrorKind::PermissionDenied.into());
        assert!(matches!(other, ObjectError::Io { .. }) && !other.is_unavailable());
    }
}
