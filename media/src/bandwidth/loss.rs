//! The rate that losses allow.
//!
//! Loss alone says little: radio loses a part of whatever is sent, a full queue loses what exceeds its rate. So the last
//! seconds are explained by two numbers, the part that the path loses at any rate and the rate beyond which it loses the rest,
//! and the likeliest pair is taken; of equally likely ones that with the higher rate. (The idea is that of libwebrtc's
//! `LossBasedBweV2`; draft-ietf-rmcat-gcc-02 §5.6 would halve the rate again and again at 15 % loss.)

use crate::bandwidth::{MAX_RATE, MIN_RATE};

/// An observation spans so much time of sending and so many packets at least.
const SPAN_US: i64 = 250_000;
const MIN_PACKETS: u32 = 10;

/// Observations kept: 5 s.
const WINDOW: usize = 20;

/// Older ones say nothing any more, however few came since, in microseconds.
const MAX_AGE_US: i64 = 8_000_000;

/// How much less an observation counts than the one after it.
const AGING: f64 = 0.93;

/// Packets that must have been seen before a conclusion is drawn.
const MIN_EVIDENCE: f64 = 40.0;

/// The part that a path may lose at any rate, in steps.
const INHERENT_STEP: f64 = 0.02;
const INHERENT_STEPS: u32 = 11;

/// What a rate twice as high is worth, in log-likelihood a packet.
const BIAS: f64 = 0.004;
const MAX_BIASED_RATIO: f64 = 8.0;

/// How fast the bound rises, an observation: threefold in a second.
const RISE: f64 = 1.3;

/// At a steady rate the two explanations are alike. Where so much is lost, less is sent for a second now and then, to tell
/// them apart: this part of what is delivered, for so many observations, after so many without a trial (the first number after
/// a trial with which losses went, the second after one with which they stayed).
const TRIAL_LOSS: f64 = 0.08;
const TRIAL_FACTOR: f64 = 0.95;
const TRIAL_LENGTH: usize = 4;
const TRIAL_PAUSE: (usize, usize) = (12, 120);

/// Candidates around the bound.
const NEAR: [f64; 3] = [0.95, 1.0, 1.05];

#[derive(Debug, Clone, Copy, Default)]
struct Observation {
    /// When it ended.
    at_us: i64,
    packets: f64,
    lost: f64,
    rate: f64,
}

/// Packets sent since the last observation.
#[derive(Debug, Default)]
struct Partial {
    since_us: Option<i64>,
    packets: u32,
    lost: u32,
    bytes: u64,
}

/// The bound.
#[derive(Debug, Default)]
pub struct LossBound {
    partial: Partial,
    observations: [Observation; WINDOW],
    count: usize,
    bound: Option<f64>,
    /// The part lost lately: asked for far more often than it changes.
    average: f64,
    /// The observations up to which a trial lasts, and from which on there may be another.
    trial_until: usize,
    trial_after: usize,
}

impl LossBound {
    /// A packet's fate became known. They are told in the order of sending.
    pub fn packet(&mut self, sent_us: i64, bytes: u32, lost: bool) -> bool {
        let since = *self.partial.since_us.get_or_insert(sent_us);
        let span = sent_us - since;
        let closed = span >= SPAN_US && self.partial.packets >= MIN_PACKETS;
        if closed {
            let partial = std::mem::take(&mut self.partial);
            self.observations[self.count % WINDOW] = Observation {
                at_us: sent_us,
                packets: f64::from(partial.packets),
                lost: f64::from(partial.lost),
                rate: partial.bytes as f64 * 8e6 / span as f64,
            };
            self.count += 1;
            self.partial.since_us = Some(sent_us);
            self.average = self.weigh();
        }
        self.partial.packets += 1;
        self.partial.bytes += u64::from(bytes);
        self.partial.lost += u32::from(lost);
        closed
    }

    /// A packet taken for lost arrived after all.
    pub fn found(&mut self) {
        if self.partial.lost > 0 {
            self.partial.lost -= 1;
        } else if let Some(last) = self.count.checked_sub(1) {
            let last = &mut self.observations[last % WINDOW];
            last.lost = (last.lost - 1.0).max(0.0);
            self.average = self.weigh();
        }
    }

    /// The part lost lately, 0–1.
    pub fn average(&self) -> f64 {
        self.average
    }

