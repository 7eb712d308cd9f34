//! A session description as negotiation sees it (RFC 8866), typed. Attributes that negotiation has no use for are not
//! in it; of what is, [`parse`](super::parse::parse) of [`write`](super::write::write) gives back the same value.

use std::net::IpAddr;

use super::candidate::Candidate;
use crate::parameters::{Fingerprint, IceCredentials, MediaKind, PayloadType, Ssrc};

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// `<sess-id>` of `o=`; below 2⁶³ in ours (RFC 8829 §5.2.1).
    pub session_id: u64,
    /// `<sess-version>` of `o=`.
    pub session_version: u64,
    /// `a=ice-lite` (RFC 8839 §5.3).
    pub ice_lite: bool,
    /// `a=extmap-allow-mixed` at session level (RFC 8285 §6).
    pub extmap_allow_mixed: bool,
    /// The mids of each `a=group:BUNDLE` (RFC 9143 §7).
    pub bundles: Vec<Vec<String>>,
    /// ICE and DTLS attributes at session level, which hold for m-lines that lack their own.
    pub transport: TransportAttributes,
    /// The m-lines with their attributes.
    pub media: Vec<Media>,
}

/// ICE and DTLS attributes of a session or an m-line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransportAttributes {
    /// `a=ice-ufrag`.
    pub ice_ufrag: Option<String>,
    /// `a=ice-pwd`.
    pub ice_pwd: Option<String>,
    /// `a=fingerprint`, those of known algorithms.
    pub fingerprints: Vec<Fingerprint>,
    /// `a=setup`.
    pub setup: Option<Setup>,
}

impl TransportAttributes {
    /// Both halves of the credentials.
    pub fn credentials(&self) -> Option<IceCredentials> {
        Some(IceCredentials {
            ufrag: self.ice_ufrag.clone()?,
            pwd: self.ice_pwd.clone()?,
        })
    }
}

/// `a=setup` (RFC 4145 §4, RFC 8842 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Starts the handshake.
    Active,
    /// Waits for it.
    Passive,
    /// Leaves it to the answerer.
    ActPass,
    /// Wants no association at present.
    HoldConn,
}

