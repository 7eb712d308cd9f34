//! What the supervisor of rooms is told.

use bytes::Bytes;
use caside_cluster::{Claim, Owner};
use caside_protocol::RoomId;
use caside_protocol::error::Refusal;
use caside_protocol::node::Member;
use tokio::sync::oneshot;

use super::super::keeping::Inherited;
use super::super::message::{JoinRequest, RoomHandle};
use super::super::snapshot::Snapshot;
use crate::gateway::Copy;
use crate::mailbox::{Inspected, Named};
use crate::observed::Asked;
use crate::peer::DrainGuard;
use crate::ports::{CatalogEntry, CatalogRoom};

/// A message to the supervisor.
#[derive(Debug)]
pub(crate) enum RoomsMsg {
    /// Somebody wants into a room.
    Join(Box<JoinRequest>),
    /// Where a room runs that was not known here.
    Placed {
        room: RoomId,
        /// To open it.
        attempt: u64,
        result: Result<Whereabouts, Refusal>,
    },
    /// A node is no more.
    Gone(Member),
    /// This room of a node that is no more may have been left behind.
    LeftBehind(RoomId),
    /// The directory answered for a room that is to be taken over.
    Inherited {
        room: RoomId,
        attempt: u64,
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
        attempt: u64,
        result: Result<CatalogEntry, Refusal>,
    },
    /// The directory answered.
    Claimed {
        found: Box<Found>,
        attempt: u64,
        result: Result<Claimed, Refusal>,
    },
    /// Nobody is in this room after so many joins.
    Empty { room: RoomHandle, joins_seen: u64 },
    /// Every room is to close.
    Drain(DrainGuard),
    /// An operator looks.
    Inspect(Asked),
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
            Self::Inspect(_) => "inspect",
        }
    }
}

impl Inspected for RoomsMsg {
    fn inspect(asked: Asked) -> Self {
        Self::Inspect(asked)
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
    pub(super) found: Found,
    pub(super) epoch: u64,
    pub(super) inherited: Option<Inherited>,
    /// Told whether it is open.
    pub(super) done: Option<oneshot::Sender<bool>>,
}

/// A room that is to start.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) room: CatalogRoom,
    pub(super) ringing: bool,
}
