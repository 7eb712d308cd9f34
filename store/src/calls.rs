//! Calls: one sitting of a room each.

use caside_protocol::rest::{Call, CallStatus, Page};
use caside_protocol::{CallId, NodeId, RoomId, UserId};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{PageRequest, Store, StoreError};

/// Which calls to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// Of this room.
    pub room: Option<RoomId>,
    /// In this state.
    pub status: Option<CallStatus>,
    /// That this user was in, or whose room is theirs.
    pub visible_to: Option<UserId>,
}

impl Store {
    /// Makes a call that waits for its first join.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the id is there already.
    pub async fn create_call(
        &self,
        _id: CallId,
        _room: &RoomId,
        _metadata: &Value,
        _now: OffsetDateTime,
    ) -> Result<Call, StoreError> {
        todo!()
    }

    /// A call with its participants, at most [`MAX_CALL_PARTICIPANTS`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn call(&self, _id: CallId) -> Result<Option<Call>, StoreError> {
        todo!()
    }

    /// Calls with their participants, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or when the database fails.
    pub async fn calls(&self, _filter: &CallFilter, _page: &PageRequest) -> Result<Page<Call>, StoreError> {
        todo!()
    }

    /// The newest call of this room that was made but not yet joined.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_call(&self, _room: &RoomId) -> Result<Option<Call>, StoreError> {
        todo!()
    }

    /// Ends a call that no node runs, and the stays in it; `false` when it is unknown or over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_call(&self, _id: CallId, _at: OffsetDateTime) -> Result<bool, StoreError> {
        todo!()
    }

    /// Ends the calls that this node ran when it last died, with the stays in them; says which. To be called before
    /// the node takes rooms.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn close_orphans(&self, _node: &NodeId, _at: OffsetDateTime) -> Result<Vec<CallId>, StoreError> {
        todo!()
    }
}

/// Most participants shown of one call; the earliest stay.
pub const MAX_CALL_PARTICIPANTS: u64 = 1_000;
