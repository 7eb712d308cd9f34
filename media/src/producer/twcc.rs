//! Arrival times of a client's packets by their transport-wide sequence number, from which its bandwidth is estimated.

use std::time::{Duration, Instant};

use crate::producer::overrun::Overrun;
use crate::rtcp::transport_cc::{self, MAX_ENCODED, TICK_US};
use crate::rtp::unwrap_near;

/// Packets remembered, a power of two.
const WINDOW: u64 = 1024;

/// How often feedback goes out while packets come.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);

/// Of so many packets reported in one go it is judged whether most were lost.
const MIN_LOST: u64 = 8;

/// In so many reports at most losses are left out, a second's: who does not come down by then heeds no REMB, and has to see them.
const MAX_UNNAMED: u32 = 20;

const ABSENT: i64 = i64::MIN;

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
    /// The latest packet of those that are reported in one go, and how many times in a row most of them did not come.
    judged: u64,
    unnamed: u32,
    /// How the path copes, once a packet came.
    path: Option<Overrun>,
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
            judged: 0,
            unnamed: 0,
            path: None,
        }
    }

    /// How the path copes with what is sent, once a packet came.
    pub(crate) fn path(&mut self) -> Option<&mut Overrun> {
        self.path.as_mut()
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
        let highest = self.highest.unwrap_or(extended);
        self.path
            .get_or_insert_with(|| Overrun::new(now, extended))
            .came(now, highest, len);
        !had_news
    }

    /// Whether there are packets to report.
    pub(crate) fn has_news(&self) -> bool {
        self.highest.is_some_and(|highest| highest >= self.base)
    }

    /// Encodes the next message's body. `None` when everything is reported.
    ///
    /// Where more than half did not come, only what came is reported: browsers send all again at once that is said to be lost,
    /// before anything new, and on a path that has become too narrow that takes seconds. What is worth it is asked for by NACKs, and
    /// how much the path carries is told by a REMB ([`Overrun`]).
    pub(crate) fn take(&mut self, out: &mut [u8; MAX_ENCODED]) -> Option<usize> {
        let highest = self.highest?;
        if highest > self.judged {
            let all = (highest + 1).saturating_sub(self.base);
            let came = (self.base..=highest)
                .filter(|number| self.arrival(*number).is_some())
                .count() as u64;
            let is_choked = all >= MIN_LOST && came * 2 < all;
            self.unnamed = if is_choked { self.unnamed.saturating_add(1) } else { 0 };
            self.judged = highest;
        }
        let names_lost = !(1..=MAX_UNNAMED).contains(&self.unnamed);
        while self.base <= highest {
            if !names_lost && self.arrival(self.base).is_none() {
                self.base += 1;
                continue;
            }
            let window = (self.base..=highest).map(|number| self.arrival(number));
            let window = window.take_while(|arrival| names_lost || arrival.is_some());
            let (len, taken) = transport_cc::encode(out, self.base as u16, self.feedback_count, window);
            self.base += taken as u64;
            if len > 0 {
                self.feedback_count = self.feedback_count.wrapping_add(1);
                return Some(len);
            }
        }
        None
    }

    /// When a packet that is remembered came, in ticks.
    fn arrival(&self, number: u64) -> Option<i64> {
        let tick = self.ticks[number as usize & (WINDOW as usize - 1)];
        (tick != ABSENT).then_some(tick)
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
    fn where_most_were_lost_only_what_came_is_told() {
        let mut arrivals = Arrivals::new(test_start());
        for number in [0, 10, 11, 30] {
            arrivals.record(test_start(), number, 1000);
        }
        assert_eq!(bases_and_counts(&mut arrivals), [(0, 1), (10, 2), (30, 1)]);
        for number in [32, 34, 36, 38] {
            arrivals.record(test_start(), number, 1000);
        }
        assert_eq!(bases_and_counts(&mut arrivals), [(31, 8)], "half of them came");
        arrivals.record(test_start(), 44, 1000);
        assert_eq!(bases_and_counts(&mut arrivals), [(39, 6)], "few were sent");
    }

    #[test]
    fn losses_are_named_again_where_packets_come_out_of_order_or_most_are_lost_for_long() {
        let mut arrivals = Arrivals::new(test_start());
        arrivals.record(test_start(), 0, 1000);
        arrivals.record(test_start(), 20, 1000);
        assert_eq!(bases_and_counts(&mut arrivals), [(0, 1), (20, 1)]);
        // One of those that were left out comes late, and of what follows one in ten is lost.
        for number in [19, 21, 22, 23, 24, 25, 26, 27, 28, 30] {
            arrivals.record(test_start(), number, 1000);
        }
        assert_eq!(bases_and_counts(&mut arrivals), [(19, 12)]);
        let reports: Vec<_> = (4..30)
            .map(|tenth| {
                arrivals.record(test_start(), tenth * 10, 1000);
                bases_and_counts(&mut arrivals)[0].1
            })
            .collect();
        assert!(reports[..20].iter().all(|count| *count == 1), "{reports:?}");
        assert!(reports[20..].iter().all(|count| *count == 10), "{reports:?}");
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
