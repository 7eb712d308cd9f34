//! A recorder of packets that say anything: what it writes can be read and finished.

use std::time::Instant;

use arbitrary::Arbitrary;
use caside_media::control::{TapItem, TapPacket};
use caside_media::parameters::{Codec, CodecKind, Feedback, MediaKind, PayloadType, Ssrc};
use caside_media::record::finish::{Finisher, Step};
use caside_media::record::inspect::inspect_segment;
use caside_media::record::segment::{GroupParameters, Segment, TrackGroupWriter};

use crate::input::{Blob, Sequence, Text};
use crate::setting::{astray, start, wait};

/// What a tap saw.
#[derive(Debug, Arbitrary)]
enum Item<'a> {
    /// A packet that follows the one before, its numbers moved.
    Packet {
        video: bool,
        payload_type: u8,
        skip: i8,
        ticks: i16,
        marker: bool,
        payload: Blob<'a>,
    },
    /// A packet of any numbers.
    Any {
        video: bool,
        payload_type: u8,
        ssrc: u8,
        sequence: u16,
        timestamp: u32,
        marker: bool,
        payload: Blob<'a>,
    },
    Report {
        video: bool,
        ntp: u64,
        rtp: u32,
    },
    Paused {
        video: bool,
        paused: bool,
    },
    Codecs {
        video: bool,
    },
    Wait {
        ms: u16,
    },
}

/// A recording.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    audio: bool,
    video: bool,
    fmtp: Text<'a>,
    items: Sequence<Item<'a>>,
}

/// A codec as it was agreed.
pub(crate) fn codec(kind: CodecKind, payload_type: u8) -> Codec {
    let is_video = kind.media() == MediaKind::Video;
    Codec {
        kind,
        payload_type: PayloadType(payload_type),
        clock_rate: if is_video { 90_000 } else { 48_000 },
        channels: if is_video { 0 } else { 2 },
        fmtp: String::new(),
        feedback: Feedback::default(),
        rtx: None,
        red: None,
    }
}

fn codecs(kind: MediaKind, fmtp: &str) -> Vec<Codec> {
    match kind {
        MediaKind::Audio => vec![codec(CodecKind::Opus, 0)],
        MediaKind::Video => [CodecKind::Vp8, CodecKind::Vp9, CodecKind::H264, CodecKind::Av1]
            .into_iter()
            .zip(0..)
            .map(|(kind, number)| Codec {
                fmtp: fmtp.to_owned(),
                ..codec(kind, number)
            })
            .collect(),
    }
}

struct Recording<'a> {
    now: Instant,
    writer: TrackGroupWriter,
    segments: Vec<Segment>,
    /// Sequence number and timestamp of the last packet: audio, video.
    last: [(u16, u32); 2],
    fmtp: &'a str,
}

/// Records it.
pub fn run(input: &Input<'_>) {
    let begin = |kind| codecs(kind, &input.fmtp);
    let mut recording = Recording {
        now: start(),
        writer: TrackGroupWriter::new(GroupParameters {
            audio: input.audio.then(|| begin(MediaKind::Audio)),
            video: input.video.then(|| begin(MediaKind::Video)),
            recording_start: start(),
            first_segment: 0,
            writing_app: "fuzz".to_owned(),
        }),
        segments: Vec::new(),
        last: [(0, 0); 2],
        fmtp: &input.fmtp,
    };
    input.items.iter().take(512).for_each(|item| recording.take(item));
    recording.writer.finish(recording.now);
    recording.collect();
    finish(&recording.segments);
}

impl Recording<'_> {
    fn take(&mut self, item: &Item<'_>) {
        let (video, item) = match item {
            Item::Packet {
                video,
                payload_type,
                skip,
                ticks,
                marker,
                payload,
            } => {
                let (sequence, timestamp) = &mut self.last[usize::from(*video)];
                *sequence = sequence.wrapping_add(1).wrapping_add_signed(astray(*skip));
                *timestamp = timestamp.wrapping_add_signed(i32::from(*ticks));
                let numbers = (7, *sequence, *timestamp);
                (*video, self.packet(*payload_type % 4, numbers, *marker, payload))
            }
            Item::Any {
                video,
                payload_type,
                ssrc,
                sequence,
                timestamp,
                marker,
                payload,
            } => {
                let numbers = (u32::from(*ssrc), *sequence, *timestamp);
                (*video, self.packet(*payload_type % 8, numbers, *marker, payload))
            }
            Item::Report { video, ntp, rtp } => (
                *video,
                TapItem::SenderReport {
                    ntp: *ntp,
                    rtp: *rtp,
                    received: self.now,
                },
            ),
            Item::Paused { video, paused } => (*video, TapItem::Paused(*paused)),
            Item::Codecs { video } => {
                let kind = kind_of(*video);
                return self.writer.set_track(kind, codecs(kind, self.fmtp));
            }
            Item::Wait { ms } => {
                self.now += wait(*ms);
                self.writer.handle_timeout(self.now);
                let due = self.writer.poll_timeout();
                assert!(due.is_none_or(|at| at > self.now), "a timer that stays due would spin");
                return self.collect();
            }
        };
        // A codec that changed is for the caller, who begins another group.
        drop(self.writer.push(self.now, kind_of(video), item));
        self.writer.wants_key_frame(self.now);
        self.collect();
    }

    fn packet(
        &self,
        payload_type: u8,
        (ssrc, sequence, timestamp): (u32, u16, u32),
        marker: bool,
        payload: &[u8],
    ) -> TapItem {
        TapItem::Packet(TapPacket {
            received: self.now,
            ssrc: Ssrc(ssrc),
            payload_type: PayloadType(payload_type),
            sequence,
            timestamp,
            marker,
            payload: payload.to_vec().into(),
        })
    }

    fn collect(&mut self) {
        self.segments.extend(std::iter::from_fn(|| self.writer.poll_segment()));
    }
}

fn kind_of(video: bool) -> MediaKind {
    if video { MediaKind::Video } else { MediaKind::Audio }
}

/// Every segment says of itself what its writer said, and all make one file.
fn finish(segments: &[Segment]) {
    for segment in segments {
        assert_eq!(inspect_segment(&segment.bytes).as_ref(), Ok(&segment.meta));
    }
    if segments.is_empty() {
        return;
    }
    let metas = segments.iter().map(|segment| segment.meta.clone());
    let mut finisher = Finisher::new(metas, "fuzz").expect("segments of one writer make a file");
    loop {
        match finisher.poll() {
            Step::Chunk(chunk) => assert!(!chunk.is_empty()),
            Step::Need { index } => finisher.supply(Some(segments[index].bytes.clone())),
            Step::Done => break,
        }
    }
    assert!(finisher.damaged().is_empty(), "every segment is whole");
}
