//! Which file a segment of a source belongs to, and its number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use caside_media::parameters::{CodecKind, MediaKind};
use caside_media::record::meta::SegmentMeta;
use caside_protocol::ParticipantId;
use caside_protocol::view::Source;

use super::part::{Part, SEGMENTS_PER_PART};

/// Files that one source may become.
const MAX_PARTS: u32 = 64;
/// From here on a key frame begins the next file, so that it plays from its first moment.
const NEARLY_FULL: u32 = SEGMENTS_PER_PART - 1_000;
/// A segment begins with a key frame when one comes this soon: sound may be a little ahead.
const KEY_WITHIN_MS: u64 = 100;

/// Counts a source's segments into files: goes on with one after a pause, and begins another when a codec changes or a file
/// has as many segments as it may.
#[derive(Debug)]
pub(super) struct Numbering {
    part: Part,
    /// Segments of this file so far.
    count: u32,
    audio: Option<CodecKind>,
    video: Option<CodecKind>,
    /// The next file of this participant and source, shared with whoever else records of it.
    parts: Arc<AtomicU32>,
}

impl Numbering {
    /// Begins another file of a source; `None` when there are as many as may be.
    pub(super) fn begin(participant: ParticipantId, source: Source, parts: Arc<AtomicU32>) -> Option<Self> {
        let index = next_part(&parts)?;
        Some(Self {
            part: Part {
                participant,
                source,
                index,
            },
            count: 0,
            audio: None,
            video: None,
            parts,
        })
    }

    pub(super) fn part(&self) -> Part {
        self.part
    }

    /// The number of the next segment, unless it begins another file.
    pub(super) fn next(&self) -> u32 {
        self.part.first_segment() + self.count
    }

    /// The number of this segment; `None` when it would begin a file too many.
    pub(super) fn place(&mut self, segment: &SegmentMeta) -> Option<u32> {
        let codecs = [&segment.audio, &segment.video].map(|track| track.as_ref().map(|track| track.codec));
        let changed = [self.audio, self.video]
            .into_iter()
            .zip(codecs)
            .any(|(known, now)| known.is_some() && now.is_some() && known != now);
        let full = self.count >= SEGMENTS_PER_PART || (self.count >= NEARLY_FULL && begins_anew(segment));
        if changed || full {
            self.part.index = next_part(&self.parts)?;
            (self.count, self.audio, self.video) = (0, None, None);
        }
        let n = self.next();
        self.count += 1;
        let [audio, video] = codecs;
        self.audio = self.audio.or(audio);
        self.video = self.video.or(video);
        Some(n)
    }
}

fn next_part(parts: &AtomicU32) -> Option<u32> {
    let next = |n: u32| (n < MAX_PARTS).then_some(n + 1);
    parts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()
}

/// Whether a file may begin with this segment without waiting for a key frame.
fn begins_anew(segment: &SegmentMeta) -> bool {
    let is_key = |cue: &caside_media::record::meta::CuePoint| {
        cue.track == MediaKind::Video && cue.time_ms <= segment.start_ms + KEY_WITHIN_MS
    };
    segment.video.is_none() || segment.cues.iter().any(is_key)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use caside_media::record::meta::{CuePoint, TrackDescription};
    use caside_protocol::RecordingId;
    use caside_store::recordings::SegmentId;

    use super::*;

    fn track(codec: CodecKind) -> TrackDescription {
        TrackDescription {
            encryption: None,
            codec,
            codec_private: Bytes::new(),
            width: 0,
            height: 0,
            channels: 0,
        }
    }

    fn segment(audio: Option<CodecKind>, video: Option<CodecKind>, key: bool) -> SegmentMeta {
        let cue = CuePoint {
            time_ms: 0,
            track: MediaKind::Video,
            offset: 0,
        };
        SegmentMeta {
            number: 0,
            start_ms: 0,
            end_ms: 1_500,
            length: 0,
            header_len: 0,
            audio: audio.map(track),
            video: video.map(track),
            cues: key.then_some(cue).into_iter().collect(),
        }
    }

    fn begin(parts: &Arc<AtomicU32>) -> Option<Numbering> {
        Numbering::begin(ParticipantId(uuid::Uuid::nil()), Source::Camera, parts.clone())
    }

    fn part_of(n: u32) -> u32 {
        let (recording, participant) = (RecordingId::new(), ParticipantId(uuid::Uuid::nil()));
        let source = Source::Camera;
        Part::of(&SegmentId {
            recording,
            epoch: 1,
            participant,
            source,
            n,
        })
        .index
    }

    #[test]
    fn a_file_with_as_many_segments_as_it_may_have_is_followed_by_another() {
        let parts = Arc::default();
        let mut numbering = begin(&parts).unwrap();
        // A key frame each ten segments: the next file begins with one.
        let mut begun = Vec::new();
        for n in 0..2 * SEGMENTS_PER_PART {
            let placed = numbering
                .place(&segment(None, Some(CodecKind::Vp8), n % 10 == 3))
                .unwrap();
            if begun.last().is_none_or(|(part, _)| *part != part_of(placed)) {
                begun.push((part_of(placed), n % 10));
            }
        }
        assert_eq!(begun, [(0, 0), (1, 3), (2, 3)]);
        // Without any it is followed all the same.
        let parts = Arc::default();
        let mut numbering = begin(&parts).unwrap();
        let numbers: Vec<u32> = (0..=SEGMENTS_PER_PART)
            .map(|_| numbering.place(&segment(None, Some(CodecKind::Vp8), false)).unwrap())
            .collect();
        assert_eq!(numbers, (0..=SEGMENTS_PER_PART).collect::<Vec<_>>());
        assert_eq!(numbers.last().map(|n| part_of(*n)), Some(1));
    }

    #[test]
    fn another_codec_begins_another_file_and_a_track_that_comes_or_goes_does_not() {
        use CodecKind::{Opus, Vp8, Vp9};
        let parts = Arc::default();
        let mut numbering = begin(&parts).unwrap();
        let mut place = |audio, video| part_of(numbering.place(&segment(audio, video, true)).unwrap());
        assert_eq!(place(Some(Opus), None), 0);
        assert_eq!(place(Some(Opus), Some(Vp8)), 0);
        assert_eq!(place(Some(Opus), None), 0);
        assert_eq!(place(None, Some(Vp9)), 1);
        assert_eq!(place(Some(Opus), Some(Vp9)), 1);
    }

    #[test]
    fn a_source_becomes_only_so_many_files() {
        let parts = Arc::default();
        let mut begun: Vec<Numbering> = std::iter::from_fn(|| begin(&parts)).collect();
        assert_eq!(begun.len(), MAX_PARTS as usize);
        let last = begun.last_mut().unwrap();
        assert!(last.place(&segment(None, Some(CodecKind::Vp8), true)).is_some());
        assert!(last.place(&segment(None, Some(CodecKind::Vp9), true)).is_none());
        assert!(last.place(&segment(None, Some(CodecKind::Vp8), true)).is_some());
    }
}
