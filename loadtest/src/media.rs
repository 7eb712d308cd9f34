//! Rooms of light bots that publish and subscribe: what they got, what it cost the node.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use crate::crowd::{Bot, Crowd, Errand, Kind, LOOK};
use crate::http;
use crate::layers::{Expected, Layers};
use crate::light::{Snapshot, Totals};
use crate::node::{Node, Pinning, own_cpu_seconds};
use crate::report::Times;
use crate::synthetic::{SIZES, Track};
use crate::view::{self, View};

/// How long the last bot may wait for its first whole key frame.
const DECODING_LIMIT: Duration = Duration::from_secs(60);

/// How long all may take to have the sizes that they asked for: each path's bandwidth is looked for first.
const SIZES_LIMIT: Duration = Duration::from_secs(60);
/// Before it is measured: what is asked of the node at the beginning is over.
const CALM: Duration = Duration::from_secs(1);
/// As [`CALM`], with several sizes: publishers are told after two seconds what nobody watches.
const CALM_WITH_SIZES: Duration = Duration::from_secs(4);

/// What to do.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How many rooms.
    #[arg(long, default_value_t = 1)]
    pub(crate) rooms: u32,
    /// How many bots publish in each room; they subscribe to each other too.
    #[arg(long, default_value_t = 1)]
    pub(crate) publishers: u32,
    /// How many bots only subscribe in each room.
    #[arg(long, default_value_t = 10)]
    pub(crate) subscribers: u32,
    /// Publishers send video.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) video: bool,
    /// Publishers send audio: 50 packets a second.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) audio: bool,
    /// Publishers send video in three sizes (simulcast), of 1, 2 and 6 packets a frame, and receivers ask for one large picture, two
    /// of a medium size and the rest small.
    #[arg(long, conflicts_with_all = ["packets", "packet_bytes"])]
    pub(crate) simulcast: bool,
    /// With simulcast, another is shown large every so many seconds while it is measured.
    #[arg(long, requires = "simulcast", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) turns: Option<u64>,
    /// Frames a second of video.
    #[arg(long, default_value_t = 30)]
    pub(crate) fps: u32,
    /// Packets a frame of video.
    #[arg(long, default_value_t = 4)]
    pub(crate) packets: u16,
    /// Bytes of a video packet, RTP header included.
    #[arg(long, default_value_t = 1200)]
    pub(crate) packet_bytes: usize,
    /// Bytes of an audio packet, RTP header included.
    #[arg(long, default_value_t = 120)]
    pub(crate) audio_bytes: usize,
    /// How many bots join a second.
    #[arg(long, default_value_t = 100)]
    pub(crate) rate: u32,
    /// For how long is measured, in seconds.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// What bots are made of.
    #[arg(long, value_enum, default_value_t = Kind::Light)]
    pub(crate) kind: Kind,
    /// The node's media workers.
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: u32,
    /// Bots on one media worker; more are placed on others, also of the same room.
    #[arg(long)]
    pub(crate) worker_participants: Option<u32>,
    /// Fails unless every packet came once and in order.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Prints the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// The processor core that the node is pinned to.
    #[arg(long)]
    pub(crate) server_core: Option<u32>,
}

impl Options {
    fn tracks(&self) -> Vec<Track> {
        let audio = Track::audio(self.audio_bytes);
        let video = match self.simulcast {
            true => Track::simulcast(self.fps),
            false => Track::video(self.fps, self.packets, self.packet_bytes),
        };
        let audio = self.audio.then_some(audio);
        audio.into_iter().chain(self.video.then_some(video)).collect()
    }

    fn bots(&self, count: u32, what: &str, tracks: &[Track]) -> Vec<Bot> {
        let room_of = |room: u32| format!("media-{room}");
        (0..self.rooms)
            .flat_map(|room| (0..count).map(move |number| (room, number)))
            .map(|(room, number)| Bot {
                room: room_of(room),
                name: format!("{what} {number}"),
                tracks: tracks.to_vec(),
                subscribes: tracks.is_empty() || self.publishers > 1,
                view: self.view(),
            })
            .collect()
    }

