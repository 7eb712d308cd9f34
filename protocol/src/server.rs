//! Messages to a client: answers, which bear a request's id, and events, which bear a sequence number.

mod call;
mod media;
mod recording;
mod room;
mod session;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::{ErrorCode, Refusal};
use crate::view::{Participant, RoomState, Track};
use crate::{InviteId, MessageId, RecordingId, RoomId, Timestamp};

pub use self::call::{CallState, CallStateChanged, DtmfEvent, InviteAnswer, InviteAnswered, InviteEvent, InviteKind};
pub use self::media::{
    ActiveSpeakers, CamerasSelected, ConnectionQuality, PublishLayer, PublishLayers, SfuAnswer, SfuOffer,
    SfuOfferTrack, TrackGone,
};
pub use self::recording::{FinishedFile, MAX_FINISHED_FILES, RecordingFinished, RecordingRef};
pub use self::room::{
    ChatEvent, DataEvent, Joined, Kicked, LeaveReason, ModeChanged, ModeReason, MoveReason, PeerLeft, RoleChanged,
    RoomMoved, RoomUpdated,
};
pub use self::session::{Goodbye, IceServer, Resumed, ServerInfo, Welcome, WelcomeUser};

/// What the server says. Clients get [`ServerMessage::payload`], named by [`ServerMessage::kind`]; what it serializes as itself
/// goes from node to node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ServerMessage {
    /// Answers `auth`.
    Welcome(Box<Welcome>),
    /// Answers `resume`.
    Resumed(Box<Resumed>),
    /// Answers `join` and `accept`.
    Joined(Box<Joined>),
    /// Answers what has no answer type of its own.
    Ok(Done),
    /// Answers `get-room-info`.
    RoomInfo(Box<RoomState>),
    /// Answers `stats`.
    Stats(Value),
    /// Answers `ping`.
    Pong(Empty),
    /// Refuses a request, or reports a failure.
    Error(ErrorPayload),
    /// The SFU's offer to a subscriber.
    Offer(SfuOffer),
    /// The SFU's answer to a publisher.
    Answer(SfuAnswer),
    /// An offer of another participant.
    RelayedOffer(Map<String, Value>),
    /// An answer of another participant.
    RelayedAnswer(Map<String, Value>),
    /// A candidate of another participant.
    RelayedCandidate(Map<String, Value>),
    /// Somebody came.
    PeerJoined(Participant),
    /// Somebody left.
    PeerLeft(PeerLeft),
    /// A participant's name, role or connection changed.
    PeerUpdated(Participant),
    /// A track is there to receive.
    TrackPublished(Track),
    /// It is gone.
    TrackUnpublished(TrackGone),
    /// It was muted, held or changed.
    TrackUpdated(Track),
    /// Text from a participant.
    Chat(ChatEvent),
    /// Application data from a participant.
    Data(DataEvent),
    /// Tones from a participant.
    Dtmf(DtmfEvent),
    /// The call began or ended.
    CallStateChanged(CallStateChanged),
    /// A recording runs.
    RecordingStarted(RecordingRef),
    /// It was stopped; its files are being made.
    RecordingStopped(RecordingRef),
    /// Its files are there, or will not be.
    RecordingFinished(Box<RecordingFinished>),
    /// Which encodings of a track of ours somebody watches.
    PublishLayers(PublishLayers),
    /// Which cameras we receive, where that is not all.
    CamerasSelected(CamerasSelected),
    /// Who speaks.
    ActiveSpeakers(ActiveSpeakers),
    /// How a participant's connection does.
    ConnectionQuality(ConnectionQuality),
    /// Somebody calls or invites.
    Invite(InviteEvent),
    /// Somebody answered a call or an invitation of ours.
    InviteAnswered(InviteAnswered),
    /// Media moves between peer-to-peer and the SFU, now.
    ModeChanged(ModeChanged),
    /// The room was locked, unlocked, renamed, or given other metadata.
    RoomUpdated(Box<RoomUpdated>),
    /// One's role changed.
    RoleChanged(RoleChanged),
    /// One was removed.
    Kicked(Kicked),
    /// Another node has the room; media moves there, now.
    RoomMoved(Box<RoomMoved>),
    /// The server goes away.
    Goodbye(Goodbye),
}

