//! From segments to one seekable file, as a stream of chunks.

use bytes::Bytes;

use super::meta::{FileMeta, SegmentMeta};
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

/// Makes the file of an ordered list of segments.
#[derive(Debug)]
pub struct Finisher {}

impl Finisher {
    /// Plans the file from its segments' metadata, in the order of the recording.
    ///
    /// # Errors
    /// See [`FinishError`].
    pub fn new(_segments: impl IntoIterator<Item = SegmentMeta>, _writing_app: &str) -> Result<Self, FinishError> {
        unimplemented!()
    }

    /// What the file will be.
    pub fn meta(&self) -> &FileMeta {
        unimplemented!()
    }

    /// What to do next.
    pub fn poll(&mut self) -> Step {
        unimplemented!()
    }

    /// Answers [`Step::Need`]: the segment's whole bytes, or `None` when they are gone. Bytes that are not those that the metadata
    /// tells of are left out, as are missing ones: padding takes their place, so that the planned size stays true.
    pub fn supply(&mut self, _bytes: Option<Bytes>) {
        unimplemented!()
    }

    /// Positions of segments that were left out so far because they were missing or damaged.
    pub fn damaged(&self) -> &[usize] {
        unimplemented!()
    }
}
