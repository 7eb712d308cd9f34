//! Object storage: whole, immutable files under keys, in a local directory or an S3 bucket.

use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;
use tokio::io::AsyncRead;

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
    /// Not a key: 1–900 of `A-Z a-z 0-9 . _ : -` in parts between `/`, no part `.` or `..` or empty.
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
    /// The store cannot be reached, refuses for now, or did not answer in time.
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
    /// The local file system, or the source of an upload.
    #[error("object store: {what}")]
    Io {
        /// What was done.
        what: String,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
}

impl ObjectError {
    /// Whether the same request may succeed later without change.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::DiskFull)
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

/// How to reach an S3 bucket.
#[derive(Clone)]
pub struct S3Settings {
    /// The bucket, which must exist.
    pub bucket: String,
    /// For MinIO and others; AWS when `None`. Requests are path-style then.
    pub endpoint: Option<String>,
    /// As `eu-central-1`.
    pub region: String,
    /// Who asks.
    pub credentials: S3Credentials,
}

/// Who asks.
#[derive(Clone)]
pub enum S3Credentials {
    /// A key pair.
    Static {
        /// `AWS_ACCESS_KEY_ID`.
        access_key_id: String,
        /// `AWS_SECRET_ACCESS_KEY`.
        secret_access_key: String,
        /// `AWS_SESSION_TOKEN`.
        session_token: Option<String>,
    },
    /// The role of the machine or container (ECS container credentials, else EC2 instance metadata).
    Role,
}

/// Object storage. Clones share it.
#[derive(Clone)]
pub enum ObjectStore {
    /// Files below a directory.
    Local(PathBuf),
}

impl ObjectStore {
    /// Files below `dir`, which is made when missing.
    ///
    /// # Errors
    /// [`ObjectError::Io`] when it cannot be made.
    pub async fn local(_dir: impl Into<PathBuf> + Send) -> Result<Self, ObjectError> {
        todo!()
    }

    /// An S3 bucket. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`ObjectError::Refused`] when the settings cannot be used.
    pub fn s3(_settings: S3Settings) -> Result<Self, ObjectError> {
        todo!()
    }

    /// Whether the store answers and lets us in.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), ObjectError> {
        todo!()
    }

    /// Puts an object, in place of one of this key.
    ///
    /// # Errors
    /// [`ObjectError`]; then no part of it is to be seen.
    pub async fn put(&self, _key: &str, _content_type: &str, _bytes: Bytes) -> Result<(), ObjectError> {
        todo!()
    }

    /// Puts an object of unknown length as it is read; its size. Holds at most 4 parts of 8 MiB in memory.
    ///
    /// # Errors
    /// [`ObjectError`]; then no part of it is to be seen.
    pub async fn put_stream<R: AsyncRead + Send + Unpin>(
        &self,
        _key: &str,
        _content_type: &str,
        _reader: R,
    ) -> Result<u64, ObjectError> {
        todo!()
    }

    /// An object, or the bytes of `range` that it has (its end may lie beyond the object's).
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], [`ObjectError::Range`] and others.
    pub async fn get(&self, _key: &str, _range: Option<Range<u64>>) -> Result<Object, ObjectError> {
        todo!()
    }

    /// What is known of an object.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] and others.
    pub async fn head(&self, _key: &str) -> Result<ObjectInfo, ObjectError> {
        todo!()
    }

    /// Deletes an object; one that is not there is deleted already.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn delete(&self, _key: &str) -> Result<(), ObjectError> {
        todo!()
    }

    /// Objects whose keys begin with `prefix`, by key, after the key `after`, at most `limit` (≤ 1,000).
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn list(
        &self,
        _prefix: &str,
        _after: Option<&str>,
        _limit: usize,
    ) -> Result<Vec<ObjectInfo>, ObjectError> {
        todo!()
    }

    /// A URL that reads the object without credentials for `valid` (≤ 7 days); `None` when the store has no such
    /// thing and the node must serve it.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn presign_get(&self, _key: &str, _valid: Duration) -> Result<Option<String>, ObjectError> {
        todo!()
    }
}
