//! Pairs of WebSockets, of which one says something to the other again and again.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::FutureExt;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::light::unix_ns;
use crate::report::Histogram;
use crate::session::Session;

/// How often messages that are due are sent, all of one turn at once.
const TURN: Duration = Duration::from_millis(1);
/// What each pair may say in a second; a connection may say 100.
const MAX_EACH: u32 = 90;
/// How long what is on its way may take.
const SETTLE: Duration = Duration::from_secs(2);
/// Bytes of a message beside its padding.
const FRAME: usize = 150;
/// What stands before the time in a message.
const STAMP: &str = "\"at\":";

/// What to do.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Where senders connect: host and port of a node's HTTP.
    #[arg(long)]
    from: String,
    /// Where receivers connect.
    #[arg(long)]
    to: String,
    /// A token of a user who may join the rooms.
    #[arg(long, default_value = "")]
    token: String,
    /// Both addresses are a `bare-relay`'s, which has names of pairs for rooms.
    #[arg(long)]
    bare: bool,
    /// A room for each pair, separated by commas.
    #[arg(long, value_delimiter = ',', required = true)]
    rooms: Vec<String>,
    /// Messages a second, of all pairs.
    #[arg(long, default_value_t = 5000)]
    rate: u32,
    /// Bytes of a message as it is sent.
    #[arg(long, default_value_t = 1500)]
    bytes: usize,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl Options {
    /// A session in a room, and who it is there.
    async fn enter(&self, at: &str, room: &str) -> Result<(Session, String)> {
        if self.bare {
            return Ok((Session::open(at, &format!("/{room}")).await?, String::new()));
        }
        let mut session = Session::connect(at, &self.token).await?;
        let join = json!({"room": room, "subscribe": "manual"});
        let joined = session.request("join", join).await?;
        let id = joined["participant_id"].as_str().context("no participant")?;
        Ok((session, id.to_owned()))
    }
}

/// Sends, and prints a line of JSON as it begins, and one that says what was sent and heard, and how late.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let pairs = u32::try_from(options.rooms.len())?;
    if options.rate > pairs * MAX_EACH {
        bail!("{pairs} rooms are too few for {} messages a second", options.rate);
    }
    let done = watch::Sender::new(false);
    let (mut senders, mut listeners) = (Vec::new(), JoinSet::new());
    for room in &options.rooms {
        let (sender, _) = options.enter(&options.from, room).await?;
        let (receiver, to) = options.enter(&options.to, room).await?;
        listeners.spawn(listen(receiver, done.subscribe()));
        senders.push((sender, to));
    }
    sleep(Duration::from_millis(500)).await;
    println!("{}", json!({"pairs": pairs}));
    let padding = "x".repeat(options.bytes.saturating_sub(FRAME));
    let begin = Instant::now();
    let end = begin + Duration::from_secs(options.seconds);
    let (mut turn, mut sent) = (begin, 0u64);
    while turn < end {
        turn += TURN;
        sleep_until(turn).await;
        let due = (begin.elapsed().as_secs_f64() * f64::from(options.rate)) as u64;
        while sent < due {
            let next = usize::try_from(sent % u64::from(pairs))?;
            let (sender, to) = senders.get_mut(next).context("no pair")?;
            let at = unix_ns();
            sender
                .say(format!(
                    r#"{{"type":"data","payload":{{"topic":"load","value":{{{STAMP}{at},"padding":"{padding}"}},"to":"{to}"}}}}"#
                ))
                .await?;
            // What it is told is of no interest; reading answers the node's pings.
            while let Some(heard) = sender.text().now_or_never() {
                heard?;
            }
            sent += 1;
        }
    }
    sleep(SETTLE).await;
    for (sender, _) in senders {
        sender.close().await?;
    }
    done.send_replace(true);
    let (mut all, mut count) = (Histogram::default(), 0);
    while let Some(heard) = listeners.join_next().await {
        let (delays, heard) = heard??;
        all.add(&delays);
        count += heard;
    }
    let report = json!({
        "sent": sent,
        "heard": count,
        "p50_ms": all.quantile_ms(0.5),
        "p99_ms": all.quantile_ms(0.99),
        "max_ms": all.quantile_ms(1.0),
    });
    println!("{report}");
    Ok(())
}

/// Hears until it is done: how late each message was, and how many came.
async fn listen(mut session: Session, mut done: watch::Receiver<bool>) -> Result<(Histogram, u64)> {
    let (mut delays, mut count) = (Histogram::default(), 0);
    loop {
        tokio::select! {
            _ = done.changed() => break,
            text = session.text() => {
                if let Some(at) = stamp(&text?) {
                    delays.record_ns(unix_ns().saturating_sub(at));
                    count += 1;
                }
            }
        }
    }
    session.close().await?;
    Ok((delays, count))
}

/// When a message was sent, in nanoseconds since 1970.
fn stamp(text: &str) -> Option<u64> {
    let (_, after) = text.split_once(STAMP)?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
