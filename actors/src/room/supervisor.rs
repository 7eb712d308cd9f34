//! The supervisor of rooms: loads, makes and claims them on first need, passes joins on, and clears away those that are
//! empty or have failed.

mod message;
mod moves;
mod placing;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use caside_cluster::Claim;
use caside_protocol::{RoomId, Timestamp};

use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::Member;
use caside_protocol::view::{Mode, RecordPolicy};
use caside_store::JournalEntry;
use caside_store::rooms::{FormerRoom, StoredRoom};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tracing::Instrument;
use uuid::Uuid;

use super::actor::{Room, RoomArgs, overloaded};
use super::message::{JoinRequest, RoomHandle, RoomMsg};
use super::state::Setup;
use crate::mailbox::{Mailbox, Overloaded, Traced};
use crate::node::Shared;
use crate::observed::{Kind, Label, Seen};
use crate::peer::DrainGuard;
use crate::ports::{CatalogEntry, CatalogRoom};
use crate::refused::{self, Reason};
use crate::trace;
use message::{Claimed, Found, Opening, Whereabouts};
use moves::{newest, opening};
use placing::{claim, whereabouts};

pub(crate) use message::RoomsMsg;
pub(crate) use table::{Card, Listed, RoomTable};

/// Joins that may wait for the supervisor, and for one room that is loading.
pub(crate) const MAILBOX: usize = 16_384;
const MAX_WAITING: usize = 1024;

/// The actor.
pub(crate) struct Rooms;

/// What it starts with.
pub(crate) struct RoomsArgs {
    /// What the tree shares.
    pub(crate) shared: Arc<Shared>,
    /// Given its mailbox.
    pub(crate) started: oneshot::Sender<Mailbox<RoomsMsg>>,
}

/// Its state.
pub(crate) struct Running {
    shared: Arc<Shared>,
    myself: Mailbox<RoomsMsg>,
    slots: HashMap<RoomId, Slot>,
    by_actor: HashMap<ActorId, RoomId>,
    draining: bool,
    _seen: Seen,
}

enum Slot {
    /// Being loaded and claimed; these wait at the door.
    Opening(Vec<JoinRequest>),
    Open {
        handle: RoomHandle,
        card: Arc<Card>,
        epoch: u64,
        joins_sent: u64,
    },
}

impl Slot {
    fn handle(&self) -> Option<&RoomHandle> {
        match self {
            Self::Open { handle, .. } => Some(handle),
            Self::Opening(_) => None,
        }
    }
}

impl Actor for Rooms {
    type Msg = Traced<RoomsMsg>;
    type State = Running;
    type Arguments = RoomsArgs;

    async fn pre_start(
        &self,
        actor: ActorRef<Traced<RoomsMsg>>,
        args: RoomsArgs,
    ) -> Result<Running, ActorProcessingErr> {
        let counters = args.shared.args.observed.counters(Kind::Rooms);
        let myself = Mailbox::new(actor, MAILBOX, counters.clone());
        args.started
            .send(myself.clone())
            .map_err(|_| "nobody waits for the supervisor of rooms")?;
        let _seen = myself.list(&args.shared.args.observed, Kind::Rooms, Label::Only);
        let (slots, by_actor) = (HashMap::new(), HashMap::new());
        Ok(Running {
            shared: args.shared,
            myself,
            slots,
            by_actor,
            draining: false,
            _seen,
        })
    }

    async fn handle(
        &self,
        actor: ActorRef<Traced<RoomsMsg>>,
        message: Traced<RoomsMsg>,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(opening) = message.handle(|message| running.take(message)) {
            running.open(actor.get_cell(), opening).await;
        }
        Ok(())
    }

    /// A room that fails takes nobody with it: its participants hear of it from their links' ends and may join again.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Traced<RoomsMsg>>,
        event: SupervisionEvent,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(who, error) => {
                running.shared.args.observed.failed(who.get_id(), &error);
                if let Some(room) = running.by_actor.get(&who.get_id()) {
                    tracing::error!(room.id = %room, error = %error, "a room failed and was closed");
                }
                running.clear_away(who.get_id());
            }
            SupervisionEvent::ActorTerminated(who, ..) => running.clear_away(who.get_id()),
            _ => {}
        }
        Ok(())
    }
}

