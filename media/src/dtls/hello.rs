//! Looks into a ClientHello (RFC 5246 §7.4.1.2, RFC 6347 §4.2.1) for the SRTP profiles it offers.

/// The extension's number (RFC 5764 §9).
const USE_SRTP: u16 = 14;

/// AEAD_AES_128_GCM (RFC 7714 §14.2).
const AEAD_AES_128_GCM: [u8; 2] = [0x00, 0x07];

/// Bytes of a handshake message's header.
const MESSAGE_HEADER: usize = 12;

/// Whether this ClientHello, a whole handshake message, offers AEAD_AES_128_GCM, or no SRTP at all. `false` when it is malformed.
pub(super) fn offers_aead(message: &[u8]) -> bool {
    match srtp_profiles(message) {
        Some(Some(profiles)) => profiles.chunks_exact(2).any(|profile| profile == AEAD_AES_128_GCM),
        Some(None) => true,
        None => false,
    }
}

/// The list of profiles, if there is one; `None` when malformed.
fn srtp_profiles(message: &[u8]) -> Option<Option<&[u8]>> {
    let mut rest = message.get(MESSAGE_HEADER..)?;
    take(&mut rest, 2 + 32)?; // version, random
    take_u8_vector(&mut rest)?; // session id
    take_u8_vector(&mut rest)?; // cookie
    take_u16_vector(&mut rest)?; // cipher suites
    take_u8_vector(&mut rest)?; // compression methods
    if rest.is_empty() {
        return Some(None);
    }
    let mut extensions = take_u16_vector(&mut rest)?;
    while !extensions.is_empty() {
        let kind = take_u16(&mut extensions)?;
        let mut body = take_u16_vector(&mut extensions)?;
        if kind == USE_SRTP {
            return take_u16_vector(&mut body).map(Some);
        }
    }
    Some(None)
}

fn take<'d>(rest: &mut &'d [u8], len: usize) -> Option<&'d [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    take(rest, 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn take_u8_vector<'d>(rest: &mut &'d [u8]) -> Option<&'d [u8]> {
    let len = take(rest, 1)?.first().copied()?;
    take(rest, usize::from(len))
}

fn take_u16_vector<'d>(rest: &mut &'d [u8]) -> Option<&'d [u8]> {
    let len = take_u16(rest)?;
    take(rest, usize::from(len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut message = vec![0; MESSAGE_HEADER + 34];
        message.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        message.extend((extensions.len() as u16).to_be_bytes());
        message.extend(extensions);
        message
    }

    #[test]
    fn finds_the_profiles_in_any_place_and_order() {
        let other = [0, 23, 0, 0];
        let cm_then_gcm = [0, 14, 0, 7, 0, 4, 0, 1, 0, 7, 0];
        let cm = [0, 14, 0, 5, 0, 2, 0, 1, 0];
        assert!(offers_aead(&hello(&[&other[..], &cm_then_gcm].concat())));
        assert!(offers_aead(&hello(&[&cm_then_gcm[..], &other].concat())));
        assert!(!offers_aead(&hello(&[&cm[..], &other].concat())));
        assert!(offers_aead(&hello(&other)), "no SRTP: data channels alone");
        assert!(!offers_aead(&hello(&[0, 14, 0, 9, 0, 4])), "truncated");
    }

    proptest! {
        #[test]
        fn never_panics(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = offers_aead(&message);
        }
    }
}
