//! VP8 (RFC 7741).
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::Bytes;

use super::{CodedFrame, PayloadError, append, take_byte};

/// The frame of one timestamp.
#[derive(Debug, Default)]
pub struct Vp8 {
    frame: Vec<u8>,
}

impl Vp8 {
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), PayloadError> {
        let mut rest = payload;
        let starts_frame = descriptor(&mut rest)?;
        if rest.is_empty() {
            return Err(PayloadError::Truncated);
        }
        if self.frame.is_empty() != starts_frame {
            return Err(PayloadError::Incomplete);
        }
        append(&mut self.frame, rest)
    }

    pub(super) fn finish(&mut self) -> Result<Option<CodedFrame>, PayloadError> {
        if self.frame.is_empty() {
            return Ok(None);
        }
        let dimensions = frame_header(&self.frame)?;
        let data = Bytes::from(std::mem::take(&mut self.frame));
        Ok(Some(CodedFrame {
            data,
            key: dimensions.is_some(),
            dimensions,
            codec_private: None,
            samples: 0,
        }))
    }

    pub(super) fn reset(&mut self) {
        self.frame.clear();
    }
}

/// Reads the payload descriptor (RFC 7741 §4.2); tells whether the payload starts a frame: S set and partition 0.
fn descriptor(rest: &mut &[u8]) -> Result<bool, PayloadError> {
    let first = take_byte(rest)?;
    if first & 0x80 != 0 {
        let extensions = take_byte(rest)?;
        if extensions & 0x80 != 0 && take_byte(rest)? & 0x80 != 0 {
            take_byte(rest)?; // the low half of a PictureID of 15 bits
        }
        if extensions & 0x40 != 0 {
            take_byte(rest)?; // TL0PICIDX
        }
        if extensions & 0x30 != 0 {
            take_byte(rest)?; // TID, Y, KEYIDX
        }
    }
    Ok(first & 0x10 != 0 && first & 0x0f == 0)
}

/// Checks the uncompressed data chunk (RFC 6386 §9.1); gives a key frame's dimensions and `None` for other frames.
fn frame_header(frame: &[u8]) -> Result<Option<(u32, u32)>, PayloadError> {
    match frame {
        [tag, _, _, ..] if tag & 1 == 1 => Ok(None),
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] => {
            let width = u32::from(u16::from_le_bytes([*w0, *w1]) & 0x3fff);
            let height = u32::from(u16::from_le_bytes([*h0, *h1]) & 0x3fff);
            if width == 0 || height == 0 {
                return Err(PayloadError::Invalid("VP8 dimensions"));
            }
            Ok(Some((width, height)))
        }
        [_, _, _, _, _, _, _, _, _, _, ..] => Err(PayloadError::Invalid("VP8 start code")),
        _ => Err(PayloadError::Truncated),
    }
}

#[cfg(test)]
mod tests {
    use super::super::vp8;
    use super::*;

    const KEY: [u8; 11] = [0x50, 0x00, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x41, 0xaa];

    fn with(descriptor: &[u8], body: &[u8]) -> Vec<u8> {
        [descriptor, body].concat()
    }

    #[test]
    fn every_descriptor_form_is_skipped() {
        let table: &[&[u8]] = &[
            &[0x10],                               // bare
            &[0x90, 0x00],                         // X with nothing
            &[0x90, 0x80, 0x11],                   // 7-bit PictureID
            &[0x90, 0x80, 0x92, 0x34],             // 15-bit PictureID
            &[0x90, 0x40, 0x05],                   // TL0PICIDX
            &[0x90, 0x20, 0x40],                   // TID
            &[0x90, 0x10, 0x03],                   // KEYIDX
            &[0xb0, 0xf0, 0x92, 0x34, 0x05, 0x43], // all of them, non-reference
        ];
        for descriptor in table {
            let payload = with(descriptor, &KEY);
            let frame = vp8([payload.as_slice()]).unwrap().unwrap();
            assert_eq!(frame.data, KEY.as_slice(), "{descriptor:02x?}");
            assert_eq!(
                (frame.key, frame.dimensions),
                (true, Some((640, 480))),
                "scaling bits are no part of the height"
            );
        }
    }

    #[test]
    fn continuations_are_appended_and_later_partitions_are_no_new_frame() {
        let payloads = [with(&[0x10], &KEY), with(&[0x00], &[1, 2]), with(&[0x11], &[3])];
        let frame = vp8(payloads.iter().map(Vec::as_slice)).unwrap().unwrap();
        assert_eq!(frame.data, [&KEY[..], &[1, 2, 3]].concat());
    }

    #[test]
    fn an_inter_frame_is_no_key_frame() {
        let frame = vp8([&[0x10u8, 0x51, 0, 0][..]]).unwrap().unwrap();
        assert_eq!((frame.key, frame.dimensions), (false, None));
    }

    #[test]
    fn what_is_no_whole_frame_is_refused() {
        let table: &[(&[&[u8]], PayloadError)] = &[
            (&[&[]], PayloadError::Truncated),
            (&[&[0x10]], PayloadError::Truncated),
            (&[&[0x90, 0x80]], PayloadError::Truncated),
            (&[&[0x90, 0x80, 0x80]], PayloadError::Truncated),
            (&[&[0x10, 0x50, 0]], PayloadError::Truncated),
            (&[&[0x00, 1, 2, 3]], PayloadError::Incomplete),
            (&[&[0x10, 0x51, 0, 0], &[0x10, 0x51, 0, 0]], PayloadError::Incomplete),
            (
                &[&[0x10, 0x50, 0, 0, 1, 2, 3, 4, 5, 6, 7]],
                PayloadError::Invalid("VP8 start code"),
            ),
            (
                &[&[0x10, 0x50, 0, 0, 0x9d, 1, 0x2a, 0, 0, 4, 0]],
                PayloadError::Invalid("VP8 dimensions"),
            ),
        ];
        for (payloads, error) in table {
            assert_eq!(vp8(payloads.iter().copied()), Err(*error), "{payloads:02x?}");
        }
    }

    #[test]
    fn a_frame_beyond_the_bound_is_refused() {
        let mut codec = Vp8::default();
        codec.push(&with(&[0x10], &KEY)).unwrap();
        let chunk = with(&[0x00], &[0; 1 << 20]);
        assert_eq!(
            (0..3)
                .map(|_| codec.push(&chunk))
                .collect::<Result<Vec<_>, _>>()
                .map(|_| ()),
            Ok(())
        );
        assert_eq!(codec.push(&chunk), Err(PayloadError::TooLarge));
    }
}
