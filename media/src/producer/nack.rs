//! Asking a publisher for lost packets again (RFC 4585 §6.2.1).

use std::ops::Range;
use std::time::{Duration, Instant};

/// Packets missed at one time at most; more are not worth asking for.
const MAX_MISSING: usize = 256;

/// How often a packet is asked for, and for how long.
const MAX_TRIES: u8 = 10;
const MAX_ASKED: Duration = Duration::from_millis(1500);

/// The interval between tries while no answer has shown the round-trip time.
const DEFAULT_RTT: Duration = Duration::from_millis(100);
/// Packets that were asked for more often say nothing of the round trip but that it may be longer than was thought: from then on a
/// packet is asked for half as often each time.
const MAX_MEASURED: u8 = 3;
/// The next try comes so much later than an answer is expected.
const SLACK: f64 = 1.25;
/// What answers that came after more tries make of the round trip.
const GROWTH: f64 = 1.5;
const MIN_RTT: Duration = Duration::from_millis(20);
const MAX_RTT: Duration = Duration::from_millis(500);

/// What may be asked for: so much for each packet that comes, and so many packets at once, which fit into one message. A path that loses more than a quarter is
/// too narrow rather than bad, and what it is asked to carry again it lacks for what is new.
const ALLOWANCE: f32 = 0.5;
const MAX_ALLOWANCE: f32 = 24.0;

#[derive(Debug)]
struct Missing {
    extended: u64,
    tries: u8,
    /// When it was missed, then when it was asked for first.
    asked: Instant,
    due: Instant,
}

impl Missing {
    fn is_hopeless(&self, now: Instant) -> bool {
        self.tries >= MAX_TRIES || now.saturating_duration_since(self.asked) >= MAX_ASKED
    }
}

/// How long to wait for an answer to a try, the first being 1.
fn pause(rtt: Duration, tries: u8) -> Duration {
    let backoff = 1 << tries.saturating_sub(MAX_MEASURED).min(8);
    (rtt.mul_f64(SLACK) * backoff).min(MAX_RTT)
}

/// What a gap came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    /// Its packets will be asked for.
    Repairable,
    /// It is too wide; only a key frame helps.
    Hopeless,
}

/// The missing packets of one stream.
#[derive(Debug)]
pub(crate) struct NackGenerator {
    /// By extended sequence number.
    missing: Vec<Missing>,
    /// The earliest of the due times, or earlier.
    due: Option<Instant>,
    /// Smoothed time from a first request to its answer.
    rtt: Duration,
    /// Requests that may be made now.
    allowance: f32,
}

impl Default for NackGenerator {
    fn default() -> Self {
        Self {
            missing: Vec::new(),
            due: None,
            rtt: DEFAULT_RTT,
            allowance: MAX_ALLOWANCE,
        }
    }
}

impl NackGenerator {
    /// These packets, all later than any before, did not come in order. They are asked for at the end of the round, unless
    /// they come until then.
    pub(crate) fn missed(&mut self, now: Instant, gap: Range<u64>) -> Gap {
        let len = gap.end.saturating_sub(gap.start);
        if len + self.missing.len() as u64 > MAX_MISSING as u64 {
            self.clear();
            return Gap::Hopeless;
        }
        self.missing.extend(gap.map(|extended| Missing {
            extended,
            tries: 0,
            asked: now,
            due: now,
        }));
        self.due = Some(now);
        Gap::Repairable
    }

    /// A packet came, whichever.
    pub(crate) fn arrived(&mut self) {
        self.allowance = (self.allowance + ALLOWANCE).min(MAX_ALLOWANCE);
    }

    /// A packet that is not the latest came.
    pub(crate) fn received(&mut self, now: Instant, extended: u64) {
        let Ok(index) = self.missing.binary_search_by_key(&extended, |missing| missing.extended) else {
            return;
        };
        let missing = self.missing.remove(index);
        // After a second try it is not known which of them is answered. Taken for the first, the round trip comes out too long
        // where answers are lost, by as much as they are; taken for the second, one that is longer than was thought never shows.
        let passed = now.saturating_duration_since(missing.asked);
        let rtt = match missing.tries {
            0 => self.rtt,
            1..=MAX_MEASURED => (self.rtt * 7 + passed) / 8,
            // A path that became longer is never measured by tries that follow each other too fast.
            _ => self.rtt.mul_f64(GROWTH).min(passed),
        };
        self.rtt = rtt.clamp(MIN_RTT, MAX_RTT);
        if self.missing.is_empty() {
            self.due = None;
        }
    }

