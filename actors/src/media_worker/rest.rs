//! How long a worker rests between two rounds, in which packets gather.

use std::time::Duration;

/// Up to this share of busy time packets are forwarded as they come.
const AT_ONCE: f64 = 0.03;

/// From this share on they gather for the whole of [`LONGEST`]. Ten meetings of ten, which take a quarter of a core when each
/// packet is forwarded as it comes, take a seventh of it then.
const FULL: f64 = 0.12;

/// The longest that packets gather: less than what browsers' pacers spread a frame over, a quarter of a packet of sound.
const LONGEST: Duration = Duration::from_millis(5);

/// The least time from one round that sent something to the next, by the worker's share of busy time: one that has time forwards
/// at once, a busy one lets packets gather, which then share system calls.
pub(super) fn rest(busy: f64) -> Duration {
    LONGEST.mul_f64(((busy - AT_ONCE) / (FULL - AT_ONCE)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_has_time_forwards_at_once_and_a_busy_one_gathers() {
        assert_eq!(rest(0.0), Duration::ZERO);
        assert_eq!(rest(AT_ONCE), Duration::ZERO);
        assert_eq!(rest(FULL), LONGEST);
        assert_eq!(rest(1.0), LONGEST);
        let half = rest((AT_ONCE + FULL) / 2.0);
        assert!(
            (half.as_secs_f64() - LONGEST.as_secs_f64() / 2.0).abs() < 1e-6,
            "{half:?}"
        );
    }
}
