//! Table-driven: every packet type, and what is to be refused.

use super::super::{Depacketizer, h264};
use super::*;
use crate::parameters::CodecKind;

/// x264, baseline, 640 × 480.
const SPS: [u8; 24] = [
    0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x3d, 0xb0, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 0x03, 0x00,
    0x3c, 0x0f, 0x16, 0x2e, 0x48,
];
const PPS: [u8; 4] = [0x68, 0xcb, 0x83, 0xcb];
const IDR: [u8; 5] = [0x65, 0x88, 0x84, 0x21, 0x42];
const SLICE: [u8; 4] = [0x41, 0x9a, 0x24, 0x66];

fn avc(units: &[&[u8]]) -> Vec<u8> {
    units
        .iter()
        .flat_map(|u| [&u32::try_from(u.len()).unwrap().to_be_bytes()[..], u].concat())
        .collect()
}

fn stap(units: &[&[u8]]) -> Vec<u8> {
    let body = units
        .iter()
        .flat_map(|u| [&u16::try_from(u.len()).unwrap().to_be_bytes()[..], u].concat());
    std::iter::once(0x78).chain(body).collect()
}

#[test]
fn single_units_make_an_access_unit_with_its_configuration() {
    let frame = h264([&[0x09u8, 0xf0][..], &SPS, &PPS, &[0x0c, 0xff], &IDR])
        .unwrap()
        .unwrap();
    assert_eq!(
        frame.data,
        avc(&[&SPS, &PPS, &IDR]),
        "delimiter and filler are left out"
    );
    assert_eq!((frame.key, frame.dimensions), (true, Some((640, 480))));
    let avcc = [&[1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 24][..], &SPS, &[1, 0, 4], &PPS].concat();
    assert_eq!(frame.codec_private.unwrap(), avcc);
}

#[test]
fn aggregates_and_fragments_are_taken_apart_and_put_together() {
    let aggregate = stap(&[&SPS, &PPS]);
    let fragments: [&[u8]; 3] = [&[0x7c, 0x85, 0x88], &[0x7c, 0x05, 0x84, 0x21], &[0x7c, 0x45, 0x42]];
    let frame = h264([aggregate.as_slice(), fragments[0], fragments[1], fragments[2]])
        .unwrap()
        .unwrap();
    assert_eq!(frame.data, avc(&[&SPS, &PPS, &IDR]));
    assert!(frame.key);
}

#[test]
fn parameter_sets_may_come_fragmented_or_in_an_access_unit_of_their_own() {
    let mut codec = Depacketizer::new(CodecKind::H264, "");
    codec.push(&[&[0x7c, 0x87], &SPS[1..12]].concat()).unwrap();
    codec.push(&[&[0x7c, 0x47], &SPS[12..]].concat()).unwrap();
    codec.push(&PPS).unwrap();
    assert_eq!(codec.finish(), Ok(None));
    codec.push(&IDR).unwrap();
    let frame = codec.finish().unwrap().unwrap();
    assert_eq!((frame.key, frame.dimensions), (true, Some((640, 480))));
    assert_eq!(
        frame.data,
        avc(&[&SPS, &PPS, &IDR]),
        "they go with the picture that needs them"
    );
}

#[test]
fn signaled_parameter_sets_serve_a_stream_without_any() {
    let fmtp =
        "packetization-mode=1; sprop-parameter-sets=Z0LAHtkAoD2wEQAAAwABAAADADwPFi5I,aMuDyw==;profile-level-id=42c01e";
    let mut codec = Depacketizer::new(CodecKind::H264, fmtp);
    codec.push(&IDR).unwrap();
    let frame = codec.finish().unwrap().unwrap();
    assert_eq!((frame.key, frame.dimensions), (true, Some((640, 480))));
    assert_eq!(frame.data, avc(&[&SPS, &PPS, &IDR]));
}

#[test]
fn an_idr_without_parameter_sets_cannot_start_decoding() {
    assert!(!h264([&IDR[..]]).unwrap().unwrap().key);
    assert!(!h264([&SLICE[..]]).unwrap().unwrap().key);
}

