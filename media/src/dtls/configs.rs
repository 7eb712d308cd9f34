//! What our side of a handshake offers and accepts.

use std::sync::Arc;
use std::time::Duration;

use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::error::Error;

use super::hello::offers_aead;
use crate::crypto::provider;

/// Handshake messages are cut to fit this many bytes a datagram: what passes everywhere (RFC 8261 §5 counts on 1200 too).
const MTU: usize = 1200;

/// rtc-dtls repeats a flight at a fixed interval. Ours backs off instead and asks it to repeat when due, so this only has to
/// be shorter than our shortest.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(50);

/// Handshake configurations, made once a certificate.
pub(crate) struct HandshakeConfigs {
    aead_server: Arc<HandshakeConfig>,
    cm_server: Arc<HandshakeConfig>,
    client: Arc<HandshakeConfig>,
}

impl HandshakeConfigs {
    pub(crate) fn new(certificate: &Certificate) -> Result<Self, Error> {
        use CipherSuiteId as Suite;
        use SrtpProtectionProfile as Profile;

        // Our certificate is ECDSA, and all WebRTC clients know the first (RFC 8827 §6.5).
        let ecdsa = [
            Suite::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            Suite::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
        ];
        // The suite names the server's key: a passive client may have an RSA one.
        let either = [&ecdsa[..], &[Suite::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256]].concat();
        let both = vec![Profile::Srtp_Aead_Aes_128_Gcm, Profile::Srtp_Aes128_Cm_Hmac_Sha1_80];
        let build = |is_client, suites: &[Suite], profiles| {
            ConfigBuilder::default()
                .with_crypto_provider(provider().clone())
                .with_certificates(vec![certificate.clone()])
                .with_cipher_suites(suites.to_vec())
                .with_srtp_protection_profiles(profiles)
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                // Certificates are known by the signaled fingerprint, which the transport checks once it is told.
                .with_insecure_skip_verify(true)
                .with_server_name("caside".to_owned())
                .with_flight_interval(FLIGHT_INTERVAL)
                .with_mtu(MTU)
                .build(is_client, None)
                .map(Arc::new)
        };
        Ok(Self {
            aead_server: build(false, &ecdsa, both[..1].to_vec())?,
            cm_server: build(false, &ecdsa, both[1..].to_vec())?,
            client: build(true, &either, both)?,
        })
    }

    pub(super) fn client(&self) -> Arc<HandshakeConfig> {
        self.client.clone()
    }

    /// The configuration that answers this ClientHello (a whole handshake message).
    ///
    /// rtc-dtls takes the first SRTP profile in the client's order that we have too, and browsers list AES-CM first though they
    /// have AES-GCM. The choice is the server's (RFC 5764 §4.1.2), so what it chooses from is the better one alone.
    pub(super) fn server(&self, client_hello: &[u8]) -> Arc<HandshakeConfig> {
        if offers_aead(client_hello) {
            self.aead_server.clone()
        } else {
            self.cm_server.clone()
        }
    }
}
