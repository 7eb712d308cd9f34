//! A client of a room inside this process: its session's requests and what comes back, without a socket.

use std::net::IpAddr;
use std::time::Duration;

use caside_actors::node::{NodeHandle, SessionArgs};
use caside_actors::outbound::{Outbound, OutboundReceiver, outbound};
use caside_actors::peer::{PeerHandle, SocketClosed};
use caside_protocol::claims::Claims;
use caside_protocol::client::{Capabilities, ClientMessage, Join, Request, RequestId, SubscribePolicy};
use caside_protocol::codec::Dialect;
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::view::Mode;
use caside_protocol::{ParticipantId, RoomId};
use serde::Deserialize;
use serde_json::Value;

/// How long an answer of the room is waited for; its own limits are shorter.
const PATIENCE: Duration = Duration::from_secs(15);

/// A message as the session writes it.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<u64>,
    #[serde(default)]
    payload: Value,
}

#[derive(Debug, Deserialize)]
struct Joined {
    participant_id: ParticipantId,
    room_state: RoomState,
}

#[derive(Debug, Deserialize)]
struct RoomState {
    mode: Mode,
}

#[derive(Debug, Deserialize)]
struct Refused {
    code: ErrorCode,
    message: String,
    retry_after_ms: Option<u64>,
}

/// What ends a participant's media here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The room put them out, or closed.
    Released(&'static str),
    /// Their media connection closed.
    Media(String),
}

/// A participant without a socket.
pub(super) struct RoomClient {
    peer: PeerHandle,
    outbound: OutboundReceiver,
    participant: ParticipantId,
    /// Whom it views; without them there is nothing to see.
    viewed: Option<ParticipantId>,
    asked: u64,
    ended: Option<Ended>,
}

impl RoomClient {
    /// Joins a room whose media goes through this node.
    ///
    /// # Errors
    /// Those of opening a session and of `join`; `target_required` in a peer-to-peer room.
    pub(super) async fn join(node: &NodeHandle, claims: Claims, from: IpAddr, room: RoomId) -> Result<Self, Refusal> {
        let (queue, outbound) = outbound();
        let session = SessionArgs {
            dialect: Dialect::Json,
            outbound: queue,
            client_ip: Some(from),
            // The request has paid for its address.
            limited_as: None,
            claims: Some(claims),
        };
        let peer = node.open_session(session).await?;
        let mut client = Self {
            peer,
            outbound,
            participant: ParticipantId::new(),
            viewed: None,
            asked: 0,
            ended: None,
        };
        let join = Join {
            room,
            display_name: None,
            capabilities: Capabilities::default(),
            mode: None,
            subscribe: SubscribePolicy::Manual,
            last_n: None,
        };
        let (_, joined) = match client.ask(ClientMessage::Join(join)).await {
            Ok(answer) => answer,
            Err(refusal) => {
                client.leave();
                return Err(refusal);
            }
        };
        let joined: Joined = serde_json::from_value(joined).map_err(|_| unexpected())?;
        client.participant = joined.participant_id;
        if joined.room_state.mode == Mode::P2p {
            client.leave();
            return Err(Refusal::new(
                ErrorCode::TargetRequired,
                "this room's media goes from peer to peer; use a room of mode sfu",
            ));
        }
        Ok(client)
    }

    /// Asks and waits for the answer: its type and payload. Events that come before it are taken note of.
    ///
    /// # Errors
    /// What the room refuses with; `not_joined` when it is over meanwhile.
    pub(super) async fn ask(&mut self, message: ClientMessage) -> Result<(String, Value), Refusal> {
        self.asked += 1;
        let id = self.asked;
        let request = Request {
            id: Some(RequestId::Number(id.into())),
            traceparent: None,
            message,
        };
        self.peer.request(request).await;
        let answer = tokio::time::timeout(PATIENCE, self.answer(id)).await;
        answer.unwrap_or_else(|_| Err(Refusal::new(ErrorCode::Overloaded, "the room did not answer in time")))
    }

    async fn answer(&mut self, id: u64) -> Result<(String, Value), Refusal> {
        loop {
            let Some(message) = self.next().await else {
                return Err(Refusal::new(ErrorCode::NotJoined, "the session is over"));
            };
            if message.id != Some(id) {
                self.note(&message);
                continue;
            }
            if message.kind != "error" {
                return Ok((message.kind, message.payload));
            }
            let refused: Refused = serde_json::from_value(message.payload).map_err(|_| unexpected())?;
            let refusal = Refusal::new(refused.code, refused.message);
            return Err(match refused.retry_after_ms {
                Some(ms) => refusal.retry_after_ms(ms),
                None => refusal,
            });
        }
    }

    /// Waits until it is over. Cancel safe.
    pub(super) async fn ended(&mut self) -> Ended {
        loop {
            if let Some(ended) = self.ended.take() {
                return ended;
            }
            match self.next().await {
                Some(message) => self.note(&message),
                None => return Ended::Released("the session was closed"),
            }
        }
    }

    /// The next message; `None` once the session closed.
    async fn next(&mut self) -> Option<Message> {
        loop {
            match self.outbound.next().await {
                Outbound::Frame(frame) => match serde_json::from_slice(&frame.bytes) {
                    Ok(message) => return Some(message),
                    Err(error) => tracing::warn!(%error, kind = frame.kind, "a session wrote what cannot be read"),
                },
                Outbound::Close { .. } => return None,
            }
        }
    }

    /// Takes note of whom an answer shows: the first half of its msid.
    pub(super) fn views(&mut self, answer: &str) {
        let msid = answer.lines().find_map(|line| line.strip_prefix("a=msid:"));
        self.viewed = msid.and_then(|msid| msid.split(' ').next()?.parse().ok());
    }

    /// Whom it views.
    pub(super) fn viewed(&self) -> Option<ParticipantId> {
        self.viewed
    }

    /// What an event means for this participant's media.
    fn note(&mut self, event: &Message) {
        let about = |participant: ParticipantId| {
            let who = event.payload.get("participant_id").and_then(Value::as_str);
            who.and_then(|id| id.parse().ok()) == Some(participant)
        };
        let ended = match event.kind.as_str() {
            "kicked" => Some(Ended::Released("they were removed")),
            "goodbye" => Some(Ended::Released("the node goes away")),
            "room-moved" => Some(Ended::Released("the room's media moved")),
            "call-state-changed" if event.payload.get("state").and_then(Value::as_str) == Some("ended") => {
                Some(Ended::Released("the call ended"))
            }
            "peer-left" if self.viewed.is_some_and(about) => Some(Ended::Released("whom they viewed left")),
            "connection-quality" if about(self.participant) => event
                .payload
                .get("cause")
                .and_then(Value::as_str)
                .filter(|cause| is_closed(cause))
                .map(|cause| Ended::Media(cause.to_owned())),
            _ => None,
        };
        self.ended = self.ended.take().or(ended);
    }

    /// Leaves at once.
    pub(super) fn leave(self) {
        self.peer.closed(SocketClosed::Clean);
    }
}

/// Whether this cause of a connection's quality is its end (see `SfuEvent::Disconnected`).
fn is_closed(cause: &str) -> bool {
    matches!(
        cause,
        "ice_timeout" | "consent_expired" | "dtls_failed" | "fingerprint_mismatch" | "remote_closed" | "internal"
    )
}

fn unexpected() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the room answered what was not asked")
}
