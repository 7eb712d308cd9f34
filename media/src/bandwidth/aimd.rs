//! The rate that the delay allows: up slowly while queues are steady, down at once when they grow
//! (draft-ietf-rmcat-gcc-02 §5.5).

use crate::bandwidth::trend::Usage;
use crate::bandwidth::{MAX_RATE, MIN_RATE};

/// What is left of the delivered rate after a decrease. Full queues are drained by the budget, so that the estimate need not.
const DECREASE: f64 = 0.85;
const DECREASE_FULL: f64 = 0.95;

/// One decrease takes the rate no lower than to this part of it before [`DECREASE`], unless queues are full.
const MAX_STEP: f64 = 0.75;

/// Growth in a second, far from the rate at which queues last grew.
const GROWTH: f64 = 1.08;

/// While less is sent than the path was found to carry, the rate rises to so much more than is delivered and no further.
const HEADROOM: f64 = 1.5;
const HEADROOM_BPS: f64 = 10_000.0;

/// How fast the memory of the rate at which queues grew adapts.
const MEMORY: f64 = 0.05;

/// A decrease is followed by another after at least a round trip, within these bounds in microseconds.
const MIN_DECREASE_US: i64 = 10_000;
const MAX_DECREASE_US: i64 = 200_000;

/// Of an average packet, in bits.
const PACKET_BITS: f64 = 1200.0 * 8.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Hold,
    Increase,
}

/// Delivered rates at which queues grew: mean, and variance in parts of the mean.
#[derive(Debug, Clone, Copy)]
struct Ceiling {
    mean: f64,
    variance: f64,
}

impl Ceiling {
    fn observe(before: Option<Self>, rate: f64) -> Self {
        let Some(Self { mean, variance }) = before else {
            return Self {
                mean: rate,
                variance: 0.4e3,
            };
        };
        let mean_after = mean + MEMORY * (rate - mean);
        let error = rate - mean_after;
        let variance = (1.0 - MEMORY) * variance + MEMORY * error * error / mean_after.max(1.0);
        Self {
            mean: mean_after,
            variance: variance.clamp(0.4e3, 2.5e3),
        }
    }

    fn deviation(&self) -> f64 {
        (self.variance * self.mean).sqrt()
    }
}

/// The controller.
#[derive(Debug)]
pub struct Aimd {
    rate: f64,
    state: State,
    ceiling: Option<Ceiling>,
    changed_us: Option<i64>,
    decreased_us: Option<i64>,
}

impl Aimd {
    /// Begins at `rate` bits a second.
    pub fn new(rate: f64) -> Self {
        Self {
            rate,
            state: State::Hold,
            ceiling: None,
            changed_us: None,
            decreased_us: None,
        }
    }

    /// Bits a second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// When it last decreased.
    pub fn decreased_us(&self) -> Option<i64> {
        self.decreased_us
    }

    /// A probe found that the path carries this.
    pub fn found(&mut self, now_us: i64, rate: f64) {
        self.rate = rate.clamp(MIN_RATE, MAX_RATE);
        self.changed_us = Some(now_us);
        if self
            .ceiling
            .is_some_and(|ceiling| rate > ceiling.mean + 3.0 * ceiling.deviation())
        {
            self.ceiling = None;
        }
    }

    /// The path was found to carry no more than this.
    pub fn bounded(&mut self, now_us: i64, rate: f64) {
        self.state = State::Hold;
        self.rate = self.rate.min(rate.max(MIN_RATE));
        self.changed_us = Some(now_us);
    }

    /// Nothing is heard from the receiver.
    pub fn silence(&mut self, now_us: i64, factor: f64) {
        self.rate = (self.rate * factor).max(MIN_RATE);
        self.changed_us = Some(now_us);
        self.ceiling = None;
    }

    /// `delivered` is the rate that arrives, in bits a second; with `full` queues it is the path's own. `rtt_us` in microseconds.
    pub fn update(&mut self, now_us: i64, usage: Usage, full: bool, delivered: Option<f64>, rtt_us: i64) {
        match usage {
            Usage::Over => {
                self.decrease(now_us, full, delivered, rtt_us);
            }
            Usage::Under => {
                self.state = State::Hold;
                self.changed_us = Some(now_us);
            }
            Usage::Normal if self.state == State::Hold => {
                self.state = State::Increase;
                self.changed_us = Some(now_us);
            }
            Usage::Normal => self.increase(now_us, delivered, rtt_us),
        }
    }

