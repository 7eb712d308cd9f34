//! Calls: one sitting of a room each.

use std::collections::{HashMap, HashSet};

use caside_protocol::rest::{Call, CallStatus, Page};
use caside_protocol::{CallId, NodeId, RoomId, UserId};
use sea_orm::sea_query::{Condition, Expr, Func, IntoColumnRef, OnConflict, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::entity::{call_owners, calls, participants};
use crate::journal::CallStarted;
use crate::names::{Named, TextId, first_id_at, instant, signed};
use crate::participants::{stay, stays_in};
use crate::{PageRequest, Store, StoreError};

/// Marks the cursors of this list.
const CURSOR: char = 'c';

/// Which calls to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// Of this room.
    pub room: Option<RoomId>,
    /// In this state.
    pub status: Option<CallStatus>,
    /// That this user was in, or whose room was theirs.
    pub visible_to: Option<UserId>,
    /// Made at this moment or later.
    pub since: Option<OffsetDateTime>,
}

/// Most participants shown of one call; the earliest stay.
pub const MAX_CALL_PARTICIPANTS: u64 = 1_000;

impl Store {
    /// Makes a call that waits for its first join.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the id is there already.
    pub async fn create_call(
        &self,
        id: CallId,
        room: &RoomId,
        owner: Option<&UserId>,
        metadata: &Value,
        now: OffsetDateTime,
    ) -> Result<Call, StoreError> {
        let row = calls::Model {
            id: id.0,
            room_id: room.as_str().to_owned(),
            created_at: instant(now),
            started_at: None,
            ended_at: None,
            status: CallStatus::Active.name().to_owned(),
            recording: false,
            metadata: metadata.clone(),
            owner: owner.map(|owner| owner.as_str().to_owned()),
        };
        self.timed(async {
            calls::Entity::insert(row.clone().into_active_model())
                .exec_without_returning(self.write())
                .await?;
            call(row, Vec::new())
        })
        .await
    }

