//! What is asked of a room directory, whoever keeps it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use caside_protocol::RoomId;
use caside_protocol::node::Member;

/// An answer that is still on its way.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who runs a room. Of two owners of one room the one with the higher epoch is right; of two with the same epoch the one
/// with the higher incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The member.
    pub member: Member,
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
        /// What the owner before kept there, when it went without giving the room up.
        kept: Option<Bytes>,
    },
    /// A live member has it.
    Taken(Owner),
    /// The directory has lost its memory and listens to owners first; worth another try after this time.
    Settling(Duration),
}

/// The directory cannot be asked now; the same question may be answered later.
#[derive(Debug, thiserror::Error)]
#[error("the room directory is away: {reason}")]
pub struct DirectoryAway {
    /// What failed.
    pub reason: String,
}

/// Room → owner, as one member sees it.
pub trait Directory: Send + Sync {
    /// Takes a room for this member unless another live one has it. A member that has it already gets a new epoch: it
    /// starts the room anew.
    fn claim<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<Claim, DirectoryAway>>;

    /// Who has a room; `None` also when its owner is no longer there.
    fn lookup<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<Option<Owner>, DirectoryAway>>;

    /// Gives a room up; ignored unless this member still has it under this epoch.
    fn release<'a>(&'a self, room: &'a RoomId, epoch: u64) -> Later<'a, Result<(), DirectoryAway>>;

    /// Gives a room to another member. Answers the new epoch; `None` when this member no longer has it under this one, or
    /// the other is not there.
    fn hand_over<'a>(
        &'a self,
        room: &'a RoomId,
        epoch: u64,
        to: &'a Member,
    ) -> Later<'a, Result<Option<u64>, DirectoryAway>>;

    /// The rooms that a member has, alive or not.
    fn rooms_of<'a>(&'a self, member: &'a Member) -> Later<'a, Result<Vec<RoomId>, DirectoryAway>>;

    /// Whether this member may own rooms now. Costs next to nothing.
    fn holds(&self) -> bool {
        true
    }

    /// Whether it does not answer now, and has not for a while. Costs next to nothing.
    fn is_away(&self) -> bool {
        false
    }

    /// Keeps a room's state for whoever has to take it over. `false` when this member no longer has the room under this
    /// epoch.
    fn keep<'a>(&'a self, room: &'a RoomId, epoch: u64, state: Bytes) -> Later<'a, Result<bool, DirectoryAway>>;
}
