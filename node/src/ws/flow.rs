//! What a client may send, as a pure decision: how fast, how much nonsense, and whether it is alive.

use std::time::Duration;

use tokio::time::Instant;

use crate::limit::{Bucket, Rate};

/// Messages of one connection: 100 a second, 400 at once.
const MESSAGES: Rate = Rate {
    per_second: 100.0,
    burst: 400.0,
};
/// Malformed messages in a row after which the connection is closed.
const MAX_MALFORMED: u32 = 16;
/// Seconds in a row with messages beyond the rate after which the connection is closed.
const MAX_LIMITED_SECONDS: u32 = 10;
/// Messages refused in a second after which no more are read in it: refusing costs too, and what is not read holds its sender up.
const MAX_REFUSED: u32 = 100;
/// Heartbeats in a row without an answer after which the connection is dropped.
const MAX_MISSED: u32 = 2;

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Act on it.
    Act,
    /// Refuse it; the next may be sent after this time.
    Refuse(Duration),
    /// Refuse it and close.
    Close,
}

/// One connection's account.
#[derive(Debug)]
pub(crate) struct Flow {
    bucket: Bucket,
    began: Instant,
    limited_second: Option<u64>,
    limited_in_a_row: u32,
    refused: u32,
    malformed_in_a_row: u32,
    missed: u32,
}

impl Flow {
    /// A new connection's.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            bucket: Bucket::full(MESSAGES, now),
            began: now,
            limited_second: None,
            limited_in_a_row: 0,
            refused: 0,
            malformed_in_a_row: 0,
            missed: 0,
        }
    }

    /// A message came, whatever is in it.
    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        match self.bucket.take(MESSAGES, now) {
            Ok(()) => Admission::Act,
            Err(wait) => {
                let second = now.saturating_duration_since(self.began).as_secs();
                if self.limited_second != Some(second) {
                    let follows = self.limited_second.is_some_and(|last| last + 1 == second);
                    self.limited_in_a_row = if follows { self.limited_in_a_row + 1 } else { 1 };
                    self.limited_second = Some(second);
                    self.refused = 0;
                }
                self.refused += 1;
                if self.limited_in_a_row >= MAX_LIMITED_SECONDS {
                    Admission::Close
                } else {
                    Admission::Refuse(wait)
                }
            }
        }
    }

    /// Until when nothing more is read, if enough was refused.
    pub(crate) fn holds_until(&self, now: Instant) -> Option<Instant> {
        let next = self.began + Duration::from_secs(self.limited_second? + 1);
        (self.refused >= MAX_REFUSED && now < next).then_some(next)
    }

    /// The message was well formed, or not. Says whether the connection may stay.
    pub(crate) fn formed(&mut self, well: bool) -> bool {
        self.malformed_in_a_row = if well { 0 } else { self.malformed_in_a_row + 1 };
        self.malformed_in_a_row < MAX_MALFORMED
    }

    /// Anything came: the client is there.
    pub(crate) fn heard(&mut self) {
        self.missed = 0;
    }

    /// It is time for a heartbeat. Says whether to send one; otherwise the client is gone.
    pub(crate) fn beat(&mut self) -> bool {
        if self.missed >= MAX_MISSED {
            return false;
        }
        self.missed += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_what_is_beyond_is_refused() {
        let now = Instant::now();
        let mut flow = Flow::new(now);
        for _ in 0..400 {
            assert_eq!(flow.admit(now), Admission::Act);
        }
        let Admission::Refuse(wait) = flow.admit(now) else {
            panic!("not refused")
        };
        assert_eq!(flow.admit(now + wait), Admission::Act);
    }

    /// Sends 200 messages in each of these seconds; says in which of them the connection was closed.
    fn flood(flow: &mut Flow, start: Instant, seconds: impl Iterator<Item = u64>) -> Option<u64> {
        for second in seconds {
            for n in 0..200 {
                let now = start + Duration::from_secs(second) + Duration::from_millis(n * 5);
                if flow.admit(now) == Admission::Close {
                    return Some(second);
                }
            }
        }
        None
    }

    #[test]
    fn ten_seconds_beyond_the_rate_close_the_connection() {
        let start = Instant::now();
        // The burst of 400 lasts for the first four seconds, in which the bucket empties by 100 a second.
        assert_eq!(flood(&mut Flow::new(start), start, 0..60), Some(12));
    }

    #[test]
    fn a_second_of_rest_begins_the_count_anew() {
        let start = Instant::now();
        let mut flow = Flow::new(start);
        assert_eq!(flood(&mut flow, start, 0..12), None);
        assert_eq!(flood(&mut flow, start, 14..22), None);
        assert!(flood(&mut flow, start, 22..40).is_some());
    }

    #[test]
    fn after_a_hundred_refusals_nothing_is_read_until_the_next_second() {
        let start = Instant::now();
        let mut flow = Flow::new(start);
        for _ in 0..499 {
            flow.admit(start);
        }
        assert_eq!(flow.holds_until(start), None);
        flow.admit(start);
        let next = start + Duration::from_secs(1);
        assert_eq!(flow.holds_until(start), Some(next));
        assert_eq!(flow.holds_until(next), None);
        assert_eq!(flow.admit(next), Admission::Act);
        assert_eq!(flow.holds_until(next), None);
    }

    #[test]
    fn nonsense_is_borne_fifteen_times_and_forgiven_by_sense() {
        let mut flow = Flow::new(Instant::now());
        for _ in 0..15 {
            assert!(flow.formed(false));
        }
        assert!(flow.formed(true));
        for _ in 0..15 {
            assert!(flow.formed(false));
        }
        assert!(!flow.formed(false));
    }

    #[test]
    fn two_unanswered_heartbeats_are_the_end() {
        let mut flow = Flow::new(Instant::now());
        assert!(flow.beat());
        assert!(flow.beat());
        flow.heard();
        assert!(flow.beat());
        assert!(flow.beat());
        assert!(!flow.beat());
    }
}
