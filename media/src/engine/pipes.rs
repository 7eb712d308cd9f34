//! What goes to other engines and comes from them ([`crate::pipe`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::consumer::sender_report::ClockOffset;
use crate::engine::Engine;
use crate::engine::ingress::Placed;
use crate::engine::slab::Key;
use crate::parameters::{Encoding, MediaKind, ProducerId, ProducerParameters, RouterId, TransportId};
use crate::pipe::{Neighbour, Notice, PacketHead, PipeSink, Piped, PipedPacket};
use crate::producer::receiver_report::SenderClock;
use crate::producer::{Form, Fresh, Origin, Pipe, Producer};
use crate::rtcp::NtpTime;

/// Packets of one round that go to other engines, at most.
const MAX_PIPING: usize = 8192;

/// What is to go to other engines.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    packets: Vec<(Key<Producer>, Fresh)>,
    notices: Vec<(Neighbour, Notice)>,
    /// Piped producers with wishes for key frames.
    wishing: Vec<Key<Producer>>,
}

impl Outgoing {
    /// Enters a packet. `false` when there is no room for it.
    pub(super) fn packet(&mut self, key: Key<Producer>, packet: Fresh) -> bool {
        let has_room = self.packets.len() < MAX_PIPING;
        if has_room {
            self.packets.push((key, packet));
        }
        has_room
    }

    fn is_empty(&self) -> bool {
        self.packets.is_empty() && self.notices.is_empty() && self.wishing.is_empty()
    }
}

impl Engine {
    /// Hands over what goes to other engines. Call it before [`flush`](Self::flush), so that they need not wait until all is sent
    /// here, and after it: sending finds out which key frames are missing.
    pub fn flush_pipes(&mut self, now: Instant, sink: &mut dyn PipeSink) {
        if self.outgoing.is_empty() {
            return;
        }
        let mut outgoing = std::mem::take(&mut self.outgoing);
        // The clocks of a packet's timestamps before the packet.
        for (to, notice) in outgoing.notices.drain(..) {
            self.dropped.pipe_full += u64::from(!sink.push(to, &Piped::Notice(notice)));
        }
        for (key, packet) in outgoing.packets.drain(..) {
            self.pipe_packet(now, key, packet, sink);
        }
        for key in outgoing.wishing.drain(..) {
            self.pass_wishes_on(now, key, sink);
        }
        // What came up meanwhile goes next time; the memory is kept.
        std::mem::swap(&mut self.outgoing, &mut outgoing);
        self.outgoing.wishing.append(&mut outgoing.wishing);
    }

    /// Takes what another engine handed over.
    pub fn receive_piped(&mut self, now: Instant, home: Neighbour, item: Piped<'_>) {
        // A packet that its home took without a panic is not expected to cause one here; it would cost that packet.
        if catch_unwind(AssertUnwindSafe(|| self.take_piped(now, home, item))).is_err() {
            self.dropped.panics += 1;
        }
    }

    fn take_piped(&mut self, now: Instant, home: Neighbour, item: Piped<'_>) {
        let id = match &item {
            Piped::Packet(packet) => packet.head.producer,
            Piped::Notice(Notice::Clock { producer, .. } | Notice::KeyFrameWanted { producer, .. }) => *producer,
        };
        let key = self.producer_ids.get(&id).copied();
        let Some((key, producer)) = key.and_then(|key| Some((key, self.producers.get_mut(key)?))) else {
            self.dropped.pipe_unknown += 1;
            return;
        };
        match (&mut producer.origin, item) {
            (Origin::Pipe { home: known, .. }, Piped::Packet(packet)) if *known == home => {
                self.piped_packet(now, key, &packet);
            }
            (
                Origin::Pipe {
                    home: known,
                    clock_offset,
                    ..
                },
                Piped::Notice(Notice::Clock {
                    encoding,
                    ntp,
                    rtp,
                    offset,
                    ..
                }),
            ) if *known == home => {
                *clock_offset = Some(ClockOffset::from_raw(offset));
                if let Some(stream) = producer.streams.get_mut(usize::from(encoding)) {
                    stream.clock = Some(SenderClock {
                        ntp: NtpTime(ntp),
                        rtp,
                        received: now,
                    });
                }
            }
            (Origin::Transport(_), Piped::Notice(Notice::KeyFrameWanted { encoding, .. })) => {
                producer.request_key_frame(now, usize::from(encoding));
                self.queue_request(key);
            }
            _ => self.dropped.pipe_unknown += 1,
        }
    }

