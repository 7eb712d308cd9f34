//! Stays in calls. They are written through the journal.

use std::net::IpAddr;

use caside_protocol::rest::CallParticipant;
use caside_protocol::{CallId, ParticipantId, Role, UserId};
use sea_orm::sea_query::{Expr, Func, IntoIden, OnConflict, Order, Query, WindowStatement};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, ExprTrait, FromQueryResult, Iterable, QueryFilter,
    QuerySelect,
};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::calls::MAX_CALL_PARTICIPANTS;
use crate::entity::participants;
use crate::journal::ParticipantJoined;
use crate::names::{Named, TextId, instant, signed, unreadable};
use crate::{Store, StoreError};

/// A stay in a call with what only operators see.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredParticipant {
    /// What everybody sees.
    pub stay: CallParticipant,
    /// Which call.
    pub call: CallId,
    /// From where.
    pub client_ip: Option<IpAddr>,
    /// The application's own.
    pub metadata: Value,
}

impl Store {
    /// A stay by its id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn participant(&self, id: ParticipantId) -> Result<Option<StoredParticipant>, StoreError> {
        // `host` leaves out the netmask, which a cast to text would append.
        let client_ip = match self.backend() {
            DbBackend::Postgres => Expr::cust("host(client_ip)"),
            _ => Expr::col("client_ip"),
        };
        let address = Query::select()
            .expr_as(client_ip, "client_ip")
            .from(participants::Entity)
            .and_where(Expr::col(participants::Column::Id).eq(id.0))
            .take();
        let (row, address) = self
            .timed(async {
                let row = participants::Entity::find_by_id(id.0).one(self.read()).await?;
                let address = self.read().query_one(&address).await?;
                let address = match address {
                    Some(row) => row.try_get::<Option<String>>("", "client_ip")?,
                    None => None,
                };
                Ok((row, address))
            })
            .await?;
        let Some(row) = row else { return Ok(None) };
        let client_ip = match address {
            Some(text) => Some(
                text.parse()
                    .map_err(|_| unreadable("participants", "client_ip", &text))?,
            ),
            None => None,
        };
        Ok(Some(StoredParticipant {
            call: CallId(row.call_id),
            client_ip,
            metadata: row.metadata.clone(),
            stay: stay(row)?,
        }))
    }

    /// Whether this user was ever in this call.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn was_in_call(&self, call: CallId, user: &UserId) -> Result<bool, StoreError> {
        let query = participants::Entity::find()
            .filter(participants::Column::UserId.eq(user.as_str()))
            .filter(participants::Column::CallId.eq(call.0))
            .limit(1);
        self.timed(async { Ok(query.one(self.read()).await?.is_some()) }).await
    }
}

/// The stays in these calls by call, the earliest first, at most [`MAX_CALL_PARTICIPANTS`] of each.
pub(crate) async fn stays_in(
    db: &impl ConnectionTrait,
    calls: &[Uuid],
) -> Result<Vec<participants::Model>, StoreError> {
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let columns = || participants::Column::iter().map(|column| column.into_iden());
    let ranked = Query::select()
        .columns(columns())
        .expr_window_as(
            Func::cust("ROW_NUMBER"),
            WindowStatement::partition_by(participants::Column::CallId)
                .order_by(participants::Column::Id, Order::Asc)
                .take(),
            "place",
        )
        .from(participants::Entity)
        .and_where(Expr::col(participants::Column::CallId).is_in(calls.iter().copied()))
        .take();
    let query = Query::select()
        .columns(columns())
        .from_subquery(ranked, "ranked")
        .and_where(Expr::col("place").lte(signed(MAX_CALL_PARTICIPANTS)))
        .order_by(participants::Column::CallId, Order::Asc)
        .order_by(participants::Column::Id, Order::Asc)
        .take();
    let statement = db.get_database_backend().build(&query);
    Ok(participants::Model::find_by_statement(statement).all(db).await?)
}

/// Notes who came. One who is there already stays as they are.
pub(crate) async fn join(db: &impl ConnectionTrait, joined: &[&ParticipantJoined]) -> Result<(), StoreError> {
    if joined.is_empty() {
        return Ok(());
    }
    let mut insert = Query::insert();
    insert.into_table(participants::Entity).columns([
        "id",
        "call_id",
        "user_id",
        "display_name",
        "role",
        "joined_at",
        "client_ip",
        "metadata",
    ]);
    for who in joined {
        let client_ip = Expr::val(who.client_ip.map(|ip| ip.to_canonical().to_string()));
        let client_ip = match db.get_database_backend() {
            DbBackend::Postgres => client_ip.cast_as("inet"),
            _ => client_ip,
        };
        insert
            .values([
                who.participant.0.into(),
                who.call.0.into(),
                who.user.as_str().into(),
                who.display_name.as_str().into(),
                who.role.name().into(),
                instant(who.joined_at).into(),
                client_ip,
                who.metadata.clone().into(),
            ])
            .map_err(|error| StoreError::Database(DbErr::Custom(error.to_string())))?;
    }
    insert.on_conflict(OnConflict::column("id").do_nothing().to_owned());
    db.execute(&insert).await?;
    Ok(())
}

/// Notes that somebody went.
pub(crate) async fn leave(
    db: &impl ConnectionTrait,
    participant: ParticipantId,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    participants::Entity::update_many()
        .col_expr(participants::Column::LeftAt, Expr::value(instant(at)))
        .filter(participants::Column::Id.eq(participant.0))
        .filter(participants::Column::LeftAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Notes somebody's role.
pub(crate) async fn set_role(
    db: &impl ConnectionTrait,
    participant: ParticipantId,
    role: Role,
) -> Result<(), StoreError> {
    participants::Entity::update_many()
        .col_expr(participants::Column::Role, Expr::value(role.name()))
        .filter(participants::Column::Id.eq(participant.0))
        .exec(db)
        .await?;
    Ok(())
}

/// What everybody sees of a stay.
pub(crate) fn stay(row: participants::Model) -> Result<CallParticipant, StoreError> {
    Ok(CallParticipant {
        participant_id: ParticipantId(row.id),
        user: UserId::of("participants", "user_id", &row.user_id)?,
        display_name: row.display_name,
        role: Role::of("participants", "role", &row.role)?,
        joined_at: row.joined_at,
        left_at: row.left_at,
    })
}
