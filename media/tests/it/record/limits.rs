//! What a writer does at its bounds, and with what publishers do besides sending media.

use std::time::Instant;

use bytes::Bytes;
use caside_media::control::{TapItem, TapPacket};
use caside_media::parameters::{CodecKind, MediaKind, PayloadType, Ssrc};
use caside_media::record::finish::{FinishError, Finisher};
use caside_media::record::inspect::inspect_segment;
use caside_media::record::meta::SegmentMeta;
use caside_media::record::segment::TrackGroupWriter;

use super::material::{self, Material, Sample, synthetic_audio, synthetic_video};
use super::network::{Arrival, Sending, codec, epoch, merged, send};
use super::oracle;
use super::recorder::{Driver, OnDisk, finish, ms, parameters, record};

fn video(frames: usize) -> Material {
    synthetic_video(&vec![2000; frames], 25)
}

/// A VP8 key frame in one packet.
fn key_frame(at: Instant, sequence: u16, timestamp: u32) -> Arrival {
    let payload = [&[0x10][..], &[0x10, 0, 0, 0x9d, 1, 0x2a, 64, 0, 36, 0]].concat();
    let packet = TapPacket {
        received: at,
        ssrc: Ssrc(1),
        payload_type: PayloadType(96),
        sequence,
        timestamp,
        marker: true,
        payload: Bytes::from(payload),
    };
    Arrival {
        at,
        track: MediaKind::Video,
        item: TapItem::Packet(packet),
    }
}

/// Frames in a segment.
fn frames(bytes: &[u8]) -> usize {
    oracle::read(bytes).frames().len()
}

#[test]
fn what_is_older_than_two_seconds_has_left_at_any_moment() {
    let start = epoch();
    let sound = send(
        &synthetic_audio(500),
        &Sending {
            ssrc: 5,
            ..Sending::new(start)
        },
    );
    let arrivals = merged([send(&video(250), &Sending::new(start)), sound]);
    for crash_ms in [1900, 3333, 5000, 7777, 9999] {
        let crash = start + ms(crash_ms);
        let mut driver = Driver::new(parameters(start, &[CodecKind::Vp8, CodecKind::Opus]));
        let survivors: Vec<Arrival> = arrivals.iter().filter(|arrival| arrival.at <= crash).cloned().collect();
        survivors.into_iter().for_each(|arrival| driver.push(arrival));
        driver.pass_until(crash);
        let kept: usize = driver.segments().iter().map(|segment| frames(&segment.bytes)).sum();
        // 25 pictures and 50 packets of sound a second; the network takes 30 ms.
        let least = (crash_ms as usize).saturating_sub(2000) * 75 / 1000;
        assert!(kept >= least, "{kept} of at least {least} frames after {crash_ms} ms");
    }
}

#[test]
fn when_packets_stop_the_rest_leaves_by_itself() {
    let start = epoch();
    let mut driver = Driver::new(parameters(start, &[CodecKind::Vp8]));
    send(&video(10), &Sending::new(start))
        .into_iter()
        .for_each(|arrival| driver.push(arrival));
    driver.pass_until(start + ms(10_000));
    assert_eq!(driver.writer.poll_timeout(), None, "nothing waits any more");
    assert_eq!(
        driver
            .segments()
            .iter()
            .map(|segment| frames(&segment.bytes))
            .sum::<usize>(),
        10
    );
}

#[test]
fn another_codec_needs_another_file() {
    let start = epoch();
    let codecs = [CodecKind::Vp8, CodecKind::H264, CodecKind::Opus];
    let before = send(&video(50), &Sending::new(start));
    let after = send(
        &material::video(CodecKind::H264, 2),
        &Sending {
            ssrc: 99,
            ..Sending::new(start + ms(2000))
        },
    );
    let mut writer = TrackGroupWriter::new(parameters(start, &codecs));
    for arrival in before {
        writer
            .push(arrival.at, arrival.track, arrival.item)
            .expect("the codec stays");
    }
    let mut after = after.into_iter();
    let first = after.next().unwrap();
    let change = writer
        .push(first.at, first.track, first.item)
        .expect_err("one track has one codec");
    assert_eq!(
        (change.track, change.from, change.to),
        (MediaKind::Video, CodecKind::Vp8, CodecKind::H264)
    );
    writer.finish(first.at);
    let mut count = 0;
    while let Some(segment) = writer.poll_segment() {
        count += frames(&segment.bytes);
    }
    assert_eq!(count, 50);
    let mut driver = Driver::new(parameters(start, &codecs));
    driver.push(Arrival {
        at: first.at,
        track: change.track,
        item: change.item,
    });
    after.for_each(|arrival| driver.push(arrival));
    let recording = driver.finish();
    let (meta, bytes) = finish(&recording.segments);
    assert_eq!((meta.extension, meta.content_type), ("mkv", "video/x-matroska"));
    assert_eq!(
        OnDisk::new("second.mkv", &bytes).frames("v"),
        50,
        "the packet that was given back counts"
    );
}