#[test]
fn what_is_no_whole_access_unit_is_refused() {
    let table: &[(&[&[u8]], PayloadError)] = &[
        (&[&[]], PayloadError::Truncated),
        (&[&[24, 0, 1, 9, 0]], PayloadError::Truncated),
        (&[&[24]], PayloadError::Truncated),
        (&[&[24, 0, 0]], PayloadError::Truncated),
        (&[&[24, 0, 9, 1]], PayloadError::Truncated),
        (&[&[24, 0, 1, 28]], PayloadError::Invalid("NAL unit in a STAP-A")),
        (&[&[0x80]], PayloadError::Invalid("forbidden_zero_bit")),
        (&[&[0]], PayloadError::Unsupported(0)),
        (&[&[25, 0, 0]], PayloadError::Unsupported(25)),
        (&[&[29, 0x85, 1]], PayloadError::Unsupported(29)),
        (&[&[31]], PayloadError::Unsupported(31)),
        (&[&[28]], PayloadError::Truncated),
        (&[&[28, 0x85]], PayloadError::Invalid("FU-A")),
        (&[&[28, 0xc5, 1]], PayloadError::Invalid("FU-A")),
        (&[&[28, 0x9c, 1]], PayloadError::Invalid("FU-A")),
        (&[&[28, 0x05, 1]], PayloadError::Incomplete),
        (&[&[28, 0x85, 0x88]], PayloadError::Incomplete),
        (&[&[28, 0x85, 0x88], &[28, 0x85, 0x88]], PayloadError::Incomplete),
        (&[&[28, 0x85, 0x88], &[28, 0x41, 0x88]], PayloadError::Incomplete),
        (&[&[28, 0x85, 0x88], &SLICE], PayloadError::Incomplete),
        (&[&[0x65, 0x48, 1]], PayloadError::Incomplete),
        (&[&SPS[..7]], PayloadError::Truncated),
        (&[&PPS[..1]], PayloadError::Truncated),
    ];
    for (payloads, error) in table {
        assert_eq!(h264(payloads.iter().copied()), Err(*error), "{payloads:02x?}");
    }
}

#[test]
fn cropping_and_fields_count_in_the_dimensions() {
    /// Writes an SPS of High profile from its fields.
    fn sps(fields: &[(u32, bool)]) -> Vec<u8> {
        let mut bits = String::new();
        for (value, golomb) in fields {
            if *golomb {
                let code = value + 1;
                let length = 32 - code.leading_zeros();
                bits += &"0".repeat(length as usize - 1);
                bits += &format!("{code:b}");
            } else {
                bits += &value.to_string();
            }
        }
        bits.push('1');
        let bits: Vec<char> = bits.chars().collect();
        let body = bits
            .chunks(8)
            .map(|b| b.iter().fold(0, |v, c| v << 1 | u8::from(*c == '1')) << (8 - b.len()));
        [0x67, 100, 0, 40].into_iter().chain(body).collect()
    }
    let high = [
        (0, true),
        (1, true),
        (0, true),
        (0, true),
        (0, false),
        (0, false),
        (0, true),
        (2, true),
        (4, true),
        (0, false),
    ];
    // 120 × 68 macroblocks, frames only, cropped by 4 units at the bottom: 1080 lines.
    let progressive = [
        &high[..],
        &[
            (119, true),
            (67, true),
            (1, false),
            (1, false),
            (1, false),
            (0, true),
            (0, true),
            (0, true),
            (4, true),
            (0, false),
        ],
    ]
    .concat();
    // 120 × 34 map units of field pairs, cropped by 2 units of 4 lines.
    let interlaced = [
        &high[..],
        &[
            (119, true),
            (33, true),
            (0, false),
            (0, false),
            (1, false),
            (1, false),
            (0, true),
            (0, true),
            (0, true),
            (2, true),
            (0, false),
        ],
    ]
    .concat();
    // Cropping that leaves nothing.
    let nothing = [
        &high[..],
        &[
            (0, true),
            (0, true),
            (1, false),
            (1, false),
            (1, false),
            (4, true),
            (4, true),
            (0, true),
            (0, true),
            (0, false),
        ],
    ]
    .concat();
    for fields in [progressive, interlaced] {
        let sps = Sps::parse(&sps(&fields)).unwrap();
        assert_eq!((sps.width, sps.height), (1920, 1080));
    }
    assert_eq!(
        Sps::parse(&sps(&nothing)),
        Err(PayloadError::Invalid("H.264 dimensions"))
    );
}
