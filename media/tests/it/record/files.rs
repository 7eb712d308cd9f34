//! Recordings of real encoders' output, judged by ffmpeg.

use std::collections::HashSet;

use caside_media::parameters::{CodecKind, MediaKind};

use super::material::{self, FPS, HEIGHT, WIDTH};
use super::network::{Sending, Trouble, epoch, merged, send};
use super::recorder::{OnDisk, Recording, finish, finish_with, ms, record};

const SECONDS: u32 = 5;
const VIDEO: [CodecKind; 4] = [CodecKind::Vp8, CodecKind::Vp9, CodecKind::H264, CodecKind::Av1];

/// Records a clip of picture and sound over a troubled network.
fn recorded(codec: CodecKind, trouble: Trouble, seed: u64) -> Recording {
    let start = epoch();
    let video = send(&material::video(codec, SECONDS), &Sending::new(start + ms(400)));
    let audio = send(
        &material::audio(SECONDS),
        &Sending {
            ssrc: 77,
            first_timestamp: 5,
            ..Sending::new(start + ms(400))
        },
    );
    record(
        start,
        &[codec, CodecKind::Opus],
        trouble.apply(merged([video, audio]), seed),
    )
}

#[test]
fn nothing_is_lost_when_the_network_loses_nothing_for_good() {
    for codec in VIDEO {
        let trouble = Trouble {
            doubled_permille: 30,
            jitter_ms: 25,
            late_permille: 30,
            ..Trouble::default()
        };
        let recording = recorded(codec, trouble, 0xca51de);
        assert_eq!(
            (
                recording.stats.lost,
                recording.stats.malformed,
                recording.stats.frames_dropped
            ),
            (0, 0, 0),
            "{codec:?}"
        );
        let (meta, bytes) = finish(&recording.segments);
        let file = OnDisk::new(&format!("out.{}", meta.extension), &bytes);
        file.decode();
        assert_eq!(file.frames("v"), (SECONDS * FPS) as usize, "{codec:?}");
        let packets = file.times_ms("a").len();
        assert!((249..=252).contains(&packets), "{codec:?}: {packets} Opus packets");
        let expected = f64::from(SECONDS);
        assert!(
            (file.duration_s() - expected).abs() < 0.1,
            "{codec:?}: {} s",
            file.duration_s()
        );
        assert!((meta.duration_ms as f64 / 1000.0 - file.duration_s()).abs() < 0.01);
        assert!(
            (380..=460).contains(&meta.offset_ms),
            "the first frame came 430 ms in, not {}",
            meta.offset_ms
        );
        let shown = file.probe(&[
            "-select_streams",
            "v",
            "-show_entries",
            "stream=codec_name,width,height",
        ]);
        let name = codec.name().to_lowercase();
        assert_eq!(shown, format!("{name},{WIDTH},{HEIGHT}"));
        assert_eq!(
            meta.content_type,
            if codec == CodecKind::H264 {
                "video/x-matroska"
            } else {
                "video/webm"
            }
        );
    }
}

#[test]
fn each_segment_plays_by_itself() {
    for codec in VIDEO {
        let recording = recorded(codec, Trouble::default(), 1);
        assert!(recording.segments.len() >= 3, "{} segments", recording.segments.len());
        for segment in &recording.segments {
            assert!(segment.meta.end_ms - segment.meta.start_ms <= 2100);
            let file = OnDisk::new("segment.mkv", &segment.bytes);
            assert!(
                !file.times_ms("a").is_empty(),
                "{codec:?}: segment {}",
                segment.meta.number
            );
            if segment
                .meta
                .cues
                .iter()
                .any(|cue| cue.offset < 200 && cue.track == MediaKind::Video)
            {
                file.decode();
            }
        }
    }
}

