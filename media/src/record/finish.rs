//! From segments to one seekable file, as a stream of chunks.

use bytes::Bytes;

use super::cluster::{least_length, open_cluster, rebase};
use super::ebml::{Writer, element_length, id};
use super::header::{Info, MAX_TIME_MS, TrackList, track_number, write_ebml_header, write_info, write_tracks};
use super::inspect::MAX_SEGMENT_BYTES;
use super::meta::{FileMeta, SegmentMeta, TrackDescription};
use crate::parameters::{CodecKind, MediaKind};

/// Why no file can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// There is nothing to make a file of.
    #[error("no segments")]
    NoSegments,
    /// Two segments disagree on a track's codec.
    #[error("segment {index}: the {} codec is {}, before it was {}", track.as_str(), found.name(), expected.name())]
    CodecMismatch {
        /// Position in the list.
        index: usize,
        /// The track.
        track: MediaKind,
        /// The codec of earlier segments.
        expected: CodecKind,
        /// The codec of this one.
        found: CodecKind,
    },
    /// The metadata of a segment contradicts itself.
    #[error("segment {index}: impossible metadata")]
    Metadata {
        /// Position in the list.
        index: usize,
    },
}

/// What the [`Finisher`] wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The next bytes of the file.
    Chunk(Bytes),
    /// Give the bytes of this segment with [`Finisher::supply`].
    Need {
        /// Position in the list given to [`Finisher::new`].
        index: usize,
    },
    /// The file is complete.
    Done,
}

/// Makes the file of an ordered list of segments: header, index of the parts, Clusters as they are but for their time, Cues.
///
/// The size of everything is planned from the metadata alone, so that the bytes can be sent on as they come. Memory: some tens of
/// bytes a segment and cue, and one segment.
#[derive(Debug)]
pub struct Finisher {
    meta: FileMeta,
    head: Bytes,
    segments: Vec<Planned>,
    cues: Vec<PlannedCue>,
    cues_len: usize,
    damaged: Vec<usize>,
    next: Next,
}

/// A segment's place in the file.
#[derive(Debug, Clone, Copy)]
struct Planned {
    length: u32,
    header_len: u32,
    /// Of its Cluster, from the first byte of the Segment's data.
    position: u64,
}

#[derive(Debug, Clone, Copy)]
struct PlannedCue {
    time_ms: u64,
    track: MediaKind,
    segment: usize,
    offset: u32,
}

/// What [`Finisher::poll`] gives next.
#[derive(Debug)]
enum Next {
    Head,
    Segment(usize),
    Supplied(usize, Bytes),
    End,
}

impl Finisher {
    /// Plans the file from its segments' metadata, in the order of the recording.
    ///
    /// # Errors
    /// See [`FinishError`].
    pub fn new(segments: impl IntoIterator<Item = SegmentMeta>, writing_app: &str) -> Result<Self, FinishError> {
        let mut plan = Plan::default();
        for (index, segment) in segments.into_iter().enumerate() {
            plan.add(index, segment)?;
        }
        if plan.segments.is_empty() {
            return Err(FinishError::NoSegments);
        }
        Ok(plan.into_finisher(writing_app))
    }

    /// What the file will be.
    pub fn meta(&self) -> &FileMeta {
        &self.meta
    }

    /// What to do next; after [`Step::Need`] it says the same until [`supply`](Self::supply) is called.
    pub fn poll(&mut self) -> Step {
        match std::mem::replace(&mut self.next, Next::End) {
            Next::Head => {
                self.next = Next::Segment(0);
                Step::Chunk(std::mem::take(&mut self.head))
            }
            Next::Segment(index) if index < self.segments.len() => {
                self.next = Next::Segment(index);
                Step::Need { index }
            }
            Next::Supplied(index, bytes) => {
                self.next = Next::Segment(index + 1);
                Step::Chunk(bytes)
            }
            Next::Segment(_) if self.cues_len > 0 => Step::Chunk(self.write_cues()),
            _ => Step::Done,
        }
    }

