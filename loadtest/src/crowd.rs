//! Light bots in rooms: each signs in, joins, publishes and subscribes by the protocol that browsers use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use caside_media::parameters::{IceCredentials, MediaKind};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::light::sdp::{OPUS, OfferedTrack, Remote, VP8, answer, offer};
use crate::light::{Connect, Light, Snapshot, SourceOptions, Totals};
use crate::session::{ANSWER_LIMIT, Session};

/// How often a crowd is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// A track that a bot publishes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Track {
    pub(crate) kind: MediaKind,
    pub(crate) frames_per_second: u32,
    pub(crate) packets_per_frame: u16,
    pub(crate) packet_bytes: usize,
}

/// One bot.
#[derive(Debug, Clone)]
pub(crate) struct Bot {
    pub(crate) room: String,
    pub(crate) name: String,
    pub(crate) tracks: Vec<Track>,
    pub(crate) subscribes: bool,
}

/// Bots that are in their rooms, until it is dismissed.
pub(crate) struct Crowd {
    pub(crate) light: Light,
    address: Arc<str>,
    token: Arc<str>,
    bots: JoinSet<Result<()>>,
    joined: Arc<Semaphore>,
    count: u32,
    leave: watch::Sender<bool>,
    numbers: Arc<AtomicU32>,
}

impl Crowd {
    /// Nobody yet.
    pub(crate) fn new(address: &str, token: &str) -> Result<Self> {
        Ok(Self {
            light: Light::start()?,
            address: address.into(),
            token: token.into(),
            bots: JoinSet::new(),
            joined: Arc::new(Semaphore::new(0)),
            count: 0,
            leave: watch::Sender::new(false),
            numbers: Arc::new(AtomicU32::new(1)),
        })
    }

    /// Lets bots in, this many a second, and waits until all have joined and all that publish do so.
    pub(crate) async fn admit(&mut self, bots: impl IntoIterator<Item = Bot>, per_second: u32) -> Result<()> {
        let mut next = Instant::now();
        let before = self.count;
        for bot in bots {
            tokio::time::sleep_until(next).await;
            next += Duration::from_secs(1) / per_second.max(1);
            self.count += 1;
            let member = Member {
                bot,
                light: self.light.clone(),
                address: self.address.clone(),
                token: self.token.clone(),
                numbers: self.numbers.clone(),
            };
            let (joined, leave) = (self.joined.clone(), self.leave.subscribe());
            self.bots.spawn(member.run(joined, leave));
        }
        let all = timeout(2 * ANSWER_LIMIT, self.joined.acquire_many(self.count - before)).await;
        match all {
            Ok(permits) => permits?.forget(),
            Err(_) => {
                // Whoever failed knows why.
                while let Some(ended) = self.bots.try_join_next() {
                    ended??;
                }
                bail!("not everybody joined in time");
            }
        }
        Ok(())
    }

    /// Waits until this many streams have had a whole key frame. Returns the snapshot that saw it, with the
    /// totals of the whole wait.
    pub(crate) async fn decoding(&self, streams: usize, limit: Duration) -> Result<Snapshot> {
        let end = Instant::now() + limit;
        let mut totals = Totals::default();
        loop {
            let mut snapshot = self.light.snapshot().await?;
            totals.add(&snapshot.totals);
            if let Some(failure) = snapshot.failures.first() {
                bail!("a bot failed: {failure}");
            }
            if snapshot.decoding >= streams {
                snapshot.totals = totals;
                return Ok(snapshot);
            }
            if Instant::now() > end {
                bail!(
                    "only {} of {streams} streams had a whole key frame within {limit:?}; {} of the bots' connections are up",
                    snapshot.decoding,
                    snapshot.connected,
                );
            }
            sleep(LOOK).await;
        }
    }

    /// Ends all bots.
    pub(crate) async fn dismiss(mut self) -> Result<()> {
        self.leave.send_replace(true);
        let mut result = Ok(());
        while let Some(ended) = self.bots.join_next().await {
            result = result.and(ended?);
        }
        self.light.stop()?;
        result
    }
}

