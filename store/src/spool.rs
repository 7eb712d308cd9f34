//! The recorder's log of segments on local disk: what was acknowledged survives the loss of the process, and of power.
//!
//! A segment is one file, `{recording}/{epoch}/{participant}/{source}/{n}.seg`, written under another name, synced,
//! and renamed: it is there whole or not at all. A recording leaves as a whole too: its directory is renamed to `.gone-…`
//! and then removed, by the next start at the latest. Every method does its file work on Tokio's blocking pool, at most
//! [`MAX_CONCURRENT`] at a time; none blocks the caller's thread. A call that is dropped half-way still ends what it
//! began.

mod file;
mod index;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use caside_protocol::RecordingId;
use serde_json::Value;
use tokio::sync::Semaphore;

use self::index::{Index, Reservation};
use crate::recordings::{SegmentId, SegmentPlace, StoredSegment};

/// Most operations on files at a time.
pub const MAX_CONCURRENT: usize = 16;
/// Longest wait for one's turn: a disk that stands still must not gather callers without end.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the spool refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// It holds as much as it may.
    #[error("the spool is full: {used_bytes} of {max_bytes} bytes")]
    Full {
        /// What it holds.
        used_bytes: u64,
        /// What it may hold.
        max_bytes: u64,
    },
    /// The disk has no room left.
    #[error("no space left on the disk of the spool")]
    DiskFull,
    /// Another process has this spool.
    #[error("the spool in {} belongs to another process", .0.display())]
    InUse(PathBuf),
    /// The disk is too slow for what is asked of it.
    #[error("the disk of the spool does not keep up")]
    Busy,
    /// A segment of this id is there already, or on its way.
    #[error("segment {} is there already", .0.object_key())]
    Exists(SegmentId),
    /// No such segment.
    #[error("no segment {}", .0.object_key())]
    Missing(SegmentId),
    /// Its bytes are not what was written.
    #[error("segment {} is damaged: {reason}", id.object_key())]
    Damaged {
        /// Which one.
        id: SegmentId,
        /// What is wrong.
        reason: String,
    },
    /// Larger than [`MAX_SEGMENT_BYTES`].
    #[error("a segment of {0} bytes is too large")]
    TooLarge(u64),
    /// Anything else of the file system.
    #[error("spool: {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        #[source]
        source: io::Error,
    },
}

/// Largest segment, and largest header with its metadata, in bytes.
pub const MAX_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// What is to be kept beside a segment's bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentInfo {
    /// Its first frame after the recording's start.
    pub start_ms: u64,
    /// The end of its last frame after the recording's start.
    pub end_ms: u64,
    /// What whoever finishes the file has to know (tracks, codec headers).
    pub metadata: Value,
}

/// What a segment covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Which one.
    pub id: SegmentId,
    /// Its first frame after the recording's start.
    pub start_ms: u64,
    /// The end of its last frame after the recording's start.
    pub end_ms: u64,
}

/// What was found on opening.
#[derive(Debug, Default)]
pub struct SpoolReport {
    /// Whole segments.
    pub segments: u64,
    /// Their bytes on disk.
    pub used_bytes: u64,
    /// Files that were not whole and are gone now, with what was wrong.
    pub dropped: Vec<(PathBuf, String)>,
}

/// The segment log. Clones share it.
#[derive(Debug, Clone)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    index: Mutex<Index>,
    turns: Arc<Semaphore>,
    /// Held for as long as the spool is open.
    _lock: File,
}

impl Inner {
    fn index(&self) -> MutexGuard<'_, Index> {
        // Nothing under the lock can stop half-way.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    /// Opens the spool in `dir`, which is made when missing; verifies every segment and drops what is not whole.
    /// `max_bytes` bounds what it holds on disk. One process at a time has it open.
    ///
    /// # Errors
    /// [`SpoolError::InUse`], or [`SpoolError::Io`] when the directory cannot be made or read.
    pub async fn open(dir: impl AsRef<Path> + Send, max_bytes: u64) -> Result<(Self, SpoolReport), SpoolError> {
        let dir = dir.as_ref().to_owned();
        blocking(dir.clone(), move || {
            fs::create_dir_all(&dir).map_err(at(&dir))?;
            let lock = lock(&dir)?;
            let mut index = Index::new(max_bytes);
            let mut report = SpoolReport::default();
            file::remove_gone(&dir)?;
            file::scan(
                &dir,
                |segment, file_bytes| index.insert(segment, file_bytes),
                &mut report.dropped,
            )?;
            report.segments = index.len();
            report.used_bytes = index.used_bytes();
            let inner = Inner {
                dir,
                index: Mutex::new(index),
                turns: Arc::new(Semaphore::new(MAX_CONCURRENT)),
                _lock: lock,
            };
            Ok((Self { inner: Arc::new(inner) }, report))
        })
        .await
    }

