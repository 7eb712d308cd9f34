//! What arrival times say: the trend of the delay over groups of packets, and how long packets wait in queues.

use crate::bandwidth::trend::{Trend, Usage};

/// Packets sent within so long are one group (draft-ietf-rmcat-gcc-02 §5.2).
const GROUP_US: i64 = 5_000;

/// Packets that arrive within so long of each other, and nearer than they were sent, left a queue together.
const BURST_US: i64 = 5_000;
const MAX_BURST_US: i64 = 100_000;

/// The least delay is that of the last one to two of these.
const BASE_PERIOD_US: i64 = 15_000_000;

/// Waiting longer than this and ever longer is overuse whatever the trend says: the trend needs many groups to tell, and
/// behind a link that became much slower there are few.
const LONG_WAIT_US: i64 = 120_000;
const GROWTH_US: i64 = 8_000;

/// A wait above the first whose least values, taken every [`SLICE_US`], lie within the second of each other for [`SLICES`] of them
/// is the route's. A queue would drain in that time, for less is sent than it gives away, or waver.
const STEADY_WAIT_US: i64 = 50_000;
const STEADY_SPREAD_US: i64 = 10_000;
const SLICE_US: i64 = 250_000;
const SLICES: usize = 12;

#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent: i64,
    last_sent: i64,
    first_arrived: i64,
    last_arrived: i64,
}

/// What the delay of packets tells.
#[derive(Debug, Default)]
pub struct DelayDetector {
    trend: Trend,
    current: Option<Group>,
    before: Option<Group>,
    /// The least difference between arrival and sending, whose clocks differ: of this period, and of that before.
    base: Option<(i64, i64)>,
    base_since: i64,
    /// How long the latest packet waited, and how long when usage was asked for last.
    wait_us: i64,
    wait_before_us: i64,
    route: Route,
}

/// The least delays of the last slices of time.
#[derive(Debug, Default)]
struct Route {
    least: [i64; SLICES],
    count: usize,
    /// When the slice that is under way began, and its least delay so far.
    current: Option<(i64, i64)>,
}

impl Route {
    /// A packet arrived. Gives the least delay when it was the same for long.
    fn observe(&mut self, arrived_us: i64, delay_us: i64) -> Option<i64> {
        let Some((since, least)) = &mut self.current else {
            self.current = Some((arrived_us, delay_us));
            return None;
        };
        if (0..SLICE_US).contains(&(arrived_us - *since)) {
            *least = (*least).min(delay_us);
            return None;
        }
        // What did not come says nothing.
        let is_whole = (SLICE_US..2 * SLICE_US).contains(&(arrived_us - *since));
        let slice = *least;
        self.current = Some((arrived_us, delay_us));
        if !is_whole {
            self.count = 0;
            return None;
        }
        self.least[self.count % SLICES] = slice;
        self.count += 1;
        let (least, most) = self.least.iter().fold((i64::MAX, i64::MIN), |(least, most), it| {
            (least.min(*it), most.max(*it))
        });
        (self.count >= SLICES && most - least <= STEADY_SPREAD_US).then_some(least)
    }

    /// Queues grow: what was seen until now says nothing.
    fn forget(&mut self) {
        (self.count, self.current) = (0, None);
    }
}

impl DelayDetector {
    /// A packet arrived that waited for many sent at once: for how long says nothing.
    pub fn ignore(&mut self, sent_us: i64, arrived_us: i64) {
        self.observe_base(sent_us, arrived_us);
        (self.current, self.before) = (None, None);
    }

    /// A packet arrived. They are told in the order of sending.
    pub fn packet(&mut self, sent_us: i64, arrived_us: i64) {
        let delay = arrived_us - sent_us;
        let mut base = self.observe_base(sent_us, arrived_us);
        let route = self.route.observe(arrived_us, delay);
        if let Some(route) = route.filter(|route| route - base > STEADY_WAIT_US) {
            base = route.min(delay);
            (self.base, self.base_since) = (Some((base, base)), arrived_us);
        }
        self.wait_us = delay - base;
        let Some(group) = &mut self.current else {
            self.current = Some(Group::new(sent_us, arrived_us));
            return;
        };
        if sent_us < group.first_sent {
            return;
        }
        if group.takes(sent_us, arrived_us) {
            group.last_sent = group.last_sent.max(sent_us);
            group.last_arrived = group.last_arrived.max(arrived_us);
            return;
        }
        let complete = *group;
        *group = Group::new(sent_us, arrived_us);
        if let Some(before) = self.before.replace(complete) {
            let sent = (complete.last_sent - before.last_sent) as f64 / 1000.0;
            let arrived = (complete.last_arrived - before.last_arrived) as f64 / 1000.0;
            // After a reordering or a jump of the receiver's clock nothing is learnt.
            if sent > 0.0 && (-100.0..10_000.0).contains(&arrived) {
                self.trend
                    .update(arrived - sent, sent, complete.last_arrived as f64 / 1000.0);
            }
        }
    }

