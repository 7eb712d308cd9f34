//! ICE-lite (RFC 8445 §2.5): the client checks, we answer; what it nominates is where we send.
//!
//! We have no candidates to check and never send a request of our own. The client's checks are also the proof that it
//! still wants what we send (RFC 7675): a path lives [`TransportConfig::consent_timeout`] after its last check.
//!
//! [`TransportConfig::consent_timeout`]: crate::transport::TransportConfig::consent_timeout

mod agent;
mod stun;

pub(crate) use self::agent::Agent;
pub use self::agent::MAX_PATHS;
use crate::crypto::provider;
use crate::parameters::IceCredentials;

/// Our ufrag (what precedes `:` in USERNAME) in a well-formed STUN Binding request; `None` for anything else.
///
/// Only finds the transport; it proves nothing about who sent the datagram.
pub fn stun_ufrag(datagram: &[u8]) -> Option<&str> {
    stun::local_ufrag(datagram)
}

/// Characters that credentials are made of (RFC 8445 §5.3, ice-char): 64, so that a random byte's low six bits choose one.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl IceCredentials {
    /// New credentials: a ufrag of 8 and a password of 24 ice-chars (48 and 144 bits; RFC 8445 §5.3 asks for 24 and 128).
    ///
    /// `random` fills a slice from a cryptographically secure source.
    pub fn generate(random: &mut impl FnMut(&mut [u8])) -> Self {
        let mut bytes = [0; 32];
        random(&mut bytes);
        let text = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| char::from(ICE_CHARS[usize::from(byte & 63)]))
                .collect()
        };
        let (ufrag, pwd) = bytes.split_at(8);
        Self {
            ufrag: text(ufrag),
            pwd: text(pwd),
        }
    }

    /// New credentials from the crypto library's random source.
    pub fn random() -> Self {
        Self::generate(&mut |bytes| {
            provider()
                .random()
                .fill(bytes)
                .expect("a generator seeded by the operating system does not run dry");
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_long_enough_and_of_ice_chars() {
        let (one, other) = (IceCredentials::random(), IceCredentials::random());
        assert_ne!(one, other);
        assert_eq!((one.ufrag.len(), one.pwd.len()), (8, 24));
        assert!(
            one.ufrag
                .bytes()
                .chain(one.pwd.bytes())
                .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
        );
    }
}
