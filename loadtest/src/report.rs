//! Numbers for people.

use std::time::Duration;

/// Times that were measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// Sorts them.
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that this share (0–1) stays at or below, in milliseconds; 0 when there are none.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        self.0.get(index).map_or(0.0, |t| t.as_secs_f64() * 1000.0)
    }
}

/// Buckets of one power of two: an error of 3 % at most.
const STEPS: usize = 16;
/// Powers of two that are told apart: up to 2⁴⁰ ns, 18 minutes.
const POWERS: usize = 40;

/// Many durations in little memory, each known to about 6 %.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    /// Made with the first duration.
    buckets: Vec<u32>,
    count: u64,
}

impl Histogram {
    /// Records a duration in nanoseconds.
    pub(crate) fn record_ns(&mut self, ns: u64) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; STEPS * POWERS];
        }
        let power = (ns | STEPS as u64).ilog2() as usize;
        let step = (ns >> (power - STEPS.ilog2() as usize)) as usize & (STEPS - 1);
        let index = power * STEPS + step;
        let last = self.buckets.len() - 1;
        if let Some(bucket) = self.buckets.get_mut(index.min(last)) {
            *bucket = bucket.saturating_add(1);
        }
        self.count += 1;
    }

    /// Adds another's durations.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            for (own, other) in self.buckets.iter_mut().zip(&other.buckets) {
                *own = own.saturating_add(*other);
            }
        }
        self.count += other.count;
    }

    /// The duration that this share (0–1) stays at or below, in milliseconds; 0 when there are none.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let rank = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += u64::from(*bucket);
            if seen >= rank {
                let (power, step) = (index / STEPS, index % STEPS);
                let low = (1u64 << power) + ((step as u64) << power) / STEPS as u64;
                return low as f64 / 1e6;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let times = Times::new((1..=101).rev().map(Duration::from_millis).collect());
        assert_eq!(
            (times.quantile_ms(0.0), times.quantile_ms(0.5), times.quantile_ms(0.99)),
            (1.0, 51.0, 100.0)
        );
        assert_eq!(Times::default().quantile_ms(0.5), 0.0);
    }

    #[test]
    fn a_histogram_knows_its_quantiles_roughly() {
        let (mut all, mut other) = (Histogram::default(), Histogram::default());
        assert_eq!(all.quantile_ms(0.5), 0.0);
        (1..=500u64).for_each(|us| other.record_ns(us * 1000));
        (501..=1000u64).for_each(|us| all.record_ns(us * 1000));
        all.add(&other);
        for (share, expected) in [(0.5, 0.5), (0.99, 0.99), (0.01, 0.01)] {
            let found = all.quantile_ms(share);
            assert!(
                (found / expected - 1.0).abs() < 0.07,
                "{share}: {found} instead of {expected}"
            );
        }
        all.record_ns(u64::MAX);
        all.record_ns(0);
        assert!(all.quantile_ms(1.0) > 1000.0);
    }
}