    /// What it comes to. Ask once for each feedback.
    pub fn usage(&mut self) -> Usage {
        let growth = self.wait_us - self.wait_before_us;
        self.wait_before_us = self.wait_us;
        let usage = if self.wait_us > LONG_WAIT_US && growth > GROWTH_US {
            Usage::Over
        } else if self.wait_us > LONG_WAIT_US && growth < -GROWTH_US {
            // A long queue that drains may look steady.
            Usage::Under
        } else {
            self.trend.usage()
        };
        if usage == Usage::Over {
            self.route.forget();
        }
        usage
    }

    /// Reads what the next packets need; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        let groups = self.current.is_some() ^ self.before.is_some() ^ self.route.current.is_some();
        self.trend.preload() ^ self.wait_before_us as u64 ^ u64::from(groups)
    }

    /// How long the latest packet waited in queues, in microseconds.
    pub fn wait_us(&self) -> i64 {
        self.wait_us
    }

    /// The least delay, with that of this packet.
    fn observe_base(&mut self, sent_us: i64, arrived_us: i64) -> i64 {
        let delay = arrived_us - sent_us;
        let (now, earlier) = self.base.unwrap_or((delay, delay));
        if arrived_us - self.base_since > BASE_PERIOD_US {
            self.base_since = arrived_us;
            self.base = Some((delay, now));
        } else {
            self.base = Some((now.min(delay), earlier));
        }
        self.base.map_or(delay, |(now, earlier)| now.min(earlier))
    }
}

impl Group {
    fn new(sent: i64, arrived: i64) -> Self {
        Self {
            first_sent: sent,
            last_sent: sent,
            first_arrived: arrived,
            last_arrived: arrived,
        }
    }

    fn takes(&self, sent: i64, arrived: i64) -> bool {
        if sent - self.first_sent <= GROUP_US {
            return true;
        }
        let apart = arrived - self.last_arrived;
        let shrinks = apart < sent - self.last_sent;
        shrinks && apart <= BURST_US && arrived - self.first_arrived < MAX_BURST_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets every 10 ms, each delayed as told in ms.
    fn detector(delays: impl Iterator<Item = i64>) -> DelayDetector {
        let mut detector = DelayDetector::default();
        for (n, delay) in (0i64..).zip(delays) {
            let sent = n * 10_000;
            detector.packet(sent, sent + 77_000_000 + delay * 1000);
            if n % 5 == 4 {
                detector.usage();
            }
        }
        detector
    }

    #[test]
    fn the_wait_is_what_exceeds_the_least_delay_whatever_the_clocks() {
        let detector = detector((0..100).map(|n| 30 + n % 7).chain([90]));
        assert_eq!(detector.wait_us(), 60_000);
    }

    #[test]
    fn a_queue_that_grows_by_leaps_is_noticed_after_few_packets() {
        let mut detector = detector((0..100).map(|_| 30).chain((1..8).map(|n| 30 + n * 60)));
        assert_eq!(detector.usage(), Usage::Over);
    }

    #[test]
    fn a_longer_route_is_taken_for_a_queue_for_some_seconds_only() {
        let route = |tenths: usize| detector((0..500).map(|_| 30).chain((0..tenths * 10).map(|n| 130 + n as i64 % 7)));
        assert_eq!(route(25).wait_us() / 10_000, 10);
        assert!(route(45).wait_us() < 10_000);
    }

    #[test]
    fn a_wait_that_wavers_is_taken_for_a_queue_for_half_a_minute() {
        let wavering = |seconds: usize| {
            detector(
                (0..500)
                    .map(|_| 30)
                    .chain((0..seconds * 100).map(|n| 80 + (n as i64 / 60 % 2) * 20)),
            )
        };
        assert!(wavering(10).wait_us() >= 50_000);
        assert!(wavering(31).wait_us() <= 20_000);
    }
}
