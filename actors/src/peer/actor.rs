//! One session: its sockets, its user, its place, and what waits until it has settled somewhere.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use caside_protocol::claims::Claims;
use caside_protocol::client::{ClientMessage, Request, RequestId};
use caside_protocol::codec::Tag;
use caside_protocol::error::close;
use caside_protocol::server::{Goodbye, ServerMessage};
use caside_protocol::{ParticipantId, SessionId};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::arrival::Landing;
use super::message::{DrainGuard, Generation, PeerMsg, TakeOver};
use super::place::Place;
use super::reply::Reply;
use super::sessions::Registration;
use super::socket::{Route, Socket};
use super::{PeerHandle, SocketClosed};
use crate::audit::Act;
use crate::mailbox::{Mailbox, Traced};
use crate::node::{SessionArgs, Shared};
use crate::observed::{Kind, Label, Seen};
use crate::room::{EventLog, Order};
use crate::trace::Call;

/// Messages that may wait for a session; a room beyond it waits for a resume.
const MAILBOX: usize = 2048;

/// What a session starts with.
pub(crate) struct PeerArgs {
    pub(crate) shared: Arc<Shared>,
    pub(crate) socket: SessionArgs,
    /// Given the socket's way to it.
    pub(crate) started: oneshot::Sender<PeerHandle>,
}

/// The actor.
pub(crate) struct Peer;

/// Its state.
pub(crate) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) id: SessionId,
    pub(super) myself: Mailbox<PeerMsg>,
    pub(super) registration: Registration,
    pub(super) socket: Option<Socket>,
    pub(super) generation: Generation,
    pub(super) claims: Option<Box<Claims>>,
    pub(super) client_ip: Option<IpAddr>,
    /// What its address counts as for limits; `None`: it is exempt.
    pub(super) limited_as: Option<IpAddr>,
    pub(super) place: Place,
    /// The last event that came by here: what numbers go on from when a room takes the log with it.
    pub(super) last_seq: u64,
    /// A token is being checked.
    pub(super) authenticating: bool,
    /// The socket is with the session that it may continue.
    pub(super) yielding: bool,
    /// The session that the socket may continue is being fetched from another node.
    pub(super) arriving: bool,
    /// The `resume` that is answered when the room of a session that arrived has said what was missed.
    pub(super) landing: Option<Landing>,
    /// The socket that continues this session, once the room has said what was missed.
    pub(super) resuming: Option<TakeOver>,
    /// What waits until the session has settled.
    pub(super) deferred: VecDeque<Deferred>,
    /// The client said goodbye while the session was between places.
    leaving_for_good: bool,
    draining: Option<DrainGuard>,
    pub(super) timer: Option<JoinHandle<()>>,
    over: bool,
    /// As whom it was last said to be in a room.
    pub(super) seen_as: Option<ParticipantId>,
    _seen: Seen,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a few, and only until the session has settled")]
pub(super) enum Deferred {
    Message(PeerMsg),
    TakeOver(TakeOver),
}

impl Actor for Peer {
    type Msg = Traced<PeerMsg>;
    type State = Session;
    type Arguments = PeerArgs;

    async fn pre_start(&self, actor: ActorRef<Traced<PeerMsg>>, args: PeerArgs) -> Result<Session, ActorProcessingErr> {
        let PeerArgs {
            shared,
            socket,
            started,
        } = args;
        let counters = shared.args.observed.counters(Kind::Peer).clone();
        let myself = Mailbox::new(actor, MAILBOX, counters);
        let (id, route) = (SessionId::new(), Route::new(myself.clone(), 0));
        let limits = &shared.args.limits;
        let handle = PeerHandle {
            route: route.clone(),
            credits: Arc::new(Semaphore::new(limits.credits)),
            session: id,
            patience: limits.call_timeout,
        };
        let mut session = Session {
            registration: Registration::new(shared.clone(), id, myself.clone()),
            id,
            socket: Some(Socket::new(socket.outbound, socket.dialect, route)),
            generation: 0,
            claims: None,
            client_ip: socket.client_ip,
            limited_as: socket.limited_as,
            place: Place::Outside(EventLog::after(0, limits.history)),
            last_seq: 0,
            authenticating: false,
            yielding: false,
            arriving: false,
            landing: None,
            resuming: None,
            deferred: VecDeque::new(),
            leaving_for_good: false,
            draining: None,
            timer: None,
            over: false,
            seen_as: None,
            _seen: myself.list(&shared.args.observed, Kind::Peer, Label::Session(id)),
            shared: shared.clone(),
            myself,
        };
        match socket.claims {
            Some(claims) => session.begin(claims, 0, None),
            None => session.set_timer(limits.auth_timeout, |_| PeerMsg::AuthTimeout),
        }
        started.send(handle).map_err(|_| "the socket is gone")?;
        Ok(session)
    }

