//! One m-line of a subscribe connection.

use super::super::connection::Connection;
use super::super::error::{AddTrackError, Rejection};
use super::super::model::{Direction, Extmap, Media, MediaType, RtpCodec, Source, SourceGroup};
use super::super::publish::{MAX_MESSAGE_BYTES, SCTP_PORT};
use super::{MediaKind, Ssrc, SubscribeAnswer, SubscribeTrack, codecs, extensions};
use crate::parameters::{ConsumerId, ConsumerParameters};

/// The longest half of an msid (RFC 8830 §2), in bytes.
const MAX_MSID_BYTES: usize = 64;
/// The longest cname (RFC 3550 §6.5), in bytes.
const MAX_CNAME_BYTES: usize = 255;

/// What browsers answer with for a rejected m-line, in bytes.
const REJECTED_BYTES: usize = 120;

/// How long an answered m-line is, in bytes, with the escapes that JSON adds: as browsers write it, 400 bytes for its
/// first line, its transport and its direction, the rest as we offered it.
pub(super) fn answer_bytes(codecs: &[RtpCodec], extensions: &[Extmap]) -> usize {
    // Each attribute's name, numbers and line end.
    let line = |value: &str| value.len() + 20;
    let codec = |codec: &RtpCodec| {
        let feedback: usize = codec.feedback.iter().map(|value| line(value)).sum();
        line(&codec.name) + if codec.fmtp.is_empty() { 0 } else { line(&codec.fmtp) } + feedback
    };
    let codecs: usize = codecs.iter().map(codec).sum();
    400 + codecs + extensions.iter().map(|extension| line(&extension.uri)).sum::<usize>()
}

/// An m-line.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) mid: String,
    /// `None` for data channels.
    kind: Option<MediaKind>,
    pub(super) state: State,
    /// What the m-line described last, which it repeats while it is inactive.
    codecs: Vec<RtpCodec>,
    extensions: Vec<Extmap>,
}

/// What an m-line is for.
#[derive(Debug)]
pub(super) enum State {
    /// Sends a track.
    Track(Box<Sending>),
    /// Its track is gone, which was not answered yet.
    Closing {
        /// The track, when it went by our will.
        consumer: Option<ConsumerId>,
    },
    /// Inactive by agreement: the next track of the kind takes it.
    Idle,
    /// Rejected by the client.
    Rejected,
    /// Data channels.
    Data {
        /// Whether the client took it.
        accepted: bool,
        /// Whether it was answered.
        answered: bool,
    },
}

/// A track on an m-line.
#[derive(Debug)]
pub(super) struct Sending {
    /// With the codec as we offer it.
    pub(super) track: SubscribeTrack,
    pub(super) extensions: Vec<Extmap>,
    pub(super) ssrc: Ssrc,
    pub(super) rtx_ssrc: Option<Ssrc>,
    /// Whether the client accepted it.
    pub(super) started: bool,
}

impl Section {
    /// An m-line for a track.
    pub(super) fn track(mid: String, sending: Sending) -> Self {
        Self {
            mid,
            kind: Some(sending.track.kind),
            codecs: codecs::describe(&sending.track.codec),
            extensions: sending.extensions.clone(),
            state: State::Track(Box::new(sending)),
        }
    }

