//! Bodies of the REST API that are not already a view.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::error::ErrorCode;
use crate::view::Source;
use crate::view::{Mode, RecordPolicy};
use crate::{CallId, Grants, NodeId, ParticipantId, RecordingId, Role, RoomId, TrackId, UserId};

/// Largest JSON body, in bytes.
pub const MAX_BODY_BYTES: u64 = 64 * 1024;
/// The most that `last_n` and `audio_last_n` may be.
pub const MAX_LAST_N: u32 = 1000;
/// Longest room name, in characters.
pub const MAX_ROOM_NAME: usize = 256;
/// Largest metadata, in bytes as JSON.
pub const MAX_METADATA_BYTES: usize = 4 * 1024;

/// Every refusal's body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The refusal.
    pub error: ErrorDetail,
}

/// What is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// A stable code.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// Names this request in the logs.
    pub request_id: String,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// More, by code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Asks for the next page; null at the end.
    pub next_cursor: Option<String>,
}

/// `POST /login`, `POST /auth/token`: one of three forms.
#[derive(Clone, PartialEq, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum TokenRequest {
    /// By password.
    Password {
        /// The user's name.
        username: String,
        /// The user's password.
        password: String,
    },
    /// By refresh token, which is rotated.
    Refresh {
        /// The last one given.
        refresh_token: String,
    },
    /// A room-scoped token for anyone; by an admin, an API key or that room's host.
    Mint(MintRequest),
}

impl std::fmt::Debug for TokenRequest {
    /// Secrets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { username, .. } => f
                .debug_struct("Password")
                .field("username", username)
                .finish_non_exhaustive(),
            Self::Refresh { .. } => f.write_str("Refresh"),
            Self::Mint(mint) => f.debug_tuple("Mint").field(mint).finish(),
        }
    }
}

/// Asks for a room-scoped token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MintRequest {
    /// For whom; need not be a user of ours.
    pub user: UserId,
    /// For which room.
    pub room: RoomId,
    /// Never above the minter's.
    #[serde(default)]
    pub role: Option<Role>,
    /// 1 s to 30 days; an hour when left out.
    #[serde(default)]
    pub ttl_s: Option<u64>,
    /// Permissions beyond the role.
    #[serde(default)]
    pub grants: Option<Grants>,
    /// The name to show.
    #[serde(default)]
    pub name: Option<String>,
}

/// A token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenResponse {
    /// A JWT.
    pub token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until `token` expires.
    pub expires_in: u64,
    /// For the next one; absent from minted tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

impl std::fmt::Debug for TokenResponse {
    /// Tokens stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenResponse")
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// `POST /auth/logout`.
#[derive(Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub struct LogoutRequest {
    /// Its family is revoked.
    pub refresh_token: String,
}

/// `POST /rooms`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct CreateRoom {
    /// One is made when left out.
    pub id: Option<RoomId>,
    /// The name to show.
    pub name: Option<String>,
    /// How media flows.
    pub mode: Mode,
    /// 0: the node's limit.
    pub max_participants: u32,
    /// Members receive the cameras of so many last speakers, ≤ 1000; 0: all.
    pub last_n: u32,
    /// So many voices are heard at a time, the loudest, ≤ 1000; 0: all.
    pub audio_last_n: u32,
    /// Whether calls are recorded.
    pub record: RecordPolicy,
    /// The application's own.
    pub metadata: Value,
}

/// `PATCH /rooms/{id}`; absent fields stay.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UpdateRoom {
    /// The name to show.
    pub name: Option<String>,
    /// How media flows, from the next call on.
    pub mode: Option<Mode>,
    /// 0: the node's limit.
    pub max_participants: Option<u32>,
    /// Members receive the cameras of so many last speakers, ≤ 1000; 0: all.
    pub last_n: Option<u32>,
    /// So many voices are heard at a time, the loudest, ≤ 1000; 0: all.
    pub audio_last_n: Option<u32>,
    /// Whether calls are recorded.
    pub record: Option<RecordPolicy>,
    /// Whether newcomers below moderator are kept out.
    pub locked: Option<bool>,
    /// The application's own.
    pub metadata: Option<Value>,
}

/// `POST /rooms/{id}/participants/{pid}/mute`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct MuteRequest {
    /// One track, or all.
    pub track: Option<TrackId>,
}

/// `POST /rooms/{id}/participants/{pid}/role`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoleRequest {
    /// For the rest of their stay.
    pub role: Role,
}

/// `POST /calls`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct CreateCall {
    /// A room is made when left out.
    pub room_id: Option<RoomId>,
    /// The application's own.
    pub metadata: Value,
}

