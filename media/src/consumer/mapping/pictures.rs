//! Continuous numbers of pictures: those of a codec's descriptor (VP8, VP9) and of the dependency descriptor.

/// Pictures back that a number is known.
const WINDOW: u64 = 128;

/// Room below the first picture for those that it overtook.
const FIRST: u64 = 1 << 20;

/// The numbers of one run of pictures. They differ from the publisher's by a constant, less the pictures left out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pictures {
    /// 7, 15 or 16; 0 when there are no numbers.
    bits: u8,
    /// The first, and the highest that was looked at, without wraps.
    first: u64,
    highest: u64,
    /// The number that the first has here.
    begins_with: u64,
    /// Bit n: the picture n before the highest was left out.
    skipped: u128,
    total: u64,
}

impl Pictures {
    /// Reads what the next picture needs; see [`crate::engine::ahead`].
    pub(super) fn preload(&self) -> u64 {
        self.first ^ self.total ^ self.skipped as u64
    }

    /// Begins with this picture, which is `begins_with` here; as it came with `None`.
    pub(super) fn new(picture: u16, bits: u8, begins_with: Option<u64>) -> Self {
        let first = FIRST + u64::from(picture);
        Self {
            bits,
            first,
            highest: first,
            begins_with: begins_with.unwrap_or(u64::from(picture) + FIRST),
            skipped: 0,
            total: 0,
        }
    }

    /// The number that the next run begins with; `None` when there are no numbers.
    pub(super) fn next(&self) -> Option<u64> {
        (self.bits > 0).then(|| (self.begins_with + (self.highest - self.first) + 1).saturating_sub(self.total))
    }

    /// A packet of this picture is forwarded.
    pub(super) fn advance(&mut self, picture: u16) {
        let picture = self.unwrapped(picture);
        if picture > self.highest {
            let step = picture - self.highest;
            self.skipped = self
                .skipped
                .checked_shl(step.min(u64::from(u32::MAX)) as u32)
                .unwrap_or(0);
            self.highest = picture;
        }
    }

    /// A picture is left out, and those after it move up.
    pub(super) fn skip(&mut self, picture: u16) {
        if self.bits == 0 || self.unwrapped(picture) <= self.highest {
            return;
        }
        self.advance(picture);
        self.skipped |= 1;
        self.total += 1;
    }

    /// A picture's number here.
    pub(super) fn map(&self, picture: u16) -> u16 {
        let picture = self.unwrapped(picture);
        let back = self.highest.saturating_sub(picture);
        // One further back than is known, or before the first, is of no use to anybody: any number does.
        let after = match back {
            0 => 0,
            back if back < WINDOW => (self.skipped & ((1 << back) - 1)).count_ones(),
            _ => 0,
        };
        let number = (self.begins_with + picture)
            .wrapping_sub(self.first)
            .wrapping_sub(self.total)
            .wrapping_add(u64::from(after));
        number as u16 & self.mask()
    }

    /// The number nearest to the highest that ends in these bits.
    fn unwrapped(&self, picture: u16) -> u64 {
        let ahead = picture.wrapping_sub(self.highest as u16) & self.mask();
        if ahead <= self.mask() / 2 {
            self.highest + u64::from(ahead)
        } else {
            (self.highest + u64::from(ahead)).saturating_sub(u64::from(self.mask()) + 1)
        }
    }

    fn mask(&self) -> u16 {
        match self.bits {
            7 => 0x7f,
            15 => 0x7fff,
            _ => 0xffff,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_continues_and_pictures_left_out_leave_no_gap() {
        let mut pictures = Pictures::new(0x7ffe, 15, Some(41));
        assert_eq!(pictures.map(0x7ffe), 41);
        pictures.skip(0x7fff);
        pictures.skip(0x7fff);
        pictures.advance(0);
        assert_eq!(pictures.map(0), 42);
        pictures.advance(2);
        assert_eq!((pictures.map(1), pictures.map(2)), (43, 44));
        assert_eq!(pictures.map(0x7ffe), 41, "as before, however late");
        assert_eq!(pictures.next(), Some(45));
    }

    #[test]
    fn without_numbers_there_is_none_to_continue() {
        let mut pictures = Pictures::new(0, 0, None);
        pictures.skip(5);
        assert_eq!(pictures.next(), None);
    }

    proptest! {
        #[test]
        fn numbers_are_continuous_over_any_wraps(
            first: u16, begin in 0u64..1 << 40, bits in prop_oneof![Just(7u8), Just(15), Just(16)],
            skips in proptest::collection::vec(any::<bool>(), 1..400),
        ) {
            let mask = ((1u32 << bits) - 1) as u16;
            let first = first & mask;
            let mut pictures = Pictures::new(first, bits, Some(begin));
            let mut expected = begin;
            prop_assert_eq!(pictures.map(first), begin as u16 & mask);
            for (n, skip) in skips.into_iter().enumerate() {
                let picture = first.wrapping_add(n as u16 + 1) & mask;
                if skip {
                    pictures.skip(picture);
                } else {
                    pictures.advance(picture);
                    expected += 1;
                    prop_assert_eq!(pictures.map(picture), expected as u16 & mask);
                }
                prop_assert_eq!(pictures.next(), Some(expected + 1));
            }
        }
    }
}
