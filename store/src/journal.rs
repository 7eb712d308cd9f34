//! Writes that a running call must not wait for: queued in memory, applied in order by one task, retried while the
//! database is away.

use std::net::IpAddr;
use std::time::Duration;

use caside_protocol::rest::RecordingState;
use caside_protocol::{CallId, NodeId, ParticipantId, RecordingId, Role, RoomId, UserId};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::recordings::{SegmentId, StoredFile, StoredSegment};
use crate::rooms::StoredRoom;
use crate::{Store, StoreError};

/// One write. Applying it twice leaves what applying it once leaves.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum JournalEntry {
    /// A room was made by joining it; one of this id stays as it is.
    RoomEnsured(StoredRoom),
    /// A room was locked or unlocked by its moderators.
    RoomLocked {
        /// Which room.
        room: RoomId,
        /// Whether newcomers below moderator are kept out.
        locked: bool,
    },
    /// The first join of a call, or its taking over by another node (a higher `epoch`).
    CallStarted(CallStarted),
    /// A participant came.
    ParticipantJoined(ParticipantJoined),
    /// A participant went.
    ParticipantLeft {
        /// Who.
        participant: ParticipantId,
        /// When.
        left_at: OffsetDateTime,
    },
    /// A participant was given a role.
    ParticipantRole {
        /// Who.
        participant: ParticipantId,
        /// Which.
        role: Role,
    },
    /// A recording of the call was begun.
    CallRecording {
        /// Which call.
        call: CallId,
    },
    /// The call is over; stays in it that are open end with it.
    CallEnded {
        /// Which call.
        call: CallId,
        /// When.
        ended_at: OffsetDateTime,
    },
    /// A recording was begun; also marks its call as recorded.
    RecordingStarted(RecordingStarted),
    /// Media is no longer written; the files are being made whole.
    RecordingStopped {
        /// Which recording.
        recording: RecordingId,
        /// When.
        ended_at: OffsetDateTime,
    },
    /// A recording's state, and what goes with it.
    RecordingState {
        /// Which recording.
        recording: RecordingId,
        /// How far it is.
        state: RecordingState,
        /// Why it failed, or what is missing from it.
        error: Option<String>,
        /// To the end of the last file; stays when `None`.
        duration_ms: Option<u64>,
    },
    /// A file of a recording is there.
    RecordingFileAdded(StoredFile),
    /// A segment is safe, or moved from the spool to the object store.
    SegmentAdded(StoredSegment),
    /// Segments are gone, for their file is there.
    SegmentsRemoved {
        /// Which ones.
        segments: Vec<SegmentId>,
    },
    /// An API key was presented.
    ApiKeyUsed {
        /// Which key.
        key: Uuid,
        /// When.
        at: OffsetDateTime,
    },
}

/// The first join of a call, or its taking over by another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallStarted {
    /// Which call; taken up when it was made before.
    pub call: CallId,
    /// Its room.
    pub room: RoomId,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// The first join.
    pub started_at: OffsetDateTime,
    /// Who runs it.
    pub node: NodeId,
    /// The epoch of the room's owner.
    pub epoch: u64,
}

/// A participant came.
#[derive(Debug, Clone, PartialEq)]
pub struct ParticipantJoined {
    /// Their id in this call.
    pub participant: ParticipantId,
    /// Which call.
    pub call: CallId,
    /// The user behind it.
    pub user: UserId,
    /// The name shown.
    pub display_name: String,
    /// Their role.
    pub role: Role,
    /// When.
    pub joined_at: OffsetDateTime,
    /// From where.
    pub client_ip: Option<IpAddr>,
    /// The application's own.
    pub metadata: Value,
}

/// A recording was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingStarted {
    /// Which recording.
    pub recording: RecordingId,
    /// Its room.
    pub room: RoomId,
    /// Its call.
    pub call: Option<CallId>,
    /// The room's owner: a host sees it.
    pub owner: Option<UserId>,
    /// Who records.
    pub node: NodeId,
    /// The epoch of the room's owner.
    pub epoch: u64,
    /// The zero of every file's offset.
    pub started_at: OffsetDateTime,
}

/// Limits of a [`Journal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// Most entries that wait; beyond it entries are refused. Default 100,000.
    pub max_entries: usize,
    /// Most entries of one transaction. Default 512.
    pub max_batch: usize,
    /// First pause after a failure, doubled up to `max_backoff`. Default 100 ms.
    pub min_backoff: Duration,
    /// Longest pause between two tries. Default 5 s.
    pub max_backoff: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            max_entries: 100_000,
            max_batch: 512,
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
        }
    }
}

/// Why an entry was refused; it is lost, and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// As many entries wait as may.
    #[error("the journal is full: {max_entries} entries wait for the database")]
    Full {
        /// How many may wait.
        max_entries: usize,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

/// Not everything was applied in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{left} entries still wait for the database")]
pub struct FlushError {
    /// How many wait.
    pub left: usize,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalStats {
    /// Entries that wait.
    pub depth: usize,
    /// Entries written.
    pub applied: u64,
    /// Entries refused at the bound.
    pub refused: u64,
    /// Entries that the database will never take: logged and left out.
    pub skipped: u64,
    /// Whether the last try found the database away.
    pub away: bool,
}

/// The queue of writes. Clones share it.
#[derive(Debug, Clone)]
pub struct Journal {}

impl Journal {
    /// Starts the task that applies entries to `store`. It ends after [`Journal::close`], or when the last clone is
    /// dropped and everything is applied.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(_store: Store, _options: JournalOptions) -> Self {
        todo!()
    }

    /// Queues an entry behind those before it. Never waits.
    ///
    /// # Errors
    /// [`AppendError::Full`] when `max_entries` wait, [`AppendError::Closed`] after [`Journal::close`].
    pub fn append(&self, _entry: JournalEntry) -> Result<(), AppendError> {
        todo!()
    }

    /// Entries that wait.
    pub fn depth(&self) -> usize {
        todo!()
    }

    /// Counts since the start.
    pub fn stats(&self) -> JournalStats {
        todo!()
    }

    /// Waits until every entry appended before is applied.
    ///
    /// # Errors
    /// [`FlushError`] after `timeout`.
    pub async fn flush(&self, _timeout: Duration) -> Result<(), FlushError> {
        todo!()
    }

    /// Refuses further entries, waits for those that are queued, and ends the task.
    ///
    /// # Errors
    /// [`FlushError`] after `timeout`: what is left is lost.
    pub async fn close(&self, _timeout: Duration) -> Result<(), FlushError> {
        todo!()
    }
}

impl Store {
    /// Applies entries in order and in one transaction, waiting for it: for writes that somebody waits for.
    ///
    /// # Errors
    /// The first one that fails; then nothing has changed.
    pub async fn apply(&self, _entries: &[JournalEntry]) -> Result<(), StoreError> {
        todo!()
    }
}
