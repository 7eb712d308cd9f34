//! The key derivation of RFC 3711 §4.3, with AES-128 in counter mode and a key derivation rate of zero (RFC 5764 §4.1.2).

use rtc_crypto::{BlockCipherAlgorithm, CryptoError};

use crate::crypto::crypto;

/// What a derived key is for (RFC 3711 §4.3.1, §4.3.2).
#[derive(Debug, Clone, Copy)]
pub(super) enum Label {
    RtpKey = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// A master key and salt as exported from DTLS: 16 bytes, and 14 or 12 (RFC 5764 §4.1.2, RFC 7714 §12).
pub(super) struct Master<'k> {
    pub(super) key: &'k [u8],
    pub(super) salt: &'k [u8],
}

impl Master<'_> {
    /// Derives `N` bytes.
    pub(super) fn derive<const N: usize>(&self, label: Label) -> Result<[u8; N], CryptoError> {
        let mut input = [0; 16];
        // A 96-bit salt is the high part of the 112 bits of RFC 3711, as every implementation has it (RFC 7714 §11).
        for (byte, salt) in input[..14].iter_mut().zip(self.salt) {
            *byte = *salt;
        }
        input[7] ^= label as u8;

        let mut output = [0; N];
        for (counter, chunk) in (0u16..).zip(output.chunks_mut(16)) {
            let mut block = input;
            block[14..].copy_from_slice(&counter.to_be_bytes());
            crypto().block_encrypt(BlockCipherAlgorithm::Aes128, self.key, &mut block)?;
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(text.get(i..i + 2).unwrap(), 16).unwrap())
            .collect()
    }

    /// The vectors of RFC 3711 appendix B.3.
    #[test]
    fn derives_the_published_vectors() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let master = Master { key: &key, salt: &salt };
        assert_eq!(
            master.derive::<16>(Label::RtpKey).unwrap()[..],
            hex("C61E7A93744F39EE10734AFE3FF7A087")
        );
        assert_eq!(
            master.derive::<14>(Label::RtpSalt).unwrap()[..],
            hex("30CBBC08863D8C85D49DB34A9AE1")
        );
        assert_eq!(
            master.derive::<20>(Label::RtpAuthentication).unwrap()[..],
            hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
        );
    }
}