impl ServerMessage {
    /// The envelope's `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Welcome(_) => "welcome",
            Self::Resumed(_) => "resumed",
            Self::Joined(_) => "joined",
            Self::Ok(_) => "ok",
            Self::RoomInfo(_) => "room-info",
            Self::Stats(_) => "stats",
            Self::Pong(_) => "pong",
            Self::Error(_) => "error",
            Self::Offer(_) | Self::RelayedOffer(_) => "offer",
            Self::Answer(_) | Self::RelayedAnswer(_) => "answer",
            Self::RelayedCandidate(_) => "ice-candidate",
            Self::PeerJoined(_) => "peer-joined",
            Self::PeerLeft(_) => "peer-left",
            Self::PeerUpdated(_) => "peer-updated",
            Self::TrackPublished(_) => "track-published",
            Self::TrackUnpublished(_) => "track-unpublished",
            Self::TrackUpdated(_) => "track-updated",
            Self::Chat(_) => "chat",
            Self::Data(_) => "data",
            Self::Dtmf(_) => "dtmf",
            Self::CallStateChanged(_) => "call-state-changed",
            Self::RecordingStarted(_) => "recording-started",
            Self::RecordingStopped(_) => "recording-stopped",
            Self::RecordingFinished(_) => "recording-finished",
            Self::PublishLayers(_) => "publish-layers",
            Self::CamerasSelected(_) => "cameras-selected",
            Self::ActiveSpeakers(_) => "active-speakers",
            Self::ConnectionQuality(_) => "connection-quality",
            Self::Invite(_) => "invite",
            Self::InviteAnswered(_) => "invite-answered",
            Self::ModeChanged(_) => "mode-changed",
            Self::RoomUpdated(_) => "room-updated",
            Self::RoleChanged(_) => "role-changed",
            Self::Kicked(_) => "kicked",
            Self::RoomMoved(_) => "room-moved",
            Self::Goodbye(_) => "goodbye",
        }
    }

    /// The envelope's `payload`.
    pub fn payload(&self) -> Payload<'_> {
        Payload(self)
    }

    /// An `ok` with nothing to add.
    pub fn ok() -> Self {
        Self::Ok(Done::default())
    }
}

/// A message without its name, as clients get it.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a>(&'a ServerMessage);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use ServerMessage as M;
        match self.0 {
            M::Welcome(payload) => payload.serialize(serializer),
            M::Resumed(payload) => payload.serialize(serializer),
            M::Joined(payload) => payload.serialize(serializer),
            M::Ok(payload) => payload.serialize(serializer),
            M::RoomInfo(payload) => payload.serialize(serializer),
            M::Stats(payload) => payload.serialize(serializer),
            M::Pong(payload) => payload.serialize(serializer),
            M::Error(payload) => payload.serialize(serializer),
            M::Offer(payload) => payload.serialize(serializer),
            M::Answer(payload) => payload.serialize(serializer),
            M::RelayedOffer(payload) => payload.serialize(serializer),
            M::RelayedAnswer(payload) => payload.serialize(serializer),
            M::RelayedCandidate(payload) => payload.serialize(serializer),
            M::PeerJoined(payload) => payload.serialize(serializer),
            M::PeerLeft(payload) => payload.serialize(serializer),
            M::PeerUpdated(payload) => payload.serialize(serializer),
            M::TrackPublished(payload) => payload.serialize(serializer),
            M::TrackUnpublished(payload) => payload.serialize(serializer),
            M::TrackUpdated(payload) => payload.serialize(serializer),
            M::Chat(payload) => payload.serialize(serializer),
            M::Data(payload) => payload.serialize(serializer),
            M::Dtmf(payload) => payload.serialize(serializer),
            M::CallStateChanged(payload) => payload.serialize(serializer),
            M::RecordingStarted(payload) => payload.serialize(serializer),
            M::RecordingStopped(payload) => payload.serialize(serializer),
            M::RecordingFinished(payload) => payload.serialize(serializer),
            M::PublishLayers(payload) => payload.serialize(serializer),
            M::CamerasSelected(payload) => payload.serialize(serializer),
            M::ActiveSpeakers(payload) => payload.serialize(serializer),
            M::ConnectionQuality(payload) => payload.serialize(serializer),
            M::Invite(payload) => payload.serialize(serializer),
            M::InviteAnswered(payload) => payload.serialize(serializer),
            M::ModeChanged(payload) => payload.serialize(serializer),
            M::RoomUpdated(payload) => payload.serialize(serializer),
            M::RoleChanged(payload) => payload.serialize(serializer),
            M::Kicked(payload) => payload.serialize(serializer),
            M::RoomMoved(payload) => payload.serialize(serializer),
            M::Goodbye(payload) => payload.serialize(serializer),
        }
    }
}

impl From<Refusal> for ServerMessage {
    fn from(refusal: Refusal) -> Self {
        Self::Error(ErrorPayload {
            code: refusal.code,
            message: refusal.message,
            retryable: refusal.code.retryable(),
            retry_after_ms: refusal.retry_after_ms,
        })
    }
}

/// An empty payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// `ok`: what a request made, if anything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Done {
    /// Of `chat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// Of `chat`.
    #[serde(
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option",
        default
    )]
    pub sent_at: Option<Timestamp>,
    /// Of `call` and `invite`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite_id: Option<InviteId>,
    /// Of `call`: the room that was made for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    /// Of `start-recording` and `stop-recording`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording_id: Option<RecordingId>,
}

/// `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorPayload {
    /// What kind.
    pub code: ErrorCode,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether the same may succeed later.
    pub retryable: bool,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