    fn view(&self) -> View {
        match self.simulcast {
            true => View::Speaker,
            false => View::Whole,
        }
    }

    /// What is asked for, where there are sizes to ask for.
    fn expected(&self) -> Option<Expected> {
        let publishers = if self.publishers > 1 { self.publishers } else { 0 };
        let seen = [
            (publishers, self.publishers.saturating_sub(1)),
            (self.subscribers, self.publishers),
        ];
        let mut expected = Expected {
            receivers: self.receivers() as usize,
            sizes: [0; SIZES],
        };
        for (receivers, cameras) in seen {
            let each = view::sizes(self.view(), cameras as usize);
            let sums = expected.sizes.iter_mut().zip(each);
            sums.for_each(|(sum, size)| *sum += size * (self.rooms * receivers) as usize);
        }
        self.simulcast.then_some(expected)
    }

    /// Who receives, in all rooms.
    fn receivers(&self) -> u32 {
        self.rooms * (self.subscribers + if self.publishers > 1 { self.publishers } else { 0 })
    }
}

/// What a run found.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// What was measured over.
    pub(crate) seconds: f64,
    pub(crate) snapshot: Snapshot,
    /// Of the node, while measuring.
    pub(crate) server_cpu: f64,
    /// Of the bots, while measuring.
    pub(crate) own_cpu: f64,
    /// Of the node, before the first subscriber and with all of them.
    pub(crate) idle_kib: u64,
    pub(crate) loaded_kib: u64,
    /// Connections over which the node sends.
    pub(crate) receivers: u32,
    /// Of subscribers, from connecting to a whole key frame.
    pub(crate) decoding: Times,
    /// What each media worker had.
    pub(crate) workers: Vec<Worker>,
    /// Which sizes came, where there are several.
    pub(crate) layers: Option<Layers>,
}

/// A media worker, by the node's metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Worker {
    participants: u64,
    piped: u64,
}

impl Worker {
    async fn read_all(node: &Node, count: u32) -> Result<Vec<Self>> {
        let page = http::text(&node.address, "GET", "/metrics", Some(&node.token), None).await?;
        let read = |name: &str, worker: u32| -> Result<u64> {
            let start = format!("caside_media_{name}{{worker=\"{worker}\"}} ");
            let value = page.lines().find_map(|line| line.strip_prefix(start.as_str()));
            Ok(value.with_context(|| format!("the metrics have no {start}"))?.parse()?)
        };
        (0..count)
            .map(|worker| {
                Ok(Self {
                    participants: read("participants", worker)?,
                    piped: read("packets_piped_total", worker)?,
                })
            })
            .collect()
    }
}

impl Outcome {
    /// Whether every packet came once and in order, and all had the sizes that they asked for.
    fn is_whole(&self) -> bool {
        let totals = &self.snapshot.totals;
        let is_as_asked = self.layers.as_ref().is_none_or(Layers::is_whole);
        totals.expected == totals.received && totals.reordered + totals.unmarked == 0 && is_as_asked
    }

