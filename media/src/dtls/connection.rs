//! One DTLS association.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_crypto::SecretVec;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;

use super::configs::HandshakeConfigs;
use super::screen::{Admitted, CLIENT_HELLO, HANDSHAKE, RECORD_HEADER, Screen, records};
use crate::parameters::DtlsRole;
use crate::srtp::SrtpProfile;

/// The address that rtc-dtls knows every association of ours by (of TEST-NET-1: it is never sent to).
const PLACEHOLDER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);

/// The first wait before a flight is repeated; each further one is twice as long. RFC 6347 §4.2.4.1 recommends a second, which a
/// caller notices; rtc-dtls repeats a flight seven times at most.
const FIRST_REPEAT: Duration = Duration::from_millis(300);

/// The label of RFC 5764 §4.2.
const EXTRACTOR: &str = "EXTRACTOR-dtls_srtp";

/// What happened to an association.
#[derive(Debug)]
pub(crate) enum DtlsEvent {
    /// The handshake is complete.
    Complete,
    /// Decrypted application data.
    Data(BytesMut),
    /// The client sent `close_notify` or, after the handshake, a fatal alert.
    ClosedByPeer,
    /// The handshake failed.
    Failed,
}

/// A DTLS association in either role.
pub(crate) struct Connection {
    configs: Arc<HandshakeConfigs>,
    /// Made with the handshake's first message.
    endpoint: Option<Endpoint>,
    screen: Screen,
    role: DtlsRole,
    progress: Progress,
    /// When our flight is repeated, and the wait after that.
    repeat: Option<(Instant, Duration)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Handshaking,
    Complete,
    Ended,
}

impl Connection {
    /// An association that waits for a ClientHello.
    pub(crate) fn server(configs: Arc<HandshakeConfigs>) -> Self {
        Self {
            configs,
            endpoint: None,
            screen: Screen::new(DtlsRole::Server),
            role: DtlsRole::Server,
            progress: Progress::Handshaking,
            repeat: None,
        }
    }

    /// An association that sends a ClientHello now. `None` when the crypto library fails.
    pub(crate) fn client(now: Instant, configs: Arc<HandshakeConfigs>) -> Option<Self> {
        let mut endpoint = Endpoint::new(PLACEHOLDER, TransportProtocol::UDP, None);
        endpoint.connect(now, PLACEHOLDER, configs.client(), None).ok()?;
        let mut client = Self {
            endpoint: Some(endpoint),
            role: DtlsRole::Client,
            ..Self::server(configs)
        };
        client.screen = Screen::new(DtlsRole::Client);
        client.schedule_repeat(now, FIRST_REPEAT);
        Some(client)
    }

    /// Whether a first message was sent or received.
    pub(crate) fn has_begun(&self) -> bool {
        self.endpoint.is_some()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.progress == Progress::Complete
    }

    /// Takes a datagram. What has to be sent then is to be polled for.
    pub(crate) fn receive(&mut self, now: Instant, datagram: &[u8], mut emit: impl FnMut(DtlsEvent)) {
        for record in records(datagram) {
            match self.screen.admit(record, self.is_complete()) {
                Admitted::Nothing => {}
                Admitted::AsIs(record) => self.feed(now, record, &mut emit),
                Admitted::Rewritten(records) => {
                    records.iter().for_each(|record| self.feed(now, record, &mut emit));
                    // Progress: the next flight starts with short waits again.
                    self.schedule_repeat(now, FIRST_REPEAT);
                }
            }
        }
    }

    /// Encrypts and queues application data. `false` before the handshake is complete and after the end.
    pub(crate) fn write(&mut self, now: Instant, data: &[u8]) -> bool {
        self.is_complete()
            && self
                .endpoint
                .as_mut()
                .is_some_and(|endpoint| endpoint.write(now, PLACEHOLDER, data).is_ok())
    }

