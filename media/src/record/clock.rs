//! When in the recording a frame belongs.
//!
//! Sender reports relate a track's RTP clock to its sender's wall clock, which all tracks of a participant share: so sound
//! and picture are placed by the moment of their capture, not of their arrival. The sender's wall clock is placed in
//! the recording by the report that travelled fastest ([`WallClock`]). Until a track's first report, times of arrival
//! serve; the difference is then made up for bit by bit, and a track's time never goes backwards ([`TrackClock`]).
//!
//! All times are microseconds since the recording's start, on the receiver's monotonic clock.

use std::collections::VecDeque;

use crate::parameters::MediaKind;

/// The sender's clock may run fast or slow by this many parts per million before its offset is forgotten.
const DRIFT_PPM: i64 = 200;
/// A wall clock or an RTP clock that is off by more has been set anew.
const JUMP_US: i64 = 2_000_000;
/// Two samples of a clock that was set anew agree within this.
const AGREEMENT_US: i64 = 500_000;
/// A frame is not captured longer before its arrival than this; a report that says so is not believed.
const MAX_DELAY_US: i64 = 5_000_000;
/// Nor later after it.
const MAX_LEAD_US: i64 = 1_000_000;
/// So many reports are weighed against each other: of sound about half a minute's.
const REPORTS: usize = 8;
/// Two reports one after the other that are off by more tell of a change, as where a sender's RTP clock stands still in a pause.
const MAX_NOISE_US: i64 = 80_000;
/// A picture's corrections are made at this part of the pace, and larger ones of sound.
const QUICK: i64 = 4;
/// A correction of sound, of which every one is a cut or a hole, is made at this part of the pace up to [`SMALL_ERROR_US`].
const GENTLE: i64 = 20;
const SMALL_ERROR_US: i64 = 200_000;
/// A track that is late by more is moved forward at once.
const STEP_US: i64 = 1_000_000;

/// Seconds since 1900 in 32.32 fixed point (RFC 3550 §4) as microseconds.
pub fn ntp_to_us(ntp: u64) -> i64 {
    let seconds = (ntp >> 32).cast_signed();
    let fraction = (u128::from(ntp & 0xffff_ffff) * 1_000_000) >> 32;
    seconds * 1_000_000 + fraction as i64
}

/// Ticks of a clock of `rate` Hz as microseconds.
fn us(ticks: i64, rate: u32) -> i64 {
    let us = i128::from(ticks) * 1_000_000 / i128::from(rate);
    i64::try_from(us).unwrap_or(if us < 0 { i64::MIN / 4 } else { i64::MAX / 4 })
}

/// One participant's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct WallClock {
    /// Recording time minus wall time, and the recording time when it was seen.
    offset: Option<(i64, i64)>,
    /// An offset far from the one in force.
    suspect: Option<i64>,
}

impl WallClock {
    /// Takes a report of wall time `ntp_us` that came at `received_us`.
    pub fn observe(&mut self, ntp_us: i64, received_us: i64) {
        let sample = received_us.saturating_sub(ntp_us);
        let Some((offset, seen)) = self.offset else {
            self.offset = Some((sample, received_us));
            return;
        };
        if sample.abs_diff(offset) > JUMP_US.unsigned_abs() {
            let agrees = self
                .suspect
                .is_some_and(|suspect| sample.abs_diff(suspect) < AGREEMENT_US.unsigned_abs());
            self.suspect = Some(sample);
            if agrees {
                *self = Self {
                    offset: Some((sample, received_us)),
                    suspect: None,
                };
            }
            return;
        }
        self.suspect = None;
        // The least delay counts. A clock that runs slow would never be followed without the allowance.
        let allowance = received_us.saturating_sub(seen).max(0) / 1_000_000 * DRIFT_PPM;
        self.offset = Some((sample.min(offset.saturating_add(allowance)), received_us));
    }

    /// The recording time of a wall time; `None` before the first report.
    pub fn recording_time(&self, ntp_us: i64) -> Option<i64> {
        self.offset.map(|(offset, _)| ntp_us.saturating_add(offset))
    }
}

/// What a track's last sender reports say of its RTP clock.
///
/// Of sound, senders tell the moment at which they sent a packet for the moment of its capture, and packets wait and come in bursts:
/// what they tell is 25 ms off now and then (seen of Chromium). The report in the middle is believed.
#[derive(Debug, Clone, Default)]
struct Reports {
    /// Wall time and RTP timestamp, in the order of their coming.
    recent: VecDeque<(i64, i64)>,
    believed: Option<(i64, i64)>,
}

impl Reports {
    /// Takes a report of a clock of `rate` Hz.
    fn observe(&mut self, ntp_us: i64, rtp: i64, rate: u32) {
        // How much later after its moment a report was written than this one.
        let lateness = |report: (i64, i64)| {
            let media = us(report.1.saturating_sub(rtp), rate);
            report.0.saturating_sub(ntp_us).saturating_sub(media)
        };
        if let (Some(believed), Some(&before)) = (self.believed, self.recent.back()) {
            let middle = lateness(believed);
            let (before, newest) = (lateness(before).saturating_sub(middle), middle.saturating_neg());
            if before.abs().min(newest.abs()) > MAX_NOISE_US && before.signum() == newest.signum() {
                self.recent.drain(..self.recent.len() - 1);
            }
        }
        if self.recent.len() == REPORTS {
            self.recent.pop_front();
        }
        self.recent.push_back((ntp_us, rtp));
        let mut sorted: Vec<_> = self.recent.iter().copied().collect();
        sorted.sort_by_key(|&report| lateness(report));
        self.believed = sorted.get((sorted.len() - 1) / 2).copied();
    }
}

