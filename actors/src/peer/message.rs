//! What a session is told, and the guards that tell it when whoever was to answer is gone.

use std::sync::Arc;

use caside_protocol::claims::Claims;
use caside_protocol::client::{Request, RequestId};
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::{Departing, Invited, Member, ReleaseCause, Resumption};
use caside_protocol::server::{Joined, ServerMessage};
use caside_protocol::{InviteId, ParticipantId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::SocketClosed;
use super::arrival::Arrival;
use super::reply::Reply;
use super::socket::Socket;
use crate::mailbox::{Inspected, Mailbox, Named};
use crate::observed::Asked;
use crate::room::{EventLog, RoomWay};
use crate::trace::Call;

/// Names one socket of a session; later ones have higher numbers. What came over an earlier one is not answered.
pub(crate) type Generation = u32;

/// A message to a session.
#[derive(Debug)]
pub(crate) enum PeerMsg {
    /// A request of the client.
    Request {
        generation: Generation,
        request: Box<Request>,
        credit: OwnedSemaphorePermit,
        call: Call,
    },
    /// A `resume`, on a socket whose own session this is.
    Resume {
        generation: Generation,
        request: Box<Request>,
        credit: OwnedSemaphorePermit,
        call: Call,
        /// Dropped when the socket has its session.
        settled: oneshot::Sender<()>,
    },
    /// A frame that was no request.
    Refuse {
        generation: Generation,
        id: Option<RequestId>,
        refusal: Refusal,
    },
    /// The socket ended.
    SocketClosed { generation: Generation, how: SocketClosed },
    /// No token came in time.
    AuthTimeout,
    /// What became of an `auth`.
    Authenticated {
        reply: Option<Reply>,
        result: Box<Result<Claims, Refusal>>,
    },
    /// Another socket continues this session.
    TakeOver(TakeOver),
    /// It could not; the socket is back with its own session.
    NotTaken { yielded: Box<Yielded>, refusal: Refusal },
    /// The socket left to the session that it continues; this one was never more than its way there.
    Taken,
    /// The time without a socket is over.
    GraceOver(Generation),
    /// An event from outside of rooms.
    Notify(Arc<ServerMessage>),
    /// The node goes; dropped when the socket was told.
    Drain(DrainGuard),
    /// An answer.
    Answer {
        generation: Generation,
        id: Option<RequestId>,
        message: ServerMessage,
    },
    /// Let into a room.
    Admitted {
        participant: ParticipantId,
        room: RoomWay,
        reply: Reply,
        joined: Box<Joined>,
    },
    /// Kept out.
    Refused {
        participant: ParticipantId,
        reply: Reply,
        refusal: Refusal,
        log: EventLog,
    },
    /// An event.
    Deliver {
        participant: ParticipantId,
        /// The room's ownership.
        epoch: u64,
        seq: u64,
        message: Arc<ServerMessage>,
    },
    /// Events were not put into this mailbox, for it is full; the room keeps them for a resume.
    Behind { participant: ParticipantId },
    /// What a resume in a room brings; `None` when `last_seq` was never sent.
    Resumed {
        participant: ParticipantId,
        resumption: Option<Resumption>,
    },
    /// Out of the room.
    Released {
        participant: ParticipantId,
        log: EventLog,
        cause: ReleaseCause,
    },
    /// The client has every event up to this number.
    Received { generation: Generation, seq: u64 },
    /// The room failed, and took the session's events with it.
    RoomGone { participant: ParticipantId },
    /// The room is another's now, or another run of it: says that it is here.
    Moved { participant: ParticipantId, room: RoomWay },
    /// The way to this node was broken and is there again.
    Linked(Member),
    /// The way to this node broke.
    Unlinked(Member),
    /// This node has lost touch with the others: its client finds its room at another.
    Fenced,
    /// This node no longer has the room; whoever has says so.
    Adrift { participant: ParticipantId, epoch: u64 },
    /// The room is another node's now.
    Elsewhere {
        participant: ParticipantId,
        member: Member,
        epoch: u64,
    },
    /// Where the room is that could not be reached; `None`: it is nowhere.
    Sought {
        participant: ParticipantId,
        room: Option<RoomWay>,
        /// The ownership that was lost.
        epoch: u64,
    },
    /// Gives the session up to a node that its client is at now.
    Depart(oneshot::Sender<Departing>),
    /// What became of a `resume` whose session is, or was, on another node.
    Arrived(Box<Arrival>),
    /// Where an accepted invitation leads, or why nowhere.
    Accepting {
        reply: Reply,
        invite: InviteId,
        result: Result<Invited, Refusal>,
    },
    /// An operator looks.
    Inspect(Asked),
}

impl PeerMsg {
    /// The request that it is, if it is one.
    pub(crate) fn call(&self) -> Option<&Call> {
        match self {
            Self::Request { call, .. } | Self::Resume { call, .. } => Some(call),
            _ => None,
        }
    }
}

impl Named for PeerMsg {
    fn name(&self) -> &'static str {
        match self {
            Self::Request { .. } => "request",
            Self::Resume { .. } => "resume",
            Self::Refuse { .. } => "refuse",
            Self::SocketClosed { .. } => "socket_closed",
            Self::AuthTimeout => "auth_timeout",
            Self::Authenticated { .. } => "authenticated",
            Self::TakeOver(_) => "take_over",
            Self::NotTaken { .. } => "not_taken",
            Self::Taken => "taken",
            Self::GraceOver(_) => "grace_over",
            Self::Notify(_) => "notify",
            Self::Drain(_) => "drain",
            Self::Answer { .. } => "answer",
            Self::Admitted { .. } => "admitted",
            Self::Refused { .. } => "refused",
            Self::Deliver { .. } => "deliver",
            Self::Behind { .. } => "behind",
            Self::Resumed { .. } => "resumed",
            Self::Released { .. } => "released",
            Self::RoomGone { .. } => "room_gone",
            Self::Moved { .. } => "moved",
            Self::Linked(_) => "linked",
            Self::Unlinked(_) => "unlinked",
            Self::Fenced => "fenced",
            Self::Received { .. } => "received",
            Self::Adrift { .. } => "adrift",
            Self::Elsewhere { .. } => "elsewhere",
            Self::Sought { .. } => "sought",
            Self::Depart(_) => "depart",
            Self::Arrived(_) => "arrived",
            Self::Accepting { .. } => "accepting",
            Self::Inspect(_) => "inspect",
        }
    }
}

