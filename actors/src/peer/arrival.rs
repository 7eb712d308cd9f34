//! A session between nodes: fetched from where its client was before, given up to where it is now, and in touch again
//! with a room that moved or could not be reached.

use caside_protocol::claims::Claims;
use caside_protocol::client::{RequestId, Resume};
use caside_protocol::error::{ErrorCode, Refusal, close};
use caside_protocol::node::{Departing, DepartingPlace, Member, Resumption};
use caside_protocol::{ParticipantId, RoomId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Instrument;

use super::actor::{Deferred, Session};
use super::link::PeerLink;
use super::message::{Generation, PeerMsg};
use super::place::Place;
use super::reply::Reply;
use super::requests::speaks_for_user;
use super::resume::{expired, never_sent, outside};
use super::sessions::{TokenHash, home_of};
use crate::gateway;
use crate::room::{Contact, EventLog, Order, RoomWay};
use crate::trace;

/// What became of a `resume` whose session is, or was, on another node.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// `None`: looking for it failed, and that has been answered.
    pub(crate) request: Option<(Reply, oneshot::Sender<()>)>,
    pub(crate) last_seq: u64,
    pub(crate) result: Result<Found, Refusal>,
}

/// A session of another node.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) claims: Claims,
    pub(crate) place: FoundPlace,
    /// The last event that went to the client.
    pub(crate) sent: u64,
}

/// Where it is.
#[derive(Debug)]
pub(crate) enum FoundPlace {
    Outside(EventLog),
    Inside { participant: ParticipantId, room: RoomWay },
}

/// A `resume` that is answered when the room has said what was missed.
#[derive(Debug)]
pub(crate) struct Landing {
    generation: Generation,
    id: Option<RequestId>,
    last_seq: u64,
    /// Dropped when the socket has its session.
    _settled: oneshot::Sender<()>,
    /// Held until the client is answered.
    _credit: Option<OwnedSemaphorePermit>,
}

impl Session {
    // ---- to here --------------------------------------------------------------------------------------------------

    /// The token is not known here: its session is, or was, on another node.
    pub(super) fn look_elsewhere(&mut self, reply: Reply, resume: Resume, settled: oneshot::Sender<()>) {
        let hash = TokenHash::of(&resume.resume_token);
        let home = home_of(&resume.resume_token).filter(|_| self.shared.gateway.is_in_company());
        let Some(home) = home.or_else(|| {
            self.shared
                .gateway
                .is_orphan(hash)
                .then(|| self.shared.args.member.clone())
        }) else {
            return self.answer(reply, expired());
        };
        if self.claims.is_some() && !matches!(&self.place, Place::Outside(log) if log.last() == 0) {
            let text = "this socket's session has begun; resume on a new socket";
            return self.answer(reply, Refusal::new(ErrorCode::AlreadyJoined, text));
        }
        self.arriving = true;
        self.cancel_timer();
        let (myself, shared, session) = (self.myself.clone(), self.shared.clone(), self.id);
        let looking = async move {
            let promise = myself.promise(PeerMsg::Arrived(Box::new(Arrival {
                request: None,
                last_seq: 0,
                result: Err(Refusal::new(ErrorCode::Internal, "looking for the session failed")),
            })));
            let result = gateway::fetch(&shared, session, home, hash).await;
            promise.keep(PeerMsg::Arrived(Box::new(Arrival {
                request: Some((reply, settled)),
                last_seq: resume.last_seq,
                result,
            })));
        };
        tokio::spawn(looking.instrument(trace::step!("session.fetch")));
    }

    /// The session is here, or nowhere.
    pub(super) fn arrived(&mut self, arrival: Arrival) {
        self.arriving = false;
        let Arrival {
            request,
            last_seq,
            result,
        } = arrival;
        match (request, result) {
            (Some((reply, settled)), Ok(found)) => self.adopt(found, reply, last_seq, settled),
            (request, result) => {
                if let (Some((reply, _)), Err(refusal)) = (request, result) {
                    self.answer(reply, refusal);
                }
                if self.claims.is_none() {
                    self.set_timer(self.shared.args.limits.auth_timeout, |_| PeerMsg::AuthTimeout);
                }
            }
        }
        if self.socket.is_none() {
            self.without_socket();
        }
        self.settle();
    }

