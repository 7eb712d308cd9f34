//! SRTP and SRTCP (RFC 3711, RFC 7714): a DTLS association's two directions, in place and without allocation per packet.
//!
//! **Nonce duty.** AES-GCM forgets its key to whoever sees two different plaintexts under one nonce, and the nonce is
//! (SSRC, ROC, SEQ) for RTP. So no sequence number may ever carry two contents: a lost packet goes out again as RTX, or as
//! the identical ciphertext. As this must not hang on every caller's care, an index of an SSRC is sealed once at most
//! ([`SrtpError::Reused`]). For RTCP the index is counted here.

mod cm;
mod gcm;
mod inbound;
mod kdf;
mod outbound;
mod replay;

use rtc_crypto::CryptoError;

use self::cm::Cm;
use self::gcm::Gcm;
use self::inbound::Inbound;
pub use self::inbound::MAX_INBOUND_SSRCS;
use self::kdf::Master;
pub use self::outbound::MAX_OUTBOUND_SSRCS;
use self::outbound::Outbound;

/// How many bytes protection adds to an RTP packet at most: a 16-byte tag (RFC 7714 §12).
pub const SRTP_OVERHEAD: usize = 16;

/// How many bytes protection adds to an RTCP packet at most: a 16-byte tag and the index word (RFC 7714 §9.2).
pub const SRTCP_OVERHEAD: usize = 20;

/// Bytes of an RTP header without CSRCs and extension (RFC 3550 §5.1).
const RTP_HEADER: usize = 12;

/// Bytes of an RTCP header with the sender's SSRC, which stay readable (RFC 3711 §3.4).
const RTCP_HEADER: usize = 8;

/// Bytes of the word of E flag and SRTCP index.
const INDEX_WORD: usize = 4;

/// The E flag: the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;

/// Why a packet could not be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SrtpError {
    /// There are no keys (yet): the handshake is not complete, or agreed on no SRTP profile.
    #[error("there are no SRTP keys")]
    NotSecured,
    /// The lengths do not describe a packet with room for the overhead.
    #[error("the packet is malformed or has no room for the overhead")]
    Malformed,
    /// This SSRC has sealed this sequence number already, or one so much later that it cannot be told.
    #[error("the sequence number was used before")]
    Reused,
    /// The keys have protected as many packets as they may (RFC 3711 §9.2).
    #[error("the keys are used up")]
    KeyExhausted,
    /// The crypto library refused.
    #[error("the cipher failed")]
    Cipher,
}

impl From<CryptoError> for SrtpError {
    fn from(_: CryptoError) -> Self {
        Self::Cipher
    }
}

/// Why a packet could not be opened. Only counted: the network may send anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// Not an SRTP or SRTCP packet by its lengths.
    Malformed,
    /// Seen before, or too old to tell.
    Replayed,
    /// Not sealed with the client's keys.
    Unauthentic,
    /// One SSRC too many ([`MAX_INBOUND_SSRCS`]).
    TooManySsrcs,
}

impl From<CryptoError> for OpenError {
    fn from(_: CryptoError) -> Self {
        Self::Unauthentic
    }
}

/// What the handshake agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SrtpProfile {
    /// AEAD_AES_128_GCM (RFC 7714).
    AeadAes128Gcm,
    /// SRTP_AES128_CM_HMAC_SHA1_80 (RFC 5764 §4.1.2).
    Aes128CmSha1_80,
}

impl SrtpProfile {
    /// Bytes of the master key.
    pub(crate) const KEY: usize = 16;

    /// Bytes of the master salt.
    pub(crate) fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// Bytes to export from DTLS (RFC 5764 §4.2).
    pub(crate) fn material_len(self) -> usize {
        2 * (Self::KEY + self.salt_len())
    }
}

/// The place of an RTP packet under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RtpIndex {
    ssrc: u32,
    roc: u32,
    sequence: u16,
}

impl RtpIndex {
    fn from_parts(ssrc: u32, extended: u64) -> Option<Self> {
        let roc = u32::try_from(extended >> 16).ok()?;
        Some(Self {
            ssrc,
            roc,
            sequence: extended as u16,
        })
    }

    /// Bits 16… are the rollover counter (RFC 3711 §3.3.1).
    fn extended(self) -> u64 {
        (u64::from(self.roc) << 16) | u64::from(self.sequence)
    }
}

/// The keys of one direction.
enum Cipher {
    Gcm(Gcm),
    Cm(Cm),
}

impl Cipher {
    fn new(profile: SrtpProfile, master: &Master<'_>) -> Result<Self, CryptoError> {
        Ok(match profile {
            SrtpProfile::AeadAes128Gcm => Self::Gcm(Gcm::new(master)?),
            SrtpProfile::Aes128CmSha1_80 => Self::Cm(Cm::new(master)?),
        })
    }

    /// Seals `packet[..len]`, whose header is `packet[..header]`; returns the new length. The caller has checked the lengths.
    fn seal_rtp(
        &mut self,
        packet: &mut [u8],
        len: usize,
        header: usize,
        index: RtpIndex,
    ) -> Result<usize, CryptoError> {
        match self {
            Self::Gcm(gcm) => gcm.seal_rtp(packet, len, header, index),
            Self::Cm(cm) => cm.seal_rtp(packet, len, header, index),
        }
    }

