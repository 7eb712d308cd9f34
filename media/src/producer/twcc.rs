//! Arrival times of a client's packets by their transport-wide sequence number, from which its bandwidth is estimated.

use std::time::{Duration, Instant};

use crate::rtcp::transport_cc::{self, MAX_ENCODED, TICK_US};
use crate::rtp::unwrap_near;

/// Packets remembered, a power of two.
const WINDOW: u64 = 1024;

/// How often feedback goes out while packets come.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);

const ABSENT: i64 = i64::MIN;

/// Whether a path carries what is sent over it is judged by so much time and so many packets: of what more than a quarter is lost of, it
/// does not. Radio that loses packets at random loses fewer.
const JUDGED: Duration = Duration::from_millis(100);
const MIN_JUDGED: u64 = 8;

/// A path that loses more than half for so many times [`JUDGED`] is choked: most bursts of radio are shorter.
const CHOKED: u32 = 2;

/// The arrivals of one transport.
#[derive(Debug)]
pub(crate) struct Arrivals {
    origin: Instant,
    /// In ticks from the origin, by extended sequence number.
    ticks: Box<[i64]>,
    /// The highest sequence number, once one came.
    highest: Option<u64>,
    /// The next to report.
    base: u64,
    feedback_count: u8,
    /// What is judged now: since when, the packet before it, and how many came.
    judged_since: Instant,
    judged_from: u64,
    came: u64,
    came_bytes: usize,
    is_overrun: bool,
    /// How often in a row most was lost.
    choked: u32,
    /// What came last, in bits a second.
    rate: f64,
}

impl Arrivals {
    pub(crate) fn new(origin: Instant) -> Self {
        let ticks = vec![ABSENT; WINDOW as usize].into_boxed_slice();
        Self {
            origin,
            ticks,
            highest: None,
            base: 0,
            feedback_count: 0,
            judged_since: origin,
            judged_from: 0,
            came: 0,
            came_bytes: 0,
            is_overrun: false,
            choked: 0,
            rate: 0.0,
        }
    }

    /// What came of all that was sent, in bits a second: of a path that is choked, what it carries.
    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether more than half was lost just now: what is asked for again would be lost too, or delay what is not.
    pub(crate) fn is_choking(&self, now: Instant) -> bool {
        self.choked > 0 && self.is_overrun(now)
    }

    /// Whether so much is lost for so long that most of what is sent had better not be.
    pub(crate) fn is_choked(&self, now: Instant) -> bool {
        self.choked >= CHOKED && self.is_overrun(now)
    }

    /// Whether far more was sent lately than the path carries, so that most of it is lost.
    pub(crate) fn is_overrun(&self, now: Instant) -> bool {
        // What does not come at all is another matter.
        self.is_overrun && now.saturating_duration_since(self.judged_since) < 3 * JUDGED
    }

    fn judge(&mut self, now: Instant, highest: u64, len: usize) {
        self.came += 1;
        self.came_bytes += len;
        let passed = now.saturating_duration_since(self.judged_since);
        if passed >= JUDGED {
            let sent = highest.saturating_sub(self.judged_from);
            self.is_overrun = sent >= MIN_JUDGED && self.came * 4 < sent * 3;
            self.choked = match self.is_overrun && self.came * 2 < sent {
                true => self.choked.saturating_add(1),
                false => 0,
            };
            self.rate = self.came_bytes as f64 * 8.0 / passed.as_secs_f64();
            (self.judged_since, self.judged_from) = (now, highest);
            (self.came, self.came_bytes) = (0, 0);
        }
    }

    /// Records a packet of `len` bytes. Returns whether feedback has something to say that it had not before.
    pub(crate) fn record(&mut self, now: Instant, sequence: u16, len: usize) -> bool {
        let had_news = self.has_news();
        let extended = match self.highest {
            // With room below for packets that come out of order.
            None => u64::from(sequence) + (1 << 16),
            Some(highest) => unwrap_near(highest, sequence),
        };
        match self.highest {
            None => {
                self.base = extended;
                self.highest = Some(extended);
                (self.judged_since, self.judged_from) = (now, extended);
            }
            Some(highest) if extended > highest => {
                for skipped in (highest + 1..extended).take(WINDOW as usize) {
                    *self.tick(skipped) = ABSENT;
                }
                self.highest = Some(extended);
                self.base = self.base.max((extended + 1).saturating_sub(WINDOW));
            }
            Some(highest) if highest - extended >= WINDOW => return false,
            // Reported as lost before; reported anew from here on.
            Some(_) => self.base = self.base.min(extended),
        }
        *self.tick(extended) = (now.saturating_duration_since(self.origin).as_micros() / TICK_US) as i64;
        self.judge(now, self.highest.unwrap_or(extended), len);
        !had_news
    }

    /// Whether there are packets to report.
    pub(crate) fn has_news(&self) -> bool {
        self.highest.is_some_and(|highest| highest >= self.base)
    }

