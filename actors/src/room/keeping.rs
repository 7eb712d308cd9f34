//! A room's life beyond one node: kept for whoever would take it over, taken over, handed over, and let go.

use std::time::Duration;

use bytes::Bytes;
use caside_protocol::RoomId;
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::{self, Address, Answer, Member, Orphan, Question};
use caside_protocol::server::MoveReason;
use tokio::time::Instant;

use super::actor::{Running, overloaded, tell};
use super::command::Command;
use super::effects::Effect;
use super::message::{Handing, MAX_DETOURS, RoomMsg};
use super::snapshot::{Kept, Snapshot};
use super::supervisor::RoomsMsg;
use super::way::{Contact, Order};
use super::wiring::Sfu;
use crate::mailbox::Overloaded;
use crate::peer::{PeerLink, PeerWay, RemoteSession};

/// Changes that come within this time of the last are kept together.
const COALESCED: Duration = Duration::from_millis(50);
/// How long the media of a room that was handed over goes on, until its clients receive it from the new owner.
const LINGER: Duration = Duration::from_secs(5);

/// A room that is taken over.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) snapshot: Box<Snapshot>,
    pub(crate) reason: MoveReason,
}

/// What was kept, and where.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    revision: u64,
    at: Option<Instant>,
    standby: Option<Member>,
    is_due: bool,
    /// The directory is taking what was kept last.
    is_writing: bool,
    again: bool,
}

impl Mirror {
    /// Who keeps the room, to take it over.
    pub(super) fn standby(&self) -> Option<&Member> {
        self.standby.as_ref()
    }
}

/// What is held back while the room is being handed over.
pub(super) type HeldBack = Vec<RoomMsg>;

/// Refuses what is asked of a room that is another node's: its sender asks again at the new owner. Sessions say themselves
/// where they are.
fn turn_away(message: RoomMsg) {
    let refusal = Refusal::new(ErrorCode::Moving, "the room has moved to another node; try again");
    match message {
        RoomMsg::Order {
            order: Order::Ask { reply, .. } | Order::Rejoin(reply) | Order::Leave(Some(reply)),
            ..
        } => reply.answer(refusal),
        RoomMsg::Join(request) => request.refuse(refusal),
        RoomMsg::Act { answer, .. } => tell(answer, Err(refusal)),
        _ => {}
    }
}

impl Snapshot {
    /// As it goes to another node.
    pub(crate) fn encode(&self) -> Option<Bytes> {
        match node::encode(self) {
            Ok(bytes) => Some(bytes.into()),
            Err(error) => {
                tracing::error!(room.id = %self.room.id, %error, "a room could not be written");
                None
            }
        }
    }

    /// As it came from another node.
    pub(crate) fn decode(room: &RoomId, bytes: &[u8]) -> Option<Box<Self>> {
        match node::decode::<Self>(bytes) {
            Ok(snapshot) if snapshot.room.id == *room => Some(Box::new(snapshot)),
            Ok(_) => {
                tracing::error!(room.id = %room, "another room was kept under this one's id");
                None
            }
            Err(error) => {
                tracing::error!(room.id = %room, %error, "a room that was kept cannot be read");
                None
            }
        }
    }
}

impl Running {
    // ---- kept for others ------------------------------------------------------------------------------------------

