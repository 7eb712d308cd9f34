//! The client's DTLS handshake, out of which SRTP gets its keys (RFC 5764).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use caside_media::srtp::{SrtpProfile, SrtpSession};
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;

use super::thread::Instant;

/// What rtc-dtls knows the node by.
const NODE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// The certificate that all light clients of a run show: making one costs more than a handshake.
#[derive(Clone)]
pub(crate) struct Identity {
    config: Arc<HandshakeConfig>,
    /// As it stands in an SDP, `sha-256 AB:CD:…`.
    pub(crate) fingerprint: Arc<str>,
}

impl Identity {
    /// Makes a certificate.
    pub(crate) fn generate() -> Result<Self> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let certificate = Certificate::generate_self_signed(vec!["caside-bots".to_owned()], provider.crypto())?;
        let der = certificate.certificate.first().context("a certificate without bytes")?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        let hex: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // The node's certificate is its own; a load generator has nothing to protect from an impostor.
            .with_insecure_skip_verify(true)
            .with_server_name("caside".to_owned())
            .build(true, None)?;
        Ok(Self {
            config: Arc::new(config),
            fingerprint: format!("sha-256 {}", hex.join(":")).into(),
        })
    }
}

/// What SRTP keys of AES-128-GCM are made of: two keys of 16 and two salts of 12 bytes (RFC 5764 §4.2, RFC 7714 §12).
pub(crate) type Material = [u8; 56];

/// A handshake on its way, and the association that comes of it.
pub(crate) struct Handshake {
    endpoint: Endpoint,
    complete: bool,
    /// Decrypted application data that was not taken yet.
    data: Vec<BytesMut>,
}

impl Handshake {
    /// Begins with a ClientHello.
    pub(crate) fn begin(now: Instant, identity: &Identity) -> Result<Self> {
        let mut endpoint = Endpoint::new(NODE, TransportProtocol::UDP, None);
        endpoint.connect(now, NODE, identity.config.clone(), None)?;
        Ok(Self {
            endpoint,
            complete: false,
            data: Vec::new(),
        })
    }

    /// Takes a datagram of the node's.
    pub(crate) fn receive(&mut self, now: Instant, datagram: &[u8]) -> Result<()> {
        for event in self.endpoint.read(now, NODE, None, BytesMut::from(datagram))? {
            match event {
                EndpointEvent::HandshakeComplete => self.complete = true,
                EndpointEvent::ApplicationData(data) => self.data.push(data),
                EndpointEvent::PeerClosed => bail!("the node closed the connection"),
                _ => {}
            }
        }
        Ok(())
    }

    /// The next datagram to send.
    pub(crate) fn transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.poll_transmit().map(|transmit| transmit.message)
    }

    /// Sends again what was not answered in time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<()> {
        if self.endpoint.poll_timeout(&NODE).is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(NODE, now)?;
        }
        Ok(())
    }

    /// Encrypts application data.
    pub(crate) fn write(&mut self, now: Instant, data: &[u8]) -> Result<()> {
        Ok(self.endpoint.write(now, NODE, data)?)
    }

    /// The application data that came.
    pub(crate) fn take_data(&mut self) -> Vec<BytesMut> {
        std::mem::take(&mut self.data)
    }

    /// What the keys are made of, once the handshake is complete.
    pub(crate) fn material(&self) -> Result<Option<Material>> {
        if !self.complete {
            return Ok(None);
        }
        let state = self.endpoint.get_connection_state(NODE).context("no association")?;
        if !matches!(
            state.srtp_protection_profile(),
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm
        ) {
            bail!("the node chose another profile than the one offered");
        }
        let material = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], size_of::<Material>())?;
        Ok(Some(material.as_ref().try_into()?))
    }
}

/// The client's end of SRTP.
pub(crate) fn session(material: &Material) -> Result<SrtpSession> {
    Ok(SrtpSession::new(SrtpProfile::AeadAes128Gcm, material, true)?)
}