    /// How many packets of a range are being asked for.
    pub(crate) fn missing_in(&self, range: Range<u64>) -> u64 {
        self.missing
            .iter()
            .filter(|missing| range.contains(&missing.extended))
            .count() as u64
    }

    /// A packet is not needed any more: its content came by another way.
    pub(crate) fn forget(&mut self, extended: u64) {
        if let Ok(index) = self.missing.binary_search_by_key(&extended, |missing| missing.extended) {
            self.missing.remove(index);
        }
        if self.missing.is_empty() {
            self.due = None;
        }
    }

    /// Forgets everything that is missing.
    pub(crate) fn clear(&mut self) {
        self.missing.clear();
        self.due = None;
    }

    /// When [`take_due`](Self::take_due) has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The packets that it is time to ask for, as the pairs of a NACK, and whether some were given up.
    ///
    /// Packets before `oldest` are of no use any more.
    pub(crate) fn take_due(&mut self, now: Instant, oldest: u64, pairs: &mut Vec<(u16, u16)>) -> GaveUp {
        if self.due.is_none_or(|due| due > now) {
            return GaveUp(false);
        }
        let before = self.missing.len();
        self.missing
            .retain(|missing| missing.extended >= oldest && (missing.due > now || !missing.is_hopeless(now)));
        let gave_up = GaveUp(self.missing.len() < before);
        let mut last: Option<u64> = None;
        for missing in &mut self.missing {
            if missing.due > now {
                continue;
            }
            if self.allowance < 1.0 {
                // The others wait until more comes.
                missing.due = now + MIN_RTT;
                continue;
            }
            match last {
                Some(first) if missing.extended - first <= 16 => {
                    if let Some((_, mask)) = pairs.last_mut() {
                        *mask |= 1 << (missing.extended - first - 1);
                    }
                }
                _ => {
                    pairs.push((missing.extended as u16, 0));
                    last = Some(missing.extended);
                }
            }
            self.allowance -= 1.0;
            if missing.tries == 0 {
                missing.asked = now;
            }
            missing.tries += 1;
            missing.due = now + pause(self.rtt, missing.tries);
        }
        self.due = self.missing.iter().map(|missing| missing.due).min();
        gave_up
    }
}

