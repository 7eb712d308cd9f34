//! Refresh tokens: good once, in families that fall together.

use caside_protocol::UserId;
use time::OffsetDateTime;

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
        _user: &UserId,
        _token: SecretHash,
        _expires_at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        todo!()
    }

    /// Uses up `presented` and puts `next` in its place, in one transaction.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn rotate_refresh_token(
        &self,
        _presented: SecretHash,
        _next: SecretHash,
        _next_expires_at: OffsetDateTime,
        _now: OffsetDateTime,
    ) -> Result<Rotation, StoreError> {
        todo!()
    }

    /// Revokes the family of this token; `false` when it is unknown.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_refresh_family(&self, _token: SecretHash, _now: OffsetDateTime) -> Result<bool, StoreError> {
        todo!()
    }

    /// Forgets tokens that expired before `before`; says how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_refresh_tokens(&self, _before: OffsetDateTime) -> Result<u64, StoreError> {
        todo!()
    }
}
