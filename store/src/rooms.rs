//! Rooms as they are configured; who is in them is the directory's knowledge.

use std::collections::HashMap;

use caside_protocol::rest::{Page, UpdateRoom};
use caside_protocol::view::{Mode, RecordPolicy};
use caside_protocol::{RoomId, UserId};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::calls;
use crate::entity::{former_rooms, rooms};
use crate::names::{Named, TextId, instant};
use crate::{PageRequest, Store, StoreError};

/// Marks the cursors of this list.
const CURSOR: char = 'r';

/// A room as configured. What it serializes as goes from node to node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredRoom {
    /// Its id.
    pub id: RoomId,
    /// The name to show.
    pub name: Option<String>,
    /// How media flows.
    pub mode: Mode,
    /// 0: the node's limit.
    pub max_participants: u32,
    /// Whose cameras a member receives: the last speakers'; 0: everybody's.
    pub last_n: u32,
    /// How many voices are heard at a time, the loudest; 0: all.
    pub audio_last_n: u32,
    /// Whether calls are recorded.
    pub record: RecordPolicy,
    /// Whether newcomers below moderator are kept out.
    pub locked: bool,
    /// The application's own.
    pub metadata: Value,
    /// Who made it.
    pub owner: Option<UserId>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When somebody else's room of this id was deleted: tokens made for that one are good for this one no more.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub tokens_since: Option<OffsetDateTime>,
}

impl StoredRoom {
    /// Whether a right to a room of this id that was given at `right_since` is one to this room; always when the right
    /// is not to one room (`None`).
    pub fn admits(&self, right_since: Option<OffsetDateTime>) -> bool {
        is_later(right_since, self.tokens_since)
    }
}

/// What is kept of a room that was deleted.
///
/// A token can outlive its room: whoever had a host's would rule whatever room is made under that id later. Comparing it
/// with the later room's creation would not do, for tokens are made before their room as a rule, when the first join
/// makes it. So the deletion is remembered, and what was given before it is void afterwards, unless the same owner makes
/// the room anew: then it is their own right that they gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerRoom {
    /// Who owned it.
    pub owner: Option<UserId>,
    /// When it was deleted.
    pub deleted_at: OffsetDateTime,
    /// As it was in force for that room.
    pub tokens_since: Option<OffsetDateTime>,
}

impl FormerRoom {
    /// From when on tokens are good for a later room of this owner.
    pub fn tokens_since(&self, owner: Option<&UserId>) -> Option<OffsetDateTime> {
        let same = owner.is_some() && owner == self.owner.as_ref();
        if same { self.tokens_since } else { Some(self.deleted_at) }
    }

    /// Whether a right that was given at `right_since` is one to a later room of this owner.
    pub fn admits(&self, right_since: Option<OffsetDateTime>, owner: Option<&UserId>) -> bool {
        is_later(right_since, self.tokens_since(owner))
    }

    /// Makes `room` a later one. It is made after this one's end, whatever a clock that was set back says.
    pub fn precede(&self, room: &mut StoredRoom) {
        room.tokens_since = self.tokens_since(room.owner.as_ref());
        room.created_at = room.created_at.max(self.deleted_at + Duration::microseconds(1));
    }
}

fn is_later(right_since: Option<OffsetDateTime>, tokens_since: Option<OffsetDateTime>) -> bool {
    match (right_since, tokens_since) {
        (Some(right), Some(since)) => right > since,
        _ => true,
    }
}

