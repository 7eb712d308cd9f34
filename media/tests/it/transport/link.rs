//! One direction of a simulated link.

use std::time::{Duration, Instant};

use caside_media::parameters::Path;

/// How the link treats datagrams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions {
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    pub(crate) delay: Duration,
    /// Up to this is added to the delay, which reorders.
    pub(crate) jitter: Duration,
}

impl Conditions {
    pub(crate) const GOOD: Self = Self {
        loss: 0.0,
        duplicate: 0.0,
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
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

/// Datagrams under way.
#[derive(Debug)]
pub(crate) struct SimLink {
    pub(crate) conditions: Conditions,
    rng: Rng,
    under_way: Vec<(Instant, u64, Path, Vec<u8>)>,
    sent: u64,
}

impl SimLink {
    pub(crate) fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            rng: Rng(seed),
            under_way: Vec::new(),
            sent: 0,
        }
    }

    pub(crate) fn send(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        if self.rng.unit() < self.conditions.loss {
            return;
        }
        let copies = 1 + u64::from(self.rng.unit() < self.conditions.duplicate);
        for _ in 0..copies {
            let arrival = now + self.conditions.delay + self.conditions.jitter.mul_f64(self.rng.unit());
            self.sent += 1;
            self.under_way.push((arrival, self.sent, path, datagram.to_vec()));
        }
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.iter().map(|(at, ..)| *at).min()
    }

    pub(crate) fn receive(&mut self, now: Instant) -> Option<(Path, Vec<u8>)> {
        let (at, _) = self
            .under_way
            .iter()
            .enumerate()
            .filter(|(_, (at, ..))| *at <= now)
            .min_by_key(|(_, (at, order, ..))| (*at, *order))?;
        let (_, _, path, datagram) = self.under_way.swap_remove(at);
        Some((path, datagram))
    }
}
