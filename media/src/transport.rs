//! One ICE and DTLS association with a client: what comes in is authenticated and decrypted, what goes out is sealed.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::certificate::Certificate;
use crate::control::CloseReason;
use crate::data::DataError;
use crate::parameters::{DtlsParameters, IceCredentials, Path};
use crate::send_buffer::SendBuffer;
pub use crate::srtp::{SRTCP_OVERHEAD, SRTP_OVERHEAD, SrtpError};

/// What all transports of a node have in common.
pub struct TransportConfig {
    /// Shown in every handshake.
    pub certificate: Certificate,
}

impl TransportConfig {
    /// The defaults with this certificate.
    pub fn new(certificate: Certificate) -> Self {
        Self { certificate }
    }
}

/// One client's association.
pub struct Transport {
    _config: Arc<TransportConfig>,
}

/// What a datagram held for the engine.
#[derive(Debug)]
pub enum Received<'d> {
    /// Nothing: handled here, or dropped.
    Nothing,
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
    /// DTLS is up and the peer's certificate is the one signaled: media may flow.
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
    /// The transport is closed; nothing comes after it.
    Closed(CloseReason),
}

#[expect(unused_variables, reason = "signatures first")]
impl Transport {
    /// A transport that waits for checks under the `local` credentials.
    pub fn new(now: Instant, config: Arc<TransportConfig>, local: IceCredentials) -> Self {
        Self { _config: config }
    }

    /// Tells what the client signaled. May come again (ICE restart): the credentials before stay valid until the new ones are used.
    pub fn connect(
        &mut self,
        now: Instant,
        local: Option<IceCredentials>,
        remote: Option<IceCredentials>,
        dtls: DtlsParameters,
        out: &mut SendBuffer,
    ) {
    }

    /// Takes a datagram that came on `path`. RTP and RTCP are decrypted in place.
    pub fn receive<'d>(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &'d mut [u8],
        out: &mut SendBuffer,
    ) -> Received<'d> {
        Received::Nothing
    }

    /// The nominated path.
    pub fn path(&self) -> Option<Path> {
        None
    }

    /// Whether media may flow.
    pub fn is_secured(&self) -> bool {
        false
    }

    /// Whether a STUN check of this transport validated `path`.
    pub fn owns_path(&self, path: &Path) -> bool {
        false
    }

    /// Protects an RTP packet in place and returns its new length.
    ///
    /// `packet[..len]` is a whole plain packet whose header (CSRCs and extensions included) has `header_len` bytes; `packet` has
    /// room for [`SRTP_OVERHEAD`] more. `roc` is bits 16… of the extended sequence number, which the caller keeps.
    ///
    /// # Errors
    /// See [`SrtpError`].
    pub fn protect_rtp(
        &mut self,
        packet: &mut [u8],
        len: usize,
        header_len: usize,
        roc: u32,
    ) -> Result<usize, SrtpError> {
        Err(SrtpError::NotSecured)
    }

    /// Protects a compound RTCP packet in place and returns its new length. `packet` has room for [`SRTCP_OVERHEAD`] more.
    ///
    /// # Errors
    /// See [`SrtpError`].
    pub fn protect_rtcp(&mut self, packet: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        Err(SrtpError::NotSecured)
    }

    /// Sends a message on the data channel `label`, opening it when there is none.
    ///
    /// # Errors
    /// See [`DataError`].
    pub fn send_data(
        &mut self,
        now: Instant,
        label: &str,
        data: &[u8],
        text: bool,
        out: &mut SendBuffer,
    ) -> Result<(), DataError> {
        Err(DataError::NotSecured)
    }

    /// Says goodbye (`close_notify`). Nothing is received or sent afterwards.
    pub fn close(&mut self, now: Instant, out: &mut SendBuffer) {}

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Acts on timers that are due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut SendBuffer) {}

    /// The next event.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        None
    }

    /// Bytes received, all protocols.
    pub fn bytes_received(&self) -> u64 {
        0
    }

    /// Bytes sent, all protocols.
    pub fn bytes_sent(&self) -> u64 {
        0
    }
}
