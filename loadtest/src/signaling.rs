//! Many WebSockets in rooms of two.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::http;
use crate::node::Node;
use crate::report::Times;

/// How long one answer may take before the run counts it as failed.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
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
    let node = Arc::new(Node::start(&[("CASIDE_MAX_CONNECTIONS", (options.connections + 100).to_string())]).await?);
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

type Socket = WebSocketStream<TcpStream>;

/// One participant: how long its join took.
async fn client(
    node: Arc<Node>,
    index: usize,
    joined: Arc<Semaphore>,
    mut left: watch::Receiver<bool>,
) -> Result<Duration> {
    let mut socket = connect(&node).await?;
    expect(&mut socket, "welcome").await?;
    let start = Instant::now();
    let room = format!("load-{}", index / 2);
    let join = json!({"type": "join", "id": 1, "payload": {"room": room, "display_name": format!("bot {index}")}});
    socket.send(Message::text(join.to_string())).await?;
    expect(&mut socket, "joined").await?;
    let took = start.elapsed();
    joined.add_permits(1);
    loop {
        tokio::select! {
            _ = left.changed() => break,
            message = socket.next() => {
                // Reading answers the node's pings.
                message.context("the node closed the socket")??;
            }
        }
    }
    socket.close(None).await?;
    while let Ok(Some(Ok(_))) = timeout(ANSWER_LIMIT, socket.next()).await {}
    Ok(took)
}

async fn connect(node: &Node) -> Result<Socket> {
    let request = format!("ws://{}/ws?token={}", node.address, node.token).into_client_request()?;
    let stream = TcpStream::connect(&node.address).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let connecting = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    Ok(timeout(ANSWER_LIMIT, connecting).await.context("no handshake")??.0)
}

/// Reads until a message of this type.
async fn expect(socket: &mut Socket, kind: &str) -> Result<Value> {
    timeout(ANSWER_LIMIT, async {
        loop {
            let message = socket.next().await.context("the node closed the socket")??;
            let Ok(text) = message.to_text() else { continue };
            let Ok(value) = serde_json::from_str::<Value>(text) else {
                continue;
            };
            if value["type"] == kind {
                return Ok(value);
            }
            if value["type"] == "error" {
                bail!("{value}");
            }
        }
    })
    .await
    .with_context(|| format!("no {kind} in time"))?
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
