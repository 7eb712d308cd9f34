//! Many WebSockets in rooms of two.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::gauges::Gauges;
use crate::ledger::Ledger;
use crate::node::{Node, Pinning};
use crate::report::Times;
use crate::session::{ANSWER_LIMIT, Session};

/// How long what was closed may take to be let go and to be written down.
const SETTLE: Duration = Duration::from_secs(20);
/// How long the allocator may take to give memory back; it keeps what was freed for ten seconds.
const DECAY: Duration = Duration::from_secs(12);
/// How long the node is left alone before its memory is read with half of them joined.
const PAUSE: Duration = Duration::from_secs(2);

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
    if options.connections < 2 || options.rate == 0 {
        bail!("--connections must be 2 at least, --rate 1");
    }
    let settings = [("CASIDE_MAX_CONNECTIONS", (options.connections + 100).to_string())];
    let node = Arc::new(Node::start(&settings, Pinning::Anywhere).await?);
    // One call beforehand, so that what is made once is not counted as a connection's.
    let warm_up = Options {
        connections: 2,
        rate: 100,
        hold: 1,
        rounds: 1,
    };
    round(&node, &warm_up).await?;
    let left = settle(&node).await?;
    let idle = left.kib;
    println!("idle: {idle} KiB resident");
    for number in 1..=options.rounds {
        let cpu = node.cpu_seconds()?;
        let outcome = round(&node, options).await?;
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
            "round {number}: {} KiB resident with all joined, {:.1} KiB a connection above idle, {:.1} KiB marginal \
             (of the second half); {:.2} CPU-seconds",
            outcome.all_kib,
            per(outcome.all_kib, idle, options.connections),
            per(
                outcome.all_kib,
                outcome.half_kib,
                options.connections - options.connections / 2
            ),
            node.cpu_seconds()? - cpu,
        );
        println!("round {number}: all joined: {}", outcome.gauges);
        let left = settle(&node).await?;
        println!(
            "round {number}: {} KiB resident after all left, {:.2} times idle",
            left.kib,
            left.kib as f64 / idle as f64
        );
        println!("round {number}: after all left: {}", left.gauges);
        println!("round {number}: database: {}", left.ledger);
        if outcome.failed > 0 {
            bail!("{} of {} joins failed", outcome.failed, options.connections);
        }
    }
    Ok(())
}

/// What one of them takes of the memory between two readings, in KiB; negative when memory was given back meanwhile.
fn per(more: u64, less: u64, connections: usize) -> f64 {
    (more as f64 - less as f64) / connections as f64
}

struct Outcome {
    joins: Times,
    failed: usize,
    /// Resident memory with half of them joined.
    half_kib: u64,
    /// Resident memory with all of them joined.
    all_kib: u64,
    /// What the node counted then.
    gauges: Gauges,
}

/// Opens, joins, holds, measures, leaves.
async fn round(node: &Arc<Node>, options: &Options) -> Result<Outcome> {
    let (leave, left) = watch::channel(false);
    let joined = Arc::new(Semaphore::new(0));
    let mut clients = JoinSet::new();
    let mut pace = interval(Duration::from_secs(1) / options.rate);
    let half = options.connections / 2;
    let mut half_kib = 0;
    for index in 0..options.connections {
        if index == half {
            all_joined(&joined, half).await?;
            sleep(PAUSE).await;
            half_kib = node.rss_kib()?;
            pace.reset();
        }
        pace.tick().await;
        clients.spawn(client(node.clone(), index, joined.clone(), left.clone()));
    }
    all_joined(&joined, options.connections - half).await?;
    sleep(Duration::from_secs(options.hold)).await;
    let (all_kib, gauges) = (node.rss_kib()?, Gauges::read(node).await?);
    leave.send_replace(true);
    let (mut times, mut failed) = (Vec::with_capacity(options.connections), 0);
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
        half_kib,
        all_kib,
        gauges,
    })
}

/// Waits until so many more have joined. Whoever failed is missing; the measurement goes on without them.
async fn all_joined(joined: &Semaphore, more: usize) -> Result<()> {
    match timeout(ANSWER_LIMIT, joined.acquire_many(u32::try_from(more)?)).await {
        Ok(permits) => permits?.forget(),
        Err(_) => println!("not everybody joined within {ANSWER_LIMIT:?}"),
    }
    Ok(())
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

/// What is left of those who have left.
pub(crate) struct Left {
    pub(crate) kib: u64,
    pub(crate) gauges: Gauges,
    pub(crate) ledger: Ledger,
}

/// Waits until nobody is there any more and every row is closed, and then for the allocator.
pub(crate) async fn settle(node: &Node) -> Result<Left> {
    let end = Instant::now() + SETTLE;
    let (gauges, ledger) = loop {
        let (gauges, ledger) = (Gauges::read(node).await?, Ledger::read(node).await?);
        if gauges.are_zero() && ledger.is_closed() {
            break (gauges, ledger);
        }
        if Instant::now() > end {
            bail!("{SETTLE:?} after everybody left: {gauges}; {ledger}");
        }
        sleep(Duration::from_millis(500)).await;
    };
    sleep(DECAY).await;
    Ok(Left {
        kib: node.rss_kib()?,
        gauges,
        ledger,
    })
}