    /// Answers [`Step::Need`]: the segment's whole bytes, or `None` when they are gone. Bytes that are not those that the metadata
    /// tells of are left out, as are missing ones: padding takes their place, so that the planned size stays true.
    /// At any other time it does nothing.
    pub fn supply(&mut self, bytes: Option<Bytes>) {
        let Next::Segment(index) = self.next else { return };
        let Some(planned) = self.segments.get(index) else {
            return;
        };
        let cluster = bytes
            .and_then(|bytes| planned.cluster(&bytes, self.meta.offset_ms))
            .unwrap_or_else(|| {
                self.damaged.push(index);
                let mut void = Writer::with_capacity(planned.cluster_len());
                void.void(planned.cluster_len());
                void.into_bytes()
            });
        self.next = Next::Supplied(index, Bytes::from(cluster));
    }

    /// Positions of segments that were left out so far because they were missing or damaged.
    pub fn damaged(&self) -> &[usize] {
        &self.damaged
    }

    /// The index of what is there, padded to its planned size.
    fn write_cues(&self) -> Bytes {
        let mut body = Writer::default();
        for cue in self
            .cues
            .iter()
            .filter(|cue| self.damaged.binary_search(&cue.segment).is_err())
        {
            write_cue(
                &mut body,
                cue,
                self.segments.get(cue.segment).map_or(0, |segment| segment.position),
                &self.meta,
            );
        }
        let mut whole = Writer::with_capacity(self.cues_len);
        let missing = self.cues_len.saturating_sub(element_length(id::CUES, body.len()));
        if body.len() > 0 {
            whole.binary(id::CUES, &body.into_bytes());
            whole.void(missing);
        } else {
            whole.void(self.cues_len);
        }
        Bytes::from(whole.into_bytes())
    }
}

impl Planned {
    fn cluster_len(&self) -> usize {
        (self.length - self.header_len) as usize
    }

    /// The Cluster of a segment's bytes, its time counted from the file's start; `None` when they are not what was planned.
    fn cluster(&self, bytes: &[u8], offset_ms: u64) -> Option<Vec<u8>> {
        if bytes.len() != self.length as usize {
            return None;
        }
        let mut cluster = bytes.get(self.header_len as usize..)?.to_vec();
        let data = open_cluster(&cluster).ok()?;
        rebase(&mut cluster, data, offset_ms);
        Some(cluster)
    }
}

/// What is gathered from the segments' metadata.
#[derive(Debug, Default)]
struct Plan {
    segments: Vec<Planned>,
    cues: Vec<PlannedCue>,
    tracks: TrackList,
    bytes: u64,
    start_ms: Option<u64>,
    end_ms: u64,
}

impl Plan {
    fn add(&mut self, index: usize, segment: SegmentMeta) -> Result<(), FinishError> {
        let cluster_len = u64::from(segment.length).saturating_sub(u64::from(segment.header_len));
        let possible = cluster_len >= least_length() as u64
            && segment.length as usize <= MAX_SEGMENT_BYTES
            && segment.start_ms <= segment.end_ms
            && segment.end_ms < MAX_TIME_MS
            && segment.cues.iter().all(|cue| u64::from(cue.offset) < cluster_len);
        if !possible {
            return Err(FinishError::Metadata { index });
        }
        self.add_track(index, MediaKind::Audio, segment.audio)?;
        self.add_track(index, MediaKind::Video, segment.video)?;
        let position = self.bytes;
        self.segments.push(Planned {
            length: segment.length,
            header_len: segment.header_len,
            position,
        });
        self.cues.extend(segment.cues.iter().map(|cue| PlannedCue {
            time_ms: cue.time_ms,
            track: cue.track,
            segment: index,
            offset: cue.offset,
        }));
        self.bytes += cluster_len;
        self.start_ms = Some(
            self.start_ms
                .map_or(segment.start_ms, |start| start.min(segment.start_ms)),
        );
        self.end_ms = self.end_ms.max(segment.end_ms);
        Ok(())
    }

    /// The track as the whole file has it: configured as at its beginning, as large as it ever was.
    fn add_track(
        &mut self,
        index: usize,
        track: MediaKind,
        description: Option<TrackDescription>,
    ) -> Result<(), FinishError> {
        let Some(new) = description else { return Ok(()) };
        if new.codec.media() != track {
            return Err(FinishError::Metadata { index });
        }
        let Some(known) = self.tracks.of_mut(track) else {
            *self.tracks.of_mut(track) = Some(new);
            return Ok(());
        };
        if known.codec != new.codec {
            return Err(FinishError::CodecMismatch {
                index,
                track,
                expected: known.codec,
                found: new.codec,
            });
        }
        let area = |of: &TrackDescription| u64::from(of.width) * u64::from(of.height);
        if area(&new) > area(known) {
            (known.width, known.height) = (new.width, new.height);
        }
        // Of a file some of whose frames need a key, all of it is said to.
        if known.encryption.is_none() {
            known.encryption = new.encryption;
        }
        Ok(())
    }

