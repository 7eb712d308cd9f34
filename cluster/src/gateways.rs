//! What one node has to do with the others, whatever carries it.

use caside_protocol::RoomId;
use caside_protocol::node::{Member, NodeMessage};

use crate::SendError;

/// Another member, as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Who.
    pub member: Member,
    /// Whether it gives its rooms away and takes none.
    pub draining: bool,
    /// How busy it is, in thousandths.
    pub load: u32,
}

/// The ways to the other members.
pub trait Gateways: Send + Sync {
    /// Those that can be sent to now, by id.
    fn others(&self) -> Vec<Neighbour>;

    /// Sends without waiting. Messages to one member arrive in order, or not at all from the one on with which its link broke.
    ///
    /// # Errors
    /// [`SendError`]: it did not go.
    fn send(&self, to: &Member, message: &NodeMessage) -> Result<(), SendError>;

    /// Tells the others how this one is.
    fn describe(&self, rooms: usize, load: u32, draining: bool);
}

/// Takes what the cluster has to say; must not block.
pub trait Inbox: Send + Sync {
    /// A message.
    fn received(&self, from: &Member, message: NodeMessage);
    /// A member can be sent to from now on.
    fn linked(&self, member: &Member);
    /// It can no longer; it may be alive.
    fn unlinked(&self, member: &Member);
    /// It is no more, and its rooms may be taken.
    fn gone(&self, member: &Member);
    /// This member owns nothing any more: what it runs must stop at once.
    fn fenced(&self);
    /// This member may own rooms again.
    fn reinstated(&self);
    /// Another has this room now.
    fn room_lost(&self, room: &RoomId, epoch: u64);
}

/// A node without others.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Gateways for Alone {
    fn others(&self) -> Vec<Neighbour> {
        Vec::new()
    }

    fn send(&self, _: &Member, _: &NodeMessage) -> Result<(), SendError> {
        Err(SendError::Unreachable)
    }

    fn describe(&self, _: usize, _: u32, _: bool) {}
}