    /// This session is the one that was fetched, from here on.
    fn adopt(&mut self, found: Found, reply: Reply, last_seq: u64, settled: oneshot::Sender<()>) {
        let reachable = speaks_for_user(&found.claims).then(|| found.claims.sub.clone());
        self.claims = Some(Box::new(found.claims));
        self.last_seq = found.sent;
        self.reachable(reachable);
        let (generation, id, credit) = reply.into_parts();
        let landing = Landing {
            generation,
            id,
            last_seq,
            _settled: settled,
            _credit: credit,
        };
        match found.place {
            FoundPlace::Outside(log) => {
                self.place = Place::Outside(log);
                self.land_outside(landing);
            }
            FoundPlace::Inside { participant, room } => {
                self.place = Place::Inside {
                    participant,
                    room: room.clone(),
                };
                self.landing = Some(landing);
                self.ask_for_missed(participant, &room, last_seq);
            }
        }
    }

    /// The room has said what was missed.
    pub(super) fn landed(&mut self, landing: Landing, resumption: Option<Resumption>) {
        match resumption {
            Some(resumption) if landing.generation == self.generation => {
                let reset = resumption.reset.is_some();
                self.bring_up_to_date(landing.id, resumption, reset);
            }
            Some(resumption) => self.last_seq = resumption.last,
            None => self.strand(landing),
        }
        self.settle();
    }

    /// Answers a `resume` of a session that is in no room.
    pub(super) fn land_outside(&mut self, landing: Landing) {
        let Place::Outside(log) = &mut self.place else { return };
        match log.resume(landing.last_seq) {
            Ok(missed) => {
                let (resumption, reset) = outside(missed, log.last());
                self.bring_up_to_date(landing.id, resumption, reset);
            }
            Err(_) => self.strand(landing),
        }
    }

    /// The client counts otherwise than we do: the socket goes, and the session waits for one that does not.
    fn strand(&mut self, landing: Landing) {
        self.write_answer(landing.generation, landing.id, &never_sent().into());
        if let Some(socket) = self.socket.take() {
            socket.close(close::POLICY, "bad_sequence");
            self.without_socket();
        }
    }

    // ---- from here ------------------------------------------------------------------------------------------------

    /// The client is at another node: what it has here goes there.
    pub(super) fn depart(&mut self, answer: oneshot::Sender<Departing>) {
        if self.is_busy() {
            return self.defer(Deferred::Message(PeerMsg::Depart(answer)));
        }
        let Some(claims) = self.claims.as_deref().filter(|_| self.resuming.is_none()).cloned() else {
            return self.registration.restore();
        };
        let empty = Place::Outside(EventLog::after(self.last_seq, 0));
        let place = match std::mem::replace(&mut self.place, empty) {
            Place::Outside(log) => DepartingPlace::Outside(log.state()),
            Place::Inside { participant, room } => {
                room.post(participant, Order::Departing);
                let owner = room.member().unwrap_or(&self.shared.args.member).clone();
                DepartingPlace::Inside {
                    room: room.id().clone(),
                    participant,
                    owner,
                    epoch: room.epoch(),
                }
            }
            between @ (Place::Joining { .. } | Place::Leaving { .. }) => {
                self.place = between;
                return;
            }
        };
        if let Some(socket) = self.socket.take() {
            socket.close_now(close::REPLACED, "replaced");
        }
        let departing = Departing {
            claims,
            place,
            last_seq: self.last_seq,
        };
        if answer.send(departing).is_err() {
            tracing::warn!(session.id = %self.id, "a session left for a node that no longer waits for it");
        }
        self.end();
    }

