//! A room that somebody wants into: placed, loaded or made, and claimed.

use caside_cluster::{Claim, Owner};
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::Member;
use caside_protocol::view::{Mode, RecordPolicy};
use caside_protocol::{RoomId, Timestamp};
use caside_store::JournalEntry;
use caside_store::rooms::{FormerRoom, StoredRoom};
use serde_json::Value;
use tracing::Instrument;

use super::message::{Claimed, Found, Opening, RoomsMsg, Whereabouts};
use super::moves::{newest, opening};
use super::placing::{claim, whereabouts};
use super::slot::{Door, Slot};
use super::{Running, away};
use crate::ports::{CatalogEntry, CatalogRoom};
use crate::trace;

impl Running {
    /// Finds out where a room runs, or is to run.
    pub(super) fn place(&self, room: RoomId, attempt: u64) {
        let (shared, myself) = (self.shared.clone(), self.myself.clone());
        let task = async move {
            let failed = Err(Refusal::new(ErrorCode::Internal, "looking for the room failed"));
            let promise = myself.promise(RoomsMsg::Placed {
                room: room.clone(),
                attempt,
                result: failed,
            });
            let result = whereabouts(&shared, &room).await;
            promise.keep(RoomsMsg::Placed { room, attempt, result });
        };
        tokio::spawn(task.instrument(trace::step!("room.place")));
    }

    pub(super) fn placed(&mut self, room: &RoomId, attempt: u64, result: Result<Whereabouts, Refusal>) {
        if self.door(room, attempt).is_none() {
            return;
        }
        match result {
            Ok(Whereabouts::Here) => self.load(room.clone(), attempt),
            Ok(Whereabouts::There(member)) => self.send_on(room, &member),
            Err(refusal) => self.turn_away(room, &refusal),
        }
    }

    /// The room is another node's: whoever waits here goes there, and whoever another node sent goes back.
    pub(super) fn send_on(&mut self, room: &RoomId, member: &Member) {
        for request in self.take_waiting(room) {
            if !request.is_from_here() {
                let owner = self.shared.gateway.route(room);
                request
                    .link
                    .not_here(request.reply, owner.map(|owner| (owner.member, owner.epoch)));
            } else if let Err(request) = self.shared.gateway.join(member, Box::new(request)) {
                self.shared.gateway.forget_route(room);
                request.refuse(away("the room's node cannot be reached now; try again"));
            }
        }
    }

