//! Packets that come in.

use std::time::Instant;

use crate::control::{EventKind, TapItem, TapPacket};
use crate::engine::demux::{Elements, Route};
use crate::engine::redundancy::{Recovered, recover};
use crate::engine::slab::Key;
use crate::engine::timers::Due;
use crate::engine::{Association, Engine, speakers};
use crate::layers::{self, Layer};
use crate::parameters::{MediaKind, PayloadType, Ssrc};
use crate::producer::nack::Gap;
use crate::producer::ring::{PacketInfo, Wrapping};
use crate::producer::stream::Place;
use crate::producer::{Form, Fresh, Producer, ProducerCodec, twcc};
use crate::rtp::RtpHeader;
use crate::rtp::frame::{Description, describe};
use crate::rtp::red::Red;

/// Packets of one producer in one round at most; later ones can still be asked for.
const MAX_ROUND: usize = 1024;

/// What goes with a payload on the wire, roughly: UDP, IP, SRTP, and a header with extensions.
const HEADERS: usize = 72;

/// A packet that is about to be placed, retransmissions already restored (RFC 4588 §4).
struct Incoming<'p> {
    arrival: Instant,
    header: &'p RtpHeader,
    elements: Elements<'p>,
    codec_index: usize,
    codec: ProducerCodec,
    restored: bool,
    sequence: u16,
    payload: &'p [u8],
    /// The payload taken apart, if it is RED and can be.
    red: Option<Red<'p>>,
    wrapping: Wrapping,
}

/// A packet that has its place in its stream.
pub(super) struct Placed<'p> {
    pub(super) arrival: Instant,
    pub(super) producer: Key<Producer>,
    pub(super) encoding: usize,
    pub(super) extended: u64,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) codec_index: usize,
    pub(super) codec: ProducerCodec,
    pub(super) audio_level: Option<u8>,
    pub(super) orientation: Option<u8>,
    pub(super) descriptor: &'p [u8],
    pub(super) payload: &'p [u8],
    pub(super) red: Option<Red<'p>>,
    pub(super) wrapping: Wrapping,
    /// What is missing before it may be taken out of it.
    pub(super) in_sequence: bool,
}

impl Engine {
    /// Takes a plain RTP packet.
    pub(super) fn receive_rtp(&mut self, now: Instant, arrival: Instant, key: Key<Association>, packet: &[u8]) {
        let Ok(header) = RtpHeader::parse(packet) else {
            self.dropped.malformed += 1;
            return;
        };
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        let elements = Elements::read(header.extensions(packet), &association.extensions);
        if let (Some(number), Some(arrivals)) = (elements.transport_cc, &mut association.arrivals)
            && arrivals.record(arrival, number, packet.len())
        {
            let due = now + twcc::INTERVAL;
            association.arrivals_due = Some(due);
            association
                .planned
                .no_later_than(&mut self.timers, due, Due::Association(key));
        }
        let Some(route) = self.route(now, key, header.ssrc, header.payload_type, &elements) else {
            self.dropped.unknown_ssrc += 1;
            return;
        };
        let Some(producer) = self.producers.get(route.producer) else {
            return;
        };
        let Some((codec_index, codec, form)) = producer.codec_of(header.payload_type) else {
            self.dropped.unknown_payload_type += 1;
            return;
        };
        let mut incoming = Incoming {
            arrival,
            payload: header.payload(packet),
            sequence: header.sequence,
            header: &header,
            elements,
            codec_index,
            codec,
            restored: form == Form::Retransmission,
            red: None,
            wrapping: Wrapping::Plain,
        };
        match form {
            Form::Media => {}
            Form::Retransmission => {
                // Without an original sequence number it is padding that probes the path.
                let Some((original, payload)) = incoming.payload.split_first_chunk() else {
                    return;
                };
                incoming.sequence = u16::from_be_bytes(*original);
                incoming.payload = payload;
            }
            Form::Redundant => incoming.unwrap_red(),
        }
        self.take_packet(now, key, route, &incoming);
    }

    fn route(
        &mut self,
        now: Instant,
        key: Key<Association>,
        ssrc: Ssrc,
        payload_type: PayloadType,
        elements: &Elements<'_>,
    ) -> Option<Route> {
        let association = self.associations.get_mut(key)?;
        if let Some(route) = association.ssrcs.find(ssrc) {
            return Some(route);
        }
        let (ssrcs, keys) = (&mut association.ssrcs, &association.producers);
        ssrcs.learn(now, ssrc, payload_type, elements, keys, &mut self.producers)
    }

