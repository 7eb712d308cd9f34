//! Light bots in rooms: each signs in, joins, publishes and subscribes by the protocol that browsers use.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use caside_media::parameters::MediaKind;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::light::{Light, LightBot, Snapshot, Totals};
use crate::real::{Real, RealBot};
use crate::session::{ANSWER_LIMIT, Session};
use crate::synthetic::Track;
use crate::view::{Stage, View, Wish};

/// How often a crowd is looked at while it is waited for.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// One bot.
#[derive(Debug, Clone)]
pub(crate) struct Bot {
    pub(crate) room: String,
    pub(crate) name: String,
    pub(crate) tracks: Vec<Track>,
    pub(crate) subscribes: bool,
    pub(crate) view: View,
}

/// What bots are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Thousands on a core: real ICE, DTLS and SRTP, nothing else of a browser.
    Light,
    /// Dozens on a core: the whole of a WebRTC implementation that nobody here wrote.
    Webrtc,
}

#[derive(Clone)]
enum Clients {
    Light(Light),
    Real(Real),
}

impl Clients {
    async fn snapshot(&self) -> Result<Snapshot> {
        match self {
            Self::Light(light) => light.snapshot().await,
            Self::Real(real) => Ok(real.snapshot()),
        }
    }
}

/// What a bot is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Mutes its own tracks, or lets them be heard and seen again.
    Mute(bool),
    /// Wants pictures of this `quality`.
    Want(&'static str),
    /// Shows whose turn it is to speak, by number.
    Show(usize),
    /// Leaves its room.
    Leave,
}

/// Errands that may wait for a bot; one that has so many to do is passed over.
const MAX_ERRANDS: usize = 16;

/// Bots that are in their rooms, until it is dismissed.
pub(crate) struct Crowd {
    clients: Clients,
    address: Arc<str>,
    token: Arc<str>,
    bots: JoinSet<Result<()>>,
    /// The ways to the bots, those that came first at the front.
    ways: VecDeque<(Bot, mpsc::Sender<Errand>)>,
    joined: Arc<Semaphore>,
    count: u32,
    leave: watch::Sender<bool>,
    numbers: Arc<AtomicU32>,
}

impl Crowd {
    /// Nobody yet.
    pub(crate) fn new(address: &str, token: &str, kind: Kind) -> Result<Self> {
        let clients = match kind {
            Kind::Light => Clients::Light(Light::start()?),
            Kind::Webrtc => Clients::Real(Real::default()),
        };
        Ok(Self::of(clients, address, token))
    }

    /// As [`new`](Self::new), of light bots who have addresses from this one on.
    pub(crate) fn from_addresses(address: &str, token: &str, first: Ipv4Addr) -> Result<Self> {
        Ok(Self::of(Clients::Light(Light::start_from(first)?), address, token))
    }

    /// Who joins from now on does so by this token.
    pub(crate) fn join_by(&mut self, token: &str) {
        self.token = token.into();
    }

    fn of(clients: Clients, address: &str, token: &str) -> Self {
        Self {
            clients,
            address: address.into(),
            token: token.into(),
            bots: JoinSet::new(),
            ways: VecDeque::new(),
            joined: Arc::new(Semaphore::new(0)),
            count: 0,
            leave: watch::Sender::new(false),
            numbers: Arc::new(AtomicU32::new(1)),
        }
    }

