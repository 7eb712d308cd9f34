//! When something is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::engine::slab::Key;
use crate::engine::{Association, Router};
use crate::producer::Producer;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// A transport, its reports or its feedback.
    Association(Key<Association>),
    /// The measuring of a producer's layers.
    Producer(Key<Producer>),
    /// The measuring of who speaks.
    Router(Key<Router>),
}

/// One heap of moments. An object that is to be woken earlier than planned is planned a second time; whoever is woken too
/// early sees that nothing is due. So nothing is searched for, and memory is kept.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    /// Of equal moments the one planned first: the same inputs give the same outputs.
    order: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl Timers {
    pub(crate) fn plan(&mut self, at: Instant, due: Due) {
        self.order += 1;
        self.heap.push(Reverse(Entry {
            at,
            order: self.order,
            due,
        }));
    }

    /// The next moment, or an earlier one.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes what is due, with the moment it was planned for.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(Instant, Due)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.due))
    }
}

/// The plan of one object: whether it is planned early enough already.
#[derive(Debug, Default)]
pub(crate) struct Planned(Option<Instant>);

impl Planned {
    /// Plans `due` at `at`, unless it is planned before that.
    pub(crate) fn no_later_than(&mut self, timers: &mut Timers, at: Instant, due: Due) {
        if self.0.is_none_or(|planned| at < planned) {
            self.0 = Some(at);
            timers.plan(at, due);
        }
    }

    /// Whether the plan made for `at` is the one in force; it is then fulfilled.
    pub(crate) fn fulfil(&mut self, at: Instant) -> bool {
        if self.0 == Some(at) {
            self.0 = None;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::slab::Slab;
    use crate::producer::test_start;

    #[test]
    fn wakes_at_the_earliest_plan_only() {
        let key = Slab::<u8>::default().insert_with(|_| 0);
        let due = Due::Router(key.cast());
        let (mut timers, mut planned) = (Timers::default(), Planned::default());
        let at = |ms| test_start() + Duration::from_millis(ms);
        planned.no_later_than(&mut timers, at(20), due);
        planned.no_later_than(&mut timers, at(30), due);
        planned.no_later_than(&mut timers, at(10), due);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.take(at(9)), None);
        let (planned_for, _) = timers.take(at(25)).expect("due");
        assert!(planned.fulfil(planned_for));
        let (planned_for, _) = timers.take(at(25)).expect("the plan that was overtaken");
        assert!(!planned.fulfil(planned_for));
        assert_eq!(timers.take(at(100)), None);
    }
}
