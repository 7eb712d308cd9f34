//! API keys of other programs.

use caside_protocol::rest::Page;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::entity::api_keys;
use crate::names::instant;
use crate::refresh_tokens::SecretHash;
use crate::{PageRequest, Store, StoreError};

/// Marks the cursors of this list.
const CURSOR: char = 'k';

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
    pub async fn create_api_key(&self, name: &str, key: SecretHash, now: OffsetDateTime) -> Result<ApiKey, StoreError> {
        let made = ApiKey {
            id: Uuid::now_v7(),
            name: name.to_owned(),
            created_at: instant(now),
            last_used_at: None,
            revoked_at: None,
        };
        let row = api_keys::ActiveModel {
            id: Set(made.id),
            name: Set(made.name.clone()),
            key_hash: Set(key.0.to_vec()),
            created_at: Set(made.created_at),
            last_used_at: Set(None),
            revoked_at: Set(None),
        };
        self.timed(async {
            api_keys::Entity::insert(row)
                .exec_without_returning(self.write())
                .await?;
            Ok(made)
        })
        .await
    }

    /// The key of this hash, unless it is revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn api_key(&self, key: SecretHash) -> Result<Option<ApiKey>, StoreError> {
        let query = api_keys::Entity::find()
            .filter(api_keys::Column::KeyHash.eq(key.0.to_vec()))
            .filter(api_keys::Column::RevokedAt.is_null());
        self.timed(async { Ok(query.one(self.read()).await?.map(ApiKey::from)) })
            .await
    }

    /// All keys, revoked ones too, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or when the database fails.
    pub async fn api_keys(&self, page: &PageRequest) -> Result<Page<ApiKey>, StoreError> {
        let mut query = api_keys::Entity::find()
            .order_by_desc(api_keys::Column::Id)
            .limit(page.fetch());
        if let Some(after) = page.after(CURSOR)? {
            query = query.filter(api_keys::Column::Id.lt(after));
        }
        let rows = self.timed(async { Ok(query.all(self.read()).await?) }).await?;
        page.page(CURSOR, rows, |row| row.id, |row| Ok(row.into()))
    }

    /// Revokes a key; `false` when there is no such key or it was revoked before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_api_key(&self, id: Uuid, now: OffsetDateTime) -> Result<bool, StoreError> {
        self.timed(async {
            let changed = api_keys::Entity::update_many()
                .col_expr(api_keys::Column::RevokedAt, Expr::value(instant(now)))
                .filter(api_keys::Column::Id.eq(id))
                .filter(api_keys::Column::RevokedAt.is_null())
                .exec(self.write())
                .await?;
            Ok(changed.rows_affected > 0)
        })
        .await
    }
}

impl From<api_keys::Model> for ApiKey {
    fn from(row: api_keys::Model) -> Self {
        Self {
            id: row.id,
            name: row.name,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        }
    }
}
