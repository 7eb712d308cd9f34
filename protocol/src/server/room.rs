//! Who is in a room, what they say to each other, and what becomes of the room.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::view::{Mode, Participant, RoomState};
use crate::{CallId, MessageId, NodeId, ParticipantId, Role, Timestamp};

/// `joined`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The new (or, when joined again, the same) participant.
    pub participant_id: ParticipantId,
    /// The call.
    pub call_id: CallId,
    /// One's role.
    pub role: Role,
    /// The room as it is now.
    pub room_state: RoomState,
}

/// `peer-left`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerLeft {
    /// Who.
    pub participant_id: ParticipantId,
    /// Why.
    pub reason: LeaveReason,
}

/// Why a participant is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// `leave`, or a clean close.
    Left,
    /// The socket dropped and the grace time ran out.
    ConnectionLost,
    /// A moderator removed them.
    Kicked,
    /// The call was ended.
    CallEnded,
}

/// `chat` as delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatEvent {
    /// Who wrote.
    pub from: ParticipantId,
    /// The text.
    pub text: String,
    /// Its id.
    pub message_id: MessageId,
    /// When the room took it.
    #[serde(with = "time::serde::rfc3339")]
    pub sent_at: Timestamp,
    /// Set when it is for the reader alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<ParticipantId>,
}

/// `data` as delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataEvent {
    /// Who sent it.
    pub from: ParticipantId,
    /// The application's own word.
    pub topic: String,
    /// The value.
    pub value: Value,
    /// Set when it is for the reader alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<ParticipantId>,
}

/// `mode-changed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeChanged {
    /// In force from now.
    pub mode: Mode,
    /// Why.
    pub reason: ModeReason,
}

/// Why a room moved to the SFU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeReason {
    /// A third came.
    Participants,
    /// A recording began.
    Recording,
}

/// `room-updated`: what holds from now on, changed or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomUpdated {
    /// The name to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether newcomers below moderator are kept out.
    pub locked: bool,
    /// The application's own.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
}

/// `role-changed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleChanged {
    /// One's role now.
    pub role: Role,
}

/// `kicked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kicked {
    /// Who did it; absent when it was done by REST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<ParticipantId>,
}

/// `room-moved`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomMoved {
    /// Who has the room's media now.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: u64,
    /// Why.
    pub reason: MoveReason,
    /// Whether the room may differ from what events said; then `room_state` and `you` are there, as in `resumed`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
    /// The room as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_state: Option<RoomState>,
    /// Oneself as the others see one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub you: Option<Participant>,
}

/// Why media moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoveReason {
    /// The SFU failed and starts anew on the same node.
    Sfu,
    /// The room's node is gone; another has it.
    Failover,
    /// The room's node is about to go; another has the room already.
    Drain,
}
