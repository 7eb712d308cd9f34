//! What Caside remembers: the database (SQLite or PostgreSQL), object storage (local files or S3) and the recorder's
//! spool.
//!
//! [`Store`] answers at once or fails; whoever runs a call must not wait for it and appends to the [`Journal`] instead.
//! Absent on purpose: the schema's steps (`caside-migrations`), password and token hashing, and any decision about who
//! may see what.

pub mod api_keys;
pub mod calls;
mod connect;
mod entity;
mod error;
pub mod invites;
pub mod journal;
mod names;
pub mod objects;
mod page;
pub mod participants;
pub mod recordings;
pub mod refresh_tokens;
pub mod rooms;
pub mod spool;
mod timelines;
mod trace;
pub mod users;

pub use connect::{Store, StoreOptions};
pub use error::StoreError;
pub use journal::{Journal, JournalEntry};
pub use objects::ObjectStore;
pub use page::{DEFAULT_LIMIT, MAX_LIMIT, PageRequest};
pub use spool::Spool;
