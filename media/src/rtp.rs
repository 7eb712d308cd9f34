//! RTP packets (RFC 3550 §5), their header extensions (RFC 8285) and what can be told of a payload without decoding it.
//!
//! Everything here reads foreign bytes: nothing indexes unchecked or panics, and nothing but the structure of a dependency
//! descriptor allocates.

pub mod dependency;
pub mod extensions;
pub(crate) mod frame;
pub mod header;
pub mod key_frame;
pub mod red;
pub mod sequence;
pub mod vp8;
pub mod vp9;

pub use extensions::{Extensions, find_extension};
pub use header::{RtpError, RtpHeader};
pub use sequence::unwrap_near;