impl Inspected for PeerMsg {
    fn inspect(asked: Asked) -> Self {
        Self::Inspect(asked)
    }
}

/// Held by whoever has yet to do its part of a drain.
#[derive(Debug, Clone)]
pub(crate) struct DrainGuard(
    #[allow(dead_code, reason = "its end is what counts")] pub(crate) tokio::sync::mpsc::Sender<()>,
);

/// A socket on its way to the session it continues. Dropped on the way, it goes back: that session is over.
#[derive(Debug)]
pub(crate) struct TakeOver(Option<Box<Yielded>>);

/// A socket, and the `resume` that came over it.
#[derive(Debug)]
pub(crate) struct Yielded {
    pub(crate) socket: Socket,
    /// The session that the socket came with.
    pub(crate) from: Mailbox<PeerMsg>,
    pub(crate) id: Option<RequestId>,
    pub(crate) last_seq: u64,
    pub(crate) settled: oneshot::Sender<()>,
    /// Held until the client is answered.
    pub(crate) _credit: Option<OwnedSemaphorePermit>,
}

impl TakeOver {
    pub(super) fn new(yielded: Yielded) -> Self {
        Self(Some(Box::new(yielded)))
    }

    pub(super) fn last_seq(&self) -> u64 {
        self.0.as_ref().map_or(0, |yielded| yielded.last_seq)
    }

    /// Keeps the socket.
    pub(super) fn arrived(mut self) -> Option<Box<Yielded>> {
        self.0.take()
    }

    /// Sends the socket back.
    pub(super) fn turn_back(mut self, refusal: Refusal) {
        self.send_back(refusal);
    }

    fn send_back(&mut self, refusal: Refusal) {
        if let Some(yielded) = self.0.take() {
            // A socket whose own session is gone closes.
            yielded.from.clone().post(PeerMsg::NotTaken { yielded, refusal });
        }
    }
}

impl Drop for TakeOver {
    fn drop(&mut self) {
        self.send_back(Refusal::new(ErrorCode::ResumeExpired, "the session is over"));
    }
}
