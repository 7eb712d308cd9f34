//! A track that comes in: its streams, the packets kept of them, and what we tell its publisher.
//!
//! Absent on purpose: where the packets go. That is [`crate::consumer`].

pub(crate) mod flow;
pub(crate) mod kept;
pub(crate) mod key_frame;
pub(crate) mod nack;
pub(crate) mod overrun;
pub(crate) mod receiver_report;
pub(crate) mod ring;
pub(crate) mod stream;
pub(crate) mod twcc;
pub(crate) mod wishes;

use std::time::Instant;

use crate::consumer::Consumer;
use crate::consumer::sender_report::ClockOffset;
use crate::control::{ProducerStats, TapItem, TapSink};
use crate::engine::slab::Key;
use crate::engine::speakers::LevelMeter;
use crate::engine::{Association, Router};
use crate::layers::{Content, Dynacast, Layer, LayerMeter, LayerRate};
use crate::parameters::{
    Codec, CodecKind, ExtensionIds, Feedback, MediaKind, PayloadType, ProducerId, ProducerParameters, TapId,
    TransportId,
};
use crate::pipe::Neighbour;
use crate::producer::flow::FlowMeter;
use crate::producer::ring::PacketInfo;
use crate::producer::stream::Stream;
use crate::producer::wishes::Wish;

/// One codec of a producer: what the per-packet path needs of [`Codec`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProducerCodec {
    pub(crate) kind: CodecKind,
    pub(crate) payload_type: PayloadType,
    pub(crate) clock_rate: u32,
    pub(crate) feedback: Feedback,
}

/// A packet that came in this round: its stream, and its extended sequence number there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fresh {
    pub(crate) encoding: usize,
    pub(crate) extended: u64,
}

/// One track that comes in.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) id: ProducerId,
    pub(crate) router: Key<Router>,
    pub(crate) origin: Origin,
    /// The transport that its publisher sends it over; of a piped one, in another engine.
    pub(crate) publisher: TransportId,
    pub(crate) kind: MediaKind,
    pub(crate) mid: String,
    pub(crate) extensions: ExtensionIds,
    pub(crate) codecs: Vec<ProducerCodec>,
    payload_types: PayloadTypes,
    /// Renegotiations so far.
    updates: u32,
    /// Lowest layer first.
    pub(crate) streams: Vec<Stream>,
    pub(crate) consumers: Vec<Key<Consumer>>,
    /// Engines in which a piped producer stands for it.
    pub(crate) pipes: Vec<Pipe>,
    pub(crate) taps: Vec<Tap>,
    pub(crate) paused: bool,
    pub(crate) started: bool,
    /// Whether a key frame came, of video.
    pub(crate) has_begun: bool,
    pub(crate) flow: FlowMeter,
    /// What came since the last flush.
    pub(crate) round: Vec<Fresh>,
    /// How loud it is, of sound.
    pub(crate) level: LevelMeter,
    /// Whether it goes out, of sound: not where only the loudest do, and it is none of them.
    pub(crate) audible: bool,
    /// What its layers bring in, of video.
    pub(crate) layers: LayerMeter,
    /// When they are settled next, while packets come.
    pub(crate) planned_layers: Option<Instant>,
    /// Whether a layer came that did not come before.
    pub(crate) layers_changed: bool,
    pub(crate) dynacast: Dynacast,
    /// The stream that taps observe.
    pub(crate) tapped: usize,
    pub(crate) content: Content,
    pub(crate) stats: ProducerCounters,
}

/// Where a producer's packets come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin {
    /// Its publisher, over this transport.
    Transport(Key<Association>),
    /// Its home, over a pipe.
    Pipe {
        home: Neighbour,
        /// The publisher's wall clock against ours, as the home knows it.
        clock_offset: Option<ClockOffset>,
        /// Whether it is in the engine's list of those with wishes to pass on.
        queued: bool,
    },
}

/// A way to another engine.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) to: Neighbour,
    /// Streams of which it dropped packets; bit n stands for encoding n.
    pub(crate) lost: u32,
}

/// An observer.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) id: TapId,
    pub(crate) sink: Box<dyn TapSink>,
}

/// Counters since the producer began.
#[derive(Debug, Default)]
pub(crate) struct ProducerCounters {
    pub(crate) packets: u64,
    pub(crate) payload_bytes: u64,
    /// Packets that a later one had as redundant sound.
    pub(crate) recovered: u64,
    pub(crate) nacks: u64,
    pub(crate) key_frame_requests: u64,
}

