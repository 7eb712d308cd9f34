//! A room that goes on and on: members watch two publishers, some leave and others come each minute, tracks are muted and
//! chosen in turn. Memory has to stay what it is, packets have to come, and nothing may be left when all have left.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use tokio::time::{Instant, sleep, sleep_until};

use crate::crowd::{Bot, Crowd, Errand, Kind};
use crate::node::{Node, Pinning};
use crate::signaling::settle;
use crate::states::States;
use crate::synthetic::Track;
use crate::view::View;

const ROOM: &str = "soak";
/// How long the streams may take to begin.
const DECODING_LIMIT: Duration = Duration::from_secs(60);
/// Between two readings of the node's memory.
const READING: Duration = Duration::from_secs(5);
/// How many join a second.
const RATE: u32 = 20;
/// Readings that a slope is made of, at least.
const LEAST_READINGS: usize = 8;

/// What to do.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long, in minutes.
    #[arg(long, default_value_t = 60)]
    minutes: u32,
    /// How many publish video and audio.
    #[arg(long, default_value_t = 2)]
    publishers: u32,
    /// How many watch.
    #[arg(long, default_value_t = 100)]
    subscribers: u32,
    /// Packets a frame of video, at 30 frames a second.
    #[arg(long, default_value_t = 4)]
    packets: u16,
    /// How much the node's memory may grow a minute in the second half, in KiB.
    #[arg(long, default_value_t = 64.0)]
    max_slope_kib: f64,
    /// How much a subscriber may take of the node's memory, in KiB.
    #[arg(long, default_value_t = 200.0)]
    max_subscriber_kib: f64,
    /// What may be lost, in percent of all packets.
    #[arg(long, default_value_t = 0.1)]
    max_loss: f64,
    /// The processor core that the node is pinned to.
    #[arg(long)]
    server_core: Option<u32>,
}

impl Options {
    fn publishers(&self) -> impl Iterator<Item = Bot> {
        let (audio, video) = (Track::audio(120), Track::video(30, self.packets, 1200));
        (0..self.publishers).map(move |number| bot(format!("publisher {number}"), vec![audio, video]))
    }
}

fn bot(name: String, tracks: Vec<Track>) -> Bot {
    Bot {
        room: ROOM.to_owned(),
        name,
        subscribes: tracks.is_empty(),
        view: View::Whole,
        tracks,
    }
}

fn watchers(numbers: std::ops::Range<u32>) -> impl Iterator<Item = Bot> {
    numbers.map(|number| bot(format!("subscriber {number}"), Vec::new()))
}

/// Runs, prints a line a minute, and judges.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let (mut node, mut crowd, idle_kib) = begin(options).await?;
    println!(
        "minute |   MiB | KiB a subscriber | packets a second |   loss | delay p50, p99 ms | transports | paths | node CPU | key frames asked"
    );
    let mut next = options.subscribers;
    let mut readings = Vec::new();
    let start = Instant::now();
    let (mut expected, mut missing) = (0u64, 0u64);
    for minute in 1..=options.minutes {
        let begun = Instant::now();
        let (cpu, before) = (node.cpu_seconds()?, crowd.snapshot().await?);
        node.sign_in().await?;
        crowd.join_by(&node.token);
        let leaving = options.subscribers / 10;
        crowd.part(leaving as usize).await?;
        crowd.admit(watchers(next..next + leaving), RATE).await?;
        next += leaving;
        let mut marks = Vec::new();
        for tick in 1u32.. {
            let at = begun + READING * tick;
            sleep_until(at).await;
            errands(&crowd, minute, tick);
            let kib = node.rss_kib()?;
            marks.push(kib);
            readings.push((start.elapsed().as_secs_f64() / 60.0, kib as f64));
            if at.duration_since(begun) >= Duration::from_secs(60) {
                break;
            }
        }
        let snapshot = crowd.snapshot().await?;
        if let Some(failure) = snapshot.failures.first() {
            bail!("a bot failed: {failure}");
        }
        let late_here = snapshot.overflowed - before.overflowed;
        let totals = &snapshot.totals;
        let lost = totals.expected.saturating_sub(totals.received + late_here);
        (expected, missing) = (expected + totals.expected, missing + lost);
        let (seconds, kib) = (
            begun.elapsed().as_secs_f64(),
            median(&mut marks.iter().map(|k| *k as f64).collect::<Vec<_>>()),
        );
        let states = States::read(&node).await?;
        println!(
            "{minute:>6} | {:>5.1} | {:>16.1} | {:>16.0} | {:>4.3} % | {:>8.2}, {:>7.2} | {:>10} | {:>5} | {:>6.0} % | {:>4}",
            kib / 1024.0,
            (kib - idle_kib as f64) / f64::from(options.subscribers.max(1)),
            totals.received as f64 / seconds,
            100.0 * lost as f64 / totals.expected.max(1) as f64,
            totals.delay.quantile_ms(0.5),
            totals.delay.quantile_ms(0.99),
            states.transports,
            states.paths,
            100.0 * (node.cpu_seconds()? - cpu) / seconds,
            snapshot.requests - before.requests,
        );
        if totals.faults.count() > 0 {
            bail!("streams are not as they were published");
        }
    }
    let half = readings.split_off(readings.len() / 2);
    let kib = median(&mut half.iter().map(|(_, kib)| *kib).collect::<Vec<_>>());
    crowd.dismiss().await?;
    node.sign_in().await?;
    let left = settle(&node).await?;
    let states = States::read(&node).await?;
    println!(
        "after all left: {}; {}; {states:?}; {:.1} MiB resident, {:.1} MiB before",
        left.gauges,
        left.ledger,
        left.kib as f64 / 1024.0,
        idle_kib as f64 / 1024.0
    );
    let each = (kib - idle_kib as f64) / f64::from(options.subscribers.max(1));
    let lost = 100.0 * missing as f64 / expected.max(1) as f64;
    let slope = (half.len() >= LEAST_READINGS).then(|| slope(&half));
    match slope {
        Some(slope) => {
            println!("second half: {slope:+.1} KiB a minute, {each:.1} KiB a subscriber; {lost:.4} % lost in all")
        }
        None => println!("too short for a slope; {each:.1} KiB a subscriber; {lost:.4} % lost in all"),
    }
    let mut broken = Vec::new();
    if slope.is_some_and(|slope| slope > options.max_slope_kib) {
        broken.push("memory grows");
    }
    if each > options.max_subscriber_kib {
        broken.push("a subscriber takes too much memory");
    }
    if lost > options.max_loss {
        broken.push("too many packets were lost");
    }
    if states != States::default() {
        broken.push("something is left of those who left");
    }
    if !broken.is_empty() {
        bail!("{}", broken.join("; "));
    }
    println!("flat");
    Ok(())
}

