//! `caside-bots`: synthetic clients that load a node and report what it did.

#![allow(clippy::print_stdout, reason = "its report is what this program is for")]

mod crowd;
mod gauges;
mod guests;
mod hold;
mod hostile;
mod http;
mod layers;
mod ledger;
mod light;
mod loyal;
mod marker;
mod media;
mod node;
mod real;
mod relay;
mod report;
mod session;
mod signaling;
mod soak;
mod states;
mod synthetic;
mod throughput;
mod view;

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
    /// Rooms whose members publish and subscribe: what arrives, how late, at what cost.
    Media(media::Options),
    /// Bots in a room of a node that runs already: what they get, second by second.
    Guests(guests::Options),
    /// Bots that stay in their rooms while nodes come and go: what they miss. Told by lines on standard input.
    Loyal(loyal::Options),
    /// Many rooms with one WebSocket in each, until standard input ends.
    Hold(hold::Options),
    /// What pairs of WebSockets say to each other through one or several nodes: how late it comes.
    Relay(relay::Options),
    /// Attacks of all kinds beside a call: what the call notices of them, and what the node keeps.
    Hostile(hostile::Options),
    /// A room with video for hours, whose members come, go, mute and choose: whether memory stays what it is.
    Soak(soak::Options),
    /// What forwarding costs, from few subscribers to many, beside the least that it can cost.
    Throughput(throughput::Options),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().scenario {
        Scenario::Signaling(options) => signaling::run(&options).await,
        Scenario::Media(options) => media::run(&options).await,
        Scenario::Guests(options) => guests::run(&options).await,
        Scenario::Loyal(options) => loyal::run(&options).await,
        Scenario::Hold(options) => hold::run(&options).await,
        Scenario::Relay(options) => relay::run(&options).await,
        Scenario::Hostile(options) => hostile::run(&options).await,
        Scenario::Soak(options) => soak::run(&options).await,
        Scenario::Throughput(options) => throughput::run(&options).await,
    }
}
