//! SRTP and SRTCP (RFC 3711, RFC 7714), in place.

/// How many bytes protection adds to an RTP packet at most (RFC 7714 §12: a 16-byte tag).
pub const SRTP_OVERHEAD: usize = 16;

/// How many bytes protection adds to an RTCP packet at most: a 16-byte tag and the index word.
pub const SRTCP_OVERHEAD: usize = 20;

/// Why a packet could not be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SrtpError {
    /// There are no keys yet.
    #[error("the DTLS handshake is not complete")]
    NotSecured,
    /// The lengths do not describe a packet with room for the overhead.
    #[error("the packet is malformed or has no room for the overhead")]
    Malformed,
    /// The keys have protected as many packets as they may (RFC 3711 §9.2).
    #[error("the keys are used up")]
    KeyExhausted,
    /// The crypto library refused.
    #[error("the cipher failed")]
    Cipher,
}
