//! What a receiver's path carries, in bits a second.

use crate::bandwidth::acked::Delivered;
use crate::bandwidth::aimd::Aimd;
use crate::bandwidth::delay::DelayDetector;
use crate::bandwidth::history::Outcome;
use crate::bandwidth::loss::LossBound;
use crate::bandwidth::probe::{Cluster, Prober, is_burst};
use crate::bandwidth::trend::Usage;
use crate::bandwidth::{MAX_RATE, MIN_RATE};

/// What is assumed of a path that nothing is known of.
pub const START_RATE: f64 = 2_000_000.0;

/// Delivered rates are those of so long, in microseconds: where much waits in queues, and else.
const SHORT_US: i64 = 200_000;
const LONG_US: i64 = 500_000;

/// A wait above which queues are taken to be full rather than to waver.
const FULL_US: i64 = 100_000;

/// Queues that hold more than this are drained: a second of it takes [`DRAIN_PER_S`] of the budget, up to [`MAX_DRAIN`].
const DRAIN_ABOVE_US: i64 = 80_000;
const DRAIN_PER_S: f64 = 1.0;
const MAX_DRAIN: f64 = 0.6;

/// Feedback that is missing for so long while packets are sent cuts the rate, and again each time as much passes.
const SILENCE_US: i64 = 1_000_000;
const SILENCE_FACTOR: f64 = 0.7;

/// A sign of congestion counts for so long.
const CONGESTED_US: i64 = 3_000_000;

/// After queues grew, no probe for so long.
const CALM_US: i64 = 700_000;

/// What is sent at once is through within so long, which its sender is to see to; until then and a round trip, waiting is its doing.
pub const BURST_US: i64 = 400_000;

/// What a burst finds is taken for the path's rate if it is below this part of what was thought.
const MUCH_LESS: f64 = 0.75;

/// Round trips are taken to be this until one is known, and never more than the second.
const RTT_US: (i64, i64) = (200_000, 5_000_000);

/// What an estimate is bounded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limit {
    /// The delay, or what was found by probes.
    #[default]
    Delay,
    /// Losses.
    Loss,
    /// What the receiver says it can take (REMB).
    Receiver,
}

/// An estimate with what it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// What the path carries, on the wire.
    pub bits_per_second: f64,
    /// What is to be sent now: less, while queues drain.
    pub budget: f64,
    /// What bounds it.
    pub limit: Limit,
    /// Whether there was a sign lately that the path carries no more. Else the estimate only says what was tried.
    pub congested: bool,
    /// Part of the packets lost in the last seconds, 0–1.
    pub loss: f64,
    /// How long packets wait in queues, in milliseconds.
    pub wait_ms: f64,
}

/// The estimator of one path.
#[derive(Debug)]
pub struct Estimator {
    delivered: Delivered,
    delay: DelayDetector,
    aimd: Aimd,
    loss: LossBound,
    prober: Prober,
    /// What the receiver allows by REMB.
    cap: Option<f64>,
    rtt_us: i64,
    heard_us: Option<i64>,
    /// When there was a sign of congestion last.
    congested_us: Option<i64>,
    /// When much was sent at once last.
    burst_us: Option<i64>,
}

impl Estimator {
    /// Knows nothing yet. Probes are sent in slots of `slot_us` microseconds.
    pub fn new(slot_us: i64) -> Self {
        Self {
            delivered: Delivered::default(),
            delay: DelayDetector::default(),
            aimd: Aimd::new(START_RATE),
            loss: LossBound::default(),
            prober: Prober::new(slot_us),
            cap: None,
            rtt_us: RTT_US.0,
            heard_us: None,
            congested_us: None,
            burst_us: None,
        }
    }

    /// Takes the outcomes that a feedback message told, in the order of sending, at `now_us` on our clock.
    pub fn feedback(&mut self, now_us: i64, outcomes: impl Iterator<Item = Outcome>) {
        let mut concludes = false;
        let mut newest_sent = None;
        for outcome in outcomes {
            match outcome {
                Outcome::Received {
                    sent_us,
                    arrived_us,
                    bytes,
                    cluster,
                    was_lost,
                } => {
                    newest_sent = Some(sent_us);
                    self.delivered.add(arrived_us, bytes);
                    if let Some(id) = cluster.filter(|_| !was_lost) {
                        self.prober.received(id, sent_us, arrived_us, bytes);
                    }
                    // How long a burst and what follows it wait is its doing.
                    let behind_burst = |at| (0..BURST_US).contains(&(sent_us - at));
                    if self.burst_us.is_some_and(behind_burst) {
                        self.delay.ignore(sent_us, arrived_us);
                    } else {
                        self.delay.packet(sent_us, arrived_us);
                    }
                    // What is lost of it is a matter of queues, not of rates.
                    if cluster.is_some_and(is_burst) {
                        continue;
                    }
                    if was_lost {
                        self.loss.found();
                    } else {
                        concludes |= self.loss.packet(sent_us, bytes, false);
                    }
                }
                Outcome::Lost {
                    sent_us,
                    bytes,
                    cluster,
                } => {
                    if let Some(id) = cluster {
                        self.prober.lost(id);
                    }
                    if !cluster.is_some_and(is_burst) {
                        concludes |= self.loss.packet(sent_us, bytes, true);
                    }
                }
            }
        }
        self.heard_us = Some(now_us);
        let Some(newest_sent) = newest_sent else { return };
        self.rtt_us = (self.rtt_us * 3 + (now_us - newest_sent).clamp(0, RTT_US.1)) / 4;
        self.conclude(now_us, newest_sent, concludes);
    }

