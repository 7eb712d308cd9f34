//! What the fuzz targets run: one module a reader of foreign bytes. A target only passes its input on, so that a finding can be
//! called from a test.
//!
//! Beside "does not panic" each asserts what must hold of any input: bounds, and that what one part accepts the next can use.
//! An engine that catches a panic has failed too, for the fuzzer's hook aborts before it is caught.

pub mod client;
pub mod data;
pub mod depacketize;
pub mod engine;
pub mod framing;
pub mod layers;
pub mod message;
pub mod record;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod segment;
pub mod stun;
pub mod transport;

mod input;
mod setting;

/// The client of the engine's own tests: DTLS, SRTP and STUN of the reference crates.
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../../media/tests/it/transport/client.rs"]
mod peer;
