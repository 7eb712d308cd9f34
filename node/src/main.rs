//! `caside`: calls and their recordings for your app, in one binary.
//!
//! Here the house is put together: configuration, auth, HTTP and WebSocket, telemetry, start and stop, and the command
//! line. What a call is, is decided in `actors`; what is remembered, in `store`; what a packet is, in `media`.

mod allocator;
mod audit;
mod auth;
mod cli;
mod client;
mod config;
mod first_start;
mod http;
mod limit;
mod metrics;
mod notify;
mod output;
mod private;
mod reload;
mod serve;
mod telemetry;
mod text;
mod turn;
mod whip;
mod wiring;
mod ws;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    allocator::give_back_at_once();
    cli::Cli::parse().run()
}
