//! What the actors of a node have in common.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use caside_cluster::Neighbour;
use caside_protocol::{RoomId, UserId};
use caside_store::JournalEntry;
use ractor::ActorCell;

use super::NodeArgs;
use super::refusals::Refusals;
use crate::gateway::Gateway;
use crate::invites::InvitesMsg;
use crate::mailbox::Mailbox;
use crate::peer::{Allowances, Sessions};
use crate::room::{RoomTable, RoomsMsg};

/// The root's children.
#[derive(Debug, Clone)]
pub(super) struct Supervisors {
    pub(super) rooms: Mailbox<RoomsMsg>,
    pub(super) invites: Mailbox<InvitesMsg>,
    /// Has no mailbox of its own: sessions are linked to it.
    pub(super) peers: ActorCell,
}

/// What the actors of a node have in common.
pub(crate) struct Shared {
    pub(crate) args: NodeArgs,
    pub(crate) rooms: RoomTable,
    pub(crate) sessions: Sessions,
    pub(crate) plans: Plans,
    pub(crate) allowances: Allowances,
    pub(crate) refusals: Refusals,
    pub(crate) gateway: Arc<Gateway>,
    pub(super) draining: AtomicBool,
    /// Replaced when one of them fails and is started anew.
    supervisors: Mutex<Option<Supervisors>>,
    unwritten: AtomicU64,
    partings: AtomicU64,
}

impl Shared {
    pub(crate) fn new(args: NodeArgs) -> Arc<Self> {
        let gateway = Gateway::new(args.member.clone(), args.gateways.clone());
        Arc::new(Self {
            gateway,
            allowances: Allowances::new(&args.limits),
            args,
            rooms: RoomTable::default(),
            sessions: Sessions::default(),
            plans: Plans::default(),
            refusals: Refusals::default(),
            draining: AtomicBool::new(false),
            supervisors: Mutex::default(),
            unwritten: AtomicU64::new(0),
            partings: AtomicU64::new(0),
        })
    }

    /// Fills in the ways to the root's children.
    pub(super) fn connect(&self, supervisors: Supervisors) {
        *self.supervisors.lock().unwrap_or_else(PoisonError::into_inner) = Some(supervisors);
    }

    /// The root's children.
    pub(super) fn supervisors(&self) -> Supervisors {
        let supervisors = self.supervisors.lock().unwrap_or_else(PoisonError::into_inner);
        supervisors
            .clone()
            .expect("the tree is connected before its first session")
    }

    /// The supervisor of rooms.
    pub(crate) fn rooms_supervisor(&self) -> Mailbox<RoomsMsg> {
        self.supervisors().rooms
    }

    /// Calls and invitations.
    pub(crate) fn invites(&self) -> Mailbox<InvitesMsg> {
        self.supervisors().invites
    }

    /// Whether this node may own no rooms and reaches no other.
    pub(crate) fn is_out_of_touch(&self) -> bool {
        !self.args.directory.holds() && self.gateway.others().is_empty()
    }

    /// Whether no new sessions are taken.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// This node as others see it.
    pub(crate) fn as_neighbour(&self) -> Neighbour {
        Neighbour {
            member: self.args.member.clone(),
            draining: self.is_draining(),
            load: self.load(),
        }
    }

    /// How busy this node is, in thousandths: by its sessions and rooms.
    pub(crate) fn load(&self) -> u32 {
        let share = |have: usize, most: usize| have.saturating_mul(1000) / most.max(1);
        let sessions = share(self.sessions.len(), self.args.limits.max_sessions);
        let rooms = share(self.rooms.len(), self.args.limits.max_rooms);
        u32::try_from(sessions.max(rooms).min(1000)).unwrap_or(1000)
    }

    /// Appends to the journal. A call does not end because it cannot be written down; the loss is counted, and told at
    /// the first of a row.
    pub(crate) fn write_down(&self, entry: JournalEntry) {
        match self.args.journal.append(entry) {
            Ok(()) => {
                let lost = self.unwritten.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::warn!(lost, "the journal takes entries again");
                }
            }
            Err(error) => {
                if self.unwritten.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(error = %error, "calls are not written down");
                }
            }
        }
    }

    /// When a client that is sent away should come back: spread over 4 s, for they all come.
    pub(crate) fn retry_after_ms(&self) -> u64 {
        500 + self.partings.fetch_add(1, Ordering::Relaxed) * 37 % 4000
    }
}

/// Rooms that calls are to make: who calls.
#[derive(Debug, Default)]
pub(crate) struct Plans(Mutex<HashMap<RoomId, UserId>>);

impl Plans {
    /// The caller whose room this will be.
    pub(crate) fn find(&self, room: &RoomId) -> Option<UserId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    /// Plans a room; forgotten with its call.
    pub(crate) fn add(&self, room: RoomId, caller: UserId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(room, caller);
    }

    /// Forgets a room.
    pub(crate) fn remove(&self, room: &RoomId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(room);
    }
}
