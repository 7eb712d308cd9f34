//! Table-driven: aggregation, fragments, and what is to be refused.

use super::super::av1;
use super::*;

/// The body of libaom's sequence header for 320 × 180 in the main profile, level 2.0.
const SEQUENCE: [u8; 11] = [0x00, 0x00, 0x00, 0x04, 0x3c, 0xfe, 0xcc, 0xda, 0xf9, 0x00, 0x40];
const SEQUENCE_OBU: u8 = 0x08;
const FRAME_OBU: u8 = 0x30;
const KEY_BODY: [u8; 3] = [0x10, 0xaa, 0xbb];
const INTER_BODY: [u8; 3] = [0x30, 0xaa, 0xbb];

/// OBUs as the file holds them.
fn sized(header: u8, body: &[u8]) -> Vec<u8> {
    [&[header | 2, u8::try_from(body.len()).unwrap()], body].concat()
}

/// An OBU without size as an element without length.
fn bare(header: u8, body: &[u8]) -> Vec<u8> {
    [&[header], body].concat()
}

/// An element behind its length.
fn element(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

#[test]
fn each_form_of_aggregation_gives_the_same_unit() {
    let (sequence, frame) = (bare(SEQUENCE_OBU, &SEQUENCE), bare(FRAME_OBU, &KEY_BODY));
    let delimiter = [0x12u8, 0x00];
    let counted = [&[0x28], &element(&sequence)[..], &frame].concat();
    let uncounted = [&[0x08], &element(&sequence)[..], &element(&frame)].concat();
    let with_delimiter = [&[0x38], &element(&delimiter)[..], &element(&sequence), &frame].concat();
    let with_sizes = [
        &[0x28],
        &element(&sized(SEQUENCE_OBU, &SEQUENCE))[..],
        &sized(FRAME_OBU, &KEY_BODY),
    ]
    .concat();
    let expected = [sized(SEQUENCE_OBU, &SEQUENCE), sized(FRAME_OBU, &KEY_BODY)].concat();
    for payload in [&counted, &uncounted, &with_delimiter, &with_sizes] {
        let unit = av1([payload.as_slice()]).unwrap().unwrap();
        assert_eq!(unit.data, expected, "{payload:02x?}");
        assert_eq!((unit.key, unit.dimensions), (true, Some((320, 180))));
        let record = [&[0x81, 0x00, 0x0c, 0x00], &sized(SEQUENCE_OBU, &SEQUENCE)[..]].concat();
        assert_eq!(unit.codec_private.unwrap(), record);
    }
}

#[test]
fn fragments_are_put_together_over_several_packets() {
    let sequence = bare(SEQUENCE_OBU, &SEQUENCE);
    let first = [&[0x68], &element(&sequence)[..], &[FRAME_OBU, 0x10]].concat();
    let unit = av1([first.as_slice(), &[0xd0, 0xaa], &[0x90, 0xbb]]).unwrap().unwrap();
    assert_eq!(
        unit.data,
        [sized(SEQUENCE_OBU, &SEQUENCE), sized(FRAME_OBU, &KEY_BODY)].concat()
    );
}

#[test]
fn a_fragment_behind_a_length_continues_too() {
    // W = 0, Y = 1: the last element has a length and is continued.
    let unit = av1([&[0x40u8, 2, FRAME_OBU, 0x30][..], &[0x80, 2, 0xaa, 0xbb]])
        .unwrap()
        .unwrap();
    assert_eq!(unit.data, sized(FRAME_OBU, &INTER_BODY));
    assert!(!unit.key);
}

#[test]
fn long_obus_get_long_sizes_and_extensions_stay() {
    let body = [&INTER_BODY[..], &[7; 300]].concat();
    let payload = [&[0x10, FRAME_OBU | 4, 0x48], &body[..]].concat();
    let unit = av1([payload.as_slice()]).unwrap().unwrap();
    assert_eq!(unit.data, [&[FRAME_OBU | 6, 0x48, 0xaf, 0x02], &body[..]].concat());
}

#[test]
fn a_key_frame_without_its_sequence_header_cannot_start_decoding() {
    let payload = [&[0x10], &bare(FRAME_OBU, &KEY_BODY)[..]].concat();
    assert!(!av1([payload.as_slice()]).unwrap().unwrap().key);
}

#[test]
fn a_unit_without_a_frame_is_nothing_to_keep() {
    assert_eq!(av1([&[0x10u8, 0x12, 0x00][..]]), Ok(None));
    assert_eq!(av1([&[0x10u8, 0x7a, 0x01, 0x00][..]]), Ok(None));
}

#[test]
fn what_is_no_whole_unit_is_refused() {
    let table: &[(&[&[u8]], PayloadError)] = &[
        (&[&[]], PayloadError::Truncated),
        (&[&[0x10]], PayloadError::Truncated),
        (&[&[0x10, 0xff]], PayloadError::Invalid("AV1 OBU header")),
        (&[&[0x90, 0x30]], PayloadError::Incomplete),
        (&[&[0x50, 0x30]], PayloadError::Incomplete),
        (&[&[0x50, 0x30], &[0x10, 0x30, 0x30]], PayloadError::Incomplete),
        (
            &[&[0x50, 0x30], &[0x98, 0x30, 0x30]],
            PayloadError::Invalid("AV1 aggregation header"),
        ),
        (&[&[0x20, 0x02, 0x30, 0x30]], PayloadError::Truncated),
        (&[&[0x00, 0x05, 0x30]], PayloadError::Truncated),
        (&[&[0x00, 0x00, 0x30]], PayloadError::Invalid("empty AV1 OBU element")),
        (&[&[0x00, 0x80]], PayloadError::Truncated),
        (
            &[&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
            PayloadError::Invalid("leb128 number"),
        ),
        (&[&[0x10, 0x32, 0x09, 0x10]], PayloadError::Truncated),
        (&[&[0x10, 0x34]], PayloadError::Truncated),
        (&[&[0x10, 0x30]], PayloadError::Truncated),
        (&[&[0x10, 0x08, 0x00]], PayloadError::Truncated),
        (&[&[0x10, 0x08, 0xe0, 0, 0, 0, 0]], PayloadError::Invalid("AV1 profile")),
    ];
    for (payloads, error) in table {
        assert_eq!(av1(payloads.iter().copied()), Err(*error), "{payloads:02x?}");
    }
}

#[test]
fn a_fragment_beyond_the_bound_is_refused() {
    let mut codec = Av1::default();
    codec.push(&[0x50, FRAME_OBU, 0x30]).unwrap();
    let more = [&[0xd0][..], &[0; 1 << 20]].concat();
    assert_eq!((0..3).try_for_each(|_| codec.push(&more)), Ok(()));
    assert_eq!(codec.push(&more), Err(PayloadError::TooLarge));
}
