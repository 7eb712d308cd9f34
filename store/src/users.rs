//! Accounts.

use caside_protocol::UserId;
use caside_protocol::rest::Page;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::entity::users;
use crate::names::{TextId, instant};
use crate::refresh_tokens::revoke_tokens_of;
use crate::{PageRequest, Store, StoreError};

/// Marks the cursors of this list.
const CURSOR: char = 'u';

/// An account.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its id, ours.
    pub id: UserId,
    /// What the user logs in with, as written; unique without regard to case.
    pub username: String,
    /// In PHC string format.
    pub password_hash: String,
    /// Administers the whole deployment.
    pub admin: bool,
    /// May not log in.
    pub disabled: bool,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

impl std::fmt::Debug for User {
    /// The hash stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("username", &self.username)
            .field("admin", &self.admin)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Makes an account.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken.
    pub async fn create_user(
        &self,
        username: &str,
        password_hash: &str,
        admin: bool,
        now: OffsetDateTime,
    ) -> Result<User, StoreError> {
        let user = User {
            id: UserId::generate(),
            username: username.to_owned(),
            password_hash: password_hash.to_owned(),
            admin,
            disabled: false,
            created_at: instant(now),
        };
        let row = users::ActiveModel {
            id: Set(user.id.as_str().to_owned()),
            username: Set(user.username.clone()),
            username_key: Set(key(username)),
            password_hash: Set(user.password_hash.clone()),
            admin: Set(admin),
            disabled: Set(false),
            created_at: Set(user.created_at),
        };
        self.timed(async {
            users::Entity::insert(row).exec_without_returning(self.write()).await?;
            Ok(user)
        })
        .await
    }

    /// The account of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.one_user(users::Entity::find_by_id(id.as_str())).await
    }

    /// The account of this name, without regard to case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user_by_name(&self, username: &str) -> Result<Option<User>, StoreError> {
        self.one_user(users::Entity::find().filter(users::Column::UsernameKey.eq(key(username))))
            .await
    }

    async fn one_user(&self, query: Select<users::Entity>) -> Result<Option<User>, StoreError> {
        self.timed(async { query.one(self.read()).await?.map(User::try_from).transpose() })
            .await
    }

    /// All accounts, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or when the database fails.
    pub async fn users(&self, page: &PageRequest) -> Result<Page<User>, StoreError> {
        let mut query = users::Entity::find()
            .order_by_desc(users::Column::Id)
            .limit(page.fetch());
        if let Some(after) = page.after(CURSOR)? {
            query = query.filter(users::Column::Id.lt(after.to_string()));
        }
        let rows = self.timed(async { Ok(query.all(self.read()).await?) }).await?;
        page.page(
            CURSOR,
            rows,
            |row| Uuid::try_parse(&row.id).unwrap_or_default(),
            User::try_from,
        )
    }

    /// Sets the password and revokes every refresh token of the account; `false` when there is no such account.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn set_password(
        &self,
        id: &UserId,
        password_hash: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let change = users::ActiveModel {
            password_hash: Set(password_hash.to_owned()),
            ..users::ActiveModel::default()
        };
        self.change_user(id, change, Some(now)).await
    }

    /// Lets the account log in or not; not: its refresh tokens are revoked. `false` when there is no such account.
    ///
    /// # Errors
    /// When the database fails; then nothing has changed.
    pub async fn set_user_disabled(
        &self,
        id: &UserId,
        disabled: bool,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let change = users::ActiveModel {
            disabled: Set(disabled),
            ..users::ActiveModel::default()
        };
        self.change_user(id, change, disabled.then_some(now)).await
    }

    async fn change_user(
        &self,
        id: &UserId,
        change: users::ActiveModel,
        revoke_at: Option<OffsetDateTime>,
    ) -> Result<bool, StoreError> {
        self.timed(async {
            let transaction = self.begin().await?;
            let changed = users::Entity::update_many()
                .set(change)
                .filter(users::Column::Id.eq(id.as_str()))
                .exec(&transaction)
                .await?;
            if let Some(at) = revoke_at {
                revoke_tokens_of(&transaction, id, at).await?;
            }
            transaction.commit().await?;
            Ok(changed.rows_affected > 0)
        })
        .await
    }

    /// Removes the account with its refresh tokens; `false` when there is no such account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_user(&self, id: &UserId) -> Result<bool, StoreError> {
        self.timed(async {
            let gone = users::Entity::delete_by_id(id.as_str()).exec(self.write()).await?;
            Ok(gone.rows_affected > 0)
        })
        .await
    }
}

/// What makes a name unique.
fn key(username: &str) -> String {
    username.to_lowercase()
}

impl TryFrom<users::Model> for User {
    type Error = StoreError;

    fn try_from(row: users::Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: UserId::of("users", "id", &row.id)?,
            username: row.username,
            password_hash: row.password_hash,
            admin: row.admin,
            disabled: row.disabled,
            created_at: row.created_at,
        })
    }
}
