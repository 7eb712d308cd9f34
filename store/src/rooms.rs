//! Rooms as they are configured; who is in them is the directory's knowledge.

use caside_protocol::rest::{Page, UpdateRoom};
use caside_protocol::view::{Mode, RecordPolicy};
use caside_protocol::{RoomId, UserId};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{PageRequest, Store, StoreError};

/// A room as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRoom {
    /// Its id.
    pub id: RoomId,
    /// The name to show.
    pub name: Option<String>,
    /// How media flows.
    pub mode: Mode,
    /// 0: the node's limit.
    pub max_participants: u32,
    /// Whether calls are recorded.
    pub record: RecordPolicy,
    /// Whether newcomers below moderator are kept out.
    pub locked: bool,
    /// The application's own.
    pub metadata: Value,
    /// Who made it.
    pub owner: Option<UserId>,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

impl Store {
    /// Makes a room, or finds the one of this id: `true` with it when it was made now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_room(&self, _room: &StoredRoom) -> Result<(StoredRoom, bool), StoreError> {
        todo!()
    }

    /// The room of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn room(&self, _id: &RoomId) -> Result<Option<StoredRoom>, StoreError> {
        todo!()
    }

    /// All rooms, or those of one owner, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or when the database fails.
    pub async fn rooms(&self, _owner: Option<&UserId>, _page: &PageRequest) -> Result<Page<StoredRoom>, StoreError> {
        todo!()
    }

    /// Changes the fields that are given; the room as it is then, or `None` when there is no such room.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_room(&self, _id: &RoomId, _change: &UpdateRoom) -> Result<Option<StoredRoom>, StoreError> {
        todo!()
    }

    /// Forgets a room; its calls and recordings stay. `false` when there is no such room.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_room(&self, _id: &RoomId) -> Result<bool, StoreError> {
        todo!()
    }
}
