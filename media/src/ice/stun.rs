//! The STUN messages of ICE-lite (RFC 8489, RFC 8445 §7): Binding requests in, responses out. No allocation either way.

use std::net::{IpAddr, SocketAddr};

use rtc_crypto::{CryptoError, Mac, constant_time_eq};
use rtc_stun::fingerprint::fingerprint_value;

/// Bytes of the header.
const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;

/// Attributes from here on may be ignored when unknown (RFC 8489 §14).
const COMPREHENSION_OPTIONAL: u16 = 0x8000;

/// Bytes of an HMAC-SHA1.
const SHA1: usize = 20;

/// Unknown attributes that are named in an answer; as many as keep it smaller than the request.
const MAX_UNKNOWN: usize = 4;

/// A well-formed Binding request with USERNAME, MESSAGE-INTEGRITY and FINGERPRINT. Nothing of it is proven yet.
#[derive(Debug)]
pub(super) struct Request<'d> {
    datagram: &'d [u8],
    /// USERNAME, split at its first colon: ours, theirs.
    pub(super) username: (&'d str, &'d str),
    /// PRIORITY; 0 when absent.
    pub(super) priority: u32,
    /// USE-CANDIDATE is present.
    pub(super) nominates: bool,
    /// The client says that it is controlled.
    pub(super) controlled: bool,
    integrity_at: usize,
    integrity: &'d [u8],
    unknown: [u16; MAX_UNKNOWN],
    unknown_len: usize,
}

impl<'d> Request<'d> {
    /// Parses a datagram; `None` for anything but a Binding request as ICE sends it (RFC 8445 §7.1, §7.3).
    pub(super) fn parse(datagram: &'d [u8]) -> Option<Self> {
        let mut request = Self {
            datagram,
            username: ("", ""),
            priority: 0,
            nominates: false,
            controlled: false,
            integrity_at: 0,
            integrity: &[],
            unknown: [0; MAX_UNKNOWN],
            unknown_len: 0,
        };
        let mut username = None;
        let mut fingerprint = None;
        for attribute in attributes(datagram)? {
            let Attribute { kind, at, value } = attribute?;
            if fingerprint.is_some() {
                // RFC 8489 §14.7: FINGERPRINT is the last one.
                return None;
            }
            match kind {
                FINGERPRINT => fingerprint = Some((at, value)),
                // What follows MESSAGE-INTEGRITY is not covered by it (RFC 8489 §14.5).
                _ if request.integrity_at != 0 => {}
                MESSAGE_INTEGRITY if value.len() == SHA1 => (request.integrity_at, request.integrity) = (at, value),
                MESSAGE_INTEGRITY => return None,
                USERNAME => username = username.or(Some(value)),
                PRIORITY => request.priority = u32::from_be_bytes(value.try_into().ok()?),
                USE_CANDIDATE => request.nominates = true,
                ICE_CONTROLLED => request.controlled = true,
                MESSAGE_INTEGRITY_SHA256 | COMPREHENSION_OPTIONAL.. => {}
                unknown if request.unknown_len < MAX_UNKNOWN => {
                    request.unknown[request.unknown_len] = unknown;
                    request.unknown_len += 1;
                }
                _ => {}
            }
        }
        let (at, value) = fingerprint?;
        if request.integrity_at == 0 || fingerprint_value(datagram.get(..at)?).to_be_bytes() != *value {
            return None;
        }
        request.username = std::str::from_utf8(username?).ok()?.split_once(':')?;
        Some(request)
    }

    /// Whether the sender knew the password that `mac` is keyed with (RFC 8489 §9.1.3).
    pub(super) fn is_authentic(&self, mac: &mut dyn Mac) -> bool {
        // The length counts up to and including MESSAGE-INTEGRITY, whatever follows it.
        let length = (self.integrity_at + 4 + SHA1 - HEADER) as u16;
        let (kind, covered) = (&self.datagram[..2], &self.datagram[4..self.integrity_at]);
        let mut expected = [0; SHA1];
        mac.sign(&[kind, &length.to_be_bytes(), covered], &mut expected).is_ok()
            && constant_time_eq(&expected, self.integrity)
    }

    /// Comprehension-required attributes that we do not know.
    pub(super) fn unknown(&self) -> &[u16] {
        &self.unknown[..self.unknown_len]
    }

    fn transaction(&self) -> &[u8] {
        &self.datagram[8..HEADER]
    }
}

/// Our ufrag in a Binding request's USERNAME, by structure alone.
pub(super) fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    for attribute in attributes(datagram)? {
        let attribute = attribute?;
        if attribute.kind == USERNAME {
            let (local, _) = std::str::from_utf8(attribute.value).ok()?.split_once(':')?;
            return (!local.is_empty()).then_some(local);
        }
    }
    None
}

struct Attribute<'d> {
    kind: u16,
    /// Offset of its header in the datagram.
    at: usize,
    value: &'d [u8],
}

/// The attributes of a Binding request; `None` if the header is not that of one. An item is `None` when malformed, and the last.
fn attributes(datagram: &[u8]) -> Option<impl Iterator<Item = Option<Attribute<'_>>>> {
    let header = datagram.get(..HEADER)?;
    let body_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_request = header[..2] == BINDING_REQUEST.to_be_bytes()
        && header[4..8] == MAGIC_COOKIE
        && body_len == datagram.len() - HEADER
        && body_len.is_multiple_of(4);
    if !is_request {
        return None;
    }
    let mut at = HEADER;
    Some(std::iter::from_fn(move || {
        if at >= datagram.len() {
            return None;
        }
        let attribute = attribute_at(datagram, at);
        at = attribute
            .as_ref()
            .map_or(datagram.len(), |a| at + 4 + a.value.len().next_multiple_of(4));
        Some(attribute)
    }))
}

