//! A directory that takes its time, so that other things happen between a question and its answer.

use std::sync::Arc;

use bytes::Bytes;
use caside_cluster::{Claim, Directory, DirectoryAway, Later, LocalDirectory, Owner};
use caside_protocol::RoomId;
use caside_protocol::node::Member;

use super::turn;

/// The turns of others before a question is heard, and again before its answer is.
const TURNS: usize = 12;

/// A directory behind a long way.
pub(crate) struct Slow(pub(crate) Arc<LocalDirectory>);

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
        Box::pin(far(self.0.claim(room)))
    }

    fn lookup<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<Option<Owner>, DirectoryAway>> {
        Box::pin(far(self.0.lookup(room)))
    }

    fn release<'a>(&'a self, room: &'a RoomId, epoch: u64) -> Later<'a, Result<(), DirectoryAway>> {
        self.0.release(room, epoch)
    }

    fn hand_over<'a>(
        &'a self,
        room: &'a RoomId,
        epoch: u64,
        to: &'a Member,
    ) -> Later<'a, Result<Option<u64>, DirectoryAway>> {
        // It takes twice as long, so that a claim can begin and end while it is answered.
        Box::pin(far(far(self.0.hand_over(room, epoch, to))))
    }

    fn rooms_of<'a>(&'a self, member: &'a Member) -> Later<'a, Result<Vec<RoomId>, DirectoryAway>> {
        self.0.rooms_of(member)
    }

    fn holds(&self) -> bool {
        self.0.holds()
    }

    fn keep<'a>(&'a self, room: &'a RoomId, epoch: u64, state: Bytes) -> Later<'a, Result<bool, DirectoryAway>> {
        self.0.keep(room, epoch, state)
    }
}
