//! Somebody who was let into the room, and means harm.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use caside_media::parameters::{IceCredentials, MediaKind};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::pipe::{Line, Pipe};
use crate::light::dtls::Identity;
use crate::light::sdp::{self, OfferedTrack, Remote};
use crate::session::{ANSWER_LIMIT, Session};

/// The SSRC of an intruder's sound; that of the picture is the next one.
pub(super) const FIRST_SSRC: u32 = 0x6666_0000;

/// A session in the room, until it leaves.
pub(super) struct Guest {
    leave: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Guest {
    /// Leaves the room and waits until the node has seen it.
    pub(super) async fn leave(self) -> Result<()> {
        // It may have ended before.
        self.leave.send(()).ok();
        self.task.await?
    }
}

/// Where to get in.
#[derive(Clone, Copy)]
pub(super) struct Door<'d> {
    pub(super) address: &'d str,
    pub(super) token: &'d str,
    pub(super) room: &'d str,
    pub(super) identity: &'d Identity,
}

/// Both connections, with good keys.
pub(super) struct Intruder {
    pub(super) publish: Pipe,
    pub(super) subscribe: Pipe,
}

impl Intruder {
    /// Joins, publishes sound and a picture with data channels beside them, and receives what the others publish.
    pub(super) async fn join(door: Door<'_>, from: Ipv4Addr) -> Result<(Self, Guest)> {
        let (mut session, line) = enter(door, from, "auto").await?;
        let identity = door.identity.clone();
        let publish = spawn_blocking(move || Pipe::secure(line, &identity)).await??;
        let ice = IceCredentials::random();
        let remote = answer_offer(&mut session, &ice, door.identity).await?;
        let (identity, local) = (door.identity.clone(), ice.clone());
        let subscribe = spawn_blocking(move || Pipe::secure(Line::open(from, local, &remote)?, &identity)).await??;
        Ok((Self { publish, subscribe }, stay(session, ice, door.identity.clone())))
    }
}

/// Joins and offers to publish, but goes no further than a check.
pub(super) async fn squat(door: Door<'_>, from: Ipv4Addr) -> Result<(Line, Guest)> {
    let (session, line) = enter(door, from, "manual").await?;
    Ok((line, stay(session, IceCredentials::random(), door.identity.clone())))
}

async fn enter(door: Door<'_>, from: Ipv4Addr, subscribe: &str) -> Result<(Session, Line)> {
    let mut session = Session::connect(door.address, door.token).await?;
    let join = json!({"room": door.room, "display_name": "intruder", "subscribe": subscribe});
    session.request("join", join).await?;
    let ice = IceCredentials::random();
    let number = u32::from(from) & 0xff;
    let tracks = [(MediaKind::Audio, 0), (MediaKind::Video, 1)].map(|(kind, nth)| OfferedTrack {
        kind,
        ssrc: FIRST_SSRC + 2 * number + nth,
        rids: Vec::new(),
    });
    let offer = sdp::offer(&tracks, true, &ice, door.identity)?;
    let answer = session
        .request("offer", json!({"target": "publish", "sdp": offer}))
        .await?;
    let remote = Remote::read(answer["sdp"].as_str().context("an answer without SDP")?)?;
    let line = spawn_blocking(move || Line::open(from, ice, &remote)).await??;
    Ok((session, line))
}

/// Answers the next offer, and says whom it is of.
async fn answer_offer(session: &mut Session, ice: &IceCredentials, identity: &Identity) -> Result<Remote> {
    timeout(ANSWER_LIMIT, async {
        loop {
            let event = session.event().await?;
            if let Some(remote) = answer(session, &event, ice, identity).await? {
                return Ok(remote);
            }
        }
    })
    .await
    .context("no offer in time")?
}

async fn answer(
    session: &mut Session,
    event: &serde_json::Value,
    ice: &IceCredentials,
    identity: &Identity,
) -> Result<Option<Remote>> {
    if event["type"] != "offer" || event["payload"]["target"] != "subscribe" {
        return Ok(None);
    }
    let offer = event["payload"]["sdp"].as_str().context("an offer without SDP")?;
    let answer = sdp::answer(offer, ice, identity)?;
    session
        .request("answer", json!({"target": "subscribe", "sdp": answer}))
        .await?;
    Ok(Some(Remote::read(offer)?))
}

/// Does what a session is asked to until it is to leave.
fn stay(mut session: Session, ice: IceCredentials, identity: Identity) -> Guest {
    let (leave, mut left) = oneshot::channel();
    let task = tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                _ = &mut left => break,
                event = session.event() => event?,
            };
            answer(&mut session, &event, &ice, &identity).await?;
        }
        session.close().await
    });
    Guest { leave, task }
}