    /// Packets forwarded for each second of the node's processor time.
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.snapshot.totals.received as f64 / self.server_cpu.max(0.01)
    }

    /// Memory that each receiver takes in the node.
    pub(crate) fn kib_per_receiver(&self) -> f64 {
        self.loaded_kib.saturating_sub(self.idle_kib) as f64 / f64::from(self.receivers.max(1))
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let totals = &self.snapshot.totals;
        json!({
            "seconds": self.seconds,
            "receivers": self.receivers,
            "packets": totals.received,
            "bytes": totals.bytes,
            "packets_per_s": totals.received as f64 / self.seconds,
            "packets_per_cpu_s": self.per_cpu_second(),
            "loss": totals.loss(),
            "reordered": totals.reordered,
            "unmarked": totals.unmarked,
            "began_blind": totals.faults.began_blind,
            "backwards": totals.faults.backwards,
            "mixed": totals.faults.mixed,
            "switched_blind": totals.faults.switched_blind,
            "misnumbered": totals.faults.misnumbered,
            "layers": self.layers.as_ref().map(Layers::json),
            "delay_p50_ms": totals.delay.quantile_ms(0.5),
            "delay_p99_ms": totals.delay.quantile_ms(0.99),
            "server_cpu_s": self.server_cpu,
            "bots_cpu_s": self.own_cpu,
            "bots_overflowed": self.snapshot.overflowed,
            "kib_per_receiver": self.kib_per_receiver(),
            "decoding_after_p50_ms": self.decoding.quantile_ms(0.5),
            "decoding_after_max_ms": self.decoding.quantile_ms(1.0),
            "workers": self.workers.iter().map(|it| json!({"participants": it.participants, "packets_piped": it.piped})).collect::<Vec<_>>(),
            "key_frame_requests": self.snapshot.requests,
            "key_frame_requests_shortest_gap_ms": self.snapshot.shortest_request.map(|gap| gap.as_secs_f64() * 1000.0),
        })
    }

    fn print(&self) {
        let totals = &self.snapshot.totals;
        println!(
            "{} receivers, {:.1} s: {} packets, {:.0} a second, {:.1} Mbit/s",
            self.receivers,
            self.seconds,
            totals.received,
            totals.received as f64 / self.seconds,
            totals.bytes as f64 * 8e-6 / self.seconds,
        );
        println!(
            "loss {:.3} %, {} reordered, {} of a frame before, {} unmarked, {} streams began without a key frame",
            100.0 * totals.loss(),
            totals.reordered,
            totals.faults.backwards,
            totals.unmarked,
            totals.faults.began_blind,
        );
        if let Some(layers) = &self.layers {
            println!("{layers}");
            println!(
                "{} packets of another size within a frame, {} sizes begun without a key frame, {} packets numbered wrong",
                totals.faults.mixed, totals.faults.switched_blind, totals.faults.misnumbered,
            );
        }
        println!(
            "delay p50 {:.2} ms, p99 {:.2} ms",
            totals.delay.quantile_ms(0.5),
            totals.delay.quantile_ms(0.99),
        );
        println!(
            "first whole key frame after p50 {:.0} ms, max {:.0} ms; publishers were asked for {} key frames, at least {} ms apart",
            self.decoding.quantile_ms(0.5),
            self.decoding.quantile_ms(1.0),
            self.snapshot.requests,
            self.snapshot.shortest_request.map_or(0, |gap| gap.as_millis()),
        );
        println!(
            "node: {:.2} CPU-seconds, {:.0} packets for each; {:.1} KiB a receiver",
            self.server_cpu,
            self.per_cpu_second(),
            self.kib_per_receiver(),
        );
        for (n, worker) in self.workers.iter().enumerate().filter(|_| self.workers.len() > 1) {
            println!(
                "media worker {n}: {} bots, {} packets from others",
                worker.participants, worker.piped
            );
        }
        println!(
            "bots: {:.2} CPU-seconds; {} datagrams were lost here because they were too slow",
            self.own_cpu, self.snapshot.overflowed,
        );
    }
}

/// Runs and prints the report.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let outcome = measure(options).await?;
    if options.json {
        println!("{:#}", outcome.json());
    } else {
        outcome.print();
    }
    if outcome.snapshot.totals.faults.count() > 0 {
        bail!("streams are not as they were published");
    }
    if options.strict && !outcome.is_whole() {
        bail!("not every packet came once and in order, or not every size");
    }
    Ok(())
}

