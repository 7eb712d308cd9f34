//! The connection to the database.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection, Database, Executor, Postgres, Sqlite};
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr, SqliteTransactionMode,
    SqlxPostgresConnector, SqlxSqliteConnector, TransactionOptions, TransactionTrait,
};

use crate::{StoreError, trace};

/// Longest wait for another process that writes to the same SQLite file.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest check of a connection that comes back to the pool.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Limits of a [`Store`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// Most connections, at least 2; SQLite has one of them for writing. Default 16.
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
    /// On SQLite several connections of the read-only kind; on PostgreSQL the same pool as `write`.
    read: DatabaseConnection,
    /// On SQLite a single connection: writers wait for it in the order they came, and never find the file locked by
    /// a sibling.
    write: DatabaseConnection,
    query_timeout: Duration,
}

impl Store {
    /// Opens the database at `url`: `sqlite:path`, `sqlite::memory:` (gone with the last clone) or `postgres://…`.
    /// A missing SQLite file is made. The schema is not touched.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the URL cannot be used, [`StoreError::Unavailable`] when nobody answers there.
    pub async fn connect(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let (mut read, mut write) = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => open_sqlite(url, &options).await?,
            Some("postgres" | "postgresql") => {
                let pool = open_postgres(url, &options).await?;
                (pool.clone(), pool)
            }
            _ => {
                return Err(StoreError::Url {
                    reason: "must begin with sqlite: or postgres:".to_owned(),
                });
            }
        };
        trace::watch(&mut read);
        trace::watch(&mut write);
        Ok(Self {
            inner: Arc::new(Inner {
                read,
                write,
                query_timeout: options.query_timeout,
            }),
        })
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
        self.timed(async { Ok(self.inner.read.ping().await?) }).await
    }

    /// Closes all connections; every later query fails.
    ///
    /// # Errors
    /// When a connection could not be closed.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.timed(async {
            self.inner.read.close_by_ref().await?;
            Ok(self.inner.write.close_by_ref().await?)
        })
        .await
    }

    /// The connections that read.
    pub(crate) fn read(&self) -> &DatabaseConnection {
        &self.inner.read
    }

    /// The connections that write.
    pub(crate) fn write(&self) -> &DatabaseConnection {
        &self.inner.write
    }

    /// Which kind of database it is.
    pub(crate) fn backend(&self) -> DbBackend {
        self.inner.write.get_database_backend()
    }

    /// Begins a transaction that writes. SQLite takes its lock now: a read that turns into a write later would fail
    /// instead of waiting.
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(self.inner.write.begin_with_options(options).await?)
    }

    /// Bounds an operation: a server that is frozen or cut off answers neither with success nor with an error.
    pub(crate) async fn timed<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let after = self.inner.query_timeout;
        match tokio::time::timeout(after, work).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Timeout { after }),
        }
    }
}

async fn open_sqlite(
    url: &str,
    options: &StoreOptions,
) -> Result<(DatabaseConnection, DatabaseConnection), StoreError> {
    // In WAL mode a commit survives the loss of the process; after a power cut the last ones may be missing, but the
    // file is whole. `FULL` would cost one fsync a commit.
    let connect = SqliteConnectOptions::from_str(url)
        .map_err(url_error)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY_TIMEOUT);
    let write = pool::<Sqlite>(options)
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(connect.clone())
        .await
        .map_err(connect_error)?;
    let write = SqlxSqliteConnector::from_sqlx_sqlite_pool(write);
    // An in-memory database is its connection's own.
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Ok((write.clone(), write));
    }
    let read = pool::<Sqlite>(options)
        .max_connections(options.max_connections.saturating_sub(1).max(1))
        .test_before_acquire(false)
        .connect_lazy_with(connect.pragma("query_only", "ON"));
    Ok((SqlxSqliteConnector::from_sqlx_sqlite_pool(read), write))
}

async fn open_postgres(url: &str, options: &StoreOptions) -> Result<DatabaseConnection, StoreError> {
    let connect = PgConnectOptions::from_str(url)
        .map_err(url_error)?
        .application_name("caside");
    let timeout_ms = options.query_timeout.as_millis();
    let pool = pool::<Postgres>(options)
        .max_connections(options.max_connections.max(2))
        // By statement and not as a start-up parameter, which PgBouncer refuses.
        .after_connect(move |connection, _| {
            Box::pin(async move {
                let sql = format!(
                    "SET statement_timeout = {timeout_ms}; SET idle_in_transaction_session_timeout = {timeout_ms}"
                );
                connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await?;
                Ok(())
            })
        })
        // The pool's own check of a returned connection waits forever on a server that is frozen or cut off, and
        // holds the connection's place meanwhile; an error here closes it.
        .after_release(|connection, _| {
            Box::pin(async move {
                match tokio::time::timeout(RELEASE_TIMEOUT, connection.ping()).await {
                    Ok(alive) => alive.map(|()| true),
                    Err(elapsed) => Err(sqlx::Error::Io(elapsed.into())),
                }
            })
        })
        .connect_with(connect)
        .await
        .map_err(connect_error)?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

fn pool<DB: Database>(options: &StoreOptions) -> PoolOptions<DB> {
    PoolOptions::new().acquire_timeout(options.acquire_timeout)
}

fn url_error(error: sqlx::Error) -> StoreError {
    StoreError::Url {
        reason: error.to_string(),
    }
}

fn connect_error(error: sqlx::Error) -> StoreError {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_that_cannot_be_used_is_refused_without_repeating_its_password() {
        for url in [
            "mysql://root:hunter2@localhost/x",
            "postgres://u:hunter2@host:notaport/x",
            "hunter2",
            "",
        ] {
            let error = Store::connect(url, StoreOptions::default()).await.expect_err(url);
            assert!(matches!(error, StoreError::Url { .. }), "{url}: {error:?}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(!error.is_unavailable());
        }
    }
}
