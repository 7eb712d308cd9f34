//! What can be wrong with a description, and why a single track is not negotiated.

use thiserror::Error;

/// Why a text is not a description that we can read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SdpError {
    /// Longer than [`MAX_BYTES`](super::parse::MAX_BYTES).
    #[error("a description of {bytes} bytes is too long")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A line longer than [`MAX_LINE_BYTES`](super::parse::MAX_LINE_BYTES).
    #[error("line {line} is too long")]
    LineTooLong {
        /// Counted from 1.
        line: usize,
    },
    /// A line that breaks the grammar.
    #[error("line {line}: {what} is malformed")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// The field that does not parse.
        what: &'static str,
    },
    /// More of something than a description may have.
    #[error("line {line}: more than {limit} {what}")]
    TooMany {
        /// Counted from 1.
        line: usize,
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: usize,
    },
}

/// Why an offer or an answer is refused as a whole. The session stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NegotiateError {
    /// The text does not parse.
    #[error("the description cannot be read")]
    Syntax(#[from] SdpError),
    /// Not one m-line has a codec that passes through here.
    #[error("no codec in common")]
    NoCommonCodec,
    /// Not one m-line can be taken, for another reason than codecs.
    #[error("no usable m-line: {reason}")]
    NoUsableMedia {
        /// Why the first of them was rejected.
        reason: Rejection,
    },
    /// `a=ice-ufrag` or `a=ice-pwd` is missing (RFC 8839 §5.4).
    #[error("ICE credentials are missing")]
    MissingIceCredentials,
    /// No `a=fingerprint` of a known algorithm (RFC 8122 §5).
    #[error("no usable certificate fingerprint")]
    MissingFingerprint,
    /// Another certificate than at first; that asks for a new DTLS association (RFC 8842 §4).
    #[error("the certificate changed on a running connection")]
    CertificateChanged,
    /// `a=setup` is missing, or contradicts our offer or the running association (RFC 8842 §5).
    #[error("a=setup does not fit")]
    Setup,
    /// More or fewer m-lines than there have to be (RFC 3264 §8, RFC 8829 §5.2.2).
    #[error("{found} m-lines in place of {expected}")]
    MediaCount {
        /// In an answer exactly so many, in an offer at least.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// An m-line with another identification tag or media type than it has to have.
    #[error("m-line {index} does not match")]
    MediaMismatch {
        /// Counted from 0.
        index: usize,
    },
    /// Two m-lines with one identification tag (RFC 5888 §4).
    #[error("mid {mid} occurs twice")]
    DuplicateMid {
        /// The tag.
        mid: String,
    },
    /// One header extension id for two extensions on one transport (RFC 9143 §12).
    #[error("header extension id {id} has two meanings")]
    ExtensionConflict {
        /// The id.
        id: u8,
    },
    /// An answer while no offer of ours waits for one.
    #[error("no offer waits for an answer")]
    NoOffer,
}

impl NegotiateError {
    /// The error code that the client is told.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCommonCodec => "no_common_codec",
            _ => "bad_sdp",
        }
    }
}

/// Why one m-line or one track is not negotiated, while the rest of the description may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Rejection {
    /// No codec that both sides handle.
    #[error("no codec in common")]
    NoCommonCodec,
    /// `a=rtcp-mux` is missing, which we require (RFC 8829 §4.1.1).
    #[error("rtcp-mux is required")]
    RtcpMuxRequired,
    /// Not RTP over DTLS-SRTP, nor WebRTC data channels over DTLS.
    #[error("unsupported protocol")]
    UnsupportedProtocol,
    /// Outside of the bundle, which would need a second transport (RFC 8829 §4.1.1, "max-bundle").
    #[error("not bundled")]
    NotBundled,
    /// The client does not want the track, or stopped its transceiver.
    #[error("refused by the client")]
    Refused,
}

impl Rejection {
    /// The error code that the client is told.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoCommonCodec => "no_common_codec",
            _ => "bad_sdp",
        }
    }
}

/// Why a track cannot be added to a subscribe session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddTrackError {
    /// The consumer is there already.
    #[error("this consumer was added before")]
    Duplicate,
    /// As many tracks as a session takes, [`MAX_TRACKS`](super::subscribe::MAX_TRACKS).
    #[error("too many tracks")]
    TooMany,
    /// `stream_id`, `track_id` or `cname` is empty, too long or has characters that SDP does not allow in them.
    #[error("an identifier that SDP cannot carry")]
    Identifier,
    /// The producer's codec is one that we do not offer, or its configurations use up the payload types.
    #[error("no payload type for this codec")]
    PayloadType,
}
