//! One session: a participant, the description they publish or view by, and the orders that HTTP has for them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use caside_actors::node::NodeHandle;
use caside_protocol::claims::Claims;
use caside_protocol::client::{ClientMessage, Description, Target, Watch};
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::{ParticipantId, RoomId};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::Patched;
use super::client::{Ended, RoomClient};
use super::fragment::{self, Fragment};
use crate::ws::Place;

/// What HTTP wants of a session.
pub(super) enum Order {
    /// See [`Whip::patch`](super::Whip::patch).
    Patch {
        if_match: String,
        fragment: Fragment,
        done: oneshot::Sender<Result<Patched, Refusal>>,
    },
    /// Ends it.
    End { done: oneshot::Sender<()> },
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// WHIP.
    Publish,
    /// WHEP: to see this participant, or the first who publishes.
    View(Option<ParticipantId>),
}

impl Purpose {
    /// The message that has an offer answered.
    fn ask(self, sdp: String) -> ClientMessage {
        match self {
            Self::Publish => ClientMessage::Offer(Description {
                target: Some(Target::Publish),
                to: None,
                sdp: Some(sdp),
                tracks: BTreeMap::new(),
                raw: Map::new(),
            }),
            Self::View(participant) => ClientMessage::Watch(Watch { participant, sdp }),
        }
    }
}

/// An open session.
pub(super) struct Session {
    client: RoomClient,
    purpose: Purpose,
    room: RoomId,
    /// The client's last offer that was answered.
    offer: String,
    etag: String,
    /// Given up with the session.
    _place: Place,
}

impl Session {
    /// Joins, and publishes or views. Returns our answer and the name of its ICE session beside it.
    pub(super) async fn open(
        node: &NodeHandle,
        claims: Claims,
        purpose: Purpose,
        room: RoomId,
        from: IpAddr,
        place: Place,
        offer: String,
    ) -> Result<(Self, String, String), Refusal> {
        let mut client = RoomClient::join(node, claims, from, room.clone()).await?;
        let answered = negotiate(&mut client, purpose, offer.clone()).await;
        let (answer, etag) = match answered {
            Ok(answered) => answered,
            Err(refusal) => {
                client.leave();
                return Err(refusal);
            }
        };
        // Who asked for the first is to see that one from here on.
        let purpose = match (purpose, client.viewed()) {
            (Purpose::View(_), Some(viewed)) => Purpose::View(Some(viewed)),
            _ => purpose,
        };
        let session = Self {
            client,
            purpose,
            room,
            offer,
            etag: etag.clone(),
            _place: place,
        };
        Ok((session, answer, etag))
    }

    /// Carries out orders until it is over, and leaves.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let confirm = loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Patch { if_match, fragment, done }) => {
                        let result = self.patch(&if_match, &fragment).await;
                        if done.send(result).is_err() {
                            tracing::debug!(room.id = %self.room, "nobody waits for a patch any more");
                        }
                    }
                    Some(Order::End { done }) => break Some(done),
                    None => break None,
                },
                ended = self.client.ended() => {
                    let why = match &ended {
                        Ended::Released(why) => why,
                        Ended::Media(cause) => cause.as_str(),
                    };
                    tracing::debug!(room.id = %self.room, purpose = ?self.purpose, why, "a session ended");
                    break None;
                }
            }
        };
        self.client.leave();
        if let Some(done) = confirm
            && done.send(()).is_err()
        {
            tracing::debug!(room.id = %self.room, "nobody waits for the end of a session any more");
        }
    }

    /// RFC 9725 §4.3: candidates are for the ICE session that they name; other credentials restart ICE.
    async fn patch(&mut self, if_match: &str, fragment: &Fragment) -> Result<Patched, Refusal> {
        if if_match != "*" && if_match != self.etag {
            return Ok(Patched::Outdated);
        }
        let Some(credentials) = &fragment.credentials else {
            return Ok(Patched::Noted);
        };
        let Some(offer) = fragment::restarted(&self.offer, credentials) else {
            return Ok(Patched::Noted);
        };
        let (answer, etag) = negotiate(&mut self.client, self.purpose, offer.clone()).await?;
        self.offer = offer;
        self.etag.clone_from(&etag);
        Ok(Patched::Restarted {
            fragment: fragment::of_answer(&answer),
            etag,
        })
    }
}

/// Has an offer answered: our answer, and the name of its ICE session.
async fn negotiate(client: &mut RoomClient, purpose: Purpose, offer: String) -> Result<(String, String), Refusal> {
    let (kind, payload) = client.ask(purpose.ask(offer)).await?;
    let sdp = payload.get("sdp").and_then(Value::as_str).filter(|_| kind == "answer");
    let sdp = sdp.ok_or_else(|| Refusal::new(ErrorCode::Internal, "the offer was not answered"))?;
    let etag = fragment::etag(sdp).ok_or_else(|| Refusal::new(ErrorCode::Internal, "the answer has no credentials"))?;
    if let Purpose::View(_) = purpose {
        client.views(sdp);
    }
    Ok((sdp.to_owned(), etag))
}
