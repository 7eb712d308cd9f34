//! `caside`: calls and their recordings for your app, in one binary.
//!
//! Here the house is put together: configuration, auth, HTTP and WebSocket, telemetry, start and stop, and the command
//! line. What a call is, is decided in `actors`; what is remembered, in `store`; what a packet is, in `media`.

mod auth;
mod cli;
mod client;
mod config;
mod first_start;
mod http;
mod limit;
mod output;
mod private;
mod serve;
mod telemetry;
mod text;
mod turn;
mod whip;
mod wiring;
mod ws;

/// A node that thousands of clients have left is to be nearly as small as before they came: jemalloc's own thread gives
/// back what has been free for ten seconds.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
