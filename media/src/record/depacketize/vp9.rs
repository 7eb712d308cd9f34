//! VP9 (RFC 9628). The spatial layers of one timestamp become one superframe (VP9 bitstream specification, Annex B).
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::Bytes;

use super::bits::Bits;
use super::{CodedFrame, PayloadError, append, take, take_byte};

/// The most frames that a superframe's index can count.
const MAX_LAYERS: usize = 8;

/// The frames of one timestamp.
#[derive(Debug, Default)]
pub struct Vp9 {
    frame: Vec<u8>,
    /// Where each layer's frame starts.
    starts: Vec<usize>,
    /// Whether the last layer's frame lacks its end.
    open: bool,
    /// The largest layer that a scalability structure told of.
    structure: Option<(u32, u32)>,
    /// Whether the first layer's frame refers to one before.
    predicted: bool,
    /// Frames are encrypted: only descriptors can be read.
    opaque: bool,
}

/// What the payload descriptor tells.
struct Descriptor {
    starts_frame: bool,
    ends_frame: bool,
    inter_predicted: bool,
    structure: Option<(u32, u32)>,
}

impl Vp9 {
    /// For frames that cannot be read.
    pub(super) fn opaque() -> Self {
        Self {
            opaque: true,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), PayloadError> {
        let mut rest = payload;
        let descriptor = descriptor(&mut rest)?;
        if rest.is_empty() {
            return Err(PayloadError::Truncated);
        }
        if self.open == descriptor.starts_frame {
            return Err(PayloadError::Incomplete);
        }
        if descriptor.starts_frame {
            if self.starts.len() == MAX_LAYERS {
                return Err(PayloadError::Invalid("count of VP9 layers"));
            }
            if self.starts.is_empty() {
                self.predicted = descriptor.inter_predicted;
            }
            self.starts.push(self.frame.len());
        }
        self.open = !descriptor.ends_frame;
        self.structure = descriptor.structure.or(self.structure);
        append(&mut self.frame, rest)
    }

    pub(super) fn finish(&mut self) -> Result<Option<CodedFrame>, PayloadError> {
        if self.frame.is_empty() {
            return Ok(None);
        }
        if self.open {
            return Err(PayloadError::Incomplete);
        }
        let (key, dimensions) = if self.opaque {
            (!self.predicted, self.structure)
        } else {
            let header = frame_header(&self.frame)?;
            (header.is_some(), header.map(|coded| self.structure.unwrap_or(coded)))
        };
        self.append_superframe_index()?;
        let data = Bytes::from(std::mem::take(&mut self.frame));
        Ok(Some(CodedFrame {
            data,
            key,
            dimensions,
            codec_private: None,
            samples: 0,
        }))
    }

    pub(super) fn reset(&mut self) {
        self.frame.clear();
        self.starts.clear();
        self.open = false;
        self.structure = None;
        self.predicted = false;
    }

    /// Annex B.2: marker, sizes of four bytes each, marker; one frame alone has no index.
    fn append_superframe_index(&mut self) -> Result<(), PayloadError> {
        if self.starts.len() < 2 {
            return Ok(());
        }
        let ends = self.starts.iter().skip(1).copied().chain([self.frame.len()]);
        let sizes: Vec<u32> = self
            .starts
            .iter()
            .zip(ends)
            .map(|(start, end)| u32::try_from(end - start).map_err(|_| PayloadError::TooLarge))
            .collect::<Result<_, _>>()?;
        let count = u8::try_from(sizes.len() - 1).map_err(|_| PayloadError::Invalid("count of VP9 layers"))?;
        let marker = 0b1100_0000 | 3 << 3 | count;
        append(&mut self.frame, &[marker])?;
        for size in sizes {
            append(&mut self.frame, &size.to_le_bytes())?;
        }
        append(&mut self.frame, &[marker])
    }
}

/// Reads the payload descriptor (RFC 9628 §4.2).
fn descriptor(rest: &mut &[u8]) -> Result<Descriptor, PayloadError> {
    let first = take_byte(rest)?;
    let set = |mask: u8| first & mask != 0;
    let (flexible, inter_predicted) = (set(0x10), set(0x40));
    if set(0x80) && take_byte(rest)? & 0x80 != 0 {
        take_byte(rest)?; // the low half of a picture ID of 15 bits
    }
    if set(0x20) {
        take_byte(rest)?; // TID, U, SID, D
        if !flexible {
            take_byte(rest)?; // TL0PICIDX
        }
    }
    if flexible && inter_predicted {
        reference_indices(rest)?;
    }
    let structure = if set(0x02) { scalability_structure(rest)? } else { None };
    Ok(Descriptor {
        starts_frame: set(0x08),
        ends_frame: set(0x04),
        inter_predicted,
        structure,
    })
}

/// One to three P_DIFF bytes, of which the last has N unset.
fn reference_indices(rest: &mut &[u8]) -> Result<(), PayloadError> {
    for _ in 0..3 {
        if take_byte(rest)? & 1 == 0 {
            return Ok(());
        }
    }
    Err(PayloadError::Invalid("count of VP9 references"))
}

/// Reads the scalability structure (RFC 9628 §4.2.1); gives the largest layer's dimensions when it has any.
fn scalability_structure(rest: &mut &[u8]) -> Result<Option<(u32, u32)>, PayloadError> {
    let header = take_byte(rest)?;
    let mut largest = None;
    if header & 0x10 != 0 {
        for _ in 0..=header >> 5 {
            if let [w0, w1, h0, h1] = take(rest, 4)? {
                let layer = (
                    u32::from(u16::from_be_bytes([*w0, *w1])),
                    u32::from(u16::from_be_bytes([*h0, *h1])),
                );
                if layer.0 > 0 && layer.1 > 0 {
                    largest = largest.max(Some(layer));
                }
            }
        }
    }
    if header & 0x08 != 0 {
        for _ in 0..take_byte(rest)? {
            let picture = take_byte(rest)?;
            take(rest, usize::from(picture >> 2 & 3))?;
        }
    }
    Ok(largest)
}

/// Reads the uncompressed header (VP9 bitstream specification §6.2); gives a key frame's dimensions and `None` for other frames.
fn frame_header(frame: &[u8]) -> Result<Option<(u32, u32)>, PayloadError> {
    let mut bits = Bits::new(frame);
    if bits.number(2)? != 2 {
        return Err(PayloadError::Invalid("VP9 frame marker"));
    }
    let profile = bits.number(1)? | bits.number(1)? << 1;
    if profile == 3 && bits.bit()? {
        return Err(PayloadError::Invalid("VP9 profile"));
    }
    let show_existing_frame = bits.bit()?;
    if show_existing_frame {
        return Ok(None);
    }
    let inter_frame = bits.bit()?;
    bits.skip(2)?; // show_frame, error_resilient_mode
    if inter_frame {
        return Ok(None);
    }
    if bits.number(24)? != 0x49_83_42 {
        return Err(PayloadError::Invalid("VP9 sync code"));
    }
    skip_color_config(&mut bits, profile)?;
    Ok(Some((bits.number(16)? + 1, bits.number(16)? + 1)))
}

/// color_config() of §6.2.2.
fn skip_color_config(bits: &mut Bits<'_>, profile: u32) -> Result<(), PayloadError> {
    const CS_RGB: u32 = 7;
    if profile >= 2 {
        bits.skip(1)?; // ten_or_twelve_bit
    }
    let rgb = bits.number(3)? == CS_RGB;
    if !rgb {
        bits.skip(1)?; // color_range
    }
    match (profile & 1 == 1, rgb) {
        (true, false) => bits.skip(3), // subsampling_x, subsampling_y, reserved
        (true, true) => bits.skip(1),  // reserved
        (false, true) => Err(PayloadError::Invalid("VP9 color space")),
        (false, false) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::vp9;
    use super::*;

    /// Profile 0, shown key frame of 320 × 180.
    fn key_frame() -> Vec<u8> {
        // marker 10, profile 00, existing 0, type 0, show 1, error 0 | sync | space 010 range 0 | 319 | 179
        let bits = format!("10000010{:024b}0100{:016b}{:016b}0000", 0x49_83_42, 319, 179);
        let bytes: Vec<char> = bits.chars().collect();
        bytes
            .chunks(8)
            .map(|b| b.iter().fold(0, |v, c| v << 1 | u8::from(*c == '1')))
            .collect()
    }

    const INTER: [u8; 4] = [0b1000_0110, 1, 2, 3];

    fn with(descriptor: &[u8], body: &[u8]) -> Vec<u8> {
        [descriptor, body].concat()
    }

    #[test]
    fn every_descriptor_form_is_skipped() {
        let table: &[&[u8]] = &[
            &[0x0c],                                           // B and E alone
            &[0x8c, 0x11],                                     // 7-bit picture ID
            &[0x8c, 0x92, 0x34],                               // 15-bit picture ID
            &[0x2c, 0x10, 0x07],                               // layer indices, TL0PICIDX
            &[0x3c, 0x10],                                     // layer indices, flexible mode
            &[0x5c, 0x02],                                     // one reference
            &[0x5c, 0x03, 0x05, 0x06],                         // three references
            &[0x0e, 0x00],                                     // structure with nothing
            &[0x0e, 0x08, 0x02, 0x00, 0x14, 0x01],             // a group of two pictures
            &[0x8e, 0x92, 0x34, 0x10, 0x01, 0x40, 0x00, 0xb4], // one layer's size
        ];
        for descriptor in table {
            let payload = with(descriptor, &key_frame());
            let frame = vp9([payload.as_slice()]).unwrap().unwrap();
            assert_eq!(frame.data, key_frame(), "{descriptor:02x?}");
            assert_eq!((frame.key, frame.dimensions), (true, Some((320, 180))));
        }
    }

    #[test]
    fn spatial_layers_become_a_superframe_of_the_largest_layers_size() {
        let structure = [0x2e, 0x10, 0x07, 0x30, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68];
        let base = with(&structure[..], &key_frame());
        let (base_length, upper) = (key_frame().len(), with(&[0x24, 0x12, 0x07], &[9, 9]));
        let start = with(&[0x28, 0x12, 0x07], &INTER);
        let frame = vp9([base.as_slice(), start.as_slice(), upper.as_slice()])
            .unwrap()
            .unwrap();
        assert_eq!((frame.key, frame.dimensions), (true, Some((640, 360))));
        let index: [u8; 10] = [0xd9, u8::try_from(base_length).unwrap(), 0, 0, 0, 6, 0, 0, 0, 0xd9];
        assert_eq!(frame.data, [&key_frame()[..], &INTER, &[9, 9], &index].concat());
    }

    #[test]
    fn other_frames_are_no_key_frames() {
        let existing = [0b1000_1000u8, 0];
        for body in [&INTER[..], &existing] {
            let payload = with(&[0x4c], body);
            assert!(!vp9([payload.as_slice()]).unwrap().unwrap().key);
        }
    }

    #[test]
    fn what_is_no_whole_frame_is_refused() {
        let table: &[(&[&[u8]], PayloadError)] = &[
            (&[&[]], PayloadError::Truncated),
            (&[&[0x0c]], PayloadError::Truncated),
            (&[&[0x8c]], PayloadError::Truncated),
            (&[&[0x2c, 0x10]], PayloadError::Truncated),
            (&[&[0x0e, 0xf8, 0, 0]], PayloadError::Truncated),
            (&[&[0x0e, 0x08, 0xff, 0x0c, 1, 2]], PayloadError::Truncated),
            (&[&[0x5c, 3, 3, 3, 1]], PayloadError::Invalid("count of VP9 references")),
            (&[&[0x08, 0x86, 1, 2]], PayloadError::Incomplete),
            (&[&[0x04, 0x86, 1, 2]], PayloadError::Incomplete),
            (&[&[0x0c, 0x00]], PayloadError::Invalid("VP9 frame marker")),
            (&[&[0x0c, 0x82, 0, 0, 0, 0]], PayloadError::Invalid("VP9 sync code")),
            (
                &[&[0x0c, 0x82, 0x49, 0x83, 0x42, 0xe0, 0, 0, 0, 0]],
                PayloadError::Invalid("VP9 color space"),
            ),
        ];
        for (payloads, error) in table {
            assert_eq!(vp9(payloads.iter().copied()), Err(*error), "{payloads:02x?}");
        }
        let layer = with(&[0x0c], &INTER);
        assert_eq!(
            vp9([layer.as_slice(); 9]),
            Err(PayloadError::Invalid("count of VP9 layers"))
        );
    }
}
