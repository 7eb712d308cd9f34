//! Between a session on one node and its room on another.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Member;
use crate::claims::Claims;
use crate::client::{ClientMessage, SubscribePolicy};
use crate::error::Refusal;
use crate::server::{Joined, ServerMessage};
use crate::trace::{self, TraceContext};
use crate::view::{Mode, Participant, RoomState};
use crate::{ParticipantId, RoomId, SessionId, UserId};

/// Where a session is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// On which node.
    pub member: Member,
    /// The session.
    pub session: SessionId,
}

/// What a session may do, and by what it is resumed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// What its token says.
    pub claims: Claims,
    /// SHA-256 of the resume token that is good now.
    pub resume: Option<[u8; 32]>,
}

impl std::fmt::Debug for Credentials {
    /// The hash stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.claims.sub)
            .finish_non_exhaustive()
    }
}

/// A session's numbered events, on their way with it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LogState {
    /// The number of the last event; 0 before the first.
    pub last: u64,
    /// The last events, oldest first.
    pub kept: Vec<Arc<ServerMessage>>,
}

/// What a session says to a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToRoom {
    /// Which room.
    pub room: RoomId,
    /// The ownership under which the session knows the room; 0 of one who wants in.
    pub epoch: u64,
    /// Who says it.
    pub participant: ParticipantId,
    /// On which session.
    pub session: SessionId,
    /// What.
    pub order: RoomOrder,
    /// The trace it is part of.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "trace::lenient"
    )]
    pub trace: Option<TraceContext>,
}

/// What a session says to a room. `request` numbers are the asking node's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RoomOrder {
    /// Wants in.
    Join(Box<JoinOrder>),
    /// Joins the room that it is in.
    Rejoin {
        /// To be answered.
        request: u64,
    },
    /// Its next socket is here, perhaps on another node than before.
    Resume {
        /// The last event that the client saw.
        last_seq: u64,
        /// Who it is from now on.
        credentials: Box<Credentials>,
    },
    /// Is still here after the room moved.
    Here {
        /// The last event that went to the client.
        last_seq: u64,
        /// Whether there is a socket.
        connected: bool,
        /// Who it is.
        credentials: Box<Credentials>,
    },
    /// Its socket dropped.
    Lost,
    /// Goes to another node, whose [`RoomOrder::Resume`] follows.
    Departing,
    /// Leaves.
    Leave {
        /// To be answered.
        request: Option<u64>,
    },
    /// Failed, and cannot come back.
    Gone,
    /// Has a new token.
    Renewed {
        /// Who it is from now on.
        credentials: Box<Credentials>,
    },
    /// Asks for something.
    Ask {
        /// To be answered.
        request: u64,
        /// What.
        message: Box<ClientMessage>,
    },
    /// An event from outside of the room, to be numbered with the others.
    Post(Arc<ServerMessage>),
    /// Its client has every event up to this number.
    Received(u64),
}

impl RoomOrder {
    /// A stable word for its kind, for traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Rejoin { .. } => "rejoin",
            Self::Resume { .. } => "resume",
            Self::Here { .. } => "here",
            Self::Lost => "lost",
            Self::Departing => "departing",
            Self::Received(_) => "received",
            Self::Leave { .. } => "leave",
            Self::Gone => "gone",
            Self::Renewed { .. } => "renewed",
            Self::Ask { .. } => "ask",
            Self::Post(_) => "post",
        }
    }
}

/// Somebody at the door.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JoinOrder {
    /// To be answered.
    pub request: u64,
    /// For a room that is made by this join.
    pub mode: Option<Mode>,
    /// The name to show.
    pub display_name: String,
    /// Who they are.
    pub credentials: Credentials,
    /// Whether tracks are offered unasked.
    pub subscribe: SubscribePolicy,
    /// How many cameras they receive, if they said so.
    pub last_n: Option<u32>,
    /// From where.
    pub client_ip: Option<IpAddr>,
    /// The session's events so far.
    pub log: LogState,
    /// The caller whose room this is to be, of one that a call makes.
    #[serde(default)]
    pub caller: Option<UserId>,
}

/// What a room says to a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToSession {
    /// Which session.
    pub session: SessionId,
    /// As whom it is in the room.
    pub participant: ParticipantId,
    /// The room's ownership; what an earlier owner says is not heard.
    #[serde(default)]
    pub epoch: u64,
    /// What.
    pub order: SessionOrder,
    /// The trace it is part of.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "trace::lenient"
    )]
    pub trace: Option<TraceContext>,
}

/// What a room says to a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SessionOrder {
    /// It is in.
    Admitted {
        /// Answers this request.
        request: u64,
        /// The room's ownership.
        epoch: u64,
        /// The answer.
        joined: Box<Joined>,
    },
    /// It is kept out.
    Refused {
        /// Answers this request.
        request: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The room is not here: asked of the directory again, it may be found.
    NotHere {
        /// The request that cannot be answered.
        request: Option<u64>,
        /// The ownership that the order named.
        epoch: u64,
        /// Who has the room, if that is known.
        owner: Option<(Member, u64)>,
    },
    /// An event.
    Deliver {
        /// Its number.
        seq: u64,
        /// The event.
        message: Arc<ServerMessage>,
    },
    /// Events are held back until it resumes.
    Behind,
    /// An event from outside of the room, to be numbered by whoever has its log.
    Notify(Arc<ServerMessage>),
    /// What a resume brings; `None` when `last_seq` was never sent.
    Resumed(Option<Box<Resumption>>),
    /// It is out.
    Released {
        /// Its events.
        log: LogState,
        /// Why.
        cause: ReleaseCause,
    },
    /// The room failed, and its events with it.
    RoomGone,
    /// Another node has the room now: says that it is here ([`RoomOrder::Here`]).
    Moved {
        /// The room.
        room: RoomId,
        /// The new ownership.
        epoch: u64,
    },
}

impl SessionOrder {
    /// A stable word for its kind, for traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Admitted { .. } => "admitted",
            Self::Refused { .. } => "refused",
            Self::NotHere { .. } => "not_here",
            Self::Deliver { .. } => "deliver",
            Self::Behind => "behind",
            Self::Notify(_) => "notify",
            Self::Resumed(_) => "resumed",
            Self::Released { .. } => "released",
            Self::RoomGone => "room_gone",
            Self::Moved { .. } => "moved",
        }
    }
}

/// What a resuming client is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resumption {
    /// The room, and the client's own part in it, when missed events are no longer kept.
    pub reset: Option<Box<(RoomState, Participant)>>,
    /// Missed events, numbered.
    pub events: Vec<(u64, Arc<ServerMessage>)>,
    /// The number of the last event, sent or missed.
    pub last: u64,
}

/// Why a participant is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseCause {
    /// They left.
    Left,
    /// A moderator removed them.
    Kicked,
    /// The grace time ran out.
    GraceOver,
    /// The call ended for everybody.
    CallEnded,
    /// The room ends with its node.
    Closed,
}
