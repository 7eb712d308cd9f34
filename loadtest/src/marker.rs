//! What a bot writes into the packets it sends, so that whoever receives them can tell what is missing and how long the
//! rest took.

/// Bytes of a [`Marker`].
pub(crate) const MARKER: usize = 28;

/// `CBot`, so that a payload of somebody else is not taken for ours.
const MAGIC: [u8; 4] = *b"CBot";

/// One packet's place in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    /// Which stream of which bot; unique in a run.
    pub(crate) stream: u32,
    /// Counts the stream's frames from 0.
    pub(crate) frame: u32,
    /// Which of the frame's packets, from 0.
    pub(crate) packet: u16,
    /// How many the frame has.
    pub(crate) packets: u16,
    /// Whether the frame is a key frame.
    pub(crate) key_frame: bool,
    /// Which of the picture's sizes it is, 0 for the lowest; `None` where there is one only.
    pub(crate) encoding: Option<u8>,
    /// Ticks of the RTP clock from one of the stream's pictures to the next.
    pub(crate) ticks: u16,
    /// When it was sent, in nanoseconds since 1970.
    pub(crate) sent_ns: u64,
}

impl Marker {
    /// Writes it to the front of `out`. `false` when there is no room.
    pub(crate) fn write(&self, out: &mut [u8]) -> bool {
        let Some(out) = out.first_chunk_mut::<MARKER>() else {
            return false;
        };
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&self.stream.to_be_bytes());
        out[8..12].copy_from_slice(&self.frame.to_be_bytes());
        out[12..14].copy_from_slice(&self.packet.to_be_bytes());
        out[14..16].copy_from_slice(&self.packets.to_be_bytes());
        // No size is 0.
        let size = self.encoding.map_or(0, |encoding| encoding.saturating_add(1));
        out[16..18].copy_from_slice(&self.ticks.to_be_bytes());
        out[18..20].copy_from_slice(&[size, u8::from(self.key_frame)]);
        out[20..].copy_from_slice(&self.sent_ns.to_be_bytes());
        true
    }

    /// Reads the marker at the front of `bytes`; `None` when there is none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<MARKER>()?;
        if bytes[..4] != MAGIC {
            return None;
        }
        let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
        Some(Self {
            stream: word(4),
            frame: word(8),
            packet: half(12),
            packets: half(14),
            key_frame: bytes[19] != 0,
            encoding: bytes[18].checked_sub(1),
            ticks: half(16),
            sent_ns: u64::from(word(20)) << 32 | u64::from(word(24)),
        })
    }

    /// Looks for a marker behind a payload's descriptor and headers, which are some bytes long at most.
    pub(crate) fn find(payload: &[u8]) -> Option<Self> {
        (0..=MAX_PREFIX).find_map(|at| Self::read(payload.get(at..)?))
    }
}

/// A VP8 payload descriptor of up to 6 bytes and a key frame's header of 10 (RFC 7741 §4.2, RFC 6386 §9.1).
const MAX_PREFIX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Marker = Marker {
        stream: 0x0102_0304,
        frame: 0xf000_0001,
        packet: 3,
        packets: 7,
        key_frame: true,
        encoding: None,
        ticks: 3000,
        sent_ns: 1_800_000_000_123_456_789,
    };

    #[test]
    fn is_found_where_it_was_written() {
        let mut payload = vec![0; 14 + MARKER];
        for encoding in [None, Some(0), Some(2)] {
            let some = Marker { encoding, ..SOME };
            assert!(some.write(&mut payload[14..]));
            assert_eq!(Marker::find(&payload), Some(some));
            assert_eq!(Marker::read(&payload[14..]), Some(some));
        }
    }

    #[test]
    fn is_nowhere_in_other_payloads() {
        let mut short = vec![0; MARKER - 1];
        assert!(!SOME.write(&mut short));
        assert_eq!(Marker::find(&short), None);
        assert_eq!(Marker::find(&[0x55; 1200]), None);
    }
}
