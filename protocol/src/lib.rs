//! Every type that crosses a wire: client messages and their dialects, REST bodies, token claims, ids and error codes.
//!
//! Absent on purpose: behaviour. A type here knows how it is written and whether it is well formed, never what it does.

pub mod claims;
pub mod client;
pub mod codec;
pub mod error;
pub mod explain;
pub mod id;
pub mod inspect;
pub mod node;
pub mod rest;
pub mod role;
pub mod server;
pub mod trace;
pub mod view;

pub use error::ErrorCode;
pub use id::{CallId, InviteId, MessageId, NodeId, ParticipantId, RecordingId, RoomId, SessionId, TrackId, UserId};
pub use role::{Grants, Permission, Role};

/// A moment in UTC; RFC 3339 on the wire.
pub type Timestamp = time::OffsetDateTime;
