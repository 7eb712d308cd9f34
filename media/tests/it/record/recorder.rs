//! Drives a writer through time, finishes files, and asks ffprobe about them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use caside_media::parameters::{Codec, CodecKind, MediaKind};
use caside_media::record::finish::{Finisher, Step};
use caside_media::record::inspect::inspect_segment;
use caside_media::record::meta::FileMeta;
use caside_media::record::segment::{GroupParameters, GroupStats, Segment, TrackGroupWriter};

use super::material::run;
use super::network::{Arrival, codec};

/// What a driven writer gave.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) segments: Vec<Segment>,
    pub(super) stats: GroupStats,
    /// Times at which a key frame was asked for.
    pub(super) key_frames_asked: Vec<Instant>,
}

/// Parameters with these codecs.
pub(super) fn parameters(start: Instant, codecs: &[CodecKind]) -> GroupParameters {
    let of = |kind: MediaKind| -> Option<Vec<Codec>> {
        let list: Vec<Codec> = codecs.iter().filter(|c| c.media() == kind).map(|c| codec(*c)).collect();
        (!list.is_empty()).then_some(list)
    };
    GroupParameters {
        audio: of(MediaKind::Audio),
        video: of(MediaKind::Video),
        recording_start: start,
        first_segment: 0,
        writing_app: "caside tests".to_owned(),
    }
}

/// A writer and the time.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) writer: TrackGroupWriter,
    start: Instant,
    now: Instant,
    segments: Vec<Segment>,
    key_frames_asked: Vec<Instant>,
    /// The oldest media that a segment may have when it leaves, in milliseconds.
    pub(super) most_age_ms: u128,
}

impl Driver {
    pub(super) fn new(parameters: GroupParameters) -> Self {
        let start = parameters.recording_start;
        let writer = TrackGroupWriter::new(parameters);
        Self {
            writer,
            start,
            now: start,
            segments: Vec::new(),
            key_frames_asked: Vec::new(),
            most_age_ms: 2000,
        }
    }

    /// Lets time pass, with every timeout on the way.
    pub(super) fn pass_until(&mut self, at: Instant) {
        while let Some(due) = self.writer.poll_timeout().filter(|due| *due <= at) {
            self.now = self.now.max(due);
            self.writer.handle_timeout(self.now);
            self.take_segments();
            let next = self.writer.poll_timeout();
            assert!(
                next.is_none_or(|next| next > due),
                "a timeout that does not move on would spin"
            );
        }
        self.now = self.now.max(at);
    }

    pub(super) fn push(&mut self, arrival: Arrival) {
        self.pass_until(arrival.at);
        self.writer
            .push(self.now, arrival.track, arrival.item)
            .expect("the codec stays");
        self.take_segments();
        if self.writer.wants_key_frame(self.now) {
            self.key_frames_asked.push(self.now);
        }
    }

    fn take_segments(&mut self) {
        while let Some(segment) = self.writer.poll_segment() {
            let age = (self.now - self.start)
                .as_millis()
                .saturating_sub(u128::from(segment.meta.start_ms));
            assert!(
                age <= self.most_age_ms,
                "segment {} leaves after {age} ms",
                segment.meta.number
            );
            let inspected = inspect_segment(&segment.bytes);
            assert_eq!(
                inspected.as_ref(),
                Ok(&segment.meta),
                "what is told must be what can be recovered"
            );
            self.segments.push(segment);
        }
    }

    /// What has left so far.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn finish(mut self) -> Recording {
        self.writer.finish(self.now);
        self.take_segments();
        Recording {
            segments: self.segments,
            stats: self.writer.stats(),
            key_frames_asked: self.key_frames_asked,
        }
    }
}

/// Records everything that arrives.
pub(super) fn record(start: Instant, codecs: &[CodecKind], arrivals: Vec<Arrival>) -> Recording {
    let mut driver = Driver::new(parameters(start, codecs));
    for arrival in arrivals {
        driver.push(arrival);
    }
    driver.finish()
}

/// Makes the file; segments for which `bytes` gives none are missing.
pub(super) fn finish_with(
    segments: &[Segment],
    bytes: impl Fn(usize) -> Option<Bytes>,
) -> (FileMeta, Vec<u8>, Vec<usize>) {
    let metas = segments.iter().map(|segment| segment.meta.clone());
    let mut finisher = Finisher::new(metas, "caside tests").unwrap();
    let mut file = Vec::new();
    loop {
        match finisher.poll() {
            Step::Chunk(chunk) => file.extend_from_slice(&chunk),
            Step::Need { index } => finisher.supply(bytes(index)),
            Step::Done => break,
        }
    }
    let meta = finisher.meta().clone();
    assert_eq!(file.len() as u64, meta.size_bytes, "the planned size is the size");
    (meta, file, finisher.damaged().to_vec())
}

/// Makes the file of whole segments.
pub(super) fn finish(segments: &[Segment]) -> (FileMeta, Vec<u8>) {
    let (meta, file, damaged) = finish_with(segments, |index| Some(segments[index].bytes.clone()));
    assert_eq!(damaged, []);
    (meta, file)
}

/// A file for the tools to look at.
#[derive(Debug)]
pub(super) struct OnDisk {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl OnDisk {
    pub(super) fn new(name: &str, bytes: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self {
            _directory: directory,
            path,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Decodes everything; any complaint fails the test.
    pub(super) fn decode(&self) {
        // Times as they are: at a guessed constant rate two frames may fall together, which ffmpeg would complain of.
        let times = ["-fps_mode", "passthrough", "-enc_time_base:v", "-1"];
        let input = ["-v", "warning", "-nostdin", "-xerror", "-i", self.name()];
        run("ffmpeg", &[&input[..], &times, &["-f", "null", "-"]].concat());
    }

    /// One value that ffprobe knows.
    pub(super) fn probe(&self, arguments: &[&str]) -> String {
        let output = run(
            "ffprobe",
            &[&["-v", "warning", "-of", "csv=p=0"], arguments, &[self.name()]].concat(),
        );
        output
            .lines()
            .next()
            .unwrap_or_default()
            .trim_end_matches(',')
            .to_owned()
    }

    pub(super) fn duration_s(&self) -> f64 {
        self.probe(&["-show_entries", "format=duration"]).parse().unwrap()
    }

    /// Frames that decode of the first stream of a kind, `v` or `a`.
    pub(super) fn frames(&self, kind: &str) -> usize {
        let counted = self.probe(&[
            "-select_streams",
            kind,
            "-count_frames",
            "-show_entries",
            "stream=nb_read_frames",
        ]);
        counted.parse().unwrap_or_else(|_| panic!("no count: {counted}"))
    }

    /// Presentation times in milliseconds of a stream's packets.
    pub(super) fn times_ms(&self, kind: &str) -> Vec<i64> {
        let arguments = [
            "-v",
            "warning",
            "-of",
            "csv=p=0",
            "-select_streams",
            kind,
            "-show_entries",
            "packet=pts",
            self.name(),
        ];
        run("ffprobe", &arguments)
            .lines()
            .filter_map(|line| line.trim_end_matches(',').parse().ok())
            .collect()
    }
}

/// Milliseconds as a duration.
pub(super) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