impl Producer {
    pub(crate) fn new(
        id: ProducerId,
        router: Key<Router>,
        origin: Origin,
        publisher: TransportId,
        parameters: &ProducerParameters,
    ) -> Self {
        let capacity = ring::capacity(parameters.kind);
        Self {
            id,
            router,
            origin,
            publisher,
            kind: parameters.kind,
            mid: parameters.mid.clone(),
            extensions: parameters.extensions,
            codecs: codecs(&parameters.codecs),
            payload_types: PayloadTypes::new(&parameters.codecs),
            updates: 0,
            streams: parameters
                .encodings
                .iter()
                .map(|encoding| Stream::new(encoding, capacity, 0))
                .collect(),
            consumers: Vec::new(),
            pipes: Vec::new(),
            taps: Vec::new(),
            paused: false,
            started: false,
            has_begun: false,
            flow: FlowMeter::default(),
            round: Vec::new(),
            level: LevelMeter::default(),
            audible: true,
            layers: LayerMeter::new(parameters.encodings.len()),
            planned_layers: None,
            layers_changed: false,
            dynacast: Dynacast::default(),
            tapped: 0,
            content: Content::default(),
            stats: ProducerCounters::default(),
        }
    }

    /// Takes the parameters of a renegotiation. Streams that stay keep their packets and counters.
    pub(crate) fn update(&mut self, parameters: &ProducerParameters) {
        self.mid.clone_from(&parameters.mid);
        self.extensions = parameters.extensions;
        self.codecs = codecs(&parameters.codecs);
        self.payload_types = PayloadTypes::new(&parameters.codecs);
        let capacity = ring::capacity(self.kind);
        self.updates += 1;
        // A stream that is added in the place of one that was removed is not its continuation.
        let epoch = self.updates << 16;
        if parameters.encodings.len() != self.streams.len() {
            self.layers = LayerMeter::new(parameters.encodings.len());
            self.dynacast = Dynacast::default();
        }
        self.tapped = self.tapped.min(parameters.encodings.len().saturating_sub(1));
        self.streams.truncate(parameters.encodings.len());
        for (index, encoding) in parameters.encodings.iter().enumerate() {
            match self.streams.get_mut(index) {
                Some(stream) => stream.update(encoding),
                None => self.streams.push(Stream::new(encoding, capacity, epoch)),
            }
        }
        // The packets of this round may be of streams that are gone.
        self.round.clear();
    }

    /// The codec that a payload type names, and how it comes under it.
    pub(crate) fn codec_of(&self, payload_type: PayloadType) -> Option<(usize, ProducerCodec, Form)> {
        let (index, form) = self.payload_types.find(payload_type)?;
        self.codecs.get(index).map(|codec| (index, *codec, form))
    }

    /// The codec of a packet in a ring.
    pub(crate) fn codec_kind(&self, index: u8) -> Option<CodecKind> {
        self.codecs.get(usize::from(index)).map(|codec| codec.kind)
    }

    /// Asks the publisher for a key frame of one stream, throttled. Nothing for sound.
    pub(crate) fn request_key_frame(&mut self, now: Instant, encoding: usize) {
        self.ask_for_key_frame(now, encoding, Wish::Asked);
    }

    /// Asks for a key frame where none is being asked for: a consumer still waits.
    pub(crate) fn want_key_frame(&mut self, now: Instant, encoding: usize) {
        self.ask_for_key_frame(now, encoding, Wish::Waiting);
    }

    fn ask_for_key_frame(&mut self, now: Instant, encoding: usize, wish: Wish) {
        if self.kind == MediaKind::Audio || self.paused {
            return;
        }
        let Some(stream) = self.streams.get_mut(encoding) else {
            return;
        };
        match (self.origin, wish) {
            (Origin::Pipe { .. }, _) => stream.wishes.want(now, wish),
            (Origin::Transport(_), _) if stream.ssrc.is_none() => {}
            (Origin::Transport(_), Wish::Asked) => stream.key_frames.request(now),
            (Origin::Transport(_), Wish::Waiting) => stream.key_frames.request_if_idle(now),
        }
    }

    /// Asks for no key frame of encodings that do not come any more: they begin with one when they come again, and browsers make one of
    /// all encodings whichever is asked for.
    pub(crate) fn forget_silent(&mut self) {
        let layers = &self.layers;
        if !(0..self.streams.len()).any(|encoding| layers.is_active(encoding)) || self.streams.len() == 1 {
            return;
        }
        let encodings = self.streams.iter_mut().enumerate();
        for (_, stream) in encodings.filter(|(encoding, _)| !layers.is_active(*encoding)) {
            stream.key_frames.forget();
        }
    }

    /// The transport that its packets come over; of a piped one there is none.
    pub(crate) fn transport(&self) -> Option<Key<Association>> {
        match self.origin {
            Origin::Transport(key) => Some(key),
            Origin::Pipe { .. } => None,
        }
    }

    /// Whether it stands for one of another engine.
    pub(crate) fn is_piped(&self) -> bool {
        matches!(self.origin, Origin::Pipe { .. })
    }