impl Store {
    /// Makes a room, or finds the one of this id: `true` with it when it was made now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_room(&self, room: &StoredRoom) -> Result<(StoredRoom, bool), StoreError> {
        self.timed(async {
            let transaction = self.begin().await?;
            let made = insert(&transaction, room).await?;
            let row = rooms::Entity::find_by_id(room.id.as_str()).one(&transaction).await?;
            transaction.commit().await?;
            match row {
                Some(row) => Ok((row.try_into()?, made)),
                // Another transaction deleted it between our two statements.
                None => Err(StoreError::Conflict {
                    what: "a room that was just deleted".to_owned(),
                }),
            }
        })
        .await
    }

    /// The room of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn room(&self, id: &RoomId) -> Result<Option<StoredRoom>, StoreError> {
        let query = rooms::Entity::find_by_id(id.as_str());
        self.timed(async { query.one(self.read()).await?.map(StoredRoom::try_from).transpose() })
            .await
    }

    /// All rooms, or those of one owner, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or when the database fails.
    pub async fn rooms(&self, owner: Option<&UserId>, page: &PageRequest) -> Result<Page<StoredRoom>, StoreError> {
        let mut query = rooms::Entity::find()
            .order_by_desc(rooms::Column::Ordinal)
            .limit(page.fetch());
        if let Some(owner) = owner {
            query = query.filter(rooms::Column::Owner.eq(owner.as_str()));
        }
        if let Some(after) = page.after(CURSOR)? {
            query = query.filter(rooms::Column::Ordinal.lt(after));
        }
        let rows = self.timed(async { Ok(query.all(self.read()).await?) }).await?;
        page.page(CURSOR, rows, |row| row.ordinal, StoredRoom::try_from)
    }

    /// How many rooms a user owns.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rooms_owned(&self, owner: &UserId) -> Result<u64, StoreError> {
        let query = rooms::Entity::find().filter(rooms::Column::Owner.eq(owner.as_str()));
        self.timed(async { Ok(query.count(self.read()).await?) }).await
    }

    /// Changes the fields that are given; the room as it is then, or `None` when there is no such room.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn update_room(&self, id: &RoomId, change: &UpdateRoom) -> Result<Option<StoredRoom>, StoreError> {
        let mut row = <rooms::ActiveModel as Default>::default();
        if let Some(name) = &change.name {
            row.name = Set(Some(name.clone()));
        }
        if let Some(mode) = change.mode {
            row.mode = Set(mode.name().to_owned());
        }
        if let Some(max_participants) = change.max_participants {
            row.max_participants = Set(max_participants.into());
        }
        if let Some(last_n) = change.last_n {
            row.last_n = Set(last_n.into());
        }
        if let Some(audio_last_n) = change.audio_last_n {
            row.audio_last_n = Set(audio_last_n.into());
        }
        if let Some(record) = change.record {
            row.record = Set(record.name().to_owned());
        }
        if let Some(locked) = change.locked {
            row.locked = Set(locked);
        }
        if let Some(metadata) = &change.metadata {
            row.metadata = Set(metadata.clone());
        }
        self.timed(async {
            let transaction = self.begin().await?;
            if row.is_changed() {
                rooms::Entity::update_many()
                    .set(row)
                    .filter(rooms::Column::Id.eq(id.as_str()))
                    .exec(&transaction)
                    .await?;
            }
            let row = rooms::Entity::find_by_id(id.as_str()).one(&transaction).await?;
            transaction.commit().await?;
            row.map(StoredRoom::try_from).transpose()
        })
        .await
    }

    /// Deletes a room, and ends the call that waits in it; its calls and recordings stay, and that it was there is
    /// remembered ([`FormerRoom`]). `false` when there is no such room.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn delete_room(&self, id: &RoomId, now: OffsetDateTime) -> Result<bool, StoreError> {
        self.timed(async {
            let transaction = self.begin().await?;
            let query = rooms::Entity::find_by_id(id.as_str()).lock_exclusive();
            let Some(room) = query.one(&transaction).await? else {
                return Ok(false);
            };
            rooms::Entity::delete_by_id(id.as_str()).exec(&transaction).await?;
            // The first join of a later room would take it up.
            calls::end_waiting(&transaction, id, now).await?;
            let row = former_rooms::ActiveModel {
                id: Set(room.id),
                owner: Set(room.owner),
                deleted_at: Set(instant(now)),
                tokens_since: Set(room.tokens_since),
            };
            let columns = [
                former_rooms::Column::Owner,
                former_rooms::Column::DeletedAt,
                former_rooms::Column::TokensSince,
            ];
            former_rooms::Entity::insert(row)
                .on_conflict(
                    OnConflict::column(former_rooms::Column::Id)
                        .update_columns(columns)
                        .to_owned(),
                )
                .exec_without_returning(&transaction)
                .await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// The last room of this id that was deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn former_room(&self, id: &RoomId) -> Result<Option<FormerRoom>, StoreError> {
        self.timed(former(self.read(), id)).await
    }

    /// Whether a right to a room of this id that was given at `right_since` is void: it is to a room before the one that
    /// is there, or that was there last.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_lapsed(&self, id: &RoomId, right_since: OffsetDateTime) -> Result<bool, StoreError> {
        let tokens_since = match self.room(id).await? {
            Some(room) => room.tokens_since,
            None => self.former_room(id).await?.and_then(|former| former.tokens_since),
        };
        Ok(!is_later(Some(right_since), tokens_since))
    }
}

