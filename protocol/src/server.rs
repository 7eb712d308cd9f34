//! Messages to a client: answers, which bear a request's id, and events, which bear a sequence number.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::client::Target;
use crate::error::{ErrorCode, Refusal};
use crate::rest::RecordingState;
use crate::view::{Mode, Participant, Quality, RoomState, Source, Track};
use crate::{
    CallId, InviteId, MessageId, NodeId, ParticipantId, RecordingId, Role, RoomId, SessionId, Timestamp, TrackId,
    UserId,
};

/// What the server says. Serializes as the payload alone; [`ServerMessage::kind`] names it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
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
    RoomMoved(RoomMoved),
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

    /// An `ok` with nothing to add.
    pub fn ok() -> Self {
        Self::Ok(Done::default())
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Empty {}

/// `welcome`.
#[derive(Clone, PartialEq, Serialize)]
pub struct Welcome {
    /// The session.
    pub session: SessionId,
    /// What `resume` needs; good once.
    pub resume_token: String,
    /// Who the token says the client is.
    pub user: WelcomeUser,
    /// STUN and TURN servers, as `RTCConfiguration.iceServers` takes them.
    pub ice_servers: Vec<IceServer>,
    /// How often the server pings.
    pub heartbeat_ms: u64,
    /// Who answers.
    pub server: ServerInfo,
}

impl std::fmt::Debug for Welcome {
    /// The resume token stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Welcome")
            .field("session", &self.session)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The user of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WelcomeUser {
    /// The token's `sub`.
    pub id: UserId,
    /// The name to show.
    pub name: String,
}

/// A STUN or TURN server (W3C `RTCIceServer`).
#[derive(Clone, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct IceServer {
    /// `stun:…`, `turn:…`.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl std::fmt::Debug for IceServer {
    /// The credential stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// Of the binary.
    pub version: String,
    /// The node's id.
    pub node: NodeId,
}

/// `resumed`.
#[derive(Clone, PartialEq, Serialize)]
pub struct Resumed {
    /// For the next time.
    pub resume_token: String,
    /// The participant, when the session is in a room.
    pub participant_id: Option<ParticipantId>,
    /// Whether missed events could not be replayed; then `room_state` is there.
    pub reset: bool,
    /// STUN and TURN servers as in `welcome`, with new credentials.
    pub ice_servers: Vec<IceServer>,
    /// The room as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_state: Option<RoomState>,
    /// Oneself as the others see one: role and tracks may have changed too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub you: Option<Participant>,
}

impl std::fmt::Debug for Resumed {
    /// The resume token stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resumed")
            .field("participant_id", &self.participant_id)
            .field("reset", &self.reset)
            .finish_non_exhaustive()
    }
}

/// `joined`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Joined {
    /// The new (or, when joined again, the same) participant.
    pub participant_id: ParticipantId,
    /// The call.
    pub call_id: CallId,
    /// One's role.
    pub role: Role,
    /// The room as it is now.
    pub room_state: RoomState,
}

/// `ok`: what a request made, if anything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Done {
    /// Of `chat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// Of `chat`.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// `offer` of the SFU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SfuOffer {
    /// Always `subscribe`.
    pub target: Target,
    /// The session description.
    pub sdp: String,
    /// What each m-line carries, by mid.
    pub tracks: BTreeMap<String, SfuOfferTrack>,
}

/// What an m-line of the SFU's offer carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SfuOfferTrack {
    /// Whose it is.
    pub participant_id: ParticipantId,
    /// The track.
    pub track: TrackId,
    /// Where it comes from.
    pub source: Source,
}

/// `answer` of the SFU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SfuAnswer {
    /// `publish`; of a viewer's offer `subscribe`.
    pub target: Target,
    /// The session description.
    pub sdp: String,
    /// The track id of each m-line, by mid.
    pub tracks: BTreeMap<String, TrackId>,
}

/// `peer-left`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerLeft {
    /// Who.
    pub participant_id: ParticipantId,
    /// Why.
    pub reason: LeaveReason,
}

/// Why a participant is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// `leave`, or a clean close.
    Left,
    /// The socket dropped and the grace time ran out.
    ConnectionLost,
    /// A moderator removed them.
    Kicked,
    /// The call was ended.
    CallEnded,
}

/// `track-unpublished`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TrackGone {
    /// The track.
    pub track: TrackId,
    /// Whose it was.
    pub participant_id: ParticipantId,
}

/// `chat` as delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatEvent {
    /// Who wrote.
    pub from: ParticipantId,
    /// The text.
    pub text: String,
    /// Its id.
    pub message_id: MessageId,
    /// When the room took it.
    #[serde(with = "time::serde::rfc3339")]
    pub sent_at: Timestamp,
    /// Set when it is for the reader alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<ParticipantId>,
}

