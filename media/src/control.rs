//! What the engine is told to do and what it reports. Both are plain values: a worker thread carries them between
//! an `Sfu` actor and the [`crate::engine::Engine`] it drives. Per-packet data is in neither.

use std::time::Instant;

use bytes::Bytes;

use crate::bandwidth::Estimate;
use crate::layers::{Content, Layer, LayerRate, Preference};
use crate::parameters::{
    ConsumerId, ConsumerParameters, DtlsParameters, IceCredentials, PayloadType, ProducerId, ProducerParameters,
    RouterId, Ssrc, TapId, TransportId,
};
use crate::pipe::Neighbour;
use crate::quality::{Cause, Grade};

/// An order to the engine. Ids are chosen by whoever gives it. An order that names an unknown id is counted and ignored:
/// what it named may just have closed.
#[derive(Debug)]
pub enum Command {
    /// Makes a room's router.
    OpenRouter {
        /// The new router.
        router: RouterId,
    },
    /// Closes a router with its transports, producers, consumers and taps.
    CloseRouter {
        /// The router to close.
        router: RouterId,
    },
    /// Makes a transport, which waits for the client's ICE checks.
    OpenTransport {
        /// Its router.
        router: RouterId,
        /// The new transport.
        transport: TransportId,
        /// Our ICE credentials, as signaled to the client.
        local: IceCredentials,
    },
    /// Tells what the client signaled; may come again with new `remote` credentials (ICE restart).
    ConnectTransport {
        /// The transport.
        transport: TransportId,
        /// New credentials of ours after an ICE restart; `None` keeps those in use.
        local: Option<IceCredentials>,
        /// The client's ICE credentials, when signaled.
        remote: Option<IceCredentials>,
        /// The client's DTLS parameters. Ignored once the handshake has begun.
        dtls: DtlsParameters,
    },
    /// Closes a transport with what runs over it.
    CloseTransport {
        /// The transport.
        transport: TransportId,
    },
    /// Expects a track from the client.
    Produce {
        /// The transport it comes over.
        transport: TransportId,
        /// The new producer.
        producer: ProducerId,
        /// What will come.
        parameters: ProducerParameters,
    },
    /// Replaces a producer's parameters after a renegotiation of the same m-line.
    UpdateProducer {
        /// The producer.
        producer: ProducerId,
        /// What will come from now on.
        parameters: ProducerParameters,
    },
    /// Stops forwarding a producer's packets, or resumes (mute, hold). Resuming video asks for a key frame.
    PauseProducer {
        /// The producer.
        producer: ProducerId,
        /// Whether nothing is forwarded.
        paused: bool,
    },
    /// Ends a producer and its consumers and taps.
    CloseProducer {
        /// The producer.
        producer: ProducerId,
    },
    /// Lets a producer's packets go to another engine too, where a piped producer stands for it.
    Pipe {
        /// The producer, of this engine.
        producer: ProducerId,
        /// The other engine.
        to: Neighbour,
    },
    /// Ends what [`Command::Pipe`] began.
    Unpipe {
        /// The producer.
        producer: ProducerId,
        /// The other engine.
        to: Neighbour,
    },
    /// Makes a piped producer, which stands for one of another engine. It is told of pauses, renegotiations, content and its end
    /// by the same orders as that one.
    ProducePiped {
        /// The router of those who receive it here.
        router: RouterId,
        /// The producer's id in its home, and here.
        producer: ProducerId,
        /// The engine that is its home.
        home: Neighbour,
        /// The transport it comes over there.
        publisher: TransportId,
        /// As in its home.
        parameters: ProducerParameters,
    },
    /// Sends a producer's track to a client. Starts paused when `paused`; starting video asks for a key frame.
    Consume {
        /// The transport it goes over.
        transport: TransportId,
        /// Where it comes from; of the same router.
        producer: ProducerId,
        /// The new consumer.
        consumer: ConsumerId,
        /// How it goes.
        parameters: ConsumerParameters,
        /// Whether it waits for [`Command::PauseConsumer`].
        paused: bool,
    },
    /// Pauses or resumes one consumer.
    PauseConsumer {
        /// The consumer.
        consumer: ConsumerId,
        /// Whether nothing is sent.
        paused: bool,
    },
    /// How good a receiver of video wants it. Before the first, as good as there is.
    PreferLayers {
        /// The consumer.
        consumer: ConsumerId,
        /// How good.
        preference: Preference,
    },
    /// What the publisher said of a track.
    DescribeProducer {
        /// The producer.
        producer: ProducerId,
        /// What it shows.
        content: Content,
    },
    /// Lets only so many producers of sound be heard in a router at a time: the loudest. Taps get all.
    LimitVoices {
        /// The router.
        router: RouterId,
        /// How many, at least one; all when `None`.
        loudest: Option<usize>,
    },
    /// Ends a consumer.
    CloseConsumer {
        /// The consumer.
        consumer: ConsumerId,
    },
    /// Asks the publisher of a video producer for a key frame (throttled).
    RequestKeyFrame {
        /// The producer.
        producer: ProducerId,
    },
    /// Copies a producer's packets to an observer. Starting on video asks for a key frame.
    Tap {
        /// The producer to observe.
        producer: ProducerId,
        /// The new tap.
        tap: TapId,
        /// Where packets go.
        sink: Box<dyn TapSink>,
    },
    /// Ends a tap; its sink is dropped.
    Untap {
        /// The tap.
        tap: TapId,
    },
    /// Sends a message on a data channel of this transport, opening it when there is none of that label.
    SendData {
        /// The transport.
        transport: TransportId,
        /// The channel's label.
        label: String,
        /// The message.
        data: Bytes,
        /// Text (WebRTC String) or binary (RFC 8831 §6.6).
        text: bool,
    },
    /// Asks for [`Event::Stats`] of a router.
    Stats {
        /// The router.
        router: RouterId,
        /// Echoed in the answer.
        request: u64,
    },
}