    pub(super) fn load(&self, room: RoomId, attempt: u64) {
        let (shared, myself) = (self.shared.clone(), self.myself.clone());
        let task = async move {
            let failed = Err(Refusal::new(ErrorCode::Internal, "loading the room failed"));
            let promise = myself.promise(RoomsMsg::Loaded {
                room: room.clone(),
                attempt,
                result: failed,
            });
            let loading = tokio::time::timeout(shared.args.limits.call_timeout, shared.args.catalog.load(&room)).await;
            let result = match loading {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(error)) => {
                    tracing::warn!(room.id = %room, error = %error, "a room could not be loaded");
                    Err(away("the rooms cannot be read now; try again"))
                }
                Err(_) => Err(away("reading the room took too long; try again")),
            };
            promise.keep(RoomsMsg::Loaded { room, attempt, result });
        };
        tokio::spawn(task.instrument(trace::step!("room.load")));
    }

    pub(super) fn loaded(&mut self, room: &RoomId, attempt: u64, result: Result<CatalogEntry, Refusal>) {
        if self.door(room, attempt).is_none() {
            return;
        }
        let found = match result {
            Ok(CatalogEntry::Room(found)) => Some(Found {
                room: *found,
                ringing: false,
            }),
            Ok(CatalogEntry::Free(former)) => self.make(room, former.as_ref()),
            Err(refusal) => return self.turn_away(room, &refusal),
        };
        match found {
            Some(found) => self.claim(found, attempt),
            None => {
                let refusal = Refusal::new(ErrorCode::RoomNotFound, "nobody created a room of this id");
                self.turn_away(room, &refusal);
            }
        }
    }

    /// A room that nobody created: made for a call, or by the first who may make rooms by joining them, whose token is not
    /// for the one that was there.
    fn make(&mut self, room: &RoomId, former: Option<&FormerRoom>) -> Option<Found> {
        let Some(Slot::Opening(Door { waiting, .. })) = self.slots.get_mut(room) else {
            return None;
        };
        let ringing = waiting.iter().find_map(|request| request.caller.clone());
        let auto_create = self.shared.args.limits.auto_create_rooms;
        let maker = match &ringing {
            Some(_) => 0,
            None => waiting.iter().position(|request| {
                let since = request.standing().right_since;
                auto_create && request.may_create() && former.is_none_or(|former| former.admits(since, request.owner()))
            })?,
        };
        // Those who came before it found no room.
        for early in waiting.drain(..maker) {
            early.refuse(Refusal::new(
                ErrorCode::RoomNotFound,
                "nobody created a room of this id",
            ));
        }
        let first = waiting.first()?;
        let (owner, mode) = match &ringing {
            Some(caller) => (Some(caller.clone()), Mode::Auto),
            None => (first.owner().cloned(), first.mode.unwrap_or_default()),
        };
        let mut room = StoredRoom {
            id: room.clone(),
            name: None,
            mode,
            max_participants: 0,
            last_n: 0,
            audio_last_n: 0,
            record: RecordPolicy::default(),
            locked: false,
            metadata: Value::Null,
            owner,
            created_at: Timestamp::now_utc(),
            tokens_since: None,
        };
        if let Some(former) = former {
            former.precede(&mut room);
        }
        self.shared.write_down(JournalEntry::RoomEnsured(room.clone()));
        Some(Found {
            room: CatalogRoom {
                room,
                waiting_call: None,
            },
            ringing: ringing.is_some(),
        })
    }

    fn claim(&mut self, found: Found, attempt: u64) {
        if let Some(door) = self.door(&found.room.room.id, attempt) {
            door.claiming = true;
        }
        let (shared, myself) = (self.shared.clone(), self.myself.clone());
        let task = async move {
            let room = &found.room.room.id;
            let result = match tokio::time::timeout(shared.args.limits.call_timeout, claim(&shared, room)).await {
                Ok(Ok(Claim::Granted { epoch, kept })) => Ok(Claimed::Granted(epoch, kept)),
                Ok(Ok(Claim::Taken(owner))) => Ok(Claimed::Taken(owner)),
                Ok(Ok(Claim::Settling(_))) => Err(away("the room directory listens to its owners first; try again")),
                Ok(Err(error)) => {
                    tracing::warn!(room.id = %room, error = %error, "a room could not be claimed");
                    Err(away("the room directory is away; try again"))
                }
                Err(_) => Err(away("claiming the room took too long; try again")),
            };
            myself.post(RoomsMsg::Claimed {
                found: Box::new(found),
                attempt,
                result,
            });
        };
        tokio::spawn(task.instrument(trace::step!("room.claim")));
    }

    /// The directory has answered. A room that another node handed over meanwhile is opened as that had it.
    pub(super) fn claimed(&mut self, found: Found, attempt: u64, result: Result<Claimed, Refusal>) -> Option<Opening> {
        let room = &found.room.room.id;
        let (granted, taken) = match &result {
            Ok(Claimed::Granted(epoch, _)) => (Some(*epoch), None),
            Ok(Claimed::Taken(owner)) => (None, Some(owner)),
            Err(_) => (None, None),
        };
        match self.end_claim(room, attempt, granted, taken) {
            Answer::Stale => return None,
            Answer::Adopted(opening) => return Some(*opening),
            Answer::Awaited => {}
        }
        match result {
            Ok(Claimed::Granted(epoch, kept)) => {
                // What was kept here of a room that ended in order is of no use.
                let copy = self.shared.gateway.take_copy(room).filter(|_| kept.is_some());
                let inherited = newest(room, copy, kept);
                return Some(opening(found, epoch, inherited));
            }
            Ok(Claimed::Taken(owner)) => {
                self.shared.gateway.learn(room, owner.clone());
                self.send_on(room, &owner.member);
            }
            Err(refusal) => self.turn_away(room, &refusal),
        }
        None
    }

    /// The directory has answered to a claim: what is to be done with it.
    pub(super) fn end_claim(
        &mut self,
        room: &RoomId,
        attempt: u64,
        granted: Option<u64>,
        taken: Option<&Owner>,
    ) -> Answer {
        let Some(door) = self.door(room, attempt) else {
            if let Some(epoch) = granted {
                self.not_needed(room, epoch);
            }
            return Answer::Stale;
        };
        door.claiming = false;
        match door.adopted.take() {
            // Whoever has it now has it from whom it was handed to, which is us, or from nobody.
            Some(mut adopted) if taken.is_none_or(|owner| owner.epoch <= adopted.epoch) => {
                adopted.epoch = granted.map_or(adopted.epoch, |granted| granted.max(adopted.epoch));
                Answer::Adopted(adopted)
            }
            Some(_) | None => Answer::Awaited,
        }
    }

    /// A room was claimed for an attempt that is over: another may have it. One that runs here under an earlier epoch is not
    /// what the directory knows any more.
    fn not_needed(&mut self, room: &RoomId, epoch: u64) {
        self.lost(room, epoch);
        self.give_up(room.clone(), epoch);
    }
}

/// What the answer to a claim is for.
pub(super) enum Answer {
    /// Nobody waits for it any more.
    Stale,
    /// The room was handed over meanwhile, and is to be opened.
    Adopted(Box<Opening>),
    /// It is to be acted on.
    Awaited,
}
