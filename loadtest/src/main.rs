//! `caside-bots`: synthetic clients that load a node and report what it did.

#![allow(clippy::print_stdout, reason = "its report is what this program is for")]

mod http;
mod node;
mod report;
mod signaling;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Loads a Caside node and prints a report.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// WebSockets in rooms of two: how fast they join, what they cost, what is left of them.
    Signaling(signaling::Options),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().scenario {
        Scenario::Signaling(options) => signaling::run(&options).await,
    }
}