/// A bot and what it works with.
struct Member {
    bot: Bot,
    light: Light,
    address: Arc<str>,
    token: Arc<str>,
    numbers: Arc<AtomicU32>,
}

impl Member {
    async fn run(self, joined: Arc<Semaphore>, mut leave: watch::Receiver<bool>) -> Result<()> {
        let mut session = Session::connect(&self.address, &self.token).await?;
        let subscribe = if self.bot.subscribes { "auto" } else { "manual" };
        session
            .request(
                "join",
                json!({"room": self.bot.room, "display_name": self.bot.name, "subscribe": subscribe}),
            )
            .await?;
        if !self.bot.tracks.is_empty() {
            self.publish(&mut session).await?;
        }
        joined.add_permits(1);
        let mut subscription = None;
        loop {
            let event = tokio::select! {
                _ = leave.changed() => break,
                event = session.event() => event?,
            };
            if event["type"] == "offer" && event["payload"]["target"] == "subscribe" {
                self.subscribe(&mut session, &event["payload"], &mut subscription)
                    .await?;
            }
        }
        session.close().await
    }

    async fn publish(&self, session: &mut Session) -> Result<()> {
        let ice = IceCredentials::random();
        let sources: Vec<SourceOptions> = (b'0'..)
            .zip(&self.bot.tracks)
            .map(|(mid, track)| self.source(mid, track))
            .collect();
        let offered: Vec<OfferedTrack> = sources
            .iter()
            .map(|source| OfferedTrack {
                kind: source.kind,
                ssrc: source.ssrc,
            })
            .collect();
        let sdp = offer(&offered, &ice, self.light.identity())?;
        let labels: serde_json::Map<String, Value> = sources
            .iter()
            .map(|source| {
                let name = match source.kind {
                    MediaKind::Audio => "microphone",
                    MediaKind::Video => "camera",
                };
                let mid = char::from(source.mid).to_string();
                (
                    mid,
                    json!({"source": name, "label": format!("source {}", source.number)}),
                )
            })
            .collect();
        let answer = session
            .request("offer", json!({"target": "publish", "sdp": sdp, "tracks": labels}))
            .await?;
        let remote = Remote::read(answer["sdp"].as_str().context("an answer without SDP")?)?;
        self.connect(ice, remote, sources).await?;
        Ok(())
    }

    fn source(&self, mid: u8, track: &Track) -> SourceOptions {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        SourceOptions {
            kind: track.kind,
            number,
            ssrc: 0x1000_0000 | number,
            payload_type: match track.kind {
                MediaKind::Audio => OPUS,
                MediaKind::Video => VP8,
            },
            mid,
            frames_per_second: track.frames_per_second,
            packets: track.packets_per_frame,
            packet_bytes: track.packet_bytes,
        }
    }

    async fn subscribe(
        &self,
        session: &mut Session,
        payload: &Value,
        subscription: &mut Option<(usize, IceCredentials)>,
    ) -> Result<()> {
        let sdp = payload["sdp"].as_str().context("an offer without SDP")?;
        let remote = Remote::read(sdp)?;
        let ice = match &subscription {
            Some((_, ice)) => ice.clone(),
            None => IceCredentials::random(),
        };
        let sdp = answer(sdp, &ice, self.light.identity())?;
        session
            .request("answer", json!({"target": "subscribe", "sdp": sdp}))
            .await?;
        match subscription {
            Some((client, _)) => self.light.update(*client, &remote)?,
            None => {
                let client = self.connect(ice.clone(), remote, Vec::new()).await?;
                *subscription = Some((client, ice));
            }
        }
        Ok(())
    }

    async fn connect(&self, local: IceCredentials, remote: Remote, sources: Vec<SourceOptions>) -> Result<usize> {
        let (connected, up) = oneshot::channel();
        let client = self
            .light
            .connect(Connect {
                local,
                remote,
                sources,
                connected,
            })
            .await?;
        timeout(ANSWER_LIMIT, up)
            .await
            .context("media does not connect")?
            .context("media cannot connect")?;
        Ok(client)
    }
}
