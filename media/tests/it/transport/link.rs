//! One direction of a simulated link.
//!
//! A datagram meets, in this order: the partition, the MTU, losses (independent ones, then bursts), the bottleneck's queue,
//! duplication, delay and jitter. What a link does depends on its seed, its conditions and what is sent, and on nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use caside_media::parameters::Path;

/// How the link treats datagrams. May be changed while it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions {
    /// Part of the datagrams that is lost, each by its own chance.
    pub(crate) loss: f64,
    /// Losses that come in bursts, on top of `loss`.
    pub(crate) bursts: Option<Bursts>,
    pub(crate) duplicate: f64,
    pub(crate) delay: Duration,
    /// Up to this is added to the delay, which reorders.
    pub(crate) jitter: Duration,
    /// The bottleneck, if there is one.
    pub(crate) bottleneck: Option<Bottleneck>,
    /// Larger datagrams are lost.
    pub(crate) mtu: usize,
    /// Whether nothing passes.
    pub(crate) partitioned: bool,
}

/// Losses by Gilbert and Elliott: two states, of which the bad one loses datagrams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bursts {
    /// The chance of each datagram to begin a burst.
    pub(crate) begin: f64,
    /// The chance of each datagram to end it: its inverse is the mean length in datagrams.
    pub(crate) end: f64,
    /// Part of the datagrams lost within a burst.
    pub(crate) loss: f64,
}

/// A rate limit with a queue in front of it that drops what does not fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bottleneck {
    pub(crate) bits_per_second: u64,
    pub(crate) queue_bytes: usize,
}

/// What IP and UDP add to a datagram on the wire.
const OVERHEAD: usize = 28;

impl Conditions {
    pub(crate) const GOOD: Self = Self {
        loss: 0.0,
        bursts: None,
        duplicate: 0.0,
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        bottleneck: None,
        mtu: 1500 - OVERHEAD,
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

/// Runs a test once for each seed. A failure says which seed it was; `CASIDE_SEED` runs that one alone.
pub(crate) fn for_seeds(seeds: std::ops::RangeInclusive<u64>, mut run: impl FnMut(u64)) {
    let only = std::env::var("CASIDE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(seeds, |seed| seed..=seed);
    for seed in seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        if let Err(panic) = outcome {
            eprintln!("failed with seed {seed}; CASIDE_SEED={seed} replays it");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Datagrams under way.
#[derive(Debug)]
pub(crate) struct SimLink {
    pub(crate) conditions: Conditions,
    rng: Rng,
    in_burst: bool,
    /// By arrival, then order of sending.
    under_way: BTreeMap<(Instant, u64), (Path, Vec<u8>)>,
    /// What is in the bottleneck, and when the last of it has passed.
    queue: VecDeque<(Instant, usize)>,
    queued_bytes: usize,
    free_at: Option<Instant>,
    sent: u64,
    /// Datagrams that were lost to a full queue.
    pub(crate) overflowed: u64,
}

impl SimLink {
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
            overflowed: 0,
        }
    }

    pub(crate) fn send(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let conditions = self.conditions;
        if conditions.partitioned || datagram.len() > conditions.mtu {
            return;
        }
        if self.rng.unit() < conditions.loss || self.lost_in_burst() {
            return;
        }
        let Some(passed) = self.pass_bottleneck(now, datagram.len() + OVERHEAD) else {
            self.overflowed += 1;
            return;
        };
        let copies = 1 + u64::from(self.rng.unit() < conditions.duplicate);
        for _ in 0..copies {
            let arrival = passed + conditions.delay + conditions.jitter.mul_f64(self.rng.unit());
            self.sent += 1;
            self.under_way.insert((arrival, self.sent), (path, datagram.to_vec()));
        }
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn receive(&mut self, now: Instant) -> Option<(Path, Vec<u8>)> {
        let first = self.under_way.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::world;

    fn link(conditions: Conditions) -> SimLink {
        SimLink::new(conditions, 1)
    }

    /// Sends datagrams of 972 bytes, 1000 on the wire, one each `every`, and tells which arrive when, in ms.
    fn arrivals(link: &mut SimLink, count: u64, every: Duration) -> Vec<(u64, u64)> {
        let start = world::start();
        for number in 0..count {
            let mut datagram = vec![0; 972];
            datagram[..8].copy_from_slice(&number.to_be_bytes());
            link.send(start + every * number as u32, world::path(1), &datagram);
        }
        let end = start + Duration::from_secs(3600);
        std::iter::from_fn(|| {
            let at = link.next_arrival()?;
            let (_, datagram) = link.receive(end)?;
            let number = u64::from_be_bytes(*datagram.first_chunk().unwrap());
            Some((number, (at - start).as_millis() as u64))
        })
        .collect()
    }

    #[test]
    fn a_bottleneck_spaces_datagrams_and_drops_what_its_queue_cannot_hold() {
        let bottleneck = Bottleneck {
            bits_per_second: 800_000,
            queue_bytes: 5_000,
        };
        let conditions = Conditions {
            bottleneck: Some(bottleneck),
            ..Conditions::GOOD
        };
        let mut full = link(conditions);
        let came = arrivals(&mut full, 20, Duration::ZERO);
        assert_eq!(came, [(0, 20), (1, 30), (2, 40), (3, 50), (4, 60)]);
        assert_eq!(full.overflowed, 15);
        // Slower than the bottleneck: none waits.
        let came = arrivals(&mut link(conditions), 3, Duration::from_millis(100));
        assert_eq!(came, [(0, 20), (1, 120), (2, 220)]);
    }

    #[test]
    fn bursts_lose_runs_of_datagrams() {
        let bursts = Bursts {
            begin: 0.02,
            end: 0.2,
            loss: 1.0,
        };
        let mut link = link(Conditions {
            bursts: Some(bursts),
            ..Conditions::GOOD
        });
        let came = arrivals(&mut link, 20_000, Duration::from_millis(1));
        let lost = 20_000 - came.len();
        // In the bad state 0.02 / (0.02 + 0.2) of the time.
        assert!((1_500..2_150).contains(&lost), "{lost}");
        let runs = came.windows(2).filter(|pair| pair[1].0 > pair[0].0 + 1).count();
        let mean = lost as f64 / runs as f64;
        assert!((4.0..6.0).contains(&mean), "bursts of {mean}");
    }

    #[test]
    fn nothing_passes_a_partition_or_exceeds_the_mtu() {
        let mut link = link(Conditions {
            mtu: 971,
            ..Conditions::GOOD
        });
        assert_eq!(arrivals(&mut link, 5, Duration::ZERO), []);
        link.conditions.mtu = 972;
        assert_eq!(arrivals(&mut link, 5, Duration::ZERO).len(), 5);
        link.conditions.partitioned = true;
        assert_eq!(arrivals(&mut link, 5, Duration::ZERO), []);
    }

    #[test]
    fn equal_seeds_give_equal_runs() {
        let conditions = Conditions {
            loss: 0.1,
            duplicate: 0.1,
            jitter: Duration::from_millis(30),
            ..Conditions::GOOD
        };
        let run = |seed| arrivals(&mut SimLink::new(conditions, seed), 200, Duration::from_millis(3));
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