    /// Lets bots in, this many a second, and waits until all have joined and all that publish do so.
    pub(crate) async fn admit(&mut self, bots: impl IntoIterator<Item = Bot>, per_second: u32) -> Result<()> {
        let mut next = Instant::now();
        let before = self.count;
        for bot in bots {
            tokio::time::sleep_until(next).await;
            next += Duration::from_secs(1) / per_second.max(1);
            self.count += 1;
            let (way, errands) = mpsc::channel(MAX_ERRANDS);
            self.ways.push_back((bot.clone(), way));
            let member = Member {
                bot,
                errands,
                clients: self.clients.clone(),
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

    /// Asks the bots that `is_meant`.
    pub(crate) fn ask(&self, errand: Errand, mut is_meant: impl FnMut(&Bot) -> bool) {
        for (_, way) in self.ways.iter().filter(|(bot, _)| is_meant(bot)) {
            // Whoever is gone, or has too much to do, is passed over.
            way.try_send(errand).ok();
        }
    }

    /// Lets those leave who came first of the bots that only subscribe, and waits until they are gone.
    pub(crate) async fn part(&mut self, count: usize) -> Result<()> {
        let before = self.bots.len();
        let mut parted = 0;
        let mut stay = VecDeque::new();
        for (bot, way) in std::mem::take(&mut self.ways) {
            if bot.tracks.is_empty() && parted < count {
                parted += 1;
                way.send(Errand::Leave).await.context("a bot left before it was to")?;
            } else {
                stay.push_back((bot, way));
            }
        }
        self.ways = stay;
        while self.bots.len() > before - parted {
            match timeout(2 * ANSWER_LIMIT, self.bots.join_next()).await {
                Ok(Some(ended)) => ended??,
                Ok(None) => break,
                Err(_) => bail!("not everybody left in time"),
            }
        }
        Ok(())
    }

    /// Waits until this many streams have had a whole key frame. Returns the snapshot that saw it, with the
    /// totals of the whole wait.
    pub(crate) async fn decoding(&self, streams: usize, limit: Duration) -> Result<Snapshot> {
        let (snapshot, is_so) = self.until(limit, |snapshot| snapshot.decoding >= streams).await?;
        if !is_so {
            bail!(
                "only {} of {streams} streams had a whole key frame within {limit:?}; {} of the bots' connections are up",
                snapshot.decoding,
                snapshot.connected,
            );
        }
        Ok(snapshot)
    }

    /// Waits until a snapshot `is_so`, or for this long. Returns the last one, with the totals of the whole wait, and whether it was.
    pub(crate) async fn until(&self, limit: Duration, is_so: impl Fn(&Snapshot) -> bool) -> Result<(Snapshot, bool)> {
        let end = Instant::now() + limit;
        let mut totals = Totals::default();
        loop {
            let mut snapshot = self.clients.snapshot().await?;
            totals.add(&snapshot.totals);
            if let Some(failure) = snapshot.failures.first() {
                bail!("a bot failed: {failure}");
            }
            let found = is_so(&snapshot);
            if found || Instant::now() > end {
                snapshot.totals = totals;
                return Ok((snapshot, found));
            }
            sleep(LOOK).await;
        }
    }

    /// What light bots are made of; `None` when they are others.
    pub(crate) fn light(&self) -> Option<&Light> {
        match &self.clients {
            Clients::Light(light) => Some(light),
            Clients::Real(_) => None,
        }
    }

    /// What was seen since the last snapshot.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot> {
        self.clients.snapshot().await
    }

    /// Ends all bots.
    pub(crate) async fn dismiss(mut self) -> Result<()> {
        self.leave.send_replace(true);
        let mut result = Ok(());
        while let Some(ended) = self.bots.join_next().await {
            result = result.and(ended?);
        }
        if let Clients::Light(light) = &self.clients {
            light.stop()?;
        }
        result
    }
}

/// A bot and what it works with.
struct Member {
    bot: Bot,
    errands: mpsc::Receiver<Errand>,
    clients: Clients,
    address: Arc<str>,
    token: Arc<str>,
    numbers: Arc<AtomicU32>,
}

impl Member {
    async fn run(mut self, joined: Arc<Semaphore>, mut leave: watch::Receiver<bool>) -> Result<()> {
        let mut session = Session::connect(&self.address, &self.token).await?;
        let subscribe = if self.bot.subscribes { "auto" } else { "manual" };
        let joined_as = session
            .request(
                "join",
                json!({"room": self.bot.room, "display_name": self.bot.name, "subscribe": subscribe}),
            )
            .await?;
        let mut media = match &self.clients {
            Clients::Light(light) => Media::Light(Box::new(LightBot::new(light.clone(), self.numbers.clone()))),
            Clients::Real(real) => Media::Real(RealBot::new(real.clone(), self.numbers.clone())),
        };
        let mut tracks = Tracks::default();
        if !self.bot.tracks.is_empty() {
            tracks.own = media.publish(&mut session, &self.bot.tracks).await?;
            tracks.stage = Stage::of(joined_as["participant_id"].as_str().map(str::to_owned));
        }
        joined.add_permits(1);
        loop {
            let event = tokio::select! {
                biased;
                _ = leave.changed() => break,
                errand = self.errands.recv() => match errand {
                    Some(Errand::Leave) | None => break,
                    Some(errand) => {
                        tracks.run(errand, &media, &mut session).await?;
                        continue;
                    }
                },
                event = session.event() => event?,
            };
            let payload = &event["payload"];
            if event["type"] == "publish-layers" {
                media.layers_wanted(payload)?;
            }
            if event["type"] == "offer" && payload["target"] == "subscribe" {
                let sdp = payload["sdp"].as_str().context("an offer without SDP")?;
                let answer = media.answer(sdp).await?;
                session
                    .request("answer", json!({"target": "subscribe", "sdp": answer}))
                    .await?;
                media.answered().await?;
                tracks.offered(&payload["tracks"]);
                if self.bot.view == View::Speaker
                    && let Err(error) = tracks.show(&media, &mut session).await
                {
                    // When all leave, tracks are gone before we know.
                    match *leave.borrow() {
                        true => break,
                        false => return Err(error),
                    }
                }
            }
        }
        media.close().await?;
        session.close().await
    }
}

/// The ids of the tracks that a bot has to do with.
#[derive(Debug, Default)]
struct Tracks {
    own: Vec<String>,
    /// Of others' cameras.
    cameras: Vec<String>,
    /// How they are shown, in the speaker's view.
    stage: Stage,
}

impl Tracks {
    /// Notes what an offer's `tracks` say.
    fn offered(&mut self, tracks: &Value) {
        let cameras = tracks.as_object().into_iter().flatten().filter_map(|(_, track)| {
            let is_camera = track["source"] == "camera";
            is_camera.then(|| track["track"].as_str().map(str::to_owned))?
        });
        self.cameras = cameras.collect();
        self.stage.offered(tracks);
    }

    /// Asks for what the speaker's view needs and was not asked for.
    async fn show(&mut self, media: &Media, session: &mut Session) -> Result<()> {
        media.expect(&self.stage.sizes())?;
        ask_for(session, &self.stage.ask()).await
    }

    async fn run(&mut self, errand: Errand, media: &Media, session: &mut Session) -> Result<()> {
        match errand {
            Errand::Mute(muted) => {
                let kind = if muted { "mute" } else { "unmute" };
                for track in &self.own {
                    session.request(kind, json!({"track": track})).await?;
                }
            }
            Errand::Want(quality) => {
                let wish = |track: &String| Wish {
                    track: track.clone(),
                    quality,
                };
                let wishes: Vec<Wish> = self.cameras.iter().map(wish).collect();
                ask_for(session, &wishes).await?;
            }
            Errand::Show(turn) => {
                self.stage.turn(turn);
                self.show(media, session).await?;
            }
            Errand::Leave => {}
        }
        Ok(())
    }
}

async fn ask_for(session: &mut Session, wishes: &[Wish]) -> Result<()> {
    for Wish { track, quality } in wishes {
        session
            .request("subscribe", json!({"track": track, "quality": quality}))
            .await?;
    }
    Ok(())
}

/// A bot's connections.
enum Media {
    Light(Box<LightBot>),
    Real(RealBot),
}

impl Media {
    /// The ids of the tracks.
    async fn publish(&mut self, session: &mut Session, tracks: &[Track]) -> Result<Vec<String>> {
        let published = match self {
            Self::Light(bot) => bot.publish(session, tracks).await?,
            Self::Real(bot) => bot.publish(session, tracks).await?,
        };
        let ids = published.as_object().into_iter().flatten();
        Ok(ids.filter_map(|(_, id)| id.as_str().map(str::to_owned)).collect())
    }

    async fn answer(&mut self, offer: &str) -> Result<String> {
        match self {
            Self::Light(bot) => bot.answer(offer),
            Self::Real(bot) => bot.answer(offer).await,
        }
    }

    /// The node has our answer.
    async fn answered(&mut self) -> Result<()> {
        match self {
            Self::Light(bot) => bot.answered().await,
            Self::Real(_) => Ok(()),
        }
    }

    /// Somebody watches these sizes of a track of ours, or nobody does.
    fn layers_wanted(&self, wanted: &Value) -> Result<()> {
        match self {
            Self::Light(bot) => bot.layers_wanted(wanted),
            // They publish one size.
            Self::Real(_) => Ok(()),
        }
    }

    /// Sizes of pictures, by `mid`, are being asked for.
    fn expect(&self, sizes: &[(String, u8)]) -> Result<()> {
        match self {
            Self::Light(bot) => bot.expect(sizes),
            Self::Real(_) => Ok(()),
        }
    }

    async fn close(&mut self) -> Result<()> {
        match self {
            Self::Light(bot) => bot.close(),
            Self::Real(bot) => bot.close().await,
        }
    }
}

/// What a publish offer says of its tracks, by mid, beside the SDP.
pub(crate) fn labels<'t>(tracks: impl Iterator<Item = (String, &'t Track)>) -> Value {
    tracks
        .map(|(mid, track)| {
            let source = match track.kind {
                MediaKind::Audio => "microphone",
                MediaKind::Video => "camera",
            };
            (mid, json!({"source": source, "label": "synthetic"}))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}
