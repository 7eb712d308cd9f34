//! Sequence numbers that do not wrap.

/// The extended sequence number that ends in `sequence` and lies nearest to `reference`.
///
/// Of two equally near ones it is the later; near zero, where none lies before, it is the later too.
pub fn unwrap_near(reference: u64, sequence: u16) -> u64 {
    // The difference modulo 2^16, as a distance in both directions.
    let ahead = sequence.wrapping_sub(reference as u16);
    if ahead <= 0x8000 {
        reference + u64::from(ahead)
    } else {
        let behind = u64::from(ahead.wrapping_neg());
        reference.checked_sub(behind).unwrap_or(reference + u64::from(ahead))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn goes_over_the_wrap_both_ways() {
        assert_eq!(unwrap_near(0x1_fffe, 1), 0x2_0001);
        assert_eq!(unwrap_near(0x2_0001, 0xfffe), 0x1_fffe);
        assert_eq!(unwrap_near(5, 0xffff), 0xffff);
        assert_eq!(unwrap_near(0x1_0000, 0x8000), 0x1_8000);
    }

    proptest! {
        #[test]
        fn ends_in_the_sequence_and_is_nearest(reference in 0u64..1 << 40, sequence: u16) {
            let near = unwrap_near(reference, sequence);
            prop_assert_eq!(near as u16, sequence);
            prop_assert!(near.abs_diff(reference) <= 0x8000 || reference < 0x8000);
        }
    }
}
