//! Object stores that are neither a directory nor S3.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use tokio::io::AsyncRead;

use super::{Object, ObjectError, ObjectInfo};

/// An answer that is still on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, ObjectError>> + Send + 'a>>;

/// The source of an upload.
pub type UploadSource<'a> = Box<dyn AsyncRead + Send + Unpin + 'a>;

/// What an object store of one's own has to do. Keys were checked; every call bounds its own time.
pub trait CustomObjects: fmt::Debug + Send + Sync {
    /// As [`ObjectStore::ping`](super::ObjectStore::ping).
    fn ping(&self) -> Pending<'_, ()>;

    /// As [`ObjectStore::put`](super::ObjectStore::put).
    fn put<'a>(&'a self, key: &'a str, content_type: &'a str, bytes: Bytes) -> Pending<'a, ()>;

    /// As [`ObjectStore::put_stream`](super::ObjectStore::put_stream): a source that fails leaves no object behind.
    fn put_stream<'a>(&'a self, key: &'a str, content_type: &'a str, source: UploadSource<'a>) -> Pending<'a, u64>;

    /// As [`ObjectStore::get`](super::ObjectStore::get).
    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Pending<'a, Object>;

    /// As [`ObjectStore::head`](super::ObjectStore::head).
    fn head<'a>(&'a self, key: &'a str) -> Pending<'a, ObjectInfo>;

    /// As [`ObjectStore::delete`](super::ObjectStore::delete).
    fn delete<'a>(&'a self, key: &'a str) -> Pending<'a, ()>;

    /// As [`ObjectStore::list`](super::ObjectStore::list).
    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>, limit: usize) -> Pending<'a, Vec<ObjectInfo>>;
}
