//! Packets of pictures that wait until their receiver's path may take more.
//!
//! Each track has a queue, and they take turns: what one publisher sends beyond measure delays its own picture, not those of others.

use std::collections::VecDeque;

use crate::consumer::Consumer;
use crate::engine::slab::Key;

/// Packets that wait for one receiver at most: more than a key frame of each of several cameras. Beyond it the first of the longest
/// queue go at once.
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

/// Why a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It is its turn, and the path may be given more.
    Turn,
    /// It waited for too long, or too many wait. Others are not to wait for it, so it counts for nothing in the pace.
    Force,
}

/// What waits of one track, in the order of coming.
#[derive(Debug)]
struct Queue {
    consumer: Key<Consumer>,
    waiting: VecDeque<Waiting>,
}

/// What waits for one receiver.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Those of which something waits come first; the others are kept for their memory.
    queues: Vec<Queue>,
    busy: usize,
    /// Whose turn it is.
    turn: usize,
    len: usize,
}

impl Backlog {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether something of this track waits.
    pub(crate) fn has(&self, consumer: Key<Consumer>) -> bool {
        self.queue(consumer).is_some()
    }

    pub(crate) fn push(&mut self, packet: Waiting) {
        let at = self.queues[..self.busy]
            .iter()
            .position(|queue| queue.consumer == packet.consumer);
        let at = at.unwrap_or_else(|| self.open(packet.consumer));
        if let Some(queue) = self.queues.get_mut(at) {
            queue.waiting.push_back(packet);
            self.len += 1;
        }
    }

    /// The next packet if one may go: by `may_send`, or because it must.
    pub(crate) fn take(&mut self, now_us: i64, may_send: bool) -> Option<(Waiting, Leave)> {
        let busy = self.queues.get(..self.busy)?;
        let (at, leave) = if self.len > MAX_WAITING {
            let longest = (0..busy.len()).max_by_key(|at| busy[*at].waiting.len())?;
            (longest, Leave::Force)
        } else {
            let is_late = |queue: &Queue| {
                queue
                    .waiting
                    .front()
                    .is_some_and(|it| now_us - it.since_us >= MAX_WAIT_US)
            };
            match busy.iter().position(is_late) {
                Some(late) => (late, Leave::Force),
                None if may_send => (self.turn % busy.len().max(1), Leave::Turn),
                None => return None,
            }
        };
        let queue = self.queues.get_mut(at).filter(|_| at < self.busy)?;
        let packet = queue.waiting.pop_front()?;
        self.len -= 1;
        if queue.waiting.is_empty() {
            self.busy -= 1;
            self.queues.swap(at, self.busy);
            // Who was last has this place now, and its turn if that is the next.
            self.turn = at;
        } else {
            self.turn = at + 1;
        }
        Some((packet, leave))
    }

    /// Whether this packet waits for this consumer.
    pub(crate) fn holds(&self, consumer: Key<Consumer>, encoding: usize, extended: u64) -> bool {
        let is_it = |it: &Waiting| (it.encoding, it.extended) == (encoding, extended);
        self.queue(consumer)
            .is_some_and(|queue| queue.waiting.iter().any(is_it))
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        for queue in &mut self.queues[..self.busy] {
            queue.waiting.clear();
        }
        (self.busy, self.len) = (0, 0);
    }

    fn queue(&self, consumer: Key<Consumer>) -> Option<&Queue> {
        self.queues[..self.busy].iter().find(|queue| queue.consumer == consumer)
    }

    fn open(&mut self, consumer: Key<Consumer>) -> usize {
        let at = self.busy;
        match self.queues.get_mut(at) {
            Some(kept) => kept.consumer = consumer,
            None => self.queues.push(Queue {
                consumer,
                waiting: VecDeque::new(),
            }),
        }
        self.busy += 1;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::slab::Slab;

    fn keys(count: u8) -> Vec<Key<Consumer>> {
        // Keys of any slab do.
        let mut slab = Slab::default();
        (0..count).map(|it| slab.insert_with(|_| it).cast()).collect()
    }

    fn push(backlog: &mut Backlog, consumer: Key<Consumer>, numbers: impl IntoIterator<Item = u64>) {
        for extended in numbers {
            backlog.push(Waiting {
                consumer,
                encoding: 0,
                extended,
                since_us: 0,
            });
        }
    }

    fn drain(backlog: &mut Backlog) -> Vec<u64> {
        std::iter::from_fn(|| backlog.take(1, true))
            .map(|(it, _)| it.extended)
            .collect()
    }

    #[test]
    fn tracks_take_turns_and_each_keeps_its_order() {
        let (mut backlog, keys) = (Backlog::default(), keys(3));
        push(&mut backlog, keys[0], 0..100);
        push(&mut backlog, keys[1], 1000..1003);
        push(&mut backlog, keys[2], 2000..2002);
        assert!(backlog.has(keys[1]) && backlog.holds(keys[1], 0, 1002) && !backlog.holds(keys[0], 0, 1002));
        let sent = drain(&mut backlog);
        assert_eq!(sent.len(), 105);
        let place = |number: u64| sent.iter().position(|it| *it == number).unwrap();
        assert!(place(1002) < 10 && place(2001) < 10, "{:?}", &sent[..12]);
        for range in [0..100, 1000..1003, 2000..2002] {
            assert!(range.map(place).is_sorted());
        }
        assert!(backlog.is_empty() && keys.iter().all(|key| !backlog.has(*key)));
        push(&mut backlog, keys[1], [7]);
        assert_eq!(drain(&mut backlog), [7]);
    }

    #[test]
    fn nothing_goes_without_leave_but_what_is_late_or_too_much() {
        let (mut backlog, keys) = (Backlog::default(), keys(2));
        push(&mut backlog, keys[0], 0..2);
        assert!(backlog.take(MAX_WAIT_US - 1, false).is_none());
        let late = backlog.take(MAX_WAIT_US, false).map(|(it, leave)| (it.extended, leave));
        assert_eq!(late, Some((0, Leave::Force)));
        let next = backlog.take(0, true).map(|(it, leave)| (it.extended, leave));
        assert_eq!(next, Some((1, Leave::Turn)));
        push(&mut backlog, keys[0], 2..4);
        backlog.clear();
        assert!(backlog.take(i64::MAX, true).is_none());
        push(&mut backlog, keys[0], 0..3);
        push(&mut backlog, keys[1], 10..10 + MAX_WAITING as u64);
        let sent: Vec<_> = std::iter::from_fn(|| backlog.take(1, false))
            .map(|(it, _)| it.extended)
            .collect();
        assert_eq!(sent, [10, 11, 12], "of the longest queue, down to the bound");
    }
}