    /// Reads what the next feedback needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        let parts = self.delivered.preload() ^ self.delay.preload() ^ self.loss.preload();
        parts ^ self.rtt_us as u64 ^ self.aimd.rate().to_bits() ^ u64::from(self.prober.echoes(0))
    }

    /// The receiver wants no more than this (REMB), in bits a second.
    pub fn cap(&mut self, bits_per_second: f64) {
        self.cap = Some(bits_per_second.clamp(MIN_RATE, MAX_RATE));
    }

    /// To be called now and then: `sent_us` is when the last packet was sent.
    pub fn tick(&mut self, now_us: i64, sent_us: i64) {
        let Some(heard) = self.heard_us else { return };
        // What was sent just now cannot have been answered yet.
        if now_us - heard >= SILENCE_US.max(2 * self.rtt_us) && sent_us - heard > SILENCE_US / 2 {
            self.aimd.silence(now_us, SILENCE_FACTOR);
            self.congested_us = Some(now_us);
            self.heard_us = Some(now_us);
        }
    }

    /// A probe to send now, if one is due. `desired` is what would be sent if the path carried anything, in bits a second.
    pub fn probe(&mut self, now_us: i64, desired: f64) -> Option<Cluster> {
        // Without feedback a probe cannot be measured.
        self.heard_us?;
        let calm = self.aimd.decreased_us().is_none_or(|at| now_us - at >= CALM_US);
        let drained = self.delay.wait_us() < DRAIN_ABOVE_US;
        if !calm || !drained {
            return None;
        }
        let desired = self.cap.map_or(desired, |cap| desired.min(cap));
        self.prober.begin(now_us, self.rate().0, desired)
    }

    /// Media of `bytes` on the wire is about to be sent at once; the path should carry it within [`BURST_US`]. Gives the number
    /// that its packets bear, which are told as sent by [`probe_sent`](Self::probe_sent).
    pub fn begin_burst(&mut self, now_us: i64, bytes: u32) -> u8 {
        self.burst_us = Some(now_us);
        self.prober.begin_burst(now_us, bytes)
    }

    /// All packets of a probe or burst were sent: `packets` of them.
    pub fn probe_sent(&mut self, id: u8, packets: u32) {
        self.prober.sent(id, packets);
    }

    /// `None` while the receiver has told nothing.
    pub fn estimate(&self) -> Option<Estimate> {
        if self.heard_us.is_none() && self.cap.is_none() {
            return None;
        }
        let (bits_per_second, limit) = self.rate();
        let bursts = self.heard_us.is_some_and(|heard| self.bursts(heard));
        let wait_us = if bursts { 0 } else { self.delay.wait_us() };
        let excess_s = (wait_us - DRAIN_ABOVE_US).max(0) as f64 / 1e6;
        let drained = 1.0 - (excess_s * DRAIN_PER_S).min(MAX_DRAIN);
        let lately = |at: i64| self.heard_us.is_some_and(|heard| heard - at < CONGESTED_US);
        let congested = limit != Limit::Delay || wait_us > FULL_US || self.congested_us.is_some_and(lately);
        Some(Estimate {
            bits_per_second,
            budget: bits_per_second * drained,
            limit,
            congested,
            loss: self.loss.average(),
            wait_ms: self.delay.wait_us() as f64 / 1000.0,
        })
    }

    fn rate(&self) -> (f64, Limit) {
        let by_delay = if self.heard_us.is_some() {
            self.aimd.rate()
        } else {
            MAX_RATE
        };
        let by_loss = self.loss.bound().unwrap_or(MAX_RATE);
        let by_receiver = self.cap.unwrap_or(MAX_RATE);
        [
            (by_delay, Limit::Delay),
            (by_loss, Limit::Loss),
            (by_receiver, Limit::Receiver),
        ]
        .into_iter()
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((by_delay, Limit::Delay))
    }

    /// Whether queues may be full of what was sent at once.
    fn bursts(&self, now_us: i64) -> bool {
        self.burst_us.is_some_and(|at| now_us - at < BURST_US + self.rtt_us)
    }

    fn conclude(&mut self, now_us: i64, told_us: i64, observed_loss: bool) {
        let mut usage = self.delay.usage();
        let (short, long) = (self.delivered.rate(SHORT_US), self.delivered.rate(LONG_US));
        let full = self.delay.wait_us() > FULL_US;
        let echoes = self.bursts(now_us) || !full && self.prober.echoes(now_us);
        if usage == Usage::Over && echoes {
            usage = Usage::Normal;
        }
        let delivered = match usage {
            // What leaves a full queue is what the path carries. Else a moment with little to send must not count.
            Usage::Over if full => short,
            Usage::Over => short.zip(long).map(|(short, long)| short.max(long)).or(short),
            Usage::Normal | Usage::Under => long.or(short),
        };
        if usage == Usage::Over {
            self.congested_us = Some(now_us);
            self.prober.overuse(now_us);
        }
        self.aimd.update(now_us, usage, full, delivered, self.rtt_us);
        let found = self.prober.outcome(now_us, told_us).filter(|_| usage != Usage::Over);
        if let Some(found) = found.filter(|found| found.rate > self.rate().0) {
            self.aimd.found(now_us, found.rate.max(self.aimd.rate()));
            self.loss.raise(found.rate);
        } else if let Some(found) = found.filter(|it| it.is_bound && it.rate < MUCH_LESS * self.rate().0) {
            self.aimd.bounded(now_us, found.rate);
            self.congested_us = Some(now_us);
        }
        if observed_loss {
            self.loss
                .conclude(self.aimd.rate(), short.zip(long).map(|(a, b)| a.min(b)).or(short));
        }
    }
}