impl Running {
    /// Handles a message; a room that is to start is given back, for starting waits.
    fn take(&mut self, message: RoomsMsg) -> Option<Opening> {
        match message {
            RoomsMsg::Join(request) => self.join(*request),
            RoomsMsg::Loaded { room, result } => self.loaded(&room, result),
            RoomsMsg::Claimed { found, result } => match result {
                Ok(Claimed::Granted(epoch, kept)) => {
                    if !self.is_awaited(&found.room.room.id, epoch) {
                        return None;
                    }
                    // What was kept here of a room that ended in order is of no use.
                    let room = &found.room.room.id;
                    let copy = self.shared.gateway.take_copy(room).filter(|_| kept.is_some());
                    let inherited = newest(room, copy, kept);
                    return Some(opening(*found, epoch, inherited));
                }
                Ok(Claimed::Taken(owner)) => {
                    let room = &found.room.room.id;
                    self.shared.gateway.learn(room, owner.clone());
                    self.send_on(room, &owner.member);
                }
                Err(refusal) => self.turn_away(&found.room.room.id, &refusal),
            },
            RoomsMsg::Placed { room, result } => match result {
                Ok(Whereabouts::Here) => self.load(room),
                Ok(Whereabouts::There(member)) => self.send_on(&room, &member),
                Err(refusal) => self.turn_away(&room, &refusal),
            },
            RoomsMsg::Gone(member) => self.gone(&member),
            RoomsMsg::LeftBehind(room) => self.inherit(room, None),
            RoomsMsg::Inherited { room, copy, result } => return self.inherited(room, copy, result),
            RoomsMsg::Adopt {
                room,
                epoch,
                snapshot,
                done,
            } => return self.adopt(room, epoch, snapshot, done),
            RoomsMsg::HandedOver { room, to, epoch } => self.handed_over(&room, to, epoch),
            RoomsMsg::Evacuate { at_once, done } => self.evacuate(at_once, &done),
            RoomsMsg::Fenced => self.fenced(),
            RoomsMsg::Reinstated => tracing::info!("this node may own rooms again"),
            RoomsMsg::Lost { room, epoch } => self.lost(&room, epoch),
            RoomsMsg::Empty { room, joins_seen } => self.empty(&room, joins_seen),
            RoomsMsg::Drain(guard) => self.drain(&guard),
            RoomsMsg::Inspect(asked) => asked.answer(self.inspect()),
        }
        None
    }

    /// For operators.
    fn inspect(&self) -> Value {
        let opening = self.slots.values().filter(|slot| slot.handle().is_none()).count();
        let waiting = self.slots.values().map(|slot| match slot {
            Slot::Opening(waiting) => waiting.len(),
            Slot::Open { .. } => 0,
        });
        json!({
            "open": self.slots.len() - opening,
            "opening": opening,
            "waiting_joins": waiting.sum::<usize>(),
            "draining": self.draining,
        })
    }

    fn join(&mut self, request: JoinRequest) {
        if self.draining {
            return self.too_late(request);
        }
        let room = request.room.clone();
        let all_rooms = self.slots.len() >= self.shared.args.limits.max_rooms;
        match self.slots.get_mut(&room) {
            Some(Slot::Open { handle, joins_sent, .. }) => match handle.send(RoomMsg::Join(Box::new(request))) {
                Ok(()) => *joins_sent += 1,
                Err(Overloaded(RoomMsg::Join(request))) => request.refuse(overloaded()),
                Err(Overloaded(_)) => {}
            },
            Some(Slot::Opening(waiting)) if waiting.len() >= MAX_WAITING => request.refuse(overloaded()),
            Some(Slot::Opening(waiting)) => waiting.push(request),
            None if all_rooms => {
                refused::count(Reason::Rooms);
                request.refuse(overloaded());
            }
            None => {
                // Whom another node sends is for this one, which claims the room or says who has it.
                let is_placed = !request.is_from_here() || !self.shared.gateway.is_in_company();
                self.slots.insert(room.clone(), Slot::Opening(vec![request]));
                if is_placed {
                    self.load(room);
                } else {
                    self.place(room);
                }
            }
        }
    }

