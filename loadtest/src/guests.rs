//! Bots in one room of a node that runs already, wherever it is: crowds on paths of different kinds are several of these.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use tokio::time::sleep;

use crate::crowd::{Bot, Crowd};
use crate::synthetic::Track;
use crate::view::View;

/// How long the last bot may wait for its first whole key frame.
const DECODING_LIMIT: Duration = Duration::from_secs(60);

/// What to do.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Host and port of the node's HTTP.
    #[arg(long)]
    at: String,
    /// A token of a user who may join the room.
    #[arg(long)]
    token: String,
    /// The room.
    #[arg(long, default_value = "guests")]
    room: String,
    /// How many bots publish a camera; they receive nothing.
    #[arg(long, default_value_t = 0)]
    publishers: u32,
    /// How many bots receive what the others in the room publish.
    #[arg(long, default_value_t = 0)]
    subscribers: u32,
    /// Tracks that each of them will have.
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// The first of the bots' own addresses, which must lead to this machine.
    #[arg(long, default_value = "127.1.0.0")]
    network: Ipv4Addr,
    /// Packets a frame, of 1,200 bytes.
    #[arg(long, default_value_t = 4)]
    packets: u16,
    /// For how long is measured, in seconds, one line each; publishers stay as long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// Joins, and prints a line of JSON a second: what was received since the line before.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut crowd = Crowd::from_addresses(&options.at, &options.token, options.network)?;
    let camera = Track::video(30, options.packets, 1200);
    let bots = |count: u32, what: &'static str, tracks: Vec<Track>| {
        (0..count).map(move |number| Bot {
            room: options.room.clone(),
            name: format!("{what} {number}"),
            subscribes: tracks.is_empty(),
            view: View::Whole,
            tracks: tracks.clone(),
        })
    };
    crowd
        .admit(bots(options.publishers, "publisher", vec![camera]), 50)
        .await?;
    crowd
        .admit(bots(options.subscribers, "subscriber", Vec::new()), 50)
        .await?;
    let streams = options.subscribers as usize * options.streams;
    crowd.decoding(streams, DECODING_LIMIT).await?;
    for _ in 0..options.seconds {
        sleep(Duration::from_secs(1)).await;
        let snapshot = crowd.snapshot().await?;
        let totals = &snapshot.totals;
        let line = json!({
            "packets": totals.received,
            "loss": totals.loss(),
            "backwards": totals.faults.backwards,
            "delay_p50_ms": totals.delay.quantile_ms(0.5),
            "delay_p99_ms": totals.delay.quantile_ms(0.99),
            "overflowed": snapshot.overflowed,
        });
        println!("{line}");
    }
    crowd.dismiss().await
}
