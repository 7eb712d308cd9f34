//! The connection to the database.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;

use crate::StoreError;

/// Limits of a [`Store`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// Most connections; SQLite has one of them for writing. Default 16.
    pub max_connections: u32,
    /// Longest wait for a free connection, or for a new one. Default 3 s.
    pub acquire_timeout: Duration,
    /// Longest time of one operation, waiting included. Default 10 s.
    pub query_timeout: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            max_connections: 16,
            acquire_timeout: Duration::from_secs(3),
            query_timeout: Duration::from_secs(10),
        }
    }
}

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    write: DatabaseConnection,
}

impl Store {
    /// Opens the database at `url`: `sqlite:path`, `sqlite::memory:` (gone with the last clone) or `postgres://…`.
    /// A missing SQLite file is made. The schema is not touched.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the URL cannot be used, [`StoreError::Unavailable`] when nobody answers there.
    pub async fn connect(_url: &str, _options: StoreOptions) -> Result<Self, StoreError> {
        todo!()
    }

    /// The connection that writes, for migrations.
    pub fn connection(&self) -> &DatabaseConnection {
        &self.inner.write
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// Closes all connections; every later query fails.
    ///
    /// # Errors
    /// When a connection could not be closed.
    pub async fn close(&self) -> Result<(), StoreError> {
        todo!()
    }
}