#[test]
fn lost_packets_cost_frames_but_never_the_file() {
    for (codec, seed) in VIDEO.into_iter().zip(40..) {
        let trouble = Trouble {
            lost_permille: 20,
            doubled_permille: 10,
            jitter_ms: 20,
            late_permille: 20,
        };
        let recording = recorded(codec, trouble, seed);
        assert!(
            recording.stats.lost > 0 && recording.stats.frames_dropped > 0,
            "{codec:?}: {:?}",
            recording.stats
        );
        assert!(
            !recording.key_frames_asked.is_empty(),
            "{codec:?}: a key frame is to be asked for"
        );
        let (meta, bytes) = finish(&recording.segments);
        let file = OnDisk::new(&format!("out.{}", meta.extension), &bytes);
        file.decode();
        assert_eq!(
            file.times_ms("v").len() + file.times_ms("a").len(),
            recording.stats.frames as usize
        );
    }
}

#[test]
fn every_prefix_of_segments_is_a_file() {
    let recording = recorded(CodecKind::Vp8, Trouble::default(), 2);
    for count in 1..=recording.segments.len() {
        let prefix = &recording.segments[..count];
        let (meta, bytes) = finish(prefix);
        let file = OnDisk::new("prefix.webm", &bytes);
        file.decode();
        let expected = (prefix[count - 1].meta.end_ms - prefix[0].meta.start_ms) as f64 / 1000.0;
        assert!(
            (file.duration_s() - expected).abs() < 0.05,
            "{count}: {} s, not {expected}",
            file.duration_s()
        );
        assert_eq!(meta.offset_ms, prefix[0].meta.start_ms);
    }
}

#[test]
fn a_damaged_or_missing_segment_costs_only_itself() {
    let recording = recorded(CodecKind::Vp8, Trouble::default(), 3);
    let segments = &recording.segments;
    let last = segments.len() - 1;
    let (_, bytes, damaged) = finish_with(segments, |index| match index {
        1 => None,
        2 => {
            let mut bytes = segments[2].bytes.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            Some(bytes.into())
        }
        index if index == last => Some(segments[index].bytes.slice(..segments[index].bytes.len() - 5)),
        index => Some(segments[index].bytes.clone()),
    });
    assert_eq!(damaged, [1, 2, last]);
    let file = OnDisk::new("damaged.webm", &bytes);
    let kept = |index: usize| ![1, 2, last].contains(&index);
    let expected: usize = segments
        .iter()
        .enumerate()
        .filter(|(index, _)| kept(*index))
        .map(|(_, segment)| OnDisk::new("one.mkv", &segment.bytes).times_ms("v").len())
        .sum();
    assert_eq!(file.times_ms("v").len(), expected);
}

#[test]
fn the_finished_file_can_be_seeked_by_its_cues() {
    let recording = recorded(CodecKind::Vp9, Trouble::default(), 4);
    let (_, bytes) = finish(&recording.segments);
    let file = OnDisk::new("seek.webm", &bytes);
    let keys: HashSet<u64> = recording
        .segments
        .iter()
        .flat_map(|s| &s.meta.cues)
        .map(|cue| cue.time_ms)
        .collect();
    assert!(keys.len() >= 4, "a key frame a second: {keys:?}");
    for second in 1..SECONDS {
        // The first packet that is read after a seek is the key frame at or before the place.
        let interval = format!("{second}.5%+#1");
        let found = file.probe(&[
            "-select_streams",
            "v",
            "-read_intervals",
            &interval,
            "-show_entries",
            "packet=pts_time,flags",
        ]);
        let (time, flags) = found.split_once(',').unwrap_or_else(|| panic!("{found}"));
        let time: f64 = time.parse().unwrap();
        assert!(
            flags.starts_with('K') && (f64::from(second) + 0.5 - time) < 1.1,
            "sought {second}.5, found {found}"
        );
    }
}

#[test]
fn sound_alone_is_an_audio_file() {
    let start = epoch();
    let audio = send(&material::audio(3), &Sending::new(start));
    let recording = record(start, &[CodecKind::Opus], audio);
    let (meta, bytes) = finish(&recording.segments);
    assert_eq!((meta.content_type, meta.extension), ("audio/webm", "webm"));
    let file = OnDisk::new("sound.webm", &bytes);
    file.decode();
    assert!((file.duration_s() - 3.0).abs() < 0.1);
}