    /// The stream to follow for a layer, and the highest layer within it. What does not come now is not waited for.
    pub(crate) fn nearest(&self, wanted: Layer) -> (usize, Layer) {
        if self.streams.len() > 1 {
            let within = Layer {
                spatial: Layer::TOP.spatial,
                ..wanted
            };
            return (usize::from(self.layers.nearest(wanted.spatial)), within);
        }
        // While all layers come, one that is new is welcome too.
        let spatial = match self.layers.nearest(Layer::TOP.spatial) {
            top if top == self.layers.top() => wanted.spatial,
            top => wanted.spatial.min(top),
        };
        (0, Layer { spatial, ..wanted })
    }

    /// Whether taps observe a packet. They follow one stream at a time: the best that comes, from its next key frame.
    pub(crate) fn is_tapped(&mut self, encoding: usize, info: &PacketInfo) -> bool {
        if encoding == self.tapped {
            return true;
        }
        if !info.key_frame || encoding != self.nearest(Layer::TOP).0 {
            return false;
        }
        self.tapped = encoding;
        // Its clock is another.
        if let Some(clock) = self.streams.get(encoding).and_then(|stream| stream.clock) {
            self.observe(|| TapItem::SenderReport {
                ntp: clock.ntp.0,
                rtp: clock.rtp,
                received: clock.received,
            });
        }
        true
    }

    /// Hands an item to every tap.
    pub(crate) fn observe(&mut self, mut item: impl FnMut() -> TapItem) {
        for tap in &mut self.taps {
            // A sink that is full counts what it drops.
            tap.sink.push(item());
        }
    }

    #[expect(dead_code, reason = "for whoever shares out a receiver's bandwidth")]
    /// What forwarding up to each layer takes, measured over about a second; lowest first. Empty for sound.
    pub(crate) fn layer_rates(&mut self, now: Instant) -> &[LayerRate] {
        if self.kind == MediaKind::Audio {
            return &[];
        }
        if self.layers.is_due(now) {
            self.layers.settle(now);
        }
        self.layers.rates()
    }

    /// Packets that were lost for good (RFC 3550 §6.4.1).
    pub(crate) fn lost(&self) -> i64 {
        self.streams.iter().map(Stream::lost).sum()
    }

    pub(crate) fn snapshot(&self) -> ProducerStats {
        let lost = self.lost();
        let jitter = self
            .streams
            .iter()
            .map(|stream| stream.jitter_ms(&self.codecs))
            .fold(0.0, f64::max);
        ProducerStats {
            producer: self.id,
            packets_received: self.stats.packets,
            bytes_received: self.stats.payload_bytes,
            packets_lost: lost,
            packets_recovered: self.stats.recovered,
            jitter_ms: jitter,
            nacks_sent: self.stats.nacks,
            plis_sent: self.stats.key_frame_requests,
            layers: match self.kind {
                MediaKind::Video => self.layers.rates().to_vec(),
                MediaKind::Audio => Vec::new(),
            },
        }
    }
}

fn codecs(codecs: &[Codec]) -> Vec<ProducerCodec> {
    codecs
        .iter()
        .take(PayloadTypes::MAX_CODECS)
        .map(|codec| ProducerCodec {
            kind: codec.kind,
            payload_type: codec.payload_type,
            clock_rate: codec.clock_rate,
            feedback: codec.feedback,
        })
        .collect()
}

/// How a codec comes under a payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Media,
    /// As a retransmission (RFC 4588).
    Retransmission,
    /// With packets before it again (RFC 2198).
    Redundant,
}

/// The codec of each of the 128 payload types, found without a search.
#[derive(Debug)]
struct PayloadTypes([u8; 128]);

impl PayloadTypes {
    const MAX_CODECS: usize = 64;
    const NONE: u8 = 0xff;
    const RTX: u8 = 0x80;
    const RED: u8 = 0x40;

    fn new(codecs: &[Codec]) -> Self {
        let mut table = [Self::NONE; 128];
        for (codec, index) in codecs.iter().take(Self::MAX_CODECS).zip(0u8..) {
            let mut set = |payload_type: PayloadType, value| {
                if let Some(entry) = table.get_mut(usize::from(payload_type.0)) {
                    *entry = value;
                }
            };
            set(codec.payload_type, index);
            if let Some(rtx) = codec.rtx {
                set(rtx, index | Self::RTX);
            }
            if let Some(red) = codec.red {
                set(red, index | Self::RED);
            }
        }
        Self(table)
    }

    fn find(&self, payload_type: PayloadType) -> Option<(usize, Form)> {
        let entry = *self.0.get(usize::from(payload_type.0))?;
        let form = match entry & (Self::RTX | Self::RED) {
            0 => Form::Media,
            Self::RTX => Form::Retransmission,
            Self::RED => Form::Redundant,
            _ => return None,
        };
        Some((usize::from(entry & !(Self::RTX | Self::RED)), form))
    }
}

/// The beginning of a test's time.
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an instant has no other source, and only differences matter"
)]
pub(crate) fn test_start() -> Instant {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *START
}
