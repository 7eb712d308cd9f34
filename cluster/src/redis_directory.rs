//! The room directory that nodes share in Redis, and who the nodes are.
//!
//! Redis is a cache, not a heart: when it is away for everybody, owners go on without it and assert what they have when it
//! is back. Who alone has lost it fences itself before anybody may take its rooms. One server or a replicated one behind one
//! address is meant, not Redis Cluster; it must not evict keys (`maxmemory-policy noeviction`).
//!
//! Absent on purpose: how members are reached, and what becomes of a room that is lost.

mod calls;
mod core;
mod keeper;
mod lease;
mod roll;
mod scripts;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use caside_protocol::RoomId;
use caside_protocol::node::Member;
use tokio::task::JoinHandle;

use crate::DirectoryAway;

pub use lease::Quorum;
pub use roll::MemberInfo;
pub use wire::WireError;

use self::core::Core;
use keeper::NotRenewed;
use scripts::Scripts;
use wire::Wire;

/// Where Redis is and how it is used.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://` or, with TLS, `rediss://`; may contain a password and is never shown.
    pub url: String,
    /// In front of every key.
    pub prefix: String,
    /// How long a member that is not heard of keeps its rooms.
    pub lease: Duration,
    /// Between two renewals; a sixth of the lease or less leaves room for a few that fail.
    pub renew: Duration,
    /// Longest wait for an answer; a third of the lease or less.
    pub call_timeout: Duration,
}

impl RedisSettings {
    /// The defaults: a lease of 3 s, renewed every 500 ms, answers within 1 s, keys that start with `caside:`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "caside:".to_owned(),
            lease: Duration::from_secs(3),
            renew: Duration::from_millis(500),
            call_timeout: Duration::from_secs(1),
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("url", &"…")
            .field("prefix", &self.prefix)
            .field("lease", &self.lease)
            .field("renew", &self.renew)
            .field("call_timeout", &self.call_timeout)
            .finish()
    }
}

/// What a directory tells. Calls come in the order of their causes, one at a time, from any thread; they must not block. They
/// may ask the directory what it answers at once, with no lock held that is also held elsewhere while it is asked.
pub trait DirectoryEvents: Send + Sync {
    /// The list of members with a lease, this one included, or an entry of it is another now.
    fn members(&self, live: &[MemberInfo]);
    /// A member's lease is over: its rooms may be taken.
    fn expired(&self, member: &Member);
    /// This member may own nothing any more: every room must stop at once.
    fn fenced(&self);
    /// This member has a lease again. Rooms of before must be claimed anew; what nobody took meanwhile comes with its kept
    /// state.
    fn reinstated(&self);
    /// Another member has a room of ours, under this higher epoch: it must stop here.
    fn room_lost(&self, room: &RoomId, epoch: u64);
    /// Redis has not answered for half a lease.
    fn away(&self);
    /// Redis answers again.
    fn back(&self);
}

/// Asked when Redis does not answer.
pub trait Peers: Send + Sync {
    /// What the links know now. Called up to 40 times a lease; must not block.
    fn quorum(&self) -> Quorum;
}

/// Why a directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address of Redis is not one.
    #[error("the address of Redis cannot be read")]
    Address,
    /// Redis cannot be reached or refuses; worth another try.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A newer run of this node is there.
    #[error("a newer run of this node is there")]
    Superseded,
    /// Another member has proof that this one was dead. A new run is another member.
    #[error("this run of the node was found dead by another member")]
    Buried,
}

/// The directory in Redis, as one member sees it. Its tasks end with it.
pub struct RedisDirectory {
    core: Arc<Core>,
    tasks: [JoinHandle<()>; 3],
}

impl fmt::Debug for RedisDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDirectory")
            .field("member", &self.core.me)
            .field("settings", &self.core.settings)
            .finish_non_exhaustive()
    }
}

impl RedisDirectory {
    /// Takes a lease for the member that `info` describes, and keeps it.
    ///
    /// # Errors
    /// [`ConnectError`] when there is no lease to be had now.
    pub async fn connect(
        settings: RedisSettings,
        info: MemberInfo,
        events: Arc<dyn DirectoryEvents>,
        peers: Arc<dyn Peers>,
    ) -> Result<Self, ConnectError> {
        let client = redis::Client::open(settings.url.as_str()).map_err(|_| ConnectError::Address)?;
        let (wire, scripts) = (Wire::new(client, settings.call_timeout), Scripts::new());
        let first = keeper::renew(&wire, &scripts, &settings, &info).await;
        let first = first.map_err(|error| match error {
            NotRenewed::Wire(error) => error.into(),
            NotRenewed::Superseded => ConnectError::Superseded,
            NotRenewed::Buried => ConnectError::Buried,
        })?;
        let core = Arc::new(Core::new(settings, wire, scripts, info, (events, peers), first));
        core.tell();
        let tasks = [
            tokio::spawn(keeper::watch(core.clone())),
            tokio::spawn(keeper::keep_renewed(core.clone())),
            tokio::spawn(keeper::keep_compared(core.clone())),
        ];
        Ok(Self { core, tasks })
    }

    /// The members with a lease, this one included, as of the last renewal.
    pub fn members(&self) -> Vec<MemberInfo> {
        self.core.locked().roll.list()
    }

    /// Changes what others are told of this member, from the next renewal on. Who it is cannot be changed.
    pub fn describe(&self, change: impl FnOnce(&mut MemberInfo)) {
        let mut state = self.core.locked();
        change(&mut state.info);
        state.info.member = self.core.me.clone();
    }

    /// Breaks a member's lease. For who has proof that its process is gone: what this member owned may be taken at once, and it
    /// never gets a lease again.
    ///
    /// # Errors
    /// [`DirectoryAway`] when Redis could not be told; others then take its rooms when its lease has run out.
    pub async fn bury(&self, member: &Member) -> Result<(), DirectoryAway> {
        self.core.bury(member).await
    }

    /// Whether Redis has not answered for half a lease.
    pub fn is_away(&self) -> bool {
        self.core.is_away()
    }

    /// Which rooms a member owns, or owned when it went.
    ///
    /// # Errors
    /// [`DirectoryAway`] when Redis does not answer.
    pub async fn rooms_of(&self, member: &Member) -> Result<Vec<RoomId>, DirectoryAway> {
        self.core.rooms_of(member).await
    }

    /// Gives up what rooms are left and the lease. Nothing can be claimed afterwards, and nothing is told any more. When Redis
    /// does not answer, the lease runs out.
    pub async fn leave(&self) {
        for task in &self.tasks {
            task.abort();
        }
        self.core.leave().await;
    }
}

impl Drop for RedisDirectory {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_do_not_print_the_password() {
        let settings = RedisSettings::new("redis://user:hunter2@example.org/");
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert!(!format!("{settings:?}").contains("example.org"));
    }
}
