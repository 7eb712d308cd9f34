//! A room as its supervisor has it.

use std::sync::Arc;

use super::super::message::{JoinRequest, RoomHandle};
use super::message::Opening;
use super::table::Card;

/// A room.
pub(super) enum Slot {
    /// Being placed, loaded and claimed.
    Opening(Door),
    /// It runs.
    Open {
        handle: RoomHandle,
        card: Arc<Card>,
        epoch: u64,
        joins_sent: u64,
    },
}

/// The door of a room that is being opened.
pub(super) struct Door {
    /// Answers to an earlier attempt are of no use.
    pub(super) attempt: u64,
    pub(super) waiting: Vec<JoinRequest>,
    /// The directory is being asked for the room. Until it has answered, it is not known under which epoch the room is ours.
    pub(super) claiming: bool,
    /// What another node handed over meanwhile.
    pub(super) adopted: Option<Box<Opening>>,
}

impl Slot {
    pub(super) fn handle(&self) -> Option<&RoomHandle> {
        match self {
            Self::Open { handle, .. } => Some(handle),
            Self::Opening(_) => None,
        }
    }
}

impl Door {
    pub(super) fn new(attempt: u64, waiting: Vec<JoinRequest>) -> Self {
        Self {
            attempt,
            waiting,
            claiming: false,
            adopted: None,
        }
    }
}
