//! What a room is told.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use caside_protocol::claims::Claims;
use caside_protocol::client::{ClientMessage, SubscribePolicy};
use caside_protocol::node::Act;
use caside_protocol::rest::UpdateRoom;
use caside_protocol::server::ServerMessage;
use caside_protocol::{Grants, ParticipantId, RecordingId, Role, Timestamp, UserId};

use super::history::EventLog;
use crate::ports::RecorderEvent;
use crate::sfu::SfuEvent;

/// The time, as the room is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Since the room began, monotonic: for deadlines.
    pub elapsed: Duration,
    /// For people.
    pub utc: Timestamp,
}

/// Names a client's request until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ReplyId(pub u64);

/// Names a question of REST until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub u64);

/// Somebody at the door.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Their id, if they are let in.
    pub participant: ParticipantId,
    /// The request to answer.
    pub reply: ReplyId,
    /// The user behind it.
    pub user: UserId,
    /// The name to show.
    pub display_name: String,
    /// What the token says.
    pub standing: Standing,
    /// Whether tracks are offered unasked.
    pub subscribe: SubscribePolicy,
    /// How many cameras they receive, if they said so.
    pub last_n: Option<u32>,
    /// From where.
    pub client_ip: Option<IpAddr>,
    /// The session's events so far.
    pub log: EventLog,
}

/// What a token says of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// An explicit role.
    pub role: Option<Role>,
    /// Beyond the role.
    pub grants: Grants,
    /// Since when there is a right to this room; `None` of a token that is not for one room.
    pub right_since: Option<Timestamp>,
}

impl From<&Claims> for Standing {
    fn from(claims: &Claims) -> Self {
        Self {
            role: claims.role,
            grants: claims.grants(),
            right_since: claims.right_since(),
        }
    }
}

/// Who acts by REST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    /// The user.
    pub user: UserId,
    /// Whether they administer the deployment.
    pub admin: bool,
    /// What the token says of this room.
    pub standing: Standing,
}

/// A command.
#[derive(Debug)]
pub(crate) enum Command {
    /// Somebody wants in.
    Join(Box<Entry>),
    /// A participant joins the room they are in.
    Rejoin {
        /// Who.
        participant: ParticipantId,
        /// The request to answer.
        reply: ReplyId,
    },
    /// A participant's next socket is there.
    Resume {
        /// Who.
        participant: ParticipantId,
        /// The last event the client saw.
        last_seq: u64,
    },
    /// A participant's session is still there after the way to it was another.
    Here {
        /// Who.
        participant: ParticipantId,
        /// The last event that went to the client.
        last_seq: u64,
        /// Whether there is a socket.
        connected: bool,
    },
    /// A participant's session goes to another node, from where it resumes.
    Departing {
        /// Who.
        participant: ParticipantId,
    },
    /// A participant's socket dropped.
    Lost {
        /// Who.
        participant: ParticipantId,
    },
    /// A participant leaves; without a request when their socket closed cleanly.
    Leave {
        /// Who.
        participant: ParticipantId,
        /// The request to answer.
        reply: Option<ReplyId>,
    },
    /// A participant's session failed and cannot come back.
    Gone {
        /// Who.
        participant: ParticipantId,
    },
    /// A participant presented a new token.
    Renewed {
        /// Who.
        participant: ParticipantId,
        /// What it says of the room. Its role counts unless one was given here.
        standing: Standing,
    },
    /// A participant asks for something.
    Ask {
        /// Who.
        participant: ParticipantId,
        /// The request to answer.
        reply: ReplyId,
        /// What.
        message: ClientMessage,
    },
    /// An event from outside of the room, to be numbered with the others.
    Post {
        /// For whom.
        participant: ParticipantId,
        /// The event.
        message: Arc<ServerMessage>,
    },
    /// REST acts.
    Act {
        /// Who.
        by: Authority,
        /// The question to answer.
        ticket: Ticket,
        /// What.
        act: Act,
    },
    /// The configuration changed.
    Update(UpdateRoom),
    /// The room ends: it was deleted, or the node goes.
    Close {
        /// Whether participants are told that the call ended; not when they are to come back at once.
        tell: bool,
    },
    /// Something happened in the SFU.
    Sfu(SfuEvent),
    /// The SFU took a request no more.
    SfuRefused {
        /// Which.
        request: u64,
    },
    /// The SFU did not start.
    SfuUnavailable,
    /// The SFU is gone with all media.
    SfuLost,
    /// The recorder runs, or why not.
    RecorderStarted {
        /// Which recording.
        recording: RecordingId,
        /// Why it does not.
        failure: Option<String>,
    },
    /// Something happened in a recorder.
    Recorder {
        /// Which recording.
        recording: RecordingId,
        /// What.
        event: RecorderEvent,
    },
    /// The room directory does not answer, or answers again.
    DirectoryAway(bool),
    /// A deadline may have passed.
    Tick,
}
