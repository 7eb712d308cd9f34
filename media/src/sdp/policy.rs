//! What of the server goes into descriptions, what it allows, and what a negotiation tells the engine of the connection.

use super::candidate::Candidate;
use crate::parameters::{CodecKind, DtlsParameters, Feedback, Fingerprint, IceCredentials, MediaKind};

/// What of the server goes into every description of one connection.
#[derive(Debug, Clone)]
pub struct LocalDescription {
    /// Our ICE credentials on this connection, at first.
    pub ice: IceCredentials,
    /// The hash of our certificate.
    pub fingerprint: Fingerprint,
    /// Where we are reached, most preferred first; at most [`MAX_CANDIDATES`](super::parse::MAX_CANDIDATES).
    pub candidates: Vec<Candidate>,
}

/// What a room lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecPolicy {
    /// Codecs that clients may publish.
    pub allowed: Vec<CodecKind>,
    /// Codecs put first in answers, in this order, when the client offers them. The client's own order decides the rest.
    pub preferred: Vec<CodecKind>,
    /// RTCP feedback that the engine gives to publishers; no other is agreed. A sender that is promised transport-wide
    /// feedback and gets none keeps to its lowest rate.
    pub feedback: Feedback,
    /// RTCP feedback of subscribers that the engine acts on; no other is asked for. `transport_cc` (of video only: sound is
    /// never held back) and `remb` bring the header extension with them that they need. A REMB that comes unasked counts too.
    pub subscribe_feedback: Feedback,
    /// The most a client may send on one audio m-line, in bits/s.
    pub max_audio_bitrate_bps: Option<u32>,
    /// The most a client may send on one video m-line, in bits/s.
    pub max_video_bitrate_bps: Option<u32>,
    /// Whether simulcast offers are accepted (RFC 8853). When not, the client sends its first encoding only.
    pub simulcast: bool,
    /// Whether sound may come and go with earlier packets again (RFC 2198): who publishes is asked for it, which takes about twice the
    /// bits.
    pub red: bool,
    /// Whether our offers have a data channel m-line.
    pub data_on_subscribe: bool,
}

impl CodecPolicy {
    /// The cap for one m-line, in bits/s.
    pub fn max_bitrate_bps(&self, kind: MediaKind) -> Option<u32> {
        match kind {
            MediaKind::Audio => self.max_audio_bitrate_bps,
            MediaKind::Video => self.max_video_bitrate_bps,
        }
    }
}

impl Default for CodecPolicy {
    /// Everything that passes through, in the client's order, uncapped, with simulcast.
    fn default() -> Self {
        Self {
            allowed: vec![
                CodecKind::Opus,
                CodecKind::Vp8,
                CodecKind::H264,
                CodecKind::Vp9,
                CodecKind::Av1,
            ],
            preferred: Vec::new(),
            feedback: Feedback {
                nack: true,
                pli: true,
                fir: true,
                transport_cc: true,
                remb: false,
            },
            subscribe_feedback: Feedback {
                nack: true,
                pli: true,
                fir: true,
                transport_cc: true,
                remb: false,
            },
            max_audio_bitrate_bps: None,
            max_video_bitrate_bps: None,
            simulcast: true,
            red: true,
            data_on_subscribe: false,
        }
    }
}

/// What a negotiation says of the connection: the fields of
/// [`Command::ConnectTransport`](crate::control::Command::ConnectTransport).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// New credentials of ours, when ICE restarts.
    pub local: Option<IceCredentials>,
    /// The client's credentials.
    pub remote: Option<IceCredentials>,
    /// The client's DTLS endpoint and our role.
    pub dtls: DtlsParameters,
}
