//! What nodes of a cluster know each other by, and what they say to each other: the envelope between gateways.
//!
//! Written as MessagePack maps ([`encode`], [`decode`]), so that the version before and the one after may know fewer or more
//! fields; a message of a kind that is not known is refused, never misread.

mod question;
mod room;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::server::ServerMessage;
use crate::trace::{self, TraceContext};
use crate::{InviteId, NodeId, RoomId, SessionId, UserId};

pub use question::{Act, Answer, Departing, DepartingPlace, Invited, Orphan, Question, Report};
pub use room::{
    Address, Credentials, JoinOrder, LogState, ReleaseCause, Resumption, RoomOrder, SessionOrder, ToRoom, ToSession,
};

/// The version of what nodes say to each other: a node speaks with those of its own version and of the one before.
pub const VERSION: u32 = 1;

/// One run of a node: a node that was started anew is another member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Grows with each start of the node: when it was started, in Unix milliseconds.
    pub incarnation: u64,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.node, self.incarnation)
    }
}

/// A message from node to node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NodeMessage {
    /// What a session says to a room.
    ToRoom(Box<ToRoom>),
    /// What a room says to a session.
    ToSession(Box<ToSession>),
    /// Answers a client's request that came by [`RoomOrder`].
    Reply {
        /// The number that the asking node gave it.
        request: u64,
        /// The answer.
        message: Box<ServerMessage>,
    },
    /// A room's state, for the node that is to take it over; in place of what it had of it.
    Keep {
        /// Which room.
        room: RoomId,
        /// Its ownership.
        epoch: u64,
        /// The state, as rooms write it.
        #[serde(with = "serde_bytes")]
        state: Vec<u8>,
    },
    /// A room that need not be taken over.
    Forget {
        /// Which room.
        room: RoomId,
        /// The ownership under which it was kept.
        epoch: u64,
    },
    /// An event for every session of a user.
    Notify {
        /// Who.
        user: UserId,
        /// What.
        message: Arc<ServerMessage>,
    },
    /// What waits for a user is to be delivered to this session.
    Greet {
        /// Who.
        user: UserId,
        /// Where.
        to: Address,
    },
    /// Whether whoever took an invitation is in its room.
    InviteTaken {
        /// Which.
        invite: InviteId,
        /// Who took it.
        session: SessionId,
        /// Whether they are.
        entered: bool,
    },
    /// An invitation was answered, or ran out.
    InviteClosed(InviteId),
    /// A question of one node to another.
    Question {
        /// Echoed in the answer.
        id: u64,
        /// What.
        question: Box<Question>,
        /// The trace it is part of.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "trace::lenient"
        )]
        trace: Option<TraceContext>,
    },
    /// Its answer.
    Answer {
        /// The question's number.
        id: u64,
        /// What.
        answer: Box<Answer>,
    },
}

/// Why a message of another node was not understood.
#[derive(Debug, thiserror::Error)]
#[error("a message of another node cannot be read")]
pub struct UnreadableMessage(#[from] rmp_serde::decode::Error);

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
#[error("a message to another node cannot be written")]
pub struct UnwritableMessage(#[from] rmp_serde::encode::Error);

/// Writes a message.
///
/// # Errors
/// [`UnwritableMessage`] when a value has no form in MessagePack, which no message of ours has.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, UnwritableMessage> {
    let mut bytes = Vec::with_capacity(256);
    // Ids as text, for kinds of values that are told apart by trying are read as text only.
    let mut writer = rmp_serde::Serializer::new(&mut bytes)
        .with_struct_map()
        .with_human_readable();
    message.serialize(&mut writer)?;
    Ok(bytes)
}

/// Reads a message.
///
/// # Errors
/// [`UnreadableMessage`] for anything else.
pub fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, UnreadableMessage> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    reader.set_max_depth(128);
    Ok(T::deserialize(&mut reader)?)
}
