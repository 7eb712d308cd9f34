//! Messages from a client, `docs/protocol.md`. Unknown fields are ignored; payloads that are relayed keep them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::trace::TraceParent;
use crate::view::{Mode, Source};
use crate::{InviteId, ParticipantId, Role, RoomId, TrackId, UserId};

/// Longest chat or data text, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Longest display name, in characters.
pub const MAX_DISPLAY_NAME: usize = 128;
/// Longest track label, in characters.
pub const MAX_LABEL: usize = 128;
/// Longest word for an encryption, in characters.
pub const MAX_ENCRYPTION: usize = 64;
/// Longest data topic, in characters.
pub const MAX_TOPIC: usize = 128;
/// Most tones in one `dtmf`.
pub const MAX_TONES: usize = 32;

/// A request's id, echoed in its answer as it came: a string of at most 64 characters, or a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RequestId {
    /// A number.
    Number(serde_json::Number),
    /// A string.
    Text(String),
}

/// One well-formed message of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// To be echoed in the answer.
    pub id: Option<RequestId>,
    /// W3C trace context of the client, if it sent a valid one.
    pub traceparent: Option<TraceParent>,
    /// What is asked.
    pub message: ClientMessage,
}

/// What a client may ask. Written as it is here only between nodes; clients' frames are read by [`crate::codec`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ClientMessage {
    /// Presents a token.
    #[serde(skip)]
    Auth(Auth),
    /// Continues a dropped session.
    #[serde(skip)]
    Resume(Resume),
    /// Enters a room.
    Join(Join),
    /// Leaves it.
    Leave,
    /// A session description that asks.
    Offer(Description),
    /// A session description that answers.
    Answer(Description),
    /// Asks to be sent a participant's tracks by one offer. Comes by HTTP alone (WHEP): no message of the wire is read as it.
    Watch(Watch),
    /// A trickled candidate.
    IceCandidate(Candidate),
    /// Stops forwarding one's track.
    Mute(TrackRef),
    /// Resumes it.
    Unmute(TrackRef),
    /// Stops forwarding both ways.
    Hold(Hold),
    /// Resumes it.
    Unhold(Hold),
    /// Tones to one or all.
    Dtmf(Dtmf),
    /// Chooses how a track is received.
    Subscribe(Subscribe),
    /// Chooses how many are.
    SubscribePolicy(ChangePolicy),
    /// Text to one or all.
    Chat(Chat),
    /// Application data to one or all.
    Data(Data),
    /// Rings a user.
    Call(Call),
    /// Invites a user to this room.
    Invite(Invite),
    /// Takes a call or an invitation.
    Accept(InviteRef),
    /// Turns it down.
    Decline(InviteRef),
    /// Ends a ringing or running call of one's own.
    Hangup,
    /// Removes a participant.
    Kick(ParticipantRef),
    /// Mutes somebody else's track, or all of them.
    MuteParticipant(MuteParticipant),
    /// Gives a role.
    SetRole(SetRole),
    /// Keeps newcomers below moderator out.
    Lock,
    /// Lets them in again.
    Unlock,
    /// Starts recording.
    StartRecording,
    /// Stops it.
    StopRecording,
    /// Ends the call for everybody.
    EndCall,
    /// Asks for the room's state.
    GetRoomInfo,
    /// Asks for one's transport statistics.
    Stats,
    /// Says how a media connection does, as the client sees it.
    MediaReport(MediaReport),
    /// Asks for a `pong`.
    Ping,
}