    /// An m-line for data channels.
    pub(super) fn data(mid: String) -> Self {
        let state = State::Data {
            accepted: false,
            answered: false,
        };
        Self {
            mid,
            kind: None,
            state,
            codecs: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// The track on it.
    pub(super) fn consumer(&self) -> Option<ConsumerId> {
        match &self.state {
            State::Track(sending) => Some(sending.track.consumer),
            _ => None,
        }
    }

    pub(super) fn media_type(&self) -> MediaType {
        self.kind.map_or(MediaType::Application, MediaType::from)
    }

    pub(super) fn is_data(&self) -> bool {
        self.kind.is_none()
    }

    pub(super) fn is_idle(&self, kind: MediaKind) -> bool {
        matches!(self.state, State::Idle) && self.kind == Some(kind)
    }

    /// Whether it says port 0.
    pub(super) fn is_rejected(&self) -> bool {
        matches!(
            self.state,
            State::Rejected
                | State::Data {
                    accepted: false,
                    answered: true
                }
        )
    }

    /// Whether another m-line may take its place. Data channels that the client refused stay refused.
    pub(super) fn is_recyclable(&self) -> bool {
        matches!(self.state, State::Rejected)
    }

    /// Whether it is not as it was last answered.
    pub(super) fn wants_offer(&self) -> bool {
        match &self.state {
            State::Track(sending) => !sending.started,
            State::Closing { .. } => true,
            State::Idle | State::Rejected => false,
            State::Data { answered, .. } => !answered,
        }
    }

    pub(super) fn has_ssrc(&self, ssrc: Ssrc) -> bool {
        match &self.state {
            State::Track(sending) => sending.ssrc == ssrc || sending.rtx_ssrc == Some(ssrc),
            _ => false,
        }
    }

    /// How long its answer is, in bytes, by estimate.
    pub(super) fn answer_bytes(&self) -> usize {
        if self.is_rejected() {
            REJECTED_BYTES
        } else {
            answer_bytes(&self.codecs, &self.extensions)
        }
    }

    /// The m-line in an offer (RFC 8829 §5.2.1, §5.2.2).
    pub(super) fn offer(&self, connection: &Connection) -> Media {
        let Some(kind) = self.kind else {
            return self.offer_data(connection);
        };
        let mut media = connection.section(kind.into(), "UDP/TLS/RTP/SAVPF");
        media.mid = Some(self.mid.clone());
        media.direction = Direction::Inactive;
        media.codecs = self.codecs.clone();
        if self.is_rejected() {
            media.port = 0;
            media.address = None;
            return media;
        }
        media.rtcp_mux = true;
        media.rtcp_rsize = true;
        media.extensions = self.extensions.clone();
        if let State::Track(sending) = &self.state {
            media.direction = Direction::SendOnly;
            sending.describe(&mut media);
        }
        media
    }

    fn offer_data(&self, connection: &Connection) -> Media {
        let mut media = connection.section(MediaType::Application, "UDP/DTLS/SCTP");
        media.mid = Some(self.mid.clone());
        media.formats = vec!["webrtc-datachannel".to_owned()];
        if self.is_rejected() {
            media.port = 0;
            media.address = None;
        } else {
            media.sctp_port = Some(SCTP_PORT);
            media.max_message_size = Some(MAX_MESSAGE_BYTES);
        }
        media
    }

    /// Takes the answer's m-line. `offered` is the track that the offer had here, which may have been removed since.
    pub(super) fn answered(
        &mut self,
        media: &Media,
        offered: Option<ConsumerId>,
        bundled: bool,
        result: &mut SubscribeAnswer,
    ) {
        let state = std::mem::replace(&mut self.state, State::Idle);
        self.state = match state {
            State::Data { .. } => {
                let accepted = !media.is_rejected() && media.is_data_channel() && bundled;
                result.data_channel |= accepted;
                State::Data {
                    accepted,
                    answered: true,
                }
            }
            // Removed after it was offered: the next offer makes it inactive.
            State::Closing { consumer } if offered.is_some() && !media.is_rejected() => State::Closing { consumer },
            State::Closing { consumer } => {
                result.removed.extend(consumer);
                if media.is_rejected() {
                    State::Rejected
                } else {
                    State::Idle
                }
            }
            State::Track(sending) => sending.answered(&self.mid, media, bundled, result),
            State::Idle if media.is_rejected() => State::Rejected,
            state @ (State::Idle | State::Rejected) => state,
        };
    }
}

impl Sending {
    /// Names its streams: `a=msid` (RFC 8830), and `a=ssrc` (RFC 5576) for clients that need them ahead of packets.
    fn describe(&self, media: &mut Media) {
        let (stream, track) = (&self.track.stream_id, &self.track.track_id);
        media.msids = vec![(stream.clone(), track.clone())];
        let source = |ssrc| Source {
            ssrc,
            cname: Some(self.track.cname.clone()),
            msid: Some(format!("{stream} {track}")),
        };
        media.sources = std::iter::once(self.ssrc).chain(self.rtx_ssrc).map(source).collect();
        if let Some(rtx_ssrc) = self.rtx_ssrc {
            let group = SourceGroup {
                semantics: "FID".to_owned(),
                ssrcs: vec![self.ssrc, rtx_ssrc],
            };
            media.source_groups = vec![group];
        }
    }

    /// What becomes of its m-line.
    fn answered(mut self: Box<Self>, mid: &str, media: &Media, bundled: bool, result: &mut SubscribeAnswer) -> State {
        let consumer = self.track.consumer;
        match self.parameters(mid, media, bundled) {
            Ok(parameters) => {
                if !self.started {
                    result.started.push((consumer, parameters));
                }
                self.started = true;
                State::Track(self)
            }
            Err(reason) => {
                result.rejected.push((consumer, reason));
                if media.is_rejected() {
                    State::Rejected
                } else if media.direction.receives() {
                    // The client is set to receive what we cannot send.
                    State::Closing { consumer: None }
                } else {
                    State::Idle
                }
            }
        }
    }

    /// What the engine sends, if the answer takes it.
    fn parameters(&self, mid: &str, media: &Media, bundled: bool) -> Result<ConsumerParameters, Rejection> {
        if media.is_rejected() {
            // A new m-line is rejected for its codecs (RFC 8829 §5.3.1), one in use because its transceiver is stopped.
            return Err(if self.started {
                Rejection::Refused
            } else {
                Rejection::NoCommonCodec
            });
        }
        if !media.direction.receives() {
            return Err(Rejection::Refused);
        }
        if !media.is_secure_rtp() {
            return Err(Rejection::UnsupportedProtocol);
        }
        if !bundled {
            return Err(Rejection::NotBundled);
        }
        if !media.rtcp_mux {
            return Err(Rejection::RtcpMuxRequired);
        }
        let codec = codecs::accepted(self.track.kind, media, &self.track.codec).ok_or(Rejection::NoCommonCodec)?;
        Ok(ConsumerParameters {
            kind: self.track.kind,
            mid: mid.to_owned(),
            rtx_ssrc: self.rtx_ssrc.filter(|_| codec.rtx.is_some()),
            codec,
            ssrc: self.ssrc,
            extensions: extensions::accepted(media, &self.extensions),
            cname: self.track.cname.clone(),
        })
    }
}

/// Whether SDP can carry the track's names as they are.
pub(super) fn check_identifiers(track: &SubscribeTrack) -> Result<(), AddTrackError> {
    let msid = |id: &str| {
        let token = id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&byte));
        token && (1..=MAX_MSID_BYTES).contains(&id.len())
    };
    let cname =
        |name: &str| (1..=MAX_CNAME_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    let fine = msid(&track.stream_id) && msid(&track.track_id) && cname(&track.cname);
    if fine { Ok(()) } else { Err(AddTrackError::Identifier) }
}
