//! Writing RTCP into a fixed buffer.

use crate::parameters::Ssrc;
use crate::rtcp::{NtpTime, ReportBlock, format, packet_type};

/// Appends RTCP packets to a buffer. What does not fit is refused whole and leaves the buffer as it was.
#[derive(Debug)]
pub struct RtcpWriter<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> RtcpWriter<'b> {
    /// Writes from the start of `buffer`.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more fit.
    pub fn room(&self) -> usize {
        self.buffer.len() - self.len
    }

    /// A sender report without blocks (RFC 3550 §6.4.1): 28 bytes.
    pub fn sender_report(&mut self, ssrc: Ssrc, ntp: NtpTime, rtp: u32, packets: u32, octets: u32) -> bool {
        self.packet(packet_type::SENDER_REPORT, 0, 24, |body| {
            body.u32(ssrc.0);
            body.put(&ntp.0.to_be_bytes());
            body.u32(rtp);
            body.u32(packets);
            body.u32(octets);
        })
    }

    /// A receiver report (RFC 3550 §6.4.2): 8 bytes and 24 a block, of which it takes at most 31.
    pub fn receiver_report(&mut self, from: Ssrc, blocks: &[ReportBlock]) -> bool {
        debug_assert!(blocks.len() <= 31, "the count has 5 bits");
        self.packet(
            packet_type::RECEIVER_REPORT,
            blocks.len() as u8,
            4 + blocks.len() * ReportBlock::LEN,
            |body| {
                body.u32(from.0);
                for block in blocks {
                    body.u32(block.ssrc.0);
                    body.u32(u32::from(block.fraction_lost) << 24 | block.lost as u32 & 0x00ff_ffff);
                    body.u32(block.highest);
                    body.u32(block.jitter);
                    body.u32(block.last_report);
                    body.u32(block.delay);
                }
            },
        )
    }

    /// A source description with the canonical name alone (RFC 3550 §6.5.1). Names longer than 255 bytes are cut.
    pub fn canonical_name(&mut self, ssrc: Ssrc, name: &str) -> bool {
        let name = &name.as_bytes()[..name.len().min(255)];
        // The chunk ends with at least one zero byte and fills whole words.
        let chunk = (4 + 2 + name.len() + 1).next_multiple_of(4);
        self.packet(packet_type::SOURCE_DESCRIPTION, 1, chunk, |body| {
            body.u32(ssrc.0);
            body.put(&[1, name.len() as u8]);
            body.put(name);
            body.zeros();
        })
    }

    /// Streams of ours that end (RFC 3550 §6.6); at most 31.
    pub fn goodbye(&mut self, ssrcs: &[Ssrc]) -> bool {
        debug_assert!(ssrcs.len() <= 31, "the count has 5 bits");
        self.packet(packet_type::GOODBYE, ssrcs.len() as u8, ssrcs.len() * 4, |body| {
            ssrcs.iter().for_each(|ssrc| body.u32(ssrc.0));
        })
    }

    /// Asks for packets again (RFC 4585 §6.2.1). `pairs` are a first sequence number and a mask of the 16 that follow.
    pub fn nack(&mut self, from: Ssrc, media: Ssrc, pairs: &[(u16, u16)]) -> bool {
        self.packet(
            packet_type::TRANSPORT_FEEDBACK,
            format::NACK,
            8 + pairs.len() * 4,
            |body| {
                body.u32(from.0);
                body.u32(media.0);
                for (first, mask) in pairs {
                    body.put(&first.to_be_bytes());
                    body.put(&mask.to_be_bytes());
                }
            },
        )
    }

    /// Says that a picture was lost (RFC 4585 §6.3.1).
    pub fn picture_loss(&mut self, from: Ssrc, media: Ssrc) -> bool {
        self.packet(packet_type::PAYLOAD_FEEDBACK, format::PLI, 8, |body| {
            body.u32(from.0);
            body.u32(media.0);
        })
    }

    /// Asks for a key frame (RFC 5104 §4.3.1). `number` grows with each new request.
    pub fn full_intra(&mut self, from: Ssrc, media: Ssrc, number: u8) -> bool {
        self.packet(packet_type::PAYLOAD_FEEDBACK, format::FIR, 16, |body| {
            body.u32(from.0);
            body.u32(0);
            body.u32(media.0);
            body.put(&[number, 0, 0, 0]);
        })
    }

    /// Says how much the streams may send together, in bits a second
    /// (draft-alvestrand-rmcat-remb-03 §2.2). At most 255 streams are named.
    pub fn remb(&mut self, from: Ssrc, bitrate: u64, streams: &[Ssrc]) -> bool {
        let streams = &streams[..streams.len().min(255)];
        // An 18-bit mantissa and a 6-bit exponent.
        let exponent = (64 - bitrate.leading_zeros()).saturating_sub(18);
        let mantissa = (bitrate >> exponent) as u32;
        self.packet(
            packet_type::PAYLOAD_FEEDBACK,
            format::APPLICATION,
            16 + streams.len() * 4,
            |body| {
                body.u32(from.0);
                body.u32(0);
                body.put(b"REMB");
                body.u32((streams.len() as u32) << 24 | exponent << 18 | mantissa);
                streams.iter().for_each(|ssrc| body.u32(ssrc.0));
            },
        )
    }

    /// Transport-wide feedback whose body (from the base sequence number on) is already encoded; whole words.
    pub fn transport_cc(&mut self, from: Ssrc, media: Ssrc, encoded: &[u8]) -> bool {
        debug_assert!(encoded.len().is_multiple_of(4), "RTCP is made of whole words");
        self.packet(
            packet_type::TRANSPORT_FEEDBACK,
            format::TRANSPORT_CC,
            8 + encoded.len(),
            |body| {
                body.u32(from.0);
                body.u32(media.0);
                body.put(encoded);
            },
        )
    }

    fn packet(&mut self, packet_type: u8, count: u8, body_len: usize, fill: impl FnOnce(&mut Body<'_>)) -> bool {
        let total = 4 + body_len;
        let Some(room) = self.buffer.get_mut(self.len..self.len + total) else {
            return false;
        };
        let (header, body) = room.split_at_mut(4);
        let [l0, l1] = ((body_len / 4) as u16).to_be_bytes();
        header.copy_from_slice(&[0x80 | count, packet_type, l0, l1]);
        fill(&mut Body { rest: body });
        self.len += total;
        true
    }
}