    fn increase(&mut self, now_us: i64, delivered: Option<f64>, rtt_us: i64) {
        let passed = (now_us - self.changed_us.unwrap_or(now_us)) as f64 / 1e6;
        self.changed_us = Some(now_us);
        let Some(delivered) = delivered else { return };
        if self
            .ceiling
            .is_some_and(|it| delivered > it.mean + 3.0 * it.deviation())
        {
            self.ceiling = None;
        }
        let grown = if self.ceiling.is_some() {
            // A packet a response time (§5.5).
            let response_s = (rtt_us as f64 / 1e6) + 0.1;
            self.rate + (PACKET_BITS / response_s).max(4_000.0) * passed.min(1.0)
        } else {
            self.rate * GROWTH.powf(passed.min(1.0)) + 1_000.0 * passed.min(1.0)
        };
        let limit = delivered * HEADROOM + HEADROOM_BPS;
        // Never down: that little is sent says nothing of the path.
        // And what was delivered just now was carried.
        self.rate = grown.min(limit.max(self.rate)).max(delivered).min(MAX_RATE);
    }

    fn decrease(&mut self, now_us: i64, full: bool, delivered: Option<f64>, rtt_us: i64) {
        self.state = State::Hold;
        let Some(delivered) = delivered else { return };
        let factor = if full { DECREASE_FULL } else { DECREASE };
        let least = rtt_us.clamp(MIN_DECREASE_US, MAX_DECREASE_US);
        let soon = self.decreased_us.is_some_and(|at| now_us - at < least);
        if soon && delivered > 0.5 * self.rate {
            return;
        }
        // With queues that are not full it may be that little was sent, or that others fill them.
        let base = if full {
            delivered
        } else {
            delivered.max(self.rate * MAX_STEP)
        };
        let reduced = (base * factor).max(MIN_RATE);
        if self
            .ceiling
            .is_some_and(|it| delivered < it.mean - 3.0 * it.deviation())
        {
            self.ceiling = None;
        }
        self.ceiling = Some(Ceiling::observe(self.ceiling, delivered));
        self.rate = self.rate.min(reduced);
        self.changed_us = Some(now_us);
        self.decreased_us = Some(now_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT_US: i64 = 50_000;

    #[test]
    fn falls_below_what_is_delivered_and_climbs_again() {
        let mut aimd = Aimd::new(2e6);
        aimd.update(0, Usage::Over, true, Some(1e6), RTT_US);
        assert_eq!(aimd.rate(), 0.95e6);
        aimd.update(10_000, Usage::Over, false, Some(0.9e6), RTT_US);
        assert_eq!(
            aimd.rate(),
            0.95e6,
            "within a round trip the first decrease is given time"
        );
        for tick in 1..=20 {
            aimd.update(tick * 100_000, Usage::Normal, false, Some(aimd.rate()), RTT_US);
        }
        assert!((0.95e6..1.2e6).contains(&aimd.rate()), "{}", aimd.rate());
    }

    #[test]
    fn rises_no_further_than_what_is_sent_can_prove_and_does_not_fall_for_it() {
        let mut aimd = Aimd::new(1e6);
        for tick in 1..=600 {
            aimd.update(tick * 100_000, Usage::Normal, false, Some(0.8e6), RTT_US);
        }
        assert_eq!(aimd.rate(), 1.21e6);
        aimd.update(70_000_000, Usage::Normal, false, Some(0.1e6), RTT_US);
        assert_eq!(aimd.rate(), 1.21e6);
    }

    #[test]
    fn growing_queues_while_little_is_sent_cost_a_part_only() {
        let mut aimd = Aimd::new(1e6);
        aimd.update(0, Usage::Over, false, Some(0.1e6), RTT_US);
        assert_eq!(aimd.rate(), 0.6375e6);
    }

    #[test]
    fn holds_while_queues_drain() {
        let mut aimd = Aimd::new(1e6);
        for tick in 1..=50 {
            aimd.update(tick * 100_000, Usage::Under, false, Some(1e6), RTT_US);
        }
        assert_eq!(aimd.rate(), 1e6);
    }
}
