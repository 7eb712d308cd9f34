//! A track that goes out to one client: which packets go, under which numbers, and which go again.
//!
//! Absent on purpose: packets. They stay in the ring of the [`crate::producer`].

pub(crate) mod mapping;
pub(crate) mod retransmit;
pub(crate) mod rewrite;
pub(crate) mod sealed;
mod selection;
pub(crate) mod sender_report;

use std::time::{Duration, Instant};

use crate::consumer::mapping::{Forward, Mapped, Mapping};
use crate::consumer::retransmit::Retransmitter;
use crate::consumer::rewrite::HeaderWriter;
use crate::consumer::sealed::SealedPackets;
use crate::control::ConsumerStats;
use crate::engine::Association;
use crate::engine::slab::Key;
use crate::layers::{Layer, Preference};
use crate::parameters::{Codec, CodecKind, ConsumerId, ConsumerParameters, MediaKind, PayloadType, Ssrc};
use crate::producer::Producer;
use crate::producer::kept::KeptRun;
use crate::producer::ring::PacketInfo;
use crate::rtcp::ntp;

/// How long a track goes on at its lowest when there is no room for it.
const ROOM_GRACE: Duration = Duration::from_secs(1);

/// How long a track that gave way stays at its lowest: what the path carries is not known when it becomes full, and from a size that
/// is too much again the one below can be reached with another key frame only.
const SETTLING: Duration = Duration::from_secs(1);

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
    /// Whether that was shared out to it, rather than being no bound.
    is_bounded: bool,
    /// The highest layer while the machine has too little time; `None` while it is given up. Whether that takes something away.
    limit: Option<Layer>,
    is_pressed: bool,
    /// Since when there is room for none, while it is sent all the same.
    without_room: Option<Instant>,
    /// Until when it stays at its lowest.
    settles_until: Option<Instant>,
    /// The stream to follow, and the highest layer to send of it.
    encoding: usize,
    within: Layer,
    /// Whether it may begin with what is kept.
    is_eager: bool,
    /// Whether sound goes without what it repeats.
    pub(crate) is_thrifty: bool,
    /// Whether it is in its transport's list of consumers with something to send.
    pub(crate) queued: bool,
    /// Whether a first packet went to it.
    pub(crate) started: bool,
    pub(crate) stats: ConsumerCounters,
}

