//! Recovers a segment's metadata from its bytes.
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use super::cluster::{open_cluster, read_cluster};
use super::ebml::id;
use super::ebml::read::Elements;
use super::header::{MAX_TIME_MS, read_info, read_tracks};
use super::meta::SegmentMeta;

/// No segment is longer, in bytes: two frames of the largest size and their headers.
pub const MAX_SEGMENT_BYTES: usize = 9 << 20;

/// Why bytes are no segment of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// They end early, or more follows than their headers say.
    #[error("torn segment")]
    Torn,
    /// The checksum of the Cluster is wrong.
    #[error("checksum mismatch")]
    Checksum,
    /// They exceed [`MAX_SEGMENT_BYTES`].
    #[error("segment too large")]
    TooLarge,
    /// The structure is not one that a `TrackGroupWriter` writes.
    #[error("not a segment: {0}")]
    Format(&'static str),
}

/// Checks that `bytes` are one whole segment and tells what a [`TrackGroupWriter`](super::segment::TrackGroupWriter) said of it.
///
/// # Errors
/// See [`InspectError`]; any bytes are allowed.
pub fn inspect_segment(bytes: &[u8]) -> Result<SegmentMeta, InspectError> {
    if bytes.len() > MAX_SEGMENT_BYTES {
        return Err(InspectError::TooLarge);
    }
    let mut file = Elements::new(bytes);
    file.expect(id::EBML, "EBML header")?;
    let segment = file.expect(id::SEGMENT, "Segment")?;
    if file.next()?.is_some() {
        return Err(InspectError::Torn);
    }
    let mut children = segment.children();
    let info = children.expect(id::INFO, "Info")?;
    let (number, end_ms) = read_info(&info)?;
    let tracks = read_tracks(&children.expect(id::TRACKS, "Tracks")?)?;
    let cluster = children.remaining();
    let data = open_cluster(cluster)?;
    let contents = read_cluster(cluster.get(data).ok_or(InspectError::Torn)?)?;
    if contents.start_ms > end_ms || contents.start_ms > MAX_TIME_MS {
        return Err(InspectError::Format("Timestamp"));
    }
    if (contents.has.0 && tracks.audio.is_none()) || (contents.has.1 && tracks.video.is_none()) {
        return Err(InspectError::Format("block of an unknown track"));
    }
    let length = u32::try_from(bytes.len()).map_err(|_| InspectError::TooLarge)?;
    let header_len = u32::try_from(bytes.len() - cluster.len()).map_err(|_| InspectError::TooLarge)?;
    Ok(SegmentMeta {
        number,
        start_ms: contents.start_ms,
        end_ms,
        length,
        header_len,
        audio: tracks.audio,
        video: tracks.video,
        cues: contents.cues,
    })
}
