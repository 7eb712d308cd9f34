//! Recordings that begin, end, and become files.

use serde::{Deserialize, Serialize};

use crate::rest::RecordingState;
use crate::view::Source;
use crate::{ParticipantId, RecordingId};

/// `recording-started`, `recording-stopped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingRef {
    /// The recording.
    pub recording_id: RecordingId,
}

/// Most files that `recording-finished` lists; `GET /recordings/{id}` has all.
pub const MAX_FINISHED_FILES: usize = 64;

/// `recording-finished`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingFinished {
    /// The recording.
    pub recording_id: RecordingId,
    /// `ready` or `failed`.
    pub state: RecordingState,
    /// Why it failed, or what is missing from it.
    pub error: Option<String>,
    /// To the end of the last file.
    pub duration_ms: u64,
    /// Of all files.
    pub size_bytes: u64,
    /// At most [`MAX_FINISHED_FILES`], by name.
    pub files: Vec<FinishedFile>,
}

/// A file of a recording that is finished, as `recording-finished` has it: without a URL, which everybody gets their own of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedFile {
    /// Its name in the recording.
    pub name: String,
    /// Whose media.
    pub participant_id: Option<ParticipantId>,
    /// From which source.
    pub source: Option<Source>,
    /// A media type.
    pub content_type: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its length.
    pub duration_ms: u64,
    /// Its first frame after the recording's start.
    pub offset_ms: u64,
}