/// What happened, for the `Sfu` actor of `router`.
#[derive(Debug, Clone)]
pub struct Event {
    /// The router it happened in.
    pub router: RouterId,
    /// What happened.
    pub kind: EventKind,
}

/// Kinds of [`Event`].
#[derive(Debug, Clone)]
pub enum EventKind {
    /// The first authentic ICE check of the client came, by this protocol: told once of each.
    TransportChecked {
        /// The transport.
        transport: TransportId,
        /// Over TCP; else UDP.
        tcp: bool,
    },
    /// ICE has a nominated path.
    TransportConnected {
        /// The transport.
        transport: TransportId,
    },
    /// The first DTLS datagram of the client came.
    HandshakeBegun {
        /// The transport.
        transport: TransportId,
    },
    /// DTLS is up and media may flow.
    TransportSecured {
        /// The transport.
        transport: TransportId,
    },
    /// The transport is gone, with its producers and consumers.
    TransportClosed {
        /// The transport.
        transport: TransportId,
        /// Why.
        reason: CloseReason,
    },
    /// The first packet of a producer came.
    ProducerStarted {
        /// The producer.
        producer: ProducerId,
    },
    /// The first key frame of a producer of video came.
    ProducerKeyFrame {
        /// The producer.
        producer: ProducerId,
    },
    /// Whether what comes of a producer is of use; sent on change, looked at about every second. One that is paused is not judged.
    ProducerFlow {
        /// The producer.
        producer: ProducerId,
        /// How it is now.
        flow: Flow,
    },
    /// The first packet went to a consumer; of video it is that of a key frame. Told once a consumer.
    ConsumerStarted {
        /// The consumer.
        consumer: ConsumerId,
    },
    /// The encodings of a video producer that somebody wants; those above need not be sent. Told on change, only of producers
    /// with several encodings.
    EncodingsWanted {
        /// The producer.
        producer: ProducerId,
        /// The highest encoding to send, by its place in the producer's parameters.
        highest: u8,
    },
    /// The producers that speak, loudest first; sent on change only.
    ActiveSpeakers {
        /// Loudest first; empty when nobody speaks.
        producers: Vec<ProducerId>,
    },
    /// A data channel message from a client.
    Data {
        /// The transport it came over.
        transport: TransportId,
        /// The channel's label.
        label: String,
        /// The message.
        data: Bytes,
        /// Text or binary.
        text: bool,
    },
    /// How well a transport does; sent on change, first after about two seconds of media.
    Quality {
        /// The transport.
        transport: TransportId,
        /// The word for it.
        grade: Grade,
        /// What is wrong, unless nothing is.
        cause: Option<Cause>,
    },
    /// Answer to [`Command::Stats`].
    Stats {
        /// The request's number.
        request: u64,
        /// One entry a transport.
        transports: Vec<TransportStats>,
    },
}

/// Whether what comes of a producer is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// As far as is known.
    #[default]
    Fine,
    /// No packet came for two to three seconds.
    Silent,
    /// Packets come, but no key frame for those who wait for one, though it was asked for three times.
    NoKeyFrame,
}

