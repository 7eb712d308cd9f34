//! Redundant sound (RFC 2198): a payload that has, before its own packet of sound, those of packets before it again.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::parameters::PayloadType;

/// Blocks before the primary one at most; browsers send one, and can be told to send nine.
pub const MAX_REDUNDANT: usize = 9;

/// The header of a redundant block, and that of the primary one (RFC 2198 §3).
const REDUNDANT_HEADER: usize = 4;
const PRIMARY_HEADER: usize = 1;

/// The bit that says that another header follows.
const MORE: u8 = 0x80;

/// Sound of an earlier packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redundant<'p> {
    /// What it is encoded with.
    pub payload_type: PayloadType,
    /// How much earlier it is than the packet, on the stream's clock; below 2¹⁴.
    pub earlier: u16,
    /// The sound; may be empty.
    pub data: &'p [u8],
}

/// A payload taken apart. Nothing is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Red<'p> {
    /// The headers of the redundant blocks, oldest first.
    headers: &'p [u8],
    /// Their data, in the same order, without gaps.
    data: &'p [u8],
    /// What the packet's own sound is encoded with.
    pub payload_type: PayloadType,
    /// The packet's own sound.
    pub primary: &'p [u8],
}

impl<'p> Red<'p> {
    /// Takes a payload apart; `None` when it is cut, or has more than [`MAX_REDUNDANT`] blocks before its own.
    pub fn parse(payload: &'p [u8]) -> Option<Self> {
        let blocks = redundant_blocks(payload)?;
        let (headers, rest) = payload.split_at_checked(blocks * REDUNDANT_HEADER)?;
        let (primary_header, rest) = rest.split_first()?;
        let length: usize = headers
            .as_chunks::<REDUNDANT_HEADER>()
            .0
            .iter()
            .map(|header| usize::from(block(header).1))
            .sum();
        let (data, primary) = rest.split_at_checked(length)?;
        Some(Self {
            headers,
            data,
            payload_type: PayloadType(*primary_header),
            primary,
        })
    }

    /// Where the packet's own sound begins in the payload.
    pub fn primary_offset(&self) -> usize {
        self.headers.len() + PRIMARY_HEADER + self.data.len()
    }

    /// The sound of earlier packets, that of the packet just before first.
    pub fn redundant(&self) -> impl Iterator<Item = Redundant<'p>> + use<'p> {
        let mut data = self.data;
        let (headers, _) = self.headers.as_chunks::<REDUNDANT_HEADER>();
        headers.iter().rev().filter_map(move |header| {
            let (earlier, length) = block(header);
            let (before, of_this) = data.split_at_checked(data.len().checked_sub(usize::from(length))?)?;
            data = before;
            Some(Redundant {
                payload_type: PayloadType(header[0] & !MORE),
                earlier,
                data: of_this,
            })
        })
    }
}

/// Renames the blocks that are encoded as the primary one is: a receiver knows the codec by another payload type.
pub fn rename(payload: &mut [u8], to: PayloadType) {
    let Some(blocks) = redundant_blocks(payload) else {
        return;
    };
    let primary = blocks * REDUNDANT_HEADER;
    let Some(from) = payload.get(primary).copied().filter(|from| *from != to.0) else {
        return;
    };
    for header in payload.iter_mut().take(primary + 1).step_by(REDUNDANT_HEADER) {
        if *header & !MORE == from {
            *header = *header & MORE | to.0;
        }
    }
}

/// How many redundant blocks a payload announces; `None` when it ends before, or they are too many.
fn redundant_blocks(payload: &[u8]) -> Option<usize> {
    let announced = payload
        .iter()
        .step_by(REDUNDANT_HEADER)
        .take(MAX_REDUNDANT + 1)
        .position(|header| header & MORE == 0)?;
    Some(announced)
}

/// The 14 bits of a redundant block's timestamp offset and the 10 bits of its length.
fn block(header: &[u8; REDUNDANT_HEADER]) -> (u16, u16) {
    let [_, a, b, c] = *header;
    (u16::from_be_bytes([a, b]) >> 2, u16::from_be_bytes([b, c]) & 0x03ff)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use super::*;

    /// Two redundant blocks of 20 ms steps, then the primary one.
    fn payload() -> Vec<u8> {
        // 1920 and 960 ticks earlier; 3 and 2 bytes.
        let headers = [0xef, 0x1e, 0x00, 3, 0xef, 0x0f, 0x00, 2, 0x6f];
        [&headers[..], b"oldol", b"primary"].concat()
    }

    #[test]
    fn blocks_are_told_newest_first() {
        let payload = payload();
        let red = Red::parse(&payload).expect("well formed");
        assert_eq!((red.payload_type, red.primary), (PayloadType(111), &b"primary"[..]));
        assert_eq!(&payload[red.primary_offset()..], b"primary");
        let redundant: Vec<_> = red.redundant().map(|block| (block.earlier, block.data)).collect();
        assert_eq!(redundant, [(960, &b"ol"[..]), (1920, b"old")]);
    }

    #[test]
    fn a_primary_block_alone_has_a_header_of_one_byte() {
        let red = Red::parse(&[111, 1, 2]).expect("well formed");
        assert_eq!((red.primary, red.redundant().count()), (&[1, 2][..], 0));
        assert_eq!(Red::parse(&[111]).map(|red| red.primary.len()), Some(0));
    }

    #[test]
    fn what_is_cut_or_has_too_many_blocks_is_refused() {
        let whole = payload();
        for len in 0..whole.len() - b"primary".len() {
            assert_eq!(Red::parse(&whole[..len]), None, "{len}");
        }
        let many = |blocks: usize| [[0xefu8, 0, 0, 0].repeat(blocks), vec![0x6f]].concat();
        assert!(Red::parse(&many(MAX_REDUNDANT)).is_some());
        assert_eq!(Red::parse(&many(MAX_REDUNDANT + 1)), None);
    }

    #[test]
    fn renaming_touches_headers_of_that_codec_and_nothing_else() {
        let mut renamed = payload();
        renamed[4] = 0x80 | 13;
        let before = renamed.clone();
        rename(&mut renamed, PayloadType(96));
        assert_eq!((renamed[0], renamed[4], renamed[8]), (0xe0, 0x80 | 13, 96));
        let same = |at: &usize| renamed[*at] == before[*at];
        assert_eq!((0..before.len()).filter(|at| !same(at)).collect::<Vec<_>>(), [0, 8]);
        rename(&mut [], PayloadType(96));
    }
}
