//! Connectivity checks of a controlling ICE agent (RFC 8445 §7.2).

use anyhow::Result;
use caside_media::parameters::IceCredentials;
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_stun::attributes::{ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};

const ICE_CONTROLLED: AttrType = AttrType(0x8029);
const ICE_CONTROLLING: AttrType = AttrType(0x802a);

/// The type of a Binding success response (RFC 8489 §5).
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

/// The magic cookie of RFC 8489 §5.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    /// Whether it nominates its path.
    pub(crate) nominates: bool,
    /// Whether the sender takes itself for the controlled agent, which a lite agent's peer never is (RFC 8445 §6.1.1).
    pub(crate) controlled: bool,
    /// PRIORITY.
    pub(crate) priority: u32,
}

/// A check that nominates its path.
pub(crate) const NOMINATES: Check = Check {
    nominates: true,
    controlled: false,
    priority: 0x6e00_1eff,
};

/// Writes a check.
pub(crate) fn write_check(local: &IceCredentials, remote: &IceCredentials, check: Check) -> Result<Vec<u8>> {
    let mut message = Message::new();
    message.build(&[Box::new(BINDING_REQUEST), Box::new(TransactionId::new())])?;
    message.add(ATTR_USERNAME, format!("{}:{}", remote.ufrag, local.ufrag).as_bytes());
    let role = if check.controlled {
        ICE_CONTROLLED
    } else {
        ICE_CONTROLLING
    };
    message.add(role, &7u64.to_be_bytes());
    if check.nominates {
        message.add(ATTR_USE_CANDIDATE, &[]);
    }
    message.add(ATTR_PRIORITY, &check.priority.to_be_bytes());
    let provider = AwsLcRsProvider::new();
    MessageIntegrity::new_short_term_integrity_with_provider(remote.pwd.clone(), provider.crypto())
        .add_to(&mut message)?;
    FINGERPRINT.add_to(&mut message)?;
    Ok(message.raw)
}

/// Whether a datagram says that a check succeeded.
pub(crate) fn is_success(datagram: &[u8]) -> bool {
    datagram.len() >= 20 && datagram[..2] == BINDING_SUCCESS && datagram[4..8] == COOKIE
}
