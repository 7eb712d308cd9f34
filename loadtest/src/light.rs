//! Light clients: real ICE checks, a real DTLS handshake and SRTP, and none of what a browser does besides, so that one core
//! carries thousands of them.
//!
//! All share a few UDP sockets. Each has an address of its own in 127.0.0.0/8, which a socket bound to every address
//! receives for, so the node under load must run on this machine; or in another network that is routed to this machine.
//!
//! Absent on purpose: decoding, jitter buffers, asking for lost packets again. What was not received is counted as lost.

mod bot;
mod checker;
mod client;
mod gaps;
mod source;
mod thread;

pub(crate) mod dtls;
pub(crate) mod sdp;
pub(crate) mod socket;
pub(crate) mod stun;

pub(crate) use bot::LightBot;
pub(crate) use checker::{Checker, Pictures, Received, Totals};
pub(crate) use source::{SourceOptions, extension};
pub(crate) use thread::{Connect, Instant, Light, Snapshot, now};

/// Nanoseconds since 1970, which is what the kernel stamps arrivals with.
pub(crate) fn unix_ns() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
