//! Frames that are encrypted end to end: stored as they came and marked, or left out and counted.

use caside_media::parameters::{CodecKind, MediaKind};
use caside_media::record::segment::GroupStats;

use super::material::{Material, synthetic_audio, synthetic_video};
use super::network::{Sending, epoch, merged, send};
use super::recorder::{Driver, Recording, finish, parameters};

/// As a transform does it that leaves so many bytes of each frame in the clear.
fn encrypted(mut material: Material, clear: impl Fn(&[u8]) -> usize) -> Material {
    for sample in &mut material.samples {
        let from = clear(&sample.data);
        for (byte, n) in sample.data.iter_mut().zip(0u8..=255).skip(from) {
            *byte ^= n.wrapping_mul(31) ^ 0x5a;
        }
    }
    material
}

/// VP8 with its frames' own headers in the clear, as `docs/e2ee.md` asks for.
fn picture() -> Material {
    let header = |frame: &[u8]| if frame[0] & 1 == 0 { 10 } else { 3 };
    encrypted(synthetic_video(&[900; 100], 25), header)
}

/// Opus with nothing in the clear: most of its first bytes are no packets' that there could be.
fn sound() -> Material {
    let mut material = encrypted(synthetic_audio(200), |_| 0);
    for (sample, n) in material.samples.iter_mut().zip(0u8..) {
        // The first byte is random, as with a cipher whose key stream begins anew with each frame.
        sample.data[0] = n.wrapping_mul(97) | 3;
    }
    material
}

/// Records these; `told` says whether the writer knows what they are encrypted with.
fn record(materials: &[Material], told: Option<&str>) -> Recording {
    let start = epoch();
    let codecs: Vec<CodecKind> = materials.iter().map(|material| material.codec).collect();
    let mut driver = Driver::new(parameters(start, &codecs));
    for codec in &codecs {
        driver.writer.set_encryption(codec.media(), told);
    }
    let arrivals = materials.iter().zip(1..).map(|(material, ssrc)| {
        let sending = Sending {
            ssrc,
            ..Sending::new(start)
        };
        send(material, &sending)
    });
    merged(arrivals).into_iter().for_each(|arrival| driver.push(arrival));
    driver.finish()
}

fn holds(file: &[u8], frame: &[u8]) -> bool {
    file.windows(frame.len()).any(|window| window == frame)
}

#[test]
fn every_frame_is_stored_as_it_came_and_the_file_says_what_it_holds() {
    let (picture, sound) = (picture(), sound());
    let recording = record(&[picture.clone(), sound.clone()], Some("sframe"));
    let GroupStats {
        frames,
        malformed,
        frames_dropped,
        ..
    } = recording.stats;
    assert_eq!((frames, malformed, frames_dropped), (300, 0, 0));
    let (meta, file) = finish(&recording.segments);
    for track in [meta.audio.unwrap(), meta.video.unwrap()] {
        assert_eq!(track.encryption.as_deref(), Some("sframe"));
    }
    let name = b"encrypted end to end: sframe";
    assert_eq!(file.windows(name.len()).filter(|window| window == name).count(), 2);
    for sample in picture.samples.iter().chain(&sound.samples) {
        assert!(holds(&file, &sample.data), "the frame at {} is missing", sample.ticks);
    }
    assert!(meta.duration_ms.abs_diff(4000) < 50, "{} ms", meta.duration_ms);
}

#[test]
fn what_is_not_marked_is_read_and_left_out_where_it_makes_no_sense() {
    let recording = record(&[sound()], None);
    assert!(recording.stats.malformed > 50, "{:?}", recording.stats);
    let known = recording
        .segments
        .iter()
        .filter_map(|segment| segment.meta.audio.as_ref());
    assert!(known.into_iter().all(|track| track.encryption.is_none()));
}

#[test]
fn frames_of_which_a_file_needs_more_than_can_be_read_are_counted_and_not_written() {
    // Nothing of VP8's frames is in the clear, not even where a key frame begins.
    let hidden = encrypted(synthetic_video(&[900; 100], 25), |_| 0);
    let recording = record(&[hidden], Some("sframe"));
    assert!(
        recording.stats.malformed + recording.stats.frames_dropped >= 100,
        "{:?}",
        recording.stats
    );
    assert_eq!(recording.stats.frames, 0);
}

#[test]
fn a_word_that_is_too_long_is_cut_and_a_mark_stays_when_the_file_goes_on() {
    let long = "a".repeat(100);
    let recording = record(&[sound()], Some(&long));
    let word = |recording: &Recording| {
        recording
            .segments
            .last()
            .unwrap()
            .meta
            .audio
            .clone()
            .unwrap()
            .encryption
    };
    assert_eq!(word(&recording).map(|word| word.len()), Some(64));

    let start = epoch();
    let mut driver = Driver::new(parameters(start, &[CodecKind::Opus]));
    for arrival in send(&synthetic_audio(100), &Sending::new(start)) {
        driver.push(arrival);
    }
    driver.writer.set_encryption(MediaKind::Audio, Some("later"));
    let sent = Sending::new(start);
    let later = Sending {
        start: start + std::time::Duration::from_secs(3),
        first_sequence: sent.first_sequence.wrapping_add(100),
        first_timestamp: sent.first_timestamp.wrapping_add(3 * 48_000),
        wall_s: sent.wall_s + 3.0,
        ..sent
    };
    for arrival in send(&sound(), &later) {
        driver.push(arrival);
    }
    let (meta, _) = finish(&driver.finish().segments);
    assert_eq!(meta.audio.unwrap().encryption.as_deref(), Some("later"));
}