    /// The next datagram to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.as_mut()?.poll_transmit().map(|transmit| transmit.message)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.repeat.map(|(at, _)| at)
    }

    /// Repeats our flight when that is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, mut emit: impl FnMut(DtlsEvent)) {
        let Some((_, wait)) = self.repeat.filter(|(at, _)| now >= *at) else {
            return;
        };
        let (Some(endpoint), Progress::Handshaking) = (&mut self.endpoint, self.progress) else {
            self.repeat = None;
            return;
        };
        if let Some(armed) = endpoint.poll_timeout(&PLACEHOLDER)
            && endpoint.handle_timeout(PLACEHOLDER, now.max(armed)).is_err()
        {
            self.end(DtlsEvent::Failed, &mut emit);
            return;
        }
        self.screen.refill();
        self.schedule_repeat(now, 2 * wait);
    }

    /// Queues `close_notify` and ends.
    pub(crate) fn close(&mut self, now: Instant) {
        if let Some(endpoint) = self.endpoint.as_mut().filter(|_| self.progress == Progress::Complete) {
            endpoint.stop(now, PLACEHOLDER);
        }
        self.progress = Progress::Ended;
        self.repeat = None;
    }

    /// The certificate that the client proved to own, DER.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        let state = self.endpoint.as_ref()?.get_connection_state(PLACEHOLDER)?;
        state.peer_certificates.first().map(Vec::as_slice)
    }

    /// The SRTP profile agreed on and its keying material (RFC 5764 §4.2); `None` when there is none.
    pub(crate) fn srtp_keys(&self) -> Option<(SrtpProfile, SecretVec)> {
        let state = self.endpoint.as_ref()?.get_connection_state(PLACEHOLDER)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => SrtpProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => SrtpProfile::Aes128CmSha1_80,
            _ => return None,
        };
        let material = state
            .export_keying_material(EXTRACTOR, &[], profile.material_len())
            .ok()?;
        Some((profile, material))
    }

    /// Our role in the handshake.
    pub(crate) fn role(&self) -> DtlsRole {
        self.role
    }

    fn feed(&mut self, now: Instant, record: &[u8], emit: &mut impl FnMut(DtlsEvent)) {
        if self.progress == Progress::Ended {
            return;
        }
        if self.endpoint.is_none() {
            let Some(hello) = whole_client_hello(record) else {
                return;
            };
            let config = self.configs.server(hello);
            self.endpoint = Some(Endpoint::new(PLACEHOLDER, TransportProtocol::UDP, Some(config)));
        }
        let Some(endpoint) = &mut self.endpoint else { return };
        match endpoint.read(now, PLACEHOLDER, None, BytesMut::from(record)) {
            Ok(events) => events.into_iter().for_each(|event| self.note(event, emit)),
            // A warning; it ends nothing.
            Err(Error::Other(_)) if self.is_complete() => {}
            Err(_) if self.is_complete() => self.end(DtlsEvent::ClosedByPeer, emit),
            Err(error) => {
                tracing::debug!(%error, "dtls handshake failed");
                self.end(DtlsEvent::Failed, emit);
            }
        }
    }

    fn note(&mut self, event: EndpointEvent, emit: &mut impl FnMut(DtlsEvent)) {
        match event {
            EndpointEvent::HandshakeComplete => {
                self.progress = Progress::Complete;
                self.repeat = None;
                emit(DtlsEvent::Complete);
            }
            EndpointEvent::ApplicationData(data) => emit(DtlsEvent::Data(data)),
            EndpointEvent::PeerClosed => self.end(DtlsEvent::ClosedByPeer, emit),
            _ => {}
        }
    }

    fn end(&mut self, event: DtlsEvent, emit: &mut impl FnMut(DtlsEvent)) {
        self.progress = Progress::Ended;
        self.repeat = None;
        emit(event);
    }

    fn schedule_repeat(&mut self, now: Instant, wait: Duration) {
        self.repeat = (self.progress == Progress::Handshaking).then(|| (now + wait, wait));
    }
}

/// The ClientHello in a record that the screen put together.
fn whole_client_hello(record: &[u8]) -> Option<&[u8]> {
    let (header, message) = record.split_at_checked(RECORD_HEADER)?;
    (header[0] == HANDSHAKE && message.first() == Some(&CLIENT_HELLO)).then_some(message)
}
