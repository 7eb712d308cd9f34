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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::producer::test_start;

    fn stream() -> Stream {
        Stream::new(
            &Encoding {
                ssrc: Some(Ssrc(1)),
                ..Encoding::default()
            },
            128,
            0,
        )
    }

    /// Places a packet and keeps it, as the engine does.
    fn take(stream: &mut Stream, sequence: u16) -> Place {
        let place = stream.place(test_start(), sequence, true);
        if let Place::Next { extended }
        | Place::AfterGap { extended, .. }
        | Place::Late { extended }
        | Place::Restart { extended } = place
        {
            assert_eq!(extended as u16, sequence);
            stream.keep(info(stream, extended), &[], &[], false);
        }
        place
    }

    fn info(stream: &Stream, extended: u64) -> PacketInfo {
        PacketInfo {
            extended,
            epoch: stream.epoch(),
            timestamp: 0,
            arrival: test_start(),
            codec: 0,
            marker: false,
            key_frame: false,
            audio_level: None,
            orientation: None,
            frame: Default::default(),
            wrapping: Default::default(),
            recovered: false,
        }
    }

    #[test]
    fn follows_a_sequence_over_its_wrap() {
        let mut stream = stream();
        let mut before = None;
        for sequence in (65_530..=65_535).chain(0..5) {
            let Place::Next { extended } = take(&mut stream, sequence) else {
                panic!("out of order")
            };
            assert!(before.is_none_or(|before| extended == before + 1));
            before = Some(extended);
        }
    }

    #[test]
    fn tells_gaps_late_packets_and_duplicates() {
        let mut stream = stream();
        take(&mut stream, 10);
        assert!(matches!(
            take(&mut stream, 13),
            Place::AfterGap {
                gap: Gap::Repairable,
                ..
            }
        ));
        assert!(matches!(take(&mut stream, 12), Place::Late { .. }));
        assert_eq!(take(&mut stream, 12), Place::Duplicate);
        assert_eq!(take(&mut stream, 13), Place::Duplicate);
        assert!(matches!(take(&mut stream, 14), Place::Next { .. }));
        let mut pairs = Vec::new();
        assert!(!stream.nack.take_due(test_start(), stream.oldest(), &mut pairs).0);
        assert_eq!(pairs, [(11, 0)]);
    }

    #[test]
    fn packets_before_the_first_are_taken() {
        let mut stream = stream();
        take(&mut stream, 0);
        assert!(matches!(take(&mut stream, 65_535), Place::Late { .. }));
    }

    #[test]
    fn one_old_packet_is_dropped_and_two_in_sequence_begin_anew() {
        let mut stream = stream();
        take(&mut stream, 1000);
        assert_eq!(take(&mut stream, 500), Place::TooOld);
        assert_eq!(take(&mut stream, 600), Place::TooOld);
        assert!(matches!(take(&mut stream, 1001), Place::Next { .. }));
        assert_eq!(take(&mut stream, 500), Place::TooOld);
        let epoch = stream.epoch();
        assert!(matches!(take(&mut stream, 501), Place::Restart { .. }));
        assert_eq!(stream.epoch(), epoch + 1);
        assert!(matches!(take(&mut stream, 502), Place::Next { .. }));
    }

    #[test]
    fn a_jump_wider_than_the_ring_begins_anew() {
        let mut stream = stream();
        take(&mut stream, 0);
        assert!(matches!(take(&mut stream, 128), Place::AfterGap { .. }));
        let Place::Restart { extended } = take(&mut stream, 300) else {
            panic!("no restart")
        };
        assert!(extended > 300);
    }

    #[test]
    fn a_new_ssrc_begins_anew_whatever_its_sequence() {
        let mut stream = stream();
        take(&mut stream, 1000);
        stream.renew(Ssrc(1));
        assert!(matches!(take(&mut stream, 1001), Place::Next { .. }));
        for (ssrc, sequence) in [(2, 1002), (3, 1001), (4, 0)] {
            let before = stream.highest().unwrap();
            stream.renew(Ssrc(ssrc));
            let Place::Restart { extended } = take(&mut stream, sequence) else {
                panic!("no restart")
            };
            assert!(extended > before + 128);
        }
    }

    /// Places a packet of video and keeps it, as the engine does.
    fn film(stream: &mut Stream, sequence: u16, timestamp: u32, ms: u64, begins: bool) {
        let now = test_start() + Duration::from_millis(ms);
        let place = stream.place(now, sequence, true);
        let (Place::Next { extended }
        | Place::AfterGap { extended, .. }
        | Place::Late { extended }
        | Place::Restart { extended }) = place
        else {
            panic!("{place:?}")
        };
        let info = PacketInfo {
            timestamp,
            arrival: now,
            key_frame: begins,
            ..info(stream, extended)
        };
        stream.keep(info, &[], &[0; 100], begins);
    }

    /// The first packet of the run that can be begun with, and how many it has.
    fn run(stream: &Stream, ms: u64) -> Option<(u16, u64)> {
        let run = stream.kept_run(test_start() + Duration::from_millis(ms))?;
        assert_eq!(run.bytes as u64, 100 * run.packets);
        Some((run.first as u16, run.packets))
    }

    #[test]
    fn the_run_is_what_came_since_the_latest_key_frame_while_it_is_recent() {
        let mut stream = stream();
        film(&mut stream, 9, 0, 0, false);
        assert_eq!(run(&stream, 0), None);
        film(&mut stream, 10, 3000, 0, true);
        film(&mut stream, 11, 3000, 0, false);
        film(&mut stream, 12, 6000, 33, false);
        assert_eq!(run(&stream, 33), Some((10, 3)));
        film(&mut stream, 13, 9000, 66, true);
        assert_eq!(run(&stream, 66), Some((13, 1)));
        assert_eq!(run(&stream, 586), Some((13, 1)));
        assert_eq!(run(&stream, 587), None);
        stream.forget_run();
        film(&mut stream, 14, 9000, 66, false);
        assert_eq!(run(&stream, 66), None);
    }

    #[test]
    fn a_key_frame_that_begins_with_several_packets_begins_with_the_first() {
        for order in [[10, 11, 12], [11, 10, 12], [12, 11, 10]] {
            let mut stream = stream();
            film(&mut stream, 9, 0, 0, false);
            for sequence in order {
                film(&mut stream, sequence, 3000, 10, sequence < 12);
            }
            assert_eq!(run(&stream, 10), Some((10, 3)), "{order:?}");
            film(&mut stream, 13, 6000, 43, false);
            assert_eq!(run(&stream, 43), Some((10, 4)), "{order:?}");
        }
    }

    #[test]
    fn a_run_has_no_holes_but_those_that_are_asked_for() {
        let mut stream = stream();
        film(&mut stream, 9, 0, 0, false);
        film(&mut stream, 10, 3000, 0, true);
        film(&mut stream, 13, 3000, 0, false);
        assert_eq!(run(&stream, 0), Some((10, 2)));
        film(&mut stream, 11, 3000, 5, false);
        assert_eq!(run(&stream, 5), Some((10, 3)));
        stream.nack.clear();
        assert_eq!(run(&stream, 5), None);
        film(&mut stream, 12, 3000, 5, false);
        assert_eq!(run(&stream, 5), Some((10, 4)));
        // Of parameter sets that are missing nobody knows.
        film(&mut stream, 15, 6000, 40, true);
        assert_eq!(run(&stream, 40), None);
        film(&mut stream, 14, 6000, 41, true);
        assert_eq!(run(&stream, 41), Some((14, 2)));
    }

    #[test]
    fn what_does_not_go_on_or_is_not_kept_is_no_run() {
        let mut stream = stream();
        film(&mut stream, 10, 3000, 0, true);
        stream.renew(Ssrc(2));
        assert_eq!(run(&stream, 0), None);
        film(&mut stream, 500, 3000, 0, false);
        assert_eq!(run(&stream, 0), None);
        film(&mut stream, 501, 6000, 0, true);
        (502..629).for_each(|sequence| film(&mut stream, sequence, 6000, 1, false));
        assert_eq!(run(&stream, 1), Some((501, 128)));
        film(&mut stream, 629, 6000, 1, false);
        assert_eq!(run(&stream, 1), None);
    }
}
