//! The directory of nodes that share a process: of the one node that is alone, and of several in tests.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use caside_protocol::RoomId;
use caside_protocol::node::Member;

use crate::{Claim, Directory, DirectoryAway, Later, Owner};

/// Keeps owners in memory: what a claim costs is a lock and a hash.
#[derive(Debug, Clone)]
pub struct LocalDirectory {
    me: Member,
    /// Whether this member is there.
    alive: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rooms: HashMap<RoomId, Entry>,
    /// The last epoch given. One count serves all rooms, so that a released room need not be remembered.
    epoch: u64,
    /// Members that are gone.
    gone: HashSet<Member>,
    /// Those that are there.
    alive: HashMap<Member, Arc<AtomicBool>>,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    kept: Option<Bytes>,
}

impl State {
    fn next_epoch(&mut self) -> u64 {
        // Wall-clock milliseconds keep epochs growing over a restart, too.
        self.epoch = (self.epoch + 1).max(unix_ms());
        self.epoch
    }
}

impl LocalDirectory {
    /// An empty directory, as this member sees it.
    pub fn new(me: Member) -> Self {
        Self::with(me, Arc::default())
    }

    fn with(me: Member, state: Arc<Mutex<State>>) -> Self {
        let alive = Arc::new(AtomicBool::new(true));
        let directory = Self { me, alive, state };
        let (me, alive) = (directory.me.clone(), directory.alive.clone());
        directory.locked().alive.insert(me, alive);
        directory
    }

    /// Who sees it.
    pub fn member(&self) -> &Member {
        &self.me
    }

    /// The same directory, as another member sees it.
    #[must_use]
    pub fn seen_by(&self, me: Member) -> Self {
        Self::with(me, self.state.clone())
    }

    /// Takes note that a member is gone: its rooms may be taken.
    pub fn bury(&self, member: &Member) {
        let mut state = self.locked();
        state.gone.insert(member.clone());
        if let Some(alive) = state.alive.get(member) {
            alive.store(false, Ordering::Relaxed);
        }
    }

    /// How many rooms are owned.
    pub fn len(&self) -> usize {
        self.locked().rooms.len()
    }

    /// Whether no room is owned.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing here panics half-way through a change, so what a poisoned lock guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of a room that this member has under this epoch.
    fn own<'a>(&self, state: &'a mut State, room: &RoomId, epoch: u64) -> Option<&'a mut Entry> {
        let entry = state.rooms.get_mut(room)?;
        (entry.owner.member == self.me && entry.owner.epoch == epoch).then_some(entry)
    }
}

impl Directory for LocalDirectory {
    fn claim<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<Claim, DirectoryAway>> {
        Box::pin(async move {
            let mut state = self.locked();
            let mut kept = None;
            if let Some(entry) = state.rooms.get(room)
                && entry.owner.member != self.me
            {
                if !state.gone.contains(&entry.owner.member) {
                    return Ok(Claim::Taken(entry.owner.clone()));
                }
                kept = entry.kept.clone();
            }
            let epoch = state.next_epoch();
            let owner = Owner {
                member: self.me.clone(),
                epoch,
            };
            state.rooms.insert(
                room.clone(),
                Entry {
                    owner,
                    kept: kept.clone(),
                },
            );
            Ok(Claim::Granted { epoch, kept })
        })
    }

    fn lookup<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<Option<Owner>, DirectoryAway>> {
        Box::pin(async move {
            let state = self.locked();
            let owner = state.rooms.get(room).map(|entry| entry.owner.clone());
            Ok(owner.filter(|owner| !state.gone.contains(&owner.member)))
        })
    }

    fn release<'a>(&'a self, room: &'a RoomId, epoch: u64) -> Later<'a, Result<(), DirectoryAway>> {
        Box::pin(async move {
            let mut state = self.locked();
            if self.own(&mut state, room, epoch).is_some() {
                state.rooms.remove(room);
            }
            Ok(())
        })
    }

