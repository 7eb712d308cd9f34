//! Packets that the node forwards for each second of processor time, beside the least that this can cost.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::crowd::Kind;
use crate::light::Light;
use crate::media::{self, Options as Media, Outcome};
use crate::node::Pinning;

/// Losing more than this is failing to keep up.
const LOSS_LIMIT: f64 = 0.005;
/// Subscribers of one room; more are spread over rooms with a publisher each.
const ROOM: u32 = 400;

/// What to do. With none of the chosen runs, all are made.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Packets a frame, each a table of its own.
    #[arg(long, value_delimiter = ',', default_value = "1,4,7")]
    packets: Vec<u16>,
    /// Subscribers of one publisher.
    #[arg(long, value_delimiter = ',', default_value = "10,50,100,200,400")]
    subscribers: Vec<u32>,
    /// For how long each is measured, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many bots join a second.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// The core that the node, and then the bare loop, is pinned to. This program should be on another.
    #[arg(long, default_value_t = 0)]
    server_core: u32,
    /// Runs the tables of one publisher to many.
    #[arg(long)]
    tables: bool,
    /// Looks for the largest number of subscribers too, for each table.
    #[arg(long)]
    largest: bool,
    /// Runs ten audio meetings of ten, and a video meeting of ten with one size of each camera and with three.
    #[arg(long)]
    meetings: bool,
    /// Runs this many subscribers of 600 kbit/s (two packets a frame at 30 frames a second).
    #[arg(long)]
    crowd: Option<u32>,
    /// Lets 500 subscribers join within five seconds.
    #[arg(long)]
    storm: bool,
    /// Prints everything as JSON at the end.
    #[arg(long)]
    json: bool,
}

/// Runs and prints the tables.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let all = !(options.tables || options.largest || options.meetings || options.crowd.is_some() || options.storm);
    let mut report = Vec::new();
    println!("node on core {}, AES-128-GCM, 30 frames a second", options.server_core);
    if all || options.tables {
        for packets in &options.packets {
            options.table(*packets, &mut report).await?;
        }
    }
    if all || options.largest {
        for packets in &options.packets {
            options.largest(*packets, &mut report).await?;
        }
    }
    if all || options.meetings {
        options.meetings(&mut report).await?;
    }
    if all || options.crowd.is_some() {
        options.crowd(options.crowd.unwrap_or(3000), &mut report).await?;
    }
    if all || options.storm {
        options.storm(&mut report).await?;
    }
    if options.json {
        println!("{:#}", Value::from(report));
    }
    Ok(())
}

impl Options {
    fn media(&self) -> Media {
        Media {
            rooms: 1,
            publishers: 1,
            subscribers: 0,
            video: true,
            audio: false,
            simulcast: false,
            turns: None,
            fps: 30,
            packets: 4,
            packet_bytes: 1200,
            audio_bytes: 120,
            rate: self.rate,
            seconds: self.seconds,
            kind: Kind::Light,
            workers: 1,
            worker_participants: None,
            strict: false,
            json: false,
            server_core: Some(self.server_core),
        }
    }

    /// One publisher to many, with the bare loop before and after each.
    async fn table(&self, packets: u16, report: &mut Vec<Value>) -> Result<()> {
        println!("\n{packets} packets a frame");
        println!(
            "| subscribers | packets a CPU-second | bare loop | ratio | loss | delay p50 | p99 | KiB a subscriber | bots' CPU |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for subscribers in &self.subscribers {
            let media = Media {
                subscribers: *subscribers,
                packets,
                ..self.media()
            };
            let before = self.bare(*subscribers, packets, 1200, 30).await?;
            let outcome = media::measure(&media).await?;
            let after = self.bare(*subscribers, packets, 1200, 30).await?;
            let bare = before.and(after);
            let ratio = outcome.per_cpu_second() / bare.per_cpu_second();
            let totals = &outcome.snapshot.totals;
            println!(
                "| {subscribers} | {:.0} | {:.0} | {:.0} % | {:.2} % | {:.1} ms | {:.1} ms | {:.0} | {:.0} % |",
                outcome.per_cpu_second(),
                bare.per_cpu_second(),
                100.0 * ratio,
                100.0 * totals.loss(),
                totals.delay.quantile_ms(0.5),
                totals.delay.quantile_ms(0.99),
                outcome.kib_per_receiver(),
                100.0 * outcome.own_cpu / outcome.seconds,
            );
            report.push(
                json!({"run": "table", "packets_per_frame": packets, "subscribers": subscribers,
                "bare_per_cpu_s": bare.per_cpu_second(), "ratio": ratio, "outcome": outcome.json()}),
            );
        }
        Ok(())
    }

    /// The most subscribers that lose nothing to speak of: steps of half as many more, then halving between.
    async fn largest(&self, packets: u16, report: &mut Vec<Value>) -> Result<()> {
        let (mut low, mut high) = (ROOM, None);
        let mut best = None;
        let mut next = ROOM;
        while high.is_none_or(|high| high > low + low / 10) {
            let outcome = self.many(next, packets, 1200, 30).await?;
            if outcome.snapshot.totals.loss() < LOSS_LIMIT {
                low = next;
                best = Some(outcome);
            } else {
                high = Some(next);
            }
            next = match high {
                None => low + low / 2,
                Some(high) if high > low => low + (high - low) / 2,
                // Not even the first.
                Some(high) => {
                    low = high / 2;
                    low
                }
            };
            if next < 10 {
                break;
            }
        }
        let Some(best) = best else {
            println!("{packets} packets a frame: not even few subscribers without loss");
            return Ok(());
        };
        println!(
            "{packets} packets a frame: {low} subscribers with loss {:.2} %, {:.0} Mbit/s, {:.0} packets a CPU-second, delay p99 {:.1} ms, node at {:.0} % of its core, bots at {:.0} %",
            100.0 * best.snapshot.totals.loss(),
            best.snapshot.totals.bytes as f64 * 8e-6 / best.seconds,
            best.per_cpu_second(),
            best.snapshot.totals.delay.quantile_ms(0.99),
            100.0 * best.server_cpu / best.seconds,
            100.0 * best.own_cpu / best.seconds,
        );
        report
            .push(json!({"run": "largest", "packets_per_frame": packets, "subscribers": low, "outcome": best.json()}));
        Ok(())
    }

