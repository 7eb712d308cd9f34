//! One ICE and DTLS association with a client: what comes in is authenticated and decrypted, what goes out is sealed.
//!
//! Datagrams are told apart by their first byte (RFC 7983). Nothing but an authentic ICE check makes state: DTLS and media
//! are taken from checked paths only. DTLS and SCTP survive a change of path, as they know the client by a placeholder address.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::certificate::{Certificate, matches_any};
use crate::control::CloseReason;
use crate::data::{DataError, DataEvent, DataSession};
use crate::dtls::{Connection, DtlsEvent};
use crate::ice::Agent;
use crate::parameters::{DtlsParameters, DtlsRole, IceCredentials, Path};
use crate::send_buffer::SendBuffer;
use crate::srtp::SrtpSession;
pub use crate::srtp::{SRTCP_OVERHEAD, SRTP_OVERHEAD, SrtpError};

/// What all transports of a node have in common.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// Shown in every handshake.
    pub certificate: Certificate,
    /// How long the first valid ICE check may take; 30 s by default.
    pub ice_timeout: Duration,
    /// How long a path lives after its last valid ICE check (RFC 7675 §5.1); 30 s by default.
    pub consent_timeout: Duration,
    /// How long the DTLS handshake may take once ICE has a path and [`Transport::connect`] was called; 20 s by default.
    pub dtls_timeout: Duration,
}

impl TransportConfig {
    /// The defaults with this certificate.
    pub fn new(certificate: Certificate) -> Self {
        Self {
            certificate,
            ice_timeout: Duration::from_secs(30),
            consent_timeout: Duration::from_secs(30),
            dtls_timeout: Duration::from_secs(20),
        }
    }
}

/// What a datagram held for the engine.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'d> {
    /// Nothing: handled here, or dropped.
    Nothing,
    /// An authentic check of a path that is this transport's now; it was answered.
    Check,
    /// A whole plain RTP packet.
    Rtp(&'d mut [u8]),
    /// A whole plain compound RTCP packet.
    Rtcp(&'d mut [u8]),
}

/// What happened to a transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportEvent {
    /// ICE has a nominated path for the first time.
    Connected,
    /// The client's first DTLS datagram came.
    HandshakeBegun,
    /// DTLS is up and the client's certificate is the one signaled: media may flow.
    Secured,
    /// The nominated path is another one from now on.
    PathChanged {
        /// The one before, if any.
        old: Option<Path>,
        /// Where we send from now on.
        new: Path,
    },
    /// A path was validated: datagrams on it are this transport's.
    PathAdded(Path),
    /// A path is no longer this transport's.
    PathRemoved(Path),
    /// A data channel message.
    Data {
        /// The channel's label.
        label: String,
        /// The message.
        data: Bytes,
        /// Text or binary.
        text: bool,
    },
    /// The transport is closed and its paths are gone; nothing comes after it.
    Closed(CloseReason),
}

/// One client's association.
pub struct Transport {
    config: Arc<TransportConfig>,
    ice: Agent,
    dtls: Connection,
    /// What the client signaled; `None` before the first [`connect`](Self::connect).
    expected: Option<DtlsParameters>,
    dtls_due: Option<Instant>,
    /// The path of the last DTLS packet, for answers before one is nominated.
    dtls_path: Option<Path>,
    srtp: Option<SrtpSession>,
    /// Many never have one, and it is large.
    data: Option<Box<DataSession>>,
    /// That there is a path was told.
    connected: bool,
    secured: bool,
    closed: bool,
    events: VecDeque<TransportEvent>,
    bytes_received: u64,
    bytes_sent: u64,
}

impl Transport {
    /// A transport that waits for checks under the `local` credentials.
    pub fn new(now: Instant, config: Arc<TransportConfig>, local: IceCredentials) -> Self {
        let ice = Agent::new(now, &local, config.ice_timeout, config.consent_timeout);
        Self {
            ice,
            dtls: Connection::server(config.certificate.handshake_configs().clone()),
            expected: None,
            dtls_due: None,
            dtls_path: None,
            srtp: None,
            data: None,
            connected: false,
            secured: false,
            closed: false,
            events: VecDeque::new(),
            bytes_received: 0,
            bytes_sent: 0,
            config,
        }
    }

