//! Requests of this node's clients that another node is to answer.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use caside_protocol::node::Member;
use tokio::time::Instant;

use super::locked;
use crate::peer::Reply;
use crate::room::JoinRequest;

/// Who waits.
#[derive(Debug)]
pub(super) enum Waiting {
    Reply(Reply),
    Join(Box<JoinRequest>),
}

struct Request {
    by: Member,
    since: Instant,
    waiting: Waiting,
}

/// Bounded by the credits of the sessions whose requests they are. Numbers grow, so that the first is the oldest.
#[derive(Default)]
pub(super) struct Requests {
    table: Mutex<BTreeMap<u64, Request>>,
    last: AtomicU64,
}

impl Requests {
    /// Keeps a request until `by` answers it; gives its number.
    pub(super) fn keep(&self, by: &Member, waiting: Waiting) -> u64 {
        let mut table = locked(&self.table);
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let request = Request {
            by: by.clone(),
            since: Instant::now(),
            waiting,
        };
        table.insert(number, request);
        number
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        locked(&self.table).len()
    }

    /// The request of this number.
    pub(super) fn take(&self, number: u64) -> Option<Waiting> {
        locked(&self.table).remove(&number).map(|request| request.waiting)
    }

    /// The request of this number, if it is one that is answered by a message.
    pub(super) fn reply(&self, number: u64) -> Option<Reply> {
        match self.take_if(number, |waiting| matches!(waiting, Waiting::Reply(_)))? {
            Waiting::Reply(reply) => Some(reply),
            Waiting::Join(_) => None,
        }
    }

    /// The join of this number.
    pub(super) fn join(&self, number: u64) -> Option<Box<JoinRequest>> {
        match self.take_if(number, |waiting| matches!(waiting, Waiting::Join(_)))? {
            Waiting::Join(request) => Some(request),
            Waiting::Reply(_) => None,
        }
    }

    fn take_if(&self, number: u64, is_meant: impl FnOnce(&Waiting) -> bool) -> Option<Waiting> {
        let mut table = locked(&self.table);
        let is_meant = table.get(&number).is_some_and(|request| is_meant(&request.waiting));
        is_meant
            .then(|| table.remove(&number))
            .flatten()
            .map(|request| request.waiting)
    }

    /// What a member will no longer answer.
    pub(super) fn of(&self, member: &Member) -> Vec<Waiting> {
        let mut table = locked(&self.table);
        let lost = table.extract_if(.., |_, request| request.by == *member);
        lost.map(|(_, request)| request.waiting).collect()
    }

    /// What has waited for longer than this.
    pub(super) fn overdue(&self, limit: Duration) -> Vec<Waiting> {
        let mut table = locked(&self.table);
        let mut overdue = Vec::new();
        while let Some(oldest) = table
            .first_entry()
            .filter(|oldest| oldest.get().since.elapsed() > limit)
        {
            overdue.push(oldest.remove().waiting);
        }
        overdue
    }
}
