//! A directory that takes its time, so that other things happen between a question and its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use caside_cluster::{Claim, Directory, DirectoryAway, Later, LocalDirectory, Owner};
use caside_protocol::RoomId;
use caside_protocol::node::Member;

use super::turn;

/// The turns of others before a question is heard, and again before its answer is.
const TURNS: usize = 12;

/// A directory behind a long way.
pub(crate) struct Slow {
    directory: Arc<LocalDirectory>,
    claiming: AtomicUsize,
    /// The most claims that were under way at once.
    pub(crate) most_claims: AtomicUsize,
}

impl Slow {
    pub(crate) fn new(directory: Arc<LocalDirectory>) -> Arc<Self> {
        Arc::new(Self {
            directory,
            claiming: AtomicUsize::new(0),
            most_claims: AtomicUsize::new(0),
        })
    }
}

async fn far<T>(question: impl Future<Output = T>) -> T {
    for _ in 0..TURNS {
        turn().await;
    }
    let answer = question.await;
    for _ in 0..TURNS {
        turn().await;
    }
    answer
}

impl Directory for Slow {
    fn claim<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<Claim, DirectoryAway>> {
        Box::pin(async move {
            let claiming = self.claiming.fetch_add(1, Ordering::Relaxed) + 1;
            self.most_claims.fetch_max(claiming, Ordering::Relaxed);
            let claim = far(self.directory.claim(room)).await;
            self.claiming.fetch_sub(1, Ordering::Relaxed);
            claim
        })
    }

    fn lookup<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<Option<Owner>, DirectoryAway>> {
        Box::pin(far(self.directory.lookup(room)))
    }

    fn release<'a>(&'a self, room: &'a RoomId, epoch: u64) -> Later<'a, Result<(), DirectoryAway>> {
        self.directory.release(room, epoch)
    }

    fn hand_over<'a>(
        &'a self,
        room: &'a RoomId,
        epoch: u64,
        to: &'a Member,
    ) -> Later<'a, Result<Option<u64>, DirectoryAway>> {
        // It takes twice as long, so that a claim can begin and end while it is answered.
        Box::pin(far(far(self.directory.hand_over(room, epoch, to))))
    }

    fn rooms_of<'a>(&'a self, member: &'a Member) -> Later<'a, Result<Vec<RoomId>, DirectoryAway>> {
        self.directory.rooms_of(member)
    }

    fn holds(&self) -> bool {
        self.directory.holds()
    }

    fn keep<'a>(&'a self, room: &'a RoomId, epoch: u64, state: Bytes) -> Later<'a, Result<bool, DirectoryAway>> {
        self.directory.keep(room, epoch, state)
    }
}