    fn take_packet(&mut self, now: Instant, key: Key<Association>, route: Route, incoming: &Incoming<'_>) {
        let Some(producer) = self.producers.get_mut(route.producer) else {
            return;
        };
        let is_video = producer.kind == MediaKind::Video;
        let Some(stream) = producer.streams.get_mut(route.encoding) else {
            return;
        };
        let belongs = if incoming.restored {
            stream.may_restore(incoming.sequence)
        } else {
            // The RTX stream numbers its packets in a sequence of its own.
            stream.ssrc == Some(incoming.header.ssrc)
        };
        if !belongs {
            self.dropped.too_old += 1;
            return;
        }
        let ask = incoming.codec.feedback.nack && !producer.paused;
        let place = stream.place(now, incoming.sequence, ask);
        // What precedes the first packet of an epoch is not missing.
        let in_sequence = matches!(place, Place::AfterGap { .. } | Place::Late { .. });
        let (extended, tell_publisher) = match place {
            Place::Next { extended } | Place::Late { extended } | Place::Restart { extended } => (extended, false),
            Place::AfterGap { extended, gap } => {
                if gap == Gap::Hopeless && is_video && !producer.paused {
                    stream.key_frames.request(now);
                }
                (extended, true)
            }
            Place::Duplicate => {
                self.dropped.duplicate += 1;
                stream.came_after_all(incoming.sequence);
                return;
            }
            Place::TooOld => {
                self.dropped.too_old += 1;
                return;
            }
        };
        let since_origin = incoming.arrival.saturating_duration_since(self.config.clock.0);
        let (timestamp, rate) = (incoming.header.timestamp, incoming.codec.clock_rate);
        stream
            .reception
            .packet(extended, timestamp, since_origin, rate, incoming.restored);
        let ssrc = stream.ssrc.unwrap_or(incoming.header.ssrc);
        let placed = Placed {
            arrival: incoming.arrival,
            producer: route.producer,
            encoding: route.encoding,
            extended,
            timestamp,
            marker: incoming.header.marker,
            codec_index: incoming.codec_index,
            codec: incoming.codec,
            audio_level: incoming.elements.audio_level,
            orientation: incoming.elements.orientation,
            descriptor: incoming.elements.descriptor,
            payload: incoming.payload,
            red: incoming.red,
            wrapping: incoming.wrapping,
            in_sequence,
        };
        let Some((info, recovered)) = self.keep(now, &placed) else {
            return;
        };
        let Some(producer) = self.producers.get_mut(route.producer) else {
            return;
        };
        if !producer.paused && !producer.taps.is_empty() {
            producer.observe_recovered(route.encoding, &recovered, ssrc, incoming.codec.payload_type);
            if producer.is_tapped(route.encoding, &info) {
                let packet = tap_packet(incoming, &info, ssrc);
                producer.observe(|| TapItem::Packet(packet.clone()));
            }
        }
        if tell_publisher {
            self.queue_feedback(key);
        }
    }