    /// A call with its participants, at most [`MAX_CALL_PARTICIPANTS`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn call(&self, id: CallId) -> Result<Option<Call>, StoreError> {
        self.one_call(calls::Entity::find_by_id(id.0)).await
    }

    /// Who owned the room of a call when the call was made.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn call_owner(&self, id: CallId) -> Result<Option<UserId>, StoreError> {
        let row = self
            .timed(async { Ok(calls::Entity::find_by_id(id.0).one(self.read()).await?) })
            .await?;
        UserId::of_option("calls", "owner", row.and_then(|row| row.owner).as_deref())
    }

    /// The newest call of this room that was made but not yet joined.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_call(&self, room: &RoomId) -> Result<Option<Call>, StoreError> {
        let query = calls::Entity::find()
            .filter(calls::Column::RoomId.eq(room.as_str()))
            .filter(calls::Column::Status.eq(CallStatus::Active.name()))
            .filter(calls::Column::StartedAt.is_null())
            .order_by_desc(calls::Column::Id)
            .limit(1);
        self.one_call(query).await
    }

    async fn one_call(&self, query: Select<calls::Entity>) -> Result<Option<Call>, StoreError> {
        self.timed(async {
            let Some(row) = query.one(self.read()).await? else {
                return Ok(None);
            };
            let stays = stays_in(self.read(), &[row.id]).await?;
            call(row, stays).map(Some)
        })
        .await
    }

    /// Calls with their participants, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or when the database fails.
    pub async fn calls(&self, filter: &CallFilter, page: &PageRequest) -> Result<Page<Call>, StoreError> {
        let mut query = calls::Entity::find()
            .order_by_desc(calls::Column::Id)
            .limit(page.fetch());
        if let Some(room) = &filter.room {
            query = query.filter(calls::Column::RoomId.eq(room.as_str()));
        }
        if let Some(status) = filter.status {
            query = query.filter(calls::Column::Status.eq(status.name()));
        }
        if let Some(user) = &filter.visible_to {
            // Of whoever owned the room then: a later room of that id gives no right to what was before it.
            let owned = calls::Column::Owner.eq(user.as_str());
            query = query.filter(Condition::any().add(was_in(user, CALL_ID)).add(owned));
        }
        if let Some(since) = filter.since {
            query = query.filter(calls::Column::Id.gte(first_id_at(since)));
        }
        if let Some(after) = page.after(CURSOR)? {
            query = query.filter(calls::Column::Id.lt(after));
        }
        let (rows, stays) = self
            .timed(async {
                let rows = query.all(self.read()).await?;
                let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
                let stays = stays_in(self.read(), &ids).await?;
                Ok((rows, stays))
            })
            .await?;
        let mut stays_of: HashMap<Uuid, Vec<participants::Model>> = HashMap::new();
        for stay in stays {
            stays_of.entry(stay.call_id).or_default().push(stay);
        }
        page.page(
            CURSOR,
            rows,
            |row| row.id,
            |row| {
                let stays = stays_of.remove(&row.id).unwrap_or_default();
                call(row, stays)
            },
        )
    }

    /// Ends a call that no node runs, and the stays in it; `false` when it is unknown or over.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn end_call(&self, id: CallId, at: OffsetDateTime) -> Result<bool, StoreError> {
        self.timed(async {
            let transaction = self.begin().await?;
            let ended = end(&transaction, &[id.0], at).await?;
            transaction.commit().await?;
            Ok(ended > 0)
        })
        .await
    }

    /// Ends the calls that this node ran when it last died, with the stays in them; says which. To be called before
    /// the node takes rooms. `at` is the last moment the node is known to have lived, or now.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn close_orphans(&self, node: &NodeId, at: OffsetDateTime) -> Result<Vec<CallId>, StoreError> {
        self.timed(async {
            let transaction = self.begin().await?;
            let owned = call_owners::Entity::find()
                .filter(call_owners::Column::Node.eq(node.as_str()))
                .all(&transaction)
                .await?;
            let ids: Vec<Uuid> = owned.iter().map(|owner| owner.call_id).collect();
            for some in ids.chunks(500) {
                end(&transaction, some, at).await?;
            }
            transaction.commit().await?;
            Ok(ids.into_iter().map(CallId).collect())
        })
        .await
    }
}

