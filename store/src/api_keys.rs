//! API keys of other programs.

use caside_protocol::rest::Page;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::refresh_tokens::SecretHash;
use crate::{PageRequest, Store, StoreError};

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last presented, by [`crate::JournalEntry::ApiKeyUsed`].
    pub last_used_at: Option<OffsetDateTime>,
    /// When it was revoked.
    pub revoked_at: Option<OffsetDateTime>,
}

impl Store {
    /// Makes a key.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the hash is there already.
    pub async fn create_api_key(
        &self,
        _name: &str,
        _key: SecretHash,
        _now: OffsetDateTime,
    ) -> Result<ApiKey, StoreError> {
        todo!()
    }

    /// The key of this hash, unless it is revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn api_key(&self, _key: SecretHash) -> Result<Option<ApiKey>, StoreError> {
        todo!()
    }

    /// All keys, revoked ones too, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or when the database fails.
    pub async fn api_keys(&self, _page: &PageRequest) -> Result<Page<ApiKey>, StoreError> {
        todo!()
    }

    /// Revokes a key; `false` when there is no such key or it was revoked before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_api_key(&self, _id: Uuid, _now: OffsetDateTime) -> Result<bool, StoreError> {
        todo!()
    }
}