    /// Whoever is on another node goes elsewhere; a client of this one connects to another.
    fn too_late(&self, request: JoinRequest) {
        if !request.is_from_here() {
            return request.link.not_here(request.reply, None);
        }
        let refusal = Refusal::new(ErrorCode::Draining, "this node is going away; connect again");
        request.refuse(refusal.retry_after_ms(self.shared.retry_after_ms()));
    }

    /// Those who wait at the door of a room that is not open. One that opened meanwhile, as another node handed it over, stays.
    fn take_waiting(&mut self, room: &RoomId) -> Option<Vec<JoinRequest>> {
        match self.slots.remove(room)? {
            Slot::Opening(waiting) => Some(waiting),
            open @ Slot::Open { .. } => {
                self.slots.insert(room.clone(), open);
                None
            }
        }
    }

    /// Whether a room that was claimed is still to be opened. If nobody waits for it any more, it is given up.
    fn is_awaited(&self, room: &RoomId, epoch: u64) -> bool {
        match self.slots.get(room) {
            Some(Slot::Opening(_)) => true,
            Some(Slot::Open { epoch: open, .. }) if *open >= epoch => false,
            Some(Slot::Open { .. }) | None => {
                self.give_up(room.clone(), epoch);
                false
            }
        }
    }

    /// Finds out where a room runs, or is to run.
    fn place(&self, room: RoomId) {
        let (shared, myself) = (self.shared.clone(), self.myself.clone());
        let task = async move {
            let failed = Err(Refusal::new(ErrorCode::Internal, "looking for the room failed"));
            let promise = myself.promise(RoomsMsg::Placed {
                room: room.clone(),
                result: failed,
            });
            let result = whereabouts(&shared, &room).await;
            promise.keep(RoomsMsg::Placed { room, result });
        };
        tokio::spawn(task.instrument(trace::step!("room.place")));
    }