    /// Tells what the client signaled. May come again (ICE restart): the credentials before stay valid until a check uses the new
    /// ones, and `dtls` counts no more once its handshake has begun.
    pub fn connect(
        &mut self,
        now: Instant,
        local: Option<IceCredentials>,
        remote: Option<IceCredentials>,
        dtls: DtlsParameters,
        out: &mut SendBuffer,
    ) {
        if self.closed {
            return;
        }
        if let Some(local) = local {
            self.ice.set_local(&local);
        }
        if let Some(remote) = remote {
            self.ice.set_remote(&remote);
        }
        if self.expected.is_none() || !self.dtls.has_begun() {
            self.expected = Some(dtls);
        }
        self.begin_dtls(now);
        if self.dtls.is_complete() && !self.secured {
            self.secure();
        }
        self.flush(now, out);
    }

    /// Takes a datagram that came on `path`. RTP and RTCP are decrypted in place.
    pub fn receive<'d>(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &'d mut [u8],
        out: &mut SendBuffer,
    ) -> Received<'d> {
        if self.closed {
            return Received::Nothing;
        }
        match *datagram {
            [128..=191, kind, ..] if self.ice.owns(&path) => {
                self.bytes_received += datagram.len() as u64;
                // RFC 5761 §4.
                return self.receive_media(datagram, (192..=223).contains(&kind));
            }
            [0..=3, ..] if self.receive_stun(now, path, datagram, out) => return Received::Check,
            [20..=63, ..] if self.ice.owns(&path) => self.receive_dtls(now, path, datagram, out),
            _ => {}
        }
        Received::Nothing
    }

    /// The nominated path.
    pub fn path(&self) -> Option<Path> {
        self.ice.nominated().filter(|_| !self.closed)
    }

    /// Reads what the next packet to the client needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        let srtp = self.srtp.as_ref().map_or(0, SrtpSession::preload);
        srtp ^ u64::from(self.path().is_some()) ^ self.bytes_sent
    }

    /// Reads what the next report of the client needs; see [`crate::engine::ahead`].
    pub(crate) fn preload_told(&self) -> u64 {
        let srtp = self.srtp.as_ref().map_or(0, SrtpSession::preload_told);
        srtp ^ self.bytes_received ^ u64::from(self.path().is_some())
    }

    /// Whether media may flow.
    pub fn is_secured(&self) -> bool {
        self.secured && !self.closed
    }

    /// Whether a STUN check of this transport validated `path`.
    pub fn owns_path(&self, path: &Path) -> bool {
        !self.closed && self.ice.owns(path)
    }

    /// Paths that are validated; at most [`MAX_PATHS`](crate::ice::MAX_PATHS).
    pub fn path_count(&self) -> usize {
        self.ice.paths()
    }

    /// Whether a DTLS handshake was begun by either side.
    pub fn has_begun_dtls(&self) -> bool {
        self.dtls.has_begun()
    }

    /// SSRCs that media was accepted from; at most [`MAX_INBOUND_SSRCS`](crate::srtp::MAX_INBOUND_SSRCS).
    pub fn inbound_ssrcs(&self) -> usize {
        self.srtp.as_ref().map_or(0, SrtpSession::inbound_ssrcs)
    }

    /// Data channels that are open; at most [`MAX_CHANNELS`](crate::data::MAX_CHANNELS).
    pub fn data_channels(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.channels())
    }

    /// Protects an RTP packet in place and returns its new length; see [`SrtpSession::protect_rtp`], also for the duty that
    /// goes with sequence numbers.
    ///
    /// # Errors
    /// [`SrtpError::NotSecured`] until the transport is secured, else those of the session. The packet is then not to be sent.
    pub fn protect_rtp(
        &mut self,
        packet: &mut [u8],
        len: usize,
        header_len: usize,
        roc: u32,
    ) -> Result<usize, SrtpError> {
        let sealed = self.srtp_session()?.protect_rtp(packet, len, header_len, roc)?;
        self.bytes_sent += sealed as u64;
        Ok(sealed)
    }

    /// Protects a compound RTCP packet in place and returns its new length; see [`SrtpSession::protect_rtcp`].
    ///
    /// # Errors
    /// Like [`protect_rtp`](Self::protect_rtp).
    pub fn protect_rtcp(&mut self, packet: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let sealed = self.srtp_session()?.protect_rtcp(packet, len)?;
        self.bytes_sent += sealed as u64;
        Ok(sealed)
    }

    /// Sends a message on the data channel `label`, opening it when there is none.
    ///
    /// # Errors
    /// [`DataError::NotSecured`] until the transport is secured; else the message exceeds a limit or the queue is full.
    pub fn send_data(
        &mut self,
        now: Instant,
        label: &str,
        data: &[u8],
        text: bool,
        out: &mut SendBuffer,
    ) -> Result<(), DataError> {
        if !self.is_secured() {
            return Err(DataError::NotSecured);
        }
        let session = self
            .data
            .get_or_insert_with(|| Box::new(DataSession::new(self.dtls.role())));
        let sent = session.send(now, label, data, text);
        self.flush(now, out);
        sent
    }

    /// Says goodbye (`close_notify`). Nothing is received, sent or reported afterwards.
    pub fn close(&mut self, now: Instant, out: &mut SendBuffer) {
        if self.closed {
            return;
        }
        self.dtls.close(now);
        self.flush(now, out);
        self.closed = true;
        self.events.clear();
    }

    /// Forgets a path that cannot be used any more (its TCP connection ended). Should it be the only one, the client has as
    /// long as its consent lasts to come back.
    pub fn drop_path(&mut self, now: Instant, path: Path) {
        if !self.closed {
            let events = &mut self.events;
            self.ice.drop_path(now, path, |event| events.push_back(event));
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let data = self.data.as_ref().and_then(|data| data.poll_timeout());
        [self.ice.poll_timeout(), self.dtls.poll_timeout(), self.dtls_due, data]
            .into_iter()
            .flatten()
            .min()
    }

    /// Acts on timers that are due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut SendBuffer) {
        if self.closed {
            return;
        }
        if let Some(reason) = self.ice.overdue(now) {
            return self.end(reason);
        }
        let events = &mut self.events;
        if !self.ice.expire_paths(now, |event| events.push_back(event)) {
            return self.end(CloseReason::ConsentExpired);
        }
        if self.dtls_due.is_some_and(|due| now >= due) {
            return self.end(CloseReason::DtlsFailed);
        }
        let mut happened = Vec::new();
        self.dtls.handle_timeout(now, |event| happened.push(event));
        self.note_dtls(now, happened);
        if let Some(data) = &mut self.data {
            let events = &mut self.events;
            data.handle_timeout(now, |event| events.push_back(event.into()));
        }
        self.flush(now, out);
    }

    /// The next event. To be drained after every other call.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// Bytes received on checked paths, all protocols.
    pub fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// Bytes sent, all protocols.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Whether it was an authentic check, and its path is ours.
    fn receive_stun(&mut self, now: Instant, path: Path, datagram: &[u8], out: &mut SendBuffer) -> bool {
        let events = &mut self.events;
        let Some(response) = self.ice.receive(now, path, datagram, |event| events.push_back(event)) else {
            return false;
        };
        self.bytes_received += datagram.len() as u64;
        self.bytes_sent += response.as_bytes().len() as u64;
        out.push(path, response.as_bytes());
        if !self.connected && self.ice.nominated().is_some() {
            self.connected = true;
            self.events.push_back(TransportEvent::Connected);
            self.begin_dtls(now);
            self.flush(now, out);
        }
        self.ice.owns(&path)
    }

    fn receive_dtls(&mut self, now: Instant, path: Path, datagram: &[u8], out: &mut SendBuffer) {
        self.bytes_received += datagram.len() as u64;
        if self.dtls_path.replace(path).is_none() {
            self.events.push_back(TransportEvent::HandshakeBegun);
        }
        let mut happened = Vec::new();
        self.dtls.receive(now, datagram, |event| happened.push(event));
        self.note_dtls(now, happened);
        self.flush(now, out);
    }

    fn receive_media<'d>(&mut self, datagram: &'d mut [u8], is_rtcp: bool) -> Received<'d> {
        let Some(session) = self.srtp.as_mut().filter(|_| self.secured) else {
            return Received::Nothing;
        };
        if is_rtcp {
            session
                .unprotect_rtcp(datagram)
                .map_or(Received::Nothing, |len| Received::Rtcp(&mut datagram[..len]))
        } else {
            session
                .unprotect_rtp(datagram)
                .map_or(Received::Nothing, |len| Received::Rtp(&mut datagram[..len]))
        }
    }

    fn srtp_session(&mut self) -> Result<&mut SrtpSession, SrtpError> {
        self.srtp
            .as_mut()
            .filter(|_| self.secured && !self.closed)
            .ok_or(SrtpError::NotSecured)
    }

    /// Starts the handshake's clock, and the handshake if that is up to us, once there is a path and the client's parameters.
    fn begin_dtls(&mut self, now: Instant) {
        let (Some(_), Some(expected)) = (self.ice.nominated(), &self.expected) else {
            return;
        };
        if self.secured || self.dtls_due.is_some() {
            return;
        }
        self.dtls_due = Some(now + self.config.dtls_timeout);
        if expected.role == DtlsRole::Client && !self.dtls.has_begun() {
            let configs = self.config.certificate.handshake_configs().clone();
            match Connection::client(now, configs) {
                Some(client) => self.dtls = client,
                None => self.end(CloseReason::DtlsFailed),
            }
        }
    }

    fn note_dtls(&mut self, now: Instant, happened: Vec<DtlsEvent>) {
        for event in happened {
            if self.closed {
                return;
            }
            match event {
                DtlsEvent::Complete => self.secure(),
                DtlsEvent::Data(packet) => self.receive_data(now, packet.freeze()),
                DtlsEvent::ClosedByPeer => self.end(CloseReason::RemoteClosed),
                DtlsEvent::Failed => self.end(CloseReason::DtlsFailed),
            }
        }
    }

    /// Checks the client's certificate, once the handshake is complete and what to expect was told, and takes the keys.
    fn secure(&mut self) {
        let Some(expected) = &self.expected else { return };
        if !self
            .dtls
            .peer_certificate()
            .is_some_and(|certificate| matches_any(certificate, &expected.fingerprints))
        {
            return self.end(CloseReason::FingerprintMismatch);
        }
        // Without a profile there are data channels alone.
        if let Some((profile, material)) = self.dtls.srtp_keys() {
            let local_is_client = self.dtls.role() == DtlsRole::Client;
            match SrtpSession::new(profile, material.as_ref(), local_is_client) {
                Ok(session) => self.srtp = Some(session),
                Err(_) => return self.end(CloseReason::DtlsFailed),
            }
        }
        self.secured = true;
        self.dtls_due = None;
        self.events.push_back(TransportEvent::Secured);
    }

    /// Before the fingerprint was checked nothing is taken; SCTP repeats it.
    fn receive_data(&mut self, now: Instant, packet: Bytes) {
        if !self.secured {
            return;
        }
        let events = &mut self.events;
        let session = self
            .data
            .get_or_insert_with(|| Box::new(DataSession::new(self.dtls.role())));
        session.receive(now, packet, |event| events.push_back(event.into()));
    }

    /// Hands on what DTLS and SCTP have to send.
    fn flush(&mut self, now: Instant, out: &mut SendBuffer) {
        if let Some(data) = &mut self.data {
            while let Some(packet) = data.poll_transmit() {
                // Only a closed association refuses, and then the packet is of no use.
                self.dtls.write(now, &packet);
            }
        }
        let path = self.ice.nominated().or(self.dtls_path);
        while let Some(datagram) = self.dtls.poll_transmit() {
            if let Some(path) = path {
                self.bytes_sent += datagram.len() as u64;
                out.push(path, &datagram);
            }
        }
    }

    fn end(&mut self, reason: CloseReason) {
        self.closed = true;
        self.events.push_back(TransportEvent::Closed(reason));
    }
}

impl From<DataEvent> for TransportEvent {
    fn from(DataEvent { label, data, text }: DataEvent) -> Self {
        Self::Data { label, data, text }
    }
}

/// Transports are made on one thread and may be driven by another.
const _: () = {
    const fn assert_send<T: Send>() {}
    assert_send::<Transport>();
};