#[test]
fn a_camera_switched_on_later_joins_the_file() {
    let start = epoch();
    let mut driver = Driver::new(parameters(start, &[CodecKind::Opus]));
    let sound = send(
        &synthetic_audio(400),
        &Sending {
            ssrc: 5,
            ..Sending::new(start)
        },
    );
    let pictures = send(&video(100), &Sending::new(start + ms(4000)));
    let mut known = false;
    for arrival in merged([sound, pictures]) {
        if arrival.track == MediaKind::Video && !known {
            driver.writer.set_track(MediaKind::Video, vec![codec(CodecKind::Vp8)]);
            known = true;
        }
        driver.push(arrival);
    }
    let recording = driver.finish();
    assert!(recording.segments[0].meta.video.is_none() && recording.segments.last().unwrap().meta.video.is_some());
    let (meta, bytes) = finish(&recording.segments);
    assert!(meta.audio.is_some() && meta.video.is_some());
    let file = oracle::read(&bytes);
    assert_eq!((file.data_of(1).len(), file.data_of(2).len()), (100, 400));
    let first_picture = file.frames().into_iter().find(|frame| frame.0 == 1).unwrap();
    assert!((3950..4050).contains(&first_picture.1), "{} ms", first_picture.1);
}

#[test]
fn a_pause_loses_nothing_and_keeps_time() {
    let start = epoch();
    let arrivals = send(&video(500), &Sending::new(start));
    // Held from 5 s to 12 s: nothing is forwarded, though the publisher goes on.
    let (from, until) = (start + ms(5000), start + ms(12_000));
    let mut driver = Driver::new(parameters(start, &[CodecKind::Vp8]));
    let item = |at: Instant, paused: bool| Arrival {
        at,
        track: MediaKind::Video,
        item: TapItem::Paused(paused),
    };
    let open = arrivals
        .into_iter()
        .filter(|arrival| arrival.at < from || arrival.at > until)
        .collect();
    for arrival in merged([open, vec![item(from, true)], vec![item(until, false)]]) {
        driver.push(arrival);
    }
    let recording = driver.finish();
    assert_eq!(recording.stats.lost, 0);
    let (meta, bytes) = finish(&recording.segments);
    let times: Vec<i64> = oracle::read(&bytes).frames().iter().map(|frame| frame.1).collect();
    let hole = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(
        (7000..8100).contains(&hole),
        "{hole} ms: the pause and up to a second until the next key frame"
    );
    assert!((meta.duration_ms as i64 - 20_000).abs() < 100, "{}", meta.duration_ms);
}

#[test]
fn packets_of_other_payload_types_and_padding_are_no_loss() {
    let start = epoch();
    let sent = send(&video(50), &Sending::new(start));
    let mut sequence = 65_500u16;
    let mut mixed = Vec::new();
    for arrival in sent {
        let TapItem::Packet(packet) = &arrival.item else {
            continue;
        };
        let numbered = |offset: u16, payload_type: u8, payload: Bytes, marker: bool| {
            let (sequence, payload_type) = (sequence.wrapping_add(offset), PayloadType(payload_type));
            let packet = TapPacket {
                sequence,
                payload_type,
                payload,
                marker,
                ..packet.clone()
            };
            Arrival {
                item: TapItem::Packet(packet),
                ..arrival.clone()
            }
        };
        mixed.push(numbered(0, 96, packet.payload.clone(), packet.marker));
        mixed.push(numbered(1, 120, Bytes::from_static(&[1, 2, 3]), false));
        mixed.push(numbered(2, 96, Bytes::new(), false));
        sequence = sequence.wrapping_add(3);
    }
    let recording = record(start, &[CodecKind::Vp8], mixed);
    assert_eq!(
        (
            recording.stats.frames,
            recording.stats.lost,
            recording.stats.frames_dropped
        ),
        (50, 0, 0)
    );
    assert_eq!(recording.stats.unknown, (recording.stats.packets) / 3);
}

