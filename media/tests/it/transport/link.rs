//! One direction of a simulated link, with UDP on it.

use std::time::Instant;

use caside_media::parameters::Path;

#[path = "../../support/link.rs"]
mod model;

pub(crate) use self::model::{Bottleneck, Bursts, Conditions, Rng};
use self::model::{Fate, Link};

/// What IP and UDP add to a datagram on the wire.
const OVERHEAD: usize = 28;

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

/// Datagrams under way. [`conditions`](Self::conditions) may be changed.
#[derive(Debug)]
pub(crate) struct SimLink {
    link: Link<(Path, Vec<u8>)>,
    pub(crate) conditions: Conditions,
    /// Datagrams that were lost to a full queue.
    pub(crate) overflowed: u64,
}

impl SimLink {
    pub(crate) fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            link: Link::new(conditions, seed),
            conditions,
            overflowed: 0,
        }
    }

    pub(crate) fn send(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Fate {
        self.link.conditions = self.conditions;
        let fate = self
            .link
            .send(now, datagram.len() + OVERHEAD, (path, datagram.to_vec()));
        self.overflowed += u64::from(fate == Fate::Overflowed);
        fate
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.link.next_arrival()
    }

    pub(crate) fn receive(&mut self, now: Instant) -> Option<(Path, Vec<u8>)> {
        self.link.receive(now).map(|(_, datagram)| datagram)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::model::Reorder;
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
        let later = world::start() + Duration::from_secs(1);
        let fates: Vec<_> = (0..6).map(|_| full.send(later, world::path(1), &[0; 972])).collect();
        let passed = |ms| Fate::Passed {
            copies: 1,
            queued: Duration::from_millis(ms),
        };
        assert_eq!(
            fates,
            [
                passed(10),
                passed(20),
                passed(30),
                passed(40),
                passed(50),
                Fate::Overflowed
            ]
        );
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
    fn stragglers_are_overtaken_by_those_behind_them() {
        let conditions = Conditions {
            reorder: Some(Reorder {
                part: 0.1,
                by: Duration::from_millis(25),
            }),
            ..Conditions::GOOD
        };
        let came = arrivals(&mut link(conditions), 1000, Duration::from_millis(10));
        assert_eq!(came.len(), 1000);
        let late = came.iter().filter(|(number, at)| *at == number * 10 + 35).count();
        let overtaken = came.windows(2).filter(|pair| pair[1].0 < pair[0].0).count();
        assert!((60..150).contains(&late), "{late}");
        assert!((50..=late).contains(&overtaken), "{overtaken}");
    }

    #[test]
    fn nothing_passes_a_partition_or_exceeds_the_mtu() {
        let mut link = link(Conditions {
            mtu: 971 + OVERHEAD,
            ..Conditions::GOOD
        });
        assert_eq!(arrivals(&mut link, 5, Duration::ZERO), []);
        link.conditions.mtu = 972 + OVERHEAD;
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
