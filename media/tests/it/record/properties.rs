//! What holds for any input.

use caside_media::parameters::{CodecKind, MediaKind};
use caside_media::record::depacketize;
use caside_media::record::inspect::inspect_segment;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::material::{Material, Sample, synthetic_audio, synthetic_video};
use super::network::{Arrival, Sending, Trouble, epoch, merged, payloader, received_at, send};
use super::oracle;
use super::recorder::{Driver, Recording, finish, ms, parameters, record};

fn call(video: &Material, audio: &Material, trouble: Trouble, seed: u64, drift_ppm: i64) -> Recording {
    let start = epoch();
    let sending = Sending {
        drift_ppm,
        first_sequence: seed as u16,
        first_timestamp: seed as u32,
        ..Sending::new(start + ms(100))
    };
    let video = send(video, &sending);
    let audio = send(audio, &Sending { ssrc: 5, ..sending });
    record(
        start,
        &[CodecKind::Vp8, CodecKind::Opus],
        trouble.apply(merged([video, audio]), seed),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_payload_makes_a_depacketizer_panic(payloads in vec(vec(any::<u8>(), 0..40), 0..6)) {
        let all = || payloads.iter().map(Vec::as_slice);
        let results = [
            depacketize::opus(all()), depacketize::vp8(all()), depacketize::vp9(all()),
            depacketize::h264(all()), depacketize::av1(all()),
        ];
        for frame in results.into_iter().flatten().flatten() {
            prop_assert!(!frame.data.is_empty());
        }
    }

    #[test]
    fn no_changed_payload_makes_a_depacketizer_panic(
        codec in 0..4usize, flips in vec((any::<u16>(), any::<u8>()), 1..8), size in 40..3000usize, cut in any::<u16>(),
    ) {
        let codec = [CodecKind::Vp8, CodecKind::Vp9, CodecKind::H264, CodecKind::Av1][codec];
        let mut frame = plausible(codec);
        frame.resize(frame.len() + size, 0x5a);
        let mut payloads = payloader(codec).payload(500, &frame.into()).unwrap().iter().map(|p| p.to_vec()).collect::<Vec<_>>();
        for (at, value) in flips {
            let index = at as usize % payloads.len().max(1);
            if let Some(payload) = payloads.get_mut(index) && !payload.is_empty() {
                let at = (at >> 4) as usize % payload.len().min(24);
                payload[at] ^= value;
            }
        }
        if let Some(payload) = payloads.last_mut() {
            payload.truncate(cut as usize % 600);
        }
        let all = payloads.iter().map(Vec::as_slice);
        // Only that it returns counts: the bytes may well have stayed a frame.
        drop(match codec {
            CodecKind::Vp8 => depacketize::vp8(all),
            CodecKind::Vp9 => depacketize::vp9(all),
            CodecKind::H264 => depacketize::h264(all),
            _ => depacketize::av1(all),
        });
    }
}

/// The start of a key frame.
fn plausible(codec: CodecKind) -> Vec<u8> {
    match codec {
        CodecKind::Vp8 => vec![0x10, 0, 0, 0x9d, 1, 0x2a, 64, 0, 36, 0],
        CodecKind::Vp9 => vec![0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0b, 0x30],
        CodecKind::H264 => vec![
            0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0, 0xa0, 0x3d, 0xb0, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x3c, 0x0f,
            0x16, 0x2e, 0x48, 0, 0, 0, 1, 0x68, 0xcb, 0x83, 0xcb, 0, 0, 0, 1, 0x65, 0x88, 0x84,
        ],
        _ => vec![0x0a, 11, 0, 0, 0, 4, 0x3c, 0xfe, 0xcc, 0xda, 0xf9, 0, 0x40, 0x30, 0x10],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_under_any_reorder_within_the_window(
        seed in any::<u64>(), jitter_ms in 0..55u64, late_permille in 0..100u32, doubled_permille in 0..100u32,
        sizes in vec(10..9000usize, 60..120), drift_ppm in -200..200i64,
    ) {
        let (video, audio) = (synthetic_video(&sizes, 30), synthetic_audio(sizes.len() * 2));
        let trouble = Trouble { lost_permille: 0, doubled_permille, jitter_ms, late_permille };
        let recording = call(&video, &audio, trouble, seed, drift_ppm);
        prop_assert_eq!((recording.stats.lost, recording.stats.frames_dropped), (0, 0));
        let (_, bytes) = finish(&recording.segments);
        let file = oracle::read(&bytes);
        let same = |track: u64, material: &Material| {
            file.data_of(track).iter().eq(material.samples.iter().map(|sample: &Sample| &sample.data))
        };
        prop_assert!(same(1, &video) && same(2, &audio));
        for track in [1, 2] {
            let times: Vec<i64> = file.frames().into_iter().filter(|f| f.0 == track).map(|f| f.1).collect();
            prop_assert!(times.is_sorted_by(|a, b| a < b), "time goes on");
        }
    }

    #[test]
    fn whatever_is_lost_the_rest_is_a_file_whose_pictures_start_with_key_frames(
        seed in any::<u64>(), lost_permille in 1..300u32, jitter_ms in 0..200u64, count in 1..20usize,
    ) {
        let (video, audio) = (synthetic_video(&[2500; 120], 20), synthetic_audio(240));
        let trouble = Trouble { lost_permille, doubled_permille: 50, jitter_ms, late_permille: 50 };
        let recording = call(&video, &audio, trouble, seed, 0);
        let prefix = &recording.segments[..count.min(recording.segments.len())];
        if prefix.is_empty() {
            return Ok(());
        }
        let (meta, bytes) = finish(prefix);
        let file = oracle::read(&bytes);
        prop_assert_eq!(meta.offset_ms, prefix.iter().map(|s| s.meta.start_ms).min().unwrap());
        let pictures: Vec<Vec<u8>> = file.data_of(1);
        let sent: Vec<&Vec<u8>> = video.samples.iter().map(|sample| &sample.data).collect();
        let mut after = None;
        for picture in &pictures {
            let at = sent.iter().position(|data| *data == picture).expect("only what was sent");
            prop_assert!(after.is_none_or(|before: usize| at == before + 1) || at % 20 == 0, "after a hole comes a key frame");
            after = Some(at);
        }
    }

    #[test]
    fn no_bytes_make_the_inspection_panic(
        flips in vec((any::<u32>(), any::<u8>()), 1..6), cut in any::<u32>(), noise in vec(any::<u8>(), 0..64),
    ) {
        let recording = call(&synthetic_video(&[60; 30], 10), &synthetic_audio(60), Trouble::default(), 1, 0);
        let whole = recording.segments[0].bytes.to_vec();
        prop_assert!(inspect_segment(&noise).is_err());
        let cut = cut as usize % whole.len();
        prop_assert!(inspect_segment(&whole[..cut]).is_err(), "torn at {cut}");
        prop_assert!(inspect_segment(&[&whole[..], &noise[..]].concat()).is_err() || noise.is_empty());
        let mut changed = whole.clone();
        for (at, value) in flips {
            let at = at as usize % changed.len();
            changed[at] ^= value;
        }
        let header = recording.segments[0].meta.header_len as usize;
        if changed[header..] != whole[header..] {
            prop_assert!(inspect_segment(&changed).is_err(), "a changed Cluster is noticed");
        }
    }

    #[test]
    fn any_items_in_any_order_leave_the_writer_in_bounds(
        seed in any::<u64>(), spread_ms in 0..5000u64, lost_permille in 0..900u32,
    ) {
        // Times of arrival and order have nothing to do with each other.
        let start = epoch();
        let video = send(&synthetic_video(&[1500; 80], 9), &Sending::new(start));
        let trouble = Trouble { lost_permille, doubled_permille: 200, jitter_ms: spread_ms, late_permille: 300 };
        let arrivals: Vec<Arrival> = trouble.apply(video, seed);
        let last = arrivals.last().map_or(start, |arrival| arrival.at);
        let crowded: Vec<Arrival> = arrivals.into_iter().map(|arrival| received_at(arrival, last)).collect();
        let mut driver = Driver::new(parameters(start, &[CodecKind::Vp8]));
        // Reports may truly say that what comes now was captured long ago.
        driver.most_age_ms = 7000;
        crowded.into_iter().for_each(|arrival| driver.push(arrival));
        let recording = driver.finish();
        let written: u64 = recording.segments.iter().map(|s| oracle::read(&s.bytes).frames().len() as u64).sum();
        prop_assert_eq!(written, recording.stats.frames);
        prop_assert!(recording.segments.iter().all(|s| s.meta.video.as_ref().is_some_and(|v| v.codec.media() == MediaKind::Video)));
    }
}