/// The first joins of different calls: makes each, or takes it up when it was made before; and notes who runs it, unless
/// somebody of a later epoch does.
pub(crate) async fn start(db: &impl ConnectionTrait, started: &[&CallStarted]) -> Result<(), StoreError> {
    if started.is_empty() {
        return Ok(());
    }
    let rows = started.iter().map(|started| {
        calls::Model {
            id: started.call.0,
            room_id: started.room.as_str().to_owned(),
            created_at: instant(started.created_at),
            started_at: Some(instant(started.started_at)),
            ended_at: None,
            status: CallStatus::Active.name().to_owned(),
            recording: false,
            metadata: Value::Object(Map::new()),
            owner: started.owner.as_ref().map(|owner| owner.as_str().to_owned()),
        }
        .into_active_model()
    });
    let first_join = Func::coalesce([
        Expr::col((calls::Entity, calls::Column::StartedAt)),
        Expr::col(("excluded", calls::Column::StartedAt)),
    ]);
    calls::Entity::insert_many(rows)
        .on_conflict(
            OnConflict::column(calls::Column::Id)
                .value(calls::Column::StartedAt, first_join)
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    // Nobody runs a call that is over, as one is when its entry is applied a second time.
    let over = calls::Entity::find()
        .filter(calls::Column::Id.is_in(started.iter().map(|started| started.call.0)))
        .filter(calls::Column::Status.eq(CallStatus::Ended.name()))
        .all(db)
        .await?;
    let over: HashSet<Uuid> = over.into_iter().map(|call| call.id).collect();
    let owners: Vec<_> = started
        .iter()
        .filter(|started| !over.contains(&started.call.0))
        .map(|started| {
            call_owners::Model {
                call_id: started.call.0,
                node: started.node.as_str().to_owned(),
                epoch: signed(started.epoch),
            }
            .into_active_model()
        })
        .collect();
    if owners.is_empty() {
        return Ok(());
    }
    let later = Expr::col((call_owners::Entity, call_owners::Column::Epoch))
        .lte(Expr::col(("excluded", call_owners::Column::Epoch)));
    call_owners::Entity::insert_many(owners)
        .on_conflict(
            OnConflict::column(call_owners::Column::CallId)
                .update_columns([call_owners::Column::Node, call_owners::Column::Epoch])
                .action_and_where(later)
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Ends those of these calls that are on, with the stays in them; how many.
pub(crate) async fn end(db: &impl ConnectionTrait, ids: &[Uuid], at: OffsetDateTime) -> Result<u64, StoreError> {
    let at = instant(at);
    let ended = calls::Entity::update_many()
        .col_expr(calls::Column::Status, Expr::value(CallStatus::Ended.name()))
        .col_expr(calls::Column::EndedAt, Expr::value(at))
        .filter(calls::Column::Id.is_in(ids.iter().copied()))
        .filter(calls::Column::Status.eq(CallStatus::Active.name()))
        .exec(db)
        .await?;
    participants::Entity::update_many()
        .col_expr(participants::Column::LeftAt, Expr::value(at))
        .filter(participants::Column::CallId.is_in(ids.iter().copied()))
        .filter(participants::Column::LeftAt.is_null())
        .exec(db)
        .await?;
    call_owners::Entity::delete_many()
        .filter(call_owners::Column::CallId.is_in(ids.iter().copied()))
        .exec(db)
        .await?;
    Ok(ended.rows_affected)
}

/// Ends the calls of this room that wait for their first join.
pub(crate) async fn end_waiting(
    db: &impl ConnectionTrait,
    room: &RoomId,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    calls::Entity::update_many()
        .col_expr(calls::Column::Status, Expr::value(CallStatus::Ended.name()))
        .col_expr(calls::Column::EndedAt, Expr::value(instant(at)))
        .filter(calls::Column::RoomId.eq(room.as_str()))
        .filter(calls::Column::Status.eq(CallStatus::Active.name()))
        .filter(calls::Column::StartedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Marks a call as recorded.
pub(crate) async fn mark_recorded(db: &impl ConnectionTrait, id: CallId) -> Result<(), StoreError> {
    calls::Entity::update_many()
        .col_expr(calls::Column::Recording, Expr::value(true))
        .filter(calls::Column::Id.eq(id.0))
        .exec(db)
        .await?;
    Ok(())
}

const CALL_ID: (calls::Entity, calls::Column) = (calls::Entity, calls::Column::Id);

/// Whether this user was in the call whose id is in that column of the query around it.
pub(crate) fn was_in(user: &UserId, call_id: impl IntoColumnRef) -> Expr {
    Expr::exists(
        Query::select()
            .expr(Expr::val(1))
            .from(participants::Entity)
            .and_where(Expr::col((participants::Entity, participants::Column::UserId)).eq(user.as_str()))
            .and_where(Expr::col((participants::Entity, participants::Column::CallId)).equals(call_id))
            .take(),
    )
}

fn call(row: calls::Model, stays: Vec<participants::Model>) -> Result<Call, StoreError> {
    Ok(Call {
        id: CallId(row.id),
        room_id: RoomId::of("calls", "room_id", &row.room_id)?,
        status: CallStatus::of("calls", "status", &row.status)?,
        recording: row.recording,
        created_at: row.created_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
        participants: stays.into_iter().map(stay).collect::<Result<_, _>>()?,
        metadata: row.metadata,
    })
}
