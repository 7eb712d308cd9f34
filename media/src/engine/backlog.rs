//! Packets of pictures that wait until their receiver's path may take more.

use std::collections::VecDeque;

use crate::consumer::Consumer;
use crate::engine::slab::Key;

/// Packets that wait for one receiver at most: more than a key frame of each of several cameras. Beyond it the first go at once.
const MAX_WAITING: usize = 1024;

/// A packet waits no longer than this, in microseconds; then it goes whatever the path carries. What is too much for the
/// path in the long run is left out by layers, not here.
const MAX_WAIT_US: i64 = 250_000;

/// A packet that waits. Its bytes stay in its producer's ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) consumer: Key<Consumer>,
    pub(crate) encoding: usize,
    pub(crate) extended: u64,
    pub(crate) since_us: i64,
}

/// What waits for one receiver, in the order of coming.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    waiting: VecDeque<Waiting>,
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn push(&mut self, packet: Waiting) {
        self.waiting.push_back(packet);
    }

    /// The next packet if it may go: by `may_send`, or because it must.
    pub(crate) fn take(&mut self, now_us: i64, may_send: bool) -> Option<Waiting> {
        let first = self.waiting.front()?;
        let must_go = self.waiting.len() > MAX_WAITING || now_us - first.since_us >= MAX_WAIT_US;
        if may_send || must_go {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// Whether this packet waits for this consumer.
    pub(crate) fn holds(&self, consumer: Key<Consumer>, encoding: usize, extended: u64) -> bool {
        let is_it = |it: &Waiting| (it.consumer, it.encoding, it.extended) == (consumer, encoding, extended);
        self.waiting.iter().any(is_it)
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}