impl ClientMessage {
    /// Its type, as envelopes name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Auth(_) => "auth",
            Self::Resume(_) => "resume",
            Self::Join(_) => "join",
            Self::Leave => "leave",
            Self::Offer(_) => "offer",
            Self::Answer(_) => "answer",
            Self::Watch(_) => "watch",
            Self::IceCandidate(_) => "ice-candidate",
            Self::Mute(_) => "mute",
            Self::Unmute(_) => "unmute",
            Self::Hold(_) => "hold",
            Self::Unhold(_) => "unhold",
            Self::Dtmf(_) => "dtmf",
            Self::Subscribe(_) => "subscribe",
            Self::SubscribePolicy(_) => "subscribe-policy",
            Self::Chat(_) => "chat",
            Self::Data(_) => "data",
            Self::Call(_) => "call",
            Self::Invite(_) => "invite",
            Self::Accept(_) => "accept",
            Self::Decline(_) => "decline",
            Self::Hangup => "hangup",
            Self::Kick(_) => "kick",
            Self::MuteParticipant(_) => "mute-participant",
            Self::SetRole(_) => "set-role",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::StartRecording => "start-recording",
            Self::StopRecording => "stop-recording",
            Self::EndCall => "end-call",
            Self::GetRoomInfo => "get-room-info",
            Self::Stats => "stats",
            Self::MediaReport(_) => "media-report",
            Self::Ping => "ping",
        }
    }
}

/// `auth`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Auth {
    /// A JWT or an API key.
    pub token: String,
}

impl std::fmt::Debug for Auth {
    /// The token stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(…)")
    }
}

/// `resume`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Resume {
    /// From `welcome` or the last `resumed`; good once.
    pub resume_token: String,
    /// The last event seen.
    pub last_seq: u64,
}

impl std::fmt::Debug for Resume {
    /// The token stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resume")
            .field("last_seq", &self.last_seq)
            .finish_non_exhaustive()
    }
}

/// `join`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// Which room.
    pub room: RoomId,
    /// The name to show; the token's when left out.
    #[serde(default)]
    pub display_name: Option<String>,
    /// What the client can do.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// For a room that is made by this join.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Whether tracks are offered unasked.
    #[serde(default)]
    pub subscribe: SubscribePolicy,
    /// Receives the cameras of so many last speakers; 0: all. The room's number when left out.
    #[serde(default)]
    pub last_n: Option<u32>,
}

/// `subscribe-policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePolicy {
    /// As in [`Join::last_n`].
    #[serde(default)]
    pub last_n: Option<u32>,
}

/// What a client can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Plays or sends sound.
    pub audio: bool,
    /// Shows or sends pictures.
    pub video: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            audio: true,
            video: true,
        }
    }
}

/// Whether tracks are offered unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubscribePolicy {
    /// Every track of the others.
    #[default]
    Auto,
    /// Those that `subscribe` asks for.
    Manual,
}

/// Which of a client's two connections to the SFU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The client sends media.
    Publish,
    /// The client receives media.
    Subscribe,
}

/// `media-report`: how one of the two media connections does, as the client sees it. Believed of that client's own connection
/// alone, and for no more than naming a cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaReport {
    /// Which of the two.
    pub target: Target,
    /// `RTCPeerConnection.iceConnectionState`.
    pub ice: IceState,
    /// `RTCPeerConnection.connectionState`, when it says more.
    #[serde(default)]
    pub connection: Option<ConnectionState>,
    /// How many candidates of its own the client gathered, by protocol.
    #[serde(default)]
    pub candidates: Option<CandidateCounts>,
}

impl MediaReport {
    /// Whether the client gathered candidates, and none of them by UDP: its network or its settings forbid it.
    pub fn lacks_udp(&self) -> bool {
        self.candidates
            .is_some_and(|count| count.udp == 0 && count.relay == 0 && count.tcp > 0)
    }
}

/// Candidates by protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CandidateCounts {
    /// Host and server-reflexive ones by UDP.
    pub udp: u16,
    /// Host ones by TCP.
    pub tcp: u16,
    /// Of a TURN server.
    pub relay: u16,
}

/// W3C `RTCIceConnectionState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IceState {
    /// Nothing yet.
    New,
    /// Checks are under way.
    Checking,
    /// A pair works.
    Connected,
    /// No better one is looked for.
    Completed,
    /// Checks of the pair go unanswered; it may work again (W3C `disconnected`).
    Disconnected,
    /// No pair works.
    Failed,
    /// Closed by the client.
    Closed,
}

impl IceState {
    /// As written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Checking => "checking",
            Self::Connected => "connected",
            Self::Completed => "completed",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

/// W3C `RTCPeerConnectionState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// Nothing yet.
    New,
    /// ICE or DTLS is under way.
    Connecting,
    /// Media may flow.
    Connected,
    /// A transport is disconnected; it may come back.
    Disconnected,
    /// ICE or DTLS failed.
    Failed,
    /// Closed by the client.
    Closed,
}

