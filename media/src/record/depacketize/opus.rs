//! Opus (RFC 7587): the payload is one Opus packet (RFC 6716 §3), which is checked as far as its framing goes.
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::{BufMut, Bytes, BytesMut};

use super::{CodedFrame, PayloadError, append, take, take_byte};

/// The longest packet, 120 ms, in samples at 48 kHz (RFC 6716 §3.2, R5).
const MAX_SAMPLES: u32 = 5760;
/// The longest frame within a packet, in bytes (RFC 6716 §3.2, R2).
const MAX_FRAME: usize = 1275;

/// The packet of one timestamp.
#[derive(Debug, Default)]
pub struct Opus {
    packet: Vec<u8>,
    samples: u32,
    /// Packets are encrypted.
    opaque: bool,
}

/// What a packet that cannot be read is taken to last: 20 ms, as browsers send them.
const USUAL_SAMPLES: u32 = 960;

impl Opus {
    /// For packets that cannot be read.
    pub(super) fn opaque() -> Self {
        Self {
            opaque: true,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), PayloadError> {
        if payload.is_empty() {
            return Ok(());
        }
        // RFC 7587 §4.2: exactly one Opus packet a payload, and each with a timestamp of its own.
        if !self.packet.is_empty() {
            return Err(PayloadError::Invalid("second Opus packet of one timestamp"));
        }
        self.samples = if self.opaque { USUAL_SAMPLES } else { samples(payload)? };
        append(&mut self.packet, payload)
    }

    pub(super) fn finish(&mut self) -> Result<Option<CodedFrame>, PayloadError> {
        if self.packet.is_empty() {
            return Ok(None);
        }
        let data = Bytes::from(std::mem::take(&mut self.packet));
        Ok(Some(CodedFrame {
            data,
            key: true,
            dimensions: None,
            codec_private: None,
            samples: self.samples,
        }))
    }

    pub(super) fn reset(&mut self) {
        self.packet.clear();
        self.samples = 0;
    }
}

/// The samples at 48 kHz that a packet lasts (RFC 6716 §3.1), its framing checked by §3.2's and §3.4's rules.
fn samples(packet: &[u8]) -> Result<u32, PayloadError> {
    let mut rest = packet;
    let toc = take_byte(&mut rest)?;
    let frames = match toc & 3 {
        0 => check_frame(rest.len(), 1)?,
        1 if rest.len().is_multiple_of(2) => check_frame(rest.len() / 2, 2)?,
        1 => return Err(PayloadError::Invalid("odd length of two equal Opus frames")),
        2 => {
            let first = frame_length(&mut rest)?;
            take(&mut rest, first)?;
            check_frame(rest.len(), 2)?
        }
        _ => many_frames(rest)?,
    };
    let total = frames * frame_samples(toc >> 3);
    if total > MAX_SAMPLES {
        return Err(PayloadError::Invalid("duration of an Opus packet"));
    }
    Ok(total)
}

/// Passes `count` on if a frame may be that long.
fn check_frame(length: usize, count: u32) -> Result<u32, PayloadError> {
    if length > MAX_FRAME {
        Err(PayloadError::Invalid("length of an Opus frame"))
    } else {
        Ok(count)
    }
}

/// The number of frames of a code 3 packet (RFC 6716 §3.2.5).
fn many_frames(mut rest: &[u8]) -> Result<u32, PayloadError> {
    let header = take_byte(&mut rest)?;
    let count = usize::from(header & 0x3f);
    if count == 0 {
        return Err(PayloadError::Invalid("count of Opus frames"));
    }
    if header & 0x40 != 0 {
        let mut padding = 0;
        loop {
            match take_byte(&mut rest)? {
                255 => padding += 254,
                last => break padding += usize::from(last),
            }
        }
        let kept = rest.len().checked_sub(padding).ok_or(PayloadError::Truncated)?;
        rest = take(&mut rest, kept)?;
    }
    if header & 0x80 != 0 {
        let mut lengths = 0;
        for _ in 1..count {
            lengths += frame_length(&mut rest)?;
        }
        let last = rest.len().checked_sub(lengths).ok_or(PayloadError::Truncated)?;
        check_frame(last, 0)?;
    } else if !rest.len().is_multiple_of(count) {
        return Err(PayloadError::Invalid("length of equal Opus frames"));
    } else {
        check_frame(rest.len() / count, 0)?;
    }
    Ok(u32::from(header & 0x3f))
}

/// A frame length of one or two bytes (RFC 6716 §3.2.1).
fn frame_length(rest: &mut &[u8]) -> Result<usize, PayloadError> {
    let first = usize::from(take_byte(rest)?);
    if first < 252 {
        return Ok(first);
    }
    Ok(usize::from(take_byte(rest)?) * 4 + first)
}

/// Samples at 48 kHz of one frame of a TOC configuration, 0–31 (RFC 6716 Table 2).
fn frame_samples(config: u8) -> u32 {
    match config {
        // SILK: 10, 20, 40, 60 ms.
        0..=11 => match config & 3 {
            0 => 480,
            1 => 960,
            2 => 1920,
            _ => 2880,
        },
        // Hybrid: 10, 20 ms.
        12..=15 => 480 << (config & 1),
        // CELT: 2.5, 5, 10, 20 ms.
        _ => 120 << (config & 3),
    }
}

/// OpusHead (RFC 7845 §5.1), which is Matroska's CodecPrivate. No pre-skip: recording starts in the midst of a stream.
pub fn codec_private(channels: u8) -> Bytes {
    let mut head = BytesMut::with_capacity(19);
    head.put_slice(b"OpusHead");
    head.put_u8(1);
    head.put_u8(channels);
    head.put_u16_le(0);
    head.put_u32_le(48_000);
    head.put_i16_le(0);
    head.put_u8(0);
    head.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_last_as_long_as_their_table_of_contents_says() {
        let table: &[(&[u8], u32)] = &[
            (&[0x00], 480),                       // SILK 10 ms, an empty (DTX) frame
            (&[0x08, 1, 2], 960),                 // SILK 20 ms
            (&[0x18, 1], 2880),                   // SILK 60 ms
            (&[0x78, 1], 960),                    // hybrid 20 ms
            (&[0x80, 1], 120),                    // CELT 2.5 ms
            (&[0xfc, 0xff, 0xfe], 960),           // CELT 20 ms stereo: Chromium's silence
            (&[0xf9, 1, 2], 1920),                // two equal frames
            (&[0xfa, 1, 9, 8, 7], 1920),          // two frames, lengths 1 and 2
            (&[0xfb, 0x03, 1, 2, 3], 2880),       // three equal frames
            (&[0xfb, 0x83, 1, 1, 1, 2, 3], 2880), // three frames of length 1
            (&[0xfb, 0x41, 2, 7, 0, 0], 960),     // one frame and two bytes of padding
            (&[0x1b, 0x02, 1, 2], 5760),          // 2 × 60 ms: the longest
        ];
        for (packet, expected) in table {
            assert_eq!(samples(packet), Ok(*expected), "{packet:02x?}");
        }
    }

    #[test]
    fn framing_that_the_rfc_forbids_is_refused() {
        let table: &[&[u8]] = &[
            &[0xf9, 1],             // two equal frames of an odd length
            &[0xfa],                // no length
            &[0xfa, 5, 1],          // first frame longer than the packet
            &[0xfa, 252],           // half a length
            &[0xfb],                // no frame count
            &[0xfb, 0x00],          // no frames
            &[0xfb, 0x03, 1, 2],    // not divisible by three
            &[0xfb, 0x41, 9, 1],    // more padding than bytes
            &[0xfb, 0x41, 255],     // padding length cut
            &[0xfb, 0x83, 1],       // lengths cut
            &[0xfb, 0x82, 9, 1],    // length beyond the end
            &[0x1b, 0x03, 1, 2, 3], // 180 ms
        ];
        for packet in table {
            assert!(samples(packet).is_err(), "{packet:02x?}");
        }
        assert!(samples(&[0; 1277]).is_err(), "a frame of 1276 bytes");
    }
}
