//! Accounts.

use caside_protocol::UserId;
use caside_protocol::rest::Page;
use time::OffsetDateTime;

use crate::{PageRequest, Store, StoreError};

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
        _username: &str,
        _password_hash: &str,
        _admin: bool,
        _now: OffsetDateTime,
    ) -> Result<User, StoreError> {
        todo!()
    }

    /// The account of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user(&self, _id: &UserId) -> Result<Option<User>, StoreError> {
        todo!()
    }

    /// The account of this name, without regard to case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user_by_name(&self, _username: &str) -> Result<Option<User>, StoreError> {
        todo!()
    }

    /// All accounts, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or when the database fails.
    pub async fn users(&self, _page: &PageRequest) -> Result<Page<User>, StoreError> {
        todo!()
    }

    /// Sets the password and revokes every refresh token of the account; `false` when there is no such account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_password(
        &self,
        _id: &UserId,
        _password_hash: &str,
        _now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        todo!()
    }

    /// Lets the account log in or not; not: its refresh tokens are revoked. `false` when there is no such account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_user_disabled(
        &self,
        _id: &UserId,
        _disabled: bool,
        _now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        todo!()
    }

    /// Removes the account with its refresh tokens; `false` when there is no such account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_user(&self, _id: &UserId) -> Result<bool, StoreError> {
        todo!()
    }
}
