//! One stream of a producer: its place in sequence, its packets, and the feedback about it.

use std::time::Instant;

use crate::parameters::{Encoding, Feedback, Ssrc};
use crate::producer::ProducerCodec;
use crate::producer::kept::KeptRun;
use crate::producer::key_frame::KeyFrameRequests;
use crate::producer::nack::{Gap, NackGenerator};
use crate::producer::receiver_report::{Reception, SenderClock};
use crate::producer::ring::{PacketInfo, Ring};
use crate::producer::wishes::Wishes;
use crate::rtp::dependency::Structure;
use crate::rtp::unwrap_near;

/// Room below the first packet for those that it overtook: one cycle of sequence numbers.
const FIRST_CYCLE: u64 = 1 << 16;

/// How far ahead of the latest packet a retransmission may be: senders probe with packets sent a moment ago.
const MAX_RESTORED_AHEAD: u64 = 64;

/// One stream of a producer.
#[derive(Debug)]
pub(crate) struct Stream {
    /// As signaled or learnt.
    pub(crate) ssrc: Option<Ssrc>,
    pub(crate) rtx_ssrc: Option<Ssrc>,
    pub(crate) rid: Option<String>,
    pub(crate) ring: Ring,
    highest: Option<u64>,
    epoch: u32,
    /// Set when the SSRC changed: the next packet begins an epoch.
    renewed: bool,
    /// The sequence number that would prove that the publisher began anew (RFC 3550 A.1).
    suspect: Option<u16>,
    pub(crate) nack: NackGenerator,
    /// Whether packets were given up on a path that is choked.
    pub(crate) has_given_up: bool,
    pub(crate) reception: Reception,
    /// Packets lost under SSRCs before.
    lost_before: i64,
    pub(crate) key_frames: KeyFrameRequests,
    /// Since the latest key frame, of video.
    run: Option<KeptRun>,
    /// Of a piped producer, in place of `key_frames`.
    pub(crate) wishes: Wishes,
    pub(crate) clock: Option<SenderClock>,
    /// What its dependency descriptors refer to.
    pub(crate) structure: Option<Box<Structure>>,
    /// When the last packet came, and its codec.
    pub(crate) last_packet: Option<(Instant, u8)>,
    /// When the first packet under this SSRC came.
    pub(crate) first_packet: Option<Instant>,
}

/// Where a packet belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is the latest so far, and in order, or the first.
    Next { extended: u64 },
    /// It is the latest so far, after a gap.
    AfterGap { extended: u64, gap: Gap },
    /// It comes late.
    Late { extended: u64 },
    /// It begins a new epoch: nothing before it will be filled in.
    Restart { extended: u64 },
    /// It came before.
    Duplicate,
    /// It is older than what is kept.
    TooOld,
}

impl Stream {
    /// A stream that keeps `capacity` packets, a power of two. Its epochs begin with `epoch`.
    pub(crate) fn new(encoding: &Encoding, capacity: usize, epoch: u32) -> Self {
        Self {
            ssrc: encoding.ssrc,
            rtx_ssrc: encoding.rtx_ssrc,
            rid: encoding.rid.clone(),
            ring: Ring::new(capacity),
            highest: None,
            epoch,
            renewed: false,
            suspect: None,
            nack: NackGenerator::default(),
            has_given_up: false,
            reception: Reception::default(),
            lost_before: 0,
            key_frames: KeyFrameRequests::default(),
            run: None,
            wishes: Wishes::default(),
            clock: None,
            structure: None,
            last_packet: None,
            first_packet: None,
        }
    }

    /// Takes the encoding of a renegotiation. What was learnt stays unless something else is signaled.
    pub(crate) fn update(&mut self, encoding: &Encoding) {
        self.rid.clone_from(&encoding.rid);
        if let Some(ssrc) = encoding.ssrc {
            self.renew(ssrc);
        }
        if encoding.rtx_ssrc.is_some() {
            self.rtx_ssrc = encoding.rtx_ssrc;
        }
    }

    /// The publisher sends under this SSRC from now on.
    pub(crate) fn renew(&mut self, ssrc: Ssrc) {
        if self.ssrc.replace(ssrc) == Some(ssrc) {
            return;
        }
        self.renewed = self.highest.is_some();
        self.key_frames.forget();
        self.begin_anew();
        self.clock = None;
    }

    /// The epoch of the latest packet.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The highest extended sequence number so far.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// The lowest extended sequence number that the ring may still hold.
    pub(crate) fn oldest(&self) -> u64 {
        self.highest
            .map_or(0, |highest| (highest + 1).saturating_sub(self.ring.capacity()))
    }

    /// Whether a retransmission may be of this packet: one that could have been missed, or was the last to be sent.
    pub(crate) fn may_restore(&self, sequence: u16) -> bool {
        self.highest.is_some_and(|highest| {
            let extended = unwrap_near(highest, sequence);
            !self.renewed && extended >= self.oldest() && extended <= highest + MAX_RESTORED_AHEAD
        })
    }

    /// The publisher ended the stream: nothing is asked for, and another SSRC may take its place at once.
    pub(crate) fn ended(&mut self) {
        self.nack.clear();
        self.last_packet = None;
    }

