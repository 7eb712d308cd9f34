//! AES128_CM_HMAC_SHA1_80 (RFC 3711 §4.1.1, §4.2.1): for clients without AES-GCM.

use rtc_crypto::{CryptoError, HmacAlgorithm, Mac, StreamCipher, StreamCipherAlgorithm, constant_time_eq};

use super::kdf::{Label, Master};
use super::{ENCRYPTED, INDEX_WORD, OpenError, RTCP_HEADER, RtpIndex};
use crate::crypto::crypto;

/// Bytes of the truncated tag.
pub(super) const TAG: usize = 10;

/// Bytes of an HMAC-SHA1.
const SHA1: usize = 20;

pub(super) struct Cm {
    rtp: Keys,
    rtcp: Keys,
}

struct Keys {
    cipher: Box<dyn StreamCipher>,
    mac: Box<dyn Mac>,
    salt: [u8; 14],
}

impl Keys {
    fn new(master: &Master<'_>, key: Label, authentication: Label, salt: Label) -> Result<Self, CryptoError> {
        Ok(Self {
            cipher: crypto().new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, &master.derive::<16>(key)?)?,
            mac: crypto().new_hmac(HmacAlgorithm::Sha1, &master.derive::<SHA1>(authentication)?)?,
            salt: master.derive(salt)?,
        })
    }

    /// RFC 3711 §4.1.1: IV = (salt · 2^16) xor (SSRC · 2^64) xor (index · 2^16).
    fn apply(&mut self, ssrc: u32, index: u64, data: &mut [u8]) -> Result<(), CryptoError> {
        let mut iv = [0; 16];
        iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
        iv[8..].copy_from_slice(&(index << 16).to_be_bytes());
        for (byte, salt) in iv.iter_mut().zip(&self.salt) {
            *byte ^= salt;
        }
        self.cipher.apply_keystream(&iv, data)
    }

    fn tag(&mut self, parts: &[&[u8]]) -> Result<[u8; TAG], CryptoError> {
        let mut whole = [0; SHA1];
        self.mac.sign(parts, &mut whole)?;
        let mut tag = [0; TAG];
        tag.copy_from_slice(&whole[..TAG]);
        Ok(tag)
    }
}

impl Cm {
    pub(super) fn new(master: &Master<'_>) -> Result<Self, CryptoError> {
        Ok(Self {
            rtp: Keys::new(master, Label::RtpKey, Label::RtpAuthentication, Label::RtpSalt)?,
            rtcp: Keys::new(master, Label::RtcpKey, Label::RtcpAuthentication, Label::RtcpSalt)?,
        })
    }

    pub(super) fn seal_rtp(
        &mut self,
        packet: &mut [u8],
        len: usize,
        header: usize,
        index: RtpIndex,
    ) -> Result<usize, CryptoError> {
        let (plain, rest) = packet.split_at_mut(len);
        self.rtp.apply(index.ssrc, index.extended(), &mut plain[header..])?;
        let tag = self.rtp.tag(&[plain, &index.roc.to_be_bytes()])?;
        rest[..TAG].copy_from_slice(&tag);
        Ok(len + TAG)
    }

    pub(super) fn open_rtp(&mut self, packet: &mut [u8], header: usize, index: RtpIndex) -> Result<usize, OpenError> {
        let plain_len = packet
            .len()
            .checked_sub(TAG)
            .filter(|len| *len >= header)
            .ok_or(OpenError::Malformed)?;
        let (sealed, tag) = packet.split_at_mut(plain_len);
        if !constant_time_eq(&self.rtp.tag(&[sealed, &index.roc.to_be_bytes()])?, tag) {
            return Err(OpenError::Unauthentic);
        }
        self.rtp.apply(index.ssrc, index.extended(), &mut sealed[header..])?;
        Ok(plain_len)
    }

    pub(super) fn seal_rtcp(
        &mut self,
        packet: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, CryptoError> {
        self.rtcp.apply(ssrc, u64::from(index), &mut packet[RTCP_HEADER..len])?;
        packet[len..len + INDEX_WORD].copy_from_slice(&(index | ENCRYPTED).to_be_bytes());
        let (authenticated, rest) = packet.split_at_mut(len + INDEX_WORD);
        let tag = self.rtcp.tag(&[authenticated])?;
        rest[..TAG].copy_from_slice(&tag);
        Ok(len + INDEX_WORD + TAG)
    }

    pub(super) fn open_rtcp(&mut self, packet: &mut [u8], ssrc: u32, word: u32) -> Result<usize, OpenError> {
        let plain_len = packet
            .len()
            .checked_sub(TAG + INDEX_WORD)
            .filter(|len| *len >= RTCP_HEADER)
            .ok_or(OpenError::Malformed)?;
        // WebRTC encrypts all RTCP (RFC 8827 §6.5).
        if word & ENCRYPTED == 0 {
            return Err(OpenError::Malformed);
        }
        let (authenticated, tag) = packet.split_at_mut(plain_len + INDEX_WORD);
        if !constant_time_eq(&self.rtcp.tag(&[authenticated])?, tag) {
            return Err(OpenError::Unauthentic);
        }
        self.rtcp.apply(
            ssrc,
            u64::from(word & !ENCRYPTED),
            &mut authenticated[RTCP_HEADER..plain_len],
        )?;
        Ok(plain_len)
    }
}