    /// Encodes the next message's body. `None` when everything is reported.
    pub(crate) fn take(&mut self, out: &mut [u8; MAX_ENCODED]) -> Option<usize> {
        let highest = self.highest?;
        while self.base <= highest {
            let window = (self.base..=highest).map(|extended| {
                let tick = self.ticks[extended as usize & (WINDOW as usize - 1)];
                (tick != ABSENT).then_some(tick)
            });
            let (len, taken) = transport_cc::encode(out, self.base as u16, self.feedback_count, window);
            self.base += taken as u64;
            if len > 0 {
                self.feedback_count = self.feedback_count.wrapping_add(1);
                return Some(len);
            }
        }
        None
    }

    fn tick(&mut self, extended: u64) -> &mut i64 {
        &mut self.ticks[extended as usize & (WINDOW as usize - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::test_start;

    fn bases_and_counts(arrivals: &mut Arrivals) -> Vec<(u16, u16)> {
        let mut out = [0; MAX_ENCODED];
        let mut messages = Vec::new();
        while arrivals.take(&mut out).is_some() {
            messages.push((
                u16::from_be_bytes([out[0], out[1]]),
                u16::from_be_bytes([out[2], out[3]]),
            ));
        }
        messages
    }

    #[test]
    fn reports_each_packet_once_and_the_gaps_between() {
        let mut arrivals = Arrivals::new(test_start());
        assert_eq!(bases_and_counts(&mut arrivals), []);
        assert!(arrivals.record(test_start(), 65_534, 1000));
        assert!(!arrivals.record(test_start(), 1, 1000));
        assert_eq!(bases_and_counts(&mut arrivals), [(65_534, 4)]);
        assert_eq!(bases_and_counts(&mut arrivals), []);
        assert!(arrivals.record(test_start(), 2, 1000));
        assert_eq!(bases_and_counts(&mut arrivals), [(2, 1)]);
    }

    /// A packet each 5 ms for a second, of which those come that `comes` is true of; for how long the path was overrun, in ms.
    fn overrun_for(comes: impl Fn(u16) -> bool) -> usize {
        lasts(comes, Arrivals::is_overrun)
    }

    fn lasts(comes: impl Fn(u16) -> bool, mut judged: impl FnMut(&Arrivals, Instant) -> bool) -> usize {
        let mut arrivals = Arrivals::new(test_start());
        let at = |number: u16| test_start() + Duration::from_millis(5 * u64::from(number));
        let overrun = (0..200).filter(|number| {
            if comes(*number) {
                arrivals.record(at(*number), *number, 1000);
            }
            judged(&arrivals, at(*number))
        });
        5 * overrun.count()
    }

    #[test]
    fn a_path_that_loses_most_is_overrun_and_one_that_loses_some_or_falls_silent_is_not() {
        let narrows_for_half_a_second = |number: u16| !(60..160).contains(&number) || number.is_multiple_of(4);
        let overrun = overrun_for(narrows_for_half_a_second);
        assert!((350..=600).contains(&overrun), "{overrun} ms");
        assert_eq!(overrun_for(|number| number % 6 != 0), 0, "a sixth is lost");
        let ends_narrow = |number: u16| number < 40 || (number < 80 && number.is_multiple_of(4));
        assert!(overrun_for(ends_narrow) < 600, "nothing comes any more");
    }

    #[test]
    fn a_path_is_choked_that_loses_most_for_longer_than_a_burst() {
        let narrow = |number: u16| !(60..160).contains(&number) || number.is_multiple_of(4);
        let choked = lasts(narrow, Arrivals::is_choked);
        assert!((200..=500).contains(&choked), "{choked} ms");
        let mut rate = 0.0;
        lasts(narrow, |arrivals, _| {
            if arrivals.choked > 0 {
                rate = arrivals.rate();
            }
            true
        });
        assert!((0.3e6..0.5e6).contains(&rate), "a quarter of 1.6 Mbit/s: {rate}");
        let half = |number: u16| number.is_multiple_of(2);
        assert_eq!(lasts(half, Arrivals::is_choked), 0, "half is lost");
        let burst = |number: u16| !(60..85).contains(&number);
        assert!(overrun_for(burst) > 0);
        assert_eq!(lasts(burst, Arrivals::is_choked), 0, "125 ms are lost");
    }

    #[test]
    fn a_late_packet_is_reported_with_those_after_it() {
        let mut arrivals = Arrivals::new(test_start());
        arrivals.record(test_start(), 10, 1000);
        arrivals.record(test_start(), 13, 1000);
        assert_eq!(bases_and_counts(&mut arrivals), [(10, 4)]);
        arrivals.record(test_start(), 12, 1000);
        assert_eq!(bases_and_counts(&mut arrivals), [(12, 2)]);
    }

    #[test]
    fn a_jump_over_the_window_is_bounded() {
        let mut arrivals = Arrivals::new(test_start());
        arrivals.record(test_start(), 0, 1000);
        arrivals.record(test_start(), 30_000, 1000);
        let messages = bases_and_counts(&mut arrivals);
        assert_eq!(
            messages.len(),
            1,
            "packets that did not come are not worth a message: {messages:?}"
        );
        arrivals.record(test_start(), 60_000, 1000);
        arrivals.record(test_start(), 30_000, 1000);
        assert!(bases_and_counts(&mut arrivals).len() <= 4);
    }
}
