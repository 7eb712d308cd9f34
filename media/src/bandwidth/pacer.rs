//! How fast packets may go to one receiver, so that a key frame does not overflow a queue on its path.

use crate::bandwidth::OVERHEAD_BYTES;

/// Packets go at so many times the rate of what is sent: a frame must not take longer than until the next but one, and rates are
/// averages. libwebrtc's value, by which most publishers send.
const FACTOR: f64 = 2.5;

/// What is sent is taken to be no less than this, in bits a second, where the path carries it: layers that began just now are not
/// measured yet.
const LEAST: f64 = 1_000_000.0;

/// What may go at once, in microseconds of the pace. What publishers send at once is of that length too.
const BURST_US: f64 = 40_000.0;

/// The pace while nothing is known of the path, in bits a second: the first key frame takes some tens of milliseconds.
const UNKNOWN: f64 = 10_000_000.0;

/// The debt of one receiver: what was sent and has not yet been paid for by time.
#[derive(Debug)]
pub struct Pacer {
    /// In bytes a microsecond.
    pace: f64,
    /// In bytes, at `at_us`.
    debt: f64,
    at_us: i64,
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            pace: UNKNOWN / 8e6,
            debt: 0.0,
            at_us: 0,
        }
    }
}

impl Pacer {
    /// Sets the pace by what the path is taken to carry and by what is sent over it on average, in bits a second. Of a path that
    /// is never full the first says little: only what was tried.
    pub fn set(&mut self, budget: f64, sent: f64) {
        self.pace = budget.min(sent.max(LEAST)) * FACTOR / 8e6;
    }

    /// Reads what [`may_send`](Self::may_send) needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        self.at_us as u64
    }

    /// Whether another packet may go.
    pub fn may_send(&mut self, now_us: i64) -> bool {
        let passed = (now_us - self.at_us).max(0);
        self.at_us += passed;
        self.debt = (self.debt - passed as f64 * self.pace).max(0.0);
        self.debt <= self.pace * BURST_US
    }

    /// A datagram of `len` bytes went out.
    pub fn sent(&mut self, len: usize) {
        self.debt += (len + OVERHEAD_BYTES) as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes sent until each millisecond, when there is always something to send.
    fn sent_by(pacer: &mut Pacer, ms: i64) -> Vec<usize> {
        let mut sent = 0;
        (0..ms)
            .map(|ms| {
                while sent < 1_000_000 && pacer.may_send(ms * 1000) {
                    pacer.sent(1172);
                    sent += 1200;
                }
                sent
            })
            .collect()
    }

    #[test]
    fn a_key_frame_takes_little_time_while_nothing_is_known() {
        let sent = sent_by(&mut Pacer::default(), 41);
        assert_eq!(sent[0], 50_400);
        assert!((99_000..=102_000).contains(&sent[40]), "{}", sent[40]);
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_pace() {
        let mut pacer = Pacer::default();
        pacer.set(800_000.0, 0.0);
        // 2 Mbit/s, 250 bytes a millisecond.
        let sent = sent_by(&mut pacer, 101);
        assert_eq!(sent[0], 10_800, "40 ms of it, and what exceeds that");
        assert!((34_800..=36_000).contains(&sent[100]), "{}", sent[100]);
    }

    #[test]
    fn the_pace_is_that_of_what_is_sent_where_the_path_carries_more() {
        let sent_in_100_ms = |budget, sent| {
            let mut pacer = Pacer::default();
            pacer.set(budget, sent);
            sent_by(&mut pacer, 101)[100]
        };
        assert_eq!(sent_in_100_ms(20e6, 2e6), sent_in_100_ms(2e6, 20e6));
        assert_eq!(sent_in_100_ms(20e6, 0.1e6), sent_in_100_ms(20e6, LEAST));
        assert!(sent_in_100_ms(0.3e6, 0.1e6) < sent_in_100_ms(20e6, 0.1e6));
    }

    #[test]
    fn a_pause_saves_nothing_up() {
        let mut pacer = Pacer::default();
        pacer.set(800_000.0, 3e6);
        sent_by(&mut pacer, 1);
        assert!(pacer.may_send(60_000_000));
        assert_eq!(pacer.debt, 0.0);
    }
}
