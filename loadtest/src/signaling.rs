//! Many WebSockets in rooms of two.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::http;
use crate::node::{Node, Pinning};
use crate::report::Times;
use crate::session::{ANSWER_LIMIT, Session};

/// How long what was closed may take to be let go.
const SETTLE: Duration = Duration::from_secs(20);

/// What to do.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many WebSockets.
    #[arg(long, default_value_t = 2000)]
    connections: usize,
    /// How many join a second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// How long they stay, in seconds.
    #[arg(long, default_value_t = 10)]
    hold: u64,
    /// How often the whole is done again on the same node, to see what is left behind.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
}

/// Runs and prints the report.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let settings = [("CASIDE_MAX_CONNECTIONS", (options.connections + 100).to_string())];
    let node = Arc::new(Node::start(&settings, Pinning::Anywhere).await?);
    // One call beforehand, so that what is made once is not counted as a connection's.
    round(&node, 2, 100, Duration::from_secs(1)).await?;
    settle(&node).await?;
    let idle = node.rss_kib()?;
    println!("idle: {idle} KiB resident");
    for number in 1..=options.rounds {
        let cpu = node.cpu_seconds()?;
        let outcome = round(
            &node,
            options.connections,
            options.rate,
            Duration::from_secs(options.hold),
        )
        .await?;
        let per_connection = outcome.loaded_kib.saturating_sub(idle) as f64 / options.connections as f64;
        println!(
            "round {number}: {} joins at {}/s: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; {} failed",
            outcome.joins.len(),
            options.rate,
            outcome.joins.quantile_ms(0.5),
            outcome.joins.quantile_ms(0.99),
            outcome.joins.quantile_ms(1.0),
            outcome.failed,
        );
        println!(
            "round {number}: {} KiB resident with all joined, {per_connection:.1} KiB a connection above idle; {:.2} CPU-seconds",
            outcome.loaded_kib,
            node.cpu_seconds()? - cpu,
        );
        settle(&node).await?;
        println!("round {number}: {} KiB resident after all left", node.rss_kib()?);
        if outcome.failed > 0 {
            bail!("{} of {} joins failed", outcome.failed, options.connections);
        }
    }
    println!("calls still active in the database: {}", active_calls(&node).await?);
    for line in gauges(&node).await? {
        println!("{line}");
    }
    Ok(())
}

struct Outcome {
    joins: Times,
    failed: usize,
    loaded_kib: u64,
}

/// Opens, joins, holds, measures, leaves.
async fn round(node: &Arc<Node>, connections: usize, rate: u32, hold: Duration) -> Result<Outcome> {
    let (leave, left) = watch::channel(false);
    let joined = Arc::new(Semaphore::new(0));
    let mut clients = JoinSet::new();
    let mut pace = interval(Duration::from_secs(1) / rate);
    for index in 0..connections {
        pace.tick().await;
        clients.spawn(client(node.clone(), index, joined.clone(), left.clone()));
    }
    let all = u32::try_from(connections)?;
    // Whoever failed is missing here; the measurement goes on without them.
    if timeout(ANSWER_LIMIT, joined.acquire_many(all)).await.is_err() {
        println!("not everybody joined within {ANSWER_LIMIT:?}");
    }
    sleep(hold).await;
    let loaded_kib = node.rss_kib()?;
    leave.send_replace(true);
    let (mut times, mut failed) = (Vec::with_capacity(connections), 0);
    while let Some(outcome) = clients.join_next().await {
        match outcome? {
            Ok(time) => times.push(time),
            Err(error) => {
                if failed == 0 {
                    println!("the first failure: {error:#}");
                }
                failed += 1;
            }
        }
    }
    Ok(Outcome {
        joins: Times::new(times),
        failed,
        loaded_kib,
    })
}

/// One participant: how long its join took.
async fn client(
    node: Arc<Node>,
    index: usize,
    joined: Arc<Semaphore>,
    mut left: watch::Receiver<bool>,
) -> Result<Duration> {
    let mut session = Session::connect(&node.address, &node.token).await?;
    let start = Instant::now();
    let room = format!("load-{}", index / 2);
    session
        .request("join", json!({"room": room, "display_name": format!("bot {index}")}))
        .await?;
    let took = start.elapsed();
    joined.add_permits(1);
    loop {
        tokio::select! {
            _ = left.changed() => break,
            event = session.event() => {
                event?;
            }
        }
    }
    session.close().await?;
    Ok(took)
}

/// Waits until no call is active any more.
async fn settle(node: &Node) -> Result<()> {
    let end = Instant::now() + SETTLE;
    while active_calls(node).await? > 0 {
        if Instant::now() > end {
            bail!("calls are still active {SETTLE:?} after everybody left");
        }
        sleep(Duration::from_millis(200)).await;
    }
    // The allocator gives memory back with a delay.
    sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// Calls that the database has as active, of the newest 200.
async fn active_calls(node: &Node) -> Result<usize> {
    let page = http::request(&node.address, "GET", "/calls?limit=200", Some(&node.token), None).await?;
    let items = page["items"].as_array().context("no items")?;
    Ok(items.iter().filter(|call| call["status"] == "active").count())
}

/// What the node says it still holds.
async fn gauges(node: &Node) -> Result<Vec<String>> {
    let text = http::text(&node.address, "GET", "/metrics", Some(&node.token), None).await?;
    Ok(text
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| format!("after: {l}"))
        .collect())
}
