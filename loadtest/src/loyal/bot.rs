//! One bot: its session over any number of sockets, its media over any number of connections.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::light::{Light, LightBot};
use crate::session::{Refused, Resume, Session};
use crate::synthetic::Track;

/// How long a session waits to be resumed, and a second for whoever is slow.
const GRACE: Duration = Duration::from_secs(16);
/// The first try to come back; those after it wait twice as long each, up to `PATIENCE`.
const EAGER: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(1);
/// One try may take so long.
const TRY: Duration = Duration::from_secs(3);
/// How often connections are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long old connections stay once the new ones are up.
const LINGER: Duration = Duration::from_millis(500);
/// Failures that are told.
const TOLD: usize = 8;

/// Where a bot is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) addresses: Vec<String>,
    /// Which address it begins with.
    pub(super) first: usize,
    pub(super) token: String,
    pub(super) room: String,
    pub(super) name: String,
    pub(super) bytes: usize,
}

/// What happened to all bots.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Times that somebody was told `room-moved`.
    pub(super) moves: AtomicU32,
    /// Sockets that dropped and were resumed.
    pub(super) resumes: AtomicU32,
    /// Bots whose session ended.
    pub(super) lost: AtomicU32,
    /// Times that somebody was told `peer-left` or `track-unpublished`.
    pub(super) left: AtomicU32,
    /// Events that came twice, not in order, or after a gap.
    pub(super) misnumbered: AtomicU32,
    failures: Mutex<Vec<String>>,
}

impl Faults {
    /// The first failures.
    pub(super) fn first(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, failure: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < TOLD {
            failures.push(failure);
        }
    }
}

/// A bot that stays.
pub(super) struct Loyal {
    place: Place,
    light: Light,
    media: LightBot,
    tracks: [Track; 1],
    faults: Arc<Faults>,
    /// Connections that others replace.
    old: Vec<usize>,
    /// Since when they are up.
    up: Option<Instant>,
    /// Its media is to begin on new connections then.
    renew_at: Option<Instant>,
    /// The address of the next socket.
    next: usize,
}

impl Loyal {
    pub(super) fn new(place: Place, light: Light, numbers: Arc<AtomicU32>, faults: Arc<Faults>) -> Self {
        Self {
            media: LightBot::watched(light.clone(), numbers),
            tracks: [Track::video(30, 1, place.bytes)],
            next: place.first,
            place,
            light,
            faults,
            old: Vec::new(),
            up: None,
            renew_at: None,
        }
    }

    /// Stays until it is to leave, or its session is lost.
    pub(super) async fn run(mut self, mut leave: watch::Receiver<bool>) {
        if let Err(error) = self.stay(&mut leave).await {
            self.faults.lost.fetch_add(1, Ordering::Relaxed);
            self.faults
                .note(format!("{} in {}: {error:#}", self.place.name, self.place.room));
        }
    }

    async fn stay(&mut self, leave: &mut watch::Receiver<bool>) -> Result<()> {
        let mut session = Session::connect(&self.address(), &self.place.token).await?;
        let about = json!({"room": self.place.room, "display_name": self.place.name});
        session.request("join", about).await?;
        let mut misnumbered = 0;
        let published = self.media.publish(&mut session, &self.tracks).await;
        self.accepted(published)?;
        while !*leave.borrow() {
            if let Err(error) = self.attend(&mut session, leave).await {
                // What it was about to say may be lost with the socket; the node asks again for what matters.
                session = self.come_back(session.before().clone()).await.context(error)?;
                self.faults.resumes.fetch_add(1, Ordering::Relaxed);
            }
            let so_far = session.before().misnumbered;
            self.faults.misnumbered.fetch_add(
                u32::try_from(so_far - misnumbered).unwrap_or(u32::MAX),
                Ordering::Relaxed,
            );
            misnumbered = so_far;
        }
        self.media.close()?;
        session.close().await
    }

    fn address(&mut self) -> String {
        self.next += 1;
        let place = self.next % self.place.addresses.len();
        self.place.addresses.get(place).cloned().unwrap_or_default()
    }

    /// Resumes over another socket.
    async fn come_back(&mut self, before: Resume) -> Result<Session> {
        let end = Instant::now() + GRACE;
        let mut wait = EAGER;
        loop {
            let address = self.address();
            let error = match timeout(TRY, Session::resume(&address, &before)).await {
                Ok(Ok((session, _))) => return Ok(session),
                Ok(Err(error)) => error,
                Err(_) => anyhow::anyhow!("{address} does not answer"),
            };
            let refused = error.downcast_ref::<Refused>();
            if Instant::now() > end || refused.is_some_and(|refused| refused.code == "resume_expired") {
                return Err(error.context("cannot come back"));
            }
            match refused.and_then(|refused| refused.retry_after_ms) {
                Some(ms) => sleep(Duration::from_millis(ms)).await,
                None => {
                    sleep(wait).await;
                    wait = (2 * wait).min(PATIENCE);
                }
            }
        }
    }

    /// Does what comes, until it is to leave; an error is the end of the socket.
    async fn attend(&mut self, session: &mut Session, leave: &mut watch::Receiver<bool>) -> Result<()> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                _ = leave.changed() => return Ok(()),
                event = session.event() => event?,
                _ = look.tick() => {
                    self.look(session).await?;
                    continue;
                }
            };
            self.take(session, &event).await?;
        }
    }

    async fn take(&mut self, session: &mut Session, event: &Value) -> Result<()> {
        let payload = &event["payload"];
        match event["type"].as_str().unwrap_or_default() {
            "room-moved" => {
                self.faults.moves.fetch_add(1, Ordering::Relaxed);
                self.renew_at = Some(Instant::now());
                self.look(session).await?;
            }
            "offer" if payload["target"] == "subscribe" => {
                let answer = self
                    .media
                    .answer(payload["sdp"].as_str().context("an offer without SDP")?)?;
                let answer = json!({"target": "subscribe", "sdp": answer});
                if self.accepted(session.request("answer", answer).await)?.is_some() {
                    self.media.answered().await?;
                }
            }
            "peer-left" | "track-unpublished" => {
                self.faults.left.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }

    /// Begins media that is to begin, and ends old connections that are not needed any more.
    async fn look(&mut self, session: &mut Session) -> Result<()> {
        if self.renew_at.is_some_and(|at| at <= Instant::now()) {
            self.renew_at = None;
            self.up = None;
            self.old.extend(self.media.renew());
            let published = self.media.publish(session, &self.tracks).await;
            self.accepted(published)?;
        }
        if !self.old.is_empty() && self.media.is_up() {
            let up = *self.up.get_or_insert_with(Instant::now);
            if up.elapsed() >= LINGER {
                self.old.drain(..).try_for_each(|client| self.light.leave(client))?;
            }
        }
        Ok(())
    }

    /// What the node accepted; media that it refused for now is begun again later.
    fn accepted(&mut self, answer: Result<Value>) -> Result<Option<Value>> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => match error.downcast_ref::<Refused>() {
                Some(refused) => {
                    let later = Duration::from_millis(refused.retry_after_ms.unwrap_or(200));
                    self.renew_at = Some(Instant::now() + later);
                    self.faults
                        .note(format!("{} in {}: {error:#}", self.place.name, self.place.room));
                    Ok(None)
                }
                None => Err(error),
            },
        }
    }
}
