//! One direction of a link: what it does to datagrams. The simulations run it in virtual time, `caside-link` in real time.
//!
//! A datagram meets, in this order: the partition, the MTU, losses (independent ones, then bursts), the bottleneck's queue,
//! duplication, delay, jitter and reordering. What a link does depends on its seed, its conditions and what is sent, and on
//! nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How the link treats datagrams. May be changed while it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Conditions {
    /// Part of the datagrams that is lost, each by its own chance.
    pub(crate) loss: f64,
    /// Losses that come in bursts, on top of `loss`.
    pub(crate) bursts: Option<Bursts>,
    pub(crate) duplicate: f64,
    pub(crate) delay: Duration,
    /// Up to this is added to the delay, which reorders.
    pub(crate) jitter: Duration,
    /// Datagrams that others overtake, beside those that jitter makes.
    pub(crate) reorder: Option<Reorder>,
    /// The bottleneck, if there is one.
    pub(crate) bottleneck: Option<Bottleneck>,
    /// Larger datagrams are lost, their headers counted.
    pub(crate) mtu: usize,
    /// Whether nothing passes.
    pub(crate) partitioned: bool,
}

/// Losses by Gilbert and Elliott: two states, of which the bad one loses datagrams.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bursts {
    /// The chance of each datagram to begin a burst.
    pub(crate) begin: f64,
    /// The chance of each datagram to end it: its inverse is the mean length in datagrams.
    pub(crate) end: f64,
    /// Part of the datagrams lost within a burst.
    pub(crate) loss: f64,
}

/// Datagrams that come later than those around them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reorder {
    /// Part of the datagrams.
    pub(crate) part: f64,
    /// By how much.
    pub(crate) by: Duration,
}

/// A rate limit with a queue in front of it that drops what does not fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bottleneck {
    pub(crate) bits_per_second: u64,
    pub(crate) queue_bytes: usize,
}

impl Conditions {
    pub(crate) const GOOD: Self = Self {
        loss: 0.0,
        bursts: None,
        duplicate: 0.0,
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        reorder: None,
        bottleneck: None,
        mtu: 1500,
        partitioned: false,
    };
}

/// A seeded generator (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Uniform in 0…1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Partitioned,
    /// It exceeds the MTU.
    TooLarge,
    /// Lost by its own chance.
    Lost,
    LostInBurst,
    /// The bottleneck's queue had no room for it.
    Overflowed,
    /// It arrives so many times.
    Passed {
        copies: u8,
        /// From its coming to the bottleneck until its last bit has left it.
        queued: Duration,
    },
}

/// Datagrams under way.
#[derive(Debug)]
pub(crate) struct Link<T> {
    pub(crate) conditions: Conditions,
    rng: Rng,
    in_burst: bool,
    /// By arrival, then order of sending.
    under_way: BTreeMap<(Instant, u64), T>,
    /// What is in the bottleneck, and when the last of it has passed.
    queue: VecDeque<(Instant, usize)>,
    queued_bytes: usize,
    free_at: Option<Instant>,
    sent: u64,
}

impl<T: Clone> Link<T> {
    pub(crate) fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            rng: Rng(seed),
            in_burst: false,
            under_way: BTreeMap::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            free_at: None,
            sent: 0,
        }
    }

    /// A datagram of so many bytes, its headers counted, comes to the link.
    pub(crate) fn send(&mut self, now: Instant, bytes: usize, datagram: T) -> Fate {
        let conditions = self.conditions;
        if conditions.partitioned {
            return Fate::Partitioned;
        }
        if bytes > conditions.mtu {
            return Fate::TooLarge;
        }
        if self.rng.unit() < conditions.loss {
            return Fate::Lost;
        }
        if self.lost_in_burst() {
            return Fate::LostInBurst;
        }
        let Some(passed) = self.pass_bottleneck(now, bytes) else {
            return Fate::Overflowed;
        };
        let copies = 1 + u8::from(self.rng.unit() < conditions.duplicate);
        for _ in 0..copies {
            let arrival = passed + conditions.delay + conditions.jitter.mul_f64(self.rng.unit());
            let held = conditions.reorder.filter(|reorder| self.rng.unit() < reorder.part);
            let arrival = arrival + held.map_or(Duration::ZERO, |reorder| reorder.by);
            self.sent += 1;
            self.under_way.insert((arrival, self.sent), datagram.clone());
        }
        Fate::Passed {
            copies,
            queued: passed - now,
        }
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    /// The next datagram that has arrived, and when it did.
    pub(crate) fn receive(&mut self, now: Instant) -> Option<(Instant, T)> {
        let first = self.under_way.first_entry()?;
        let at = first.key().0;
        (at <= now).then(|| (at, first.remove()))
    }

    fn lost_in_burst(&mut self) -> bool {
        let Some(bursts) = self.conditions.bursts else {
            return false;
        };
        let chance = if self.in_burst { bursts.end } else { bursts.begin };
        if self.rng.unit() < chance {
            self.in_burst = !self.in_burst;
        }
        self.in_burst && self.rng.unit() < bursts.loss
    }

    /// When the last bit of a datagram leaves the bottleneck; `None` when the queue has no room for it.
    fn pass_bottleneck(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(bottleneck) = self.conditions.bottleneck else {
            return Some(now);
        };
        while let Some((_, gone)) = self.queue.pop_front_if(|(at, _)| *at <= now) {
            self.queued_bytes -= gone;
        }
        if self.queued_bytes + bytes > bottleneck.queue_bytes {
            return None;
        }
        let begins = self.free_at.map_or(now, |at| at.max(now));
        let nanos = bytes as u64 * 8 * 1_000_000_000 / bottleneck.bits_per_second;
        let passed = begins + Duration::from_nanos(nanos);
        self.free_at = Some(passed);
        self.queue.push_back((passed, bytes));
        self.queued_bytes += bytes;
        Some(passed)
    }
}
