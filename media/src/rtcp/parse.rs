//! Reading RTCP.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::parameters::Ssrc;
use crate::rtcp::transport_cc::Feedback;
use crate::rtcp::{NtpTime, format, packet_type};

/// The packets of a compound (RFC 3550 §6.1). Ends at the first that is malformed. Reduced-size RTCP (RFC 5506) is fine.
#[derive(Debug, Clone)]
pub struct Packets<'p> {
    rest: &'p [u8],
}

/// One packet of a compound.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RtcpMessage<'p> {
    /// What a sender has sent, and how its clocks relate (RFC 3550 §6.4.1).
    SenderReport {
        /// The sender's stream.
        ssrc: Ssrc,
        /// Wall clock of the report.
        ntp: NtpTime,
        /// The same moment on the stream's RTP clock.
        rtp: u32,
        /// What it received from others.
        blocks: ReportBlocks<'p>,
    },
    /// What a receiver received (RFC 3550 §6.4.2).
    ReceiverReport {
        /// One block a stream.
        blocks: ReportBlocks<'p>,
    },
    /// Streams that end (RFC 3550 §6.6).
    Goodbye {
        /// The streams, 4 bytes each.
        ssrcs: &'p [u8],
    },
    /// Packets asked for again (RFC 4585 §6.2.1).
    Nack {
        /// The stream that misses them.
        media: Ssrc,
        /// Which ones.
        pairs: NackPairs<'p>,
    },
    /// A picture was lost (RFC 4585 §6.3.1).
    PictureLoss {
        /// The stream.
        media: Ssrc,
    },
    /// A key frame is wanted (RFC 5104 §4.3.1).
    FullIntra {
        /// Entries of 8 bytes, beginning with the stream.
        entries: &'p [u8],
    },
    /// Transport-wide congestion control feedback.
    TransportCc(Feedback<'p>),
    /// What a receiver estimates that it can take (REMB, draft-alvestrand-rmcat-remb-03 §2.2).
    ReceiverEstimate {
        /// Of all streams together.
        bits_per_second: u64,
    },
    /// A message of an application.
    Application,
    /// A source description or something unknown.
    Other,
}

impl RtcpMessage<'_> {
    /// How many packets or streams it is about, which is what acting on it takes time by.
    pub fn named(&self) -> usize {
        match self {
            Self::SenderReport { blocks, .. } | Self::ReceiverReport { blocks } => blocks.rest.len() / ReportBlock::LEN,
            Self::Goodbye { ssrcs } => ssrcs.len() / 4,
            Self::Nack { pairs, .. } => pairs.rest.len() / 4 * PACKETS_A_PAIR,
            Self::FullIntra { entries } => entries.len() / 8,
            Self::TransportCc(feedback) => usize::from(feedback.count()),
            Self::PictureLoss { .. } | Self::ReceiverEstimate { .. } | Self::Application | Self::Other => 0,
        }
    }
}

/// Packets that one pair of a NACK names at most (RFC 4585 §6.2.1).
const PACKETS_A_PAIR: usize = 17;

impl<'p> Packets<'p> {
    /// Reads a whole plain compound.
    pub fn new(compound: &'p [u8]) -> Self {
        Self { rest: compound }
    }

