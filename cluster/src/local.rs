//! The directory of a node that is alone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use caside_protocol::{NodeId, RoomId};

use crate::{Claim, Directory, DirectoryAway, Later, Owner};

/// Keeps owners in memory: what a claim costs is a lock and a hash.
#[derive(Debug, Default)]
pub struct LocalDirectory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    owners: HashMap<RoomId, Owner>,
    /// The last epoch given. One count serves all rooms, so that a released room need not be remembered.
    epoch: u64,
}

impl LocalDirectory {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rooms are owned.
    pub fn len(&self) -> usize {
        self.locked().owners.len()
    }

    /// Whether no room is owned.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing here panics half-way through a change, so what a poisoned lock guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory for LocalDirectory {
    fn claim<'a>(&'a self, room: &'a RoomId, node: &'a NodeId) -> Later<'a, Result<Claim, DirectoryAway>> {
        Box::pin(async move {
            let mut state = self.locked();
            if let Some(owner) = state.owners.get(room)
                && owner.node != *node
            {
                return Ok(Claim::Taken(owner.clone()));
            }
            // Wall-clock milliseconds keep epochs growing over a restart, too.
            state.epoch = (state.epoch + 1).max(unix_ms());
            let epoch = state.epoch;
            state.owners.insert(
                room.clone(),
                Owner {
                    node: node.clone(),
                    epoch,
                },
            );
            Ok(Claim::Granted { epoch })
        })
    }

    fn lookup<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<Option<Owner>, DirectoryAway>> {
        Box::pin(async move { Ok(self.locked().owners.get(room).cloned()) })
    }

    fn release<'a>(&'a self, room: &'a RoomId, owner: &'a Owner) -> Later<'a, Result<(), DirectoryAway>> {
        Box::pin(async move {
            let mut state = self.locked();
            if state.owners.get(room) == Some(owner) {
                state.owners.remove(room);
            }
            Ok(())
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

    fn node(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    async fn granted(directory: &LocalDirectory, room: &RoomId, who: &NodeId) -> u64 {
        match directory.claim(room, who).await.unwrap() {
            Claim::Granted { epoch } => epoch,
            Claim::Taken(owner) => panic!("{owner:?} has it"),
        }
    }

    #[tokio::test]
    async fn a_room_has_one_owner_until_it_is_released() {
        let (directory, room) = (LocalDirectory::new(), RoomId::new("standup").unwrap());
        let (first, second) = (node("a"), node("b"));
        let epoch = granted(&directory, &room, &first).await;
        let owner = Owner { node: first, epoch };
        assert_eq!(
            directory.claim(&room, &second).await.unwrap(),
            Claim::Taken(owner.clone())
        );
        directory.release(&room, &owner).await.unwrap();
        assert_eq!(directory.lookup(&room).await.unwrap(), None);
        assert!(granted(&directory, &room, &second).await > epoch);
    }

    #[tokio::test]
    async fn a_stale_owner_cannot_release_the_room_of_its_successor() {
        let (directory, room, who) = (LocalDirectory::new(), RoomId::new("r").unwrap(), node("a"));
        let old = Owner {
            node: who.clone(),
            epoch: granted(&directory, &room, &who).await,
        };
        let new = Owner {
            node: who.clone(),
            epoch: granted(&directory, &room, &who).await,
        };
        directory.release(&room, &old).await.unwrap();
        assert_eq!(directory.lookup(&room).await.unwrap(), Some(new));
    }
}
