//! What a room tells its SFU and hears from it.

use std::collections::BTreeMap;

use caside_media::control::{Flow, TapSink};
use caside_media::parameters::{ProducerParameters, TapId};
use caside_protocol::client::{Subscribe, SubscribePolicy, Target, TrackSource};
use caside_protocol::error::Refusal;
use caside_protocol::server::{PublishLayer, SfuOfferTrack};
use caside_protocol::view::{Quality, Track};
use caside_protocol::{ParticipantId, TrackId};

/// An order to the SFU.
#[derive(Debug)]
pub enum SfuCommand {
    /// A participant is in the room. Again for one who is already attached: forgets their media and starts anew.
    Attach {
        /// Who.
        participant: ParticipantId,
        /// Whether the others' tracks are offered unasked.
        subscribe: SubscribePolicy,
        /// Receives the cameras of so many last speakers, in place of what the room says; 0: all.
        last_n: Option<u32>,
        /// Whether they may receive at all.
        may_subscribe: bool,
        /// Whether their data channel messages go to the others.
        may_send_data: bool,
    },
    /// They left: their connections, tracks and subscriptions close.
    Detach {
        /// Who.
        participant: ParticipantId,
    },
    /// A publish offer; answered by [`SfuEvent::PublishAnswered`].
    PublishOffer {
        /// Who.
        participant: ParticipantId,
        /// Echoed in the answer.
        request: u64,
        /// The session description.
        sdp: String,
        /// What each m-line is, by mid.
        sources: BTreeMap<String, TrackSource>,
    },
    /// The answer to the last [`SfuEvent::SubscribeOffer`]; answered by [`SfuEvent::SubscribeAnswered`].
    SubscribeAnswer {
        /// Who.
        participant: ParticipantId,
        /// Echoed in the answer.
        request: u64,
        /// The session description.
        sdp: String,
    },
    /// A viewer's offer: they are sent what another participant publishes, now and later, over one connection and in place of
    /// what they are subscribed to. Answered by [`SfuEvent::WatchAnswered`].
    Watch {
        /// Who.
        participant: ParticipantId,
        /// Echoed in the answer.
        request: u64,
        /// Whom they see.
        publisher: ParticipantId,
        /// The session description.
        sdp: String,
    },
    /// How a participant wants a track; `off` stops it.
    Subscribe {
        /// Who.
        participant: ParticipantId,
        /// What and how.
        wish: Subscribe,
    },
    /// How many cameras a participant receives from now on, as [`SfuCommand::Attach`] said it.
    SetLastN {
        /// Who.
        participant: ParticipantId,
        /// Of so many last speakers; 0: all; the room's number when `None`.
        last_n: Option<u32>,
    },
    /// How many cameras and voices the room gives its members; all before the first.
    Limit {
        /// Cameras, those of the last speakers; 0: all.
        last_n: u32,
        /// Voices that are heard at a time, the loudest; 0: all.
        audio_last_n: u32,
    },
    /// Stops (or resumes) forwarding a track: muted or held.
    SetPaused {
        /// The track.
        track: TrackId,
        /// Whether nothing is forwarded.
        paused: bool,
    },
    /// Stops (or resumes) everything that goes to a participant: they hold.
    SetReceiving {
        /// Who.
        participant: ParticipantId,
        /// Whether tracks go to them.
        receiving: bool,
    },
    /// Changes what a participant may do, as [`SfuCommand::Attach`] said it. Their connections and tracks stay.
    SetRights {
        /// Who.
        participant: ParticipantId,
        /// Whether they may receive at all.
        may_subscribe: bool,
        /// Whether their data channel messages go to the others.
        may_send_data: bool,
    },
    /// The participant's last offer was lost on the way, or timed out meanwhile: makes it anew.
    OfferAgain {
        /// Who.
        participant: ParticipantId,
    },
    /// Asks for a participant's statistics; answered by [`SfuEvent::Stats`].
    Stats {
        /// Who.
        participant: ParticipantId,
        /// Echoed in the answer.
        request: u64,
    },
    /// Copies a track's packets to a recorder.
    Tap {
        /// The track.
        track: TrackId,
        /// Names the tap in [`SfuCommand::Untap`].
        tap: TapId,
        /// Where packets go.
        sink: Box<dyn TapSink>,
    },
    /// Ends a tap.
    Untap {
        /// The tap.
        tap: TapId,
    },
    /// Asks a video track's publisher for a key frame.
    RequestKeyFrame {
        /// The track.
        track: TrackId,
    },
}

impl SfuCommand {
    /// A stable word for its kind, for traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Attach { .. } => "attach",
            Self::Detach { .. } => "detach",
            Self::PublishOffer { .. } => "publish_offer",
            Self::SubscribeAnswer { .. } => "subscribe_answer",
            Self::Watch { .. } => "watch",
            Self::Subscribe { .. } => "subscribe",
            Self::SetLastN { .. } => "set_last_n",
            Self::Limit { .. } => "limit",
            Self::SetPaused { .. } => "set_paused",
            Self::SetReceiving { .. } => "set_receiving",
            Self::SetRights { .. } => "set_rights",
            Self::OfferAgain { .. } => "offer_again",
            Self::Stats { .. } => "stats",
            Self::Tap { .. } => "tap",
            Self::Untap { .. } => "untap",
            Self::RequestKeyFrame { .. } => "request_key_frame",
        }
    }
}