/// Why a transport closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// We were told to.
    Requested,
    /// The client sent `close_notify`.
    RemoteClosed,
    /// No ICE check came within the time limit.
    IceTimeout,
    /// Consent expired: no check for 30 s (RFC 7675).
    ConsentExpired,
    /// The DTLS handshake failed or timed out.
    DtlsFailed,
    /// The certificate is not the one signaled.
    FingerprintMismatch,
    /// Handling this transport's input failed on our side; only it is closed.
    Internal,
}

/// Counters of a transport since it opened.
#[derive(Debug, Clone)]
pub struct TransportStats {
    /// The transport.
    pub transport: TransportId,
    /// Round-trip time in milliseconds, once measured.
    pub rtt_ms: Option<f64>,
    /// Bytes received, all protocols.
    pub bytes_received: u64,
    /// Bytes sent, all protocols.
    pub bytes_sent: u64,
    /// How well it does, by the E-model: up to 93.2; 80 is excellent, 60 is good. `None` before there was media.
    pub score: Option<f64>,
    /// What the path to the client carries, once the client told of it.
    pub downlink: Option<DownlinkStats>,
    /// Incoming tracks.
    pub producers: Vec<ProducerStats>,
    /// Outgoing tracks.
    pub consumers: Vec<ConsumerStats>,
}

/// The path to a client, by the client's feedback. Rates are in bits a second, of the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DownlinkStats {
    /// What it is estimated to carry, and what bounds that.
    pub estimate: Estimate,
    /// What the tracks are given of it.
    pub given: f64,
    /// What they would be given if it carried anything; 0 while they are given that.
    pub desired: f64,
    /// Probes sent since the transport began.
    pub probes: u64,
    /// Bytes sent to fill probes.
    pub padding_bytes: u64,
}

/// Counters of an incoming track.
#[derive(Debug, Clone)]
pub struct ProducerStats {
    /// The producer.
    pub producer: ProducerId,
    /// Packets received, duplicates and retransmissions left out.
    pub packets_received: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Packets lost for good (RFC 3550 §6.4.1), those that were recovered among them.
    pub packets_lost: i64,
    /// Lost packets of sound that a later packet had as redundant sound (RFC 2198).
    pub packets_recovered: u64,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
    /// NACKed packets.
    pub nacks_sent: u64,
    /// Key frame requests sent.
    pub plis_sent: u64,
    /// The layers of video, lowest first; empty for sound.
    pub layers: Vec<LayerRate>,
}

/// Counters of an outgoing track.
#[derive(Debug, Clone)]
pub struct ConsumerStats {
    /// The consumer.
    pub consumer: ConsumerId,
    /// Packets sent, retransmissions left out.
    pub packets_sent: u64,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Fraction lost in the last receiver report, 0–1.
    pub fraction_lost: f64,
    /// Packets lost since the track began, by the receiver's count (RFC 3550 §6.4.1).
    pub packets_lost: i64,
    /// Interarrival jitter at the receiver, in milliseconds.
    pub jitter_ms: f64,
    /// Packets retransmitted.
    pub retransmitted: u64,
    /// Key frame requests received.
    pub plis_received: u64,
    /// The layer of video that is sent now; `None` while nothing is.
    pub layer: Option<Layer>,
    /// The highest layer by what the receiver asked for. Of sound it means nothing.
    pub ceiling: Layer,
    /// The highest layer by bandwidth; `None` while there is no room for any.
    pub target: Option<Layer>,
}

/// Where a tap's packets go: a bounded queue outside of the engine.
pub trait TapSink: Send + std::fmt::Debug {
    /// Hands over an item without blocking. `false` says that the queue is full and the item was dropped; the sink counts it.
    fn push(&mut self, item: TapItem) -> bool;
}

/// What a tap observes, in order of arrival (not of sequence).
#[derive(Debug, Clone)]
pub enum TapItem {
    /// A media packet, retransmissions already restored to their original.
    Packet(TapPacket),
    /// A sender report: relates the producer's RTP clock to its wall clock (RFC 3550 §6.4.1).
    SenderReport {
        /// Wall clock of the sender, NTP format: 32.32 fixed point seconds since 1900.
        ntp: u64,
        /// The same moment on the RTP clock.
        rtp: u32,
        /// When it came.
        received: Instant,
    },
    /// Forwarding was paused or resumed.
    Paused(bool),
}

/// One media packet as a recorder sees it.
#[derive(Debug, Clone)]
pub struct TapPacket {
    /// When it came.
    pub received: Instant,
    /// The stream; changes when the publisher starts anew.
    pub ssrc: Ssrc,
    /// Its payload type, which names the codec in the producer's parameters.
    pub payload_type: PayloadType,
    /// Sequence number, as sent.
    pub sequence: u16,
    /// RTP timestamp, as sent.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// Without header, extensions and padding.
    pub payload: Bytes,
}
