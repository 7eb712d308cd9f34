//! The supervisor of rooms: loads, makes and claims them on first need, passes joins on, and clears away those that are
//! empty or have failed.

mod finding;
mod message;
mod moves;
mod placing;
mod slot;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::{RoomId, Timestamp};
use caside_store::JournalEntry;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use super::actor::{Room, RoomArgs, overloaded};
use super::message::{JoinRequest, RoomHandle, RoomMsg};
use super::state::Setup;
use crate::mailbox::{Mailbox, Overloaded, Traced};
use crate::node::Shared;
use crate::observed::{Kind, Label, Seen};
use crate::peer::DrainGuard;
use crate::ports::CatalogRoom;
use crate::refused::{self, Reason};
use message::{Found, Opening};
use moves::TAKEOVERS_AT_ONCE;
use slot::{Door, Slot};

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
    /// Rooms that were begun to be opened so far.
    attempts: u64,
    by_actor: HashMap<ActorId, RoomId>,
    /// Claims of rooms that are taken over; those of whoever waits for a room do not wait for these.
    takeovers: Arc<Semaphore>,
    draining: bool,
    _seen: Seen,
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
            attempts: 0,
            by_actor,
            takeovers: Arc::new(Semaphore::new(TAKEOVERS_AT_ONCE)),
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
            RoomsMsg::Placed { room, attempt, result } => self.placed(&room, attempt, result),
            RoomsMsg::Loaded { room, attempt, result } => self.loaded(&room, attempt, result),
            RoomsMsg::Claimed { found, attempt, result } => return self.claimed(*found, attempt, result),
            RoomsMsg::Gone(member) => self.gone(&member),
            RoomsMsg::LeftBehind(room) => self.inherit(room, None),
            RoomsMsg::Inherited {
                room,
                attempt,
                copy,
                result,
            } => return self.inherited(room, attempt, copy, result),
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
            Slot::Opening(door) => door.waiting.len(),
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
            Some(Slot::Opening(door)) if door.waiting.len() >= MAX_WAITING => request.refuse(overloaded()),
            Some(Slot::Opening(door)) => door.waiting.push(request),
            None if all_rooms => {
                refused::count(Reason::Rooms);
                request.refuse(overloaded());
            }
            None => {
                // Whom another node sends is for this one, which claims the room or says who has it.
                let is_placed = !request.is_from_here() || !self.shared.gateway.is_in_company();
                let attempt = self.begin(room.clone(), vec![request]);
                if is_placed {
                    self.load(room, attempt);
                } else {
                    self.place(room, attempt);
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

    /// Begins to open a room, before whose door these wait; gives the attempt's number.
    fn begin(&mut self, room: RoomId, waiting: Vec<JoinRequest>) -> u64 {
        self.attempts += 1;
        self.slots
            .insert(room, Slot::Opening(Door::new(self.attempts, waiting)));
        self.attempts
    }

    /// The door of a room that is being opened, if it is still this attempt.
    fn door(&mut self, room: &RoomId, attempt: u64) -> Option<&mut Door> {
        match self.slots.get_mut(room) {
            Some(Slot::Opening(door)) if door.attempt == attempt => Some(door),
            Some(Slot::Opening(_) | Slot::Open { .. }) | None => None,
        }
    }

    /// Ends an attempt: those who wait at the door of a room that is not open.
    fn take_waiting(&mut self, room: &RoomId) -> Vec<JoinRequest> {
        match self.slots.remove(room) {
            Some(Slot::Opening(door)) => door.waiting,
            Some(open @ Slot::Open { .. }) => {
                self.slots.insert(room.clone(), open);
                Vec::new()
            }
            None => Vec::new(),
        }
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
            for request in self.take_waiting(&id) {
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
        if let Some(Slot::Opening(door)) = self.slots.insert(id, slot) {
            for request in door.waiting {
                // Each goes on with its own trace, not with that of who came first.
                let span = request.reply.call().span().clone();
                span.in_scope(|| self.join(request));
            }
        }
    }

    /// Nobody gets in; the next join begins anew.
    fn turn_away(&mut self, room: &RoomId, refusal: &Refusal) {
        for request in self.take_waiting(room) {
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
