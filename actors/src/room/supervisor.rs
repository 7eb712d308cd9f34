//! The supervisor of rooms: loads, makes and claims them on first need, passes joins on, and clears away those that are
//! empty or have failed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use caside_cluster::{Claim, DirectoryAway, Owner, placement};
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::Member;
use caside_protocol::server::MoveReason;
use caside_protocol::view::{Mode, RecordPolicy};
use caside_protocol::{CallId, RoomId, Timestamp, UserId};
use caside_store::JournalEntry;
use caside_store::rooms::{FormerRoom, StoredRoom};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::actor::{Room, RoomArgs, overloaded};
use super::keeping::Inherited;
use super::message::{Handing, JoinRequest, RoomHandle, RoomMsg};
use super::snapshot::Snapshot;
use super::state::Setup;
use crate::gateway::Copy;
use crate::mailbox::{Alive, Mailbox, Named, Overloaded, Traced};
use crate::node::Shared;
use crate::peer::DrainGuard;
use crate::ports::{CatalogEntry, CatalogRoom};

/// Joins that may wait for the supervisor, and for one room that is loading.
pub(crate) const MAILBOX: usize = 16_384;
const MAX_WAITING: usize = 1024;
/// When it is looked for what a node that is gone left behind: those who kept its rooms have taken them by then.
const LEFT_BEHIND_AFTER: Duration = Duration::from_millis(500);
/// How long a directory that listens to owners first is left alone between two claims.
const SETTLING_LEAST: Duration = Duration::from_millis(50);
const SETTLING_MOST: Duration = Duration::from_millis(500);
/// When a room is claimed again that is to be taken over, while the directory does not answer.
const CLAIM_AGAIN: Duration = Duration::from_millis(300);

/// What others may know of a room without asking it.
#[derive(Debug)]
pub(crate) struct Card {
    /// Who made it.
    pub(crate) owner: Option<UserId>,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When somebody else's room of this id ended.
    pub(crate) tokens_since: Option<Timestamp>,
    /// What changes.
    now: Mutex<(Option<CallId>, usize)>,
}

impl Card {
    /// Writes down the call that is on and how many are here; gives what was so before.
    fn update(&self, call: Option<CallId>, participants: usize) -> (Option<CallId>, usize) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *now, (call, participants))
    }

    /// The call that is on and how many are here.
    pub(crate) fn now(&self) -> (Option<CallId>, usize) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A room in the table.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The way to it.
    pub(crate) handle: RoomHandle,
    /// What is known of it.
    pub(crate) card: Arc<Card>,
}

/// The rooms that run, written by their supervisor alone, and the calls that are on in them, written by each.
#[derive(Debug, Default)]
pub(crate) struct RoomTable {
    rooms: Mutex<HashMap<RoomId, Listed>>,
    calls: Mutex<HashMap<CallId, RoomId>>,
}

impl RoomTable {
    /// Every room.
    pub(crate) fn read(&self) -> MutexGuard<'_, HashMap<RoomId, Listed>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<CallId, RoomId>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The room whose call this is.
    pub(crate) fn of_call(&self, call: CallId) -> Option<RoomId> {
        let room = self.calls().get(&call).cloned()?;
        // A room that its supervisor's end took along may have written its call down just after.
        let listed = self.find(&room)?;
        (listed.card.now().0 == Some(call)).then_some(room)
    }

    /// Writes down how a room is now, on its card and in the list of calls.
    pub(super) fn update(&self, room: &RoomId, card: &Card, call: Option<CallId>, participants: usize) {
        let (before, _) = card.update(call, participants);
        if before == call {
            return;
        }
        let mut calls = self.calls();
        if let Some(before) = before {
            calls.remove(&before);
        }
        if let Some(call) = call {
            calls.insert(call, room.clone());
        }
    }

    /// Forgets a room and its call.
    fn remove(&self, room: &RoomId) {
        let Some(listed) = self.read().remove(room) else { return };
        if let (Some(call), _) = listed.card.now() {
            self.calls().remove(&call);
        }
    }

    /// Forgets every room.
    pub(crate) fn clear(&self) {
        self.read().clear();
        self.calls().clear();
    }

    /// One room.
    pub(crate) fn find(&self, room: &RoomId) -> Option<Listed> {
        self.read().get(room).cloned()
    }
}

