//! The whole node, as a process of its own, asked over HTTP and WebSocket like by any client.
//!
//! Every test starts its own node in its own folder on a port that the system chooses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that is surprised fails"
)]
#![allow(
    unused_crate_dependencies,
    reason = "the binary's dependencies are not all the tests'"
)]

mod addresses;
mod attacks;
mod audit;
mod auth;
mod cli;
mod dependencies;
mod explain;
mod inspect;
mod lifecycle;
mod limits;
mod playback;
mod rest;
mod rights;
mod signaling;
mod support;
mod telemetry;
mod tls;
mod whip;