    fn into_finisher(mut self, writing_app: &str) -> Finisher {
        let offset_ms = self.start_ms.unwrap_or(0);
        self.cues.sort_by_key(|cue| cue.time_ms);
        let mut meta = FileMeta {
            offset_ms,
            duration_ms: self.end_ms - offset_ms,
            size_bytes: 0,
            content_type: self.tracks.content_type(),
            extension: self.tracks.extension(),
            audio: self.tracks.audio.clone(),
            video: self.tracks.video.clone(),
        };
        let (mut info, mut tracks) = (Writer::default(), Writer::default());
        write_info(
            &mut info,
            &Info {
                duration_ms: meta.duration_ms,
                segment: None,
                writing_app,
            },
        );
        write_tracks(&mut tracks, &self.tracks);
        let seek_head_len = seek_head(0, 0, (!self.cues.is_empty()).then_some(0)).len();
        let info_at = seek_head_len as u64;
        let tracks_at = info_at + info.len() as u64;
        let clusters_at = tracks_at + tracks.len() as u64;
        for segment in &mut self.segments {
            segment.position += clusters_at;
        }
        let cues_at = clusters_at + self.bytes;
        let cues_len = self.cues_len(&meta);
        let mut head = Writer::default();
        write_ebml_header(&mut head, &self.tracks);
        head.id(id::SEGMENT);
        head.size_in(cues_at + cues_len as u64, 8);
        meta.size_bytes = head.len() as u64 + cues_at + cues_len as u64;
        head.raw(&seek_head(info_at, tracks_at, (cues_len > 0).then_some(cues_at)));
        head.raw(&info.into_bytes());
        head.raw(&tracks.into_bytes());
        Finisher {
            meta,
            head: Bytes::from(head.into_bytes()),
            segments: self.segments,
            cues: self.cues,
            cues_len,
            damaged: Vec::new(),
            next: Next::Head,
        }
    }

    /// Bytes that Cues will take with all segments there.
    fn cues_len(&self, meta: &FileMeta) -> usize {
        if self.cues.is_empty() {
            return 0;
        }
        let mut body = Writer::default();
        for cue in &self.cues {
            write_cue(
                &mut body,
                cue,
                self.segments.get(cue.segment).map_or(0, |segment| segment.position),
                meta,
            );
        }
        element_length(id::CUES, body.len())
    }
}

/// SeekHead (RFC 9559 §5.1.1), which takes the same room whatever the positions are.
fn seek_head(info_at: u64, tracks_at: u64, cues_at: Option<u64>) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.master(id::SEEK_HEAD, |body| {
        let places = [
            (id::INFO, Some(info_at)),
            (id::TRACKS, Some(tracks_at)),
            (id::CUES, cues_at),
        ];
        for (id, position) in places.into_iter().filter_map(|(id, at)| Some((id, at?))) {
            body.master(id::SEEK, |seek| {
                seek.binary(id::SEEK_ID, &id.to_be_bytes());
                seek.uint_wide(id::SEEK_POSITION, position);
            });
        }
    });
    writer.into_bytes()
}

/// One CuePoint (RFC 9559 §5.1.5.1).
fn write_cue(writer: &mut Writer, cue: &PlannedCue, cluster: u64, meta: &FileMeta) {
    writer.master(id::CUE_POINT, |point| {
        point.uint(id::CUE_TIME, cue.time_ms.saturating_sub(meta.offset_ms));
        point.master(id::CUE_TRACK_POSITIONS, |positions| {
            positions.uint(id::CUE_TRACK, u64::from(track_number(cue.track)));
            positions.uint(id::CUE_CLUSTER_POSITION, cluster);
            positions.uint(id::CUE_RELATIVE_POSITION, u64::from(cue.offset));
        });
    });
}