    /// Keeps a packet that has its place, and lets it go to whom it is for at the end of the round.
    pub(super) fn keep(&mut self, now: Instant, placed: &Placed<'_>) -> Option<(PacketInfo, Recovered)> {
        let producer = self.producers.get_mut(placed.producer)?;
        let is_video = producer.kind == MediaKind::Video;
        let stream = producer.streams.get_mut(placed.encoding)?;
        let description = if is_video {
            let structure = &mut stream.structure;
            describe(placed.codec.kind, placed.payload, placed.descriptor, structure)
        } else {
            Description {
                key_frame: true,
                ..Description::default()
            }
        };
        let info = PacketInfo {
            extended: placed.extended,
            epoch: stream.epoch(),
            timestamp: placed.timestamp,
            arrival: placed.arrival,
            codec: placed.codec_index as u8,
            marker: placed.marker,
            key_frame: description.key_frame,
            audio_level: placed.audio_level,
            orientation: placed.orientation,
            frame: description.frame,
            wrapping: placed.wrapping,
            recovered: false,
        };
        stream.last_packet = Some((now, info.codec));
        stream.first_packet.get_or_insert(now);
        let begins = is_video && info.key_frame && !producer.paused;
        stream.keep(info, placed.descriptor, placed.payload, begins);
        if is_video && info.key_frame {
            stream.key_frames.arrived();
            stream.wishes.arrived();
        }
        let recovered = match &placed.red {
            Some(red) if placed.in_sequence && !producer.paused => recover(stream, &info, red),
            _ => Recovered::default(),
        };
        if is_video {
            let layer = match producer.streams.len() {
                1 => info.frame.layer,
                _ => Layer {
                    spatial: placed.encoding as u8,
                    ..info.frame.layer
                },
            };
            let (len, starts) = (placed.payload.len() + HEADERS, info.frame.starts);
            producer.layers_changed |= producer.layers.packet(layer, len, starts);
            for (spatial, (width, height)) in (0u8..).zip(description.sizes.into_iter().flatten()) {
                if width > 0 && height > 0 {
                    let spatial = if producer.streams.len() == 1 {
                        spatial
                    } else {
                        layer.spatial
                    };
                    producer.layers.size(spatial, width, height);
                }
            }
            if producer.planned_layers.is_none() {
                let due = now + layers::INTERVAL;
                producer.planned_layers = Some(due);
                self.timers.plan(due, Due::Producer(placed.producer));
            }
        }
        producer.stats.packets += 1;
        producer.stats.payload_bytes += placed.payload.len() as u64;
        producer.stats.recovered += recovered.len() as u64;
        let router = producer.router;
        let started = !std::mem::replace(&mut producer.started, true) && !producer.is_piped();
        let is_first_key_frame = is_video
            && info.key_frame
            && !std::mem::replace(&mut producer.had_key_frame, true)
            && !producer.is_piped();
        let id = producer.id;
        if !is_video && !producer.paused {
            let loud = producer.level.packet(now, info.timestamp, info.audio_level);
            if loud && !producer.audible {
                self.let_speak(now, placed.producer);
            }
        }
        let producer = self.producers.get_mut(placed.producer)?;
        if !producer.paused {
            let came = || recovered.oldest_first().chain([placed.extended]);
            let fresh = |extended| Fresh {
                encoding: placed.encoding,
                extended,
            };
            if !producer.pipes.is_empty() {
                for extended in came() {
                    let has_room = self.outgoing.packet(placed.producer, fresh(extended));
                    self.dropped.round_full += u64::from(!has_room);
                }
            }
            if !producer.consumers.is_empty() && producer.audible {
                if producer.round.is_empty() {
                    self.fresh.push(placed.producer);
                }
                for extended in came() {
                    if producer.round.len() < MAX_ROUND {
                        producer.round.push(fresh(extended));
                    } else {
                        self.dropped.round_full += 1;
                    }
                }
            }
            if !is_video
                && info.audio_level.is_some()
                && let Some(router_state) = self.routers.get_mut(router)
            {
                let due = now + speakers::INTERVAL;
                router_state
                    .planned
                    .no_later_than(&mut self.timers, due, Due::Router(router));
            }
        }
        if started {
            self.emit(router, EventKind::ProducerStarted { producer: id });
        }
        if is_first_key_frame {
            self.emit(router, EventKind::KeyFrameArrived { producer: id });
        }
        Some((info, recovered))
    }
}

impl Incoming<'_> {
    /// Takes the payload apart. What cannot be goes on as it is, to receivers that may know what to do with it.
    fn unwrap_red(&mut self) {
        self.red = Red::parse(self.payload).filter(|red| red.payload_type == self.codec.payload_type);
        self.wrapping = match &self.red {
            // A datagram is far shorter than 64 KiB.
            Some(red) => Wrapping::Red {
                primary: red.primary_offset() as u16,
            },
            None => Wrapping::Opaque,
        };
    }
}

/// The packet as a tap sees it: sound is taken out of RED. Taps are few and outside of the forwarding path, so each packet's
/// payload is copied.
fn tap_packet(incoming: &Incoming<'_>, info: &PacketInfo, ssrc: Ssrc) -> TapPacket {
    let payload = incoming.red.map_or(incoming.payload, |red| red.primary);
    let payload_type = match info.wrapping {
        Wrapping::Opaque => incoming.header.payload_type,
        Wrapping::Plain | Wrapping::Red { .. } => incoming.codec.payload_type,
    };
    TapPacket {
        received: info.arrival,
        ssrc,
        payload_type,
        sequence: incoming.sequence,
        timestamp: info.timestamp,
        marker: info.marker,
        payload: bytes::Bytes::copy_from_slice(payload),
    }
}
