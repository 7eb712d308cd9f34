//! Segments as they lie in a spool or an object store: inspected, and made one file.

use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use caside_media::control::{TapItem, TapPacket};
use caside_media::parameters::{CodecKind, MediaKind, PayloadType, Ssrc};
use caside_media::record::finish::{Finisher, Step};
use caside_media::record::inspect::inspect_segment;
use caside_media::record::segment::{GroupParameters, Segment, TrackGroupWriter};

use crate::input::{Blob, Sequence};
use crate::record::codec;
use crate::setting::start;

/// A change to a segment of ours.
#[derive(Debug, Arbitrary)]
enum Change<'a> {
    Xor(u16, u8),
    Replace(u16, Blob<'a>),
    Insert(u16, Blob<'a>),
    Delete(u16, u8),
    Cut(u16),
}

/// Segments, each one of ours changed or any bytes.
#[derive(Debug, Arbitrary)]
enum Piece<'a> {
    Changed {
        which: u8,
        changes: Vec<Change<'a>>,
        sealed: bool,
    },
    Raw(Blob<'a>),
}

/// What a finisher finds.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    pieces: Sequence<Piece<'a>>,
    /// Whether the bytes of a segment are gone when they are asked for.
    gone: u8,
}

/// Inspects all and finishes those that are good.
pub fn run(input: &Input<'_>) {
    let pieces: Vec<Vec<u8>> = input.pieces.iter().take(8).map(bytes_of).collect();
    let good: Vec<_> = pieces
        .iter()
        .filter_map(|piece| Some((inspect_segment(piece).ok()?, piece)))
        .collect();
    let Ok(mut finisher) = Finisher::new(good.iter().map(|(meta, _)| meta.clone()), "fuzz") else {
        return;
    };
    let gone = |index: usize| input.gone & 1 << (index % 8) != 0;
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps <= 4 * good.len() + 8, "the finisher does not come to an end");
        match finisher.poll() {
            Step::Chunk(chunk) => assert!(!chunk.is_empty()),
            Step::Need { index } => {
                let bytes = good.get(index).map(|(_, piece)| Bytes::copy_from_slice(piece));
                finisher.supply(bytes.filter(|_| !gone(index)));
            }
            Step::Done => break,
        }
    }
    assert!(
        finisher.damaged().iter().all(|index| gone(*index)),
        "what was inspected can be used"
    );
}

fn bytes_of(piece: &Piece<'_>) -> Vec<u8> {
    let (which, changes, sealed) = match piece {
        Piece::Raw(bytes) => return bytes.to_vec(),
        Piece::Changed { which, changes, sealed } => (which, changes, sealed),
    };
    let mut bytes = ours()[usize::from(*which) % ours().len()].bytes.to_vec();
    let cluster = bytes.windows(4).position(|id| id == [0x1f, 0x43, 0xb6, 0x75]);
    for change in changes.iter().take(16) {
        let at = |place: u16| usize::from(place) % bytes.len().max(1);
        match change {
            Change::Xor(place, xor) => {
                let at = at(*place);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= xor;
                }
            }
            Change::Replace(place, with) => {
                let at = at(*place);
                bytes
                    .iter_mut()
                    .skip(at)
                    .zip(with.iter())
                    .for_each(|(byte, with)| *byte = *with);
            }
            Change::Insert(place, what) => {
                let at = at(*place);
                bytes.splice(at..at, what.iter().copied());
            }
            Change::Delete(place, count) => {
                let at = at(*place);
                let end = bytes.len().min(at + usize::from(*count));
                bytes.drain(at..end);
            }
            Change::Cut(length) => bytes.truncate(usize::from(*length)),
        }
    }
    if *sealed && let Some(cluster) = cluster {
        seal(&mut bytes, cluster);
    }
    bytes
}

/// Gives the Cluster that begins at `cluster` the right checksum, so that what comes after it is looked at.
fn seal(bytes: &mut [u8], cluster: usize) {
    let Some(size) = bytes.get(cluster + 4) else { return };
    let data = cluster + 4 + size.leading_zeros() as usize + 1;
    let Some((crc, rest)) = bytes.get_mut(data..).and_then(|body| body.split_at_mut_checked(6)) else {
        return;
    };
    crc[2..].copy_from_slice(&crc32fast::hash(rest).to_le_bytes());
}

/// Segments as we write them, one of each kind.
fn ours() -> &'static [Segment] {
    static OURS: LazyLock<Vec<Segment>> = LazyLock::new(|| {
        let vp8 = |_: u16| vec![0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 1, 0xf0, 0, 1, 2, 3];
        let both = write(&[(MediaKind::Audio, &|n| vec![0xf8, n as u8]), (MediaKind::Video, &vp8)]);
        let sound = write(&[(MediaKind::Audio, &|n| vec![0xf8, n as u8])]);
        both.into_iter().chain(sound).collect()
    });
    &OURS
}

/// What stands for payloads: by packet.
type Payloads<'a> = &'a dyn Fn(u16) -> Vec<u8>;

fn write(tracks: &[(MediaKind, Payloads<'_>)]) -> Vec<Segment> {
    let codecs = |kind| match kind {
        MediaKind::Audio => vec![codec(CodecKind::Opus, 111)],
        MediaKind::Video => vec![codec(CodecKind::Vp8, 96)],
    };
    let has = |kind| tracks.iter().any(|(track, _)| *track == kind).then(|| codecs(kind));
    let mut writer = TrackGroupWriter::new(GroupParameters {
        audio: has(MediaKind::Audio),
        video: has(MediaKind::Video),
        recording_start: start(),
        first_segment: 0,
        writing_app: "fuzz".to_owned(),
    });
    let mut segments = Vec::new();
    for n in 0..30_u16 {
        let received = start() + Duration::from_millis(u64::from(n) * 40);
        for (kind, payload) in tracks {
            let is_audio = *kind == MediaKind::Audio;
            let packet = TapPacket {
                received,
                ssrc: Ssrc(if is_audio { 1 } else { 2 }),
                payload_type: PayloadType(if is_audio { 111 } else { 96 }),
                sequence: n,
                timestamp: u32::from(n) * if is_audio { 1920 } else { 3600 },
                marker: true,
                payload: payload(n).into(),
            };
            writer
                .push(received, *kind, TapItem::Packet(packet))
                .expect("the codec stays");
            segments.extend(std::iter::from_fn(|| writer.poll_segment()));
        }
    }
    writer.finish(start() + Duration::from_secs(2));
    segments.extend(std::iter::from_fn(|| writer.poll_segment()));
    assert!(!segments.is_empty(), "there is something to change");
    segments
}