    async fn handle(
        &self,
        actor: ActorRef<Traced<PeerMsg>>,
        message: Traced<PeerMsg>,
        session: &mut Session,
    ) -> Result<(), ActorProcessingErr> {
        message.handle(|message| session.take(message));
        session.say_where();
        if session.over {
            actor.stop(None);
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.cancel_timer();
        // Of a session that failed; others have left before, or go with their node and are resumed at another.
        if let Place::Inside { participant, room } = &self.place
            && !(self.shared.is_draining() && room.member().is_some())
        {
            room.post(*participant, Order::Gone);
        }
    }
}

impl Session {
    fn take(&mut self, message: PeerMsg) {
        match message {
            PeerMsg::Request { generation, .. } | PeerMsg::Resume { generation, .. }
                if generation != self.generation => {}
            PeerMsg::Request {
                generation,
                request,
                credit,
                call,
            } => self.request(generation, request, credit, call),
            message @ PeerMsg::Resume { .. } if self.is_busy() => self.defer(Deferred::Message(message)),
            PeerMsg::Resume {
                request,
                credit,
                call,
                settled,
                ..
            } => self.continue_another(*request, credit, call, settled),
            PeerMsg::Refuse {
                generation,
                id,
                refusal,
            } => self.write_answer(generation, id, &refusal.into()),
            PeerMsg::Answer {
                generation,
                id,
                message,
            } => self.write_answer(generation, id, &message),
            PeerMsg::SocketClosed { generation, how } if generation == self.generation => self.socket_closed(how),
            PeerMsg::SocketClosed { .. } => {}
            PeerMsg::AuthTimeout => self.auth_timeout(),
            PeerMsg::Authenticated { reply, result } => self.authenticated(reply, *result),
            PeerMsg::TakeOver(takeover) => self.taken_over(takeover),
            PeerMsg::NotTaken { yielded, refusal } => self.not_taken(*yielded, refusal),
            PeerMsg::Taken => self.end(),
            PeerMsg::GraceOver(generation) => {
                if generation == self.generation && self.socket.is_none() && matches!(self.place, Place::Outside(_)) {
                    self.end();
                }
            }
            PeerMsg::Notify(message) => self.notify(message),
            PeerMsg::Drain(guard) => self.drain(guard),
            PeerMsg::Admitted {
                participant,
                room,
                reply,
                joined,
            } => self.admitted(participant, room, reply, joined),
            PeerMsg::Refused {
                participant,
                reply,
                refusal,
                log,
            } => self.kept_out(participant, reply, refusal, log),
            PeerMsg::Deliver {
                participant,
                epoch,
                seq,
                message,
            } => self.deliver(participant, epoch, seq, &message),
            PeerMsg::Behind { participant } if self.place.is_of(participant) => self.slow_consumer(),
            PeerMsg::Behind { .. } => {}
            PeerMsg::Resumed {
                participant,
                resumption,
            } => self.room_resumed(participant, resumption),
            PeerMsg::Released {
                participant,
                log,
                cause,
            } => self.released(participant, log, cause),
            PeerMsg::RoomGone { participant } => self.room_gone(participant),
            PeerMsg::Moved { participant, room } => self.moved(participant, room),
            PeerMsg::Linked(member) => self.linked(&member),
            PeerMsg::Unlinked(member) => self.unlinked(&member),
            PeerMsg::Fenced => self.fenced(),
            PeerMsg::Received { generation, seq } => self.received(generation, seq),
            PeerMsg::Adrift { participant, epoch } => self.adrift(participant, epoch),
            PeerMsg::Elsewhere {
                participant,
                member,
                epoch,
            } => self.elsewhere(participant, member, epoch),
            PeerMsg::Sought {
                participant,
                room,
                epoch,
            } => self.sought(participant, room, epoch),
            PeerMsg::Depart(answer) => self.depart(answer),
            PeerMsg::Arrived(arrival) => self.arrived(*arrival),
            PeerMsg::Accepting { reply, invite, result } => self.accepting(reply, invite, result),
            PeerMsg::Inspect(asked) => asked.answer(self.inspect()),
        }
    }

    fn request(&mut self, generation: Generation, request: Box<Request>, credit: OwnedSemaphorePermit, call: Call) {
        if self.is_busy() && request.message != ClientMessage::Ping {
            return self.defer(Deferred::Message(PeerMsg::Request {
                generation,
                request,
                credit,
                call,
            }));
        }
        let Request { id, message, .. } = *request;
        let act = Act::of_message(&message).map(|act| self.by_client(act, id.as_ref()));
        let reply = Reply::new(self.myself.clone(), generation, id, credit, call);
        let reply = match act {
            Some(act) => reply.audited(act),
            None => reply,
        };
        self.asked(reply, message);
    }

    // ---- between places -------------------------------------------------------------------------------------------