/// `data` as delivered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataEvent {
    /// Who sent it.
    pub from: ParticipantId,
    /// The application's own word.
    pub topic: String,
    /// The value.
    pub value: Value,
    /// Set when it is for the reader alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<ParticipantId>,
}

/// `dtmf` as delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DtmfEvent {
    /// Who sent it.
    pub from: ParticipantId,
    /// The tones.
    pub tones: String,
}

/// `call-state-changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallStateChanged {
    /// The call.
    pub call_id: CallId,
    /// Its state.
    pub state: CallState,
}

/// The state of a call, as pushed to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// On.
    Active,
    /// On, and recorded.
    Recording,
    /// Over.
    Ended,
}

/// `recording-started`, `recording-stopped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RecordingRef {
    /// The recording.
    pub recording_id: RecordingId,
}

/// Most files that `recording-finished` lists; `GET /recordings/{id}` has all.
pub const MAX_FINISHED_FILES: usize = 64;

/// `recording-finished`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordingFinished {
    /// The recording.
    pub recording_id: RecordingId,
    /// `ready` or `failed`.
    pub state: RecordingState,
    /// Why it failed, or what is missing from it.
    pub error: Option<String>,
    /// To the end of the last file.
    pub duration_ms: u64,
    /// Of all files.
    pub size_bytes: u64,
    /// At most [`MAX_FINISHED_FILES`], by name.
    pub files: Vec<FinishedFile>,
}

/// A file of a recording that is finished, as `recording-finished` has it: without a URL, which everybody gets their own of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FinishedFile {
    /// Its name in the recording.
    pub name: String,
    /// Whose media.
    pub participant_id: Option<ParticipantId>,
    /// From which source.
    pub source: Option<Source>,
    /// A media type.
    pub content_type: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its length.
    pub duration_ms: u64,
    /// Its first frame after the recording's start.
    pub offset_ms: u64,
}

/// `publish-layers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishLayers {
    /// Our track.
    pub track: TrackId,
    /// All of its encodings, lowest first.
    pub layers: Vec<PublishLayer>,
}

/// One encoding of a track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishLayer {
    /// Its restriction identifier (RFC 8851), as in the offer.
    pub rid: String,
    /// Whether it is to be sent.
    pub active: bool,
}

/// `cameras-selected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CamerasSelected {
    /// Those of the last speakers; null when there is no limit any more.
    pub tracks: Option<Vec<TrackId>>,
}

/// `active-speakers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActiveSpeakers {
    /// Loudest first; empty when nobody speaks.
    pub participants: Vec<ParticipantId>,
}

/// `connection-quality`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionQuality {
    /// Whose.
    pub participant_id: ParticipantId,
    /// How good.
    pub quality: Quality,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// `invite`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InviteEvent {
    /// What `accept` and `decline` name.
    pub invite_id: InviteId,
    /// A ringing call, or an invitation that waits.
    pub kind: InviteKind,
    /// Where it leads.
    pub room: RoomId,
    /// Who asks.
    pub from: WelcomeUser,
}

/// What kind of invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InviteKind {
    /// Rings for 45 s.
    Call,
    /// Waits until it expires.
    Invite,
}

/// `invite-answered`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InviteAnswered {
    /// Which one.
    pub invite_id: InviteId,
    /// What became of it.
    pub answer: InviteAnswer,
}

/// What became of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InviteAnswer {
    /// Taken.
    Accepted,
    /// Turned down.
    Declined,
    /// Nobody answered in time.
    Expired,
    /// The caller hung up.
    Cancelled,
}

/// `mode-changed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ModeChanged {
    /// In force from now.
    pub mode: Mode,
    /// Why.
    pub reason: ModeReason,
}

/// Why a room moved to the SFU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeReason {
    /// A third came.
    Participants,
    /// A recording began.
    Recording,
}

/// `room-updated`: what holds from now on, changed or not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoomUpdated {
    /// The name to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether newcomers below moderator are kept out.
    pub locked: bool,
    /// The application's own.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
}

/// `role-changed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RoleChanged {
    /// One's role now.
    pub role: Role,
}

/// `kicked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Kicked {
    /// Who did it; absent when it was done by REST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<ParticipantId>,
}

/// `room-moved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoomMoved {
    /// The new owner.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: u64,
}

/// `goodbye`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Goodbye {
    /// Why.
    pub reason: String,
    /// When to come back.
    pub retry_after_ms: u64,
}