/// The body of one packet, which has room for exactly what is written.
struct Body<'b> {
    rest: &'b mut [u8],
}

impl Body<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (here, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        self.rest = rest;
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    fn zeros(&mut self) {
        self.rest.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::parse::ssrcs;
    use crate::rtcp::{Packets, RtcpMessage};

    /// rtc-rtcp is the oracle of what we write.
    fn oracle(bytes: &[u8]) -> Vec<Box<dyn rtc_rtcp::packet::Packet>> {
        rtc_rtcp::packet::unmarshal(&mut &bytes[..]).expect("another implementation reads what we write")
    }

    #[test]
    fn writes_what_it_reads() {
        let mut buffer = [0xff; 512];
        let mut writer = RtcpWriter::new(&mut buffer);
        let block = ReportBlock {
            ssrc: Ssrc(5),
            fraction_lost: 128,
            lost: -3,
            highest: 0x1_0002,
            jitter: 77,
            last_report: 0xabcd,
            delay: 0x1234,
        };
        assert!(writer.sender_report(Ssrc(1), NtpTime(0x0102_0304_0506_0708), 90_000, 10, 1000));
        assert!(writer.canonical_name(Ssrc(1), "ada"));
        assert!(writer.receiver_report(Ssrc(9), &[block]));
        assert!(writer.nack(Ssrc(9), Ssrc(5), &[(7, 0x8001)]));
        assert!(writer.picture_loss(Ssrc(9), Ssrc(5)));
        assert!(writer.full_intra(Ssrc(9), Ssrc(6), 3));
        assert!(writer.goodbye(&[Ssrc(1), Ssrc(2)]));
        let len = writer.len();
        let messages: Vec<_> = Packets::new(&buffer[..len]).collect();
        assert_eq!(messages.len(), 7);
        assert!(matches!(
            messages[0],
            RtcpMessage::SenderReport {
                ssrc: Ssrc(1),
                ntp: NtpTime(0x0102_0304_0506_0708),
                rtp: 90_000,
                ..
            }
        ));
        let RtcpMessage::ReceiverReport { blocks } = &messages[2] else {
            panic!("{messages:?}")
        };
        assert_eq!(blocks.clone().collect::<Vec<_>>(), [block]);
        let RtcpMessage::Nack { media: Ssrc(5), pairs } = &messages[3] else {
            panic!("{messages:?}")
        };
        assert_eq!(pairs.clone().sequences().collect::<Vec<_>>(), [7, 8, 23]);
        assert!(matches!(messages[4], RtcpMessage::PictureLoss { media: Ssrc(5) }));
        let RtcpMessage::FullIntra { entries } = messages[5] else {
            panic!("{messages:?}")
        };
        assert_eq!(ssrcs(entries, 8).collect::<Vec<_>>(), [Ssrc(6)]);
        let RtcpMessage::Goodbye { ssrcs: bytes } = messages[6] else {
            panic!("{messages:?}")
        };
        assert_eq!(ssrcs(bytes, 4).collect::<Vec<_>>(), [Ssrc(1), Ssrc(2)]);
        assert_eq!(oracle(&buffer[..len]).len(), 7);
    }

    #[test]
    fn canonical_names_of_any_length_fill_whole_words() {
        for len in 0..9 {
            let name = "x".repeat(len);
            let mut buffer = [0xff; 64];
            let mut writer = RtcpWriter::new(&mut buffer);
            assert!(writer.canonical_name(Ssrc(1), &name));
            let len = writer.len();
            let packets = oracle(&buffer[..len]);
            let description = packets[0]
                .as_any()
                .downcast_ref::<rtc_rtcp::source_description::SourceDescription>()
                .expect("a source description");
            assert_eq!(description.chunks[0].items[0].text.as_ref(), name.as_bytes());
        }
    }

    #[test]
    fn remb_keeps_the_18_highest_bits() {
        for bitrate in [1, 262_143, 262_144, 10_000_000, u64::from(u32::MAX)] {
            let mut buffer = [0; 64];
            let mut writer = RtcpWriter::new(&mut buffer);
            assert!(writer.remb(Ssrc(1), bitrate, &[Ssrc(2), Ssrc(3)]));
            let len = writer.len();
            let packets = oracle(&buffer[..len]);
            let remb = packets[0]
                .as_any()
                .downcast_ref::<rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate>()
                .expect("a REMB");
            assert_eq!(remb.ssrcs, [2, 3]);
            assert!((f64::from(remb.bitrate) - bitrate as f64).abs() <= bitrate as f64 / 131_072.0);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_whole() {
        let mut buffer = [0xff; 20];
        let mut writer = RtcpWriter::new(&mut buffer);
        assert!(writer.picture_loss(Ssrc(1), Ssrc(2)));
        assert!(!writer.picture_loss(Ssrc(1), Ssrc(2)));
        assert_eq!((writer.len(), writer.room()), (12, 8));
        assert_eq!(buffer[12..], [0xff; 8]);
    }
}
