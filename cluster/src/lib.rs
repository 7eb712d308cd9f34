//! What makes several nodes one system: who is there, which of them owns which room, and the links between them.
//!
//! Absent on purpose: what a room is. A directory knows names, members and epochs.

mod company;
mod directory;
mod gateways;
mod links;
mod local;
pub mod placement;
mod redis_directory;

pub use company::{Company, CompanyError, CompanySettings};
pub use directory::{Claim, Directory, DirectoryAway, Later, Owner};
pub use gateways::{Alone, Gateways, Inbox, Neighbour};
pub use links::{LinkCounts, LinkEvents, LinkTls, Links, LinksError, LinksSettings, MAX_MESSAGE, SendError};
pub use local::LocalDirectory;
pub use redis_directory::{
    ConnectError, DirectoryEvents, MemberInfo, Peers, Quorum, RedisDirectory, RedisSettings, WireError,
};
