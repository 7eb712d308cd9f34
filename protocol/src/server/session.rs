//! How a session begins, goes on after its socket was lost, and ends.

use serde::{Deserialize, Serialize};

use crate::view::{Participant, RoomState};
use crate::{NodeId, ParticipantId, SessionId, UserId};

/// `welcome`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The session.
    pub session: SessionId,
    /// What `resume` needs; good once.
    pub resume_token: String,
    /// Who the token says the client is.
    pub user: WelcomeUser,
    /// STUN and TURN servers, as `RTCConfiguration.iceServers` takes them.
    pub ice_servers: Vec<IceServer>,
    /// How often the server pings.
    pub heartbeat_ms: u64,
    /// Who answers.
    pub server: ServerInfo,
}

impl std::fmt::Debug for Welcome {
    /// The resume token stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Welcome")
            .field("session", &self.session)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The user of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WelcomeUser {
    /// The token's `sub`.
    pub id: UserId,
    /// The name to show.
    pub name: String,
}

/// A STUN or TURN server (W3C `RTCIceServer`).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct IceServer {
    /// `stun:…`, `turn:…`.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl std::fmt::Debug for IceServer {
    /// The credential stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// Of the binary.
    pub version: String,
    /// The node's id.
    pub node: NodeId,
}

/// `resumed`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Resumed {
    /// For the next time.
    pub resume_token: String,
    /// The participant, when the session is in a room.
    pub participant_id: Option<ParticipantId>,
    /// Whether missed events could not be replayed; then `room_state` is there.
    pub reset: bool,
    /// STUN and TURN servers as in `welcome`, with new credentials.
    pub ice_servers: Vec<IceServer>,
    /// The room as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_state: Option<RoomState>,
    /// Oneself as the others see one: role and tracks may have changed too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub you: Option<Participant>,
}

impl std::fmt::Debug for Resumed {
    /// The resume token stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resumed")
            .field("participant_id", &self.participant_id)
            .field("reset", &self.reset)
            .finish_non_exhaustive()
    }
}

/// `goodbye`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why.
    pub reason: String,
    /// When to come back.
    pub retry_after_ms: u64,
}
