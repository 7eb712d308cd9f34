//! What a transport, a producer and a consumer are told about media: the vocabulary of ORTC, which SDP and mediasoup's
//! signaling both map to. Nothing here acts; negotiation is in [`crate::sdp`], forwarding in [`crate::engine`].

use std::fmt;
use std::net::SocketAddr;

/// Defines an identifier that the caller chooses; unique in one process.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// One room's media: the set of producers that its consumers may take from.
    RouterId
);
id!(
    /// One ICE and DTLS association with a client.
    TransportId
);
id!(
    /// One track that comes in.
    ProducerId
);
id!(
    /// One track that goes out to one client.
    ConsumerId
);
id!(
    /// One observer (a recorder) of a producer.
    TapId
);

/// A synchronization source (RFC 3550 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ssrc(pub u32);

/// An RTP payload type, 0–127 (RFC 3550 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PayloadType(pub u8);

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Opus.
    Audio,
    /// VP8, H.264, VP9 or AV1.
    Video,
}

impl MediaKind {
    /// The `m=` line's media type (RFC 8866 §5.14).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// The codecs that pass through. Nothing is transcoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodecKind {
    /// RFC 7587.
    Opus,
    /// RFC 7741.
    Vp8,
    /// RFC 6184, packetization-mode 0 or 1.
    H264,
    /// RFC 9628.
    Vp9,
    /// AOMedia's RTP payload format for AV1.
    Av1,
}

impl CodecKind {
    /// Sound or picture.
    pub fn media(self) -> MediaKind {
        match self {
            Self::Opus => MediaKind::Audio,
            Self::Vp8 | Self::H264 | Self::Vp9 | Self::Av1 => MediaKind::Video,
        }
    }

    /// The encoding name as `a=rtpmap` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Vp8 => "VP8",
            Self::H264 => "H264",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
        }
    }
}

/// RTCP feedback agreed for a codec (RFC 4585, RFC 5104, transport-wide congestion control).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// Generic NACK.
    pub nack: bool,
    /// Picture loss indication.
    pub pli: bool,
    /// Full intra request.
    pub fir: bool,
    /// Transport-wide congestion control feedback.
    pub transport_cc: bool,
    /// Receiver estimated maximum bitrate.
    pub remb: bool,
}

/// One codec as negotiated on one m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    /// Which codec.
    pub kind: CodecKind,
    /// Its payload type on this transport.
    pub payload_type: PayloadType,
    /// RTP clock in Hz: 48000 for Opus, 90000 for video.
    pub clock_rate: u32,
    /// Audio channels; 0 for video.
    pub channels: u8,
    /// The value of `a=fmtp` without the payload type; empty when there is none.
    pub fmtp: String,
    /// RTCP feedback agreed.
    pub feedback: Feedback,
    /// The payload type of its retransmissions (RFC 4588), when agreed.
    pub rtx: Option<PayloadType>,
    /// The payload type under which it comes with earlier packets again (RFC 2198), when agreed; of sound only.
    pub red: Option<PayloadType>,
}

/// Ids of the RTP header extensions agreed on one m-line, 1–14 (RFC 8285 one-byte form).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 9143).
    pub mid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id` (RFC 8852).
    pub rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id` (RFC 8852).
    pub repaired_rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    pub audio_level: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`.
    pub abs_send_time: Option<u8>,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`.
    pub transport_cc: Option<u8>,
    /// `urn:3gpp:video-orientation`.
    pub video_orientation: Option<u8>,
    /// `https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`.
    pub dependency_descriptor: Option<u8>,
}

/// One stream of a producer: the only one, or a simulcast layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoding {
    /// Known from `a=ssrc`; `None` when it is to be learnt from the MID or RID extension.
    pub ssrc: Option<Ssrc>,
    /// The SSRC of its retransmissions (`a=ssrc-group:FID`).
    pub rtx_ssrc: Option<Ssrc>,
    /// Its restriction identifier when simulcast (RFC 8851).
    pub rid: Option<String>,
}

/// What a client will send on one m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerParameters {
    /// Sound or picture.
    pub kind: MediaKind,
    /// The m-line's identification tag; at most 16 bytes.
    pub mid: String,
    /// Agreed codecs, preferred first; never empty.
    pub codecs: Vec<Codec>,
    /// Agreed header extensions.
    pub extensions: ExtensionIds,
    /// Streams, lowest layer first; never empty.
    pub encodings: Vec<Encoding>,
}

/// What we will send on one m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerParameters {
    /// Sound or picture.
    pub kind: MediaKind,
    /// The m-line's identification tag.
    pub mid: String,
    /// The codec, with the payload type the receiver agreed to.
    pub codec: Codec,
    /// Our SSRC towards this receiver.
    pub ssrc: Ssrc,
    /// Our SSRC for retransmissions; with `codec.rtx`.
    pub rtx_ssrc: Option<Ssrc>,
    /// Header extensions the receiver agreed to.
    pub extensions: ExtensionIds,
    /// The canonical name in our RTCP SDES: equal for tracks to be played in sync.
    pub cname: String,
}

/// ICE short-term credentials (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// 4–256 ice-chars.
    pub ufrag: String,
    /// 22–256 ice-chars.
    pub pwd: String,
}

impl fmt::Debug for IceCredentials {
    /// The password stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// Who sends the DTLS ClientHello (`a=setup`, RFC 8842).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// We start the handshake (`setup:active`).
    Client,
    /// The other side starts it (`setup:passive`).
    Server,
}

/// The hash of a certificate (RFC 8122).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Lower case: `sha-256`, `sha-384` or `sha-512`.
    pub algorithm: String,
    /// The digest: 32, 48 or 64 bytes.
    pub digest: Vec<u8>,
}

/// What the remote side said of its DTLS endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtlsParameters {
    /// Our role in the handshake.
    pub role: DtlsRole,
    /// Fingerprints of the remote certificate; one match suffices. Never empty.
    pub fingerprints: Vec<Fingerprint>,
}

/// The way a datagram came or goes: our address and theirs.
///
/// `tcp` is set for ICE-TCP (RFC 6544), where `remote` names one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// Our socket's address.
    pub local: SocketAddr,
    /// The client's address.
    pub remote: SocketAddr,
    /// Framed over TCP in place of UDP.
    pub tcp: bool,
}