/// A message to the supervisor.
#[derive(Debug)]
pub(crate) enum RoomsMsg {
    /// Somebody wants into a room.
    Join(Box<JoinRequest>),
    /// Where a room runs that was not known here.
    Placed {
        room: RoomId,
        result: Result<Whereabouts, Refusal>,
    },
    /// A node is no more.
    Gone(Member),
    /// This room of a node that is no more may have been left behind.
    LeftBehind(RoomId),
    /// The directory answered for a room that is to be taken over.
    Inherited {
        room: RoomId,
        copy: Option<Copy>,
        result: Result<Claim, Refusal>,
    },
    /// Another node hands this room over.
    Adopt {
        room: RoomId,
        epoch: u64,
        snapshot: Box<Snapshot>,
        done: oneshot::Sender<bool>,
    },
    /// A room of this node is another's.
    HandedOver { room: RoomHandle, to: Member, epoch: u64 },
    /// Rooms are to be handed over to other nodes, so many at a time.
    Evacuate { at_once: usize, done: DrainGuard },
    /// This node owns nothing any more.
    Fenced,
    /// It may own rooms again.
    Reinstated,
    /// Another node has this room.
    Lost { room: RoomId, epoch: u64 },
    /// The catalog answered.
    Loaded {
        room: RoomId,
        result: Result<CatalogEntry, Refusal>,
    },
    /// The directory answered.
    Claimed {
        found: Box<Found>,
        result: Result<Claimed, Refusal>,
    },
    /// Nobody is in this room after so many joins.
    Empty { room: RoomHandle, joins_seen: u64 },
    /// Every room is to close.
    Drain(DrainGuard),
}

impl Named for RoomsMsg {
    fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Placed { .. } => "placed",
            Self::Gone(_) => "gone",
            Self::LeftBehind(_) => "left_behind",
            Self::Inherited { .. } => "inherited",
            Self::Adopt { .. } => "adopt",
            Self::HandedOver { .. } => "handed_over",
            Self::Evacuate { .. } => "evacuate",
            Self::Fenced => "fenced",
            Self::Reinstated => "reinstated",
            Self::Lost { .. } => "lost",
            Self::Loaded { .. } => "loaded",
            Self::Claimed { .. } => "claimed",
            Self::Empty { .. } => "empty",
            Self::Drain(_) => "drain",
        }
    }
}

/// Where a room is to be joined.
#[derive(Debug)]
pub(crate) enum Whereabouts {
    Here,
    There(Member),
}

/// What came of a claim.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// Under this epoch; with what an owner before left.
    Granted(u64, Option<Bytes>),
    Taken(Owner),
}

/// A room that is to be opened.
pub(crate) struct Opening {
    found: Found,
    epoch: u64,
    inherited: Option<Inherited>,
    /// Told whether it is open.
    done: Option<oneshot::Sender<bool>>,
}

