//! The SCTP association of a transport and its channels. Made when the client begins one, or we send.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier, ServerConfig, StreamEvent, TimerConfig, TransportConfig,
};
use rtc_shared::TransportProtocol;

use super::channel::{Channel, Dcep, Open, ack_message, decode, encode, open_message, read_dcep};
use super::guard::{Guard, Known, Verdict};
use super::{DataError, MAX_CHANNELS, MAX_LABEL, MAX_MESSAGE, MAX_QUEUED, MAX_QUEUED_MESSAGES, MAX_RECEIVING};
use crate::parameters::DtlsRole;

/// What rtc-sctp takes for the client's address (of TEST-NET-1: it is never sent to).
const PLACEHOLDER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000);

/// Streams to agree on at most; a client that numbers its channels itself has to stay below.
const MAX_STREAM_ID: u16 = 1024;

/// Browsers begin the association when DTLS is up. As DTLS server we wait for that so long before we do.
const CONNECT_DELAY: Duration = Duration::from_secs(1);

/// A message from the client.
#[derive(Debug)]
pub(crate) struct DataEvent {
    pub(crate) label: String,
    pub(crate) data: Bytes,
    pub(crate) text: bool,
}

/// A transport's data channels.
pub(crate) struct DataSession {
    /// Our DTLS role, which decides over stream identifiers (RFC 8832 §6).
    role: DtlsRole,
    guard: Guard,
    connection: Option<Connection>,
    channels: Vec<Channel>,
    /// What was sent before the association was up.
    waiting: VecDeque<Waiting>,
    connect_at: Option<Instant>,
    outgoing: VecDeque<Bytes>,
}

struct Connection {
    endpoint: Endpoint,
    handle: AssociationHandle,
    association: Association,
    established: bool,
    /// The client's INIT and our answer, to repeat it: rtc-sctp takes a repeated INIT for another association's.
    begun: Option<(Bytes, Vec<Bytes>)>,
}

struct Waiting {
    label: String,
    data: Bytes,
    text: bool,
}

impl DataSession {
    pub(crate) fn new(role: DtlsRole) -> Self {
        Self {
            role,
            guard: Guard::new(),
            connection: None,
            channels: Vec::new(),
            waiting: VecDeque::new(),
            connect_at: None,
            outgoing: VecDeque::new(),
        }
    }

    /// Takes an SCTP packet of the client.
    pub(crate) fn receive(&mut self, now: Instant, packet: Bytes, mut emit: impl FnMut(DataEvent)) {
        let streams = self
            .connection
            .as_ref()
            .map(|c| c.association.stream_ids())
            .unwrap_or_default();
        let established = self.connection.as_ref().is_some_and(|c| c.established);
        match self.guard.judge(
            now,
            &packet,
            &Known {
                established,
                streams: &streams,
            },
        ) {
            Verdict::Refused => {}
            Verdict::Begins => self.begin(now, packet, &mut emit),
            Verdict::Passed => {
                let Some(connection) = &mut self.connection else { return };
                if let Some((handle, DatagramEvent::AssociationEvent(event))) =
                    connection.endpoint.handle(now, PLACEHOLDER, None, packet)
                    && handle == connection.handle
                {
                    connection.association.handle_event(event);
                }
                self.drive(now, &mut emit);
            }
        }
    }

    /// Sends a message, opening a channel when none has the label.
    pub(crate) fn send(&mut self, now: Instant, label: &str, data: &[u8], text: bool) -> Result<(), DataError> {
        if data.len() > MAX_MESSAGE {
            return Err(DataError::MessageTooLarge);
        }
        if label.len() > MAX_LABEL {
            return Err(DataError::LabelTooLong);
        }
        let (messages, bytes) = self.queued();
        if messages >= MAX_QUEUED_MESSAGES || bytes + data.len() > MAX_QUEUED {
            return Err(DataError::QueueFull);
        }
        let data = Bytes::copy_from_slice(data);
        if self.connection.as_ref().is_some_and(|c| c.established) {
            self.write(now, label, data, text)?;
            self.transmit(now);
            return Ok(());
        }
        self.waiting.push_back(Waiting {
            label: label.to_owned(),
            data,
            text,
        });
        if self.connection.is_none() && self.connect_at.is_none() {
            match self.role {
                DtlsRole::Client => self.connect(now),
                DtlsRole::Server => self.connect_at = Some(now + CONNECT_DELAY),
            }
        }
        Ok(())
    }