async fn former(db: &impl ConnectionTrait, id: &RoomId) -> Result<Option<FormerRoom>, StoreError> {
    let row = former_rooms::Entity::find_by_id(id.as_str()).one(db).await?;
    row.map(FormerRoom::try_from).transpose()
}

/// Inserts a room unless there is one of its id; whether it was inserted.
pub(crate) async fn insert(db: &impl ConnectionTrait, room: &StoredRoom) -> Result<bool, StoreError> {
    Ok(insert_all(db, &[room]).await? > 0)
}

/// Inserts rooms of different ids, but for those of which there is one; how many were inserted.
pub(crate) async fn insert_all(db: &impl ConnectionTrait, rooms: &[&StoredRoom]) -> Result<u64, StoreError> {
    if rooms.is_empty() {
        return Ok(0);
    }
    let former = former_rooms::Entity::find()
        .filter(former_rooms::Column::Id.is_in(rooms.iter().map(|room| room.id.as_str())))
        .all(db)
        .await?;
    let mut former: HashMap<String, former_rooms::Model> =
        former.into_iter().map(|row| (row.id.clone(), row)).collect();
    let mut rows = Vec::with_capacity(rooms.len());
    for room in rooms {
        let mut room = (*room).clone();
        if let Some(row) = former.remove(room.id.as_str()) {
            FormerRoom::try_from(row)?.precede(&mut room);
        }
        rows.push(rooms::ActiveModel {
            id: Set(room.id.into()),
            ordinal: Set(Uuid::now_v7()),
            name: Set(room.name),
            mode: Set(room.mode.name().to_owned()),
            max_participants: Set(room.max_participants.into()),
            last_n: Set(room.last_n.into()),
            audio_last_n: Set(room.audio_last_n.into()),
            record: Set(room.record.name().to_owned()),
            locked: Set(room.locked),
            metadata: Set(room.metadata),
            owner: Set(room.owner.map(String::from)),
            created_at: Set(instant(room.created_at)),
            tokens_since: Set(room.tokens_since.map(instant)),
        });
    }
    let inserted = rooms::Entity::insert_many(rows)
        .on_conflict(OnConflict::column(rooms::Column::Id).do_nothing().to_owned())
        .exec_without_returning(db)
        .await?;
    Ok(inserted)
}

/// Locks or unlocks a room.
pub(crate) async fn set_locked(db: &impl ConnectionTrait, room: &RoomId, locked: bool) -> Result<(), StoreError> {
    rooms::Entity::update_many()
        .col_expr(rooms::Column::Locked, Expr::value(locked))
        .filter(rooms::Column::Id.eq(room.as_str()))
        .exec(db)
        .await?;
    Ok(())
}

impl TryFrom<former_rooms::Model> for FormerRoom {
    type Error = StoreError;

    fn try_from(row: former_rooms::Model) -> Result<Self, StoreError> {
        Ok(Self {
            owner: UserId::of_option("former_rooms", "owner", row.owner.as_deref())?,
            deleted_at: row.deleted_at,
            tokens_since: row.tokens_since,
        })
    }
}

impl TryFrom<rooms::Model> for StoredRoom {
    type Error = StoreError;

    fn try_from(row: rooms::Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: RoomId::of("rooms", "id", &row.id)?,
            name: row.name,
            mode: Mode::of("rooms", "mode", &row.mode)?,
            max_participants: u32::try_from(row.max_participants).unwrap_or(0),
            last_n: u32::try_from(row.last_n).unwrap_or(0),
            audio_last_n: u32::try_from(row.audio_last_n).unwrap_or(0),
            record: RecordPolicy::of("rooms", "record", &row.record)?,
            locked: row.locked,
            metadata: row.metadata,
            owner: UserId::of_option("rooms", "owner", row.owner.as_deref())?,
            created_at: row.created_at,
            tokens_since: row.tokens_since,
        })
    }
}
