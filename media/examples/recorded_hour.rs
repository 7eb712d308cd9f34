//! Records an hour of a call that nobody held, as fast as it goes, and says what that took.
//!
//! `cargo run --release -p caside-media --example recorded_hour -- /tmp/hour.webm` writes the finished file; its segments lie in a
//! temporary directory meanwhile, as they would in a spool.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use caside_media::control::{TapItem, TapPacket};
use caside_media::parameters::{Codec, CodecKind, Feedback, MediaKind, PayloadType, Ssrc};
use caside_media::record::finish::{Finisher, Step};
use caside_media::record::meta::SegmentMeta;
use caside_media::record::segment::{GroupParameters, TrackGroupWriter};

const SECONDS: u64 = 3600;
const FPS: u64 = 25;
/// Packets of a picture and bytes of a packet: about 1 Mbit/s.
const PACKETS: u64 = 5;
const PACKET_BYTES: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: recorded_hour FILE")?;
    let spool = tempfile::tempdir()?;
    let name = |number: usize| spool.path().join(format!("{number}.mkv"));
    let began = now();
    let (metas, packets, inside) = record(began, |number, bytes| File::create(name(number))?.write_all(bytes))?;
    say(&format!(
        "recorded {SECONDS} s: {packets} packets into {} segments in {:.2} s, of which {:.2} s in the writer: {} ns a packet",
        metas.len(),
        began.elapsed().as_secs_f64(),
        inside.as_secs_f64(),
        inside.as_nanos() / u128::from(packets),
    ))?;
    let began = now();
    let mut finisher = Finisher::new(metas, "recorded_hour")?;
    let mut file = File::create(&path)?;
    loop {
        match finisher.poll() {
            Step::Chunk(chunk) => file.write_all(&chunk)?,
            Step::Need { index } => finisher.supply(Some(Bytes::from(std::fs::read(name(index))?))),
            Step::Done => break,
        }
    }
    let meta = finisher.meta();
    say(&format!(
        "finished {} bytes, {} ms, in {:.2} s; peak memory {}",
        meta.size_bytes,
        meta.duration_ms,
        began.elapsed().as_secs_f64(),
        peak_memory(),
    ))
}

/// Drives a writer through the hour; gives the segments' metadata, the number of packets, and the time spent in the writer.
fn record(
    start: Instant,
    mut keep: impl FnMut(usize, &[u8]) -> std::io::Result<()>,
) -> Result<(Vec<SegmentMeta>, u64, Duration), Box<dyn Error>> {
    let mut writer = TrackGroupWriter::new(GroupParameters {
        audio: Some(vec![codec(CodecKind::Opus, 111, 48_000)]),
        video: Some(vec![codec(CodecKind::Vp8, 96, 90_000)]),
        recording_start: start,
        first_segment: 0,
        writing_app: "recorded_hour".to_owned(),
    });
    let (mut metas, mut packets, mut inside) = (Vec::new(), 0, Duration::ZERO);
    // Every 20 ms a packet of sound, every 40 ms a picture.
    for tick in 0..SECONDS * 50 {
        let at = start + Duration::from_millis(tick * 20);
        let mut items = vec![(MediaKind::Audio, sound(tick, at))];
        if tick % 2 == 0 {
            items.extend((0..PACKETS).map(|index| (MediaKind::Video, picture(tick / 2, index, at))));
        }
        let before = now();
        for (track, item) in items {
            writer.push(at, track, item)?;
            packets += 1;
        }
        writer.handle_timeout(at);
        inside += before.elapsed();
        while let Some(segment) = writer.poll_segment() {
            keep(metas.len(), &segment.bytes)?;
            metas.push(segment.meta);
        }
    }
    writer.finish(start + Duration::from_secs(SECONDS));
    while let Some(segment) = writer.poll_segment() {
        keep(metas.len(), &segment.bytes)?;
        metas.push(segment.meta);
    }
    Ok((metas, packets, inside))
}

fn codec(kind: CodecKind, payload_type: u8, clock_rate: u32) -> Codec {
    let channels = if kind == CodecKind::Opus { 2 } else { 0 };
    let (fmtp, feedback) = (String::new(), Feedback::default());
    Codec {
        kind,
        payload_type: PayloadType(payload_type),
        clock_rate,
        channels,
        fmtp,
        feedback,
        rtx: None,
        red: None,
    }
}

/// Opus as Chromium sends silence.
fn sound(number: u64, received: Instant) -> TapItem {
    TapItem::Packet(TapPacket {
        received,
        ssrc: Ssrc(2),
        payload_type: PayloadType(111),
        sequence: number as u16,
        timestamp: (number * 960) as u32,
        marker: false,
        payload: Bytes::from_static(&[0xfc, 0xff, 0xfe]),
    })
}

/// A packet of a VP8 frame, of which every 100th is a key frame in name.
fn picture(frame: u64, index: u64, received: Instant) -> TapItem {
    let mut payload = vec![0; PACKET_BYTES];
    let head: &[u8] = match (index, frame % 100) {
        (0, 0) => &[0x10, 0x10, 0, 0, 0x9d, 1, 0x2a, 64, 0, 36, 0],
        (0, _) => &[0x10, 0x11, 0, 0],
        _ => &[0x00],
    };
    payload[..head.len()].copy_from_slice(head);
    TapItem::Packet(TapPacket {
        received,
        ssrc: Ssrc(1),
        payload_type: PayloadType(96),
        sequence: (frame * PACKETS + index) as u16,
        timestamp: (frame * 90_000 / FPS) as u32,
        marker: index == PACKETS - 1,
        payload: Bytes::from(payload),
    })
}

/// The engine is told the time; this program has to ask for it.
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

fn say(line: &str) -> Result<(), Box<dyn Error>> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// The process's high-water mark by Linux' account.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
}