    /// The next packet to send over DTLS.
    pub(crate) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.outgoing.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let association = self.connection.as_ref().and_then(|c| c.association.poll_timeout());
        [association, self.connect_at].into_iter().flatten().min()
    }

    /// Acts on timers that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, mut emit: impl FnMut(DataEvent)) {
        if self.connect_at.is_some_and(|at| now >= at) {
            self.connect_at = None;
            if self.connection.is_none() {
                self.connect(now);
            }
        }
        if let Some(connection) = &mut self.connection {
            connection.association.handle_timeout(now);
            self.drive(now, &mut emit);
        }
    }

    /// Channels that are open.
    pub(crate) fn channels(&self) -> usize {
        self.channels.len()
    }

    fn begin(&mut self, now: Instant, init: Bytes, emit: &mut impl FnMut(DataEvent)) {
        if let Some((same, answer)) = self.connection.as_ref().and_then(|c| c.begun.as_ref())
            && *same == init
        {
            self.outgoing.extend(answer.iter().cloned());
            return;
        }
        // Should we have begun one ourselves at the same time, the client's takes its place.
        self.connection = None;
        self.connect_at = None;
        let server = Arc::new(ServerConfig::new(transport_config()));
        let mut endpoint = new_endpoint(Some(server));
        let Some((handle, DatagramEvent::NewAssociation(association))) =
            endpoint.handle(now, PLACEHOLDER, None, init.clone())
        else {
            return;
        };
        self.connection = Some(Connection {
            endpoint,
            handle,
            association,
            established: false,
            begun: None,
        });
        let sent_before = self.outgoing.len();
        self.drive(now, emit);
        if let Some(connection) = &mut self.connection {
            connection.begun = Some((init, self.outgoing.iter().skip(sent_before).cloned().collect()));
        }
    }

    fn connect(&mut self, now: Instant) {
        let mut endpoint = new_endpoint(None);
        let Ok((handle, association)) = endpoint.connect(now, ClientConfig::new(transport_config()), PLACEHOLDER)
        else {
            return;
        };
        self.connection = Some(Connection {
            endpoint,
            handle,
            association,
            established: false,
            begun: None,
        });
        self.transmit(now);
    }

    fn queued(&self) -> (usize, usize) {
        let waiting = self
            .waiting
            .iter()
            .fold((0, 0), |(n, bytes), waiting| (n + 1, bytes + waiting.data.len()));
        self.channels
            .iter()
            .map(Channel::queued)
            .fold(waiting, |(n, bytes), (m, more)| (n + m, bytes + more))
    }

    /// Acts on what the association reports, then sends what it has to send.
    fn drive(&mut self, now: Instant, emit: &mut impl FnMut(DataEvent)) {
        while let Some(event) = self.connection.as_mut().and_then(|c| c.association.poll()) {
            match event {
                Event::Connected => self.flush_waiting(now),
                Event::HandshakeFailed { .. } => self.lose(),
                Event::AssociationLost { id, .. } => self.channels.retain(|channel| channel.stream != id),
                Event::Stream(StreamEvent::Opened { .. }) => {
                    if let Some(connection) = &mut self.connection {
                        // Only its queue is to be emptied: streams are found by their identifiers.
                        let _stream = connection.association.accept_stream();
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.read(now, id, emit),
                Event::Stream(StreamEvent::BufferedAmountReleased { id, n_bytes }) => {
                    if let Some(channel) = self.channels.iter_mut().find(|channel| channel.stream == id) {
                        channel.note_released(n_bytes);
                    }
                }
                _ => {}
            }
        }
        self.transmit(now);
        if self
            .connection
            .as_ref()
            .is_some_and(|c| c.established && c.association.is_closed())
        {
            self.lose();
        }
    }

    fn transmit(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else { return };
        while let Some(transmit) = connection.association.poll_transmit(now) {
            if let Payload::RawEncode(packets) = transmit.message {
                self.outgoing.extend(packets);
            }
        }
    }

    /// Forgets the association: what was queued is lost. The next message, or the client, begins another.
    fn lose(&mut self) {
        self.connection = None;
        self.channels.clear();
        self.waiting.clear();
        self.guard = Guard::new();
    }

    fn flush_waiting(&mut self, now: Instant) {
        if let Some(connection) = &mut self.connection {
            connection.established = true;
            connection.begun = None;
        }
        for Waiting { label, data, text } in std::mem::take(&mut self.waiting) {
            if let Err(error) = self.write(now, &label, data, text) {
                tracing::debug!(%error, "a data channel message was dropped");
            }
        }
    }

    fn write(&mut self, now: Instant, label: &str, data: Bytes, text: bool) -> Result<(), DataError> {
        let at = match self.channels.iter().position(|channel| channel.label == label) {
            Some(at) => at,
            None => self.open(now, label)?,
        };
        let (ppid, data) = encode(data, text);
        let association = &mut self.connection.as_mut().ok_or(DataError::Closed)?.association;
        let channel = &mut self.channels[at];
        let mut stream = association.stream(channel.stream).map_err(|_| DataError::Closed)?;
        stream
            .write_chunk_with_ppi(now, &data, ppid)
            .map_err(|_| DataError::Closed)?;
        channel.note_sent(data.len());
        Ok(())
    }

    /// Opens a channel and returns its place. Messages may follow at once (RFC 8832 §6).
    fn open(&mut self, now: Instant, label: &str) -> Result<usize, DataError> {
        if self.channels.len() >= MAX_CHANNELS {
            return Err(DataError::TooManyChannels);
        }
        let association = &mut self.connection.as_mut().ok_or(DataError::Closed)?.association;
        let taken = association.stream_ids();
        let end = association.negotiated_max_streams().unwrap_or_default();
        let first = match self.role {
            DtlsRole::Client => 0,
            DtlsRole::Server => 1,
        };
        let id = (first..end)
            .step_by(2)
            .find(|id| !taken.contains(id))
            .ok_or(DataError::TooManyChannels)?;
        let open = open_message(label).ok_or(DataError::LabelTooLong)?;
        let mut stream = association
            .open_stream(id, PayloadProtocolIdentifier::Binary)
            .map_err(|_| DataError::Closed)?;
        stream
            .write_chunk_with_ppi(now, &open, PayloadProtocolIdentifier::Dcep)
            .map_err(|_| DataError::Closed)?;
        let mut channel = Channel::new(id, label.to_owned());
        channel.note_sent(open.len());
        self.channels.push(channel);
        Ok(self.channels.len() - 1)
    }

    /// Reads all whole messages of a stream.
    fn read(&mut self, now: Instant, id: u16, emit: &mut impl FnMut(DataEvent)) {
        loop {
            let Some(connection) = &mut self.connection else { return };
            let Ok(mut stream) = connection.association.stream(id) else {
                return;
            };
            let Ok(Some(chunks)) = stream.read_sctp() else { return };
            let handled = match chunks.to_payload(MAX_MESSAGE) {
                Ok(data) => self.take_message(now, id, chunks.ppi, data.freeze(), emit),
                Err(_) => None,
            };
            if handled.is_none() {
                self.reset(now, id);
                return;
            }
        }
    }

    /// `None` when the stream is to be reset.
    fn take_message(
        &mut self,
        now: Instant,
        id: u16,
        ppid: PayloadProtocolIdentifier,
        data: Bytes,
        emit: &mut impl FnMut(DataEvent),
    ) -> Option<()> {
        let channel = self.channels.iter().find(|channel| channel.stream == id);
        match (channel, ppid) {
            (None, PayloadProtocolIdentifier::Dcep) => match read_dcep(&data)? {
                Dcep::Open(open) => self.accept(now, id, open),
                Dcep::Acknowledged => None,
            },
            (None, _) => None,
            (Some(_), PayloadProtocolIdentifier::Dcep) => read_dcep(&data).map(|_| ()),
            (Some(channel), ppid) => {
                if let Some((data, text)) = decode(ppid, data) {
                    emit(DataEvent {
                        label: channel.label.clone(),
                        data,
                        text,
                    });
                }
                Some(())
            }
        }
    }

    fn accept(&mut self, now: Instant, id: u16, open: Open) -> Option<()> {
        if self.channels.len() >= MAX_CHANNELS {
            return None;
        }
        let mut stream = self.connection.as_mut()?.association.stream(id).ok()?;
        stream
            .set_reliability_params(open.unordered, open.reliability, open.reliability_value)
            .ok()?;
        let ack = ack_message()?;
        stream
            .write_chunk_with_ppi(now, &ack, PayloadProtocolIdentifier::Dcep)
            .ok()?;
        let mut channel = Channel::new(id, open.label);
        channel.note_sent(ack.len());
        self.channels.push(channel);
        Some(())
    }

    fn reset(&mut self, now: Instant, id: u16) {
        self.channels.retain(|channel| channel.stream != id);
        if let Some(connection) = &mut self.connection
            && let Ok(mut stream) = connection.association.stream(id)
            && let Err(error) = stream.close(now)
        {
            tracing::debug!(%error, "a data channel could not be reset");
        }
    }
}

fn new_endpoint(server: Option<Arc<ServerConfig>>) -> Endpoint {
    Endpoint::new(
        PLACEHOLDER,
        TransportProtocol::UDP,
        Arc::new(EndpointConfig::new()),
        server,
    )
}

fn transport_config() -> TransportConfig {
    // rtc-sctp stops retransmitting for good after five timeouts in a row. Whether the client is there is ICE's to say.
    let timers = TimerConfig {
        max_t3_rtx_retrans: usize::MAX,
        max_reconfig_retrans: usize::MAX,
        ..TimerConfig::default()
    };
    TransportConfig::default()
        .with_max_message_size(MAX_MESSAGE as u32)
        .with_max_receive_buffer_size(MAX_RECEIVING as u32)
        .with_max_num_outbound_streams(MAX_STREAM_ID)
        .with_max_num_inbound_streams(MAX_STREAM_ID)
        .with_timer_config(timers)
}
