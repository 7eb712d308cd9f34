//! Requests of this node's clients that another node is to answer.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use caside_protocol::node::Member;

use super::locked;
use crate::peer::Reply;
use crate::room::JoinRequest;

/// Who waits.
#[derive(Debug)]
pub(super) enum Waiting {
    Reply(Reply),
    Join(Box<JoinRequest>),
}

/// Bounded by the credits of the sessions whose requests they are.
#[derive(Debug, Default)]
pub(super) struct Requests {
    table: Mutex<HashMap<u64, (Member, Waiting)>>,
    last: AtomicU64,
}

impl Requests {
    /// Keeps a request until `by` answers it; gives its number.
    pub(super) fn keep(&self, by: &Member, waiting: Waiting) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        locked(&self.table).insert(number, (by.clone(), waiting));
        number
    }

    /// The request of this number, if it is one that is answered by a message.
    pub(super) fn reply(&self, number: u64) -> Option<Reply> {
        let mut table = locked(&self.table);
        if !matches!(table.get(&number), Some((_, Waiting::Reply(_)))) {
            return None;
        }
        match table.remove(&number) {
            Some((_, Waiting::Reply(reply))) => Some(reply),
            Some((_, Waiting::Join(_))) | None => None,
        }
    }

    /// The join of this number.
    pub(super) fn join(&self, number: u64) -> Option<Box<JoinRequest>> {
        let mut table = locked(&self.table);
        if !matches!(table.get(&number), Some((_, Waiting::Join(_)))) {
            return None;
        }
        match table.remove(&number) {
            Some((_, Waiting::Join(request))) => Some(request),
            Some((_, Waiting::Reply(_))) | None => None,
        }
    }

    /// What a member will no longer answer.
    pub(super) fn of(&self, member: &Member) -> Vec<Waiting> {
        let mut table = locked(&self.table);
        let lost: Vec<u64> = table
            .iter()
            .filter(|(_, (by, _))| by == member)
            .map(|(number, _)| *number)
            .collect();
        lost.into_iter()
            .filter_map(|number| table.remove(&number).map(|(_, waiting)| waiting))
            .collect()
    }
}
