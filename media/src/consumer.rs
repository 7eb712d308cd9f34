//! A track that goes out to one client: which packets go, under which numbers, and which go again.
//!
//! Absent on purpose: packets. They stay in the ring of the [`crate::producer`].

pub(crate) mod mapping;
pub(crate) mod retransmit;
pub(crate) mod rewrite;
pub(crate) mod sealed;
pub(crate) mod sender_report;

use std::time::{Duration, Instant};

use crate::consumer::mapping::{Mapped, Mapping};
use crate::consumer::retransmit::Retransmitter;
use crate::consumer::rewrite::HeaderWriter;
use crate::consumer::sealed::SealedPackets;
use crate::control::ConsumerStats;
use crate::engine::Association;
use crate::engine::slab::Key;
use crate::layers::{Layer, Preference};
use crate::parameters::{Codec, ConsumerId, ConsumerParameters, MediaKind, PayloadType, Ssrc};
use crate::producer::Producer;
use crate::producer::ring::PacketInfo;

/// How long a track goes on at its lowest when there is no room for it.
const ROOM_GRACE: Duration = Duration::from_secs(1);

/// How far behind the latest packet sound may begin. Older packets would only fill the receiver's jitter buffer.
const MAX_AUDIO_BACKLOG: u64 = 8;

/// One track that goes out.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) id: ConsumerId,
    pub(crate) transport: Key<Association>,
    pub(crate) producer: Key<Producer>,
    pub(crate) kind: MediaKind,
    pub(crate) codec: Codec,
    pub(crate) ssrc: Ssrc,
    /// Payload type and SSRC of retransmissions, when both were agreed.
    pub(crate) rtx: Option<(PayloadType, Ssrc)>,
    pub(crate) cname: String,
    pub(crate) header: HeaderWriter,
    pub(crate) mapping: Mapping,
    pub(crate) retransmit: Retransmitter,
    /// Kept when lost packets are to be answered without RTX.
    pub(crate) sealed: Option<SealedPackets>,
    pub(crate) paused: bool,
    /// What its receiver asked for, and the highest layer that this allows.
    preference: Preference,
    ceiling: Layer,
    /// The highest layer that its bandwidth allows; `None` when there is room for none.
    target: Option<Layer>,
    /// Since when there is room for none, while it is sent all the same.
    without_room: Option<Instant>,
    /// Whether it is in its transport's list of consumers with something to send.
    pub(crate) queued: bool,
    pub(crate) stats: ConsumerCounters,
}

/// Counters since the consumer began.
#[derive(Debug, Default)]
pub(crate) struct ConsumerCounters {
    pub(crate) packets: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) fraction_lost: f64,
    pub(crate) retransmitted: u64,
    pub(crate) key_frame_requests: u64,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is not for this consumer, or too early or late for it.
    Skip,
    /// It cannot be decoded without what came before: a key frame is needed.
    NeedKeyFrame,
    /// It is sent under these numbers.
    Send(Mapped),
    /// As [`Decision::Send`], and it begins something: what followed it and came before it goes too.
    Start(Mapped),
}

impl Consumer {
    /// `first_index` and `first_rtx_index` continue the numbering of the SSRCs' earlier use, if any.
    pub(crate) fn new(
        id: ConsumerId,
        transport: Key<Association>,
        producer: Key<Producer>,
        parameters: ConsumerParameters,
        paused: bool,
        first_index: u64,
        first_rtx_index: u64,
    ) -> Self {
        let header = HeaderWriter::new(&parameters);
        let rtx = parameters.codec.rtx.zip(parameters.rtx_ssrc);
        Self {
            id,
            transport,
            producer,
            kind: parameters.kind,
            mapping: Mapping::new(first_index, parameters.codec.clock_rate),
            retransmit: Retransmitter::new(first_rtx_index),
            sealed: (parameters.codec.feedback.nack && rtx.is_none()).then(SealedPackets::default),
            rtx,
            codec: parameters.codec,
            ssrc: parameters.ssrc,
            cname: parameters.cname,
            header,
            paused,
            preference: Preference::default(),
            ceiling: Layer::TOP,
            target: Some(Layer::TOP),
            without_room: None,
            queued: false,
            stats: ConsumerCounters::default(),
        }
    }

