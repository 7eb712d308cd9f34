//! RTP packets (RFC 3550 §5), their header extensions (RFC 8285) and what can be told of a payload without decoding it.
//!
//! Everything here reads foreign bytes: nothing allocates, indexes unchecked or panics.

pub mod extensions;
pub mod header;
pub mod key_frame;
pub mod sequence;

pub use extensions::{Extensions, find_extension};
pub use header::{RtpError, RtpHeader};
pub use sequence::unwrap_near;
