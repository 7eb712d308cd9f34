//! From the packets of one source of one participant to self-contained segments.

use std::time::Instant;

use bytes::Bytes;

use super::meta::SegmentMeta;
use crate::control::TapItem;
use crate::parameters::{Codec, CodecKind, MediaKind};

/// What a [`TrackGroupWriter`] is made with.
#[derive(Debug, Clone)]
pub struct GroupParameters {
    /// The agreed codecs of the sound ([`ProducerParameters::codecs`](crate::parameters::ProducerParameters)), when it is published already.
    pub audio: Option<Vec<Codec>>,
    /// The agreed codecs of the picture, when it is published already.
    pub video: Option<Vec<Codec>>,
    /// The moment that is 0 in all files of the recording.
    pub recording_start: Instant,
    /// The number of the first segment: 0, or where an earlier writer of the same object prefix ended.
    pub first_segment: u32,
    /// Name and version of the program, for the files' WritingApp; at most 128 bytes are used.
    pub writing_app: String,
}

/// A piece of a recording: a playable Matroska or WebM file with one Cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What is known of it.
    pub meta: SegmentMeta,
    /// The whole file.
    pub bytes: Bytes,
}

/// The publisher changed to another codec, which one Matroska track cannot hold: the group is to be finished and a new one
/// begun, to which `item` belongs.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the {} codec changed from {} to {}", track.as_str(), from.name(), to.name())]
pub struct CodecChanged {
    /// The track.
    pub track: MediaKind,
    /// What was recorded so far.
    pub from: CodecKind,
    /// What comes now.
    pub to: CodecKind,
    /// The first packet of the new codec, given back.
    pub item: TapItem,
}

/// What a group has seen since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupStats {
    /// Packets taken.
    pub packets: u64,
    /// Packets that came twice or too late.
    pub duplicates: u64,
    /// Packets that never came in time.
    pub lost: u64,
    /// Packets of a payload type that no agreed codec has.
    pub unknown: u64,
    /// Frames that their payloads' syntax made unusable.
    pub malformed: u64,
    /// Frames written.
    pub frames: u64,
    /// Whole frames left out: damaged, before a key frame, or out of bounds.
    pub frames_dropped: u64,
}

/// Writes one participant's source: at most one audio and one video track.
#[derive(Debug)]
pub struct TrackGroupWriter {}

impl TrackGroupWriter {
    /// A writer that has seen nothing yet.
    pub fn new(_parameters: GroupParameters) -> Self {
        unimplemented!()
    }

    /// Tells the codecs of a track that is published later, published anew, or renegotiated.
    pub fn set_track(&mut self, _track: MediaKind, _codecs: Vec<Codec>) {
        unimplemented!()
    }

    /// Takes what the tap of `track` saw.
    ///
    /// # Errors
    /// [`CodecChanged`] when the packet's codec is not the one that this group's file has.
    pub fn push(&mut self, _now: Instant, _track: MediaKind, _item: TapItem) -> Result<(), CodecChanged> {
        unimplemented!()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest; `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// Gives up on packets that did not come and lets go of media that has waited long enough.
    pub fn handle_timeout(&mut self, _now: Instant) {
        unimplemented!()
    }

    /// The next segment; to be called until `None` after every `push`, `handle_timeout` and `finish`.
    pub fn poll_segment(&mut self) -> Option<Segment> {
        unimplemented!()
    }

    /// Whether the publisher is to be asked for a key frame now; `true` at most once a second.
    pub fn wants_key_frame(&mut self, _now: Instant) -> bool {
        unimplemented!()
    }

    /// Ends the group: all that is left becomes segments.
    pub fn finish(&mut self, _now: Instant) {
        unimplemented!()
    }

    /// Counters.
    pub fn stats(&self) -> GroupStats {
        unimplemented!()
    }

    /// The number that the next segment will have.
    pub fn next_segment(&self) -> u32 {
        unimplemented!()
    }
}
