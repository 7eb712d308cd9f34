//! The client's side, of parts that share no code of ours.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use caside_media::parameters::{DtlsRole, Fingerprint, IceCredentials};
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use rtc_stun::attributes::{ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};

pub(crate) fn provider() -> Arc<dyn RTCCryptoProvider> {
    Arc::new(AwsLcRsProvider::new())
}

pub(crate) const ICE_CONTROLLING: AttrType = AttrType(0x802a);
pub(crate) const ICE_CONTROLLED: AttrType = AttrType(0x8029);

/// A Binding request to be.
#[derive(Clone)]
pub(crate) struct Check {
    pub(crate) username: String,
    pub(crate) pwd: String,
    pub(crate) priority: u32,
    pub(crate) nominate: bool,
    pub(crate) role: AttrType,
    pub(crate) extra: Vec<(u16, Vec<u8>)>,
}

impl Check {
    /// A check that nominates, with everything right.
    pub(crate) fn new(local: &IceCredentials, remote: &IceCredentials) -> Self {
        Self {
            username: format!("{}:{}", local.ufrag, remote.ufrag),
            pwd: local.pwd.clone(),
            priority: 100,
            nominate: true,
            role: ICE_CONTROLLING,
            extra: Vec::new(),
        }
    }

    pub(crate) fn message(&self) -> Message {
        let mut message = Message::new();
        message
            .build(&[Box::new(BINDING_REQUEST), Box::new(TransactionId::new())])
            .unwrap();
        message.add(ATTR_USERNAME, self.username.as_bytes());
        message.add(self.role, &7u64.to_be_bytes());
        if self.nominate {
            message.add(ATTR_USE_CANDIDATE, &[]);
        }
        message.add(ATTR_PRIORITY, &self.priority.to_be_bytes());
        for (kind, value) in &self.extra {
            message.add(AttrType(*kind), value);
        }
        sign(&mut message, &self.pwd);
        message
    }

    pub(crate) fn datagram(&self) -> Vec<u8> {
        let mut message = self.message();
        FINGERPRINT.add_to(&mut message).unwrap();
        message.raw
    }
}

pub(crate) fn sign(message: &mut Message, pwd: &str) {
    let provider = provider();
    MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), provider.crypto())
        .add_to(message)
        .unwrap();
}

/// How a client's DTLS differs from the usual.
pub(crate) struct DtlsOptions {
    pub(crate) profiles: Vec<SrtpProtectionProfile>,
    pub(crate) certificate: Certificate,
    /// The client's role.
    pub(crate) role: DtlsRole,
}

impl Default for DtlsOptions {
    fn default() -> Self {
        Self {
            // In the order in which browsers list them.
            profiles: vec![
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            ],
            certificate: Certificate::generate_self_signed(vec!["client".to_owned()], provider().crypto()).unwrap(),
            role: DtlsRole::Client,
        }
    }
}

/// A client's DTLS, and SRTP once that is up.
pub(crate) struct ClientDtls {
    pub(crate) endpoint: Endpoint,
    config: Arc<HandshakeConfig>,
    role: DtlsRole,
    certificate: Certificate,
    begun: bool,
    pub(crate) complete: bool,
    pub(crate) closed: bool,
    pub(crate) data: Vec<Bytes>,
    /// Handshake messages seen: rtc-dtls stops its timer for good when one comes again.
    seen: HashSet<u16>,
}

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

impl ClientDtls {
    pub(crate) fn new(options: DtlsOptions) -> Self {
        let is_client = options.role == DtlsRole::Client;
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider())
            .with_certificates(vec![options.certificate.clone()])
            .with_srtp_protection_profiles(options.profiles)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true)
            .with_server_name("server".to_owned())
            .build(is_client, None)
            .map(Arc::new)
            .unwrap();
        let server_config = (!is_client).then(|| config.clone());
        Self {
            endpoint: Endpoint::new(SERVER, TransportProtocol::UDP, server_config),
            config,
            role: options.role,
            certificate: options.certificate,
            begun: false,
            complete: false,
            closed: false,
            data: Vec::new(),
            seen: HashSet::new(),
        }
    }

    pub(crate) fn fingerprint(&self, algorithm: &str) -> Fingerprint {
        let digest_algorithm = match algorithm {
            "sha-256" => &digest::SHA256,
            "sha-512" => &digest::SHA512,
            other => panic!("{other}"),
        };
        let digest = digest::digest(digest_algorithm, &self.certificate.certificate[0])
            .as_ref()
            .to_vec();
        Fingerprint {
            algorithm: algorithm.to_owned(),
            digest,
        }
    }

    /// Sends the ClientHello if that is the client's part.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.role == DtlsRole::Client && !self.begun {
            self.begun = true;
            self.endpoint.connect(now, SERVER, self.config.clone(), None).unwrap();
        }
    }

    pub(crate) fn receive(&mut self, now: Instant, datagram: &[u8]) {
        if !self.complete && datagram.len() > 25 && datagram[0] == 22 && datagram[3..5] == [0, 0] {
            let message = u16::from_be_bytes([datagram[17], datagram[18]]);
            let repeated = !self.seen.insert(message);
            // A server answers a repeated first ClientHello.
            let answered = self.role == DtlsRole::Server && message == 0 && self.seen.len() == 1;
            if repeated && !answered {
                return;
            }
        }
        let Ok(events) = self.endpoint.read(now, SERVER, None, BytesMut::from(datagram)) else {
            return;
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => self.complete = true,
                EndpointEvent::ApplicationData(data) => self.data.push(data.freeze()),
                EndpointEvent::PeerClosed => self.closed = true,
                _ => {}
            }
        }
    }

    pub(crate) fn write(&mut self, now: Instant, data: &[u8]) {
        self.endpoint.write(now, SERVER, data).unwrap();
    }

    pub(crate) fn close(&mut self, now: Instant) {
        self.endpoint.close(now).unwrap();
    }

    pub(crate) fn transmits(&mut self) -> Vec<BytesMut> {
        std::iter::from_fn(|| self.endpoint.poll_transmit())
            .map(|transmit| transmit.message)
            .collect()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout(&SERVER)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        // Without an association there is nothing to do; a failed handshake shows in `complete`.
        self.endpoint.handle_timeout(SERVER, now).ok();
    }

    pub(crate) fn profile(&self) -> SrtpProtectionProfile {
        self.endpoint
            .get_connection_state(SERVER)
            .unwrap()
            .srtp_protection_profile()
    }

    /// The client's contexts: to seal with and to open with.
    pub(crate) fn srtp(&self) -> (Context, Context) {
        let profile = match self.profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            other => panic!("{other:?}"),
        };
        let state = self.endpoint.get_connection_state(SERVER).unwrap();
        let material = state
            .export_keying_material("EXTRACTOR-dtls_srtp", &[], 2 * (16 + profile.salt_len()))
            .unwrap();
        let (client, server) = oracle_contexts(profile, material.as_ref());
        if self.role == DtlsRole::Client {
            (client, server)
        } else {
            (server, client)
        }
    }
}

/// Contexts for the client's and the server's packets out of keying material (RFC 5764 §4.2).
pub(crate) fn oracle_contexts(profile: ProtectionProfile, material: &[u8]) -> (Context, Context) {
    let provider = provider();
    let salt = profile.salt_len();
    let context = |index: usize| {
        let key = &material[16 * index..16 * (index + 1)];
        let salt = &material[32 + salt * index..32 + salt * (index + 1)];
        Context::new(key, salt, profile, None, None, provider.crypto()).unwrap()
    };
    (context(0), context(1))
}
