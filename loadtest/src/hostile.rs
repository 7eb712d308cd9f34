//! Hostile clients beside a call: what they send, what the call notices of it, and what the node keeps of them.
//!
//! The call's members are light bots. Attacks come one after the other, each with a pause before and after it. An attacker
//! may hurt itself; the call may not lose by it, and nothing of it may be left in the node.

mod attack;
mod bystander;
mod channels;
mod checks;
mod dice;
mod handshakes;
mod intruder;
mod kind;
mod pipe;
mod rtcp;
mod srtp;
mod strangers;
mod tcp;
mod verdict;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use self::attack::{Attack, Limit, run as attack};
use self::bystander::{Moment, Window};
use self::intruder::{Door, Guest, Intruder};
use self::kind::Kind;
use self::verdict::{Finding, judge};
use crate::crowd::{Bot, Crowd, Kind as BotKind};
use crate::light::Light;
use crate::light::dtls::Identity;
use crate::node::{Node, Pinning};
use crate::states::States;
use crate::synthetic::Track;
use crate::view::View;

/// The room of the call.
const ROOM: &str = "bystanders";
/// How long the call's streams may take to begin.
const DECODING_LIMIT: Duration = Duration::from_secs(30);
/// How long what an intruder leaves behind may take to be gone.
const LEAVING_LIMIT: Duration = Duration::from_secs(10);
/// The first address of intruders: 127.127.0.0/16 is theirs.
const INTRUDERS: u32 = 0x7f7f_ff00;

/// What to do.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For how long each attack by somebody who joined goes on, in seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// How many datagrams strangers send in all, each from a new address.
    #[arg(long, default_value_t = 1_000_000)]
    spoofed: u64,
    /// How much an attacker sends a second at most; by default as much as one thread makes.
    #[arg(long, default_value_t = u64::MAX)]
    rate: u64,
    /// How many members of the call watch.
    #[arg(long, default_value_t = 8)]
    subscribers: u32,
    /// How long before and after each attack the call is watched, in milliseconds.
    #[arg(long, default_value_t = 2000)]
    rest_ms: u64,
    /// Only attacks whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// What the call may lose, in percent of its packets.
    #[arg(long, default_value_t = 0.1)]
    max_loss: f64,
    /// What 99 % of the call's packets may take, in milliseconds; five times what they took before, if that is more.
    #[arg(long, default_value_t = 50.0)]
    max_delay_ms: f64,
    /// By how much an attack may make the node's memory grow, in KiB.
    #[arg(long, default_value_t = 8192)]
    max_growth_kib: i64,
    /// The processor core that the node is pinned to.
    #[arg(long)]
    server_core: Option<u32>,
}

/// The call and its node.
struct Scene {
    node: Node,
    crowd: Crowd,
    light: Light,
    /// Where the node receives.
    media: SocketAddrV4,
    identity: Identity,
    /// Members of the call.
    members: usize,
}

/// Runs all attacks and prints a line for each.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let scene = Scene::set(options).await?;
    // Once beforehand, so that what is made once is not taken for what an attack leaves behind.
    let chosen = |kind: &Kind| options.only.as_ref().is_none_or(|only| kind.name().contains(only));
    let kinds: Vec<Kind> = Kind::all().filter(chosen).collect();
    scene.warm_up(&kinds).await?;
    println!("{}", Finding::HEAD);
    let (mut felt, count) = (Vec::new(), kinds.len());
    for kind in kinds {
        let finding = scene.observe(kind, options).await?;
        println!("{finding}");
        let complaints = judge(&finding, options);
        if !complaints.is_empty() {
            println!("  broken: {}", complaints.join("; "));
            felt.push(kind.name());
        }
    }
    scene.crowd.dismiss().await?;
    if count == 0 {
        bail!("no attack has that name");
    }
    if !felt.is_empty() {
        bail!("{} of {count} attacks were felt: {}", felt.len(), felt.join("; "));
    }
    println!("{count} attacks, none was felt");
    Ok(())
}

