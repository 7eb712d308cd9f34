//! What is known of the path to one receiver.

use std::time::{Duration, Instant};

use crate::bandwidth::estimator::{BURST_US, START_RATE};
use crate::bandwidth::{Cluster, Estimate, Estimator, Limit, OVERHEAD_BYTES, Pacer, SentPackets};
use crate::control::DownlinkStats;
use crate::rtcp::transport_cc::Feedback;

/// Probes, and packets that had to wait, are sent in slots of this length.
pub(crate) const SLOT: Duration = Duration::from_millis(5);

/// How often the budget is shared anew while there is less than wanted, and else.
const SHARE_SCARCE: Duration = Duration::from_millis(200);
const SHARE_AMPLE: Duration = Duration::from_secs(1);

/// A budget that grew by this factor is shared at once.
const GROWN: f64 = 1.1;

/// How much of a new measurement the rate of sound takes.
const SMOOTHING: f64 = 0.3;

/// What is assumed of a path while nothing is known of it, in bits a second: a camera in its middle size and eight in their
/// smallest. Most paths carry several times that, which the first feedback shows; one that does not is not filled for long.
const ASSUMED: f64 = START_RATE;

/// A receiver that was sent media for so long without a word of what arrives will say none: it gets everything.
const PATIENCE: Duration = Duration::from_secs(4);

/// Queues that nobody would notice, and such as are heard, in milliseconds.
pub(crate) const LITTLE_WAIT_MS: f64 = 50.0;
pub(crate) const LONG_WAIT_MS: f64 = 100.0;

/// Of a path with long queues, sound that repeats itself may take the first part; it repeats itself again where it takes less than
/// the second without that, or where so much is lost without a queue.
const THRIFT: (f64, f64) = (0.25, 0.125);
const REPAIRABLE_LOSS: f64 = 0.05;

/// So many bytes are sent at once at most, however much a path carries.
const MAX_BURST: f64 = 256.0 * 1024.0;

/// A probe that is being sent.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) cluster: Cluster,
    pub(crate) begun: Instant,
    /// Sent since then, media counted in: packets, and bytes on the wire.
    pub(crate) packets: u32,
    pub(crate) bytes: u32,
}

impl Probe {
    /// What should have been sent by the end of the current slot.
    pub(crate) fn due_bytes(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.begun) + SLOT;
        let due = self.cluster.rate * elapsed.as_secs_f64() / 8.0;
        (due as u32).min(self.cluster.bytes)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.bytes >= self.cluster.bytes
    }
}

/// What was sent and what is known of how it arrives.
#[derive(Debug)]
struct Measured {
    sent: SentPackets,
    estimator: Estimator,
    pacer: Pacer,
    heeds_pace: bool,
    last_sent_us: i64,
    probe: Option<Probe>,
    /// The number of what is being sent at once, and its packets.
    burst: Option<(u8, u32)>,
}

/// Counters since the transport began.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct DownlinkCounters {
    pub(crate) probes: u64,
    pub(crate) padding_bytes: u64,
}

/// How much sound is sent.
#[derive(Debug, Default)]
struct SoundRate {
    /// Until it was last asked for.
    bytes: u64,
    bits_per_second: Option<f64>,
}

impl SoundRate {
    /// The rate, now that `bytes` were sent since the transport began, `passed` seconds after it was last asked for.
    fn follow(&mut self, passed: Option<f64>, bytes: u64) -> f64 {
        let added = bytes.saturating_sub(self.bytes);
        self.bytes = bytes;
        let measured = passed.map(|passed| added as f64 * 8.0 / passed);
        let rate = match (self.bits_per_second, measured) {
            (Some(before), Some(now)) => before + SMOOTHING * (now - before),
            (before, now) => before.or(now).unwrap_or(0.0),
        };
        self.bits_per_second = Some(rate);
        rate
    }
}

