//! AV1 (AOMedia's RTP payload format for AV1, v1.0). The temporal unit comes out as Matroska's AV1 mapping wants it: each OBU
//! with its size, temporal delimiters left out.
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::{BufMut, Bytes, BytesMut};

use super::bits::Bits;
use super::{CodedFrame, MAX_FRAME_BYTES, PayloadError, append, take, take_byte};

mod sequence;

pub use sequence::SequenceHeader;

/// OBU types (AV1 bitstream specification §6.2.2).
mod obu {
    pub(super) const SEQUENCE_HEADER: u8 = 1;
    pub(super) const TEMPORAL_DELIMITER: u8 = 2;
    pub(super) const FRAME_HEADER: u8 = 3;
    pub(super) const FRAME: u8 = 6;
    pub(super) const TILE_LIST: u8 = 8;
    pub(super) const PADDING: u8 = 15;
}

/// The longest sequence header that is kept, in bytes; usual ones take a dozen.
const MAX_SEQUENCE_HEADER: usize = 1024;

/// The temporal unit of one timestamp.
#[derive(Debug, Default)]
pub struct Av1 {
    unit: Vec<u8>,
    /// An OBU whose end is in the next packet.
    fragment: Option<Vec<u8>>,
    /// The unit's sequence header, and its OBU with size.
    sequence: Option<(SequenceHeader, Bytes)>,
    /// Whether the unit's first frame is a shown key frame, once one came.
    first_frame_is_key: Option<bool>,
}

