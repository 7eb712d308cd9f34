//! How much of a worker's time one client may take. What goes beyond is dropped before it costs anything to speak of, so that
//! a flood hurts whoever sends it and not the others of the worker.

use std::time::Instant;

/// Datagrams a second on the paths of one transport, and at once: 50 Mbit/s of full packets.
const DATAGRAMS: Rate = Rate {
    per_second: 5_000.0,
    burst: 5_000.0,
};

/// RTCP packets, in units of about a microsecond's work. Feedback every 50 ms on 5,000 packets a second takes 100 a second.
const REPORTS: Rate = Rate {
    per_second: 2_000.0,
    burst: 2_000.0,
};

/// Data channel messages, each of which goes to everybody in the room.
const MESSAGES: Rate = Rate {
    per_second: 400.0,
    burst: 1_000.0,
};

/// Bytes of a data channel message that count as one more.
const MESSAGE_BYTES: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: f64,
    burst: f64,
}

/// Tokens that come back at a rate.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    tokens: f64,
    refilled: Option<Instant>,
}

impl Bucket {
    fn preload(&self) -> u64 {
        self.tokens.to_bits()
    }

    fn new(rate: Rate) -> Self {
        Self {
            rate,
            tokens: rate.burst,
            refilled: None,
        }
    }

    fn take(&mut self, now: Instant, cost: f64) -> bool {
        // All packets of a round come at the same moment.
        if self.refilled != Some(now) {
            let since = self
                .refilled
                .replace(now)
                .map_or(0.0, |before| now.saturating_duration_since(before).as_secs_f64());
            self.tokens = (self.tokens + since * self.rate.per_second).min(self.rate.burst);
        }
        let granted = self.tokens >= cost;
        if granted {
            self.tokens -= cost;
        }
        granted
    }
}

/// What one transport's client may still ask of us.
#[derive(Debug)]
pub(crate) struct Budget {
    datagrams: Bucket,
    reports: Bucket,
    messages: Bucket,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            datagrams: Bucket::new(DATAGRAMS),
            reports: Bucket::new(REPORTS),
            messages: Bucket::new(MESSAGES),
        }
    }
}

impl Budget {
    /// Reads what the next report needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        self.datagrams.preload() ^ self.reports.preload()
    }

    /// Whether one more datagram is looked at.
    pub(crate) fn datagram(&mut self, now: Instant) -> bool {
        self.datagrams.take(now, 1.0)
    }

    /// Whether an RTCP packet that names so many things is acted upon.
    pub(crate) fn report(&mut self, now: Instant, named: usize) -> bool {
        self.reports.take(now, 1.0 + named as f64 / 64.0)
    }

    /// Whether a data channel message of `bytes` is handed on.
    pub(crate) fn message(&mut self, now: Instant, bytes: usize) -> bool {
        self.messages.take(now, (1 + bytes / MESSAGE_BYTES) as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::producer::test_start;

    #[test]
    fn beyond_the_burst_the_rate_is_granted() {
        let mut budget = Budget::default();
        let granted = |budget: &mut Budget, at: Instant| (0..20_000).filter(|_| budget.datagram(at)).count();
        let start = test_start();
        assert_eq!(granted(&mut budget, start), 5_000);
        assert_eq!(granted(&mut budget, start), 0);
        let soon = start + Duration::from_millis(100);
        assert!((499..=501).contains(&granted(&mut budget, soon)));
        let late = start + Duration::from_secs(100);
        assert_eq!(granted(&mut budget, late), 5_000, "no more than the burst is saved up");
    }

    #[test]
    fn what_names_much_costs_much() {
        let (mut one, mut many) = (Budget::default(), Budget::default());
        let now = test_start();
        let reports = |budget: &mut Budget, named| (0..10_000).filter(|_| budget.report(now, named)).count();
        assert_eq!(reports(&mut one, 0), 2_000);
        assert!(reports(&mut many, 2_048) < 100);
        let messages = |budget: &mut Budget, bytes| (0..10_000).filter(|_| budget.message(now, bytes)).count();
        assert_eq!(messages(&mut one, 100), 1_000);
        assert_eq!(messages(&mut many, 64 * 1024 - 1), 1_000 / 16);
    }
}
