//! The sequence parameter set (ITU-T H.264 §7.3.2.1.1), read as far as the picture's size.
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use super::super::PayloadError;
use super::super::bits::Bits;

/// What recording needs of a sequence parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// profile_idc.
    pub profile: u8,
    /// The six constraint flags and two reserved bits.
    pub constraints: u8,
    /// level_idc.
    pub level: u8,
    /// seq_parameter_set_id, 0–31.
    pub id: u8,
    /// chroma_format_idc, 0–3; 1 is 4:2:0.
    pub chroma_format: u8,
    /// bit_depth_luma_minus8, 0–6.
    pub luma_depth_minus8: u8,
    /// bit_depth_chroma_minus8, 0–6.
    pub chroma_depth_minus8: u8,
    /// Width in pixels after cropping.
    pub width: u32,
    /// Height in pixels after cropping.
    pub height: u32,
}

/// The largest side of level 6.2 is 16 880 luma samples; more is no picture that anybody sends.
const MAX_SIDE: u32 = 16_896;

impl Sps {
    /// Reads a NAL unit with its header.
    ///
    /// # Errors
    /// [`PayloadError`] when it is cut or holds a value that the standard forbids.
    pub fn parse(unit: &[u8]) -> Result<Self, PayloadError> {
        let rbsp = without_emulation_prevention(unit.get(1..).ok_or(PayloadError::Truncated)?);
        let mut bits = Bits::new(&rbsp);
        let profile = byte(bits.number(8)?)?;
        let constraints = byte(bits.number(8)?)?;
        let level = byte(bits.number(8)?)?;
        let id = at_most(bits.exp_golomb()?, 31)?;
        let (mut chroma_format, mut luma_depth_minus8, mut chroma_depth_minus8) = (1, 0, 0);
        let mut separate_planes = false;
        if has_chroma_info(profile) {
            chroma_format = at_most(bits.exp_golomb()?, 3)?;
            separate_planes = chroma_format == 3 && bits.bit()?;
            luma_depth_minus8 = at_most(bits.exp_golomb()?, 6)?;
            chroma_depth_minus8 = at_most(bits.exp_golomb()?, 6)?;
            bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
            if bits.bit()? {
                skip_scaling_matrix(&mut bits, if chroma_format == 3 { 12 } else { 8 })?;
            }
        }
        skip_picture_order(&mut bits)?;
        bits.exp_golomb()?; // max_num_ref_frames
        bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
        let (width, height) = dimensions(&mut bits, if separate_planes { 0 } else { chroma_format })?;
        Ok(Self {
            profile,
            constraints,
            level,
            id,
            chroma_format,
            luma_depth_minus8,
            chroma_depth_minus8,
            width,
            height,
        })
    }
}

/// Profiles whose parameter sets (and avcC) tell chroma format and bit depths.
pub(super) fn has_chroma_info(profile: u8) -> bool {
    matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    )
}

fn byte(value: u32) -> Result<u8, PayloadError> {
    at_most(value, u8::MAX)
}

fn at_most(value: u32, most: u8) -> Result<u8, PayloadError> {
    u8::try_from(value)
        .ok()
        .filter(|v| *v <= most)
        .ok_or(PayloadError::Invalid("H.264 parameter"))
}

/// Takes emulation_prevention_three_byte out (§7.4.1).
fn without_emulation_prevention(payload: &[u8]) -> Vec<u8> {
    let mut rbsp = Vec::with_capacity(payload.len());
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        rbsp.push(byte);
    }
    rbsp
}

/// scaling_list() of §7.3.2.1.1.1, `lists` times.
fn skip_scaling_matrix(bits: &mut Bits<'_>, lists: u32) -> Result<(), PayloadError> {
    for list in 0..lists {
        if !bits.bit()? {
            continue;
        }
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.signed_exp_golomb()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Ok(())
}

/// log2_max_frame_num_minus4 and the picture order count's fields.
fn skip_picture_order(bits: &mut Bits<'_>) -> Result<(), PayloadError> {
    bits.exp_golomb()?; // log2_max_frame_num_minus4
    match bits.exp_golomb()? {
        0 => {
            bits.exp_golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.signed_exp_golomb()?; // offset_for_non_ref_pic
            bits.signed_exp_golomb()?; // offset_for_top_to_bottom_field
            for _ in 0..at_most(bits.exp_golomb()?, 255)? {
                bits.signed_exp_golomb()?; // offset_for_ref_frame
            }
        }
        2 => {}
        _ => return Err(PayloadError::Invalid("H.264 parameter")),
    }
    Ok(())
}

/// The size in macroblocks, less the cropping (§7.4.2.1.1). `chroma` is ChromaArrayType.
fn dimensions(bits: &mut Bits<'_>, chroma: u8) -> Result<(u32, u32), PayloadError> {
    let invalid = PayloadError::Invalid("H.264 dimensions");
    let side = |macroblocks: u32| {
        macroblocks
            .checked_add(1)
            .and_then(|m| m.checked_mul(16))
            .filter(|s| *s <= MAX_SIDE)
            .ok_or(invalid)
    };
    let width = side(bits.exp_golomb()?)?;
    let map_units = side(bits.exp_golomb()?)?;
    let frames_only = bits.bit()?;
    let fields = if frames_only { 1 } else { 2 };
    if !frames_only {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    let height = map_units * fields;
    bits.skip(1)?; // direct_8x8_inference_flag
    if !bits.bit()? {
        return Ok((width, height));
    }
    let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma == 1 { 2 } else { 1 } * fields;
    let crop = |total: u32, unit: u32, near: u32, far: u32| {
        let cropped = near.checked_add(far).and_then(|c| c.checked_mul(unit));
        cropped
            .and_then(|c| total.checked_sub(c))
            .filter(|left| *left > 0)
            .ok_or(invalid)
    };
    let (left, right) = (bits.exp_golomb()?, bits.exp_golomb()?);
    let (top, bottom) = (bits.exp_golomb()?, bits.exp_golomb()?);
    Ok((crop(width, unit_x, left, right)?, crop(height, unit_y, top, bottom)?))
}
