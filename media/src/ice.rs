//! ICE-lite (RFC 8445 §2.5): the client checks, we answer.

use crate::parameters::IceCredentials;

/// Our ufrag (what precedes `:` in USERNAME) in a well-formed STUN Binding request; `None` for anything else.
///
/// Only finds the transport; it proves nothing about who sent the datagram.
pub fn stun_ufrag(_datagram: &[u8]) -> Option<&str> {
    None
}

impl IceCredentials {
    /// New credentials: a ufrag of 8 and a password of 24 ice-chars (RFC 8445 §5.3).
    ///
    /// `random` fills a slice from a cryptographically secure source.
    pub fn generate(random: &mut impl FnMut(&mut [u8])) -> Self {
        let mut bytes = [0; 32];
        random(&mut bytes);
        Self {
            ufrag: String::new(),
            pwd: String::new(),
        }
    }
}