    /// Takes what the receiver asked for.
    pub(crate) fn prefer(&mut self, preference: Preference, producer: &Producer) {
        self.preference = preference;
        self.update_ceiling(producer);
    }

    /// Works out the ceiling anew: the producer's layers, or what is known of them, changed.
    pub(crate) fn update_ceiling(&mut self, producer: &Producer) {
        self.ceiling = self
            .preference
            .ceiling(producer.layers.rates(), producer.content.screen);
    }

    /// The highest layer by what the receiver asked for.
    pub(crate) fn ceiling(&self) -> Layer {
        self.ceiling
    }

    /// The highest layer by bandwidth.
    pub(crate) fn target(&self) -> Option<Layer> {
        self.target
    }

    /// Sets the highest layer by bandwidth as it was shared out. With no room for any, `lowest` goes on for a moment: that a
    /// picture stands still for a second hurts more than a moment too long on a path that is full.
    pub(crate) fn share(&mut self, now: Instant, target: Option<Layer>, lowest: Layer) {
        let before = self.target;
        if target.is_some() {
            self.without_room = None;
            self.set_target(target);
            return;
        }
        let since = *self.without_room.get_or_insert(now);
        let goes_on = before.is_some() && now.saturating_duration_since(since) < ROOM_GRACE;
        self.set_target(goes_on.then_some(lowest));
    }

    /// Sets the highest layer by bandwidth; with `None` nothing is sent. Without a call there is no bound.
    pub(crate) fn set_target(&mut self, target: Option<Layer>) {
        self.target = target;
    }

    /// The layer to send, as far as there is one: the lower of ceiling and target.
    #[expect(dead_code, reason = "followed once layers are chosen")]
    pub(crate) fn wanted(&self) -> Option<Layer> {
        Some(self.ceiling.capped(self.target?))
    }

    /// Decides about a packet. `highest` is the latest of its stream.
    pub(crate) fn decide(&mut self, info: &PacketInfo, encoding: usize, highest: u64) -> Decision {
        if let Some((live_encoding, live_epoch)) = self.mapping.live() {
            if encoding != live_encoding {
                return Decision::Skip;
            }
            if info.epoch == live_epoch {
                return self.mapping.map(info).map_or(Decision::Skip, Decision::Send);
            }
            self.mapping.stop();
        }
        match self.kind {
            MediaKind::Audio if info.extended + MAX_AUDIO_BACKLOG < highest => Decision::Skip,
            MediaKind::Video if !info.key_frame => Decision::NeedKeyFrame,
            _ => Decision::Start(self.mapping.start(info, encoding)),
        }
    }

    /// Whether it waits for a key frame (or, with sound, for a packet).
    pub(crate) fn is_waiting(&self) -> bool {
        !self.paused && self.mapping.live().is_none()
    }

    /// Counts a packet that went out.
    pub(crate) fn sent(&mut self, mapped: Mapped, arrival: Instant, payload_len: usize, datagram_len: usize) {
        self.mapping.sent(mapped, arrival);
        self.retransmit.earn(datagram_len);
        self.stats.packets += 1;
        self.stats.payload_bytes += payload_len as u64;
    }

    pub(crate) fn snapshot(&self) -> ConsumerStats {
        ConsumerStats {
            consumer: self.id,
            packets_sent: self.stats.packets,
            bytes_sent: self.stats.payload_bytes,
            fraction_lost: self.stats.fraction_lost,
            retransmitted: self.stats.retransmitted,
            plis_received: self.stats.key_frame_requests,
            ceiling: self.ceiling,
            target: self.target,
        }
    }
}