    async fn many(&self, subscribers: u32, packets: u16, packet_bytes: usize, fps: u32) -> Result<Outcome> {
        let rooms = subscribers.div_ceil(ROOM);
        media::measure(&Media {
            rooms,
            subscribers: subscribers.div_ceil(rooms),
            packets,
            packet_bytes,
            fps,
            ..self.media()
        })
        .await
    }

    async fn meetings(&self, report: &mut Vec<Value>) -> Result<()> {
        let audio = Media {
            rooms: 10,
            publishers: 10,
            audio: true,
            video: false,
            ..self.media()
        };
        let video = Media {
            publishers: 10,
            audio: true,
            ..self.media()
        };
        let simulcast = Media {
            simulcast: true,
            ..video.clone()
        };
        for (name, media) in [
            ("ten 10 × 10 audio meetings", audio),
            ("a 10 × 10 video meeting", video),
            ("a 10 × 10 video meeting with simulcast", simulcast),
        ] {
            let outcome = media::measure(&media).await?;
            say(name, &outcome);
            report.push(json!({"run": name, "outcome": outcome.json()}));
        }
        Ok(())
    }

    async fn crowd(&self, subscribers: u32, report: &mut Vec<Value>) -> Result<()> {
        let outcome = self.many(subscribers, 2, 1200, 31).await?;
        say(&format!("{subscribers} subscribers of 600 kbit/s"), &outcome);
        report.push(json!({"run": "crowd", "subscribers": subscribers, "outcome": outcome.json()}));
        Ok(())
    }

    async fn storm(&self, report: &mut Vec<Value>) -> Result<()> {
        let outcome = media::measure(&Media {
            subscribers: 500,
            rate: 100,
            packets: 2,
            ..self.media()
        })
        .await?;
        println!(
            "500 subscribers within 5 s: a whole key frame after p50 {:.0} ms, max {:.0} ms; the publisher was asked for {} key frames, at least {} ms apart",
            outcome.decoding.quantile_ms(0.5),
            outcome.decoding.quantile_ms(1.0),
            outcome.snapshot.requests,
            outcome.snapshot.shortest_request.map_or(0, |gap| gap.as_millis()),
        );
        report.push(json!({"run": "storm", "outcome": outcome.json()}));
        Ok(())
    }

    /// The bare loop on the node's core.
    async fn bare(&self, receivers: u32, packets: u16, bytes: usize, fps: u32) -> Result<Bare> {
        let program = match env::var_os("CASIDE_BARE_LOOP") {
            Some(path) => PathBuf::from(path),
            None => env::current_exe()?.with_file_name("bare-loop"),
        };
        let sink = Light::start()?;
        let seconds = (self.seconds / 2).max(1);
        let output = Pinning::Core(self.server_core)
            .command(&program)
            .args([sink.port().to_string(), receivers.to_string(), packets.to_string()])
            .args([fps.to_string(), bytes.to_string(), seconds.to_string()])
            .output()
            .await
            .with_context(|| format!("cannot run {}", program.display()))?;
        if !output.status.success() {
            bail!("the bare loop failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let found: Value = serde_json::from_slice(&output.stdout)?;
        // What is still in the socket is taken before it is counted.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let arrived = sink.snapshot().await?.strangers;
        sink.stop()?;
        let bare = Bare {
            packets: found["packets"].as_u64().context("no packets")?,
            cpu_s: found["cpu_s"].as_f64().context("no cpu_s")?,
        };
        if (arrived as f64) < 0.99 * bare.packets as f64 {
            println!("of the bare loop's {} packets {arrived} arrived", bare.packets);
        }
        Ok(bare)
    }
}

/// What the bare loop did.
#[derive(Debug, Clone, Copy)]
struct Bare {
    packets: u64,
    cpu_s: f64,
}

impl Bare {
    fn and(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            cpu_s: self.cpu_s + other.cpu_s,
        }
    }

    fn per_cpu_second(&self) -> f64 {
        self.packets as f64 / self.cpu_s.max(1e-3)
    }
}

fn say(name: &str, outcome: &Outcome) {
    let totals = &outcome.snapshot.totals;
    println!(
        "{name}: {:.0} packets a second, {:.0} a CPU-second, {:.1} Mbit/s, loss {:.3} %, delay p50 {:.1} ms, p99 {:.1} ms, node at {:.0} % of its core, bots at {:.0} %, {:.0} KiB a receiver",
        totals.received as f64 / outcome.seconds,
        outcome.per_cpu_second(),
        totals.bytes as f64 * 8e-6 / outcome.seconds,
        100.0 * totals.loss(),
        totals.delay.quantile_ms(0.5),
        totals.delay.quantile_ms(0.99),
        100.0 * outcome.server_cpu / outcome.seconds,
        100.0 * outcome.own_cpu / outcome.seconds,
        outcome.kib_per_receiver(),
    );
    if let Some(layers) = &outcome.layers {
        println!("{name}: {layers}; {} faults", totals.faults.count());
    }
}
