//! A session's membership: let into a room or kept out, told its events, released, or left behind by a room that failed.

use std::sync::Arc;

use caside_protocol::codec::Tag;
use caside_protocol::error::{ErrorCode, Refusal, close};
use caside_protocol::explain::Stage;
use caside_protocol::node::ReleaseCause;
use caside_protocol::server::{Joined, ServerMessage};
use caside_protocol::{InviteId, ParticipantId, RoomId};

use super::actor::{Deferred, Session};
use super::message::{Generation, PeerMsg};
use super::place::Place;
use super::reply::Reply;
use crate::invites::InvitesMsg;
use crate::refused::{self, Reason};
use crate::room::{EventLog, Order, RoomWay};

impl Session {
    pub(super) fn admitted(&mut self, participant: ParticipantId, room: RoomWay, reply: Reply, joined: Box<Joined>) {
        let invite = match &self.place {
            Place::Joining { invite, .. } if self.place.is_of(participant) => *invite,
            // It is no longer at that door.
            _ => {
                room.post(participant, Order::Gone);
                return;
            }
        };
        self.told_invite(invite, true);
        self.place = Place::Inside { participant, room };
        self.answer(reply, ServerMessage::Joined(joined));
        self.settle();
    }

    pub(super) fn kept_out(&mut self, participant: ParticipantId, reply: Reply, refusal: Refusal, log: EventLog) {
        let Place::Joining { invite, room, .. } = &self.place else {
            return;
        };
        if !self.place.is_of(participant) {
            return;
        }
        self.turned_away(room, &refusal);
        self.told_invite(*invite, false);
        self.place = Place::Outside(log);
        if refusal.code == ErrorCode::RoomFull {
            refused::count(Reason::RoomFull);
        }
        self.answer(reply, refusal);
        self.settle();
    }

    /// Remembers who was not let in, and why: of that no room can tell.
    pub(super) fn turned_away(&self, room: &RoomId, refusal: &Refusal) {
        let user = self.claims.as_deref().map(|claims| &claims.sub);
        self.shared.turned_away(Stage::Join, Some(room), user, refusal);
    }

    /// Says whether an invitation that was taken led into its room.
    fn told_invite(&self, invite: Option<InviteId>, entered: bool) {
        if let Some(invite) = invite {
            self.shared.invites().post(InvitesMsg::Taken {
                invite,
                session: self.id,
                entered,
                is_known: false,
            });
        }
    }

    pub(super) fn deliver(&mut self, participant: ParticipantId, epoch: u64, seq: u64, message: &ServerMessage) {
        if !self.place.is_of(participant) {
            return;
        }
        // The room's owner of before; the one of now says it again.
        if matches!(&self.place, Place::Inside { room, .. } if room.epoch() > epoch) {
            return;
        }
        // What came between was left out when this mailbox, or the way from the room's node, was full.
        if seq != self.last_seq + 1 {
            return self.slow_consumer();
        }
        self.last_seq = seq;
        self.write_event(seq, message);
    }

    /// What the client has need not be kept for its resume.
    pub(super) fn received(&mut self, generation: Generation, seq: u64) {
        if generation != self.generation {
            return;
        }
        match &mut self.place {
            Place::Outside(log) => log.received(seq),
            Place::Inside { participant, room } => {
                // Another one follows.
                room.post(*participant, Order::Received(seq));
            }
            Place::Joining { .. } | Place::Leaving { .. } => {}
        }
    }

    fn write_event(&mut self, seq: u64, message: &ServerMessage) {
        self.write(&Tag::Event(seq), message);
        if matches!(message, ServerMessage::Goodbye(_)) {
            if let Some(socket) = self.socket.take() {
                socket.close(close::GOING_AWAY, "going_away");
            }
            self.without_socket();
        }
    }

    /// An event from outside of rooms; numbered by whoever has the log.
    pub(super) fn notify(&mut self, message: Arc<ServerMessage>) {
        match &mut self.place {
            Place::Outside(log) => {
                self.last_seq = log.push(message.clone());
                self.write_event(self.last_seq, &message);
            }
            Place::Inside { participant, room } => {
                if room.send(*participant, Order::Post(message)).is_err() {
                    tracing::warn!(room.id = %room.id(), "an event was dropped: the room is overloaded or gone");
                }
            }
            Place::Joining { .. } | Place::Leaving { .. } => {
                self.defer(Deferred::Message(PeerMsg::Notify(message)));
            }
        }
    }

    pub(super) fn released(&mut self, participant: ParticipantId, log: EventLog, cause: ReleaseCause) {
        if !self.place.is_of(participant) {
            return;
        }
        self.last_seq = log.last();
        self.place = Place::Outside(log);
        match cause {
            ReleaseCause::Kicked => {
                self.registration.forget_token();
                if let Some(socket) = self.socket.take() {
                    socket.close(close::KICKED, "kicked");
                }
                self.end_with_resume();
            }
            ReleaseCause::GraceOver => self.end_with_resume(),
            ReleaseCause::Closed if self.socket.is_none() => self.end_with_resume(),
            ReleaseCause::Left | ReleaseCause::CallEnded | ReleaseCause::Closed => {
                self.follow_outside();
            }
        }
    }

    /// The session is in no room any more, whose word on a `resume` was waited for.
    fn follow_outside(&mut self) {
        if let Some(landing) = self.landing.take() {
            self.land_outside(landing);
        }
        if let Some(takeover) = self.resuming.take() {
            self.taken_over(takeover);
        }
        self.settle();
    }

    /// Ends the session; a socket that was about to continue it came too late.
    fn end_with_resume(&mut self) {
        if let Some(takeover) = self.resuming.take() {
            self.turn_back(takeover, Refusal::new(ErrorCode::ResumeExpired, "the session is over"));
        }
        self.registration.forget_token();
        self.end();
    }

    /// The room failed with the session's events: numbers go on after the last one that came by.
    pub(super) fn room_gone(&mut self, participant: ParticipantId) {
        if !self.place.is_of(participant) {
            return;
        }
        if let Place::Joining { invite, .. } = &self.place {
            self.told_invite(*invite, false);
        }
        self.place = Place::Outside(EventLog::after(self.last_seq, self.shared.args.limits.history));
        let refusal = Refusal::new(ErrorCode::Internal, "the room failed; join again");
        self.notify(Arc::new(refusal.into()));
        self.follow_outside();
    }
}
