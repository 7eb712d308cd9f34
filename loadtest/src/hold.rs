//! Many rooms with one WebSocket in each, which stay until standard input ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::report::Times;
use crate::session::Session;

/// Joins that may be under way.
const AT_ONCE: usize = 256;

/// What to do.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Host and port of a node's HTTP.
    #[arg(long)]
    at: String,
    /// A token of a user who may make rooms.
    #[arg(long)]
    token: String,
    /// How many rooms.
    #[arg(long, default_value_t = 1000)]
    rooms: u32,
    /// How many join a second.
    #[arg(long, default_value_t = 500)]
    rate: u32,
}

/// Joins, prints a line of JSON, and stays.
pub(crate) async fn run(options: &Options) -> Result<()> {
    if options.rate == 0 {
        bail!("--rate must be 1 at least");
    }
    let mut pace = interval(Duration::from_secs(1) / options.rate);
    let under_way = Arc::new(Semaphore::new(AT_ONCE));
    let mut joins = JoinSet::new();
    for room in 0..options.rooms {
        pace.tick().await;
        let permit = under_way.clone().acquire_owned().await?;
        let (at, token) = (options.at.clone(), options.token.clone());
        joins.spawn(async move {
            let mut session = Session::connect(&at, &token).await?;
            let start = Instant::now();
            let join = json!({"room": format!("held-{room}"), "subscribe": "manual"});
            session.request("join", join).await?;
            drop(permit);
            anyhow::Ok((session, start.elapsed()))
        });
    }
    let (mut sessions, mut times) = (JoinSet::new(), Vec::new());
    while let Some(joined) = joins.join_next().await {
        let (mut session, took) = joined??;
        times.push(took);
        // Pings are answered by who reads.
        sessions.spawn(async move { while session.text().await.is_ok() {} });
    }
    let times = Times::new(times);
    println!(
        "{}",
        json!({"joined": times.len(), "p50_ms": times.quantile_ms(0.5), "p99_ms": times.quantile_ms(0.99)})
    );
    // Whatever comes, it is the end.
    tokio::io::stdin().read_u8().await.ok();
    Ok(())
}