    /// Keeps the room as it is now where another node finds it; the first change at once, those that follow together.
    pub(super) fn mirror(&mut self) {
        if !self.shared.gateway.is_in_company() || self.state.revision == self.mirror.revision || self.mirror.is_due {
            return;
        }
        let wait = self.mirror.at.map(|at| COALESCED.saturating_sub(at.elapsed()));
        match wait.filter(|wait| !wait.is_zero()) {
            None => self.mirror_now(),
            Some(wait) => {
                self.mirror.is_due = true;
                let room = self.myself.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    room.post(RoomMsg::Mirror);
                });
            }
        }
    }

    pub(super) fn mirror_now(&mut self) {
        self.mirror.is_due = false;
        self.mirror.revision = self.state.revision;
        self.mirror.at = Some(Instant::now());
        let Some(bytes) = self.snapshot(false).encode() else {
            return;
        };
        let (gateway, epoch) = (&self.shared.gateway, self.myself.epoch());
        let standby = gateway.standby_of(self.myself.id());
        if let Some(before) = self
            .mirror
            .standby
            .take()
            .filter(|before| Some(before) != standby.as_ref())
        {
            gateway.forget_at(&before, self.myself.id(), epoch);
        }
        if let Some(standby) = &standby {
            gateway.keep_at(standby, self.myself.id(), epoch, &bytes);
        }
        self.mirror.standby = standby;
        self.write_to_directory(bytes);
    }

    /// One write at a time: the next one takes what has changed meanwhile.
    fn write_to_directory(&mut self, bytes: Bytes) {
        if self.mirror.is_writing {
            self.mirror.again = true;
            return;
        }
        self.mirror.is_writing = true;
        let (room, shared) = (self.myself.clone(), self.shared.clone());
        tokio::spawn(async move {
            let keeping = shared.args.directory.keep(room.id(), room.epoch(), bytes);
            let kept = tokio::time::timeout(shared.args.limits.call_timeout, keeping).await;
            match kept {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => tracing::debug!(room.id = %room.id(), "the directory knows a room as another's"),
                Ok(Err(error)) => tracing::debug!(room.id = %room.id(), %error, "a room was not kept by the directory"),
                Err(_) => tracing::debug!(room.id = %room.id(), "keeping a room took too long"),
            }
            room.post(RoomMsg::Mirrored);
        });
    }

    pub(super) fn mirrored(&mut self) {
        self.mirror.is_writing = false;
        if std::mem::take(&mut self.mirror.again)
            && let Some(bytes) = self.snapshot(false).encode()
        {
            self.write_to_directory(bytes);
        }
    }

    /// Another node came or went: the standby may be another.
    pub(super) fn company_changed(&mut self) {
        let standby = self.shared.gateway.standby_of(self.myself.id());
        if standby.is_some() && standby != self.mirror.standby && !self.state.is_empty() {
            self.mirror_now();
        }
    }

    /// Nobody needs to keep what was the room.
    pub(super) fn forget_mirror(&self) {
        if let Some(standby) = &self.mirror.standby {
            self.shared
                .gateway
                .forget_at(standby, self.myself.id(), self.myself.epoch());
        }
    }

    fn snapshot(&self, with_logs: bool) -> Snapshot {
        let mut snapshot = self.state.snapshot(with_logs);
        for kept in &mut snapshot.participants {
            if let Some(seat) = self.seats.get(&kept.id) {
                kept.credentials = Some((*seat.credentials).clone());
                kept.address = Some(self.address(seat));
            }
        }
        snapshot
    }

    fn address(&self, seat: &Contact) -> Address {
        seat.link.address().cloned().unwrap_or_else(|| Address {
            member: self.shared.args.member.clone(),
            session: seat.session,
        })
    }

    // ---- taken over -----------------------------------------------------------------------------------------------

    /// Goes on with the room of another owner. Its sessions hear of it with [`RoomMsg::Announce`], when others find the room.
    pub(super) fn inherit(&mut self, participants: &[Kept], effects: Vec<Effect>) {
        for kept in participants {
            if let Some(seat) = self.seat_of(kept) {
                self.seats.insert(kept.id, seat);
            }
        }
        self.carry_out_all(effects);
    }

    fn seat_of(&self, kept: &Kept) -> Option<Contact> {
        let (address, credentials) = (kept.address.clone()?, kept.credentials.clone()?);
        let session = address.session;
        let here = (address.member == self.shared.args.member)
            .then(|| self.shared.sessions.find(session))
            .flatten();
        let way = match here {
            Some(peer) => PeerWay::Here(peer),
            None => PeerWay::There(RemoteSession {
                gateway: self.shared.gateway.clone(),
                address,
                participant: kept.id,
            }),
        };
        let mut link = PeerLink::by(way, kept.id).under(self.myself.epoch());
        link.leave_alone();
        Some(Contact {
            session,
            link,
            credentials: Box::new(credentials),
        })
    }

    /// Tells every session that the room is here. One whose node is gone is waited for by its resume token.
    pub(super) fn announce(&mut self) {
        let reachable: Vec<Member> = self.shared.gateway.others().into_iter().map(|o| o.member).collect();
        let mut gone = Vec::new();
        for (participant, seat) in &mut self.seats {
            let is_reachable = seat.link.address().is_none_or(|a| reachable.contains(&a.member));
            if is_reachable {
                if seat.link.moved(&self.myself).is_err() {
                    gone.push(*participant);
                }
            } else {
                self.shared.gateway.keep_orphan(Orphan {
                    participant: *participant,
                    room: self.myself.id().clone(),
                    epoch: self.myself.epoch(),
                    credentials: (*seat.credentials).clone(),
                });
            }
        }
        for participant in gone {
            self.apply(Command::Gone { participant });
        }
    }

    // ---- handed over ----------------------------------------------------------------------------------------------

    /// Gives the room to another node, which has opened it when this is done. Nothing happens in it meanwhile.
    pub(super) fn hand_over(&mut self, to: Member, handing: Handing) {
        if self.held_back.is_some() {
            return;
        }
        let Some(state) = self.snapshot(true).encode() else {
            return;
        };
        self.held_back = Some(Vec::new());
        let (room, shared) = (self.myself.clone(), self.shared.clone());
        tokio::spawn(async move {
            let promise = room.mailbox().promise(RoomMsg::HandedOver {
                to: None,
                handing: None,
            });
            let limit = shared.args.limits.call_timeout;
            let giving = shared.args.directory.hand_over(room.id(), room.epoch(), &to);
            let epoch = match tokio::time::timeout(limit, giving).await {
                Ok(Ok(Some(epoch))) => epoch,
                Ok(Ok(None)) | Err(_) => return,
                Ok(Err(error)) => {
                    return tracing::warn!(room.id = %room.id(), %error, "a room could not be handed over");
                }
            };
            let question = Question::Adopt {
                room: room.id().clone(),
                epoch,
                state: state.to_vec(),
            };
            match shared.gateway.ask(&to, question, limit).await {
                Ok(Answer::Done(Ok(true))) => {}
                // It is that node's by the directory's word, and opened there when somebody asks for it.
                other => {
                    tracing::error!(room.id = %room.id(), member = %to, ?other, "a room that was handed over was not opened")
                }
            }
            promise.keep(RoomMsg::HandedOver {
                to: Some((to, epoch)),
                handing: Some(handing),
            });
        });
    }

    /// The room is another node's, unless it could not be handed over; then it goes on here.
    pub(super) fn handed_over(&mut self, to: Option<(Member, u64)>, handing: Option<Handing>) {
        let held_back = self.held_back.take().unwrap_or_default();
        match to {
            None => {
                for message in held_back {
                    self.take(message);
                }
            }
            Some((member, epoch)) => {
                self.linger(handing);
                self.leave_to_others();
                let gone = RoomsMsg::HandedOver {
                    room: self.myself.clone(),
                    to: member,
                    epoch,
                };
                if !self.rooms.post(gone) {
                    tracing::debug!(room.id = %self.myself.id(), "a room that was handed over outlived its supervisor");
                }
                for message in held_back {
                    self.too_late(message);
                }
            }
        }
    }

    /// The room is another node's: who waits at the door goes to that one's, the others are turned away.
    pub(super) fn too_late(&self, message: RoomMsg) {
        match message {
            RoomMsg::Join(mut request) if request.detours < MAX_DETOURS => {
                request.detours += 1;
                if let Err(Overloaded(RoomsMsg::Join(request))) = self.rooms.send(RoomsMsg::Join(request)) {
                    request.refuse(overloaded());
                }
            }
            other => turn_away(other),
        }
    }

    /// Media goes on here until the clients have it from the new owner: make before break.
    fn linger(&mut self, handing: Option<Handing>) {
        let sfu = std::mem::replace(&mut self.sfu, Sfu::Absent);
        let recorders = std::mem::take(&mut self.recorders);
        let wait = if matches!(sfu, Sfu::Absent) {
            Duration::ZERO
        } else {
            LINGER
        };
        let (room, done) = (self.myself.id().clone(), handing.map(|handing| handing.done));
        // The SFU ends with this actor, which does nothing else any more.
        let actor = self.actor.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            for (_, recorder) in recorders {
                recorder.hand_over();
            }
            drop(sfu);
            actor.stop(Some("another node has the room".to_owned()));
            tracing::debug!(room.id = %room, "the media of a room that was handed over has ended here");
            drop(done);
        });
    }

    // ---- let go ---------------------------------------------------------------------------------------------------

    /// The room is not this node's any more, by nobody's wish: everything stops at once, and nothing is written down.
    pub(super) fn let_go(&mut self) {
        self.sfu = Sfu::Absent;
        self.sfu_incarnation += 1;
        for (_, recorder) in self.recorders.drain() {
            recorder.hand_over();
        }
        self.leave_to_others();
        // By itself: told from outside, it would end before it has handled what it was told.
        self.actor.stop(Some("the room is another node's".to_owned()));
    }

    /// Nothing more is done here for who was in the room.
    fn leave_to_others(&mut self) {
        self.is_over = true;
        for (_, seat) in self.seats.drain() {
            self.shared.gateway.forget_orphan(seat.credentials.resume);
            seat.link.let_go();
        }
        self.replies.clear();
        self.tickets.clear();
    }
}