/// The path to one receiver.
#[derive(Debug)]
pub(crate) struct Downlink {
    origin: Instant,
    /// Made when the first packet bears a number, or the receiver speaks of its bandwidth: many a transport only publishes.
    measured: Option<Box<Measured>>,
    /// When the budget is shared, or a probe goes on.
    pub(crate) due: Option<Instant>,
    pub(crate) shared: Option<Instant>,
    /// The budget then.
    pub(crate) budget: f64,
    /// What was given away, and what would be without a bound, in bits a second.
    pub(crate) given: f64,
    pub(crate) desired: f64,
    /// What tracks that began just now may take beyond that.
    pub(crate) unmeasured: f64,
    /// Sound goes without what it repeats.
    is_thrifty: bool,
    /// Since when media flows.
    flows_since: Option<Instant>,
    /// Sound that is part of what the estimate is of, and sound that goes beside it, without numbers.
    sound: SoundRate,
    beside: SoundRate,
    /// Bytes that were sent at once and are not through yet at the path's rate, as of then.
    burst: (f64, Option<Instant>),
    pub(crate) counters: DownlinkCounters,
}

impl Downlink {
    /// Times are counted from `origin`.
    pub(crate) fn new(origin: Instant) -> Self {
        Self {
            origin,
            measured: None,
            due: None,
            shared: None,
            budget: 0.0,
            given: 0.0,
            desired: 0.0,
            unmeasured: 0.0,
            is_thrifty: false,
            flows_since: None,
            sound: SoundRate::default(),
            beside: SoundRate::default(),
            burst: (0.0, None),
            counters: DownlinkCounters::default(),
        }
    }

    /// The transport-wide number of the next packet.
    pub(crate) fn next_number(&self) -> u16 {
        self.measured.as_ref().map_or(0, |it| it.sent.next_number())
    }

