//! Recovers a segment's metadata from its bytes.

use super::meta::SegmentMeta;

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
    /// The structure is not one that a `TrackGroupWriter` writes.
    #[error("not a segment: {0}")]
    Format(&'static str),
}

/// Checks that `bytes` are one whole segment and tells what a [`TrackGroupWriter`](super::segment::TrackGroupWriter) said of it.
///
/// # Errors
/// See [`InspectError`]; any bytes are allowed.
pub fn inspect_segment(_bytes: &[u8]) -> Result<SegmentMeta, InspectError> {
    unimplemented!()
}