impl Av1 {
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), PayloadError> {
        let mut rest = payload;
        // §4.4, aggregation header: Z Y W W N - - -
        let header = take_byte(&mut rest)?;
        let (continues, continued) = (header & 0x80 != 0, header & 0x40 != 0);
        let count = header >> 4 & 3;
        if rest.is_empty() {
            return Err(PayloadError::Truncated);
        }
        if continues != self.fragment.is_some() {
            return Err(PayloadError::Incomplete);
        }
        if continues && header & 0x08 != 0 {
            return Err(PayloadError::Invalid("AV1 aggregation header"));
        }
        if count == 0 {
            // Every element has its length.
            while !rest.is_empty() {
                let element = sized_element(&mut rest)?;
                self.element(element, continued && rest.is_empty())?;
            }
            return Ok(());
        }
        for _ in 1..count {
            let element = sized_element(&mut rest)?;
            self.element(element, false)?;
        }
        if rest.is_empty() {
            Err(PayloadError::Truncated)
        } else {
            self.element(rest, continued)
        }
    }

    pub(super) fn finish(&mut self) -> Result<Option<CodedFrame>, PayloadError> {
        if self.fragment.is_some() {
            return Err(PayloadError::Incomplete);
        }
        if self.first_frame_is_key.is_none() {
            return Ok(None);
        }
        let start = self.sequence.take().filter(|_| self.first_frame_is_key == Some(true));
        let data = Bytes::from(std::mem::take(&mut self.unit));
        Ok(Some(CodedFrame {
            data,
            key: start.is_some(),
            dimensions: start.as_ref().map(|(sequence, _)| (sequence.width, sequence.height)),
            codec_private: start.map(|(sequence, obu)| av1c(&sequence, &obu)),
            samples: 0,
        }))
    }

    pub(super) fn reset(&mut self) {
        self.unit.clear();
        self.fragment = None;
        self.sequence = None;
        self.first_frame_is_key = None;
    }

    /// Takes an OBU element, which is a whole OBU, or its start, midst or end.
    fn element(&mut self, element: &[u8], ends_later: bool) -> Result<(), PayloadError> {
        match (self.fragment.take(), ends_later) {
            (None, false) => self.obu(element),
            (fragment, _) => {
                let mut whole = fragment.unwrap_or_default();
                if self.unit.len() + whole.len() + element.len() > MAX_FRAME_BYTES {
                    return Err(PayloadError::TooLarge);
                }
                whole.extend_from_slice(element);
                if ends_later {
                    self.fragment = Some(whole);
                    return Ok(());
                }
                self.obu(&whole)
            }
        }
    }

    /// Adds a whole OBU (AV1 bitstream specification §5.3), with or without its size field.
    fn obu(&mut self, mut rest: &[u8]) -> Result<(), PayloadError> {
        let header = take_byte(&mut rest)?;
        if header & 0x80 != 0 {
            return Err(PayloadError::Invalid("AV1 OBU header"));
        }
        let extension = if header & 0x04 != 0 {
            Some(take_byte(&mut rest)?)
        } else {
            None
        };
        if header & 0x02 != 0 {
            let size = leb128(&mut rest)?;
            rest = take(&mut rest, size)?;
        }
        let kind = header >> 3 & 0x0f;
        if matches!(kind, obu::TEMPORAL_DELIMITER | obu::TILE_LIST | obu::PADDING) {
            return Ok(());
        }
        let start = self.unit.len();
        append(&mut self.unit, &[header | 0x02])?;
        if let Some(extension) = extension {
            append(&mut self.unit, &[extension])?;
        }
        append_leb128(&mut self.unit, rest.len())?;
        append(&mut self.unit, rest)?;
        self.note(kind, rest, start)
    }

    /// Looks at an OBU's body, which lies in the unit from `start` on.
    fn note(&mut self, kind: u8, body: &[u8], start: usize) -> Result<(), PayloadError> {
        match kind {
            obu::SEQUENCE_HEADER if body.len() > MAX_SEQUENCE_HEADER => return Err(PayloadError::TooLarge),
            obu::SEQUENCE_HEADER => {
                let whole = self.unit.get(start..).unwrap_or_default();
                self.sequence = Some((SequenceHeader::parse(body)?, Bytes::copy_from_slice(whole)));
            }
            obu::FRAME | obu::FRAME_HEADER if self.first_frame_is_key.is_none() => {
                self.first_frame_is_key = Some(self.is_key_frame(body)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// The start of uncompressed_header() (AV1 bitstream specification §5.9.2): a shown KEY_FRAME.
    fn is_key_frame(&self, body: &[u8]) -> Result<bool, PayloadError> {
        if self
            .sequence
            .as_ref()
            .is_some_and(|(sequence, _)| sequence.reduced_still_picture)
        {
            return Ok(true);
        }
        let mut bits = Bits::new(body);
        let show_existing_frame = bits.bit()?;
        let frame_type = if show_existing_frame { 1 } else { bits.number(2)? };
        Ok(frame_type == 0 && bits.bit()?)
    }
}

/// An OBU element behind its length.
fn sized_element<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], PayloadError> {
    match leb128(rest)? {
        0 => Err(PayloadError::Invalid("empty AV1 OBU element")),
        length => take(rest, length),
    }
}

/// leb128() of §4.10.5: at most 8 bytes and 32 bits.
fn leb128(rest: &mut &[u8]) -> Result<usize, PayloadError> {
    let mut value = 0u64;
    for index in 0..8 {
        let byte = take_byte(rest)?;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return u32::try_from(value)
                .ok()
                .and_then(|v| usize::try_from(v).ok())
                .ok_or(PayloadError::Invalid("leb128 number"));
        }
    }
    Err(PayloadError::Invalid("leb128 number"))
}

fn append_leb128(unit: &mut Vec<u8>, mut value: usize) -> Result<(), PayloadError> {
    loop {
        let low = value.to_le_bytes().first().map_or(0, |b| b & 0x7f);
        value >>= 7;
        append(unit, &[if value == 0 { low } else { low | 0x80 }])?;
        if value == 0 {
            return Ok(());
        }
    }
}

/// AV1CodecConfigurationRecord (AV1 in ISOBMFF §2.3.3), which is Matroska's CodecPrivate.
fn av1c(sequence: &SequenceHeader, obu: &[u8]) -> Bytes {
    let flag = |set: bool, bit: u8| if set { 1 << bit } else { 0 };
    let mut record = BytesMut::with_capacity(4 + obu.len());
    record.put_u8(0x81);
    record.put_u8(sequence.profile << 5 | sequence.level);
    record.put_u8(
        flag(sequence.high_tier, 7)
            | flag(sequence.high_bitdepth, 6)
            | flag(sequence.twelve_bit, 5)
            | flag(sequence.monochrome, 4)
            | flag(sequence.subsampling_x, 3)
            | flag(sequence.subsampling_y, 2)
            | sequence.chroma_sample_position,
    );
    record.put_u8(0);
    record.put_slice(obu);
    record.freeze()
}

#[cfg(test)]
mod tests;
