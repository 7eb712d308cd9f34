//! How old a message is when it is handled. A node that was frozen finds everything that waited for it in the kernel's and its own
//! queues, and must not do what nobody wants any more.
//!
//! No two clocks are compared: each end counts milliseconds from its own start. The quickest message of late shows what the two
//! counts differ by at most; what a message lags behind that is how long it waited on its way.

/// After so many heartbeats the quickest message is sought anew, so that clocks may drift: half a minute at four a second.
/// Counted in heartbeats, not in time, since none arrives at a frozen node.
const WINDOW: u32 = 120;

/// What the other end's clock differs from ours by.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    now: Option<i64>,
    before: Option<i64>,
    heartbeats: u32,
}

impl Ages {
    /// Takes in when a message was sent and handled, and tells how long it waited, in milliseconds.
    pub(crate) fn see(&mut self, sent_ms: u64, now_ms: u64) -> u64 {
        let lag = now_ms.wrapping_sub(sent_ms).cast_signed();
        let quickest = self.now.map_or(lag, |now| now.min(lag));
        self.now = Some(quickest);
        let base = self.before.map_or(quickest, |before| before.min(quickest));
        u64::try_from(lag.saturating_sub(base)).unwrap_or(0)
    }

    /// Counts a heartbeat.
    pub(crate) fn heartbeat(&mut self) {
        self.heartbeats += 1;
        if self.heartbeats >= WINDOW {
            self.heartbeats = 0;
            self.before = self.now.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_is_old_whatever_the_clocks_show() {
        for offset in [0, 5, 1_000_000] {
            let mut ages = Ages::default();
            assert_eq!(ages.see(offset + 100, 103), 0, "the first is the measure");
            assert_eq!(
                ages.see(offset + 200, 202),
                0,
                "a quicker one is the measure from then on"
            );
            assert_eq!(ages.see(offset + 300, 302), 0);
            assert_eq!(ages.see(offset + 400, 25_402), 25_000);
        }
    }

    #[test]
    fn drift_is_followed() {
        let mut ages = Ages::default();
        for beat in 0..100_000_u64 {
            // A clock that is slow by one part in a thousand, over seven hours.
            let (sent, now) = (beat * 250, beat * 250 + beat / 4);
            assert!(ages.see(sent, now) <= 2 * u64::from(WINDOW) / 4);
            ages.heartbeat();
        }
    }

    #[test]
    fn what_is_found_after_a_freeze_does_not_pass_for_the_usual() {
        let mut ages = Ages::default();
        for beat in 0..u64::from(WINDOW) - 2 {
            ages.see(beat * 250, beat * 250 + 1);
            ages.heartbeat();
        }
        // Frozen for 20 s; five heartbeats were waiting, among which the window turned.
        let frozen_at = u64::from(WINDOW) * 250;
        for beat in 0..5 {
            assert!(ages.see(frozen_at + beat * 250, frozen_at + 20_000 + 1) >= 18_000);
            ages.heartbeat();
        }
    }
}
