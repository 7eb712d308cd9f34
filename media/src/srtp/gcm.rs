//! AEAD_AES_128_GCM (RFC 7714).

use rtc_crypto::{AeadAlgorithm, AeadCipher, CryptoError};

use super::kdf::{Label, Master};
use super::{ENCRYPTED, INDEX_WORD, OpenError, RTCP_HEADER, RtpIndex};
use crate::crypto::crypto;

/// Bytes of the tag (RFC 7714 §12).
const TAG: usize = 16;

pub(super) struct Gcm {
    rtp: Box<dyn AeadCipher>,
    rtp_salt: [u8; 12],
    rtcp: Box<dyn AeadCipher>,
    rtcp_salt: [u8; 12],
}

impl Gcm {
    pub(super) fn new(master: &Master<'_>) -> Result<Self, CryptoError> {
        let cipher = |label| crypto().new_aead(AeadAlgorithm::Aes128Gcm, &master.derive::<16>(label)?);
        Ok(Self {
            rtp: cipher(Label::RtpKey)?,
            rtp_salt: master.derive(Label::RtpSalt)?,
            rtcp: cipher(Label::RtcpKey)?,
            rtcp_salt: master.derive(Label::RtcpSalt)?,
        })
    }

    pub(super) fn seal_rtp(
        &mut self,
        packet: &mut [u8],
        len: usize,
        header: usize,
        index: RtpIndex,
    ) -> Result<usize, CryptoError> {
        let nonce = self.rtp_nonce(index);
        let (plain, rest) = packet.split_at_mut(len);
        let (header, payload) = plain.split_at_mut(header);
        self.rtp.seal_in_place(&nonce, header, payload, &mut rest[..TAG])?;
        Ok(len + TAG)
    }

    pub(super) fn open_rtp(&mut self, packet: &mut [u8], header: usize, index: RtpIndex) -> Result<usize, OpenError> {
        let plain_len = packet
            .len()
            .checked_sub(TAG)
            .filter(|len| *len >= header)
            .ok_or(OpenError::Malformed)?;
        let nonce = self.rtp_nonce(index);
        let (sealed, tag) = packet.split_at_mut(plain_len);
        let (header, payload) = sealed.split_at_mut(header);
        self.rtp.open_in_place(&nonce, header, payload, tag)?;
        Ok(plain_len)
    }

    pub(super) fn seal_rtcp(
        &mut self,
        packet: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, CryptoError> {
        let word = (index | ENCRYPTED).to_be_bytes();
        let nonce = self.rtcp_nonce(ssrc, index);
        let (plain, rest) = packet.split_at_mut(len);
        let (header, payload) = plain.split_at_mut(RTCP_HEADER);
        let (tag, rest) = rest.split_at_mut(TAG);
        self.rtcp
            .seal_in_place(&nonce, &rtcp_associated_data(header, word), payload, tag)?;
        rest[..INDEX_WORD].copy_from_slice(&word);
        Ok(len + TAG + INDEX_WORD)
    }

    pub(super) fn open_rtcp(&mut self, packet: &mut [u8], ssrc: u32, word: u32) -> Result<usize, OpenError> {
        let plain_len = packet
            .len()
            .checked_sub(TAG + INDEX_WORD)
            .filter(|len| *len >= RTCP_HEADER)
            .ok_or(OpenError::Malformed)?;
        // WebRTC encrypts all RTCP (RFC 8827 §6.5); the unencrypted form of RFC 7714 §9.3 is refused.
        if word & ENCRYPTED == 0 {
            return Err(OpenError::Malformed);
        }
        let nonce = self.rtcp_nonce(ssrc, word & !ENCRYPTED);
        let (sealed, rest) = packet.split_at_mut(plain_len);
        let (header, payload) = sealed.split_at_mut(RTCP_HEADER);
        self.rtcp.open_in_place(
            &nonce,
            &rtcp_associated_data(header, word.to_be_bytes()),
            payload,
            &rest[..TAG],
        )?;
        Ok(plain_len)
    }

    /// RFC 7714 §8.1: (0, SSRC, ROC, SEQ) xor salt.
    fn rtp_nonce(&self, index: RtpIndex) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(&index.ssrc.to_be_bytes());
        nonce[6..10].copy_from_slice(&index.roc.to_be_bytes());
        nonce[10..].copy_from_slice(&index.sequence.to_be_bytes());
        xor(nonce, &self.rtp_salt)
    }

    /// RFC 7714 §9.1: (0, SSRC, 0, index) xor salt.
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[8..].copy_from_slice(&index.to_be_bytes());
        xor(nonce, &self.rtcp_salt)
    }
}

/// RFC 7714 §9.2: the readable header and the word of E flag and index.
fn rtcp_associated_data(header: &[u8], word: [u8; 4]) -> [u8; RTCP_HEADER + INDEX_WORD] {
    let mut data = [0; RTCP_HEADER + INDEX_WORD];
    data[..RTCP_HEADER].copy_from_slice(header);
    data[RTCP_HEADER..].copy_from_slice(&word);
    data
}

fn xor(mut nonce: [u8; 12], salt: &[u8; 12]) -> [u8; 12] {
    for (byte, salt) in nonce.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    nonce
}
