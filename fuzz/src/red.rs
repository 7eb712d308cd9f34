//! Redundant sound.

use caside_media::parameters::PayloadType;
use caside_media::rtp::red::{MAX_REDUNDANT, Red, rename};

/// Takes a payload apart, and renames its blocks.
pub fn run(payload: &[u8]) {
    let mut renamed = payload.to_vec();
    rename(&mut renamed, PayloadType(120));
    let Some(red) = Red::parse(payload) else {
        // Whatever cannot be taken apart may still be renamed; it keeps its length and its blocks'.
        assert_eq!(renamed.len(), payload.len());
        assert!(Red::parse(&renamed).is_none());
        return;
    };
    let blocks: Vec<_> = red.redundant().collect();
    assert!(blocks.len() <= MAX_REDUNDANT);
    let bytes: usize = blocks.iter().map(|block| block.data.len()).sum();
    let headers = 4 * blocks.len() + 1;
    assert_eq!(headers + bytes + red.primary.len(), payload.len(), "blocks do not overlap");
    assert_eq!(&payload[red.primary_offset()..], red.primary);
    assert_eq!(payload[headers..], renamed[headers..], "only headers are written to");
    let again = Red::parse(&renamed).expect("renaming breaks nothing");
    assert_eq!((again.payload_type, again.primary), (PayloadType(120), red.primary));
    for (before, after) in blocks.iter().zip(again.redundant()) {
        assert_eq!((before.earlier, before.data), (after.earlier, after.data));
        let expected = if before.payload_type == red.payload_type {
            PayloadType(120)
        } else {
            before.payload_type
        };
        assert_eq!(after.payload_type, expected);
    }
}