#[test]
fn a_publisher_that_starts_anew_continues_the_file() {
    let start = epoch();
    let first = send(&video(100), &Sending::new(start));
    let again = Sending {
        ssrc: 4242,
        first_sequence: 9,
        first_timestamp: 77,
        ..Sending::new(start + ms(6000))
    };
    let recording = record(start, &[CodecKind::Vp8], merged([first, send(&video(100), &again)]));
    assert_eq!((recording.stats.frames, recording.stats.lost), (200, 0));
    let (_, bytes) = finish(&recording.segments);
    let times: Vec<i64> = oracle::read(&bytes).frames().iter().map(|frame| frame.1).collect();
    let second = times[100] - times[0];
    assert!((5950..6050).contains(&second), "{second} ms");
}

#[test]
fn of_several_layers_one_is_recorded() {
    let start = epoch();
    let low = send(&video(100), &Sending::new(start));
    let high = Sending {
        ssrc: 4242,
        delay: ms(31),
        ..Sending::new(start)
    };
    let high = send(&synthetic_video(&[9000; 100], 25), &high);
    let recording = record(start, &[CodecKind::Vp8], merged([low, high]));
    assert_eq!((recording.stats.frames, recording.stats.lost), (100, 0));
    let (_, bytes) = finish(&recording.segments);
    assert!(
        oracle::read(&bytes)
            .data_of(1)
            .iter()
            .all(|picture| picture.len() == 2000)
    );
}

#[test]
fn segments_that_nobody_fetches_are_bounded() {
    let start = epoch();
    let mut writer = TrackGroupWriter::new(parameters(start, &[CodecKind::Vp8]));
    let mut last = start;
    for arrival in send(&video(25 * 60), &Sending::new(start)) {
        last = arrival.at;
        writer
            .push(arrival.at, arrival.track, arrival.item)
            .expect("the codec stays");
    }
    writer.finish(last);
    let (mut segments, mut kept) = (0, 0);
    while let Some(segment) = writer.poll_segment() {
        segments += 1;
        kept += frames(&segment.bytes) as u64;
    }
    assert!(segments <= 20, "{segments}");
    assert_eq!(kept, writer.stats().frames);
    assert_eq!(kept + writer.stats().frames_dropped, 25 * 60);
}

#[test]
fn a_frame_beyond_the_bound_is_dropped_and_a_key_frame_asked_for() {
    let start = epoch();
    let huge = synthetic_video(&[2000, 2000, (4 << 20) + 1, 2000, 2000], 50);
    let recording = record(
        start,
        &[CodecKind::Vp8],
        send(
            &huge,
            &Sending {
                mtu: 60_000,
                ..Sending::new(start)
            },
        ),
    );
    assert_eq!((recording.stats.frames, recording.stats.malformed), (2, 1));
    assert_eq!(recording.key_frames_asked.len(), 1);
}

#[test]
fn key_frames_are_asked_for_once_a_second_while_packets_come() {
    let start = epoch();
    let pictures = video(150);
    let without_keys = Material {
        samples: pictures
            .samples
            .into_iter()
            .enumerate()
            .filter(|(index, _)| index % 25 != 0)
            .map(|(_, s)| s)
            .collect(),
        ..pictures
    };
    let recording = record(start, &[CodecKind::Vp8], send(&without_keys, &Sending::new(start)));
    assert_eq!(recording.stats.frames, 0);
    assert!(
        (5..=6).contains(&recording.key_frames_asked.len()),
        "{:?}",
        recording.key_frames_asked.len()
    );
    assert!(
        recording
            .key_frames_asked
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= ms(1000))
    );
}