    fn piped_packet(&mut self, now: Instant, key: Key<Producer>, packet: &PipedPacket<'_>) {
        let Some(producer) = self.producers.get_mut(key) else {
            return;
        };
        let head = &packet.head;
        let encoding = usize::from(head.encoding);
        // A renegotiation may have overtaken it.
        let Some((codec_index, codec, Form::Media)) = producer.codec_of(head.payload_type) else {
            self.dropped.unknown_payload_type += 1;
            return;
        };
        let Some(stream) = producer.streams.get_mut(encoding) else {
            self.dropped.pipe_unknown += 1;
            return;
        };
        if !stream.place_piped(head.extended, head.epoch) {
            self.dropped.too_old += 1;
            return;
        }
        let placed = Placed {
            arrival: now,
            producer: key,
            encoding,
            extended: head.extended,
            timestamp: head.timestamp,
            marker: head.marker,
            codec_index,
            codec,
            audio_level: head.audio_level,
            orientation: head.orientation,
            descriptor: packet.descriptor,
            payload: packet.payload,
            // Its home took out of it what was missing.
            red: None,
            wrapping: head.wrapping,
            in_sequence: false,
        };
        self.keep(now, &placed);
    }

    fn pipe_packet(&mut self, now: Instant, key: Key<Producer>, packet: Fresh, sink: &mut dyn PipeSink) {
        let Some(producer) = self.producers.get_mut(key) else {
            return;
        };
        let Some(stream) = producer.streams.get(packet.encoding) else {
            return;
        };
        let Some(slot) = stream.ring.get(packet.extended) else {
            return;
        };
        let Some(codec) = producer.codecs.get(usize::from(slot.info.codec)) else {
            return;
        };
        let item = Piped::Packet(PipedPacket {
            head: PacketHead {
                producer: producer.id,
                encoding: packet.encoding as u8,
                extended: slot.info.extended,
                epoch: slot.info.epoch,
                timestamp: slot.info.timestamp,
                payload_type: codec.payload_type,
                marker: slot.info.marker,
                audio_level: slot.info.audio_level,
                orientation: slot.info.orientation,
                wrapping: slot.info.wrapping,
            },
            descriptor: slot.descriptor(),
            payload: slot.payload(),
        });
        let bit = 1 << packet.encoding;
        let mut resumes = false;
        for pipe in &mut producer.pipes {
            if sink.push(pipe.to, &item) {
                resumes |= pipe.lost & bit != 0;
                pipe.lost &= !bit;
            } else {
                self.dropped.pipe_full += 1;
                pipe.lost |= bit;
            }
        }
        // What was dropped is gone for good. While the pipe stays full, a key frame would be dropped as well.
        if resumes && producer.kind == MediaKind::Video {
            producer.want_key_frame(now, packet.encoding);
            self.queue_request(key);
        }
    }

    fn pass_wishes_on(&mut self, now: Instant, key: Key<Producer>, sink: &mut dyn PipeSink) {
        let Some(producer) = self.producers.get_mut(key) else {
            return;
        };
        let Origin::Pipe { home, queued, .. } = &mut producer.origin else {
            return;
        };
        *queued = false;
        for (encoding, stream) in (0u8..).zip(&mut producer.streams) {
            if stream.wishes.take(now) {
                producer.stats.key_frame_requests += 1;
                let wanted = Notice::KeyFrameWanted {
                    producer: producer.id,
                    encoding,
                };
                self.dropped.pipe_full += u64::from(!sink.push(*home, &Piped::Notice(wanted)));
            }
        }
    }

