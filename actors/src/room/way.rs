//! What a session says to its room, and the way there, wherever the room runs.

use std::fmt;
use std::sync::Arc;

use caside_protocol::client::ClientMessage;
use caside_protocol::node::{Credentials, Member};
use caside_protocol::server::ServerMessage;
use caside_protocol::{ParticipantId, RoomId, SessionId};

use super::message::{RoomHandle, RoomMsg};
use crate::gateway::Gateway;
use crate::mailbox::Overloaded;
use crate::peer::{PeerLink, Reply};

/// What a participant's session says to its room.
#[derive(Debug)]
pub(crate) enum Order {
    /// Joins the room that it is in.
    Rejoin(Reply),
    /// Its next socket is here.
    Resume { last_seq: u64, contact: Box<Contact> },
    /// It is still here after the room, or the way to it, was another.
    Here {
        last_seq: u64,
        /// Whether there is a socket.
        connected: bool,
        contact: Box<Contact>,
    },
    /// Its socket dropped.
    Lost,
    /// It goes to another node; a resume from there follows.
    Departing,
    /// Its client has every event up to this number.
    Received(u64),
    /// Leaves; without a request when its socket closed cleanly.
    Leave(Option<Reply>),
    /// It failed and cannot come back.
    Gone,
    /// It presented a new token.
    Renewed(Box<Credentials>),
    /// Asks for something.
    Ask { reply: Reply, message: Box<ClientMessage> },
    /// An event from outside of the room, to be numbered with the others.
    Post(Arc<ServerMessage>),
}

impl Order {
    /// A stable word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Rejoin(_) => "rejoin",
            Self::Resume { .. } => "resume",
            Self::Here { .. } => "here",
            Self::Lost => "lost",
            Self::Departing => "departing",
            Self::Received(_) => "received",
            Self::Leave(_) => "leave",
            Self::Gone => "gone",
            Self::Renewed(_) => "renewed",
            Self::Ask { .. } => "ask",
            Self::Post(_) => "post",
        }
    }
}

/// How a room reaches a session, and who that is.
#[derive(Debug)]
pub(crate) struct Contact {
    pub(crate) session: SessionId,
    pub(crate) link: PeerLink,
    pub(crate) credentials: Box<Credentials>,
}

/// A room on another node.
#[derive(Clone)]
pub(crate) struct RemoteRoom {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) room: RoomId,
    pub(crate) member: Member,
    pub(crate) epoch: u64,
    /// Who speaks.
    pub(crate) session: SessionId,
}

impl fmt::Debug for RemoteRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteRoom")
            .field("room", &self.room)
            .field("member", &self.member)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// A session's way to its room.
#[derive(Debug, Clone)]
pub(crate) enum RoomWay {
    Here(RoomHandle),
    There(RemoteRoom),
}

impl RoomWay {
    /// The room's id.
    pub(crate) fn id(&self) -> &RoomId {
        match self {
            Self::Here(room) => room.id(),
            Self::There(remote) => &remote.room,
        }
    }

    /// The room's ownership.
    pub(crate) fn epoch(&self) -> u64 {
        match self {
            Self::Here(room) => room.epoch(),
            Self::There(remote) => remote.epoch,
        }
    }

    /// The other node that has it.
    pub(crate) fn member(&self) -> Option<&Member> {
        match self {
            Self::Here(_) => None,
            Self::There(remote) => Some(&remote.member),
        }
    }

    /// Asks for something that may be refused when too much waits, or the room's node cannot be reached now.
    #[expect(
        clippy::result_large_err,
        reason = "it is what was to be sent, and goes to whoever can answer it"
    )]
    pub(crate) fn send(&self, participant: ParticipantId, order: Order) -> Result<(), Overloaded<Order>> {
        match self {
            Self::Here(room) => room
                .mailbox()
                .send(RoomMsg::Order { participant, order })
                .map_err(|Overloaded(message)| Overloaded(message.into_order())),
            Self::There(remote) => remote.gateway.order(remote, participant, order).map_err(Overloaded),
        }
    }

    /// Tells what must not be lost and comes once a session. `false` when the room is gone, or its node cannot be reached:
    /// then it counts the session as lost, and either hears of it anew or is not there any more.
    pub(crate) fn post(&self, participant: ParticipantId, order: Order) -> bool {
        match self {
            Self::Here(room) => room.post(RoomMsg::Order { participant, order }),
            Self::There(remote) => remote.gateway.order(remote, participant, order).is_ok(),
        }
    }
}