    /// Opens `packet`, whose header is `packet[..header]`; returns the new length.
    fn open_rtp(&mut self, packet: &mut [u8], header: usize, index: RtpIndex) -> Result<usize, OpenError> {
        match self {
            Self::Gcm(gcm) => gcm.open_rtp(packet, header, index),
            Self::Cm(cm) => cm.open_rtp(packet, header, index),
        }
    }

    fn seal_rtcp(&mut self, packet: &mut [u8], len: usize, ssrc: u32, index: u32) -> Result<usize, CryptoError> {
        match self {
            Self::Gcm(gcm) => gcm.seal_rtcp(packet, len, ssrc, index),
            Self::Cm(cm) => cm.seal_rtcp(packet, len, ssrc, index),
        }
    }

    /// The word of E flag and index, wherever the profile puts it.
    fn rtcp_index_word(&self, packet: &[u8]) -> Option<u32> {
        let end = match self {
            Self::Gcm(_) => packet.len(),
            Self::Cm(_) => packet.len().checked_sub(cm::TAG)?,
        };
        let start = end.checked_sub(INDEX_WORD)?;
        packet.get(start..end)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn open_rtcp(&mut self, packet: &mut [u8], ssrc: u32, word: u32) -> Result<usize, OpenError> {
        match self {
            Self::Gcm(gcm) => gcm.open_rtcp(packet, ssrc, word),
            Self::Cm(cm) => cm.open_rtcp(packet, ssrc, word),
        }
    }
}

/// The SRTP state of one DTLS association.
pub struct SrtpSession {
    inbound: Inbound,
    outbound: Outbound,
}

impl SrtpSession {
    /// Takes the keying material of RFC 5764 §4.2: client key, server key, client salt, server salt.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`] when the material has the wrong length for the profile, [`SrtpError::Cipher`] when the
    /// crypto library refuses a key.
    pub fn new(profile: SrtpProfile, material: &[u8], local_is_client: bool) -> Result<Self, SrtpError> {
        if material.len() != profile.material_len() {
            return Err(SrtpError::Malformed);
        }
        let (keys, salts) = material.split_at(2 * SrtpProfile::KEY);
        let (client_key, server_key) = keys.split_at(SrtpProfile::KEY);
        let (client_salt, server_salt) = salts.split_at(profile.salt_len());
        let client = Cipher::new(
            profile,
            &Master {
                key: client_key,
                salt: client_salt,
            },
        )?;
        let server = Cipher::new(
            profile,
            &Master {
                key: server_key,
                salt: server_salt,
            },
        )?;
        let (local, remote) = if local_is_client {
            (client, server)
        } else {
            (server, client)
        };
        Ok(Self {
            inbound: Inbound::new(remote),
            outbound: Outbound::new(local),
        })
    }

    /// Seals an RTP packet in place and returns its new length.
    ///
    /// `packet[..len]` is a whole plain packet with `header_len` bytes of header (CSRCs and extension included) and `packet` has
    /// room for [`SRTP_OVERHEAD`] more bytes. `roc` is bits 16… of the extended sequence number. The packets of an SSRC may come
    /// out of order by up to 1024.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`], [`SrtpError::Reused`] or [`SrtpError::Cipher`]; the packet is then not to be sent.
    pub fn protect_rtp(
        &mut self,
        packet: &mut [u8],
        len: usize,
        header_len: usize,
        roc: u32,
    ) -> Result<usize, SrtpError> {
        self.outbound.seal_rtp(packet, len, header_len, roc)
    }

    /// Reads what sealing the next packet needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        self.outbound.preload()
    }

    /// Reads what opening the next report needs; see [`crate::engine::ahead`].
    pub(crate) fn preload_told(&self) -> u64 {
        self.inbound.preload_rtcp()
    }

    /// Seals a compound RTCP packet in place and returns its new length.
    ///
    /// `packet[..len]` is a whole plain packet and `packet` has room for [`SRTCP_OVERHEAD`] more bytes.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`], [`SrtpError::KeyExhausted`] or [`SrtpError::Cipher`]; the packet is then not to be sent.
    pub fn protect_rtcp(&mut self, packet: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        self.outbound.seal_rtcp(packet, len)
    }

    /// Opens an SRTP packet in place. Returns the length of the plain packet; `None` when it is not the client's or was seen
    /// before, in which case its bytes may be garbled.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Option<usize> {
        self.inbound.open_rtp(packet).ok()
    }

    /// Opens an SRTCP packet in place, like [`unprotect_rtp`](Self::unprotect_rtp).
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Option<usize> {
        self.inbound.open_rtcp(packet).ok()
    }

    /// SSRCs that packets were accepted from.
    pub fn inbound_ssrcs(&self) -> usize {
        self.inbound.ssrcs()
    }
}

/// The length of an RTP packet's header with CSRCs and extension (RFC 3550 §5.1), if the packet holds it whole.
fn rtp_header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut len = RTP_HEADER + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words: [u8; 2] = packet.get(len + 2..len + 4)?.try_into().ok()?;
        len += 4 + 4 * usize::from(u16::from_be_bytes(words));
    }
    (packet.len() >= len).then_some(len)
}

/// Reads a big-endian `u32` at `offset`.
fn read_u32(packet: &[u8], offset: usize) -> Option<u32> {
    packet.get(offset..offset + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// Reads a big-endian `u16` at `offset`.
fn read_u16(packet: &[u8], offset: usize) -> Option<u16> {
    packet.get(offset..offset + 2)?.try_into().ok().map(u16::from_be_bytes)
}
