//! What clients see of a room: the same shapes in REST and on the WebSocket.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{CallId, NodeId, ParticipantId, RecordingId, Role, RoomId, TrackId, UserId};

/// How media flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Through the server's selective forwarding unit.
    #[default]
    Sfu,
    /// Between the clients; the server relays signaling only.
    P2p,
    /// Two clients talk directly; a third, or a recording, moves the room to the SFU.
    Auto,
}

/// Whether calls in a room are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecordPolicy {
    /// Never.
    Off,
    /// When somebody permitted starts it.
    #[default]
    Manual,
    /// From the first published track.
    Auto,
}

/// Whether somebody is in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoomActivity {
    /// A call is on.
    Active,
    /// Nobody is here.
    Inactive,
}

/// A room as REST shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Room {
    /// Its id.
    pub id: RoomId,
    /// The name to show, ≤ 256 characters.
    pub name: Option<String>,
    /// As configured; see `RoomState.mode` for what is in force.
    pub mode: Mode,
    /// Whether somebody is in it.
    pub state: RoomActivity,
    /// 0: the node's limit.
    pub max_participants: u32,
    /// Members receive the cameras of so many last speakers; 0: all.
    pub last_n: u32,
    /// So many voices are heard at a time, the loudest; 0: all.
    pub audio_last_n: u32,
    /// Whether calls are recorded.
    pub record: RecordPolicy,
    /// Whether newcomers below moderator are kept out.
    pub locked: bool,
    /// The application's own, ≤ 4 KiB.
    pub metadata: Value,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Who made it.
    pub owner: Option<UserId>,
    /// The call that is on.
    pub call_id: Option<CallId>,
    /// The node that runs it.
    pub node: Option<NodeId>,
    /// Who is in it.
    pub participants: Vec<Participant>,
}

/// Whether a participant's signaling connection is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    /// A socket is open.
    Connected,
    /// Dropped; the grace time runs.
    Lost,
}

/// A member of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Participant {
    /// Their id in this call.
    pub participant_id: ParticipantId,
    /// The user behind it.
    pub user: UserId,
    /// The name to show.
    pub display_name: String,
    /// Their standing.
    pub role: Role,
    /// When they joined.
    #[serde(with = "time::serde::rfc3339")]
    pub joined_at: OffsetDateTime,
    /// Whether their socket is up.
    pub connection: Connection,
    /// What they publish.
    pub tracks: Vec<Track>,
}

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrackKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

/// Where a track comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// A shared screen, window or tab.
    Screen,
    /// The sound of what is shared.
    ScreenAudio,
    /// A file that is played.
    File,
}

impl Source {
    /// The source as written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Microphone => "microphone",
            Self::Screen => "screen",
            Self::ScreenAudio => "screen-audio",
            Self::File => "file",
        }
    }

    /// What an m-line of this kind is when its offer does not say.
    pub fn default_of(kind: TrackKind) -> Self {
        match kind {
            TrackKind::Audio => Self::Microphone,
            TrackKind::Video => Self::Camera,
        }
    }
}

/// A published track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Track {
    /// Its id.
    pub track: TrackId,
    /// Whose it is.
    pub participant_id: ParticipantId,
    /// Sound or picture.
    pub kind: TrackKind,
    /// Where it comes from.
    pub source: Source,
    /// The publisher's own word for it, ≤ 128 characters.
    pub label: Option<String>,
    /// The codec's name: `opus`, `VP8`, `VP9`, `H264`, `AV1`.
    pub codec: String,
    /// What its frames are encrypted with end to end, in the publisher's word, ≤ 64 characters; null when they are not.
    pub encryption: Option<String>,
    /// Not forwarded by wish of its publisher or a moderator.
    pub muted: bool,
    /// Not forwarded while its publisher holds.
    pub held: bool,
    /// Simulcast layers, lowest first; empty when there is one stream.
    pub layers: Vec<String>,
}

/// A room as its members see it on joining.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomState {
    /// Its id.
    pub room: RoomId,
    /// The name to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In force now: `sfu` or `p2p`.
    pub mode: Mode,
    /// Whether newcomers below moderator are kept out.
    pub locked: bool,
    /// The recording that runs.
    pub recording: Option<RecordingId>,
    /// Everybody here, the reader left out.
    pub participants: Vec<Participant>,
    /// Who speaks, loudest first.
    pub active_speakers: Vec<ParticipantId>,
    /// The application's own.
    #[serde(skip_serializing_if = "Value::is_null", default)]
    pub metadata: Value,
}

/// How well a participant's connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Nothing to notice.
    Excellent,
    /// Small losses.
    Good,
    /// Noticeable.
    Poor,
    /// Gone; the grace time runs.
    Lost,
}
