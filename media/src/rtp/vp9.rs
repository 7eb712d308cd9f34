//! The payload descriptor of VP9 (RFC 9628 §4.2).

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::layers::MAX_SPATIAL;

/// What stands before each piece of a VP9 layer frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp9Descriptor {
    /// The piece begins a layer frame (B).
    pub starts_frame: bool,
    /// The piece ends a layer frame (E).
    pub ends_frame: bool,
    /// The frame depends on pictures before (P).
    pub inter_predicted: bool,
    /// The picture's number, of [`picture_bits`](Self::picture_bits) bits.
    pub picture: u16,
    /// 7 or 15; 0 when there is no number.
    pub picture_bits: u8,
    /// The temporal layer, 0–7.
    pub temporal: u8,
    /// Later frames of higher temporal layers depend on no frame of those from before this one (U).
    pub switching_up: bool,
    /// The spatial layer, 0–7.
    pub spatial: u8,
    /// Where the number of frames of the lowest temporal layer lies (non-flexible mode), and that number.
    pub tl0: Option<(usize, u8)>,
    /// Sizes of the spatial layers when the scalability structure is there and has them; 0 × 0 for those it leaves out.
    pub sizes: Option<[(u16, u16); MAX_SPATIAL]>,
    /// Bytes of the descriptor.
    pub len: usize,
}

impl Vp9Descriptor {
    /// Reads the descriptor of a payload; `None` when it is cut or broken.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut rest = payload.iter().copied();
        let first = rest.next()?;
        let set = |mask: u8| first & mask != 0;
        let flexible = set(0x10);
        let mut descriptor = Self {
            starts_frame: set(0x08),
            ends_frame: set(0x04),
            inter_predicted: set(0x40),
            ..Self::default()
        };
        if set(0x80) {
            let high = rest.next()?;
            if high & 0x80 != 0 {
                descriptor.picture = u16::from_be_bytes([high & 0x7f, rest.next()?]);
                descriptor.picture_bits = 15;
            } else {
                descriptor.picture = u16::from(high);
                descriptor.picture_bits = 7;
            }
        }
        if set(0x20) {
            let layer = rest.next()?;
            descriptor.temporal = layer >> 5;
            descriptor.switching_up = layer & 0x10 != 0;
            descriptor.spatial = layer >> 1 & 0x07;
            if !flexible {
                descriptor.tl0 = Some((payload.len() - rest.len(), rest.next()?));
            }
        }
        if flexible && descriptor.inter_predicted {
            // One to three P_DIFF, of which the last has N unset.
            let mut more = 3;
            while rest.next()? & 1 != 0 {
                more -= 1;
                if more == 0 {
                    return None;
                }
            }
        }
        if set(0x02) {
            descriptor.sizes = structure(&mut rest)?;
        }
        descriptor.len = payload.len() - rest.len();
        Some(descriptor)
    }

    /// Whether a decoder can begin with this piece.
    pub fn starts_key_frame(&self) -> bool {
        self.starts_frame && !self.inter_predicted && self.spatial == 0
    }
}

/// The sizes in a scalability structure, which is passed over.
#[expect(clippy::option_option, reason = "cut, or there are none")]
fn structure(rest: &mut impl Iterator<Item = u8>) -> Option<Option<[(u16, u16); MAX_SPATIAL]>> {
    let header = rest.next()?;
    let mut sizes = None;
    if header & 0x10 != 0 {
        let mut table = [(0, 0); MAX_SPATIAL];
        for spatial in 0..=usize::from(header >> 5) {
            let width = u16::from_be_bytes([rest.next()?, rest.next()?]);
            let height = u16::from_be_bytes([rest.next()?, rest.next()?]);
            if let Some(size) = table.get_mut(spatial) {
                *size = (width, height);
            }
        }
        sizes = Some(table);
    }
    if header & 0x08 != 0 {
        for _ in 0..rest.next()? {
            let references = rest.next()? >> 2 & 0x03;
            for _ in 0..references {
                rest.next()?;
            }
        }
    }
    Some(sizes)
}

/// Writes other numbers into a payload whose descriptor has them with as many bits. Returns whether it had room.
pub fn rewrite(payload: &mut [u8], picture: u16, picture_bits: u8, tl0: Option<u8>) -> Option<()> {
    // The number stands behind the flags; TL0PICIDX behind the layer, which follows it.
    let mut offset = 1;
    let [high, low] = picture.to_be_bytes();
    match picture_bits {
        15 => {
            *payload.get_mut(offset)? = high | 0x80;
            *payload.get_mut(offset + 1)? = low;
            offset += 2;
        }
        7 => {
            *payload.get_mut(offset)? = low & 0x7f;
            offset += 1;
        }
        _ => {}
    }
    if let Some(tl0) = tl0 {
        *payload.get_mut(offset + 1)? = tl0;
    }
    Some(())
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_modes_are_read() {
        let flexible = Vp9Descriptor::parse(&[0xfd, 0x92, 0x34, 0x52, 0x03, 0x04, 0xaa]).unwrap();
        let expected = Vp9Descriptor {
            starts_frame: true,
            ends_frame: true,
            inter_predicted: true,
            picture: 0x1234,
            picture_bits: 15,
            temporal: 2,
            switching_up: true,
            spatial: 1,
            tl0: None,
            sizes: None,
            len: 6,
        };
        assert_eq!(flexible, expected);
        let other = Vp9Descriptor::parse(&[0xa8, 0x05, 0x00, 0x09]).unwrap();
        assert_eq!((other.picture, other.picture_bits), (5, 7));
        assert_eq!(other.tl0, Some((3, 9)));
        assert!(other.starts_key_frame() && other.len == 4);
    }

    #[test]
    fn the_structure_tells_sizes_and_is_passed_over() {
        let mut payload = vec![0x0a, 0x38];
        payload.extend([1, 64, 0, 180, 2, 128, 1, 104]);
        payload.extend([2, 0x04, 7, 0x08, 7, 7]);
        payload.push(0xaa);
        let descriptor = Vp9Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.sizes, Some([(320, 180), (640, 360), (0, 0), (0, 0)]));
        assert_eq!(descriptor.len, payload.len() - 1);
        for len in 0..payload.len() - 1 {
            assert_eq!(Vp9Descriptor::parse(&payload[..len]), None, "{len}");
        }
    }

    #[test]
    fn four_references_are_refused() {
        assert_eq!(Vp9Descriptor::parse(&[0x50, 1, 1, 1, 0]), None);
    }

    proptest! {
        #[test]
        fn rewriting_changes_the_numbers_and_no_more(
            bytes in proptest::collection::vec(any::<u8>(), 0..40), picture: u16, tl0: u8,
        ) {
            let Some(before) = Vp9Descriptor::parse(&bytes) else { return Ok(()) };
            let picture = match before.picture_bits { 15 => picture & 0x7fff, 7 => picture & 0x7f, _ => 0 };
            let new = before.tl0.map(|_| tl0);
            let mut after = bytes.clone();
            prop_assert!(rewrite(&mut after, picture, before.picture_bits, new).is_some());
            let expected = Vp9Descriptor { picture, tl0: before.tl0.map(|(at, _)| (at, tl0)), ..before };
            prop_assert_eq!(Vp9Descriptor::parse(&after), Some(expected));
            prop_assert_eq!(&after[before.len..], &bytes[before.len..]);
        }
    }
}
