//! The RTP header (RFC 3550 §5.1).

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::ops::Range;

use crate::parameters::{PayloadType, Ssrc};
use crate::rtp::extensions::Extensions;

/// The fixed part of the header.
pub const FIXED_HEADER_LEN: usize = 12;

/// Why bytes are no RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RtpError {
    /// The packet ends before its header does.
    #[error("the packet is shorter than its header")]
    Truncated,
    /// The version is not 2.
    #[error("the version is not 2")]
    Version,
    /// The padding is empty or longer than what follows the header.
    #[error("the padding does not fit the packet")]
    Padding,
}

/// What a packet's header says, and where its parts lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpHeader {
    /// The marker bit: the last packet of a picture, the first of a talk spurt.
    pub marker: bool,
    /// Names the codec.
    pub payload_type: PayloadType,
    /// Counts packets, modulo 2^16.
    pub sequence: u16,
    /// Sampling instant on the codec's clock, modulo 2^32.
    pub timestamp: u32,
    /// The stream.
    pub ssrc: Ssrc,
    /// How many contributing sources are listed, 0–15.
    pub csrc_count: u8,
    /// The extension's profile and where its elements lie; `None` when there is no extension.
    pub extension: Option<(u16, Range<usize>)>,
    /// Where the payload lies, padding left out.
    pub payload: Range<usize>,
    /// Bytes of padding at the end, its count byte included; 0 when there is none.
    pub padding: u8,
}

impl RtpHeader {
    /// Reads the header of a whole plain packet.
    ///
    /// # Errors
    /// See [`RtpError`].
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let (fixed, _) = packet
            .split_first_chunk::<FIXED_HEADER_LEN>()
            .ok_or(RtpError::Truncated)?;
        let [flags, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if flags >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let csrc_count = flags & 0x0f;
        let mut offset = FIXED_HEADER_LEN + usize::from(csrc_count) * 4;
        let mut extension = None;
        if flags & 0x10 != 0 {
            let start = offset + 4;
            let Some(&[p0, p1, l0, l1]) = packet.get(offset..start) else {
                return Err(RtpError::Truncated);
            };
            offset = start + usize::from(u16::from_be_bytes([l0, l1])) * 4;
            extension = Some((u16::from_be_bytes([p0, p1]), start..offset));
        }
        if offset > packet.len() {
            return Err(RtpError::Truncated);
        }
        let mut end = packet.len();
        let mut padding = 0;
        if flags & 0x20 != 0 {
            padding = packet.last().copied().unwrap_or(0);
            end = end.saturating_sub(usize::from(padding));
            if padding == 0 || end < offset {
                return Err(RtpError::Padding);
            }
        }
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: PayloadType(second & 0x7f),
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: Ssrc(u32::from_be_bytes([c0, c1, c2, c3])),
            csrc_count,
            extension,
            payload: offset..end,
            padding,
        })
    }

    /// The elements of the header extension; none when it is absent or of an unknown form.
    pub fn extensions<'p>(&self, packet: &'p [u8]) -> Extensions<'p> {
        match &self.extension {
            Some((profile, range)) => Extensions::new(*profile, packet.get(range.clone()).unwrap_or_default()),
            None => Extensions::new(0, &[]),
        }
    }

    /// The payload's bytes.
    pub fn payload<'p>(&self, packet: &'p [u8]) -> &'p [u8] {
        packet.get(self.payload.clone()).unwrap_or_default()
    }
}

