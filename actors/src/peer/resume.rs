//! A session's next socket. The socket comes with a session of its own, which hands it to the one it continues.

use caside_protocol::ParticipantId;
use caside_protocol::client::{ClientMessage, Request, RequestId};
use caside_protocol::codec::Tag;
use caside_protocol::error::{ErrorCode, Refusal, close};
use caside_protocol::node::Resumption;
use caside_protocol::server::{Resumed, ServerMessage};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::actor::Session;
use super::link::PeerLink;
use super::message::{PeerMsg, TakeOver, Yielded};
use super::place::Place;
use super::reply::Reply;
use super::requests::overloaded;
use super::sessions::TokenHash;
use crate::mailbox::Overloaded;
use crate::room::{Contact, Missed, Order, RoomWay};
use crate::trace::Call;

impl Session {
    // ---- the socket's own session ---------------------------------------------------------------------------------

    pub(super) fn continue_another(
        &mut self,
        request: Request,
        credit: OwnedSemaphorePermit,
        call: Call,
        settled: oneshot::Sender<()>,
    ) {
        let Request {
            id,
            message: ClientMessage::Resume(resume),
            ..
        } = request
        else {
            return;
        };
        let reply = Reply::new(self.myself.clone(), self.generation, id, credit, call);
        if matches!(self.place, Place::Inside { .. }) {
            let text = "this socket's session is in a room; resume on a new socket";
            return self.answer(reply, Refusal::new(ErrorCode::AlreadyJoined, text));
        }
        let Some(other) = self.shared.sessions.redeem(&TokenHash::of(&resume.resume_token)) else {
            return self.look_elsewhere(reply, resume, settled);
        };
        if other.same_as(&self.myself) {
            self.registration.restore();
            let text = "this socket has that session; resume on a new one";
            return self.answer(reply, Refusal::new(ErrorCode::InvalidPayload, text));
        }
        let Some(socket) = self.socket.take() else { return };
        self.yielding = true;
        let (_, id, _credit) = reply.into_parts();
        let (from, last_seq) = (self.myself.clone(), resume.last_seq);
        let takeover = TakeOver::new(Yielded {
            socket,
            from,
            id,
            last_seq,
            settled,
            _credit,
        });
        if let Err(Overloaded(PeerMsg::TakeOver(takeover))) = other.send(PeerMsg::TakeOver(takeover)) {
            takeover.turn_back(if other.depth() > 0 { overloaded() } else { expired() });
        }
    }

    /// The socket is back: its own session goes on.
    pub(super) fn not_taken(&mut self, yielded: Yielded, refusal: Refusal) {
        self.yielding = false;
        let closed = yielded.socket.route.lead_to(self.myself.clone(), self.generation);
        self.socket = Some(yielded.socket);
        self.write_answer(self.generation, yielded.id, &refusal.into());
        if self.claims.is_none() {
            self.set_timer(self.shared.args.limits.auth_timeout, |_| PeerMsg::AuthTimeout);
        }
        if let Some(how) = closed {
            self.socket_closed(how);
        }
    }

    // ---- the session that is continued ----------------------------------------------------------------------------

    pub(super) fn taken_over(&mut self, takeover: TakeOver) {
        if self.is_busy() {
            return self.defer_takeover(takeover);
        }
        let last_seq = takeover.last_seq();
        match &mut self.place {
            Place::Outside(log) => match log.resume(last_seq) {
                Ok(missed) => {
                    let (resumption, reset) = outside(missed, log.last());
                    self.continue_on(takeover, resumption, reset);
                }
                Err(_) => self.turn_back(takeover, never_sent()),
            },
            Place::Inside { participant, room } => {
                // A room that is gone is about to say so; then the session's own log decides.
                let (participant, room) = (*participant, room.clone());
                self.resuming = Some(takeover);
                self.ask_for_missed(participant, &room, last_seq);
            }
            Place::Joining { .. } | Place::Leaving { .. } => self.defer_takeover(takeover),
        }
    }

    pub(super) fn room_resumed(&mut self, participant: ParticipantId, resumption: Option<Resumption>) {
        if !self.place.is_of(participant) {
            return;
        }
        if let Some(landing) = self.landing.take() {
            return self.landed(landing, resumption);
        }
        let Some(takeover) = self.resuming.take() else { return };
        match resumption {
            Some(resumption) => {
                let reset = resumption.reset.is_some();
                self.continue_on(takeover, resumption, reset);
            }
            None => self.turn_back(takeover, never_sent()),
        }
    }

    /// The new socket takes the old one's place, and gets what was missed before anything else.
    fn continue_on(&mut self, takeover: TakeOver, resumption: Resumption, reset: bool) {
        let Some(yielded) = takeover.arrived() else { return };
        let Yielded {
            socket,
            from,
            id,
            settled,
            ..
        } = *yielded;
        self.generation += 1;
        if let Some(old) = self.socket.take() {
            old.close_now(close::REPLACED, "replaced");
        }
        self.cancel_timer();
        let closed = socket.route.lead_to(self.myself.clone(), self.generation);
        self.socket = Some(socket);
        self.bring_up_to_date(id, resumption, reset);
        from.post(PeerMsg::Taken);
        drop(settled);
        if let Some(how) = closed {
            self.socket_closed(how);
        }
    }

    /// Has the room say what was missed.
    pub(super) fn ask_for_missed(&mut self, participant: ParticipantId, room: &RoomWay, last_seq: u64) {
        if let Some(credentials) = self.credentials() {
            let link = PeerLink::new(self.myself.clone(), participant);
            let session = self.id;
            let contact = Box::new(Contact {
                session,
                link,
                credentials,
            });
            room.post(participant, Order::Resume { last_seq, contact });
        }
    }

    /// Answers a `resume`, and says what was missed before anything else.
    pub(super) fn bring_up_to_date(&mut self, id: Option<RequestId>, resumption: Resumption, reset: bool) {
        self.last_seq = resumption.last;
        let (room_state, you) = resumption.reset.map(|reset| *reset).unzip();
        let resumed = Resumed {
            resume_token: self.registration.rotate(),
            participant_id: self.place.participant(),
            reset,
            ice_servers: self.ice_servers(),
            room_state,
            you,
        };
        self.write_answer(self.generation, id, &ServerMessage::Resumed(Box::new(resumed)));
        for (seq, message) in resumption.events {
            self.write(&Tag::Event(seq), &message);
        }
        if reset && let Some(user) = self.reachable_user() {
            // What rings or waits may have been among what is gone.
            self.greet(user);
        }
        self.tell_credentials();
    }

    /// The socket goes back to its own session. The token stays good: it was not used.
    pub(super) fn turn_back(&mut self, takeover: TakeOver, refusal: Refusal) {
        self.registration.restore();
        takeover.turn_back(refusal);
        if self.socket.is_none() {
            self.without_socket();
        }
    }
}

/// What a session outside of rooms missed, and whether that is no longer known.
pub(super) fn outside(missed: Missed, last: u64) -> (Resumption, bool) {
    let (events, reset) = match missed {
        Missed::Events(events) => (events, false),
        Missed::Gone => (Vec::new(), true),
    };
    let resumption = Resumption {
        reset: None,
        events,
        last,
    };
    (resumption, reset)
}

pub(super) fn expired() -> Refusal {
    Refusal::new(
        ErrorCode::ResumeExpired,
        "the resume token was used, or its session is over",
    )
}

pub(super) fn never_sent() -> Refusal {
    Refusal::new(ErrorCode::BadSequence, "last_seq names an event that was never sent")
}