/// What a client says of an m-line it publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackSource {
    /// Where it comes from; by the m-line's kind when left out.
    #[serde(default)]
    pub source: Option<Source>,
    /// The publisher's own word for it.
    #[serde(default)]
    pub label: Option<String>,
    /// What frames are encrypted with end to end, in a word of the publisher's; 1 to [`MAX_ENCRYPTION`] of `A-Z a-z 0-9 . _ -`.
    #[serde(default)]
    pub encryption: Option<String>,
    /// The id that this track had before its room moved to another node: it goes on under it.
    #[serde(default)]
    pub track: Option<TrackId>,
}

/// `offer` and `answer`: for the SFU, or with `to` for another participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Which connection to the SFU.
    pub target: Option<Target>,
    /// The participant to relay to.
    pub to: Option<ParticipantId>,
    /// The session description (RFC 8866), when it is a string.
    pub sdp: Option<String>,
    /// What each m-line is, by mid.
    pub tracks: BTreeMap<String, TrackSource>,
    /// The payload as it came, for a relay.
    pub raw: Map<String, Value>,
}

/// A viewer's offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Whom to see; the first who publishes when left out.
    pub participant: Option<ParticipantId>,
    /// The session description (RFC 8866).
    pub sdp: String,
}

/// `ice-candidate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which connection to the SFU.
    pub target: Option<Target>,
    /// The participant to relay to.
    pub to: Option<ParticipantId>,
    /// The payload as it came, for a relay.
    pub raw: Map<String, Value>,
}

/// `mute`, `unmute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackRef {
    /// One's own track.
    pub track: TrackId,
}

/// `hold`, `unhold`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Everything when left out.
    #[serde(default)]
    pub track: Option<HoldTarget>,
}

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldTarget {
    /// One's own audio tracks.
    Audio,
    /// One's own video tracks.
    Video,
    /// One track.
    #[serde(untagged)]
    Track(TrackId),
}

/// `dtmf`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dtmf {
    /// `0-9 A-D * # , w`, 1–32.
    pub tones: String,
    /// One participant, or all.
    #[serde(default)]
    pub to: Option<ParticipantId>,
}

/// `subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Somebody else's track.
    pub track: TrackId,
    /// How good; `high` when left out.
    #[serde(default)]
    pub quality: SubscribeQuality,
    /// Shown no wider, in pixels.
    #[serde(default)]
    pub max_width: Option<u32>,
    /// Shown no higher, in pixels.
    #[serde(default)]
    pub max_height: Option<u32>,
}

/// How good a track is to be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubscribeQuality {
    /// The best there is.
    #[default]
    High,
    /// A middle layer.
    Medium,
    /// The smallest layer.
    Low,
    /// Not at all.
    Off,
}

/// `chat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// ≤ 16 KiB.
    pub text: String,
    /// One participant, or all.
    #[serde(default)]
    pub to: Option<ParticipantId>,
}

/// `data`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// The application's own word.
    pub topic: String,
    /// Any value.
    #[serde(default)]
    pub value: Value,
    /// One participant, or all.
    #[serde(default)]
    pub to: Option<ParticipantId>,
}

/// `call`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Whom to ring.
    pub to_user: UserId,
}

/// `invite`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Whom to invite.
    pub user: UserId,
    /// How long it waits; a day when left out.
    #[serde(default)]
    pub expires_s: Option<u64>,
}

/// `accept`, `decline`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRef {
    /// Which one.
    pub invite_id: InviteId,
}

/// `kick`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParticipantRef {
    /// Whom.
    pub participant_id: ParticipantId,
}

/// `mute-participant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MuteParticipant {
    /// Whom.
    pub participant_id: ParticipantId,
    /// One track, or all.
    #[serde(default)]
    pub track: Option<TrackId>,
}

/// `set-role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRole {
    /// Whom.
    pub participant_id: ParticipantId,
    /// For the rest of their stay.
    pub role: Role,
}
