//! What can go wrong between us and the database.

use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

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
    /// The database cannot be reached, is shutting down, is locked, or has no connection free in time.
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
    /// The database will never take this value.
    #[error("the database refuses the value")]
    Rejected(#[source] DbErr),
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
    /// Anything else: a missing table, a fault of ours.
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

    /// Whether the same write will fail however often it is tried.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Dangling { .. } | Self::Rejected(_))
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(what)) => return Self::Conflict { what },
            Some(SqlErr::ForeignKeyConstraintViolation(what)) => return Self::Dangling { what },
            _ => {}
        }
        match class(&error) {
            Class::Away => Self::Unavailable(error),
            Class::Value => Self::Rejected(error),
            Class::Other => Self::Database(error),
        }
    }
}

/// What is to be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Try again later.
    Away,
    /// The value is at fault.
    Value,
    /// Nobody knows.
    Other,
}

fn class(error: &DbErr) -> Class {
    match error {
        DbErr::ConnectionAcquire(_) => Class::Away,
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => sqlx_class(error),
        _ => Class::Other,
    }
}

fn sqlx_class(error: &sqlx::Error) -> Class {
    use sqlx::Error;
    match error {
        // A connection whose server died mid-answer reports whatever it had read as a broken protocol.
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::PoolTimedOut | Error::PoolClosed => Class::Away,
        Error::WorkerCrashed | Error::BeginFailed => Class::Away,
        Error::Encode(_) | Error::InvalidArgument(_) => Class::Value,
        Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
                sqlite_class(&code)
            } else {
                postgres_class(&code)
            }
        }
        _ => Class::Other,
    }
}

/// By PostgreSQL's SQLSTATE (Appendix A of its manual).
fn postgres_class(code: &str) -> Class {
    match code {
        // Lost connections, operator intervention (shutdown, statement timeout), lack of resources, deadlocks and
        // serialization failures, a server that recovers or became a standby.
        "25006" | "55P03" => Class::Away,
        _ if ["08", "40", "53", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            Class::Away
        }
        _ if ["22", "23"].iter().any(|class| code.starts_with(class)) => Class::Value,
        _ => Class::Other,
    }
}

/// By SQLite's result code, whose low byte is the primary one.
fn sqlite_class(code: &str) -> Class {
    match code.parse::<i32>().unwrap_or(0) & 0xff {
        // BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL
        5 | 6 | 7 | 9 | 10 | 13 | 14 | 15 => Class::Away,
        // TOOBIG, CONSTRAINT, MISMATCH
        18..=20 => Class::Value,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_whether_to_try_again() {
        for code in ["57P01", "57P03", "08006", "53300", "57014", "40P01", "25006"] {
            assert_eq!(postgres_class(code), Class::Away, "{code}");
        }
        for code in ["23514", "22P02", "22021"] {
            assert_eq!(postgres_class(code), Class::Value, "{code}");
        }
        assert_eq!(postgres_class("42P01"), Class::Other, "a missing table");
        for (code, class) in [
            ("5", Class::Away),
            ("517", Class::Away),
            ("13", Class::Away),
            ("1299", Class::Value),
        ] {
            assert_eq!(sqlite_class(code), class, "{code}");
        }
        assert_eq!(sqlite_class("1"), Class::Other);
    }
}