    // ---- a room that moves ----------------------------------------------------------------------------------------

    /// The room is another's, or another run of it.
    pub(super) fn moved(&mut self, participant: ParticipantId, room: RoomWay) {
        if !self.place.is_of(participant) {
            return;
        }
        match &mut self.place {
            Place::Inside { room: known, .. } if room.epoch() >= known.epoch() => {
                *known = room;
                self.say_here();
            }
            // The leave may not have come through.
            Place::Leaving { .. } => {
                room.post(participant, Order::Leave(None));
            }
            Place::Inside { .. } | Place::Outside(_) | Place::Joining { .. } => {}
        }
    }

    /// The room is another node's now, by the word of the one before.
    pub(super) fn elsewhere(&mut self, participant: ParticipantId, member: Member, epoch: u64) {
        if let Place::Inside { room, .. } = &self.place {
            let room = gateway::way(&self.shared, self.id, room.id(), member, epoch);
            self.moved(participant, room);
        }
    }

    /// The way to a node is there again: a room on it may have missed what was said meanwhile.
    pub(super) fn linked(&mut self, member: &Member) {
        if matches!(&self.place, Place::Inside { room, .. } if room.member() == Some(member)) {
            self.say_here();
        }
    }

    /// This node no longer has the room.
    pub(super) fn adrift(&mut self, participant: ParticipantId, epoch: u64) {
        if self.place.is_of(participant)
            && let Place::Inside { room, .. } = &self.place
            && room.epoch() == epoch
        {
            let room = room.id().clone();
            self.look_for(participant, room, epoch);
        }
    }

    /// The way to a node broke. Whoever has its rooms then says so; unless that is lost, which is looked after.
    pub(super) fn unlinked(&mut self, member: &Member) {
        let (participant, room) = match &self.place {
            Place::Inside { participant, room } if room.member() == Some(member) => (*participant, room),
            _ => return,
        };
        let (room, epoch) = (room.id().clone(), room.epoch());
        self.look_for(participant, room, epoch);
    }

    /// This node can do nothing for its client, which comes back by another.
    pub(super) fn fenced(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.close(close::GOING_AWAY, "going_away");
            self.without_socket();
        }
    }

    fn look_for(&self, participant: ParticipantId, room: RoomId, epoch: u64) {
        let (shared, myself, session) = (self.shared.clone(), self.myself.clone(), self.id);
        tokio::spawn(async move {
            let promise = myself.promise(PeerMsg::Sought {
                participant,
                room: None,
                epoch,
            });
            let room = gateway::seek(&shared, session, &room, epoch).await;
            promise.keep(PeerMsg::Sought {
                participant,
                room,
                epoch,
            });
        });
    }

    /// What looking after it brought.
    pub(super) fn sought(&mut self, participant: ParticipantId, found: Option<RoomWay>, epoch: u64) {
        let is_known = matches!(&self.place, Place::Inside { room, .. } if room.epoch() > epoch);
        match found {
            _ if is_known => {}
            Some(room) => self.moved(participant, room),
            None => self.room_gone(participant),
        }
    }

    /// Tells the room that the session is there, and what its client has seen.
    fn say_here(&mut self) {
        let Place::Inside { participant, room } = &self.place else {
            return;
        };
        let (participant, room) = (*participant, room.clone());
        if let Some(landing) = &self.landing {
            let last_seq = landing.last_seq;
            return self.ask_for_missed(participant, &room, last_seq);
        }
        if let Some(takeover) = &self.resuming {
            let last_seq = takeover.last_seq();
            return self.ask_for_missed(participant, &room, last_seq);
        }
        if let Some(credentials) = self.credentials() {
            let link = PeerLink::new(self.myself.clone(), participant);
            let here = Order::Here {
                last_seq: self.last_seq,
                connected: self.socket.is_some(),
                contact: Box::new(Contact {
                    session: self.id,
                    link,
                    credentials,
                }),
            };
            room.post(participant, here);
        }
    }
}
