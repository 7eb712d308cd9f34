//! Rooms as they are configured; who is in them is the directory's knowledge.

use caside_protocol::rest::{Page, UpdateRoom};
use caside_protocol::view::{Mode, RecordPolicy};
use caside_protocol::{RoomId, UserId};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::entity::rooms;
use crate::names::{Named, TextId, instant};
use crate::{PageRequest, Store, StoreError};

/// Marks the cursors of this list.
const CURSOR: char = 'r';

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

    /// Forgets a room; its calls and recordings stay. `false` when there is no such room.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_room(&self, id: &RoomId) -> Result<bool, StoreError> {
        self.timed(async {
            let gone = rooms::Entity::delete_by_id(id.as_str()).exec(self.write()).await?;
            Ok(gone.rows_affected > 0)
        })
        .await
    }
}

/// Inserts a room unless there is one of its id; whether it was inserted.
pub(crate) async fn insert(db: &impl ConnectionTrait, room: &StoredRoom) -> Result<bool, StoreError> {
    let row = rooms::ActiveModel {
        id: Set(room.id.as_str().to_owned()),
        ordinal: Set(Uuid::now_v7()),
        name: Set(room.name.clone()),
        mode: Set(room.mode.name().to_owned()),
        max_participants: Set(room.max_participants.into()),
        record: Set(room.record.name().to_owned()),
        locked: Set(room.locked),
        metadata: Set(room.metadata.clone()),
        owner: Set(room.owner.as_ref().map(|owner| owner.as_str().to_owned())),
        created_at: Set(instant(room.created_at)),
    };
    let inserted = rooms::Entity::insert(row)
        .on_conflict(OnConflict::column(rooms::Column::Id).do_nothing().to_owned())
        .exec_without_returning(db)
        .await?;
    Ok(inserted > 0)
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

impl TryFrom<rooms::Model> for StoredRoom {
    type Error = StoreError;

    fn try_from(row: rooms::Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: RoomId::of("rooms", "id", &row.id)?,
            name: row.name,
            mode: Mode::of("rooms", "mode", &row.mode)?,
            max_participants: u32::try_from(row.max_participants).unwrap_or(0),
            record: RecordPolicy::of("rooms", "record", &row.record)?,
            locked: row.locked,
            metadata: row.metadata,
            owner: UserId::of_option("rooms", "owner", row.owner.as_deref())?,
            created_at: row.created_at,
        })
    }
}
