//! What makes several nodes one system: who is there, which of them owns which room, and the links between them.
//!
//! Absent on purpose: what a room is. A directory knows names, members and epochs.

mod directory;
mod local;
mod redis_directory;

pub use directory::{Claim, Directory, DirectoryAway, Later, Owner};
pub use local::LocalDirectory;
pub use redis_directory::{
    ConnectError, DirectoryEvents, MemberInfo, Peers, Quorum, RedisDirectory, RedisSettings, WireError,
};
