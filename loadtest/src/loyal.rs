//! Bots that stay in their rooms whatever happens to the nodes, told by lines on standard input: `mark`, `report`, `quit`.
//!
//! They do what a client is asked to do: a dropped socket is resumed through any of the addresses, and `room-moved` is answered
//! with media on new connections, while the old ones go on until those carry it.

mod bot;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::light::Light;
use bot::{Faults, Loyal, Place};

/// How long all of them may take to see each other.
const TOGETHER: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What to do.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Hosts and ports that lead to nodes, separated by commas; each bot begins with another.
    #[arg(long, value_delimiter = ',', required = true)]
    at: Vec<String>,
    /// A token of a user who may join the rooms.
    #[arg(long)]
    token: String,
    /// The rooms, separated by commas.
    #[arg(long, value_delimiter = ',', required = true)]
    rooms: Vec<String>,
    /// How many bots are in each room; each publishes a camera and receives the others'.
    #[arg(long, default_value_t = 2)]
    bots: u32,
    /// How many join a second.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// Bytes of a packet, of which there is one a frame.
    #[arg(long, default_value_t = 800)]
    bytes: usize,
}

/// Joins, and prints a line of JSON when all see each other, and for each `report`.
pub(crate) async fn run(options: &Options) -> Result<()> {
    if options.bots < 2 || options.rate == 0 {
        bail!("--bots must be 2 at least, --rate 1");
    }
    let light = Light::start()?;
    let numbers = Arc::new(AtomicU32::new(1));
    let faults = Arc::new(Faults::default());
    let (leave, left) = watch::channel(false);
    let mut bots = JoinSet::new();
    let seats = options
        .rooms
        .iter()
        .flat_map(|room| (0..options.bots).map(move |number| (room, number)));
    for (index, (room, number)) in seats.enumerate() {
        let place = Place {
            addresses: options.at.clone(),
            first: index,
            token: options.token.clone(),
            room: room.clone(),
            name: format!("bot {number}"),
            bytes: options.bytes,
        };
        let bot = Loyal::new(place, light.clone(), numbers.clone(), faults.clone());
        bots.spawn(bot.run(left.clone()));
        sleep(Duration::from_secs(1) / options.rate).await;
    }
    let pairs = options.rooms.len() * (options.bots * (options.bots - 1)) as usize;
    let end = Instant::now() + TOGETHER;
    while light.gaps().await?.len() < pairs {
        if Instant::now() > end {
            let (came, snapshot) = (light.gaps().await?.len(), light.snapshot().await?);
            bail!(
                "only {came} of {pairs} streams came within {TOGETHER:?}; {} connections are up, {} failed: {:?}, {faults:?}",
                snapshot.connected,
                snapshot.failed,
                snapshot.failures,
            );
        }
        sleep(LOOK).await;
    }
    light.mark()?;
    println!("{}", json!({"streams": pairs}));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.trim() {
            "mark" => light.mark()?,
            "report" => {
                let gaps = light.gaps().await?;
                let count = |count: &AtomicU32| count.load(Ordering::Relaxed);
                println!(
                    "{}",
                    json!({
                        "gaps_ms": gaps,
                        "moves": count(&faults.moves),
                        "resumes": count(&faults.resumes),
                        "lost": count(&faults.lost),
                        "left": count(&faults.left),
                        "misnumbered": count(&faults.misnumbered),
                        "failures": faults.first(),
                    })
                );
            }
            "quit" => break,
            other => bail!("{other:?} is none of mark, report, quit"),
        }
    }
    leave.send_replace(true);
    timeout(TOGETHER, async { while bots.join_next().await.is_some() {} })
        .await
        .context("not everybody left in time")?;
    light.stop()
}