    fn take(&mut self) -> Option<RtcpMessage<'p>> {
        let (&[flags, packet_type, l0, l1], _) = self.rest.split_first_chunk::<4>()?;
        if flags >> 6 != 2 {
            return None;
        }
        let len = usize::from(u16::from_be_bytes([l0, l1])) * 4 + 4;
        let mut body = self.rest.get(4..len)?;
        self.rest = self.rest.get(len..)?;
        if flags & 0x20 != 0 {
            let padding = usize::from(*body.last()?);
            body = body.get(..body.len().checked_sub(padding)?)?;
        }
        let count = flags & 0x1f;
        match packet_type {
            packet_type::SENDER_REPORT => {
                let (ssrc, body) = take_u32(body)?;
                let (info, body) = body.split_first_chunk::<20>()?;
                let (ntp, info) = info.split_first_chunk::<8>()?;
                let (rtp, _) = take_u32(info)?;
                Some(RtcpMessage::SenderReport {
                    ssrc: Ssrc(ssrc),
                    ntp: NtpTime(u64::from_be_bytes(*ntp)),
                    rtp,
                    blocks: ReportBlocks::new(body, count)?,
                })
            }
            packet_type::RECEIVER_REPORT => {
                let (_, body) = take_u32(body)?;
                Some(RtcpMessage::ReceiverReport {
                    blocks: ReportBlocks::new(body, count)?,
                })
            }
            packet_type::GOODBYE => Some(RtcpMessage::Goodbye {
                ssrcs: body.get(..usize::from(count) * 4)?,
            }),
            packet_type::TRANSPORT_FEEDBACK | packet_type::PAYLOAD_FEEDBACK => {
                let (_, body) = take_u32(body)?;
                let (media, body) = take_u32(body)?;
                let media = Ssrc(media);
                Some(match (packet_type, count) {
                    (packet_type::TRANSPORT_FEEDBACK, format::NACK) => RtcpMessage::Nack {
                        media,
                        pairs: NackPairs { rest: body },
                    },
                    (packet_type::TRANSPORT_FEEDBACK, format::TRANSPORT_CC) => {
                        Feedback::parse(body).map_or(RtcpMessage::Other, RtcpMessage::TransportCc)
                    }
                    (packet_type::PAYLOAD_FEEDBACK, format::PLI) => RtcpMessage::PictureLoss { media },
                    (packet_type::PAYLOAD_FEEDBACK, format::FIR) => RtcpMessage::FullIntra { entries: body },
                    (packet_type::PAYLOAD_FEEDBACK, format::APPLICATION) => remb(body)
                        .map_or(RtcpMessage::Application, |bits_per_second| {
                            RtcpMessage::ReceiverEstimate { bits_per_second }
                        }),
                    _ => RtcpMessage::Other,
                })
            }
            _ => Some(RtcpMessage::Other),
        }
    }
}

impl<'p> Iterator for Packets<'p> {
    type Item = RtcpMessage<'p>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = self.take();
        if message.is_none() {
            self.rest = &[];
        }
        message
    }
}

/// The streams of a goodbye or of FIR entries, which begin each group of `stride` bytes.
pub fn ssrcs(bytes: &[u8], stride: usize) -> impl Iterator<Item = Ssrc> {
    bytes
        .chunks_exact(stride.max(4))
        .filter_map(|entry| take_u32(entry).map(|(ssrc, _)| Ssrc(ssrc)))
}

/// The report blocks of a sender or receiver report.
#[derive(Debug, Clone)]
pub struct ReportBlocks<'p> {
    rest: &'p [u8],
}

impl<'p> ReportBlocks<'p> {
    /// `None` when the packet is too short for `count` blocks. What follows them is a profile's extension.
    fn new(bytes: &'p [u8], count: u8) -> Option<Self> {
        Some(Self {
            rest: bytes.get(..usize::from(count) * ReportBlock::LEN)?,
        })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.rest.split_first_chunk::<{ ReportBlock::LEN }>()?;
        self.rest = rest;
        Some(ReportBlock::read(block))
    }
}

/// How a stream is received (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: Ssrc,
    /// Part of packets lost since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, −2^23 to 2^23 − 1.
    pub lost: i32,
    /// The highest sequence number, with its wraps in the upper 16 bits.
    pub highest: u32,
    /// Interarrival jitter on the stream's clock.
    pub jitter: u32,
    /// Compact NTP time of the last sender report; 0 while none came.
    pub last_report: u32,
    /// Time since it came, in 1/65536 s.
    pub delay: u32,
}

impl ReportBlock {
    /// Its size in a packet.
    pub const LEN: usize = 24;

    fn read(bytes: &[u8; Self::LEN]) -> Self {
        let [
            s0,
            s1,
            s2,
            s3,
            fraction,
            l0,
            l1,
            l2,
            h0,
            h1,
            h2,
            h3,
            j0,
            j1,
            j2,
            j3,
            r0,
            r1,
            r2,
            r3,
            d0,
            d1,
            d2,
            d3,
        ] = *bytes;
        Self {
            ssrc: Ssrc(u32::from_be_bytes([s0, s1, s2, s3])),
            fraction_lost: fraction,
            lost: i32::from_be_bytes([l0, l1, l2, 0]) >> 8,
            highest: u32::from_be_bytes([h0, h1, h2, h3]),
            jitter: u32::from_be_bytes([j0, j1, j2, j3]),
            last_report: u32::from_be_bytes([r0, r1, r2, r3]),
            delay: u32::from_be_bytes([d0, d1, d2, d3]),
        }
    }
}