    /// Reads what the next packet needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        let measured = self.measured.as_deref();
        measured.map_or(0, |it| it.sent.preload() ^ it.pacer.preload() ^ it.last_sent_us as u64)
    }

    /// Reads what feedback needs; see [`crate::engine::ahead`].
    pub(crate) fn preload_told(&self) -> u64 {
        let measured = self.measured.as_deref();
        let estimated = measured.map_or(0, |it| {
            it.sent.preload_told() ^ it.estimator.preload() ^ it.pacer.preload()
        });
        estimated ^ self.given.to_bits() ^ self.desired.to_bits()
    }

    /// A datagram of `len` bytes went out under [`next_number`](Self::next_number).
    pub(crate) fn sent(&mut self, now_us: i64, len: usize) {
        let measured = self.measure();
        let bytes = len + OVERHEAD_BYTES;
        let cluster = if let Some((id, packets)) = &mut measured.burst {
            *packets += 1;
            Some(*id)
        } else {
            measured.probe.as_mut().map(|probe| {
                probe.packets += 1;
                probe.bytes += bytes as u32;
                probe.cluster.id
            })
        };
        // Probes and what is sent at once have bounds of their own.
        if cluster.is_none() && measured.heeds_pace {
            measured.pacer.sent(len);
        }
        measured.last_sent_us = now_us;
        measured.sent.sent(now_us, bytes, cluster);
    }

    /// Sends at the pace of what was given away, or of what the path carries if that is less.
    pub(crate) fn keep_pace(&mut self) {
        if let (Some(estimate), Some(measured)) = (self.estimate(), self.measured.as_deref_mut()) {
            // What flows without a sign of being too much is not held back by what was tried until now.
            let sent = self.given + self.unmeasured;
            let room = if estimate.congested {
                estimate.budget
            } else {
                estimate.budget.max(sent)
            };
            measured.pacer.set(room, sent);
        }
    }

    /// Whether what is sent from now on counts in the pace.
    pub(crate) fn heed_pace(&mut self, heeds: bool) {
        if let Some(measured) = self.measured.as_deref_mut() {
            measured.heeds_pace = heeds;
        }
    }

    /// Whether the path may be given another packet now. A path that nothing is measured of may always.
    pub(crate) fn may_send(&mut self, now_us: i64) -> bool {
        self.measured
            .as_deref_mut()
            .is_none_or(|measured| measured.pacer.may_send(now_us))
    }

    /// The receiver told what arrived. Says whether it spoke of packets of ours.
    pub(crate) fn feedback(&mut self, now: Instant, feedback: &Feedback<'_>) -> bool {
        let now_us = self.micros(now);
        let Some(measured) = self.measured.as_deref_mut() else {
            return false;
        };
        let outcomes = measured.sent.resolve(feedback);
        measured.estimator.feedback(now_us, outcomes);
        self.keep_pace();
        self.estimate().is_some()
    }

    /// The receiver told what it can take (REMB). Only for receivers that tell no more.
    pub(crate) fn receiver_estimate(&mut self, bits_per_second: u64) {
        self.measure().estimator.cap(bits_per_second as f64);
        self.keep_pace();
    }

    /// `None` while nothing is known.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        self.measured.as_ref()?.estimator.estimate()
    }

    /// What is assumed while nothing is known. `flows`: some of what it is asked for was sent already. `None` once something is
    /// known, or will never be.
    pub(crate) fn assumed(&mut self, now: Instant, flows: bool) -> Option<Estimate> {
        if flows {
            self.flows_since.get_or_insert(now);
        }
        let waited = self.flows_since.map(|since| now.saturating_duration_since(since));
        let waits = self.estimate().is_none() && waited.is_none_or(|waited| waited < PATIENCE);
        waits.then_some(Estimate {
            bits_per_second: ASSUMED,
            budget: ASSUMED,
            limit: Limit::Delay,
            congested: false,
            loss: 0.0,
            wait_ms: 0.0,
        })
    }

    /// Nothing is held back any more.
    pub(crate) fn unbound(&mut self, now: Instant) {
        self.shared = Some(now);
        (self.given, self.desired) = (0.0, 0.0);
    }

    pub(crate) fn stats(&self) -> Option<DownlinkStats> {
        let mut estimate = self.estimate()?;
        // The path carries that too.
        estimate.bits_per_second += self.beside.bits_per_second.unwrap_or_default();
        Some(DownlinkStats {
            estimate,
            given: self.given,
            desired: self.desired,
            probes: self.counters.probes,
            padding_bytes: self.counters.padding_bytes,
        })
    }

    /// Whether it is to be shared out anew at once: more is given away than there is, or there is much more than there was and
    /// somebody who wants it.
    pub(crate) fn is_changed(&self) -> bool {
        let Some(estimate) = self.estimate() else { return false };
        let grew = self.desired > 0.0 && estimate.budget > self.budget * GROWN;
        self.shared.is_none() || self.given > estimate.budget || grew
    }

    /// How long after the budget was shared it is shared anew.
    pub(crate) fn share_interval(&self) -> Duration {
        match self.desired > 0.0 {
            true => SHARE_SCARCE,
            false => SHARE_AMPLE,
        }
    }

    /// To be called when [`due`](Self::due).
    pub(crate) fn tick(&mut self, now: Instant) {
        let now_us = self.micros(now);
        if let Some(measured) = self.measured.as_deref_mut() {
            measured.estimator.tick(now_us, measured.last_sent_us);
        }
        self.keep_pace();
    }

    /// How many bytes may be sent at once: what the path carries within [`BURST_US`], less what was sent so just before. Sound waits
    /// behind it for no longer than that. Nothing while the path is full.
    pub(crate) fn burst_room(&self, now: Instant) -> usize {
        let estimate = self.estimate();
        if estimate.is_some_and(|estimate| estimate.congested) {
            return 0;
        }
        let rate = estimate.map_or(ASSUMED, |estimate| estimate.budget);
        let most = (rate * BURST_US as f64 / 8e6).min(MAX_BURST);
        (most - self.waiting(now, rate)).max(0.0) as usize
    }

    /// Much is about to be sent at once, in packets that bear numbers or not.
    pub(crate) fn begin_burst(&mut self, now: Instant, bytes: usize, numbered: bool) {
        let rate = self.estimate().map_or(ASSUMED, |estimate| estimate.budget);
        self.burst = (self.waiting(now, rate) + bytes as f64, Some(now));
        if !numbered {
            return;
        }
        let now_us = self.micros(now);
        let measured = self.measure();
        measured.burst = Some((measured.estimator.begin_burst(now_us, bytes as u32), 0));
    }

    /// All of it was sent.
    pub(crate) fn end_burst(&mut self) {
        if let Some(measured) = self.measured.as_deref_mut()
            && let Some((id, packets)) = measured.burst.take()
        {
            measured.estimator.probe_sent(id, packets);
        }
    }

    /// What is left of earlier bursts at this rate.
    fn waiting(&self, now: Instant, rate: f64) -> f64 {
        let (bytes, at) = self.burst;
        let passed = at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        (bytes - rate / 8.0 * passed).max(0.0)
    }

    /// Begins a probe if one is wanted.
    pub(crate) fn begin_probe(&mut self, now: Instant) {
        let (now_us, desired) = (self.micros(now), self.desired);
        let Some(measured) = self.measured.as_deref_mut().filter(|it| it.probe.is_none()) else {
            return;
        };
        if let Some(cluster) = measured.estimator.probe(now_us, desired) {
            self.counters.probes += 1;
            measured.probe = Some(Probe {
                cluster,
                begun: now,
                packets: 0,
                bytes: 0,
            });
        }
    }

    /// The probe that is being sent.
    pub(crate) fn probe(&self) -> Option<&Probe> {
        self.measured.as_ref()?.probe.as_ref()
    }

    /// Ends the probe: all of it was sent, or no more can be.
    pub(crate) fn end_probe(&mut self) {
        if let Some(measured) = self.measured.as_deref_mut()
            && let Some(probe) = measured.probe.take()
        {
            measured.estimator.probe_sent(probe.cluster.id, probe.packets);
        }
    }

    /// Whether sound is to go without what it repeats (RED): on a narrow path with long queues it is what fills them, and what it
    /// repairs is lost there for lack of room.
    pub(crate) fn thrift(&mut self, estimate: &Estimate, sound: f64, beside: f64) -> bool {
        let (sound, carried) = (sound + beside, estimate.budget + beside);
        let fills = estimate.wait_ms > LONG_WAIT_MS && sound > THRIFT.0 * carried;
        let repairs = estimate.wait_ms < LITTLE_WAIT_MS && estimate.loss > REPAIRABLE_LOSS;
        self.is_thrifty = match self.is_thrifty {
            false => fills,
            true => !repairs && sound > THRIFT.1 * carried,
        };
        self.is_thrifty
    }

    /// The rates of sound, of which `bytes` were sent since the transport began: with numbers, and without.
    pub(crate) fn sound_rates(&mut self, now: Instant, (numbered, beside): (u64, u64)) -> (f64, f64) {
        let passed = self.shared.map(|at| now.saturating_duration_since(at).as_secs_f64());
        let passed = passed.filter(|passed| *passed > 0.05);
        (self.sound.follow(passed, numbered), self.beside.follow(passed, beside))
    }

    fn measure(&mut self) -> &mut Measured {
        self.measured.get_or_insert_with(|| {
            Box::new(Measured {
                sent: SentPackets::default(),
                estimator: Estimator::new(SLOT.as_micros() as i64),
                pacer: Pacer::default(),
                heeds_pace: true,
                last_sent_us: 0,
                probe: None,
                burst: None,
            })
        })
    }

    /// A moment on the clock that packets are noted by.
    pub(crate) fn micros(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.origin).as_micros() as i64
    }
}