    /// Reads what the next packets need; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        u64::from(self.partial.packets) ^ self.average.to_bits() ^ self.trial_after as u64
    }

    fn weigh(&self) -> f64 {
        let (packets, lost) = self.weighted().fold((0.0, 0.0), |(p, l), (weight, it)| {
            (p + weight * it.packets, l + weight * it.lost)
        });
        if packets > 0.0 { lost / packets } else { 0.0 }
    }

    /// Bits a second; `None` while losses do not bound the rate.
    pub fn bound(&self) -> Option<f64> {
        self.bound
    }

    /// The path was found to carry this.
    pub fn raise(&mut self, rate: f64) {
        self.bound = self.bound.map(|bound| bound.max(rate));
    }

    /// Draws conclusions from a new observation. `unbounded` is the rate without this bound, `delivered` what arrives.
    pub fn conclude(&mut self, unbounded: f64, delivered: Option<f64>) {
        let evidence: f64 = self.weighted().map(|(weight, it)| weight * it.packets).sum();
        if evidence < MIN_EVIDENCE || self.count < self.trial_until {
            return;
        }
        if self.bound.is_none() && self.trial_after != usize::MAX && self.weighted().all(|(_, it)| it.lost <= 0.0) {
            // What most paths are: nothing to explain.
            return;
        }
        if let Some(delivered) = delivered.filter(|_| self.wants_trial()) {
            self.trial_until = self.count + TRIAL_LENGTH;
            self.trial_after = usize::MAX;
            self.bound = Some((delivered * TRIAL_FACTOR).clamp(MIN_RATE, unbounded));
            return;
        }
        let reference = delivered.unwrap_or(unbounded).max(MIN_RATE);
        let from = self.bound.unwrap_or(unbounded);
        let near = NEAR.into_iter().map(|factor| from * factor);
        let candidates = near.chain(delivered).chain([unbounded, MAX_RATE]);
        let likeliest = candidates
            .map(|rate| rate.max(MIN_RATE))
            .map(|rate| (rate, self.likelihood(rate) + evidence * bias(rate, reference)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((rate, _)) = likeliest else { return };
        let rate = match self.bound {
            Some(bound) => rate.min(bound * RISE),
            None => rate,
        };
        self.bound = (rate < unbounded).then_some(rate);
        if self.trial_after == usize::MAX {
            let pause = if self.bound.is_some() {
                TRIAL_PAUSE.0
            } else {
                TRIAL_PAUSE.1
            };
            self.trial_after = self.count + pause;
        }
    }

    fn wants_trial(&self) -> bool {
        let seen = self.count >= TRIAL_LENGTH && self.count >= self.trial_after;
        self.bound.is_none() && seen && self.average() >= TRIAL_LOSS
    }

    /// The log-likelihood of what was observed if losses grow beyond `rate`, at the likeliest inherent loss.
    fn likelihood(&self, rate: f64) -> f64 {
        // Of what was sent at lower rates only the sums matter: logarithms are dear, and most candidates need few.
        let (mut kept, mut lost) = (0.0, 0.0);
        let mut beyond = [(0.0, 0.0, 0.0); WINDOW];
        let mut count = 0;
        for (weight, it) in self.weighted() {
            let excess = (it.rate - rate) / it.rate.max(1.0);
            let (is_lost, is_kept) = (weight * it.lost, weight * (it.packets - it.lost));
            if excess > 0.0 {
                beyond[count] = (excess, is_lost, is_kept);
                count += 1;
            } else {
                lost += is_lost;
                kept += is_kept;
            }
        }
        let likely = |p: f64, lost: f64, kept: f64| {
            let p = p.clamp(0.001, 0.999);
            lost * p.ln() + kept * (1.0 - p).ln()
        };
        let inherent = (0..=INHERENT_STEPS).map(|step| f64::from(step) * INHERENT_STEP);
        inherent
            .map(|inherent| {
                let excesses = beyond[..count].iter();
                let beyond =
                    excesses.map(|(excess, lost, kept)| likely(inherent + (1.0 - inherent) * excess, *lost, *kept));
                likely(inherent, lost, kept) + beyond.sum::<f64>()
            })
            .fold(f64::NEG_INFINITY, f64::max)
    }

    /// Newest first, with their weights.
    fn weighted(&self) -> impl Iterator<Item = (f64, Observation)> {
        let newest_first = (0..self.count.min(WINDOW)).map(|age| self.observations[(self.count - 1 - age) % WINDOW]);
        let newest_us = self.partial.since_us.unwrap_or_default();
        let recent = newest_first.take_while(move |it| newest_us - it.at_us < MAX_AGE_US);
        recent.scan(1.0, |weight, observation| {
            let now = *weight;
            *weight *= AGING;
            Some((now, observation))
        })
    }
}

fn bias(rate: f64, reference: f64) -> f64 {
    BIAS * (rate / reference)
        .clamp(1.0 / MAX_BIASED_RATIO, MAX_BIASED_RATIO)
        .log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends 1000-byte packets at the bound (or `rate`) for so long, losing those that `lost` tells by rate and number.
    fn run(bound: &mut LossBound, start_ms: i64, ms: i64, rate: f64, mut lost: impl FnMut(f64, u64) -> bool) {
        let mut at = start_ms as f64 * 1000.0;
        let mut number = 0;
        let (mut arrived, mut sent) = (0.0, 0.0);
        while at < ((start_ms + ms) * 1000) as f64 {
            let rate = bound.bound().map_or(rate, |bound| bound.min(rate));
            at += 8e9 / rate;
            number += 1;
            let is_lost = lost(rate, number);
            sent += 1.0;
            arrived += if is_lost { 0.0 } else { 1.0 };
            if bound.packet(at as i64, 1000, is_lost) {
                bound.conclude(
                    rate.max(bound.bound().unwrap_or(0.0)).max(2e6),
                    Some(rate * arrived / sent),
                );
                (arrived, sent) = (0.0, 0.0);
            }
        }
    }

    /// Evenly spread losses: `part` of the packets.
    fn spread(part: f64, number: u64) -> bool {
        (number as f64 * part).floor() > ((number - 1) as f64 * part).floor()
    }

    #[test]
    fn a_path_that_loses_a_part_of_everything_is_not_bounded() {
        for part in [0.0, 0.02, 0.05, 0.1, 0.15, 0.2] {
            let mut bound = LossBound::default();
            run(&mut bound, 0, 20_000, 2e6, |_, number| spread(part, number));
            assert_eq!(bound.bound(), None, "at {part}");
            assert!((bound.average() - part).abs() < 0.01, "{} at {part}", bound.average());
        }
    }

    #[test]
    fn a_path_that_loses_what_exceeds_its_rate_is_bounded_by_it() {
        let mut bound = LossBound::default();
        run(&mut bound, 0, 5_000, 2e6, |rate, number| {
            spread((1.0 - 5e5 / rate).max(0.0), number)
        });
        let found = bound.bound().expect("bounded");
        assert!((3.75e5..6.25e5).contains(&found), "{found}");
        // It is gone some time after the losses are.
        run(&mut bound, 5_000, 12_000, 2e6, |_, _| false);
        assert_eq!(bound.bound(), None);
    }
}
