//! What is known of a segment and of a finished file besides their bytes.

use bytes::Bytes;

use crate::parameters::{CodecKind, MediaKind};

/// What one track of a segment is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackDescription {
    /// Its codec.
    pub codec: CodecKind,
    /// Matroska's CodecPrivate: OpusHead, avcC or av1C; empty for VP8 and VP9.
    pub codec_private: Bytes,
    /// Width in pixels, the largest seen; 0 for audio.
    pub width: u32,
    /// Height in pixels, of the frame that `width` is of; 0 for audio.
    pub height: u32,
    /// Channels; 0 for video.
    pub channels: u8,
    /// What its frames are encrypted with end to end, if they are: its publisher's word, of at most
    /// [`MAX_ENCRYPTION_BYTES`].
    pub encryption: Option<String>,
}

/// The longest word for an encryption, in bytes.
pub const MAX_ENCRYPTION_BYTES: usize = 64;

/// A place to seek to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CuePoint {
    /// Milliseconds since the recording's start.
    pub time_ms: u64,
    /// The track it is of.
    pub track: MediaKind,
    /// Where the block lies, in bytes from the first byte of the Cluster's data.
    pub offset: u32,
}

/// What is known of a segment besides its bytes; [`inspect_segment`](super::inspect::inspect_segment) recovers all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its place among its group's segments, from 0.
    pub number: u32,
    /// Timestamp of its first frame, in milliseconds since the recording's start.
    pub start_ms: u64,
    /// End of its last frame, in milliseconds since the recording's start.
    pub end_ms: u64,
    /// Length in bytes of the whole object.
    pub length: u32,
    /// Bytes before its one Cluster: what a concatenation leaves out.
    pub header_len: u32,
    /// The sound, when any was known by then.
    pub audio: Option<TrackDescription>,
    /// The picture, when any was known by then.
    pub video: Option<TrackDescription>,
    /// Where to seek to, in order; at most one in 500 ms.
    pub cues: Vec<CuePoint>,
}

/// What is known of a finished file before its first byte is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    /// Milliseconds from the recording's start to the file's first frame.
    pub offset_ms: u64,
    /// Its duration in milliseconds.
    pub duration_ms: u64,
    /// Its exact size in bytes.
    pub size_bytes: u64,
    /// `video/webm`, `audio/webm` or `video/x-matroska`.
    pub content_type: &'static str,
    /// `webm` or `mkv`.
    pub extension: &'static str,
    /// The sound, when there is any.
    pub audio: Option<TrackDescription>,
    /// The picture, when there is any.
    pub video: Option<TrackDescription>,
}
