//! How much a worker has to do, measured on its thread and read by everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use caside_media::pressure::{Guard, Pressure};

use super::Instant;

/// How often it is worked out: not in each round.
const INTERVAL: Duration = Duration::from_millis(100);

/// What is published is smoothed over this, for placing participants; what the guard sees, and rests go by, over less: the guard has
/// to act before queues are full.
const PUBLISHED: Duration = Duration::from_secs(1);
const GUARDED: Duration = Duration::from_millis(200);

/// What was measured last.
#[derive(Debug, Default)]
pub(super) struct Published {
    busy_permille: AtomicU32,
    packets_per_second: AtomicU32,
    pressure: AtomicU8,
}

impl Published {
    /// The share of time, 0 to 1, that the worker was busy.
    pub(super) fn busy(&self) -> f64 {
        f64::from(self.busy_permille.load(Ordering::Relaxed)) / 1000.0
    }

    /// Datagrams it sent.
    pub(super) fn packets_per_second(&self) -> u32 {
        self.packets_per_second.load(Ordering::Relaxed)
    }

    /// The level of what it gives up.
    pub(super) fn pressure(&self) -> u8 {
        self.pressure.load(Ordering::Relaxed)
    }
}

/// Measures.
#[derive(Debug)]
pub(super) struct Gauge {
    published: Arc<Published>,
    guard: Guard,
    since: Instant,
    busy: Duration,
    sent: u64,
    /// Shares of time, and datagrams a second.
    guarded_share: f64,
    published_share: f64,
    rate: f64,
}

impl Gauge {
    pub(super) fn new(now: Instant, published: Arc<Published>) -> Self {
        Self {
            published,
            guard: Guard::default(),
            since: now,
            busy: Duration::ZERO,
            sent: 0,
            guarded_share: 0.0,
            published_share: 0.0,
            rate: 0.0,
        }
    }

    /// The share of time, 0 to 1, that the worker was busy lately.
    pub(super) fn busy(&self) -> f64 {
        self.guarded_share
    }

    /// What the engine is to give up.
    pub(super) fn pressure(&self) -> Pressure {
        self.guard.pressure()
    }

    /// A round took from `began` to `ended`; `sent` datagrams were sent since the worker began. Gives the pressure when it
    /// changes.
    pub(super) fn round(&mut self, began: Instant, ended: Instant, sent: u64) -> Option<Pressure> {
        self.busy += ended.saturating_duration_since(began);
        let passed = ended.saturating_duration_since(self.since);
        if passed < INTERVAL {
            return None;
        }
        let seconds = passed.as_secs_f64();
        let share = (self.busy.as_secs_f64() / seconds).min(1.0);
        let rate = sent.saturating_sub(self.sent) as f64 / seconds;
        let smooth = |value: &mut f64, now: f64, over: Duration| {
            *value += (now - *value) * seconds / (seconds + over.as_secs_f64());
        };
        smooth(&mut self.guarded_share, share, GUARDED);
        smooth(&mut self.published_share, share, PUBLISHED);
        smooth(&mut self.rate, rate, PUBLISHED);
        (self.since, self.busy, self.sent) = (ended, Duration::ZERO, sent);
        let change = self.guard.observe(ended, self.guarded_share);
        let published = &self.published;
        let permille = (self.published_share * 1000.0).round() as u32;
        published.busy_permille.store(permille, Ordering::Relaxed);
        published
            .packets_per_second
            .store(self.rate.round() as u32, Ordering::Relaxed);
        published.pressure.store(self.pressure().level(), Ordering::Relaxed);
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of 10 ms of which a part is busy and in each of which a datagram is sent, for so many seconds.
    fn work(gauge: &mut Gauge, from: Instant, seconds: u32, share: f64) -> (Instant, Vec<u8>) {
        let mut changes = Vec::new();
        let mut now = from;
        for _ in 0..seconds * 100 {
            let began = now + Duration::from_millis(10).mul_f64(1.0 - share);
            now += Duration::from_millis(10);
            let sent = gauge.sent + u64::from(now.saturating_duration_since(gauge.since).as_millis() as u32 / 10);
            changes.extend(gauge.round(began, now, sent).map(Pressure::level));
        }
        (now, changes)
    }

    #[test]
    fn what_is_published_follows_in_a_second_or_so() {
        let published = Arc::new(Published::default());
        let start = Instant::now();
        let mut gauge = Gauge::new(start, published.clone());
        let (now, changes) = work(&mut gauge, start, 10, 0.4);
        assert!(changes.is_empty());
        assert!((published.busy() - 0.4).abs() < 0.01, "{}", published.busy());
        assert!((99..=101).contains(&published.packets_per_second()));
        let (now, _) = work(&mut gauge, now, 1, 0.8);
        assert!((0.55..0.75).contains(&published.busy()), "{}", published.busy());
        let (now, changes) = work(&mut gauge, now, 2, 0.9);
        assert_eq!((changes, published.pressure()), (vec![1, 2], 2));
        let (_, changes) = work(&mut gauge, now, 20, 0.2);
        assert_eq!((changes, published.pressure()), (vec![1, 0], 0));
    }

    #[test]
    fn a_long_sleep_is_no_work() {
        let published = Arc::new(Published::default());
        let start = Instant::now();
        let mut gauge = Gauge::new(start, published.clone());
        let (now, _) = work(&mut gauge, start, 5, 0.9);
        let later = now + Duration::from_secs(30);
        gauge.round(later, later + Duration::from_millis(1), 0);
        assert!(published.busy() < 0.05);
    }
}
