//! What can go wrong between us and the database.

use std::time::Duration;

use sea_orm::{DbErr, SqlErr};

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The URL of the database cannot be used; it is not repeated, for it may bear a password.
    #[error("database url: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The database cannot be reached, is shutting down, or has no connection free in time.
    #[error("database unavailable")]
    Unavailable(#[source] DbErr),
    /// No answer in time.
    #[error("database did not answer within {} ms", after.as_millis())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// Something else has this name or id.
    #[error("already there: {what}")]
    Conflict {
        /// What the database says is there twice.
        what: String,
    },
    /// It refers to something that is not there.
    #[error("refers to what is not there: {what}")]
    Dangling {
        /// The constraint's name or message.
        what: String,
    },
    /// The cursor is not one of this list's.
    #[error("not a cursor of this list")]
    Cursor,
    /// There are as many as there may be.
    #[error("there are {limit} {what} already")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// A row holds what this version cannot read.
    #[error("{table}.{column} holds an unknown value {value:?}")]
    Unreadable {
        /// In which table.
        table: &'static str,
        /// In which column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
    /// Anything else: a constraint, a missing table, a fault of ours.
    #[error("database: {0}")]
    Database(#[source] DbErr),
}

impl StoreError {
    /// Whether the database is away, so that the same request may succeed later without change.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout { .. })
    }

    /// Whether something else has this name or id.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(what)) => return Self::Conflict { what },
            Some(SqlErr::ForeignKeyConstraintViolation(what)) => return Self::Dangling { what },
            _ => {}
        }
        Self::Database(error)
    }
}