/// A track as the SFU knows it.
#[derive(Debug, Clone)]
pub struct PublishedTrack {
    /// For clients.
    pub track: Track,
    /// The m-line that carries it.
    pub mid: String,
    /// For a recorder: codecs by payload type, clock rates.
    pub parameters: ProducerParameters,
}

/// How far a media connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionStep {
    /// It is negotiated. A client that answers may have begun its checks before.
    Offered {
        /// Whether the client was told of UDP addresses.
        udp: bool,
        /// Of TCP addresses.
        tcp: bool,
        /// Whether any client reached this node's UDP addresses since it started.
        reached: bool,
    },
    /// The client's first ICE check came, by this protocol.
    Checked {
        /// Over TCP; else UDP.
        tcp: bool,
    },
    /// ICE has a path.
    Connected,
    /// The client's first DTLS datagram came.
    HandshakeBegun,
}

/// What became of a track's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackStep {
    /// The first came.
    Started,
    /// The first key frame came.
    KeyFrame,
    /// Whether they are of use.
    Flow(Flow),
}

/// What happened in the SFU.
#[derive(Debug, Clone)]
pub enum SfuEvent {
    /// Answers [`SfuCommand::PublishOffer`].
    PublishAnswered {
        /// Who.
        participant: ParticipantId,
        /// The request's number.
        request: u64,
        /// The answer and the track of each m-line, or why not.
        result: Result<(String, BTreeMap<String, TrackId>), Refusal>,
        /// New tracks.
        published: Vec<PublishedTrack>,
        /// Ended tracks.
        unpublished: Vec<TrackId>,
    },
    /// Answers [`SfuCommand::SubscribeAnswer`].
    SubscribeAnswered {
        /// Who.
        participant: ParticipantId,
        /// The request's number.
        request: u64,
        /// Whether the answer could be used.
        result: Result<(), Refusal>,
    },
    /// Answers [`SfuCommand::Watch`].
    WatchAnswered {
        /// Who.
        participant: ParticipantId,
        /// The request's number.
        request: u64,
        /// The answer and the track that is sent on each m-line now, or why not.
        result: Result<(String, BTreeMap<String, TrackId>), Refusal>,
    },
    /// An offer for a subscriber; never a second one before the first is answered or timed out.
    SubscribeOffer {
        /// For whom.
        participant: ParticipantId,
        /// The session description.
        sdp: String,
        /// What each m-line carries, by mid.
        tracks: BTreeMap<String, SfuOfferTrack>,
    },
    /// Something failed that nobody asked for just now: an unanswered offer, a codec that a subscriber lacks.
    Failed {
        /// Whose.
        participant: ParticipantId,
        /// What the participant is told.
        refusal: Refusal,
    },
    /// Tracks ended without a renegotiation: their connection closed.
    Unpublished {
        /// Whose.
        participant: ParticipantId,
        /// Which.
        tracks: Vec<TrackId>,
    },
    /// A media connection came a step further.
    ConnectionStep {
        /// Whose.
        participant: ParticipantId,
        /// Which of the two.
        target: Target,
        /// Its number: one that takes another's place has another.
        connection: u64,
        /// How far.
        step: ConnectionStep,
    },
    /// Something of a track came for the first time, or whether what comes is of use has changed.
    TrackStep {
        /// Whose.
        participant: ParticipantId,
        /// The track.
        track: TrackId,
        /// What.
        step: TrackStep,
    },
    /// A media connection is up.
    Connected {
        /// Whose.
        participant: ParticipantId,
        /// Which of the two.
        target: Target,
    },
    /// A media connection closed on its own.
    Disconnected {
        /// Whose.
        participant: ParticipantId,
        /// Which of the two.
        target: Target,
        /// A stable word for it: `ice_timeout`, `consent_expired`, `dtls_failed`, `fingerprint_mismatch`, `remote_closed`, `internal`.
        cause: &'static str,
    },
    /// Which encodings of a track its publisher is to send: those that somebody watches; sent on change.
    EncodingsWanted {
        /// Whose.
        participant: ParticipantId,
        /// Which track.
        track: TrackId,
        /// Each encoding and whether it is to be sent, lowest first.
        layers: Vec<PublishLayer>,
    },
    /// Which of the others' cameras a participant receives by their limit; sent on change.
    CamerasSelected {
        /// Who receives.
        participant: ParticipantId,
        /// Those of the last speakers; `None` when there is no limit any more.
        tracks: Option<Vec<TrackId>>,
    },
    /// How well a participant's connections do; sent on change.
    Quality {
        /// Whose.
        participant: ParticipantId,
        /// Of the worse of the two.
        quality: Quality,
        /// A stable word for what is wrong, unless nothing is: `loss`, `delay`, `jitter`, `bandwidth`, `overload`.
        cause: Option<&'static str>,
    },
    /// Who speaks, loudest first; sent on change.
    ActiveSpeakers {
        /// Their audio tracks.
        tracks: Vec<TrackId>,
    },
    /// A data channel message, to be delivered to the other participants (or as the room decides).
    Data {
        /// Who sent it.
        participant: ParticipantId,
        /// The channel's label.
        label: String,
        /// The message.
        data: bytes::Bytes,
        /// Text or binary.
        text: bool,
    },
    /// Answers [`SfuCommand::Stats`].
    Stats {
        /// The request's number.
        request: u64,
        /// As `stats` shows it.
        stats: serde_json::Value,
    },
}