/// The sequence numbers that a NACK asks for: each pair names one and, by a bit mask, the 16 that follow.
#[derive(Debug, Clone)]
pub struct NackPairs<'p> {
    rest: &'p [u8],
}

impl NackPairs<'_> {
    /// Each sequence number, in the order of the message.
    pub fn sequences(self) -> impl Iterator<Item = u16> {
        self.flat_map(|(first, mask)| {
            let following = (0..16u16)
                .filter(move |bit| mask & 1 << bit != 0)
                .map(move |bit| bit + 1);
            std::iter::once(0)
                .chain(following)
                .map(move |offset| first.wrapping_add(offset))
        })
    }
}

impl Iterator for NackPairs<'_> {
    type Item = (u16, u16);

    fn next(&mut self) -> Option<(u16, u16)> {
        let (&[p0, p1, m0, m1], rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some((u16::from_be_bytes([p0, p1]), u16::from_be_bytes([m0, m1])))
    }
}

/// The rate of a REMB, if it is one: a mantissa of 18 bits after an exponent of 6.
fn remb(body: &[u8]) -> Option<u64> {
    let (&[b'R', b'E', b'M', b'B', _, high, middle, low], _) = body.split_first_chunk::<8>()? else {
        return None;
    };
    let mantissa = u64::from(u32::from_be_bytes([0, high & 3, middle, low]));
    let exponent = u32::from(high >> 2);
    // More than 64 bits hold is no bound at all.
    Some(mantissa.saturating_mul(1u64.checked_shl(exponent)?))
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes
        .split_first_chunk::<4>()
        .map(|(word, rest)| (u32::from_be_bytes(*word), rest))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_malformed_packet_ends_the_compound() {
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let mut compound = [&pli[..], &pli].concat();
        assert_eq!(Packets::new(&compound).count(), 2);
        compound[15] = 3;
        assert_eq!(Packets::new(&compound).count(), 1);
        compound[0] = 0x41;
        assert_eq!(Packets::new(&compound).count(), 0);
    }

    #[test]
    fn padding_is_left_out() {
        let goodbye = [0xa1, 203, 0, 2, 0, 0, 0, 7, 0, 0, 0, 4];
        let Some(RtcpMessage::Goodbye { ssrcs: bytes }) = Packets::new(&goodbye).next() else {
            panic!("no goodbye")
        };
        assert_eq!(ssrcs(bytes, 4).collect::<Vec<_>>(), [Ssrc(7)]);
        let mut too_much = goodbye;
        too_much[11] = 9;
        assert_eq!(Packets::new(&too_much).count(), 0);
    }

    #[test]
    fn a_report_with_fewer_blocks_than_counted_is_refused() {
        let report = [0x81, 201, 0, 1, 0, 0, 0, 7];
        assert!(Packets::new(&report).next().is_none());
    }

    #[test]
    fn nack_masks_name_following_packets() {
        let pairs = NackPairs {
            rest: &[0xff, 0xff, 0x80, 0x01, 0, 9, 0, 0],
        };
        assert_eq!(pairs.sequences().collect::<Vec<_>>(), [0xffff, 0, 15, 9]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            kind in 198u8..210,
            words in 0u8..40,
        ) {
            for valid_start in [false, true] {
                if valid_start && bytes.len() >= 4 {
                    bytes[0] = 0x80 | bytes[0] & 0x3f;
                    (bytes[1], bytes[2], bytes[3]) = (kind, 0, words);
                }
                for message in Packets::new(&bytes) {
                    match message {
                        RtcpMessage::SenderReport { blocks, .. } | RtcpMessage::ReceiverReport { blocks } => {
                            prop_assert!(blocks.count() <= 31);
                        }
                        RtcpMessage::Nack { pairs, .. } => prop_assert!(pairs.sequences().count() <= 17 * 50),
                        RtcpMessage::Goodbye { ssrcs: bytes } => prop_assert!(ssrcs(bytes, 4).count() <= 31),
                        RtcpMessage::FullIntra { entries } => prop_assert!(ssrcs(entries, 8).count() <= 25),
                        _ => {}
                    }
                }
            }
        }
    }
}
