//! The payload descriptor of VP8 (RFC 7741 §4.2).

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

/// What stands before each piece of a VP8 frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp8Descriptor {
    /// The piece begins a frame: the start of partition 0.
    pub starts_frame: bool,
    /// The picture's number, of [`picture_bits`](Self::picture_bits) bits.
    pub picture: u16,
    /// 7 or 15; 0 when there is no number.
    pub picture_bits: u8,
    /// The running number of frames of the lowest temporal layer.
    pub tl0: Option<u8>,
    /// The temporal layer, 0–3.
    pub temporal: Option<u8>,
    /// The frame depends on none but frames of the lowest temporal layer (Y).
    pub layer_sync: bool,
    /// Bytes of the descriptor.
    pub len: usize,
}

/// Where the picture's number begins when there is one: after the flags and the extension's flags.
const PICTURE_OFFSET: usize = 2;

impl Vp8Descriptor {
    /// Reads the descriptor of a payload; `None` when it is cut.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut rest = payload.iter().copied();
        let first = rest.next()?;
        let mut descriptor = Self {
            starts_frame: first & 0x10 != 0 && first & 0x07 == 0,
            ..Self::default()
        };
        if first & 0x80 != 0 {
            let extension = rest.next()?;
            if extension & 0x80 != 0 {
                let high = rest.next()?;
                if high & 0x80 != 0 {
                    descriptor.picture = u16::from_be_bytes([high & 0x7f, rest.next()?]);
                    descriptor.picture_bits = 15;
                } else {
                    descriptor.picture = u16::from(high);
                    descriptor.picture_bits = 7;
                }
            }
            if extension & 0x40 != 0 {
                descriptor.tl0 = Some(rest.next()?);
            }
            if extension & 0x30 != 0 {
                let bits = rest.next()?;
                if extension & 0x20 != 0 {
                    descriptor.temporal = Some(bits >> 6);
                    descriptor.layer_sync = bits & 0x20 != 0;
                }
            }
        }
        descriptor.len = payload.len() - rest.len();
        Some(descriptor)
    }

    /// The size of the picture that a key frame begins with (RFC 6386 §9.1).
    pub fn key_frame_size(&self, payload: &[u8]) -> Option<(u16, u16)> {
        match payload.get(self.len..)? {
            [tag, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] if tag & 1 == 0 && self.starts_frame => Some((
                u16::from_le_bytes([*w0, *w1]) & 0x3fff,
                u16::from_le_bytes([*h0, *h1]) & 0x3fff,
            )),
            _ => None,
        }
    }
}

/// Writes other numbers into a payload whose descriptor has them with as many bits. Returns whether it had room.
pub fn rewrite(payload: &mut [u8], picture: u16, picture_bits: u8, tl0: Option<u8>) -> Option<()> {
    let mut offset = PICTURE_OFFSET;
    match picture_bits {
        15 => {
            let [high, low] = picture.to_be_bytes();
            *payload.get_mut(offset)? = high | 0x80;
            *payload.get_mut(offset + 1)? = low;
            offset += 2;
        }
        7 => {
            *payload.get_mut(offset)? = picture.to_be_bytes()[1] & 0x7f;
            offset += 1;
        }
        _ => {}
    }
    if let Some(tl0) = tl0 {
        *payload.get_mut(offset)? = tl0;
    }
    Some(())
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read() {
        let with = |bytes: &[u8]| Vp8Descriptor::parse(bytes).unwrap();
        let bare = with(&[0x10, 0xaa]);
        assert_eq!((bare.starts_frame, bare.picture_bits, bare.len), (true, 0, 1));
        assert!(!with(&[0x11]).starts_frame && !with(&[0x00]).starts_frame);
        let all = with(&[0xb0, 0xf0, 0x92, 0x34, 0x05, 0x63, 0xaa]);
        let expected = Vp8Descriptor {
            starts_frame: true,
            picture: 0x1234,
            picture_bits: 15,
            tl0: Some(5),
            temporal: Some(1),
            layer_sync: true,
            len: 6,
        };
        assert_eq!(all, expected);
        let short = with(&[0x90, 0x80, 0x7f]);
        assert_eq!((short.picture, short.picture_bits), (0x7f, 7));
        let index = with(&[0x90, 0x10, 0xff]);
        assert_eq!((index.temporal, index.layer_sync, index.len), (None, false, 3));
    }

    #[test]
    fn a_key_frame_tells_its_size() {
        let payload = [0x10, 0x50, 0, 0, 0x9d, 1, 0x2a, 0x80, 0x02, 0xe0, 0x41];
        let descriptor = Vp8Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.key_frame_size(&payload), Some((640, 480)));
        assert_eq!(descriptor.key_frame_size(&payload[..10]), None);
    }

    proptest! {
        /// What is written is read again, and nothing else changes.
        #[test]
        fn rewriting_changes_the_numbers_and_no_more(
            bytes in proptest::collection::vec(any::<u8>(), 0..24), picture: u16, tl0: u8,
        ) {
            let Some(before) = Vp8Descriptor::parse(&bytes) else { return Ok(()) };
            let picture = match before.picture_bits { 15 => picture & 0x7fff, 7 => picture & 0x7f, _ => 0 };
            let tl0 = before.tl0.map(|_| tl0);
            let mut after = bytes.clone();
            prop_assert!(rewrite(&mut after, picture, before.picture_bits, tl0).is_some());
            let expected = Vp8Descriptor { picture, tl0, ..before };
            prop_assert_eq!(Vp8Descriptor::parse(&after), Some(expected));
            prop_assert_eq!(&after[before.len..], &bytes[before.len..]);
        }
    }
}
