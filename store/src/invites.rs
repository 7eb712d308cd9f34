//! Invitations to users that wait for an answer; written by the journal.

use caside_protocol::server::{InviteAnswer, InviteKind};
use caside_protocol::{InviteId, RoomId, UserId};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use time::OffsetDateTime;

use crate::entity::invites;
use crate::names::{Named, TextId, instant, second};
use crate::{Store, StoreError};

/// A call or invitation to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInvite {
    /// Its id.
    pub id: InviteId,
    /// Where it leads.
    pub room: RoomId,
    /// Who asks.
    pub from_user: UserId,
    /// The name of who asks.
    pub from_name: String,
    /// Who is asked.
    pub to_user: UserId,
    /// Rings or waits.
    pub kind: InviteKind,
    /// Until when, whole seconds.
    pub expires_at: OffsetDateTime,
    /// What became of it.
    pub answer: Option<InviteAnswer>,
}

impl Store {
    /// The invitation of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn invite(&self, id: InviteId) -> Result<Option<StoredInvite>, StoreError> {
        let query = invites::Entity::find_by_id(id.0);
        self.timed(async { query.one(self.read()).await?.map(StoredInvite::try_from).transpose() })
            .await
    }

    /// What waits now, in the order of the ids behind `after`, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_invites(
        &self,
        after: Option<InviteId>,
        limit: u64,
        now: OffsetDateTime,
    ) -> Result<Vec<StoredInvite>, StoreError> {
        let mut query = invites::Entity::find()
            .filter(invites::Column::Answer.is_null())
            .filter(invites::Column::ExpiresAt.gt(second(now)))
            .order_by_asc(invites::Column::Id)
            .limit(limit);
        if let Some(after) = after {
            query = query.filter(invites::Column::Id.gt(after.0));
        }
        let rows = self.timed(async { Ok(query.all(self.read()).await?) }).await?;
        rows.into_iter().map(StoredInvite::try_from).collect()
    }

    /// Forgets invitations that expired before `before`; says how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_invites(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        self.timed(async {
            let gone = invites::Entity::delete_many()
                .filter(invites::Column::ExpiresAt.lt(second(before)))
                .exec(self.write())
                .await?;
            Ok(gone.rows_affected)
        })
        .await
    }
}

/// Keeps an invitation; one of this id stays as it is.
pub(crate) async fn make(
    db: &impl ConnectionTrait,
    invite: &StoredInvite,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let row = invites::ActiveModel {
        id: Set(invite.id.0),
        room_id: Set(invite.room.as_str().to_owned()),
        from_user: Set(invite.from_user.as_str().to_owned()),
        from_name: Set(invite.from_name.clone()),
        to_user: Set(invite.to_user.as_str().to_owned()),
        kind: Set(invite.kind.name().to_owned()),
        created_at: Set(instant(at)),
        expires_at: Set(second(invite.expires_at)),
        answer: Set(invite.answer.map(|answer| answer.name().to_owned())),
    };
    invites::Entity::insert(row)
        .on_conflict(OnConflict::column(invites::Column::Id).do_nothing().to_owned())
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Answers an invitation that has no answer.
pub(crate) async fn answer(db: &impl ConnectionTrait, id: InviteId, answer: InviteAnswer) -> Result<(), StoreError> {
    invites::Entity::update_many()
        .col_expr(invites::Column::Answer, Expr::value(answer.name()))
        .filter(invites::Column::Id.eq(id.0))
        .filter(invites::Column::Answer.is_null())
        .exec(db)
        .await?;
    Ok(())
}

impl TryFrom<invites::Model> for StoredInvite {
    type Error = StoreError;

    fn try_from(row: invites::Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: InviteId(row.id),
            room: RoomId::of("invites", "room_id", &row.room_id)?,
            from_user: UserId::of("invites", "from_user", &row.from_user)?,
            from_name: row.from_name,
            to_user: UserId::of("invites", "to_user", &row.to_user)?,
            kind: InviteKind::of("invites", "kind", &row.kind)?,
            expires_at: row.expires_at,
            answer: match &row.answer {
                Some(answer) => Some(InviteAnswer::of("invites", "answer", answer)?),
                None => None,
            },
        })
    }
}