/// Writes the fixed part: no contributing sources, no padding.
pub fn write_fixed(
    out: &mut [u8; FIXED_HEADER_LEN],
    extension: bool,
    marker: bool,
    payload_type: PayloadType,
    sequence: u16,
    timestamp: u32,
    ssrc: Ssrc,
) {
    let [s0, s1] = sequence.to_be_bytes();
    let [t0, t1, t2, t3] = timestamp.to_be_bytes();
    let [c0, c1, c2, c3] = ssrc.0.to_be_bytes();
    let flags = if extension { 0x90 } else { 0x80 };
    let second = u8::from(marker) << 7 | payload_type.0 & 0x7f;
    *out = [flags, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3];
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(extension: bool, body: &[u8]) -> Vec<u8> {
        let mut fixed = [0; FIXED_HEADER_LEN];
        write_fixed(
            &mut fixed,
            extension,
            true,
            PayloadType(96),
            0xfffe,
            0x8000_0001,
            Ssrc(0xdead_beef),
        );
        [&fixed[..], body].concat()
    }

    #[test]
    fn reads_what_was_written() {
        let bytes = packet(false, b"payload");
        let header = RtpHeader::parse(&bytes).unwrap();
        assert_eq!((header.marker, header.payload_type), (true, PayloadType(96)));
        assert_eq!(
            (header.sequence, header.timestamp, header.ssrc),
            (0xfffe, 0x8000_0001, Ssrc(0xdead_beef))
        );
        assert_eq!(header.payload(&bytes), b"payload");
        assert_eq!((header.csrc_count, header.padding, &header.extension), (0, 0, &None));
    }

    #[test]
    fn skips_contributing_sources_extension_and_padding() {
        let mut bytes = packet(
            true,
            &[
                1, 2, 3, 4, 5, 6, 7, 8, 0xbe, 0xde, 0, 1, 0x10, 0x7f, 0, 0, b'x', 0, 0, 3,
            ],
        );
        bytes[0] |= 0x20 | 2;
        let header = RtpHeader::parse(&bytes).unwrap();
        assert_eq!(header.csrc_count, 2);
        assert_eq!(header.padding, 3);
        assert_eq!(header.payload(&bytes), b"x");
        assert_eq!(header.extensions(&bytes).collect::<Vec<_>>(), [(1, &[0x7f][..])]);
    }

    #[test]
    fn a_packet_may_be_padding_alone() {
        let mut bytes = packet(false, &[0, 0, 0, 4]);
        bytes[0] |= 0x20;
        assert!(RtpHeader::parse(&bytes).unwrap().payload.is_empty());
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let valid = packet(false, b"x");
        for len in 0..FIXED_HEADER_LEN {
            assert_eq!(RtpHeader::parse(&valid[..len]), Err(RtpError::Truncated));
        }
        let with = |flags: u8, body: &[u8]| {
            let mut bytes = packet(false, body);
            bytes[0] = flags;
            RtpHeader::parse(&bytes)
        };
        assert_eq!(with(0x40, b"x"), Err(RtpError::Version));
        assert_eq!(with(0x81, b"abc"), Err(RtpError::Truncated));
        assert_eq!(with(0x90, &[0xbe, 0xde, 0]), Err(RtpError::Truncated));
        assert_eq!(with(0x90, &[0xbe, 0xde, 0xff, 0xff, 0]), Err(RtpError::Truncated));
        assert_eq!(with(0xa0, &[0]), Err(RtpError::Padding));
        assert_eq!(with(0xa0, &[0, 3]), Err(RtpError::Padding));
        assert_eq!(with(0xa0, &[]), Err(RtpError::Padding));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(header) = RtpHeader::parse(&bytes) {
                prop_assert!(header.payload.end + usize::from(header.padding) == bytes.len());
                let elements: usize = header.extensions(&bytes).map(|(_, data)| data.len()).sum();
                prop_assert!(elements <= bytes.len());
            }
        }

        #[test]
        fn mostly_valid_bytes_never_panic(
            flags in 0x80u8..=0xbf,
            profile in prop_oneof![Just(0xbedeu16), Just(0x1000), Just(0x100f), any::<u16>()],
            words in 0u16..8,
            body in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut bytes = packet(true, &[&profile.to_be_bytes()[..], &words.to_be_bytes(), &body].concat());
            bytes[0] = flags;
            if let Ok(header) = RtpHeader::parse(&bytes) {
                for (id, data) in header.extensions(&bytes) {
                    prop_assert!(id != 0 && data.len() <= 255);
                }
            }
        }

        #[test]
        fn round_trips(
            marker: bool, payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut fixed = [0; FIXED_HEADER_LEN];
            let (payload_type, ssrc) = (PayloadType(payload_type), Ssrc(ssrc));
            write_fixed(&mut fixed, false, marker, payload_type, sequence, timestamp, ssrc);
            let bytes = [&fixed[..], &payload].concat();
            let header = RtpHeader::parse(&bytes).unwrap();
            prop_assert_eq!(header.payload(&bytes), &payload[..]);
            prop_assert_eq!(
                (header.marker, header.payload_type, header.sequence, header.timestamp, header.ssrc),
                (marker, payload_type, sequence, timestamp, ssrc)
            );
        }
    }
}
