//! The audit log: who did what to whom or what, from where, and what came of it.
//!
//! Each act is one event of the target [`TARGET`], at `INFO`, with the fields of [`Act`]. Whoever makes one here puts no
//! secret in it: ids, names and addresses only. Absent on purpose: what rooms and accounts are; where lines go.

use std::fmt;
use std::net::IpAddr;

use caside_protocol::client::ClientMessage;
use caside_protocol::error::ErrorCode;
use caside_protocol::server::ServerMessage;

/// The target of the events, for filters.
pub const TARGET: &str = "caside::audit";
/// Longest text that is taken over from outside, in characters.
const MAX_TEXT: usize = 128;

/// How an act came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// An HTTP request.
    Http,
    /// A message over a WebSocket.
    WebSocket,
    /// The command line.
    Cli,
    /// The node itself.
    Node,
}

impl Via {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WebSocket => "websocket",
            Self::Cli => "cli",
            Self::Node => "node",
        }
    }
}

/// What came of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, or was so already.
    Success,
    /// It was not, and this is why.
    Refused(ErrorCode),
    /// It was not, for a reason that has no code.
    Failed,
}

impl From<&ServerMessage> for Outcome {
    fn from(answer: &ServerMessage) -> Self {
        match answer {
            ServerMessage::Error(error) => Self::Refused(error.code),
            _ => Self::Success,
        }
    }
}

/// One act. Texts are cut to 128 characters, and to what can be printed on one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Act {
    /// What, like `participant.kick`.
    pub action: &'static str,
    /// Who: a user, `apikey:…`, or for the command line who runs it. `None`: unknown, as at a failed login.
    pub user: Option<String>,
    /// From where.
    pub client: Option<IpAddr>,
    /// The request's id: of HTTP, or the message's.
    pub request: Option<String>,
    /// In which room.
    pub room: Option<String>,
    /// On what: a participant, an account, a recording, a node.
    pub target: Option<String>,
    /// What beyond that: a role, a name, a lifetime.
    pub detail: Option<String>,
}

/// Text from outside on its way into a line.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(MAX_TEXT) {
            fmt::Write::write_char(f, if c.is_control() { '\u{fffd}' } else { c })?;
        }
        Ok(())
    }
}

impl Act {
    /// Writes it down.
    pub fn log(&self, via: Via, outcome: Outcome) {
        let text = |text: &Option<String>| text.as_deref().map(|text| Plain(text).to_string());
        let (result, code) = match outcome {
            Outcome::Success => ("success", None),
            Outcome::Refused(code) => ("refused", Some(code.as_str())),
            Outcome::Failed => ("failure", None),
        };
        tracing::event!(
            target: TARGET,
            tracing::Level::INFO,
            audit.action = self.action,
            audit.outcome = result,
            error.code = code,
            audit.via = via.as_str(),
            user.id = text(&self.user),
            client.address = self.client.map(tracing::field::display),
            room.id = text(&self.room),
            audit.target = text(&self.target),
            audit.detail = text(&self.detail),
            request.id = text(&self.request),
            "audit"
        );
    }

    /// What a message of a client does that is to be written down; `None` for all else.
    pub(crate) fn of_message(message: &ClientMessage) -> Option<Self> {
        let (action, target, detail) = match message {
            ClientMessage::Kick(target) => ("participant.kick", Some(target.participant_id), None),
            ClientMessage::MuteParticipant(mute) => (
                "participant.mute",
                Some(mute.participant_id),
                mute.track.as_ref().map(|track| format!("track {track}")),
            ),
            ClientMessage::SetRole(given) => (
                "participant.role",
                Some(given.participant_id),
                Some(given.role.as_str().to_owned()),
            ),
            ClientMessage::Lock => ("room.lock", None, None),
            ClientMessage::Unlock => ("room.unlock", None, None),
            ClientMessage::EndCall => ("call.end", None, None),
            ClientMessage::StartRecording => ("recording.start", None, None),
            ClientMessage::StopRecording => ("recording.stop", None, None),
            _ => return None,
        };
        Some(Self {
            action,
            target: target.map(|target| target.to_string()),
            detail,
            ..Self::default()
        })
    }
}