/// The last frame's place.
#[derive(Debug, Clone, Copy)]
struct Placed {
    /// Its RTP timestamp; `None` when that says nothing about the next frame's.
    rtp: Option<i64>,
    out_us: i64,
    out_ms: u64,
    received_us: i64,
}

/// One track's clock.
#[derive(Debug, Clone)]
pub struct TrackClock {
    kind: MediaKind,
    rate: u32,
    reports: Reports,
    /// Time of arrival less RTP time, the least so far, and when that was.
    arrival: Option<(i64, i64)>,
    last: Option<Placed>,
}

impl TrackClock {
    /// A clock of `rate` Hz; 0 counts as 1.
    pub fn new(kind: MediaKind, rate: u32) -> Self {
        Self {
            kind,
            rate: rate.max(1),
            reports: Reports::default(),
            arrival: None,
            last: None,
        }
    }

    /// Takes a report that RTP timestamp `rtp` (unwrapped) was at wall time `ntp_us`.
    pub fn report(&mut self, ntp_us: i64, rtp: i64) {
        self.reports.observe(ntp_us, rtp, self.rate);
    }

    /// Another stream begins, whose timestamps have nothing to do with those before.
    pub fn restart(&mut self) {
        let last = self.last.map(|last| Placed { rtp: None, ..last });
        *self = Self {
            last,
            ..Self::new(self.kind, self.rate)
        };
    }

    /// Places a frame with timestamp `rtp` (unwrapped) whose first packet came at `received_us`, in milliseconds since the recording's
    /// start: later than any frame before. `None` when it would lie too far after its arrival.
    pub fn place(&mut self, wall: &WallClock, rtp: i64, received_us: i64) -> Option<u64> {
        let by_arrival = self.by_arrival(rtp, received_us);
        let target = self.by_report(wall, rtp, received_us).unwrap_or(by_arrival);
        let wanted = self
            .smoothed(target, rtp, received_us)
            .min(received_us.saturating_add(MAX_LEAD_US))
            .max(0);
        let least_ms = self.last.map_or(0, |last| last.out_ms + 1);
        let out_ms = (wanted.unsigned_abs() + 500) / 1000;
        let out_ms = out_ms.max(least_ms);
        if out_ms > received_us.saturating_add(2 * MAX_LEAD_US).max(0).unsigned_abs() / 1000 {
            return None;
        }
        let out_us = wanted.max(self.last.map_or(0, |last| last.out_us));
        self.last = Some(Placed {
            rtp: Some(rtp),
            out_us,
            out_ms,
            received_us,
        });
        Some(out_ms)
    }

    /// RTP ticks as microseconds.
    fn us(&self, ticks: i64) -> i64 {
        us(ticks, self.rate)
    }

    /// The place by the packet that travelled fastest.
    fn by_arrival(&mut self, rtp: i64, received_us: i64) -> i64 {
        let media = self.us(rtp);
        let sample = received_us.saturating_sub(media);
        let offset = match self.arrival {
            Some((offset, seen)) if sample.abs_diff(offset) <= JUMP_US.unsigned_abs() => {
                let elapsed = received_us.saturating_sub(seen).max(0);
                sample.min(offset.saturating_add(elapsed / 1_000_000 * DRIFT_PPM))
            }
            _ => sample,
        };
        // The allowance grows by whole seconds.
        let seen = match self.arrival {
            Some((before, seen)) if before == offset && received_us.saturating_sub(seen) < 1_000_000 => seen,
            _ => received_us,
        };
        self.arrival = Some((offset, seen));
        media.saturating_add(offset)
    }

    /// The place by what reports say, if that can be true.
    fn by_report(&self, wall: &WallClock, rtp: i64, received_us: i64) -> Option<i64> {
        let (ntp_us, at) = self.reports.believed?;
        let captured = ntp_us.saturating_add(self.us(rtp.saturating_sub(at)));
        let target = wall.recording_time(captured)?;
        let delay = received_us.saturating_sub(target);
        (-MAX_LEAD_US..=MAX_DELAY_US).contains(&delay).then_some(target)
    }

    /// The pace of the media, bent towards `target`.
    fn smoothed(&self, target: i64, rtp: i64, received_us: i64) -> i64 {
        let Some(last) = self.last else { return target };
        let arrived = received_us.saturating_sub(last.received_us).max(0);
        let elapsed = match last.rtp.map(|before| self.us(rtp.saturating_sub(before))) {
            Some(media) if media.abs_diff(arrived) <= JUMP_US.unsigned_abs() => media.max(0),
            // The timestamps jumped: the time between the arrivals is what is known.
            _ => arrived,
        };
        let natural = last.out_us.saturating_add(elapsed);
        let error = target.saturating_sub(natural);
        if error > STEP_US {
            return target;
        }
        let gentle = self.kind == MediaKind::Audio && error.abs() <= SMALL_ERROR_US;
        let most = elapsed / if gentle { GENTLE } else { QUICK };
        natural.saturating_add(error.clamp(-most, most))
    }
}