/// Whether packets were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what is given up may need a key frame"]
pub(crate) struct GaveUp(pub(crate) bool);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::test_start;

    fn at(ms: u64) -> Instant {
        test_start() + Duration::from_millis(ms)
    }

    fn take(nack: &mut NackGenerator, now: Instant) -> (Vec<(u16, u16)>, bool) {
        let mut pairs = Vec::new();
        let GaveUp(gave_up) = nack.take_due(now, 0, &mut pairs);
        (pairs, gave_up)
    }

    #[test]
    fn asks_at_once_then_once_a_round_trip() {
        let mut nack = NackGenerator::default();
        assert_eq!(nack.missed(at(0), 0xffff..0x1_0001), Gap::Repairable);
        assert_eq!(take(&mut nack, at(0)), (vec![(0xffff, 1)], false));
        assert_eq!(nack.deadline(), Some(at(125)));
        assert_eq!(take(&mut nack, at(124)).0, []);
        nack.received(at(100), 0xffff);
        assert_eq!(take(&mut nack, at(125)).0, [(0, 0)]);
        nack.received(at(225), 0x1_0000);
        assert_eq!(nack.deadline(), None);
    }

    #[test]
    fn what_comes_late_in_the_same_round_is_not_asked_for() {
        let mut nack = NackGenerator::default();
        assert_eq!(nack.missed(at(0), 5..8), Gap::Repairable);
        nack.received(at(0), 6);
        assert_eq!(take(&mut nack, at(0)).0, [(5, 0b10)]);
    }

    #[test]
    fn a_mask_reaches_16_packets_further() {
        let mut nack = NackGenerator::default();
        assert_eq!(nack.missed(at(0), 100..118), Gap::Repairable);
        assert_eq!(take(&mut nack, at(0)).0, [(100, 0xffff), (117, 0)]);
    }

    #[test]
    fn gives_up_after_a_while() {
        for (rtt, expected) in [(MIN_RTT, 9), (DEFAULT_RTT, 6), (MAX_RTT, 3)] {
            let mut nack = NackGenerator {
                rtt,
                ..NackGenerator::default()
            };
            assert_eq!(nack.missed(at(0), 5..6), Gap::Repairable);
            let mut tries = 0;
            let mut last = at(0);
            while let Some(due) = nack.deadline() {
                let (pairs, gave_up) = take(&mut nack, due);
                tries += pairs.len();
                assert_eq!(gave_up, pairs.is_empty());
                last = due;
            }
            assert!(
                last >= at(0) + MAX_ASKED && last < at(0) + MAX_ASKED + MAX_RTT,
                "{last:?}"
            );
            assert_eq!(tries, expected, "round trip of {rtt:?}");
        }
    }

    #[test]
    fn a_path_that_becomes_longer_is_followed_and_nothing_given_up() {
        for (before, after) in [(20, 230), (20, 480), (60, 300)] {
            let mut nack = NackGenerator {
                rtt: Duration::from_millis(before),
                ..NackGenerator::default()
            };
            for n in 0..60u64 {
                let now = at(n * 2000);
                (0..100).for_each(|_| nack.arrived());
                assert_eq!(nack.missed(now, n..n + 1), Gap::Repairable);
                let answer = now + Duration::from_millis(after);
                while let Some(due) = nack.deadline().filter(|due| *due < answer) {
                    assert!(!take(&mut nack, due).1, "given up before the answer could come");
                }
                nack.received(answer, n);
            }
            let after = Duration::from_millis(after);
            assert!(nack.rtt.abs_diff(after) < after / 10, "{:?} for {after:?}", nack.rtt);
        }
    }

    #[test]
    fn a_path_that_lost_most_is_asked_for_little() {
        let mut nack = NackGenerator::default();
        let mut asked = 0;
        for n in 0..50u64 {
            // One of eight comes, every 20 ms; the others are missing.
            assert_eq!(nack.missed(at(n * 20), n * 8..n * 8 + 7), Gap::Repairable);
            nack.arrived();
            asked += take(&mut nack, at(n * 20))
                .0
                .iter()
                .map(|(_, mask)| 1 + mask.count_ones())
                .sum::<u32>();
            if n % 30 == 29 {
                nack.clear();
            }
        }
        assert!((24..=50).contains(&asked), "{asked} of 350 lost");
    }

    #[test]
    fn a_wide_gap_is_hopeless_and_ends_what_was_asked_for() {
        let mut nack = NackGenerator::default();
        assert_eq!(nack.missed(at(0), 0..200), Gap::Repairable);
        assert_eq!(nack.missed(at(0), 300..400), Gap::Hopeless);
        assert_eq!(nack.deadline(), None);
    }

    #[test]
    fn a_round_trip_that_is_longer_than_was_thought_shows() {
        let mut nack = NackGenerator::default();
        for n in 0..100u64 {
            let now = at(n * 1000);
            (0..50).for_each(|_| nack.arrived());
            assert_eq!(nack.missed(now, n..n + 1), Gap::Repairable);
            assert_eq!(take(&mut nack, now).0.len(), 1);
            // The answer to the first request.
            let answer = now + Duration::from_millis(230);
            while let Some(due) = nack.deadline().filter(|due| *due < answer) {
                take(&mut nack, due);
            }
            nack.received(answer, n);
        }
        assert!(
            nack.rtt.abs_diff(Duration::from_millis(230)) < Duration::from_millis(10),
            "{:?}",
            nack.rtt
        );
    }

    #[test]
    fn answers_show_the_round_trip_time() {
        let mut nack = NackGenerator::default();
        for n in 0..100u64 {
            let now = at(n * 1000);
            (0..50).for_each(|_| nack.arrived());
            assert_eq!(nack.missed(now, n..n + 1), Gap::Repairable);
            assert_eq!(take(&mut nack, now).0.len(), 1);
            nack.received(now + Duration::from_millis(40), n);
        }
        assert!(
            nack.rtt.abs_diff(Duration::from_millis(40)) < Duration::from_millis(2),
            "{:?}",
            nack.rtt
        );
    }
}
