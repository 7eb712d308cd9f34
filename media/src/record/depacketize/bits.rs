//! Reading of headers that are made of bits, most significant first. Reading past the end is an error, never a panic.
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use super::PayloadError;

/// A position in some bytes.
#[derive(Debug, Clone)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    /// At the first bit of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// One bit.
    pub(crate) fn bit(&mut self) -> Result<bool, PayloadError> {
        let byte = self.bytes.get(self.position / 8).ok_or(PayloadError::Truncated)?;
        let set = byte >> (7 - self.position % 8) & 1 == 1;
        self.position += 1;
        Ok(set)
    }

    /// An unsigned number of `count` bits, at most 32.
    pub(crate) fn number(&mut self, count: u32) -> Result<u32, PayloadError> {
        debug_assert!(count <= 32, "more bits than the result holds");
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Ok(value)
    }

    /// Leaves `count` bits out.
    pub(crate) fn skip(&mut self, count: u32) -> Result<(), PayloadError> {
        for _ in 0..count {
            self.bit()?;
        }
        Ok(())
    }

    /// An unsigned Exp-Golomb code, ue(v) of ITU-T H.264 §9.1; AV1's uvlc() is the same.
    pub(crate) fn exp_golomb(&mut self) -> Result<u32, PayloadError> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return Err(PayloadError::Invalid("exp-golomb code"));
            }
        }
        let suffix = self.number(zeros)?;
        // zeros ≤ 31: 2³¹ − 1 + (2³¹ − 1) fits.
        Ok((1u32 << zeros) - 1 + suffix)
    }

    /// A signed Exp-Golomb code, se(v) of ITU-T H.264 §9.1.1.
    pub(crate) fn signed_exp_golomb(&mut self) -> Result<i64, PayloadError> {
        let code = i64::from(self.exp_golomb()?);
        Ok(if code % 2 == 0 { -(code / 2) } else { code / 2 + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_of_the_standards_table() {
        // ITU-T H.264 Table 9-2: 1, 010, 011, 00100, 00101.
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<u32> = (0..5).map(|_| bits.exp_golomb().unwrap()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn signed_codes_alternate() {
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<i64> = (0..5).map(|_| bits.signed_exp_golomb().unwrap()).collect();
        assert_eq!(codes, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn the_longest_code_is_read_and_a_longer_one_refused() {
        let longest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe];
        assert_eq!(Bits::new(&longest).exp_golomb(), Ok(u32::MAX - 1));
        assert_eq!(
            Bits::new(&[0; 8]).exp_golomb(),
            Err(PayloadError::Invalid("exp-golomb code"))
        );
        assert_eq!(Bits::new(&[0]).exp_golomb(), Err(PayloadError::Truncated));
    }
}