fn attribute_at(datagram: &[u8], at: usize) -> Option<Attribute<'_>> {
    let header: [u8; 4] = datagram.get(at..at + 4)?.try_into().ok()?;
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // With padding (RFC 8489 §14).
    datagram.get(at + 4..at + 4 + len.next_multiple_of(4))?;
    let value = datagram.get(at + 4..at + 4 + len)?;
    Some(Attribute {
        kind: u16::from_be_bytes([header[0], header[1]]),
        at,
        value,
    })
}

/// A response, which is no larger than a request as ICE sends it.
pub(crate) struct Response {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl Response {
    const CAPACITY: usize = 128;

    /// Tells the client its address (RFC 8445 §7.3.1.2).
    pub(super) fn success(request: &Request<'_>, from: SocketAddr, mac: &mut dyn Mac) -> Result<Self, CryptoError> {
        let mut response = Self::new(BINDING_SUCCESS, request);
        response.xor_mapped_address(from, request.transaction());
        response.finish(mac)
    }

    /// 487 Role Conflict (RFC 8445 §7.3.1.1).
    pub(super) fn role_conflict(request: &Request<'_>, mac: &mut dyn Mac) -> Result<Self, CryptoError> {
        let mut response = Self::new(BINDING_ERROR, request);
        response.attribute(ERROR_CODE, &[0, 0, 4, 87]);
        response.finish(mac)
    }

    /// 420 Unknown Attribute (RFC 8489 §6.3.1).
    pub(super) fn unknown_attributes(request: &Request<'_>, mac: &mut dyn Mac) -> Result<Self, CryptoError> {
        let mut response = Self::new(BINDING_ERROR, request);
        response.attribute(ERROR_CODE, &[0, 0, 4, 20]);
        let mut list = [0; 2 * MAX_UNKNOWN];
        for (bytes, unknown) in list.chunks_exact_mut(2).zip(request.unknown()) {
            bytes.copy_from_slice(&unknown.to_be_bytes());
        }
        response.attribute(UNKNOWN_ATTRIBUTES, &list[..2 * request.unknown_len]);
        response.finish(mac)
    }

    /// To be sent.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn new(kind: u16, request: &Request<'_>) -> Self {
        let mut bytes = [0; Self::CAPACITY];
        bytes[..2].copy_from_slice(&kind.to_be_bytes());
        bytes[4..8].copy_from_slice(&MAGIC_COOKIE);
        bytes[8..HEADER].copy_from_slice(request.transaction());
        Self { bytes, len: HEADER }
    }

    fn xor_mapped_address(&mut self, address: SocketAddr, transaction: &[u8]) {
        let mut mask = [0; 16];
        mask[..4].copy_from_slice(&MAGIC_COOKIE);
        mask[4..].copy_from_slice(transaction);
        let mut value = [0; 20];
        value[2..4].copy_from_slice(&address.port().to_be_bytes());
        let (family, len) = match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                value[4..8].copy_from_slice(&ip.octets());
                (1, 8)
            }
            IpAddr::V6(ip) => {
                value[4..].copy_from_slice(&ip.octets());
                (2, 20)
            }
        };
        value[1] = family;
        for (byte, mask) in value[2..4].iter_mut().zip(&mask) {
            *byte ^= mask;
        }
        for (byte, mask) in value[4..].iter_mut().zip(&mask) {
            *byte ^= mask;
        }
        self.attribute(XOR_MAPPED_ADDRESS, &value[..len]);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let at = self.len;
        self.bytes[at..at + 2].copy_from_slice(&kind.to_be_bytes());
        self.bytes[at + 2..at + 4].copy_from_slice(&(value.len() as u16).to_be_bytes());
        self.bytes[at + 4..at + 4 + value.len()].copy_from_slice(value);
        self.len = at + 4 + value.len().next_multiple_of(4);
    }

    /// Sets the length as if the body already had `more` bytes more.
    fn set_length(&mut self, more: usize) {
        let length = (self.len - HEADER + more) as u16;
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
    }

    fn finish(mut self, mac: &mut dyn Mac) -> Result<Self, CryptoError> {
        self.set_length(4 + SHA1);
        let mut integrity = [0; SHA1];
        mac.sign(&[&self.bytes[..self.len]], &mut integrity)?;
        self.attribute(MESSAGE_INTEGRITY, &integrity);
        self.set_length(4 + 4);
        let fingerprint = fingerprint_value(&self.bytes[..self.len]);
        self.attribute(FINGERPRINT, &fingerprint.to_be_bytes());
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_panics(mut datagram in proptest::collection::vec(any::<u8>(), 0..200), forge in any::<bool>()) {
            if forge && datagram.len() >= HEADER {
                datagram[..2].copy_from_slice(&BINDING_REQUEST.to_be_bytes());
                datagram[4..8].copy_from_slice(&MAGIC_COOKIE);
                let body = (datagram.len() - HEADER) as u16;
                datagram[2..4].copy_from_slice(&body.to_be_bytes());
            }
            let _ = local_ufrag(&datagram);
            prop_assert!(Request::parse(&datagram).is_none());
        }
    }
}
