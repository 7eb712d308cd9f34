//! H.264 (RFC 6184, packetization modes 0 and 1): single NAL units, STAP-A and FU-A. The access unit comes out in AVC form,
//! each NAL unit behind its length of four bytes, with parameter sets left in, so that they may change midway.
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::Bytes;

use super::{CodedFrame, PayloadError, append, take, take_byte};

mod parameter_sets;
mod sps;

use parameter_sets::ParameterSets;
pub use sps::Sps;

/// NAL unit types (ITU-T H.264 Table 7-1) and packet types (RFC 6184 Table 1).
mod nal {
    pub(super) const SLICE: u8 = 1;
    pub(super) const PARTITION_A: u8 = 2;
    pub(super) const IDR: u8 = 5;
    pub(super) const SPS: u8 = 7;
    pub(super) const PPS: u8 = 8;
    pub(super) const DELIMITER: u8 = 9;
    pub(super) const FILLER: u8 = 12;
    pub(super) const STAP_A: u8 = 24;
    pub(super) const FU_A: u8 = 28;
}

/// The access unit of one timestamp, and the parameter sets seen so far.
#[derive(Debug, Default)]
pub struct H264 {
    frame: Vec<u8>,
    /// Where the length of the NAL unit that is being put together from fragments lies, and its type.
    fragment: Option<(usize, u8)>,
    sets: ParameterSets,
    has_slice: bool,
    has_idr: bool,
    has_sets: bool,
}

impl H264 {
    /// With the parameter sets of `sprop-parameter-sets` (RFC 6184 §8.1), if `fmtp` has any.
    pub fn with_fmtp(fmtp: &str) -> Self {
        Self {
            sets: ParameterSets::from_fmtp(fmtp),
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), PayloadError> {
        let mut rest = payload;
        let header = take_byte(&mut rest)?;
        if header & 0x80 != 0 {
            return Err(PayloadError::Invalid("forbidden_zero_bit"));
        }
        let kind = header & 0x1f;
        if self.fragment.is_some() && kind != nal::FU_A {
            return Err(PayloadError::Incomplete);
        }
        match kind {
            1..=23 => self.unit(payload),
            nal::STAP_A => self.aggregate(rest),
            nal::FU_A => self.fragment(header, rest),
            other => Err(PayloadError::Unsupported(other)),
        }
    }

    pub(super) fn finish(&mut self) -> Result<Option<CodedFrame>, PayloadError> {
        if self.fragment.is_some() {
            return Err(PayloadError::Incomplete);
        }
        if !self.has_slice {
            // Parameter sets alone: they are kept for the next access unit.
            return Ok(None);
        }
        let codec_private = if self.has_idr { self.sets.avcc() } else { None };
        let key = codec_private.is_some();
        let dimensions = self.sets.dimensions().filter(|_| key);
        if key && !self.has_sets {
            // They came before this access unit, perhaps changed since the file's avcC was written.
            let mut whole = self.sets.in_band();
            append(&mut whole, &self.frame)?;
            self.frame = whole;
        }
        let data = Bytes::from(std::mem::take(&mut self.frame));
        Ok(Some(CodedFrame {
            data,
            key,
            dimensions,
            codec_private,
            samples: 0,
        }))
    }

    pub(super) fn reset(&mut self) {
        self.frame.clear();
        self.fragment = None;
        self.has_slice = false;
        self.has_idr = false;
        self.has_sets = false;
    }

    /// STAP-A (RFC 6184 §5.7.1): NAL units behind 16-bit lengths.
    fn aggregate(&mut self, mut rest: &[u8]) -> Result<(), PayloadError> {
        if rest.is_empty() {
            return Err(PayloadError::Truncated);
        }
        while !rest.is_empty() {
            let length = usize::from(take_byte(&mut rest)?) << 8 | usize::from(take_byte(&mut rest)?);
            let unit = take(&mut rest, length)?;
            match unit.first() {
                Some(header) if header & 0x80 == 0 && matches!(header & 0x1f, 1..=23) => self.unit(unit)?,
                Some(_) => return Err(PayloadError::Invalid("NAL unit in a STAP-A")),
                None => return Err(PayloadError::Truncated),
            }
        }
        Ok(())
    }

    /// FU-A (RFC 6184 §5.8).
    fn fragment(&mut self, indicator: u8, mut rest: &[u8]) -> Result<(), PayloadError> {
        let header = take_byte(&mut rest)?;
        let (start, end, kind) = (header & 0x80 != 0, header & 0x40 != 0, header & 0x1f);
        if rest.is_empty() || (start && end) || !matches!(kind, 1..=23) {
            return Err(PayloadError::Invalid("FU-A"));
        }
        match self.fragment {
            None if start => {
                self.fragment = Some((self.frame.len(), kind));
                append(&mut self.frame, &[0, 0, 0, 0, indicator & 0x60 | kind])?;
            }
            Some((_, open)) if !start && open == kind => {}
            _ => return Err(PayloadError::Incomplete),
        }
        append(&mut self.frame, rest)?;
        if end { self.close_fragment() } else { Ok(()) }
    }

    /// Writes the length of the NAL unit made of fragments, or takes it out again.
    fn close_fragment(&mut self) -> Result<(), PayloadError> {
        let Some((at, _)) = self.fragment.take() else {
            return Ok(());
        };
        // Out of the frame while it is looked at; a move, no copy.
        let mut frame = std::mem::take(&mut self.frame);
        let (prefix, unit) = frame
            .get_mut(at..)
            .and_then(|tail| tail.split_at_mut_checked(4))
            .ok_or(PayloadError::Incomplete)?;
        let length = u32::try_from(unit.len()).map_err(|_| PayloadError::TooLarge)?;
        prefix.copy_from_slice(&length.to_be_bytes());
        if !self.note(unit)? {
            frame.truncate(at);
        }
        self.frame = frame;
        Ok(())
    }

    /// Adds a NAL unit that came whole.
    fn unit(&mut self, unit: &[u8]) -> Result<(), PayloadError> {
        if self.note(unit)? {
            let length = u32::try_from(unit.len()).map_err(|_| PayloadError::TooLarge)?;
            append(&mut self.frame, &length.to_be_bytes())?;
            append(&mut self.frame, unit)?;
        }
        Ok(())
    }

    /// Looks at a NAL unit; tells whether it belongs in the file.
    fn note(&mut self, unit: &[u8]) -> Result<bool, PayloadError> {
        let Some(header) = unit.first() else { return Ok(false) };
        match header & 0x1f {
            kind @ (nal::SLICE | nal::PARTITION_A | nal::IDR) => {
                // The first slice of a picture has first_mb_in_slice 0, whose code is a single 1 bit: without it, the picture's start was missed.
                if !self.has_slice && unit.get(1).is_none_or(|b| b & 0x80 == 0) {
                    return Err(PayloadError::Incomplete);
                }
                self.has_slice = true;
                self.has_idr |= kind == nal::IDR;
            }
            nal::SPS => {
                self.sets.add_sps(unit)?;
                self.has_sets = true;
            }
            nal::PPS => self.sets.add_pps(unit)?,
            nal::DELIMITER | nal::FILLER => return Ok(false),
            _ => {}
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