    /// Lets what a producer's publisher is to be told, of key frames that are wanted, be told at the end of the round.
    pub(super) fn queue_request(&mut self, key: Key<Producer>) {
        let Some(producer) = self.producers.get_mut(key) else {
            return;
        };
        match &mut producer.origin {
            Origin::Transport(transport) => {
                let transport = *transport;
                self.queue_feedback(transport);
            }
            Origin::Pipe { queued, .. } => {
                if !std::mem::replace(queued, true) {
                    self.outgoing.wishing.push(key);
                }
            }
        }
    }

    pub(super) fn pipe(&mut self, id: ProducerId, to: Neighbour) -> Option<()> {
        let key = *self.producer_ids.get(&id)?;
        let producer = self.producers.get_mut(key)?;
        let acceptable = !producer.is_piped()
            && producer.pipes.len() < self.config.limits.pipes_per_producer
            && producer.pipes.iter().all(|pipe| pipe.to != to);
        if !acceptable {
            return None;
        }
        producer.pipes.push(Pipe { to, lost: 0 });
        for encoding in 0..self.producers.get(key)?.streams.len() {
            self.tell_clock(key, encoding, to);
        }
        Some(())
    }

    pub(super) fn unpipe(&mut self, id: ProducerId, to: Neighbour) -> Option<()> {
        let key = *self.producer_ids.get(&id)?;
        let producer = self.producers.get_mut(key)?;
        producer.pipes.retain(|pipe| pipe.to != to);
        Some(())
    }

    pub(super) fn produce_piped(
        &mut self,
        router: RouterId,
        id: ProducerId,
        home: Neighbour,
        publisher: TransportId,
        parameters: ProducerParameters,
    ) -> Option<()> {
        let router = *self.router_ids.get(&router)?;
        let acceptable = (1..=self.config.limits.encodings_per_producer).contains(&parameters.encodings.len())
            && !parameters.codecs.is_empty();
        if !acceptable || self.producer_ids.contains_key(&id) {
            return None;
        }
        let parameters = without_ssrcs(parameters);
        let origin = Origin::Pipe {
            home,
            clock_offset: None,
            queued: false,
        };
        let key = self
            .producers
            .insert_with(|_| Producer::new(id, router, origin, publisher, &parameters));
        self.producer_ids.insert(id, key);
        let router = self.routers.get_mut(router)?;
        router.piped.push(key);
        if parameters.kind == MediaKind::Audio {
            router.audio.push(key);
        }
        Some(())
    }

    /// A sender report came: the engines that the producer's packets go to are told.
    pub(super) fn tell_clocks(&mut self, key: Key<Producer>, encoding: usize) {
        let pipes = self.producers.get(key).map_or(0, |producer| producer.pipes.len());
        for index in 0..pipes {
            let pipe = self.producers.get(key).and_then(|producer| producer.pipes.get(index));
            if let Some(to) = pipe.map(|pipe| pipe.to) {
                self.tell_clock(key, encoding, to);
            }
        }
    }

    fn tell_clock(&mut self, key: Key<Producer>, encoding: usize, to: Neighbour) {
        let Some(producer) = self.producers.get(key) else {
            return;
        };
        let clock = producer.streams.get(encoding).and_then(|stream| stream.clock);
        if let (Some(clock), Some(offset)) = (clock, self.clock_offset(producer)) {
            let notice = Notice::Clock {
                producer: producer.id,
                encoding: encoding as u8,
                ntp: clock.ntp.0,
                rtp: clock.rtp,
                offset: offset.raw(),
            };
            self.outgoing.notices.push((to, notice));
        }
    }

    /// The publisher's wall clock against ours.
    pub(super) fn clock_offset(&self, producer: &Producer) -> Option<ClockOffset> {
        match producer.origin {
            Origin::Transport(transport) => self.associations.get(transport)?.clock_offset,
            Origin::Pipe { clock_offset, .. } => clock_offset,
        }
    }
}

/// What the publisher sends under is its home's business.
pub(super) fn without_ssrcs(mut parameters: ProducerParameters) -> ProducerParameters {
    for encoding in &mut parameters.encodings {
        *encoding = Encoding {
            rid: encoding.rid.take(),
            ..Encoding::default()
        };
    }
    parameters
}
