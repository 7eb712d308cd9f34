//! Objects as files below a directory.
//!
//! A file is written under another name on the same file system, synced, and renamed: it is there whole or not at all.
//! File work is Tokio's, on its blocking pool.

use std::fs as std_fs;
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use time::OffsetDateTime;
use tokio::fs::{self, File};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use uuid::Uuid;

use super::{Object, ObjectError, ObjectInfo, io_error};

/// Where files are while they are written; no key begins with a dot.
const FRESH: &str = ".tmp";
/// An unfinished file of this age was left behind by a crash.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Files below a directory.
#[derive(Debug, Clone)]
pub struct LocalObjects {
    dir: PathBuf,
}

impl LocalObjects {
    pub(super) async fn open(dir: PathBuf) -> Result<Self, ObjectError> {
        let fresh = dir.join(FRESH);
        fs::create_dir_all(&fresh)
            .await
            .map_err(|e| failed("make", &fresh, e))?;
        blocking(move || {
            drop_stale(&fresh).map_err(|e| failed("clean", &fresh, e))?;
            Ok(Self { dir })
        })
        .await
    }

    pub(super) async fn ping(&self) -> Result<(), ObjectError> {
        fs::metadata(self.dir.join(FRESH))
            .await
            .map_err(|e| failed("read", &self.dir, e))?;
        Ok(())
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<(), ObjectError> {
        self.put_stream(key, bytes.as_ref()).await.map(drop)
    }

    pub(super) async fn put_stream<R: AsyncRead + Send + Unpin>(
        &self,
        key: &str,
        mut reader: R,
    ) -> Result<u64, ObjectError> {
        let path = self.dir.join(key);
        let fresh = Fresh(self.dir.join(FRESH).join(Uuid::now_v7().to_string()));
        let mut file = File::create(&fresh.0).await.map_err(|e| failed("make", &fresh.0, e))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut size_bytes = 0;
        loop {
            let read = reader
                .read(&mut chunk)
                .await
                .map_err(|e| io_error("read the source", e))?;
            let Some(read) = chunk.get(..read).filter(|read| !read.is_empty()) else {
                break;
            };
            file.write_all(read).await.map_err(|e| failed("write", &path, e))?;
            size_bytes += read.len() as u64;
        }
        // Flushed first: what a blocking thread still holds would be written after the sync.
        file.flush().await.map_err(|e| failed("write", &path, e))?;
        file.sync_all().await.map_err(|e| failed("sync", &path, e))?;
        let dir = self.dir.clone();
        blocking(move || publish(&dir, fresh, &path).map_err(|e| failed("name", &path, e))).await?;
        Ok(size_bytes)
    }

    pub(super) async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object, ObjectError> {
        let path = self.dir.join(key);
        let mut file = File::open(&path).await.map_err(|e| missing(key, &path, e))?;
        let metadata = file.metadata().await.map_err(|e| missing(key, &path, e))?;
        let info = info(key, &path, &metadata)?;
        let size_bytes = info.size_bytes;
        let range = match range {
            None => 0..size_bytes,
            Some(range) if range.start < size_bytes => range.start..range.end.min(size_bytes),
            Some(_) => return Err(ObjectError::Range { size_bytes }),
        };
        if range.start > 0 {
            let start = SeekFrom::Start(range.start);
            file.seek(start).await.map_err(|e| failed("seek", &path, e))?;
        }
        let reader = Box::pin(file.take(range.end - range.start));
        Ok(Object { info, range, reader })
    }

    pub(super) async fn head(&self, key: &str) -> Result<ObjectInfo, ObjectError> {
        let path = self.dir.join(key);
        let metadata = fs::metadata(&path).await.map_err(|e| missing(key, &path, e))?;
        info(key, &path, &metadata)
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let path = self.dir.join(key);
        match fs::remove_file(&path).await {
            Err(error) if !is_missing(&error) => return Err(failed("delete", &path, error)),
            _ => {}
        }
        for parent in path.ancestors().skip(1).take_while(|parent| *parent != self.dir) {
            // Not empty, or gone already: in both cases there is nothing more to do.
            if fs::remove_dir(parent).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, ObjectError> {
        let (dir, prefix, after) = (
            self.dir.clone(),
            prefix.to_owned(),
            after.unwrap_or_default().to_owned(),
        );
        blocking(move || {
            let mut keys = Vec::new();
            walk(&dir, "", &prefix, &mut keys).map_err(|e| failed("list", &dir, e))?;
            keys.retain(|key| *key > after);
            keys.sort_unstable();
            let mut found = Vec::new();
            for key in keys {
                if found.len() == limit {
                    break;
                }
                let path = dir.join(&key);
                match std_fs::metadata(&path) {
                    Ok(metadata) => found.push(info(&key, &path, &metadata)?),
                    // Deleted since.
                    Err(error) if is_missing(&error) => {}
                    Err(error) => return Err(failed("list", &path, error)),
                }
            }
            Ok(found)
        })
        .await
    }
}

/// A file that is being written; gone unless it is renamed.
struct Fresh(PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Err(error) = std_fs::remove_file(&self.0)
            && !is_missing(&error)
        {
            tracing::warn!(path = %self.0.display(), %error, "an unfinished object could not be removed");
        }
    }
}

/// Gives a file its name, durably.
fn publish(dir: &Path, fresh: Fresh, path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(dir);
    let mut tries = 0;
    loop {
        // A deletion at the same time may take empty directories away again.
        std_fs::create_dir_all(parent)?;
        match std_fs::rename(&fresh.0, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 10 => tries += 1,
            result => break result?,
        }
    }
    for parent in path.ancestors().skip(1).take_while(|parent| parent.starts_with(dir)) {
        std_fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn drop_stale(fresh: &Path) -> io::Result<()> {
    for entry in std_fs::read_dir(fresh)? {
        let entry = entry?;
        let age = SystemTime::now().duration_since(entry.metadata()?.modified()?);
        if age.is_ok_and(|age| age > STALE) {
            std_fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Collects the keys below `dir`, whose own key is `base` with a slash, that begin with `prefix`.
fn walk(dir: &Path, base: &str, prefix: &str, keys: &mut Vec<String>) -> io::Result<()> {
    let entries = match std_fs::read_dir(dir) {
        Err(error) if is_missing(&error) => return Ok(()),
        result => result?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let key = format!("{base}{name}");
        if entry.file_type()?.is_dir() {
            let base = format!("{key}/");
            if base.starts_with(prefix) || prefix.starts_with(&base) {
                walk(&entry.path(), &base, prefix, keys)?;
            }
        } else if key.starts_with(prefix) {
            keys.push(key);
        }
    }
    Ok(())
}

fn info(key: &str, path: &Path, metadata: &std_fs::Metadata) -> Result<ObjectInfo, ObjectError> {
    if !metadata.is_file() {
        return Err(ObjectError::NotFound { key: key.to_owned() });
    }
    let modified = metadata.modified().map_err(|e| failed("read", path, e))?;
    Ok(ObjectInfo {
        key: key.to_owned(),
        size_bytes: metadata.len(),
        modified_at: OffsetDateTime::from(modified),
    })
}

/// Not there, or a part of its key names a file.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn missing(key: &str, path: &Path, error: io::Error) -> ObjectError {
    if is_missing(&error) {
        return ObjectError::NotFound { key: key.to_owned() };
    }
    failed("read", path, error)
}

fn failed(what: &str, path: &Path, error: io::Error) -> ObjectError {
    io_error(format!("{what} {}", path.display()), error)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
) -> Result<T, ObjectError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io_error("file work", io::Error::other(error))),
    }
}