/// An m-line with its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// `<media>`.
    pub media: MediaType,
    /// `<port>`; 0 rejects or stops the m-line, unless it is `bundle_only`.
    pub port: u16,
    /// `<proto>`.
    pub protocol: String,
    /// `<fmt>` of m-lines that are not RTP; of RTP, only those that are no payload types.
    pub formats: Vec<String>,
    /// `c=`: with the port, the default destination. `None` is written as 0.0.0.0.
    pub address: Option<IpAddr>,
    /// `b=`.
    pub bandwidth: Vec<Bandwidth>,
    /// `a=mid` (RFC 5888); at most 16 bytes, as the header extension carries it (RFC 9143 §15).
    pub mid: Option<String>,
    /// Direction, that of the session where the m-line has none (RFC 8866 §6.7).
    pub direction: Direction,
    /// `a=bundle-only` (RFC 9143 §6): port 0 does not mean rejected.
    pub bundle_only: bool,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize` (RFC 5506).
    pub rtcp_rsize: bool,
    /// ICE and DTLS attributes of this m-line.
    pub transport: TransportAttributes,
    /// Candidates of kinds that we could write ourselves.
    pub candidates: Vec<Candidate>,
    /// `a=end-of-candidates` (RFC 8840 §8.2).
    pub end_of_candidates: bool,
    /// Payload types in the order of the m-line.
    pub codecs: Vec<RtpCodec>,
    /// `a=extmap`, those of the session too.
    pub extensions: Vec<Extmap>,
    /// `a=msid` (RFC 8830): stream and track. One without a track has an empty second half.
    pub msids: Vec<(String, String)>,
    /// `a=ssrc` (RFC 5576).
    pub sources: Vec<Source>,
    /// `a=ssrc-group` (RFC 5576).
    pub source_groups: Vec<SourceGroup>,
    /// `a=rid` (RFC 8851).
    pub rids: Vec<Rid>,
    /// `a=simulcast` (RFC 8853).
    pub simulcast: Option<Simulcast>,
    /// `a=sctp-port` (RFC 8841).
    pub sctp_port: Option<u16>,
    /// `a=max-message-size` in bytes (RFC 8841); 0 is any size.
    pub max_message_size: Option<u64>,
}

impl Media {
    /// An m-line with nothing but its first line.
    pub fn new(media: MediaType, port: u16, protocol: &str) -> Self {
        Self {
            media,
            port,
            protocol: protocol.to_owned(),
            formats: Vec::new(),
            address: None,
            bandwidth: Vec::new(),
            mid: None,
            direction: Direction::SendRecv,
            bundle_only: false,
            rtcp_mux: false,
            rtcp_rsize: false,
            transport: TransportAttributes::default(),
            candidates: Vec::new(),
            end_of_candidates: false,
            codecs: Vec::new(),
            extensions: Vec::new(),
            msids: Vec::new(),
            sources: Vec::new(),
            source_groups: Vec::new(),
            rids: Vec::new(),
            simulcast: None,
            sctp_port: None,
            max_message_size: None,
        }
    }

    /// Whether the m-line is rejected or stopped (RFC 3264 §6, RFC 9143 §6).
    pub fn is_rejected(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }

    /// Whether the m-line is RTP over DTLS-SRTP. The profiles that RFC 8829 §5.1.2 has to be accepted.
    pub fn is_secure_rtp(&self) -> bool {
        matches!(
            self.protocol.as_str(),
            "UDP/TLS/RTP/SAVPF"
                | "UDP/TLS/RTP/SAVP"
                | "TCP/DTLS/RTP/SAVPF"
                | "TCP/DTLS/RTP/SAVP"
                | "RTP/SAVPF"
                | "RTP/SAVP"
        )
    }

    /// Whether the m-line is a data channel association (RFC 8841 §4, RFC 8864).
    pub fn is_data_channel(&self) -> bool {
        self.media == MediaType::Application
            && matches!(self.protocol.as_str(), "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP")
            && self.formats.iter().any(|format| format == "webrtc-datachannel")
    }

    /// Whether `<fmt>` of the m-line are payload types.
    pub fn is_rtp(&self) -> bool {
        self.protocol.contains("RTP/")
    }
}

impl Description {
    /// The ICE and DTLS attributes that hold for an m-line: its own, else the session's (RFC 8839 §5.4, RFC 8122 §5).
    pub fn transport_of(&self, media: &Media) -> TransportAttributes {
        let own = &media.transport;
        let session = &self.transport;
        let credentials = if own.ice_ufrag.is_some() || own.ice_pwd.is_some() {
            own
        } else {
            session
        };
        TransportAttributes {
            ice_ufrag: credentials.ice_ufrag.clone(),
            ice_pwd: credentials.ice_pwd.clone(),
            fingerprints: if own.fingerprints.is_empty() {
                &session.fingerprints
            } else {
                &own.fingerprints
            }
            .clone(),
            setup: own.setup.or(session.setup),
        }
    }

    /// The m-line with this mid.
    pub fn media_by_mid(&self, mid: &str) -> Option<&Media> {
        self.media.iter().find(|media| media.mid.as_deref() == Some(mid))
    }
}

/// `<media>` of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaType {
    /// Sound.
    Audio,
    /// Picture.
    Video,
    /// Data channels.
    Application,
    /// Anything else; never negotiated.
    Other(String),
}

impl MediaType {
    /// Its text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Application => "application",
            Self::Other(text) => text,
        }
    }

    /// Sound or picture; `None` for anything else.
    pub fn kind(&self) -> Option<MediaKind> {
        match self {
            Self::Audio => Some(MediaKind::Audio),
            Self::Video => Some(MediaKind::Video),
            Self::Application | Self::Other(_) => None,
        }
    }
}

impl From<MediaKind> for MediaType {
    fn from(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Audio => Self::Audio,
            MediaKind::Video => Self::Video,
        }
    }
}

/// Which way media goes, as the description's author sees it (RFC 8866 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// From the author.
    SendOnly,
    /// To the author.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// Its attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Whether the author sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the author receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// A `b=` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bandwidth {
    /// `AS`: kbit/s with all headers (RFC 8866 §5.8).
    ApplicationSpecific(u32),
    /// `TIAS`: bit/s without lower layers' headers (RFC 3890).
    TransportIndependent(u32),
}

/// One payload type of an m-line: `a=rtpmap`, `a=fmtp`, `a=rtcp-fb`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpCodec {
    /// The number in the m-line.
    pub payload_type: PayloadType,
    /// Encoding name as written; empty when there is no `a=rtpmap` (a static payload type).
    pub name: String,
    /// In Hz; 0 when there is no `a=rtpmap`.
    pub clock_rate: u32,
    /// Audio channels; 0 when not given.
    pub channels: u8,
    /// The value of `a=fmtp`; empty when there is none.
    pub fmtp: String,
    /// Values of `a=rtcp-fb`, those for `*` too (RFC 4585 §4.2).
    pub feedback: Vec<String>,
}

/// An `a=extmap` (RFC 8285 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extmap {
    /// Local id, 1–255.
    pub id: u8,
    /// Where the extension is used; both ways when not given.
    pub direction: Option<Direction>,
    /// What it is.
    pub uri: String,
}

/// What is known of one SSRC from `a=ssrc` lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The SSRC.
    pub ssrc: Ssrc,
    /// `cname` (RFC 5576 §6.1).
    pub cname: Option<String>,
    /// `msid`, stream and track, as written before RFC 8830 and still expected by some.
    pub msid: Option<String>,
}

/// An `a=ssrc-group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceGroup {
    /// `FID`: media and its retransmissions (RFC 5576 §4.2); `SIM`: simulcast layers.
    pub semantics: String,
    /// Its SSRCs in order.
    pub ssrcs: Vec<Ssrc>,
}

/// An `a=rid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rid {
    /// The restriction identifier, at most 16 bytes.
    pub id: String,
    /// Whether its author sends it; receives it otherwise.
    pub send: bool,
    /// What follows the direction; empty when nothing does.
    pub restrictions: String,
}

/// An `a=simulcast`: for each way the streams, and for each stream its alternatives, preferred first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Simulcast {
    /// What the author sends.
    pub send: Vec<Vec<SimulcastId>>,
    /// What the author is prepared to receive.
    pub recv: Vec<Vec<SimulcastId>>,
}

/// A rid in `a=simulcast`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulcastId {
    /// The rid.
    pub rid: String,
    /// Initially paused (`~`).
    pub paused: bool,
}