    fn hand_over<'a>(
        &'a self,
        room: &'a RoomId,
        epoch: u64,
        to: &'a Member,
    ) -> Later<'a, Result<Option<u64>, DirectoryAway>> {
        Box::pin(async move {
            let mut state = self.locked();
            if state.gone.contains(to) || self.own(&mut state, room, epoch).is_none() {
                return Ok(None);
            }
            let next = state.next_epoch();
            if let Some(entry) = self.own(&mut state, room, epoch) {
                entry.owner = Owner {
                    member: to.clone(),
                    epoch: next,
                };
            }
            Ok(Some(next))
        })
    }

    fn rooms_of<'a>(&'a self, member: &'a Member) -> Later<'a, Result<Vec<RoomId>, DirectoryAway>> {
        Box::pin(async move {
            let state = self.locked();
            let of_member = state.rooms.iter().filter(|(_, entry)| entry.owner.member == *member);
            Ok(of_member.map(|(room, _)| room.clone()).collect())
        })
    }

    fn holds(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    fn keep<'a>(&'a self, room: &'a RoomId, epoch: u64, kept: Bytes) -> Later<'a, Result<bool, DirectoryAway>> {
        Box::pin(async move {
            let mut state = self.locked();
            let entry = self.own(&mut state, room, epoch);
            Ok(entry.map(|entry| entry.kept = Some(kept)).is_some())
        })
    }
}

/// Milliseconds since 1970; 0 when the clock is before that.
fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use caside_protocol::NodeId;

    fn member(name: &str) -> Member {
        Member {
            node: NodeId::new(name).unwrap(),
            incarnation: 1,
        }
    }

    fn two() -> (LocalDirectory, LocalDirectory, RoomId) {
        let first = LocalDirectory::new(member("a"));
        let second = first.seen_by(member("b"));
        (first, second, RoomId::new("standup").unwrap())
    }

    async fn granted(directory: &LocalDirectory, room: &RoomId) -> (u64, Option<Bytes>) {
        match directory.claim(room).await.unwrap() {
            Claim::Granted { epoch, kept } => (epoch, kept),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_room_has_one_owner_until_it_is_released() {
        let (first, second, room) = two();
        let (epoch, _) = granted(&first, &room).await;
        let owner = Owner {
            member: member("a"),
            epoch,
        };
        assert_eq!(second.claim(&room).await.unwrap(), Claim::Taken(owner.clone()));
        second.release(&room, epoch).await.unwrap();
        assert_eq!(second.lookup(&room).await.unwrap(), Some(owner));
        first.release(&room, epoch).await.unwrap();
        assert_eq!(second.lookup(&room).await.unwrap(), None);
        assert!(granted(&second, &room).await.0 > epoch);
    }

    #[tokio::test]
    async fn a_stale_owner_cannot_release_or_keep_the_room_of_its_successor() {
        let (first, _, room) = two();
        let (old, _) = granted(&first, &room).await;
        let (new, _) = granted(&first, &room).await;
        first.release(&room, old).await.unwrap();
        assert_eq!(first.lookup(&room).await.unwrap().map(|o| o.epoch), Some(new));
        assert!(!first.keep(&room, old, Bytes::new()).await.unwrap());
        assert!(first.keep(&room, new, Bytes::new()).await.unwrap());
    }

    #[tokio::test]
    async fn the_room_of_a_member_that_is_gone_is_taken_over_with_what_it_kept() {
        let (first, second, room) = two();
        let (epoch, _) = granted(&first, &room).await;
        assert!(first.keep(&room, epoch, Bytes::from_static(b"state")).await.unwrap());
        second.bury(&member("a"));
        assert_eq!(second.lookup(&room).await.unwrap(), None);
        let (next, kept) = granted(&second, &room).await;
        assert!(next > epoch);
        assert_eq!(kept, Some(Bytes::from_static(b"state")));
    }

    #[tokio::test]
    async fn a_room_is_handed_over_once() {
        let (first, second, room) = two();
        let (epoch, _) = granted(&first, &room).await;
        let next = first.hand_over(&room, epoch, &member("b")).await.unwrap();
        assert!(next > Some(epoch));
        assert_eq!(first.hand_over(&room, epoch, &member("b")).await.unwrap(), None);
        assert_eq!(second.lookup(&room).await.unwrap().map(|o| o.member), Some(member("b")));
    }
}