#[test]
fn a_picture_that_grows_is_announced_at_its_largest() {
    let start = epoch();
    let mut pictures = video(75);
    for (index, width) in [(25, 640u16), (50, 320)] {
        let sample: &mut Sample = &mut pictures.samples[index];
        sample.data[6..10].copy_from_slice(&[width.to_le_bytes(), (width / 2).to_le_bytes()].concat());
    }
    let recording = record(start, &[CodecKind::Vp8], send(&pictures, &Sending::new(start)));
    let (meta, _) = finish(&recording.segments);
    assert_eq!(meta.video.map(|video| (video.width, video.height)), Some((640, 320)));
}

#[test]
fn h264_parameters_may_change_midway() {
    let start = epoch();
    let small = material::video(CodecKind::H264, 2);
    let large = material::video_of(CodecKind::H264, "testsrc2=size=640x360:rate=25:duration=2");
    let first = send(&small, &Sending::new(start));
    let then = send(
        &large,
        &Sending {
            ssrc: 4242,
            first_sequence: 9,
            ..Sending::new(start + ms(2300))
        },
    );
    let recording = record(start, &[CodecKind::H264], merged([first, then]));
    let (_, bytes) = finish(&recording.segments);
    let file = OnDisk::new("grown.mkv", &bytes);
    file.decode();
    assert_eq!(file.frames("v"), 100);
}

#[test]
fn frames_before_the_recording_do_not_count_backwards() {
    let start = epoch();
    let mut driver = Driver::new(parameters(start, &[CodecKind::Vp8]));
    // Captured before the recording began, as the report says.
    let wall = 3_900_000_000u64 << 32;
    let report = TapItem::SenderReport {
        ntp: wall,
        rtp: 90_000,
        received: start,
    };
    driver.push(Arrival {
        at: start,
        track: MediaKind::Video,
        item: report,
    });
    for index in 0..20u32 {
        driver.push(key_frame(start + ms(u64::from(index) * 40), index as u16, index * 3600));
    }
    let recording = driver.finish();
    let times: Vec<u64> = recording.segments.iter().map(|segment| segment.meta.start_ms).collect();
    assert_eq!((times[0], recording.stats.frames), (0, 20));
}

#[test]
fn a_file_is_not_made_of_what_does_not_belong_together() {
    let start = epoch();
    let vp8 = record(start, &[CodecKind::Vp8], send(&video(30), &Sending::new(start))).segments;
    let plan = |metas: Vec<SegmentMeta>| Finisher::new(metas, "caside tests").map(|_| ());
    assert_eq!(plan(Vec::new()), Err(FinishError::NoSegments));
    let mut other = vp8[0].meta.clone();
    other.video.as_mut().unwrap().codec = CodecKind::Vp9;
    let mismatch = FinishError::CodecMismatch {
        index: 1,
        track: MediaKind::Video,
        expected: CodecKind::Vp8,
        found: CodecKind::Vp9,
    };
    assert_eq!(plan(vec![vp8[0].meta.clone(), other]), Err(mismatch));
    let changes: [fn(&mut SegmentMeta); 4] = [
        |meta| meta.header_len = meta.length,
        |meta| meta.length = u32::MAX,
        |meta| meta.end_ms = meta.start_ms.wrapping_sub(1),
        |meta| meta.cues[0].offset = u32::MAX,
    ];
    for change in changes {
        let mut meta = vp8[0].meta.clone();
        meta.start_ms += 1;
        change(&mut meta);
        assert_eq!(plan(vec![meta]), Err(FinishError::Metadata { index: 0 }));
    }
}

#[test]
fn recovered_metadata_finishes_the_same_file() {
    let start = epoch();
    let sound = send(
        &synthetic_audio(200),
        &Sending {
            ssrc: 5,
            ..Sending::new(start)
        },
    );
    let arrivals = merged([send(&video(100), &Sending::new(start)), sound]);
    let mut segments = record(start, &[CodecKind::Vp8, CodecKind::Opus], arrivals).segments;
    let (_, expected) = finish(&segments);
    for segment in &mut segments {
        segment.meta = inspect_segment(&segment.bytes).expect("whole");
    }
    let (_, recovered) = finish(&segments);
    assert!(expected == recovered);
}
