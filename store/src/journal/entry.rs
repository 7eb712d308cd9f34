//! The writes that a journal takes.

use std::net::IpAddr;

use caside_protocol::rest::RecordingState;
use caside_protocol::server::InviteAnswer;
use caside_protocol::{CallId, InviteId, NodeId, ParticipantId, RecordingId, Role, RoomId, UserId};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::invites::StoredInvite;
use crate::recordings::{SegmentId, StoredFile, StoredSegment};
use crate::rooms::StoredRoom;

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
    /// The first join of a call, or its taking over by another node (a higher epoch).
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
    /// What happened in a call that went badly, and why; in place of what was written of it before.
    CallExplained {
        /// Which call.
        call: CallId,
        /// When it was written down.
        at: OffsetDateTime,
        /// An `ExplainedCall`, bounded by whoever makes it.
        explained: Value,
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
    /// A user was invited.
    InviteMade {
        /// To what, and until when.
        invite: StoredInvite,
        /// When.
        at: OffsetDateTime,
    },
    /// An invitation waits no more; the first answer counts.
    InviteAnswered {
        /// Which invitation.
        invite: InviteId,
        /// What became of it.
        answer: InviteAnswer,
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
    /// Whose room it is.
    pub owner: Option<UserId>,
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

impl JournalEntry {
    /// What kind of write it is, for logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RoomEnsured(_) => "room_ensured",
            Self::RoomLocked { .. } => "room_locked",
            Self::CallStarted(_) => "call_started",
            Self::ParticipantJoined(_) => "participant_joined",
            Self::ParticipantLeft { .. } => "participant_left",
            Self::ParticipantRole { .. } => "participant_role",
            Self::CallRecording { .. } => "call_recording",
            Self::CallEnded { .. } => "call_ended",
            Self::CallExplained { .. } => "call_explained",
            Self::RecordingStarted(_) => "recording_started",
            Self::RecordingStopped { .. } => "recording_stopped",
            Self::RecordingState { .. } => "recording_state",
            Self::RecordingFileAdded(_) => "recording_file_added",
            Self::SegmentAdded(_) => "segment_added",
            Self::SegmentsRemoved { .. } => "segments_removed",
            Self::InviteMade { .. } => "invite_made",
            Self::InviteAnswered { .. } => "invite_answered",
            Self::ApiKeyUsed { .. } => "api_key_used",
        }
    }

    /// The id of what it writes about, for logs.
    pub fn subject(&self) -> String {
        match self {
            Self::RoomEnsured(room) => room.id.to_string(),
            Self::RoomLocked { room, .. } => room.to_string(),
            Self::CallStarted(started) => started.call.to_string(),
            Self::ParticipantJoined(joined) => joined.participant.to_string(),
            Self::ParticipantLeft { participant, .. } | Self::ParticipantRole { participant, .. } => {
                participant.to_string()
            }
            Self::CallRecording { call } | Self::CallEnded { call, .. } | Self::CallExplained { call, .. } => {
                call.to_string()
            }
            Self::RecordingStarted(started) => started.recording.to_string(),
            Self::RecordingStopped { recording, .. } | Self::RecordingState { recording, .. } => recording.to_string(),
            Self::RecordingFileAdded(file) => format!("{}/{}", file.recording, file.name),
            Self::SegmentAdded(segment) => segment.id.object_key(),
            Self::SegmentsRemoved { segments } => segments.first().map(SegmentId::object_key).unwrap_or_default(),
            Self::InviteMade { invite, .. } => invite.id.to_string(),
            Self::InviteAnswered { invite, .. } => invite.to_string(),
            Self::ApiKeyUsed { key, .. } => key.to_string(),
        }
    }
}
