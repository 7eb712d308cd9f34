//! What happened in calls that went badly, and why: the explained call as it was when it ended.

use caside_protocol::{CallId, RoomId};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect};
use serde_json::Value;
use time::OffsetDateTime;

use crate::entity::{call_timelines, calls};
use crate::names::instant;
use crate::{Store, StoreError};

/// Calls of one room that are looked through for the last that went badly.
const LAST_CALLS: u64 = 20;

impl Store {
    /// What was written down of a call; `None` of one that went well, or is still on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn timeline(&self, call: CallId) -> Result<Option<Value>, StoreError> {
        let query = call_timelines::Entity::find_by_id(call.0);
        let row = self.timed(async { Ok(query.one(self.read()).await?) }).await?;
        Ok(row.map(|row| row.explained))
    }

    /// What was written down of the last call of a room that went badly, of its last 20.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_timeline(&self, room: &RoomId) -> Result<Option<Value>, StoreError> {
        let last = calls::Entity::find()
            .filter(calls::Column::RoomId.eq(room.as_str()))
            .order_by_desc(calls::Column::Id)
            .limit(LAST_CALLS);
        self.timed(async {
            let ids = last.all(self.read()).await?.into_iter().map(|row| row.id);
            let row = call_timelines::Entity::find()
                .filter(call_timelines::Column::CallId.is_in(ids))
                .order_by_desc(call_timelines::Column::CallId)
                .one(self.read())
                .await?;
            Ok(row.map(|row| row.explained))
        })
        .await
    }
}

/// Keeps it, in place of what was kept of the call before. One whose call is not there is gone with it.
pub(crate) async fn keep(
    db: &impl ConnectionTrait,
    call: CallId,
    at: OffsetDateTime,
    explained: &Value,
) -> Result<(), StoreError> {
    if calls::Entity::find_by_id(call.0).one(db).await?.is_none() {
        return Ok(());
    }
    let row = call_timelines::Model {
        call_id: call.0,
        written_at: instant(at),
        explained: explained.clone(),
    };
    let columns = [call_timelines::Column::WrittenAt, call_timelines::Column::Explained];
    call_timelines::Entity::insert(row.into_active_model())
        .on_conflict(
            OnConflict::column(call_timelines::Column::CallId)
                .update_columns(columns)
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}
