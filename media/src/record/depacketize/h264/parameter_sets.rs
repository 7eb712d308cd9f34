//! The parameter sets in force, and the avcC (ISO/IEC 14496-15 §5.3.3.1) made of them.
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::{BufMut, Bytes, BytesMut};

use super::super::PayloadError;
use super::super::bits::Bits;
use super::nal;
use super::sps::{Sps, has_chroma_info};

/// The longest parameter set that is kept, in bytes; scaling lists and VUI take some hundreds.
const MAX_SET_BYTES: usize = 2048;
/// Picture parameter sets that are kept; encoders for calls use one.
const MAX_PPS: usize = 16;

/// The sequence parameter set that came last, and picture parameter sets by their id.
#[derive(Debug, Default)]
pub(super) struct ParameterSets {
    sps: Option<(Sps, Vec<u8>)>,
    pps: Vec<(u32, Vec<u8>)>,
}

impl ParameterSets {
    /// From `sprop-parameter-sets=base64,base64`; what cannot be read is left out: the stream has to bring it then.
    pub(super) fn from_fmtp(fmtp: &str) -> Self {
        let mut sets = Self::default();
        let value = fmtp
            .split(';')
            .find_map(|p| p.trim().strip_prefix("sprop-parameter-sets="));
        for unit in value
            .into_iter()
            .flat_map(|v| v.split(','))
            .take(MAX_PPS + 1)
            .filter_map(base64)
        {
            let added = match unit.first().map(|header| header & 0x1f) {
                Some(nal::SPS) => sets.add_sps(&unit),
                Some(nal::PPS) => sets.add_pps(&unit),
                _ => Ok(()),
            };
            if let Err(error) = added {
                tracing::debug!(%error, "unreadable sprop-parameter-sets");
            }
        }
        sets
    }

    /// Takes a sequence parameter set into force.
    pub(super) fn add_sps(&mut self, unit: &[u8]) -> Result<(), PayloadError> {
        if unit.len() > MAX_SET_BYTES {
            return Err(PayloadError::TooLarge);
        }
        if self.sps.as_ref().is_none_or(|(_, known)| known != unit) {
            self.sps = Some((Sps::parse(unit)?, unit.to_vec()));
        }
        Ok(())
    }

    /// Takes a picture parameter set into force.
    pub(super) fn add_pps(&mut self, unit: &[u8]) -> Result<(), PayloadError> {
        if unit.len() > MAX_SET_BYTES {
            return Err(PayloadError::TooLarge);
        }
        let id = Bits::new(unit.get(1..).ok_or(PayloadError::Truncated)?).exp_golomb()?;
        if let Some((_, known)) = self.pps.iter_mut().find(|(known, _)| *known == id) {
            if known != unit {
                *known = unit.to_vec();
            }
        } else if self.pps.len() == MAX_PPS {
            return Err(PayloadError::Invalid("count of picture parameter sets"));
        } else {
            self.pps.push((id, unit.to_vec()));
        }
        Ok(())
    }

    /// The picture's size by the sequence parameter set in force.
    pub(super) fn dimensions(&self) -> Option<(u32, u32)> {
        self.sps.as_ref().map(|(sps, _)| (sps.width, sps.height))
    }

    /// All sets as they stand before a slice in the stream: each behind its length of four bytes.
    pub(super) fn in_band(&self) -> Vec<u8> {
        let sps = self.sps.iter().map(|(_, unit)| unit);
        let mut bytes = Vec::new();
        for unit in sps.chain(self.pps.iter().map(|(_, unit)| unit)) {
            // MAX_SET_BYTES fits in the lower half.
            let length = u16::try_from(unit.len()).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&u32::from(length).to_be_bytes());
            bytes.extend_from_slice(unit);
        }
        bytes
    }

    /// The decoder configuration record; `None` until both kinds of sets are known.
    pub(super) fn avcc(&self) -> Option<Bytes> {
        let (sps, unit) = self.sps.as_ref()?;
        if self.pps.is_empty() {
            return None;
        }
        let mut avcc = BytesMut::new();
        // NAL unit lengths take four bytes; one sequence parameter set.
        avcc.put_slice(&[1, sps.profile, sps.constraints, sps.level, 0xff, 0xe1]);
        put_set(&mut avcc, unit)?;
        avcc.put_u8(u8::try_from(self.pps.len()).ok()?);
        for (_, unit) in &self.pps {
            put_set(&mut avcc, unit)?;
        }
        if has_chroma_info(sps.profile) {
            let (luma, chroma) = (sps.luma_depth_minus8, sps.chroma_depth_minus8);
            avcc.put_slice(&[0xfc | sps.chroma_format, 0xf8 | luma, 0xf8 | chroma, 0]);
        }
        Some(avcc.freeze())
    }
}

fn put_set(avcc: &mut BytesMut, unit: &[u8]) -> Option<()> {
    avcc.put_u16(u16::try_from(unit.len()).ok()?);
    avcc.put_slice(unit);
    Some(())
}

/// RFC 4648 §4, bounded like the sets it holds.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=');
    if text.is_empty() || text.len() > MAX_SET_BYTES {
        return None;
    }
    let (mut bytes, mut held, mut count) = (Vec::with_capacity(text.len()), 0u32, 0u32);
    for c in text.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6 | u32::from(value)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(held >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}
