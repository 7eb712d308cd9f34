//! The one connection to Redis: made and dropped here, shared by all calls, each of which has a limit in time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, RedisError, ScriptInvocation};
use tokio::time::timeout;

/// Why a call has no answer. Says nothing of where Redis is or how we log in there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// There is no connection now.
    #[error("not connected to Redis")]
    Disconnected,
    /// No answer in time; the call may have been carried out.
    #[error("Redis did not answer in time")]
    Timeout,
    /// The connection could not be made, or broke; the call may have been carried out.
    #[error("the connection to Redis failed: {0}")]
    Broken(String),
    /// Redis refused.
    #[error("Redis refused: {0}")]
    Refused(String),
    /// An answer that we do not understand.
    #[error("unexpected answer from Redis")]
    Nonsense,
}

impl From<RedisError> for WireError {
    // Only kinds and codes: an error's text may quote what it is about.
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
            Self::Broken(error.category().to_owned())
        } else if matches!(error.kind(), ErrorKind::Parse | ErrorKind::UnexpectedReturnType) {
            Self::Nonsense
        } else {
            Self::Refused(error.code().unwrap_or_else(|| error.category()).to_owned())
        }
    }
}

#[derive(Debug)]
pub(super) struct Wire {
    client: Client,
    limit: Duration,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Wire {
    /// `limit` bounds each call, half of it each attempt to connect.
    pub(super) fn new(client: Client, limit: Duration) -> Self {
        Self {
            client,
            limit,
            connection: Mutex::new(None),
        }
    }

    /// Connects unless there is a connection.
    pub(super) async fn connect(&self) -> Result<(), WireError> {
        if self.slot().is_some() {
            return Ok(());
        }
        // Half the limit: who is told that Redis works again must have time for an attempt that begins after that.
        let limit = self.limit / 2;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(self.limit));
        let made = timeout(limit, self.client.get_multiplexed_async_connection_with_config(&config));
        let connection = made.await.map_err(|_| WireError::Timeout)??;
        *self.slot() = Some(connection);
        Ok(())
    }

    /// Runs a script. A connection on which a call failed is not used again.
    pub(super) async fn call<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, WireError> {
        self.bounded(async |mut connection| script.invoke_async(&mut connection).await)
            .await
    }

    /// What a set holds.
    pub(super) async fn members_of(&self, key: &str) -> Result<Vec<String>, WireError> {
        self.bounded(async |mut connection| redis::cmd("SMEMBERS").arg(key).query_async(&mut connection).await)
            .await
    }

    async fn bounded<T>(
        &self,
        call: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, WireError> {
        let connection = self.slot().clone().ok_or(WireError::Disconnected)?;
        let answer = timeout(self.limit, call(connection)).await;
        let answer = answer
            .map_err(|_| WireError::Timeout)
            .and_then(|a| a.map_err(WireError::from));
        if let Err(WireError::Timeout | WireError::Broken(_)) = &answer {
            *self.slot() = None;
        }
        answer
    }

    fn slot(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
