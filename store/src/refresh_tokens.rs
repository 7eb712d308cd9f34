//! Refresh tokens: good once, in families that fall together.

use caside_protocol::UserId;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect, Select,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::entity::{refresh_tokens, users};
use crate::names::{TextId, instant, second};
use crate::users::User;
use crate::{Store, StoreError};

/// SHA-256 of a secret that has at least 128 bits of entropy. Only the hash is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash(pub [u8; 32]);

impl std::fmt::Debug for SecretHash {
    /// Stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// What became of a presented refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// It was good; its successor is in place.
    Rotated(User),
    /// It was used before: somebody has a copy, so its whole family is revoked now.
    Replayed {
        /// Whose family.
        user: UserId,
    },
    /// Unknown, expired, revoked, or its user is disabled.
    Refused,
}

impl Store {
    /// Begins a family with its first token.
    ///
    /// # Errors
    /// [`StoreError::Dangling`] when there is no such user.
    pub async fn add_refresh_token(
        &self,
        user: &UserId,
        token: SecretHash,
        expires_at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let row = new_token(user.as_str().to_owned(), Uuid::now_v7(), token, expires_at);
        self.timed(async {
            refresh_tokens::Entity::insert(row)
                .exec_without_returning(self.write())
                .await?;
            Ok(())
        })
        .await
    }

    /// Uses up `presented` and puts `next` in its place, in one transaction.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn rotate_refresh_token(
        &self,
        presented: SecretHash,
        next: SecretHash,
        next_expires_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Rotation, StoreError> {
        self.timed(async {
            // What was never given is refused without the one writer that SQLite has.
            if by_hash(presented).one(self.read()).await?.is_none() {
                return Ok(Rotation::Refused);
            }
            let transaction = self.begin().await?;
            let rotation = rotate(&transaction, presented, next, next_expires_at, now).await?;
            transaction.commit().await?;
            Ok(rotation)
        })
        .await
    }

    /// Revokes the family of this token; `false` when it is unknown.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_refresh_family(&self, token: SecretHash, now: OffsetDateTime) -> Result<bool, StoreError> {
        self.timed(async {
            let Some(row) = by_hash(token).one(self.read()).await? else {
                return Ok(false);
            };
            revoke_where(self.write(), refresh_tokens::Column::Family.eq(row.family), now).await?;
            Ok(true)
        })
        .await
    }

    /// Forgets tokens that expired before `before`; says how many. A used token is kept until then, for only so its
    /// replay is noticed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_refresh_tokens(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        self.timed(async {
            let gone = refresh_tokens::Entity::delete_many()
                .filter(refresh_tokens::Column::ExpiresAt.lt(second(before)))
                .exec(self.write())
                .await?;
            Ok(gone.rows_affected)
        })
        .await
    }
}

async fn rotate(
    transaction: &DatabaseTransaction,
    presented: SecretHash,
    next: SecretHash,
    next_expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Rotation, StoreError> {
    // Locked: of two that present the same token at once, the second is a replay.
    let Some(token) = by_hash(presented).lock_exclusive().one(transaction).await? else {
        return Ok(Rotation::Refused);
    };
    if token.revoked_at.is_some() {
        return Ok(Rotation::Refused);
    }
    if token.used_at.is_some() {
        revoke_where(transaction, refresh_tokens::Column::Family.eq(token.family), now).await?;
        return Ok(Rotation::Replayed {
            user: UserId::of("refresh_tokens", "user_id", &token.user_id)?,
        });
    }
    if token.expires_at <= now {
        return Ok(Rotation::Refused);
    }
    let user = users::Entity::find_by_id(&token.user_id).one(transaction).await?;
    let Some(user) = user.filter(|user| !user.disabled) else {
        return Ok(Rotation::Refused);
    };
    refresh_tokens::Entity::update_many()
        .col_expr(refresh_tokens::Column::UsedAt, Expr::value(instant(now)))
        .filter(refresh_tokens::Column::Id.eq(token.id))
        .exec(transaction)
        .await?;
    refresh_tokens::Entity::insert(new_token(token.user_id, token.family, next, next_expires_at))
        .exec_without_returning(transaction)
        .await?;
    Ok(Rotation::Rotated(user.try_into()?))
}

/// Revokes every token of an account that is not revoked yet.
pub(crate) async fn revoke_tokens_of(
    db: &impl ConnectionTrait,
    user: &UserId,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    revoke_where(db, refresh_tokens::Column::UserId.eq(user.as_str()), now).await
}

async fn revoke_where(db: &impl ConnectionTrait, which: Expr, now: OffsetDateTime) -> Result<(), StoreError> {
    refresh_tokens::Entity::update_many()
        .col_expr(refresh_tokens::Column::RevokedAt, Expr::value(instant(now)))
        .filter(which)
        .filter(refresh_tokens::Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

fn by_hash(token: SecretHash) -> Select<refresh_tokens::Entity> {
    refresh_tokens::Entity::find().filter(refresh_tokens::Column::TokenHash.eq(token.0.to_vec()))
}

fn new_token(
    user_id: String,
    family: Uuid,
    token: SecretHash,
    expires_at: OffsetDateTime,
) -> refresh_tokens::ActiveModel {
    refresh_tokens::ActiveModel {
        id: Set(Uuid::now_v7()),
        user_id: Set(user_id),
        family: Set(family),
        token_hash: Set(token.0.to_vec()),
        expires_at: Set(second(expires_at)),
        used_at: Set(None),
        revoked_at: Set(None),
    }
}
