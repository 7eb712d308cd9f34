//! Whether a payload begins a picture that needs no other to be decoded.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::parameters::CodecKind;

/// Whether `payload` is the start of a key frame, so that a decoder can begin with this packet.
///
/// Always true for audio. Any bytes may be given.
pub fn starts_key_frame(codec: CodecKind, payload: &[u8]) -> bool {
    match codec {
        CodecKind::Opus => true,
        CodecKind::Vp8 => vp8(payload).unwrap_or(false),
        CodecKind::Vp9 => vp9(payload).unwrap_or(false),
        CodecKind::H264 => h264(payload).unwrap_or(false),
        CodecKind::Av1 => av1(payload),
    }
}

/// VP8 (RFC 7741 §4.2, §4.3): the start of partition 0 with the inverse key frame flag clear.
fn vp8(payload: &[u8]) -> Option<bool> {
    let (&required, mut rest) = payload.split_first()?;
    let starts_frame = required & 0x10 != 0 && required & 0x07 == 0;
    if required & 0x80 != 0 {
        let (&extension, after) = rest.split_first()?;
        rest = after;
        if extension & 0x80 != 0 {
            // A picture id of 15 bits when its first bit is set, else of 7.
            let long = rest.first()? & 0x80 != 0;
            rest = rest.get(if long { 2 } else { 1 }..)?;
        }
        if extension & 0x40 != 0 {
            rest = rest.get(1..)?;
        }
        if extension & 0x30 != 0 {
            rest = rest.get(1..)?;
        }
    }
    Some(starts_frame && rest.first()? & 0x01 == 0)
}

/// VP9 (RFC 9628 §4.2): the start of a frame that is not inter-predicted, in the lowest spatial layer.
fn vp9(payload: &[u8]) -> Option<bool> {
    let (&required, mut rest) = payload.split_first()?;
    let picture_id = required & 0x80 != 0;
    let inter_predicted = required & 0x40 != 0;
    let layers = required & 0x20 != 0;
    let starts_frame = required & 0x08 != 0;
    if inter_predicted || !starts_frame {
        return Some(false);
    }
    if picture_id {
        let long = rest.first()? & 0x80 != 0;
        rest = rest.get(if long { 2 } else { 1 }..)?;
    }
    // TID (3 bits), U, SID (3 bits), D.
    Some(!layers || (rest.first()? >> 1) & 0x07 == 0)
}

/// H.264 (RFC 6184 §5): a sequence parameter set, which encoders send before each IDR picture, or an IDR slice where
/// parameter sets travel in the signaling.
fn h264(payload: &[u8]) -> Option<bool> {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let (&indicator, mut rest) = payload.split_first()?;
    let starts = |nal: u8| matches!(nal & 0x1f, IDR | SPS);
    match indicator & 0x1f {
        STAP_A => {
            while let Some((size, after)) = rest.split_first_chunk::<2>() {
                let size = usize::from(u16::from_be_bytes(*size));
                if after.first().is_some_and(|&nal| size > 0 && starts(nal)) {
                    return Some(true);
                }
                rest = after.get(size..)?;
            }
            Some(false)
        }
        FU_A => {
            let header = *rest.first()?;
            // The S bit: the first fragment.
            Some(header & 0x80 != 0 && starts(header))
        }
        nal => Some(starts(nal)),
    }
}

/// AV1 (RTP payload format §4.4): the N bit marks the first packet of a coded video sequence, which begins with a key frame.
fn av1(payload: &[u8]) -> bool {
    payload.first().is_some_and(|aggregation| aggregation & 0x88 == 0x08)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn key_frames_are_told_from_others() {
        use CodecKind::{Av1, H264, Opus, Vp8, Vp9};
        let cases: &[(CodecKind, &[u8], bool)] = &[
            (Opus, &[], true),
            (Vp8, &[0x10, 0x00], true),
            (Vp8, &[0x10, 0x01], false),
            (Vp8, &[0x00, 0x00], false),
            (Vp8, &[0x11, 0x00], false),
            (Vp8, &[0x90, 0x80, 0x12, 0x00], true),
            (Vp8, &[0x90, 0x80, 0x92, 0x34, 0x00], true),
            (Vp8, &[0x90, 0x80, 0x92, 0x34, 0x01], false),
            (Vp8, &[0x90, 0xe0, 0x92, 0x34, 0x01, 0x21, 0x00], true),
            (Vp8, &[0x90, 0xe0, 0x92, 0x34, 0x01, 0x20, 0x01], false),
            (Vp8, &[0x90, 0x80, 0x92], false),
            (Vp8, &[], false),
            (Vp9, &[0x08, 0x00], true),
            (Vp9, &[0x48, 0x00], false),
            (Vp9, &[0x00, 0x00], false),
            (Vp9, &[0xa8, 0x80, 0x01, 0x00], true),
            (Vp9, &[0xa8, 0x01, 0x02], false),
            (Vp9, &[0xa8, 0x80], false),
            (H264, &[0x67, 0x42], true),
            (H264, &[0x65, 0x88], true),
            (H264, &[0x61, 0x88], false),
            (H264, &[0x68, 0xce], false),
            (H264, &[0x78, 0, 1, 0x67, 0, 1, 0x68], true),
            (H264, &[0x78, 0, 1, 0x68, 0, 1, 0x67], true),
            (H264, &[0x78, 0, 1, 0x61], false),
            (H264, &[0x78, 0, 0, 0x67], false),
            (H264, &[0x78, 0, 9, 1], false),
            (H264, &[0x7c, 0x85], true),
            (H264, &[0x7c, 0x05], false),
            (H264, &[0x7c, 0x81], false),
            (H264, &[0x7c], false),
            (Av1, &[0x18], true),
            (Av1, &[0x10], false),
            (Av1, &[0x98], false),
            (Av1, &[], false),
        ];
        for (codec, payload, expected) in cases {
            assert_eq!(starts_key_frame(*codec, payload), *expected, "{codec:?} {payload:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_answered(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            for codec in [CodecKind::Opus, CodecKind::Vp8, CodecKind::Vp9, CodecKind::H264, CodecKind::Av1] {
                starts_key_frame(codec, &payload);
            }
        }
    }
}