    /// Writes a segment; when this returns, it is on disk.
    ///
    /// # Errors
    /// [`SpoolError::Full`], [`SpoolError::DiskFull`], [`SpoolError::Exists`], [`SpoolError::TooLarge`],
    /// [`SpoolError::Busy`] or [`SpoolError::Io`]; then nothing is left of it.
    pub async fn append(&self, id: SegmentId, info: SegmentInfo, bytes: Bytes) -> Result<StoredSegment, SpoolError> {
        let header = file::header(id, &info);
        let largest = (bytes.len() as u64).max(header.len() as u64);
        if largest > MAX_SEGMENT_BYTES {
            return Err(SpoolError::TooLarge(largest));
        }
        let reservation = Reservation::new(&self.inner, id, file::size(&header, &bytes))?;
        self.turn(move |dir| {
            let checksum = file::write(dir, id, &header, &bytes)?;
            let segment = StoredSegment {
                id,
                place: SegmentPlace::Spool,
                size_bytes: bytes.len() as u64,
                checksum,
                start_ms: info.start_ms,
                end_ms: info.end_ms,
                metadata: info.metadata,
            };
            reservation.fill(segment.clone());
            Ok(segment)
        })
        .await
    }

    /// Reads a segment and verifies it.
    ///
    /// # Errors
    /// [`SpoolError::Missing`], [`SpoolError::Damaged`], [`SpoolError::Busy`] or [`SpoolError::Io`].
    pub async fn read(&self, id: SegmentId) -> Result<(StoredSegment, Bytes), SpoolError> {
        self.turn(move |dir| file::read(dir, id)).await
    }

    /// The recordings that have segments here.
    pub fn recordings(&self) -> Vec<RecordingId> {
        self.inner.index().recordings()
    }

    /// What a recording's segments here cover, in the order of their ids.
    pub fn outline(&self, recording: RecordingId) -> Vec<Extent> {
        let extent = |segment: &StoredSegment| Extent {
            id: segment.id,
            start_ms: segment.start_ms,
            end_ms: segment.end_ms,
        };
        self.inner.index().map_segments(recording, extent)
    }

    /// What was kept beside the first of a recording's segments that has something kept beside it.
    pub fn metadata(&self, recording: RecordingId) -> Option<Value> {
        let index = self.inner.index();
        let metadata = |segment: &StoredSegment| (!segment.metadata.is_null()).then(|| segment.metadata.clone());
        index.map_segments(recording, metadata).into_iter().flatten().next()
    }

    /// Whether a segment is here, whole as far as is known.
    pub fn contains(&self, id: SegmentId) -> bool {
        self.inner.index().contains(id)
    }

    /// A recording's segments here, in the order of their ids.
    pub fn segments(&self, recording: RecordingId) -> Vec<StoredSegment> {
        self.inner.index().map_segments(recording, StoredSegment::clone)
    }

    /// Removes a segment; one that is not there is removed already.
    ///
    /// # Errors
    /// [`SpoolError::Busy`] or [`SpoolError::Io`].
    pub async fn remove(&self, id: SegmentId) -> Result<(), SpoolError> {
        let inner = Arc::clone(&self.inner);
        self.turn(move |dir| {
            file::remove(dir, id)?;
            inner.index().remove(id);
            Ok(())
        })
        .await
    }

    /// Removes all of a recording, at once: after a crash either everything of it is there or nothing.
    ///
    /// # Errors
    /// [`SpoolError::Busy`] or [`SpoolError::Io`]; what is left can be removed again.
    pub async fn remove_recording(&self, recording: RecordingId) -> Result<(), SpoolError> {
        let inner = Arc::clone(&self.inner);
        self.turn(move |dir| {
            let segments = inner.index().map_segments(recording, |segment| segment.id);
            let gone = file::set_aside(dir, recording)?;
            for id in segments {
                inner.index().remove(id);
            }
            match gone {
                Some(gone) => fs::remove_dir_all(&gone).map_err(at(&gone)),
                None => Ok(()),
            }
        })
        .await
    }

    /// Notes durably that the database was told of a recording's end. When the database does not know it later, it was
    /// deleted, and what is here is left over. Nothing is noted of a recording of which nothing is here.
    ///
    /// # Errors
    /// [`SpoolError::DiskFull`], [`SpoolError::Busy`] or [`SpoolError::Io`].
    pub async fn mark_finished(&self, recording: RecordingId) -> Result<(), SpoolError> {
        self.turn(move |dir| file::mark_finished(dir, recording)).await
    }

    /// Whether [`Spool::mark_finished`] was called for a recording of which there is something here.
    ///
    /// # Errors
    /// [`SpoolError::Busy`] or [`SpoolError::Io`].
    pub async fn is_finished(&self, recording: RecordingId) -> Result<bool, SpoolError> {
        self.turn(move |dir| file::is_finished(dir, recording)).await
    }

    /// What it holds on disk, in bytes, with what is being written.
    pub fn used_bytes(&self) -> u64 {
        self.inner.index().used_bytes()
    }

    /// What it may hold on disk, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.inner.index().max_bytes()
    }

    /// Does file work on the blocking pool when its turn comes.
    async fn turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.inner.turns).acquire_owned());
        let turn = turn.await.ok().and_then(Result::ok).ok_or(SpoolError::Busy)?;
        let inner = Arc::clone(&self.inner);
        blocking(self.inner.dir.clone(), move || {
            let result = work(&inner.dir);
            drop(turn);
            result
        })
        .await
    }
}

/// Runs `work` on the blocking pool; `dir` is named when it panics.
async fn blocking<T: Send + 'static>(
    dir: PathBuf,
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(at(&dir)(io::Error::other(error))),
    }
}

fn lock(dir: &Path) -> Result<File, SpoolError> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(at(&path)(error)),
    }
}

/// Makes an error of what went wrong at `path`.
fn at(path: &Path) -> impl Fn(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpoolError::DiskFull,
        _ => SpoolError::Io {
            path: path.clone(),
            source,
        },
    }
}
