//! The recorder's log of segments on local disk: what was acknowledged survives the loss of the process.
//!
//! Every method does its file work on Tokio's blocking pool; none blocks the caller's thread.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use caside_protocol::RecordingId;
use serde_json::Value;

use crate::recordings::{SegmentId, StoredSegment};

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
    /// A segment of this id is there already.
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
    #[error("{}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        #[source]
        source: std::io::Error,
    },
}

/// Largest segment.
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
pub struct Spool {}

impl Spool {
    /// Opens the spool in `dir`, which is made when missing; verifies every segment and drops what was not whole.
    /// `max_bytes` bounds what it holds on disk.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub async fn open(_dir: impl AsRef<Path> + Send, _max_bytes: u64) -> Result<(Self, SpoolReport), SpoolError> {
        todo!()
    }

    /// Writes a segment; when this returns, it is on disk.
    ///
    /// # Errors
    /// [`SpoolError::Full`], [`SpoolError::DiskFull`], [`SpoolError::Exists`], [`SpoolError::TooLarge`] or
    /// [`SpoolError::Io`]; then nothing is left of it.
    pub async fn append(&self, _id: SegmentId, _info: SegmentInfo, _bytes: Bytes) -> Result<StoredSegment, SpoolError> {
        todo!()
    }

    /// Reads a segment and verifies it.
    ///
    /// # Errors
    /// [`SpoolError::Missing`], [`SpoolError::Damaged`] or [`SpoolError::Io`].
    pub async fn read(&self, _id: SegmentId) -> Result<(StoredSegment, Bytes), SpoolError> {
        todo!()
    }

    /// The recordings that have segments here.
    pub fn recordings(&self) -> Vec<RecordingId> {
        todo!()
    }

    /// A recording's segments here, in the order of their ids.
    pub fn segments(&self, _recording: RecordingId) -> Vec<StoredSegment> {
        todo!()
    }

    /// Removes a segment; one that is not there is removed already.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub async fn remove(&self, _id: SegmentId) -> Result<(), SpoolError> {
        todo!()
    }

    /// Removes all of a recording.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub async fn remove_recording(&self, _recording: RecordingId) -> Result<(), SpoolError> {
        todo!()
    }

    /// What it holds on disk.
    pub fn used_bytes(&self) -> u64 {
        todo!()
    }

    /// What it may hold on disk.
    pub fn max_bytes(&self) -> u64 {
        todo!()
    }
}
