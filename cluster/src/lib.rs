//! Which node owns which room. Today's directory lives in the process; what callers see is shaped for one that is shared.
//!
//! Absent on purpose: what a room is. A directory knows names, nodes and epochs.

mod local;

use std::future::Future;
use std::pin::Pin;

use caside_protocol::{NodeId, RoomId};

pub use local::LocalDirectory;

/// An answer that is still on its way.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who runs a room. Of two owners of one room the one with the higher epoch is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The node.
    pub node: NodeId,
    /// Grows with each claim of the room.
    pub epoch: u64,
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The room is the claimer's, under this epoch.
    Granted {
        /// Of the new ownership.
        epoch: u64,
    },
    /// Another node has it.
    Taken(Owner),
}

/// The directory cannot be asked now; the same question may be answered later.
#[derive(Debug, thiserror::Error)]
#[error("the room directory is away: {reason}")]
pub struct DirectoryAway {
    /// What failed.
    pub reason: String,
}

/// Room → owner.
pub trait Directory: Send + Sync {
    /// Takes a room for `node` unless another node has it. A node that has it already gets a new epoch: it starts the room anew.
    fn claim<'a>(&'a self, room: &'a RoomId, node: &'a NodeId) -> Later<'a, Result<Claim, DirectoryAway>>;

    /// Who has a room.
    fn lookup<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<Option<Owner>, DirectoryAway>>;

    /// Gives a room up; ignored unless it is still owned by this node under this epoch.
    fn release<'a>(&'a self, room: &'a RoomId, owner: &'a Owner) -> Later<'a, Result<(), DirectoryAway>>;
}
