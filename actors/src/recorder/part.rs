//! How a recording is divided into files, and how segments are numbered for it.

use caside_protocol::ParticipantId;
use caside_protocol::view::{Source, TrackKind};
use caside_store::recordings::SegmentId;

/// Segments that one file may have; at two seconds each that is more than two days.
pub(super) const SEGMENTS_PER_PART: u32 = 100_000;

/// What becomes one file: one participant's camera and microphone, or screen and its sound, or a played file. A second
/// track of the same kind at the same time, or a change of codec, begins another part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) participant: ParticipantId,
    /// `Camera`, `Screen` or `File`.
    pub(super) source: Source,
    /// Counted from 0.
    pub(super) index: u32,
}

impl Part {
    /// The group that a track of this source is recorded with.
    pub(super) fn group_of(source: Source) -> Source {
        match source {
            Source::Camera | Source::Microphone => Source::Camera,
            Source::Screen | Source::ScreenAudio => Source::Screen,
            Source::File => Source::File,
        }
    }

    /// The number of its first segment.
    pub(super) fn first_segment(self) -> u32 {
        self.index.saturating_mul(SEGMENTS_PER_PART)
    }

    /// The part that a segment belongs to.
    pub(super) fn of(segment: &SegmentId) -> Self {
        Self {
            participant: segment.participant,
            source: segment.source,
            index: segment.n / SEGMENTS_PER_PART,
        }
    }

    /// What to call its source: a group without picture is named by its sound.
    pub(super) fn source_of_file(self, has_video: bool) -> Source {
        match self.source {
            Source::Camera if !has_video => Source::Microphone,
            Source::Screen if !has_video => Source::ScreenAudio,
            other => other,
        }
    }

    /// Every name that its file may have.
    pub(super) fn file_names(self) -> impl Iterator<Item = String> {
        let kinds = [(true, "webm"), (true, "mkv"), (false, "webm"), (false, "mkv")];
        kinds
            .into_iter()
            .map(move |(has_video, extension)| self.file_name(has_video, extension))
    }

    /// The file's name: `{participant}-{source}.webm`, from the second part on `…-2.webm`.
    pub(super) fn file_name(self, has_video: bool, extension: &str) -> String {
        let source = self.source_of_file(has_video).as_str();
        match self.index {
            0 => format!("{}-{source}.{extension}", self.participant),
            index => format!("{}-{source}-{}.{extension}", self.participant, index + 1),
        }
    }
}

/// Which of a group's two tracks a track is.
pub(super) fn kind_of(kind: TrackKind) -> caside_media::parameters::MediaKind {
    match kind {
        TrackKind::Audio => caside_media::parameters::MediaKind::Audio,
        TrackKind::Video => caside_media::parameters::MediaKind::Video,
    }
}

#[cfg(test)]
mod tests {
    use caside_protocol::RecordingId;

    use super::*;

    #[test]
    fn a_segments_number_tells_its_part() {
        let participant = ParticipantId::new();
        for index in [0, 1, 7] {
            let part = Part {
                participant,
                source: Source::Camera,
                index,
            };
            for n in [part.first_segment(), part.first_segment() + 99_999] {
                let id = SegmentId {
                    recording: RecordingId::new(),
                    epoch: 1,
                    participant,
                    source: Source::Camera,
                    n,
                };
                assert_eq!(Part::of(&id), part);
            }
        }
    }

    #[test]
    fn a_group_without_picture_is_named_by_its_sound() {
        let part = Part {
            participant: ParticipantId::new(),
            source: Source::Camera,
            index: 1,
        };
        assert!(part.file_name(true, "webm").ends_with("-camera-2.webm"));
        assert!(
            Part { index: 0, ..part }
                .file_name(false, "webm")
                .ends_with("-microphone.webm")
        );
    }
}