    /// Finds the place of a packet. `ask` says whether gaps are asked for.
    pub(crate) fn place(&mut self, now: Instant, sequence: u16, ask: bool) -> Place {
        self.nack.arrived();
        let Some(highest) = self.highest else {
            let extended = FIRST_CYCLE + u64::from(sequence);
            self.highest = Some(extended);
            return Place::Next { extended };
        };
        if self.renewed {
            self.renewed = false;
            return self.restart(highest, sequence);
        }
        let extended = unwrap_near(highest, sequence);
        if extended > highest {
            let missing = extended - highest - 1;
            if missing >= self.ring.capacity() {
                return self.restart(highest, sequence);
            }
            self.suspect = None;
            self.highest = Some(extended);
            if missing == 0 {
                return Place::Next { extended };
            }
            let gap = if ask {
                self.nack.missed(now, highest + 1..extended)
            } else {
                Gap::Repairable
            };
            return Place::AfterGap { extended, gap };
        }
        if extended < self.oldest() {
            // One old packet is a straggler; two in sequence are a publisher that began anew.
            if self.suspect == Some(sequence) {
                return self.restart(highest, sequence);
            }
            self.suspect = Some(sequence.wrapping_add(1));
            return Place::TooOld;
        }
        if self.ring.get(extended).is_some() {
            return Place::Duplicate;
        }
        self.nack.received(now, extended);
        Place::Late { extended }
    }

    /// Keeps a packet that was placed. `begins` says whether a key frame does so with it, of video.
    pub(crate) fn keep(&mut self, info: PacketInfo, descriptor: &[u8], payload: &[u8], begins: bool) {
        self.ring.insert(info, descriptor, payload);
        match &mut self.run {
            Some(run) if begins && run.is_of(&info) && info.extended > run.first => run.follow(payload.len()),
            Some(run) if begins && info.epoch == run.epoch && info.extended < run.first && !run.is_of(&info) => {}
            _ if begins => self.begin_run(&info, payload.len()),
            Some(run) if info.epoch != run.epoch || info.codec != run.codec => self.run = None,
            Some(run) if info.extended > run.first => run.follow(payload.len()),
            Some(_) | None => {}
        }
    }

    /// Forgets where the latest key frame began: nobody begins with what came until now.
    pub(crate) fn forget_run(&mut self) {
        self.run = None;
    }

    /// The packets since the latest key frame, if one can begin with them now: it is recent, and every packet is there or is
    /// being asked for.
    pub(crate) fn kept_run(&self, now: Instant) -> Option<KeptRun> {
        let run = self.run.filter(|run| run.epoch == self.epoch && run.is_fresh(now))?;
        let end = self.highest? + 1;
        if self.renewed || run.first < self.oldest() {
            return None;
        }
        let missing = end.checked_sub(run.first + run.packets)?;
        let repairable = missing == 0 || missing == self.nack.missing_in(run.first..end);
        // What is missing just before may belong to it: parameter sets do.
        let whole_beginning = self.nack.missing_in(run.first - 1..run.first) == 0;
        (repairable && whole_beginning).then_some(run)
    }

    /// A key frame began; packets after this one may have overtaken it.
    fn begin_run(&mut self, info: &PacketInfo, len: usize) {
        let began = self.run.filter(|run| run.is_of(info)).map(|run| run.began);
        let mut run = KeptRun::new(info, len);
        run.began = began.unwrap_or(run.began);
        let end = self.highest.unwrap_or(info.extended) + 1;
        let overtook = (info.extended + 1..end).filter_map(|extended| self.ring.get(extended));
        for slot in overtook.filter(|slot| slot.info.epoch == info.epoch) {
            run.follow(slot.payload().len());
        }
        self.run = Some(run);
    }

    /// A packet came that was there already. If it was there by its redundant copy alone, it was not lost.
    pub(crate) fn came_after_all(&mut self, sequence: u16) {
        let Some(highest) = self.highest else { return };
        let slot = self.ring.get_mut(unwrap_near(highest, sequence));
        if let Some(slot) = slot
            && std::mem::take(&mut slot.info.recovered)
        {
            self.reception.late(slot.info.extended);
        }
    }

    /// Takes the place that its home gave to a piped packet. `false` when it came before, or is too old to be of use.
    pub(crate) fn place_piped(&mut self, extended: u64, epoch: u32) -> bool {
        if self.highest.is_none() || epoch != self.epoch {
            if self.highest.is_some() {
                // They are of the SSRC before.
                self.clock = None;
                self.first_packet = None;
            }
            self.epoch = epoch;
            self.highest = Some(extended);
            return true;
        }
        if extended < self.oldest() || self.ring.get(extended).is_some() {
            return false;
        }
        self.highest = self.highest.max(Some(extended));
        true
    }

    /// The feedback agreed for the codec in use, or for the first while none is.
    pub(crate) fn feedback(&self, codecs: &[ProducerCodec]) -> Feedback {
        let index = self.last_packet.map_or(0, |(_, codec)| usize::from(codec));
        codecs.get(index).map(|codec| codec.feedback).unwrap_or_default()
    }

    /// Packets lost for good, over all SSRCs.
    pub(crate) fn lost(&self) -> i64 {
        self.lost_before + self.reception.lost()
    }

    pub(crate) fn jitter_ms(&self, codecs: &[ProducerCodec]) -> f64 {
        let codec = self.last_packet.and_then(|(_, codec)| codecs.get(usize::from(codec)));
        codec.map_or(0.0, |codec| {
            f64::from(self.reception.jitter()) * 1000.0 / f64::from(codec.clock_rate.max(1))
        })
    }

    /// Continues far enough above what was before that no packet of then is taken for one of now.
    fn restart(&mut self, highest: u64, sequence: u16) -> Place {
        let floor = highest + self.ring.capacity() + 1;
        let extended = floor + u64::from(sequence.wrapping_sub(floor as u16));
        self.begin_anew();
        self.highest = Some(extended);
        self.epoch = self.epoch.wrapping_add(1);
        Place::Restart { extended }
    }

    fn begin_anew(&mut self) {
        self.suspect = None;
        self.nack.clear();
        self.lost_before += self.reception.lost();
        self.reception = Reception::default();
        self.first_packet = None;
    }
}

#[cfg(test)]
mod tests;