/// Starts a node and the bots, and measures.
pub(crate) async fn measure(options: &Options) -> Result<Outcome> {
    let size = options.publishers + options.subscribers;
    let connections = options.rooms * size;
    let settings = [
        ("CASIDE_MAX_CONNECTIONS", (connections + 100).to_string()),
        ("CASIDE_MAX_ROOM_SIZE", size.max(2).to_string()),
        ("CASIDE_MEDIA_IP", "127.0.0.1".to_owned()),
        ("CASIDE_MEDIA_WORKERS", options.workers.to_string()),
        (
            "CASIDE_MEDIA_WORKER_PARTICIPANTS",
            options.worker_participants.unwrap_or(10_000).to_string(),
        ),
    ];
    let pinning = options.server_core.map_or(Pinning::Anywhere, Pinning::Core);
    let node = Node::start(&settings, pinning).await?;
    let mut crowd = Crowd::new(&node.address, &node.token, options.kind)?;
    let tracks = options.tracks();
    crowd
        .admit(options.bots(options.publishers, "publisher", &tracks), options.rate)
        .await?;
    let idle_kib = node.rss_kib()?;
    crowd
        .admit(options.bots(options.subscribers, "subscriber", &[]), options.rate)
        .await?;
    let per_room = options.publishers * options.subscribers + options.publishers * (options.publishers - 1);
    let streams = (options.rooms * per_room) as usize * tracks.len();
    let waiting = crowd.decoding(streams, DECODING_LIMIT).await?;
    let mut course = waiting.totals;
    let decoding = Times::new(waiting.decoding_after);
    let expected = options.expected();
    let mut settled = None;
    if let Some(expected) = expected {
        let begun = Instant::now();
        let is_so = |snapshot: &Snapshot| expected.is_met(&snapshot.pictures);
        let (snapshot, is_so) = crowd.until(SIZES_LIMIT, is_so).await?;
        settled = is_so.then(|| begun.elapsed());
        course.add_course(&snapshot.totals);
    }
    sleep(if expected.is_some() { CALM_WITH_SIZES } else { CALM }).await;
    course.add_course(&crowd.snapshot().await?.totals);
    let (server_before, own_before, start) = (node.cpu_seconds()?, own_cpu_seconds()?, Instant::now());
    let (mut snapshot, turns) = watch(&crowd, options, expected).await?;
    snapshot.totals.add_course(&course);
    let outcome = Outcome {
        seconds: start.elapsed().as_secs_f64(),
        server_cpu: node.cpu_seconds()? - server_before,
        own_cpu: own_cpu_seconds()? - own_before,
        idle_kib,
        loaded_kib: node.rss_kib()?,
        workers: Worker::read_all(&node, options.workers).await?,
        receivers: options.receivers(),
        decoding,
        layers: expected.map(|expected| Layers::new(expected, settled, turns, &snapshot)),
        snapshot,
    };
    crowd.dismiss().await?;
    Ok(outcome)
}

/// Lets time pass, and others speak by turns. Returns the snapshot at the end, with the totals of the whole time, and how long
/// each turn took until all had what they asked for.
async fn watch(
    crowd: &Crowd,
    options: &Options,
    expected: Option<Expected>,
) -> Result<(Snapshot, Vec<Option<Duration>>)> {
    let (mut totals, mut turns) = (Totals::default(), Vec::new());
    let end = Instant::now() + Duration::from_secs(options.seconds);
    if let (Some(step), Some(expected)) = (options.turns.map(Duration::from_secs), expected) {
        let mut next = Instant::now() + step;
        while next < end {
            sleep_until(next).await;
            crowd.ask(Errand::Show(turns.len() + 1), |_| true);
            sleep(LOOK).await;
            let limit = end.min(next + step).saturating_duration_since(Instant::now());
            let is_so = |snapshot: &Snapshot| expected.is_met(&snapshot.pictures);
            let (snapshot, is_so) = crowd.until(limit, is_so).await?;
            totals.add(&snapshot.totals);
            turns.push(is_so.then(|| next.elapsed()));
            next += step;
        }
    }
    sleep_until(end).await;
    let mut snapshot = crowd.snapshot().await?;
    snapshot.totals.add(&totals);
    Ok((snapshot, turns))
}