/// Counters since the consumer began.
#[derive(Debug, Default)]
pub(crate) struct ConsumerCounters {
    pub(crate) packets: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) fraction_lost: f64,
    pub(crate) lost: i32,
    /// On the track's clock.
    pub(crate) jitter: u32,
    /// Whether a receiver report came.
    pub(crate) reported: bool,
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
    /// It is not sent, but its number is used up by padding.
    Fill(Mapped),
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
            mapping: Mapping::new(
                first_index,
                parameters.codec.clock_rate,
                parameters.codec.kind == CodecKind::Vp8,
            ),
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
            is_bounded: false,
            limit: Some(Layer::TOP),
            is_pressed: false,
            without_room: None,
            settles_until: None,
            encoding: 0,
            within: Layer::TOP,
            is_eager: parameters.kind == MediaKind::Video,
            is_thrifty: false,
            queued: false,
            started: false,
            stats: ConsumerCounters::default(),
        }
    }

    /// Takes what the receiver asked for. [`follow`](Self::follow) acts on it.
    pub(crate) fn prefer(&mut self, preference: Preference) {
        self.preference = preference;
    }

    /// The highest layer by what the receiver asked for, and what the machine has time for.
    pub(crate) fn ceiling(&self) -> Layer {
        self.ceiling
    }

    /// The highest layer by bandwidth.
    pub(crate) fn target(&self) -> Option<Layer> {
        self.target
    }

    /// Sets the highest layer by bandwidth as it was shared out; [`follow`](Self::follow) acts on it. With no room for any,
    /// `lowest` goes on for a moment: that a picture stands still for a second hurts more than a moment too long on a path that
    /// is full.
    pub(crate) fn share(&mut self, now: Instant, target: Option<Layer>, lowest: Layer) {
        let before = self.target;
        self.is_bounded = true;
        if let Some(target) = target {
            self.settles_until = self.settles_until.filter(|until| now < *until);
            self.without_room = None;
            self.target = Some(match self.settles_until {
                Some(_) => target.capped(lowest),
                None => target,
            });
            return;
        }
        let since = *self.without_room.get_or_insert(now);
        let goes_on = before.is_some() && now.saturating_duration_since(since) < ROOM_GRACE;
        self.target = goes_on.then_some(lowest);
    }

    /// Whether something was shared out to it, if only nothing.
    pub(crate) fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    /// Whether it has nothing yet and was refused nothing.
    pub(crate) fn is_new(&self) -> bool {
        !self.is_bounded && self.mapping.live().is_none()
    }

    /// The highest layer that it was given, or had without being given it.
    pub(crate) fn share_before(&self) -> Option<Layer> {
        self.target.filter(|_| !self.is_new())
    }

    /// Lifts the bound.
    pub(crate) fn unbind(&mut self) {
        self.is_bounded = false;
        self.without_room = None;
        self.target = Some(Layer::TOP);
    }

    /// What its path carries became much less. If its share is a lower encoding, it goes on with the lowest for a while.
    pub(crate) fn give_way(&mut self, now: Instant, producer: &Producer, lowest: Layer) {
        if self.is_above_share(producer) {
            self.settles_until = Some(now + SETTLING);
            self.target = self.target.map(|target| target.capped(lowest));
        }
    }

    /// What is sent now is far more than the path carries, where most of it is lost. If its share is a lower encoding, nothing
    /// more is sent until that begins: its first frame would wait behind what nobody can decode.
    pub(crate) fn cut(&mut self, producer: &Producer) {
        if self.is_above_share(producer) {
            self.mapping.abandon();
            self.retransmit.clear();
        }
    }

    /// Whether a higher encoding is sent than that which it is to have.
    fn is_above_share(&self, producer: &Producer) -> bool {
        let share = self.wanted().map(|wanted| producer.nearest(wanted).0);
        let live = self.mapping.live();
        share.is_some_and(|share| live.is_some_and(|(live, _)| live > share))
    }

    /// The layer to send, as far as there is one: the lower of ceiling and target.
    pub(crate) fn wanted(&self) -> Option<Layer> {
        self.limit?;
        Some(self.ceiling.capped(self.target?))
    }

    /// Whether packets go out when they come; of a picture that there is no room or no time for, none do.
    pub(crate) fn is_sent(&self) -> bool {
        !self.paused && (self.kind == MediaKind::Audio || self.wanted().is_some())
    }

    /// Whether it is given up because the machine has too little time.
    pub(crate) fn is_given_up(&self) -> bool {
        self.kind == MediaKind::Video && self.limit.is_none()
    }

    /// Whether it is given up, or is less than it could be, because the machine has too little time.
    pub(crate) fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    /// The layer that is sent now, unless it waits for one.
    pub(crate) fn current(&self, producer: &Producer) -> Option<Layer> {
        let (encoding, _) = self.mapping.live()?;
        let limit = self.mapping.limit()?;
        Some(match producer.streams.len() {
            1 => limit,
            _ => Layer {
                spatial: encoding as u8,
                ..limit
            },
        })
    }

    /// Works out anew what to send: the receiver's wish, its bandwidth, the producer's layers or the `limit` of what the machine
    /// has time for changed. Gives the encoding of which a key frame is needed.
    pub(crate) fn follow(&mut self, producer: &Producer, limit: Option<Layer>) -> Option<usize> {
        if self.kind == MediaKind::Audio {
            return None;
        }
        let rates = producer.layers.rates();
        let mut wish = self.preference.ceiling(rates, producer.content.screen);
        if producer.dynacast.is_relieved() {
            // More would not come, or not whole.
            wish.spatial = 0;
        }
        self.limit = limit;
        self.ceiling = wish.capped(limit.unwrap_or(Layer::LOWEST));
        let taken = |layer: Layer| layer.capped(wish) == layer && layer.capped(self.ceiling) != layer;
        self.is_pressed = limit.is_none() || rates.iter().any(|rate| taken(rate.layer));
        let Some(wanted) = self.wanted() else {
            self.stop_for_room();
            return None;
        };
        (self.encoding, self.within) = producer.nearest(wanted);
        self.mapping.want(self.within);
        if self.paused {
            return None;
        }
        let reached = match self.mapping.live() {
            None => false,
            Some((encoding, _)) if encoding != self.encoding => false,
            Some(_) if producer.streams.len() > 1 => true,
            // Spatial layers in one stream.
            Some(_) => {
                let top = producer.layers.top();
                let limit = self.mapping.limit().map_or(top, |limit| limit.spatial.min(top));
                let wanted = self.within.spatial.min(top);
                // Where frames say what they depend on, a larger picture may not have brought the smaller one along (K-SVC).
                let is_described = producer.streams.iter().any(|stream| stream.structure.is_some());
                limit == wanted || (limit > wanted && !is_described)
            }
        };
        (!reached).then_some(self.encoding)
    }

    /// The encoding of which it needs a key frame when it asks for one.
    pub(crate) fn encoding(&self) -> usize {
        self.encoding
    }

    /// Whether what comes of this stream matters to it: it is sent it, or will be with the next key frame.
    pub(crate) fn watches(&self, encoding: usize) -> bool {
        let live = self.mapping.live();
        self.is_sent() && (encoding == self.encoding || live.is_some_and(|(live, _)| encoding == live))
    }

    /// Whether packets of this stream may be for it, now that it has begun.
    pub(crate) fn may_follow(&self, encoding: usize) -> bool {
        let live = self.mapping.live();
        live.is_some_and(|(live, _)| encoding == live || encoding == self.encoding)
    }

    /// Decides about a packet of one of the producer's streams.
    pub(crate) fn decide(&mut self, info: &PacketInfo, encoding: usize, producer: &Producer) -> Decision {
        let Some(stream) = producer.streams.get(encoding) else {
            return Decision::Skip;
        };
        if let Some((live_encoding, live_epoch)) = self.mapping.live() {
            if encoding == live_encoding && info.epoch == live_epoch {
                return match self.mapping.forward(info, stream.structure.as_deref()) {
                    Forward::Send(mapped) => Decision::Send(mapped),
                    Forward::Fill(mapped) => Decision::Fill(mapped),
                    Forward::Skip => Decision::Skip,
                };
            }
            if encoding != live_encoding && !(encoding == self.encoding && info.key_frame) {
                return Decision::Skip;
            }
            self.mapping.stop();
        }
        let highest = stream.highest().unwrap_or(info.extended);
        match self.kind {
            MediaKind::Audio if info.extended + MAX_AUDIO_BACKLOG < highest => Decision::Skip,
            MediaKind::Video if self.wanted().is_none() => Decision::Skip,
            // Until what is wanted comes, less will do.
            MediaKind::Video if encoding > self.encoding => Decision::Skip,
            MediaKind::Video if !info.key_frame => match encoding == self.encoding {
                true => Decision::NeedKeyFrame,
                false => Decision::Skip,
            },
            MediaKind::Audio | MediaKind::Video => Decision::Start(self.start(info, encoding, producer, None)),
        }
    }

    /// Begins with a packet. With `gathered`, packets of the past come up to this timestamp.
    fn start(&mut self, info: &PacketInfo, encoding: usize, producer: &Producer, gathered: Option<u32>) -> Mapped {
        self.is_eager = false;
        tracing::debug!(
            consumer.id = self.id.0,
            encoding,
            "a track begins, or goes over to another encoding"
        );
        let structure = producer
            .streams
            .get(encoding)
            .and_then(|stream| stream.structure.as_deref());
        let shift = self.shift(encoding, producer);
        self.mapping
            .start(info, encoding, shift, gathered, self.within, structure)
    }

    /// The run with which it may begin at once: it has just come or goes on after a pause, and nothing of the run went to it.
    ///
    /// A switch to another encoding waits for a key frame: its receiver sees a picture meanwhile, and would see time go back.
    pub(crate) fn beginning(&self, now: Instant, producer: &Producer) -> Option<KeptRun> {
        if !self.is_eager || !self.is_waiting() || self.target.is_none() || producer.paused {
            return None;
        }
        let run = producer.streams.get(self.encoding)?.kept_run(now)?;
        let is_news = self.mapping.latest().is_none_or(|(_, arrival)| arrival < run.began);
        let decodable = producer.codec_kind(run.codec) == Some(self.codec.kind);
        (is_news && decodable).then_some(run)
    }

    /// Begins with the first packet of [`beginning`](Self::beginning); `latest` is the latest packet there is.
    pub(crate) fn begin_with_past(&mut self, first: &PacketInfo, latest: &PacketInfo, producer: &Producer) -> Mapped {
        self.start(first, self.encoding, producer, Some(latest.timestamp))
    }

    /// It is stopped for want of room: what comes next is to be no burst.
    pub(crate) fn stop_for_room(&mut self) {
        self.mapping.stop();
        self.is_eager = false;
    }

    /// Pauses it, or lets it go on.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.mapping.stop();
        self.is_eager = !paused && self.kind == MediaKind::Video;
    }

    /// What the timestamps of a stream lack to be those of the stream that was followed before, by the publisher's reports.
    fn shift(&self, encoding: usize, producer: &Producer) -> Option<u32> {
        let (before, epoch) = self.mapping.followed().filter(|(before, _)| *before != encoding)?;
        let before = producer.streams.get(before).filter(|stream| stream.epoch() == epoch)?;
        let (before, now) = (before.clock.as_ref()?, producer.streams.get(encoding)?.clock.as_ref()?);
        let later = ntp::to_ticks(now.ntp.since(before.ntp), self.codec.clock_rate);
        Some(before.rtp.wrapping_add(later as u32).wrapping_sub(now.rtp))
    }

    /// Whether it waits for a key frame (or, with sound, for a packet).
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_sent() && self.mapping.live().is_none()
    }

    /// Counts a packet that went out.
    pub(crate) fn sent(&mut self, mapped: Mapped, arrival: Instant, payload_len: usize, datagram_len: usize) {
        self.mapping.sent(mapped, arrival);
        self.retransmit.earn(datagram_len);
        self.stats.packets += 1;
        self.stats.payload_bytes += payload_len as u64;
    }

    /// Reads what the next packet needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        let numbers =
            self.mapping.preload() ^ self.retransmit.preload() ^ self.stats.packets ^ self.stats.payload_bytes;
        let flags = self.paused ^ self.header.has_transport_cc() ^ self.target.is_some() ^ self.codec.red.is_some();
        numbers ^ u64::from(self.ssrc.0) ^ u64::from(flags)
    }

    /// The jitter that the receiver told last.
    pub(crate) fn jitter_ms(&self) -> f64 {
        f64::from(self.stats.jitter) * 1000.0 / f64::from(self.codec.clock_rate.max(1))
    }

    pub(crate) fn snapshot(&self, producer: Option<&Producer>) -> ConsumerStats {
        let video = producer.filter(|_| self.kind == MediaKind::Video);
        ConsumerStats {
            consumer: self.id,
            packets_sent: self.stats.packets,
            bytes_sent: self.stats.payload_bytes,
            fraction_lost: self.stats.fraction_lost,
            packets_lost: i64::from(self.stats.lost),
            jitter_ms: self.jitter_ms(),
            retransmitted: self.stats.retransmitted,
            plis_received: self.stats.key_frame_requests,
            layer: video.and_then(|producer| self.current(producer)),
            ceiling: self.ceiling,
            target: self.target,
        }
    }
}
