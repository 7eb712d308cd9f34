//! What a session is told, and the guards that tell it when whoever was to answer is gone.

use std::sync::Arc;

use caside_protocol::claims::Claims;
use caside_protocol::client::{Request, RequestId};
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::server::{Joined, ServerMessage};
use caside_protocol::{InviteId, ParticipantId, RoomId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::SocketClosed;
use super::socket::Socket;
use crate::mailbox::{Mailbox, Named};
use crate::room::{EventLog, ReleaseCause, Resumption, RoomHandle};

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
    },
    /// A `resume`, on a socket whose own session this is.
    Resume {
        generation: Generation,
        request: Box<Request>,
        credit: OwnedSemaphorePermit,
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
        room: RoomHandle,
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
    /// The room failed, and took the session's events with it.
    RoomGone { participant: ParticipantId },
    /// Where an accepted invitation leads, or why nowhere.
    Accepting {
        reply: Reply,
        invite: InviteId,
        result: Result<RoomId, Refusal>,
    },
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
            Self::Accepting { .. } => "accepting",
        }
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

/// The answer that a request awaits. Dropped unanswered, it answers `internal`: whoever had it failed.
#[derive(Debug)]
pub(crate) struct Reply {
    to: Option<(Mailbox<PeerMsg>, Generation, Option<RequestId>)>,
    /// Bounds the requests under way.
    credit: Option<OwnedSemaphorePermit>,
}

impl Reply {
    pub(crate) fn new(
        peer: Mailbox<PeerMsg>,
        generation: Generation,
        id: Option<RequestId>,
        credit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            to: Some((peer, generation, id)),
            credit: Some(credit),
        }
    }

    /// Answers by the session's mailbox, behind the events that are there already.
    pub(crate) fn answer(mut self, message: impl Into<ServerMessage>) {
        self.send(message.into());
    }

    /// Takes the answer's address: for the session itself, which writes without its mailbox.
    pub(super) fn into_address(mut self) -> (Generation, Option<RequestId>) {
        self.to.take().map_or((0, None), |(_, generation, id)| (generation, id))
    }

    /// Takes it apart, for a request that is answered by another session.
    pub(super) fn into_parts(mut self) -> (Option<RequestId>, Option<OwnedSemaphorePermit>) {
        (self.to.take().and_then(|(_, _, id)| id), self.credit.take())
    }

    fn send(&mut self, message: ServerMessage) {
        if let Some((peer, generation, id)) = self.to.take() {
            // A session that is gone needs no answer.
            peer.post(PeerMsg::Answer {
                generation,
                id,
                message,
            });
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.send(
            Refusal::new(
                ErrorCode::Internal,
                "the request was lost by a failure of ours; try again",
            )
            .into(),
        );
    }
}

/// A room's way to one participant's session. Dropped without [`PeerLink::release`], it says that the room is gone.
#[derive(Debug)]
pub(crate) struct PeerLink {
    peer: Mailbox<PeerMsg>,
    participant: ParticipantId,
    behind: bool,
    armed: bool,
}

/// The session is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerGone;

impl PeerLink {
    pub(crate) fn new(peer: Mailbox<PeerMsg>, participant: ParticipantId) -> Self {
        Self {
            peer,
            participant,
            behind: false,
            armed: true,
        }
    }

    /// Sends an event. A session that is behind gets none until it resumes; the room's log has them.
    pub(crate) fn deliver(&mut self, seq: u64, message: Arc<ServerMessage>) -> Result<(), PeerGone> {
        if self.behind {
            return Ok(());
        }
        let participant = self.participant;
        if self
            .peer
            .send(PeerMsg::Deliver {
                participant,
                seq,
                message,
            })
            .is_ok()
        {
            return Ok(());
        }
        self.behind = true;
        self.post(PeerMsg::Behind { participant })
    }

    /// The session.
    pub(crate) fn peer(&self) -> &Mailbox<PeerMsg> {
        &self.peer
    }

    /// Sends what must not be lost and is bounded by what the session asked for.
    pub(crate) fn post(&self, message: PeerMsg) -> Result<(), PeerGone> {
        if self.peer.post(message) { Ok(()) } else { Err(PeerGone) }
    }

    /// What was missed goes out with this answer; events flow again behind it.
    pub(crate) fn resumed(&mut self, resumption: Option<Resumption>) -> Result<(), PeerGone> {
        if resumption.is_some() {
            self.behind = false;
        }
        self.post(PeerMsg::Resumed {
            participant: self.participant,
            resumption,
        })
    }

    /// Says that the session is out of the room.
    pub(crate) fn release(mut self, log: EventLog, cause: ReleaseCause) {
        self.armed = false;
        // A session that is gone need not know.
        self.peer.post(PeerMsg::Released {
            participant: self.participant,
            log,
            cause,
        });
    }

    /// Says that the session was not let in.
    pub(crate) fn refuse(mut self, reply: Reply, refusal: Refusal, log: EventLog) {
        self.armed = false;
        self.peer.post(PeerMsg::Refused {
            participant: self.participant,
            reply,
            refusal,
            log,
        });
    }
}

impl Drop for PeerLink {
    fn drop(&mut self) {
        if self.armed {
            self.peer.post(PeerMsg::RoomGone {
                participant: self.participant,
            });
        }
    }
}
