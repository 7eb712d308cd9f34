//! The sequence header OBU (AV1 bitstream specification §5.5).
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use super::super::PayloadError;
use super::super::bits::Bits;

/// What recording needs of a sequence header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceHeader {
    /// seq_profile, 0–2.
    pub profile: u8,
    /// seq_level_idx of the first operating point, 0–31.
    pub level: u8,
    /// seq_tier of the first operating point.
    pub high_tier: bool,
    /// Whether frames are shown without a full header.
    pub reduced_still_picture: bool,
    /// 10 or 12 bits a sample.
    pub high_bitdepth: bool,
    /// 12 bits a sample.
    pub twelve_bit: bool,
    /// No chroma.
    pub monochrome: bool,
    /// Chroma has half the width.
    pub subsampling_x: bool,
    /// Chroma has half the height.
    pub subsampling_y: bool,
    /// chroma_sample_position, 0–3.
    pub chroma_sample_position: u8,
    /// Largest width in pixels.
    pub width: u32,
    /// Largest height in pixels.
    pub height: u32,
}

impl SequenceHeader {
    /// Reads the OBU's body.
    ///
    /// # Errors
    /// [`PayloadError`] when it is cut or holds a value that the specification forbids.
    pub fn parse(body: &[u8]) -> Result<Self, PayloadError> {
        let mut bits = Bits::new(body);
        let mut header = Self {
            profile: small(&mut bits, 3)?,
            ..Self::default()
        };
        if header.profile > 2 {
            return Err(PayloadError::Invalid("AV1 profile"));
        }
        bits.skip(1)?; // still_picture
        header.reduced_still_picture = bits.bit()?;
        if header.reduced_still_picture {
            header.level = small(&mut bits, 5)?;
        } else {
            header.read_operating_points(&mut bits)?;
        }
        let (width_bits, height_bits) = (bits.number(4)? + 1, bits.number(4)? + 1);
        header.width = bits.number(width_bits)? + 1;
        header.height = bits.number(height_bits)? + 1;
        skip_tools(&mut bits, header.reduced_still_picture)?;
        header.read_color_config(&mut bits)?;
        Ok(header)
    }

    fn read_operating_points(&mut self, bits: &mut Bits<'_>) -> Result<(), PayloadError> {
        let mut delay_bits = None;
        if bits.bit()? {
            bits.skip(64)?; // num_units_in_display_tick, time_scale
            if bits.bit()? {
                bits.exp_golomb()?; // num_ticks_per_picture_minus_1
            }
            if bits.bit()? {
                delay_bits = Some(bits.number(5)? + 1);
                bits.skip(32 + 5 + 5)?; // num_units_in_decoding_tick, removal and presentation time lengths
            }
        }
        let display_delays = bits.bit()?;
        for point in 0..=bits.number(5)? {
            bits.skip(12)?; // operating_point_idc
            let level = small(bits, 5)?;
            let high_tier = level > 7 && bits.bit()?;
            if point == 0 {
                (self.level, self.high_tier) = (level, high_tier);
            }
            if let Some(length) = delay_bits
                && bits.bit()?
            {
                bits.skip(2 * length + 1)?; // decoder and encoder buffer delay, low_delay_mode_flag
            }
            if display_delays && bits.bit()? {
                bits.skip(4)?; // initial_display_delay_minus_1
            }
        }
        Ok(())
    }

    /// color_config() of §5.5.2.
    fn read_color_config(&mut self, bits: &mut Bits<'_>) -> Result<(), PayloadError> {
        /// CP_BT_709, TC_SRGB, MC_IDENTITY.
        const SRGB: [u32; 3] = [1, 13, 0];
        self.high_bitdepth = bits.bit()?;
        self.twelve_bit = self.profile == 2 && self.high_bitdepth && bits.bit()?;
        self.monochrome = self.profile != 1 && bits.bit()?;
        let mut description = [2; 3];
        if bits.bit()? {
            description = [bits.number(8)?, bits.number(8)?, bits.number(8)?];
        }
        if self.monochrome {
            (self.subsampling_x, self.subsampling_y) = (true, true);
            return bits.skip(1); // color_range
        }
        if description == SRGB {
            return Ok(());
        }
        bits.skip(1)?; // color_range
        (self.subsampling_x, self.subsampling_y) = match self.profile {
            0 => (true, true),
            1 => (false, false),
            _ if self.twelve_bit => {
                let x = bits.bit()?;
                (x, x && bits.bit()?)
            }
            _ => (true, false),
        };
        if self.subsampling_x && self.subsampling_y {
            self.chroma_sample_position = small(bits, 2)?;
        }
        Ok(())
    }
}

/// A number of at most 8 bits.
fn small(bits: &mut Bits<'_>, count: u32) -> Result<u8, PayloadError> {
    u8::try_from(bits.number(count)?).map_err(|_| PayloadError::Invalid("AV1 sequence header"))
}

/// The fields between the frame's size and color_config().
fn skip_tools(bits: &mut Bits<'_>, reduced: bool) -> Result<(), PayloadError> {
    if !reduced && bits.bit()? {
        bits.skip(4 + 3)?; // delta_frame_id_length_minus_2, additional_frame_id_length_minus_1
    }
    bits.skip(3)?; // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    if !reduced {
        bits.skip(4)?; // interintra, masked compound, warped motion, dual filter
        let order_hint = bits.bit()?;
        if order_hint {
            bits.skip(2)?; // enable_jnt_comp, enable_ref_frame_mvs
        }
        let choose_screen_content = bits.bit()?;
        let screen_content = choose_screen_content || bits.bit()?;
        if screen_content {
            let choose_integer_mv = bits.bit()?;
            if !choose_integer_mv {
                bits.skip(1)?; // seq_force_integer_mv
            }
        }
        if order_hint {
            bits.skip(3)?; // order_hint_bits_minus_1
        }
    }
    bits.skip(3) // enable_superres, enable_cdef, enable_restoration
}