/// A node with everybody in the room, and its memory before the first subscriber.
async fn begin(options: &Options) -> Result<(Node, Crowd, u64)> {
    let size = options.publishers + options.subscribers;
    let settings = [
        ("CASIDE_MAX_CONNECTIONS", (2 * size + 100).to_string()),
        ("CASIDE_MAX_ROOM_SIZE", (size + 10).to_string()),
        ("CASIDE_MEDIA_IP", "127.0.0.1".to_owned()),
        ("CASIDE_MEDIA_WORKERS", "1".to_owned()),
    ];
    let pinning = options.server_core.map_or(Pinning::Anywhere, Pinning::Core);
    let node = Node::start(&settings, pinning).await?;
    let mut crowd = Crowd::new(&node.address, &node.token, Kind::Light)?;
    crowd.admit(options.publishers(), RATE).await?;
    sleep(Duration::from_secs(2)).await;
    let idle_kib = node.rss_kib()?;
    crowd.admit(watchers(0..options.subscribers), RATE).await?;
    let streams = 2 * options.publishers * options.subscribers;
    let snapshot = crowd.decoding(streams as usize, DECODING_LIMIT).await?;
    if snapshot.totals.faults.began_blind > 0 {
        bail!("streams began without a key frame");
    }
    Ok((node, crowd, idle_kib))
}

/// What is asked of whom: of a third of the subscribers that they want less for a while, and of one publisher after the other
/// that it is muted for a while.
fn errands(crowd: &Crowd, minute: u32, tick: u32) {
    let qualities = ["off", "low", "medium"];
    let quality = qualities[minute as usize % qualities.len()];
    let mut number = 0u32;
    let mut third = |bot: &Bot| {
        number += u32::from(bot.tracks.is_empty());
        bot.tracks.is_empty() && number % 3 == minute % 3
    };
    let muted = format!("publisher {}", minute % 2);
    match tick {
        4 => crowd.ask(Errand::Want(quality), &mut third),
        6 => crowd.ask(Errand::Mute(true), |bot| bot.name == muted),
        7 => crowd.ask(Errand::Mute(false), |bot| bot.name == muted),
        9 => crowd.ask(Errand::Want("high"), &mut third),
        _ => {}
    }
}

/// The middle one of these; 0 of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The median of the slopes between all pairs of points (Theil and Sen): a reading that stands out does not move it.
fn slope(points: &[(f64, f64)]) -> f64 {
    let mut slopes: Vec<f64> = points
        .iter()
        .enumerate()
        .flat_map(|(n, (x, y))| {
            points[n + 1..]
                .iter()
                .map(move |(later, other)| (other - y) / (later - x))
        })
        .filter(|slope| slope.is_finite())
        .collect();
    median(&mut slopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_not_moved_by_what_stands_out() {
        let mut points: Vec<(f64, f64)> = (0..100).map(|n| (f64::from(n), 1000.0 + 3.0 * f64::from(n))).collect();
        assert!((slope(&points) - 3.0).abs() < 1e-9);
        points[7].1 = 90_000.0;
        points[95].1 = 0.0;
        assert!((slope(&points) - 3.0).abs() < 0.1);
        assert_eq!(slope(&points[..1]), 0.0);
        assert_eq!(median(&mut []), 0.0);
    }
}
