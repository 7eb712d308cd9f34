//! Durations counted by how long they were, without a lock: two relaxed additions each.

use std::sync::atomic::{AtomicU64, Ordering};

/// The longest that each bucket but the last takes, in µs.
const BOUNDS_US: [u64; BOUNDS.len()] = [50, 250, 1_000, 5_000, 25_000, 100_000, 1_000_000];
/// The same in seconds, as [`Durations`] is read with them.
pub const BOUNDS: [f64; 7] = [0.000_05, 0.000_25, 0.001, 0.005, 0.025, 0.1, 1.0];

/// Counts durations.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

/// A reading of durations, by bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many were no longer than each of [`BOUNDS`], and longer than the one before; the last: longer than all.
    pub counts: [u64; BOUNDS.len() + 1],
    /// All of them together, in µs.
    pub sum_us: u64,
}

impl Histogram {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; BOUNDS.len() + 1],
            sum_us: AtomicU64::new(0),
        }
    }

    /// One more that took so long.
    pub(crate) fn add(&self, us: u64) {
        let bucket = BOUNDS_US
            .iter()
            .position(|bound| us <= *bound)
            .unwrap_or(BOUNDS_US.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// A reading.
    pub(crate) fn read(&self) -> Durations {
        Durations {
            counts: self.counts.each_ref().map(|count| count.load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

impl Durations {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds others.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_us += other.sum_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_first_bucket_that_takes_it() {
        for (us, seconds) in BOUNDS_US.iter().zip(BOUNDS) {
            assert!((*us as f64 / 1e6 - seconds).abs() < 1e-12);
        }
        let histogram = Histogram::new();
        for us in [0, 50, 51, 1_000, 1_000_000, 1_000_001, u64::from(u32::MAX)] {
            histogram.add(us);
        }
        let read = histogram.read();
        assert_eq!(read.counts, [2, 1, 1, 0, 0, 0, 1, 2]);
        assert_eq!((read.count(), read.sum_us), (7, 2_001_102 + u64::from(u32::MAX)));
    }
}
