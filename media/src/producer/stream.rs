//! One stream of a producer: its place in sequence, its packets, and the feedback about it.

use std::time::Instant;

use crate::parameters::{Encoding, Feedback, Ssrc};
use crate::producer::ProducerCodec;
use crate::producer::key_frame::KeyFrameRequests;
use crate::producer::nack::{Gap, NackGenerator};
use crate::producer::receiver_report::{Reception, SenderClock};
use crate::producer::ring::Ring;
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
    pub(crate) reception: Reception,
    /// Packets lost under SSRCs before.
    lost_before: i64,
    pub(crate) key_frames: KeyFrameRequests,
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
            reception: Reception::default(),
            lost_before: 0,
            key_frames: KeyFrameRequests::default(),
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
    use super::*;
    use crate::producer::ring::PacketInfo;
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
            let info = PacketInfo {
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
            };
            stream.ring.insert(info, &[], &[]);
        }
        place
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
}
