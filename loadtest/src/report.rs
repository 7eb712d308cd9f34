//! Numbers for people.

use std::time::Duration;

/// Times that were measured.
#[derive(Debug, Default)]
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
}
