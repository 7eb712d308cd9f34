//! Rooms that come from other nodes and go to them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caside_cluster::{Claim, Owner, placement};
use caside_protocol::RoomId;
use caside_protocol::error::Refusal;
use caside_protocol::node::Member;
use caside_protocol::server::MoveReason;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::super::keeping::Inherited;
use super::super::message::{Handing, RoomHandle, RoomMsg};
use super::super::snapshot::Snapshot;
use super::finding::Answer;
use super::message::{Found, Opening, RoomsMsg};
use super::slot::Slot;
use super::{Running, away};
use crate::gateway::Copy;
use crate::peer::DrainGuard;
use crate::ports::CatalogRoom;

/// When it is looked for what a node that is gone left behind: those who kept its rooms have taken them by then.
const LEFT_BEHIND_AFTER: Duration = Duration::from_millis(500);
/// When a room is claimed again that is to be taken over, while the directory does not answer.
const CLAIM_AGAIN: Duration = Duration::from_millis(300);
/// So many rooms are claimed at once of all that are taken over: enough for the directory never to wait for us, and few enough
/// for the renewal of our lease, which comes after them, to be answered in time.
pub(super) const TAKEOVERS_AT_ONCE: usize = 64;

impl Running {
    /// Takes over the rooms of a node that is no more: those that were kept here at once, and what is left behind later.
    pub(super) fn gone(&mut self, member: &Member) {
        let copies = self.shared.gateway.take_copies(member);
        tracing::info!(member = %member, rooms = copies.len(), "a node is gone; its rooms that were kept here are taken over");
        for (room, copy) in copies {
            self.inherit(room, Some(copy));
        }
        let (shared, myself, member) = (self.shared.clone(), self.myself.clone(), member.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LEFT_BEHIND_AFTER).await;
            let asking = shared.args.directory.rooms_of(&member);
            let left = match tokio::time::timeout(shared.args.limits.call_timeout, asking).await {
                Ok(Ok(left)) => left,
                Ok(Err(error)) => return tracing::debug!(%member, %error, "what a node left behind is not known"),
                Err(_) => return,
            };
            let mut survivors = shared.gateway.others();
            survivors.push(shared.as_neighbour());
            for room in left {
                if placement::standby(&room, &survivors) == Some(&shared.args.member) {
                    myself.post(RoomsMsg::LeftBehind(room));
                }
            }
        });
    }

    /// Takes a room over from a node that is no more, unless it runs here or is about to.
    pub(super) fn inherit(&mut self, room: RoomId, copy: Option<Copy>) {
        if self.draining || self.slots.contains_key(&room) {
            return;
        }
        let attempt = self.begin(room.clone(), Vec::new());
        self.claim_inherited(room, attempt, copy, Duration::ZERO);
    }

    fn claim_inherited(&mut self, room: RoomId, attempt: u64, copy: Option<Copy>, wait: Duration) {
        if let Some(door) = self.door(&room, attempt) {
            door.claiming = true;
        }
        let (shared, myself, turns) = (self.shared.clone(), self.myself.clone(), self.takeovers.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let turn = turns.acquire_owned().await;
            let claiming = shared.args.directory.claim(&room);
            let answer = tokio::time::timeout(shared.args.limits.call_timeout, claiming).await;
            drop(turn);
            let result = match answer {
                Ok(Ok(claim)) => Ok(claim),
                Ok(Err(error)) => {
                    tracing::warn!(room.id = %room, %error, "a room could not be taken over");
                    Err(away("the room directory is away; try again"))
                }
                Err(_) => Err(away("claiming the room took too long; try again")),
            };
            myself.post(RoomsMsg::Inherited {
                room,
                attempt,
                copy,
                result,
            });
        });
    }

    pub(super) fn inherited(
        &mut self,
        room: RoomId,
        attempt: u64,
        copy: Option<Copy>,
        result: Result<Claim, Refusal>,
    ) -> Option<Opening> {
        let (granted, taken) = match &result {
            Ok(Claim::Granted { epoch, .. }) => (Some(*epoch), None),
            Ok(Claim::Taken(owner)) => (None, Some(owner)),
            Ok(Claim::Settling(_)) | Err(_) => (None, None),
        };
        match self.end_claim(&room, attempt, granted, taken) {
            Answer::Stale => return None,
            Answer::Adopted(opening) => return Some(*opening),
            Answer::Awaited => {}
        }
        match result {
            Ok(Claim::Granted { epoch, kept }) => match newest(&room, copy, kept) {
                Some(inherited) => {
                    let found = found_of(&inherited.snapshot);
                    return Some(opening(found, epoch, Some(inherited)));
                }
                None => {
                    self.give_up(room.clone(), epoch);
                    self.turn_away(&room, &away("the room is gone; join again"));
                }
            },
            Ok(Claim::Taken(owner)) => {
                self.shared.gateway.learn(&room, owner.clone());
                self.send_on(&room, &owner.member);
            }
            Ok(Claim::Settling(wait)) => self.claim_inherited(room, attempt, copy, wait),
            Err(_) => self.claim_inherited(room, attempt, copy, CLAIM_AGAIN),
        }
        None
    }

    /// Opens a room that its owner hands over to this node.
    pub(super) fn adopt(
        &mut self,
        room: RoomId,
        epoch: u64,
        snapshot: Box<Snapshot>,
        done: oneshot::Sender<bool>,
    ) -> Option<Opening> {
        let found = found_of(&snapshot);
        let inherited = Inherited {
            snapshot,
            reason: MoveReason::Drain,
        };
        let opening = Opening {
            done: Some(done),
            ..opening(found, epoch, Some(inherited))
        };
        match self.slots.get_mut(&room) {
            Some(Slot::Open { .. }) => return None,
            // A claim that is under way may be answered by a later epoch, under which the room is then opened.
            Some(Slot::Opening(door)) if door.claiming => {
                door.adopted = Some(Box::new(opening));
                return None;
            }
            Some(Slot::Opening(_)) => {}
            None => {
                self.begin(room, Vec::new());
            }
        }
        Some(opening)
    }

    /// A room of this node is another's.
    pub(super) fn handed_over(&mut self, room: &RoomHandle, to: Member, epoch: u64) {
        self.shared.gateway.learn(room.id(), Owner { member: to, epoch });
        self.forget(room);
    }

    /// Has every room handed over to where it is placed among the others; what cannot be stays.
    pub(super) fn evacuate(&self, at_once: usize, done: &DrainGuard) {
        let open: Vec<RoomHandle> = self.slots.values().filter_map(Slot::handle).cloned().collect();
        let (shared, done) = (self.shared.clone(), done.clone());
        tokio::spawn(async move {
            let turns = Arc::new(Semaphore::new(at_once));
            for room in open {
                let others = shared.gateway.others();
                let Some(to) = placement::place(room.id(), &others).cloned() else {
                    return;
                };
                let Ok(turn) = turns.clone().acquire_owned().await else {
                    return;
                };
                let (guard, mut handed_over) = mpsc::channel(1);
                let handing = Handing {
                    turn: DrainGuard(guard),
                    done: done.clone(),
                };
                room.post(RoomMsg::HandOver { to, handing });
                tokio::spawn(async move {
                    // Its end is the message.
                    if handed_over.recv().await.is_some() {
                        tracing::trace!("a guard says nothing");
                    }
                    drop(turn);
                });
            }
        });
    }

    /// Nothing is this node's any more.
    pub(super) fn fenced(&mut self) {
        tracing::error!(
            rooms = self.slots.len(),
            "this node may own no rooms any more; all are let go"
        );
        let all: Vec<RoomHandle> = self.slots.values().filter_map(Slot::handle).cloned().collect();
        for room in all {
            room.post(RoomMsg::LetGo);
            self.forget(&room);
        }
        let refusal = away("this node has lost touch with the others; connect again");
        let opening: Vec<RoomId> = self.slots.keys().cloned().collect();
        for room in opening {
            self.turn_away(&room, &refusal);
        }
    }

    /// Another node has a room of this one, under a later ownership.
    pub(super) fn lost(&mut self, room: &RoomId, epoch: u64) {
        if let Some(Slot::Open {
            handle, epoch: known, ..
        }) = self.slots.get(room)
            && *known < epoch
        {
            tracing::error!(room.id = %room, "another node has a room of this one; it is let go");
            let handle = handle.clone();
            handle.post(RoomMsg::LetGo);
            self.forget(&handle);
        }
    }

    /// Forgets a room that is no longer this node's.
    fn forget(&mut self, room: &RoomHandle) {
        if let Some(Slot::Open { handle, .. }) = self.slots.get(room.id())
            && handle.mailbox().same_as(room.mailbox())
        {
            self.by_actor.remove(&handle.mailbox().cell().get_id());
            self.shared.rooms.remove(room.id());
            self.slots.remove(room.id());
        }
    }
}

/// A room as it was kept, for opening it without the catalog.
fn found_of(snapshot: &Snapshot) -> Found {
    Found {
        room: CatalogRoom {
            room: snapshot.room.clone(),
            waiting_call: None,
        },
        ringing: snapshot.ringing,
    }
}

pub(super) fn opening(found: Found, epoch: u64, inherited: Option<Inherited>) -> Opening {
    Opening {
        found,
        epoch,
        inherited,
        done: None,
    }
}

/// The later one of what was kept here and in the directory.
pub(super) fn newest(room: &RoomId, copy: Option<Copy>, kept: Option<Bytes>) -> Option<Inherited> {
    let here = copy.and_then(|copy| Snapshot::decode(room, &copy.state));
    let there = kept.and_then(|kept| Snapshot::decode(room, &kept));
    let age = |snapshot: &Snapshot| (snapshot.epoch, snapshot.revision);
    let snapshot = match (here, there) {
        (Some(here), Some(there)) if age(&here) < age(&there) => Some(there),
        (here, there) => here.or(there),
    };
    snapshot.map(|snapshot| Inherited {
        snapshot,
        reason: MoveReason::Failover,
    })
}