impl Scene {
    async fn set(options: &Options) -> Result<Self> {
        let settings = [
            ("CASIDE_MAX_CONNECTIONS", "1000".to_owned()),
            ("CASIDE_MAX_ROOM_SIZE", (options.subscribers + 100).to_string()),
            ("CASIDE_MEDIA_IP", "127.0.0.1".to_owned()),
            ("CASIDE_MEDIA_WORKERS", "1".to_owned()),
        ];
        let pinning = options.server_core.map_or(Pinning::Anywhere, Pinning::Core);
        let node = Node::start(&settings, pinning).await?;
        let mut crowd = Crowd::new(&node.address, &node.token, BotKind::Light)?;
        let bot = |name: String, tracks: Vec<Track>| Bot {
            room: ROOM.to_owned(),
            name,
            subscribes: tracks.is_empty(),
            view: View::Whole,
            tracks,
        };
        let tracks = vec![Track::audio(120), Track::video(30, 4, 1200)];
        let streams = tracks.len() * options.subscribers as usize;
        crowd.admit([bot("publisher".to_owned(), tracks)], 10).await?;
        let watching = (0..options.subscribers).map(|n| bot(format!("subscriber {n}"), Vec::new()));
        crowd.admit(watching, 50).await?;
        crowd.decoding(streams, DECODING_LIMIT).await?;
        let light = crowd.light().context("the call is not made of light bots")?.clone();
        let mut scene = Self {
            node,
            crowd,
            light,
            media: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
            identity: Identity::generate()?,
            members: 1 + options.subscribers as usize,
        };
        let (intruder, guest) = scene.intrude(0).await?;
        scene.media = intruder.publish.line.to;
        guest.leave().await?;
        Ok(scene)
    }

    fn door(&self) -> Door<'_> {
        Door {
            address: &self.node.address,
            token: &self.node.token,
            room: ROOM,
            identity: &self.identity,
        }
    }

    async fn intrude(&self, number: u8) -> Result<(Intruder, Guest)> {
        let from = Ipv4Addr::from(INTRUDERS | u32::from(number));
        Intruder::join(self.door(), from)
            .await
            .context("the intruder does not get in")
    }

    /// A moment of each attack.
    async fn warm_up(&self, kinds: &[Kind]) -> Result<()> {
        let limit = Limit {
            time: Duration::from_millis(200),
            sent: 10_000,
            per_second: 100_000,
        };
        for kind in kinds {
            self.attack(*kind, limit).await?;
        }
        sleep(Duration::from_secs(2)).await;
        Ok(())
    }

    /// Lets everybody in whom the attack needs, attacks, and lets them leave.
    async fn attack(&self, kind: Kind, limit: Limit) -> Result<(u64, Duration)> {
        let (attacker, guests) = kind.prepare(self).await?;
        let result = strike(attacker, limit).await;
        for guest in guests {
            guest.leave().await?;
        }
        result
    }

    async fn observe(&self, kind: Kind, options: &Options) -> Result<Finding> {
        let rest = Duration::from_millis(options.rest_ms);
        let port = self.media.port();
        let calm = Moment::begin(&self.node, &self.crowd, port).await?;
        sleep(rest).await;
        let before = calm.end(&self.node, &self.crowd, port).await?;
        let (states_before, kib_before) = (States::read(&self.node).await?, self.node.rss_kib()?);

        let (attacker, guests) = kind.prepare(self).await?;
        let limit = kind.limit(options);
        let struck = Moment::begin(&self.node, &self.crowd, port).await?;
        let result = strike(attacker, limit).await;
        let during = struck.end(&self.node, &self.crowd, port).await;
        let (sent, took) = result?;
        let during: Window = during.context("the node is gone")?;
        let (states_during, kib_during) = (States::read(&self.node).await?, self.node.rss_kib()?);

        for guest in guests {
            guest.leave().await?;
        }
        let states_after = self.settled(states_before).await?;
        sleep(rest).await;
        Ok(Finding {
            kind,
            sent,
            took,
            before,
            during,
            states: [states_before, states_during, states_after],
            kib: [kib_before, kib_during, self.node.rss_kib()?],
        })
    }

    /// Waits until the node has no more than it had, or long enough.
    async fn settled(&self, before: States) -> Result<States> {
        let mut states = States::read(&self.node).await?;
        let mut waited = Duration::ZERO;
        while states != before && waited < LEAVING_LIMIT {
            let pause = Duration::from_millis(100);
            sleep(pause).await;
            waited += pause;
            states = States::read(&self.node).await?;
        }
        Ok(states)
    }
}

/// Attacks on a thread of its own.
async fn strike(mut attacker: Box<dyn Attack>, limit: Limit) -> Result<(u64, Duration)> {
    spawn_blocking(move || attack(attacker.as_mut(), limit)).await?
}