/// A room that is to start.
#[derive(Debug)]
pub(crate) struct Found {
    room: CatalogRoom,
    ringing: bool,
}

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
    _alive: Alive,
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
        let counters = &args.shared.counters.rooms;
        let myself = Mailbox::new(actor, MAILBOX, counters.clone());
        args.started
            .send(myself.clone())
            .map_err(|_| "nobody waits for the supervisor of rooms")?;
        let _alive = counters.alive();
        let (slots, by_actor) = (HashMap::new(), HashMap::new());
        Ok(Running {
            shared: args.shared,
            myself,
            slots,
            by_actor,
            draining: false,
            _alive,
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
                running.shared.counters.room.failed();
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
        }
        None
    }

    fn join(&mut self, request: JoinRequest) {
        if self.draining {
            let refusal = Refusal::new(ErrorCode::Draining, "this node is going away; connect again");
            return request.refuse(refusal.retry_after_ms(self.shared.retry_after_ms()));
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
            None if all_rooms => request.refuse(overloaded()),
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

    /// Finds out where a room runs, or is to run.
    fn place(&self, room: RoomId) {
        let (shared, myself) = (self.shared.clone(), self.myself.clone());
        tokio::spawn(async move {
            let failed = Err(Refusal::new(ErrorCode::Internal, "looking for the room failed"));
            let promise = myself.promise(RoomsMsg::Placed {
                room: room.clone(),
                result: failed,
            });
            let result = whereabouts(&shared, &room).await;
            promise.keep(RoomsMsg::Placed { room, result });
        });
    }

    /// The room is another node's: whoever waits here goes there, and whoever another node sent goes back.
    fn send_on(&mut self, room: &RoomId, member: &Member) {
        let Some(Slot::Opening(waiting)) = self.slots.remove(room) else {
            return;
        };
        for request in waiting {
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
        tokio::spawn(async move {
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
        });
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
        tokio::spawn(async move {
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
        });
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
            let refusal = Refusal::new(ErrorCode::Draining, "this node is going away; connect again");
            return self.turn_away(&id, &refusal.retry_after_ms(self.shared.retry_after_ms()));
        }
        let now = Mutex::new((None, 0));
        let card = Arc::new(Card {
            owner: room.owner.clone(),
            created_at: room.created_at,
            tokens_since: room.tokens_since,
            now,
        });
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
                self.join(request);
            }
        }
    }

    // ---- rooms that come from other nodes and go to them ----------------------------------------------------------

    /// Takes over the rooms of a node that is no more: those that were kept here at once, and what is left behind later.
    fn gone(&mut self, member: &Member) {
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
    fn inherit(&mut self, room: RoomId, copy: Option<Copy>) {
        if self.draining || self.slots.contains_key(&room) {
            return;
        }
        self.slots.insert(room.clone(), Slot::Opening(Vec::new()));
        self.claim_inherited(room, copy, Duration::ZERO);
    }

    fn claim_inherited(&self, room: RoomId, copy: Option<Copy>, wait: Duration) {
        let (shared, myself) = (self.shared.clone(), self.myself.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let claiming = shared.args.directory.claim(&room);
            let result = match tokio::time::timeout(shared.args.limits.call_timeout, claiming).await {
                Ok(Ok(claim)) => Ok(claim),
                Ok(Err(error)) => {
                    tracing::warn!(room.id = %room, %error, "a room could not be taken over");
                    Err(away("the room directory is away; try again"))
                }
                Err(_) => Err(away("claiming the room took too long; try again")),
            };
            myself.post(RoomsMsg::Inherited { room, copy, result });
        });
    }

    fn inherited(&mut self, room: RoomId, copy: Option<Copy>, result: Result<Claim, Refusal>) -> Option<Opening> {
        if !matches!(self.slots.get(&room), Some(Slot::Opening(_))) {
            return None;
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
            Ok(Claim::Settling(wait)) => self.claim_inherited(room, copy, wait),
            Err(_) => self.claim_inherited(room, copy, CLAIM_AGAIN),
        }
        None
    }

    /// Opens a room that its owner hands over to this node.
    fn adopt(
        &mut self,
        room: RoomId,
        epoch: u64,
        snapshot: Box<Snapshot>,
        done: oneshot::Sender<bool>,
    ) -> Option<Opening> {
        if let Some(Slot::Open { .. }) = self.slots.get(&room) {
            return None;
        }
        self.slots.entry(room).or_insert_with(|| Slot::Opening(Vec::new()));
        let found = found_of(&snapshot);
        let inherited = Inherited {
            snapshot,
            reason: MoveReason::Drain,
        };
        Some(Opening {
            done: Some(done),
            ..opening(found, epoch, Some(inherited))
        })
    }

    /// A room of this node is another's.
    fn handed_over(&mut self, room: &RoomHandle, to: Member, epoch: u64) {
        self.shared.gateway.learn(room.id(), Owner { member: to, epoch });
        self.forget(room);
    }

    /// Has every room handed over to where it is placed among the others; what cannot be stays.
    fn evacuate(&self, at_once: usize, done: &DrainGuard) {
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
    fn fenced(&mut self) {
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
    fn lost(&mut self, room: &RoomId, epoch: u64) {
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

    /// Nobody gets in; the next join begins anew.
    fn turn_away(&mut self, room: &RoomId, refusal: &Refusal) {
        if let Some(Slot::Opening(waiting)) = self.slots.remove(room) {
            for request in waiting {
                request.refuse(refusal.clone());
            }
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

/// Where a room runs, or, when it does not, where it is to run.
async fn whereabouts(shared: &Shared, room: &RoomId) -> Result<Whereabouts, Refusal> {
    let gateway = &shared.gateway;
    let others = gateway.others();
    let owner = match gateway.route(room) {
        Some(owner) => Some(owner),
        None => {
            let looking =
                tokio::time::timeout(shared.args.limits.call_timeout, shared.args.directory.lookup(room)).await;
            match looking {
                Ok(Ok(owner)) => owner,
                Ok(Err(error)) => {
                    tracing::debug!(room.id = %room, %error, "a room could not be looked up; the other nodes are asked");
                    gateway.who_runs(room).await
                }
                Err(_) => return Err(away("looking for the room took too long; try again")),
            }
        }
    };
    if let Some(owner) = owner {
        if owner.member == shared.args.member {
            return Ok(Whereabouts::Here);
        }
        if others.iter().any(|other| other.member == owner.member) {
            gateway.learn(room, owner.clone());
            return Ok(Whereabouts::There(owner.member));
        }
        return Err(away("the room's node cannot be reached now; try again"));
    }
    let myself = shared.as_neighbour();
    match placement::place(room, others.iter().chain([&myself])) {
        Some(member) if *member != shared.args.member => Ok(Whereabouts::There(member.clone())),
        _ => Ok(Whereabouts::Here),
    }
}

/// Claims a room; of a directory that listens to owners first, when it no longer does, and of one that does not answer, when
/// it does or is known to be away for everybody.
async fn claim(shared: &Shared, room: &RoomId) -> Result<Claim, DirectoryAway> {
    let until = Instant::now() + shared.args.limits.call_timeout * 4 / 5;
    loop {
        let wait = match shared.args.directory.claim(room).await {
            Ok(Claim::Settling(wait)) => wait.clamp(SETTLING_LEAST, SETTLING_MOST),
            Ok(claim) => return Ok(claim),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => SETTLING_MOST / 2,
        };
        tokio::time::sleep(wait).await;
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

fn opening(found: Found, epoch: u64, inherited: Option<Inherited>) -> Opening {
    Opening {
        found,
        epoch,
        inherited,
        done: None,
    }
}

/// The later one of what was kept here and in the directory.
fn newest(room: &RoomId, copy: Option<Copy>, kept: Option<Bytes>) -> Option<Inherited> {
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

fn away(text: &str) -> Refusal {
    Refusal::new(ErrorCode::DependencyUnavailable, text)
}