    /// Whether requests wait: what they mean depends on where the session will be.
    pub(super) fn is_busy(&self) -> bool {
        self.authenticating || self.arriving || self.landing.is_some() || self.place.is_between()
    }

    /// Bounded by the credits of the requests in it.
    pub(super) fn defer(&mut self, deferred: Deferred) {
        self.deferred.push_back(deferred);
    }

    /// Takes up what waited.
    pub(super) fn settle(&mut self) {
        if self.leaving_for_good && !self.is_busy() {
            return self.say_farewell();
        }
        if !self.is_busy() && self.socket.is_none() && !self.yielding {
            self.without_socket();
        }
        while !self.is_busy() && !self.over {
            match self.deferred.pop_front() {
                Some(Deferred::Message(message)) => match message.call().map(|call| call.span().clone()) {
                    Some(span) => span.in_scope(|| self.take(message)),
                    None => self.take(message),
                },
                Some(Deferred::TakeOver(takeover)) => self.taken_over(takeover),
                None => {
                    self.deferred = VecDeque::new();
                    return;
                }
            }
        }
    }

    /// A socket that continues this session waits until it has settled.
    pub(super) fn defer_takeover(&mut self, takeover: TakeOver) {
        self.defer(Deferred::TakeOver(takeover));
    }

    // ---- the socket -----------------------------------------------------------------------------------------------

    /// An answer to what came over an earlier socket is dropped: its client has given it up.
    pub(super) fn write_answer(&mut self, generation: Generation, id: Option<RequestId>, message: &ServerMessage) {
        if generation == self.generation {
            self.write(&Tag::Answer(id), message);
        }
    }

    /// Answers without the detour by the mailbox.
    pub(super) fn answer(&mut self, mut reply: Reply, message: impl Into<ServerMessage>) {
        let message = message.into();
        reply.write_down(&message);
        reply.call().answered(&message);
        let (generation, id) = reply.into_address();
        self.write_answer(generation, id, &message);
    }

    pub(super) fn write(&mut self, tag: &Tag, message: &ServerMessage) {
        if let Some(socket) = &self.socket
            && socket.write(tag, message).is_err()
        {
            self.slow_consumer();
        }
    }

    /// What was not written waits for the resume.
    pub(super) fn slow_consumer(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.close_now(close::POLICY, "slow_consumer");
            self.without_socket();
        }
    }

    pub(super) fn socket_closed(&mut self, how: SocketClosed) {
        // We closed it ourselves, which has had its consequences, or it is with another session, which hears of this.
        if self.socket.take().is_none() {
            return;
        }
        match how {
            SocketClosed::Clean if self.resuming.is_none() => self.say_farewell(),
            SocketClosed::Clean | SocketClosed::Dropped => self.without_socket(),
        }
    }

    /// The grace time begins: kept by the room while the session is in one. Not when the next socket is here already.
    pub(super) fn without_socket(&mut self) {
        self.draining = None;
        match &self.place {
            _ if self.resuming.is_some() || self.arriving => {}
            _ if self.claims.is_none() => self.end(),
            Place::Inside { participant, room } => {
                // A node that cannot be reached counts the session as lost in any case.
                room.post(*participant, Order::Lost);
            }
            Place::Outside(_) => self.set_timer(self.shared.args.limits.grace, PeerMsg::GraceOver),
            Place::Joining { .. } | Place::Leaving { .. } => {}
        }
    }

    /// The client left on purpose.
    fn say_farewell(&mut self) {
        match &self.place {
            Place::Outside(_) => self.end(),
            Place::Inside { participant, room } => {
                let participant = *participant;
                room.post(participant, Order::Leave(None));
                self.place = Place::Leaving { participant };
                self.leaving_for_good = true;
            }
            Place::Joining { .. } | Place::Leaving { .. } => self.leaving_for_good = true,
        }
    }

    pub(super) fn end(&mut self) {
        self.over = true;
    }

    pub(super) fn set_timer(&mut self, after: Duration, message: fn(Generation) -> PeerMsg) {
        self.cancel_timer();
        let (myself, generation) = (self.myself.clone(), self.generation);
        self.timer = Some(tokio::spawn(async move {
            tokio::time::sleep(after).await;
            myself.post(message(generation));
        }));
    }

    pub(super) fn cancel_timer(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
    }

    // ---- the node goes --------------------------------------------------------------------------------------------

    fn drain(&mut self, guard: DrainGuard) {
        if self.is_busy() {
            return self.defer(Deferred::Message(PeerMsg::Drain(guard)));
        }
        if self.socket.is_none() {
            return;
        }
        self.draining = Some(guard);
        let retry_after_ms = self.shared.retry_after_ms();
        self.notify(Arc::new(ServerMessage::Goodbye(Goodbye {
            reason: "draining".to_owned(),
            retry_after_ms,
        })));
    }
}