/// Whether a call is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallStatus {
    /// Waiting for the first join, or on.
    Active,
    /// Over.
    Ended,
}

/// One sitting of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Call {
    /// Its id.
    pub id: CallId,
    /// Its room.
    pub room_id: RoomId,
    /// Whether it is on.
    pub status: CallStatus,
    /// Whether a recording was made of it.
    pub recording: bool,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// First join.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// Last leave.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// Everybody who was in it.
    pub participants: Vec<CallParticipant>,
    /// The application's own.
    pub metadata: Value,
}

/// A stay in a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallParticipant {
    /// Their id in this call.
    pub participant_id: ParticipantId,
    /// The user behind it.
    pub user: UserId,
    /// The name shown.
    pub display_name: String,
    /// Their last role.
    pub role: Role,
    /// When they came.
    #[serde(with = "time::serde::rfc3339")]
    pub joined_at: OffsetDateTime,
    /// When they went.
    #[serde(with = "time::serde::rfc3339::option")]
    pub left_at: Option<OffsetDateTime>,
}

/// How far a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecordingState {
    /// Media is written.
    Recording,
    /// Files are being made whole.
    Finalizing,
    /// Every file is there.
    Ready,
    /// See `error`.
    Failed,
}

/// A recording of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Recording {
    /// Its id.
    pub id: RecordingId,
    /// The room.
    pub room_id: RoomId,
    /// The call.
    pub call_id: Option<CallId>,
    /// How far it is.
    pub state: RecordingState,
    /// Why it failed, or what is missing from it.
    pub error: Option<String>,
    /// The zero of every file's offset.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// When it was stopped.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// From `started_at` to the end of the last file.
    pub duration_ms: Option<u64>,
    /// All files together.
    pub size_bytes: u64,
    /// Who is on it.
    pub participants: Vec<ParticipantId>,
    /// One a participant and source.
    pub files: Vec<RecordingFile>,
    /// State of a composed video, when one was asked for.
    pub composition: Option<Composition>,
}

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// Recorded by the server.
    Participant,
    /// Recorded by a client.
    Upload,
    /// Composed of the participants' files.
    Composite,
}

/// One file of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordingFile {
    /// Its name in the recording.
    pub name: String,
    /// Who made it.
    pub kind: FileKind,
    /// Whose media.
    pub participant_id: Option<ParticipantId>,
    /// From which source.
    pub source: Option<Source>,
    /// A media type.
    pub content_type: String,
    /// As in `codecs=`.
    pub codecs: Vec<String>,
    /// What its frames are encrypted with end to end, in the publisher's word: who has no key cannot play it. Null: they are not.
    pub encryption: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// Its length.
    pub duration_ms: u64,
    /// Its first frame after the recording's start.
    pub offset_ms: u64,
    /// Plays without a header for an hour; empty until the file is there.
    pub url: String,
}

/// State of a composed video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Composition {
    /// `queued`, `running`, `ready`, `failed`.
    pub state: String,
    /// 0–1.
    pub progress: f64,
}

/// `GET /health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, or `unavailable`.
    pub status: String,
    /// Now.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// What is missing, of readiness.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// `GET /admin/nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nodes {
    /// The one that answers first.
    pub items: Vec<NodeStatus>,
    /// Who knows which room is whose: `redis`, `away` (Redis does not answer), or `process` (this node is alone).
    pub directory: String,
}

/// A node, as the one that answers sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Its id.
    pub node: NodeId,
    /// When it was started, in Unix milliseconds.
    pub incarnation: u64,
    /// Whether it is the one that answers.
    pub this: bool,
    /// Whether messages go to it now.
    pub linked: bool,
    /// Whether it gives its rooms away and takes none.
    pub draining: bool,
    /// Of what nodes say to each other.
    pub version: u32,
    /// How many rooms it runs.
    pub rooms: u32,
    /// How busy it is, in thousandths.
    pub load: u32,
    /// Where the others reach it.
    pub address: Option<String>,
}

/// `POST /admin/drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainNode {
    /// Which node.
    pub node: NodeId,
}

/// `GET /admin/rooms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunningRooms {
    /// By node and id.
    pub items: Vec<RunningRoom>,
}

/// A room that runs, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunningRoom {
    /// Its id.
    pub room: RoomId,
    /// The node that has it.
    pub node: NodeId,
    /// Its ownership: grows each time that a node takes it.
    pub epoch: u64,
    /// The call that is on.
    pub call: Option<CallId>,
    /// How many are in it.
    pub participants: u32,
}
