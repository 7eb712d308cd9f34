//! Calls and invitations to users that wait for an answer.

use caside_protocol::server::{InviteAnswer, InviteKind};
use caside_protocol::{InviteId, RoomId, UserId};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use time::OffsetDateTime;

use crate::entity::invites;
use crate::names::{Named, TextId, instant, second};
use crate::{Store, StoreError};

/// Most invitations that wait for one user.
pub const MAX_WAITING_INVITES: usize = 100;

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
    /// Keeps an invitation.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when [`MAX_WAITING_INVITES`] wait for that user already.
    pub async fn create_invite(&self, invite: &StoredInvite, now: OffsetDateTime) -> Result<(), StoreError> {
        let row = invites::ActiveModel {
            id: Set(invite.id.0),
            room_id: Set(invite.room.as_str().to_owned()),
            from_user: Set(invite.from_user.as_str().to_owned()),
            from_name: Set(invite.from_name.clone()),
            to_user: Set(invite.to_user.as_str().to_owned()),
            kind: Set(invite.kind.name().to_owned()),
            created_at: Set(instant(now)),
            expires_at: Set(second(invite.expires_at)),
            answer: Set(invite.answer.map(|answer| answer.name().to_owned())),
        };
        self.timed(async {
            let transaction = self.begin().await?;
            let waiting = waiting(&invite.to_user, now).all(&transaction).await?;
            if waiting.len() >= MAX_WAITING_INVITES {
                return Err(StoreError::Limit {
                    what: "waiting invitations",
                    limit: MAX_WAITING_INVITES,
                });
            }
            invites::Entity::insert(row)
                .exec_without_returning(&transaction)
                .await?;
            Ok(transaction.commit().await?)
        })
        .await
    }

    /// The invitation of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn invite(&self, id: InviteId) -> Result<Option<StoredInvite>, StoreError> {
        let query = invites::Entity::find_by_id(id.0);
        self.timed(async { query.one(self.read()).await?.map(StoredInvite::try_from).transpose() })
            .await
    }

    /// What waits for this user now, oldest first, at most [`MAX_WAITING_INVITES`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_invites(&self, user: &UserId, now: OffsetDateTime) -> Result<Vec<StoredInvite>, StoreError> {
        let query = waiting(user, now);
        let rows = self.timed(async { Ok(query.all(self.read()).await?) }).await?;
        rows.into_iter().map(StoredInvite::try_from).collect()
    }

    /// Answers an invitation; `false` when it is unknown or has an answer already: the first one counts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn answer_invite(&self, id: InviteId, answer: InviteAnswer) -> Result<bool, StoreError> {
        self.timed(async {
            let changed = invites::Entity::update_many()
                .col_expr(invites::Column::Answer, Expr::value(answer.name()))
                .filter(invites::Column::Id.eq(id.0))
                .filter(invites::Column::Answer.is_null())
                .exec(self.write())
                .await?;
            Ok(changed.rows_affected > 0)
        })
        .await
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

fn waiting(user: &UserId, now: OffsetDateTime) -> Select<invites::Entity> {
    invites::Entity::find()
        .filter(invites::Column::ToUser.eq(user.as_str()))
        .filter(invites::Column::Answer.is_null())
        .filter(invites::Column::ExpiresAt.gt(second(now)))
        .order_by_asc(invites::Column::Id)
        .limit(MAX_WAITING_INVITES as u64)
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
