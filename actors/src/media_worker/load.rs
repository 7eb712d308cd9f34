//! How busy a worker is, and how long it lets packets gather.

use std::time::Duration;

#[expect(clippy::disallowed_types, reason = "a worker's load is measured on real time")]
type Instant = std::time::Instant;

/// What the share of busy time is smoothed over.
const SMOOTHING: Duration = Duration::from_millis(250);

/// Up to this share of busy time packets are forwarded as they come.
const AT_ONCE: f64 = 0.03;

/// From this share on they gather for the whole of [`MAX_SLOT`]. Ten meetings of ten, which take a quarter of a core when each packet is
/// forwarded as it comes, take a seventh of it then.
const FULL: f64 = 0.12;

/// The longest that packets gather. Less than what browsers' pacers spread a frame over, a quarter of a packet of sound.
const MAX_SLOT: Duration = Duration::from_millis(5);

/// The share of time that a worker's rounds take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    ended: Instant,
    share: f64,
}

impl Load {
    /// Of a worker that begins at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { ended: now, share: 0.0 }
    }

    /// Takes a round into account.
    pub(super) fn round(&mut self, began: Instant, ended: Instant) {
        let cycle = ended.saturating_duration_since(self.ended).as_secs_f64();
        let busy = ended.saturating_duration_since(began).as_secs_f64();
        self.ended = ended;
        if cycle > 0.0 {
            let weight = cycle / (cycle + SMOOTHING.as_secs_f64());
            self.share += (busy / cycle - self.share) * weight;
        }
    }

    /// The least time from one round that sent something to the next: a worker that has time forwards at once, a busy one lets
    /// packets gather, which then share system calls.
    pub(super) fn slot(&self) -> Duration {
        MAX_SLOT.mul_f64(((self.share - AT_ONCE) / (FULL - AT_ONCE)).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A second of rounds, each `busy` of `cycle` long.
    fn after_a_second(cycle: Duration, busy: Duration) -> Load {
        let start = Instant::now();
        let mut load = Load::new(start);
        for round in 1..=(1000 * MS).div_duration_f64(cycle) as u32 {
            let ended = start + cycle * round;
            load.round(ended - busy, ended);
        }
        load
    }

    #[test]
    fn a_worker_that_has_time_forwards_at_once_and_a_busy_one_gathers() {
        assert_eq!(Load::new(Instant::now()).slot(), Duration::ZERO);
        assert_eq!(after_a_second(50 * MS, MS / 2).slot(), Duration::ZERO);
        assert_eq!(after_a_second(10 * MS, 3 * MS).slot(), MAX_SLOT);
        let some = after_a_second(20 * MS, 3 * MS / 2).slot();
        assert!((MS..4 * MS).contains(&some), "{some:?}");
    }

    #[test]
    fn the_share_does_not_depend_on_how_long_rounds_are() {
        let (long, short) = (after_a_second(10 * MS, 3 * MS), after_a_second(MS, 3 * MS / 10));
        assert!((long.share - short.share).abs() < 0.02, "{long:?} {short:?}");
    }
}