    /// The room is another node's: whoever waits here goes there, and whoever another node sent goes back.
    fn send_on(&mut self, room: &RoomId, member: &Member) {
        for request in self.take_waiting(room).unwrap_or_default() {
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

    fn load(&self, room: RoomId) {
        let (shared, myself) = (self.shared.clone(), self.myself.clone());
        let task = async move {
            let failed = Err(Refusal::new(ErrorCode::Internal, "loading the room failed"));
            let promise = myself.promise(RoomsMsg::Loaded {
                room: room.clone(),
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
            promise.keep(RoomsMsg::Loaded { room, result });
        };
        tokio::spawn(task.instrument(trace::step!("room.load")));
    }

    fn loaded(&mut self, room: &RoomId, result: Result<CatalogEntry, Refusal>) {
        let found = match result {
            Ok(CatalogEntry::Room(found)) => Some(Found {
                room: *found,
                ringing: false,
            }),
            Ok(CatalogEntry::Free(former)) => self.make(room, former.as_ref()),
            Err(refusal) => return self.turn_away(room, &refusal),
        };
        match found {
            Some(found) => self.claim(found),
            None => {
                let refusal = Refusal::new(ErrorCode::RoomNotFound, "nobody created a room of this id");
                self.turn_away(room, &refusal);
            }
        }
    }

    /// A room that nobody created: made for a call, or by the first who may make rooms by joining them, whose token is not
    /// for the one that was there.
    fn make(&mut self, room: &RoomId, former: Option<&FormerRoom>) -> Option<Found> {
        let Some(Slot::Opening(waiting)) = self.slots.get_mut(room) else {
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

    fn claim(&self, found: Found) {
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
                result,
            });
        };
        tokio::spawn(task.instrument(trace::step!("room.claim")));
    }

    async fn open(&mut self, supervisor: ActorCell, opening: Opening) {
        let Opening {
            found,
            epoch,
            inherited,
            done,
        } = opening;
        let is_inherited = inherited.is_some();
        let Found {
            room: CatalogRoom { room, waiting_call },
            ringing,
        } = found;
        let id = room.id.clone();
        if self.draining {
            self.give_up(id.clone(), epoch);
            for request in self.take_waiting(&id).unwrap_or_default() {
                self.too_late(request);
            }
            return;
        }
        let card = Card::of(&room);
        let limits = &self.shared.args.limits;
        let setup = Setup {
            room,
            waiting_call,
            ringing,
            node: self.shared.args.member.node.clone(),
            epoch,
            max_size: limits.max_room_size,
            grace: limits.grace,
            history: limits.history,
            media_timeout: limits.media_timeout,
            ids: Box::new(Uuid::now_v7),
        };
        let args = RoomArgs {
            setup,
            inherited,
            shared: self.shared.clone(),
            rooms: self.myself.clone(),
            card: card.clone(),
        };
        let (started, handle) = oneshot::channel();
        let spawned = Actor::spawn_linked(None, Room, (args, started), supervisor).await;
        let (Ok((actor, _)), Ok(handle)) = (spawned, handle.await) else {
            tracing::error!(room.id = %id, "a room did not start");
            self.give_up(id.clone(), epoch);
            return self.turn_away(&id, &Refusal::new(ErrorCode::Internal, "the room did not start"));
        };
        self.by_actor.insert(actor.get_id(), id.clone());
        self.shared.rooms.read().insert(
            id.clone(),
            Listed {
                handle: handle.clone(),
                card: card.clone(),
            },
        );
        if is_inherited {
            handle.post(RoomMsg::Announce);
        }
        if let Some(done) = done
            && done.send(true).is_err()
        {
            tracing::debug!(room.id = %id, "nobody waits for a room to be open any more");
        }
        let slot = Slot::Open {
            handle,
            card,
            epoch,
            joins_sent: 0,
        };
        if let Some(Slot::Opening(waiting)) = self.slots.insert(id, slot) {
            for request in waiting {
                // Each goes on with its own trace, not with that of who came first.
                let span = request.reply.call().span().clone();
                span.in_scope(|| self.join(request));
            }
        }
    }

    /// Nobody gets in; the next join begins anew.
    fn turn_away(&mut self, room: &RoomId, refusal: &Refusal) {
        for request in self.take_waiting(room).unwrap_or_default() {
            request.refuse(refusal.clone());
        }
    }

    /// A room that is empty and has seen every join that was sent to it is no longer needed. Otherwise somebody is on
    /// their way, and it will say again that it is empty.
    fn empty(&mut self, room: &RoomHandle, joins_seen: u64) {
        let Some(Slot::Open { handle, joins_sent, .. }) = self.slots.get(room.id()) else {
            return;
        };
        if handle.mailbox().same_as(room.mailbox()) && *joins_sent == joins_seen {
            let cell = handle.mailbox().cell();
            self.clear_away(cell.get_id());
            cell.stop(Some("empty".to_owned()));
        }
    }

    /// Forgets a room that ended, writes its call's end down in case it could not, and gives it up.
    fn clear_away(&mut self, actor: ActorId) {
        let Some(room) = self.by_actor.remove(&actor) else {
            return;
        };
        self.shared.rooms.remove(&room);
        let Some(Slot::Open { card, epoch, .. }) = self.slots.remove(&room) else {
            return;
        };
        if let (Some(call), _) = card.now() {
            self.shared.write_down(JournalEntry::CallEnded {
                call,
                ended_at: Timestamp::now_utc(),
            });
        }
        self.give_up(room, epoch);
    }

    /// Lets another node have the room. Until that has come about, it finds that nobody runs it.
    fn give_up(&self, room: RoomId, epoch: u64) {
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let releasing = shared.args.directory.release(&room, epoch);
            match tokio::time::timeout(shared.args.limits.call_timeout, releasing).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(room.id = %room, error = %error, "a room could not be given up"),
                Err(_) => tracing::warn!(room.id = %room, "giving a room up took too long"),
            }
        });
    }

    fn drain(&mut self, guard: &DrainGuard) {
        self.draining = true;
        for slot in self.slots.values() {
            if let Slot::Open { handle, .. } = slot {
                handle.post(RoomMsg::Close {
                    tell: false,
                    done: Some(guard.clone()),
                });
            }
        }
    }
}

fn away(text: &str) -> Refusal {
    Refusal::new(ErrorCode::DependencyUnavailable, text)
}
