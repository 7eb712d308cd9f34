//! Calls as telephones know them: invitations, their answers, and keys that are pressed.

use serde::{Deserialize, Serialize};

use crate::server::WelcomeUser;
use crate::{CallId, InviteId, ParticipantId, RoomId};

/// `dtmf` as delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DtmfEvent {
    /// Who sent it.
    pub from: ParticipantId,
    /// The tones.
    pub tones: String,
}

/// `call-state-changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStateChanged {
    /// The call.
    pub call_id: CallId,
    /// Its state.
    pub state: CallState,
}

/// The state of a call, as pushed to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// On.
    Active,
    /// On, and recorded.
    Recording,
    /// Over.
    Ended,
}

/// `invite`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteEvent {
    /// What `accept` and `decline` name.
    pub invite_id: InviteId,
    /// A ringing call, or an invitation that waits.
    pub kind: InviteKind,
    /// Where it leads.
    pub room: RoomId,
    /// Who asks.
    pub from: WelcomeUser,
}

/// What kind of invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InviteKind {
    /// Rings for 45 s.
    Call,
    /// Waits until it expires.
    Invite,
}

/// `invite-answered`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteAnswered {
    /// Which one.
    pub invite_id: InviteId,
    /// What became of it.
    pub answer: InviteAnswer,
}

/// What became of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InviteAnswer {
    /// Taken.
    Accepted,
    /// Turned down.
    Declined,
    /// Nobody answered in time.
    Expired,
    /// The caller hung up.
    Cancelled,
}
