//! Recordings, their files, and the segments that files are made of.

use caside_protocol::rest::{FileKind, Page, Recording, RecordingState};
use caside_protocol::view::Source;
use caside_protocol::{CallId, NodeId, ParticipantId, RecordingId, RoomId, UserId};
use serde_json::Value;

use crate::{PageRequest, Store, StoreError};

/// A recording with what only the server knows.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecording {
    /// As REST shows it; the files' `url`s are empty.
    pub recording: Recording,
    /// The room's owner when it began: a host sees it.
    pub owner: Option<UserId>,
    /// The node that records or finishes it.
    pub node: Option<NodeId>,
    /// The epoch of the room's owner.
    pub epoch: u64,
}

/// A file of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFile {
    /// Of which recording.
    pub recording: RecordingId,
    /// Its name in the recording; unique there.
    pub name: String,
    /// Who made it.
    pub kind: FileKind,
    /// Whose media.
    pub participant: Option<ParticipantId>,
    /// From which source.
    pub source: Option<Source>,
    /// A media type.
    pub content_type: String,
    /// As in `codecs=`.
    pub codecs: Vec<String>,
    /// Its size.
    pub size_bytes: u64,
    /// Its length.
    pub duration_ms: u64,
    /// Its first frame after the recording's start.
    pub offset_ms: u64,
    /// Where the object store has it.
    pub storage_key: String,
}

/// Where a segment's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentPlace {
    /// In the spool of the recording's node.
    Spool,
    /// In the object store, under the key of [`SegmentId::object_key`].
    Object,
}

/// Names one segment: at most 2 s of one participant's source group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId {
    /// Of which recording.
    pub recording: RecordingId,
    /// Under which epoch of the room it was recorded.
    pub epoch: u64,
    /// Whose media.
    pub participant: ParticipantId,
    /// From which source; its group's first.
    pub source: Source,
    /// Counted from 0 in that epoch.
    pub n: u32,
}

impl SegmentId {
    /// Its key in the object store.
    pub fn object_key(&self) -> String {
        format!(
            "recordings/{}/{}/{}/{}/{}.mkv",
            self.recording,
            self.epoch,
            self.participant,
            self.source.as_str(),
            self.n
        )
    }
}

/// A segment that is safe on disk or in the object store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSegment {
    /// Which one.
    pub id: SegmentId,
    /// Where its bytes are.
    pub place: SegmentPlace,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of its bytes.
    pub checksum: [u8; 32],
    /// Its first frame after the recording's start.
    pub start_ms: u64,
    /// The end of its last frame after the recording's start.
    pub end_ms: u64,
    /// What whoever finishes the file has to know (tracks, codec headers).
    pub metadata: Value,
}

/// Which recordings to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordingFilter {
    /// Of this room.
    pub room: Option<RoomId>,
    /// Of this call.
    pub call: Option<CallId>,
    /// In this state.
    pub state: Option<RecordingState>,
    /// Whose room it was, or who was in its call.
    pub visible_to: Option<UserId>,
}

impl Store {
    /// A recording with its files.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recording(&self, _id: RecordingId) -> Result<Option<StoredRecording>, StoreError> {
        todo!()
    }

    /// Recordings with their files, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or when the database fails.
    pub async fn recordings(
        &self,
        _filter: &RecordingFilter,
        _page: &PageRequest,
    ) -> Result<Page<StoredRecording>, StoreError> {
        todo!()
    }

    /// Recordings that this node had not finished when it last died, oldest first, at most 1,000.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unfinished_recordings(&self, _node: &NodeId) -> Result<Vec<StoredRecording>, StoreError> {
        todo!()
    }

    /// A recording's files, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recording_files(&self, _id: RecordingId) -> Result<Vec<StoredFile>, StoreError> {
        todo!()
    }

    /// A recording's file of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recording_file(&self, _id: RecordingId, _name: &str) -> Result<Option<StoredFile>, StoreError> {
        todo!()
    }

    /// A recording's segments by participant, source, epoch and number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn segments(&self, _id: RecordingId) -> Result<Vec<StoredSegment>, StoreError> {
        todo!()
    }

    /// Forgets a recording with its files and segments; `false` when there is no such recording. The objects are the
    /// caller's to delete, before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_recording(&self, _id: RecordingId) -> Result<bool, StoreError> {
        todo!()
    }
}
