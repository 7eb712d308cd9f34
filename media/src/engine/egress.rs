//! Packets that go out: copied, rewritten and sealed into the send buffer.

mod padding;

use std::time::{Duration, Instant};

use crate::consumer::mapping::{Mapped, PictureNumbers};
use crate::consumer::rewrite::{MAX_HEADER, Numbers, PADDING};
use crate::consumer::{Consumer, Decision};
use crate::engine::beginnings::{beginning, wire_bytes};
use crate::engine::downlink::Downlink;
use crate::engine::slab::Key;
use crate::engine::timers::Due;
use crate::engine::{Association, DropCounters, Engine};
use crate::parameters::{MediaKind, Path, PayloadType, Ssrc};
use crate::producer::Producer;
use crate::producer::ring::{PacketInfo, Slot, Wrapping};
use crate::rtp::frame::rewrite;
use crate::rtp::red;
use crate::send_buffer::{MAX_DATAGRAM, SendBuffer};
use crate::transport::{SRTP_OVERHEAD, Transport};

/// How soon after a consumer began its receiver is told how the clocks relate.
const FIRST_REPORT: Duration = Duration::from_millis(100);

/// What the packets to one transport have in common.
struct Sender<'e> {
    now: Instant,
    path: Path,
    transport: &'e mut Transport,
    downlink: &'e mut Downlink,
    /// `now` as the downlink counts it.
    now_us: i64,
    abs_send_time: u32,
    rtt: Option<Duration>,
    out: &'e mut SendBuffer,
    dropped: &'e mut DropCounters,
}

/// The stream and place under which a packet goes.
struct Label {
    payload_type: PayloadType,
    ssrc: Ssrc,
    index: u64,
    timestamp: u32,
    picture: PictureNumbers,
    /// What precedes the payload of a retransmission (RFC 4588 §4).
    original: Option<u16>,
    /// What of the packet goes.
    content: Content,
}

/// What of a packet goes to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// The payload as it came.
    Whole,
    /// The payload, whose blocks are named anew (RFC 2198).
    Red,
    /// What is left without RED.
    Unwrapped,
    /// Padding goes in its place.
    Filled,
}

/// How a packet goes to a consumer, and under which payload type; `None` when the receiver could make nothing of it.
fn content(consumer: &Consumer, slot: &Slot) -> Option<(PayloadType, Content)> {
    let codec = &consumer.codec;
    match (slot.info.wrapping, codec.red) {
        (Wrapping::Plain, _) => Some((codec.payload_type, Content::Whole)),
        (Wrapping::Red { .. }, Some(red)) => Some((red, Content::Red)),
        (Wrapping::Red { .. }, None) => Some((codec.payload_type, Content::Unwrapped)),
        (Wrapping::Opaque, Some(red)) => Some((red, Content::Whole)),
        (Wrapping::Opaque, None) => None,
    }
}

impl Label {
    /// The payload that goes.
    fn payload<'s>(&self, slot: &'s Slot) -> &'s [u8] {
        match self.content {
            Content::Whole | Content::Red => slot.payload(),
            Content::Unwrapped => slot.unwrapped().unwrap_or_default(),
            Content::Filled => &[],
        }
    }
}

impl Engine {
    /// Sends what came since the last flush, and what was asked for again.
    pub(super) fn send_round(
        &mut self,
        now: Instant,
        out: &mut SendBuffer,
        part: usize,
        send: &mut dyn FnMut(&SendBuffer),
    ) {
        let mut fresh = std::mem::take(&mut self.fresh);
        for key in &fresh {
            if self.producers.get(*key).is_some_and(|producer| producer.layers_changed) {
                self.follow(now, *key);
            }
            if let Some(producer) = self.producers.get(*key).filter(|producer| !producer.paused) {
                for consumer in &producer.consumers {
                    queue_consumer(
                        *consumer,
                        &mut self.consumers,
                        &mut self.associations,
                        &mut self.sending,
                    );
                }
            }
        }
        let mut sending = std::mem::take(&mut self.sending);
        for key in sending.drain(..) {
            self.guarded(now, key, |engine| engine.send_to(now, key, out));
            if out.bytes().len() >= part {
                send(out);
                out.clear();
            }
        }
        self.sending = sending;
        for key in fresh.drain(..) {
            if let Some(producer) = self.producers.get_mut(key) {
                producer.round.clear();
            }
        }
        self.fresh = fresh;
        let mut wanted = std::mem::take(&mut self.key_frames_wanted);
        for (key, encoding) in wanted.drain(..) {
            if let Some(producer) = self.producers.get_mut(key) {
                producer.want_key_frame(now, encoding);
                let transport = producer.transport;
                self.queue_feedback(transport);
            }
        }
        self.key_frames_wanted = wanted;
    }

    /// Enters a consumer into the round.
    pub(super) fn queue_consumer(&mut self, key: Key<Consumer>) {
        queue_consumer(key, &mut self.consumers, &mut self.associations, &mut self.sending);
    }

    /// Sends what one transport's consumers have to send.
    fn send_to(&mut self, now: Instant, key: Key<Association>, out: &mut SendBuffer) {
        let abs_send_time = self.ntp(now).abs_send_time();
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        let mut pending = std::mem::take(&mut association.pending);
        let mut started = false;
        if let Some(path) = association.media_path() {
            let mut sender = Sender {
                now,
                path,
                transport: &mut association.transport,
                now_us: association.downlink.micros(now),
                downlink: &mut association.downlink,
                abs_send_time,
                rtt: association.rtt,
                out,
                dropped: &mut self.dropped,
            };
            for consumer in &pending {
                let Some(consumer) = self.consumers.get_mut(*consumer) else {
                    continue;
                };
                consumer.queued = false;
                let Some(producer) = self.producers.get(consumer.producer) else {
                    continue;
                };
                let no_room = consumer.kind == MediaKind::Video && consumer.target().is_none();
                if no_room {
                    consumer.stop_for_room();
                }
                if consumer.paused || producer.paused || no_room {
                    consumer.retransmit.clear();
                    continue;
                }
                sender.send_again(consumer, producer);
                match sender.send_fresh(consumer, producer) {
                    Outcome::Sent => {}
                    Outcome::Started => started = true,
                    Outcome::NeedsKeyFrame => self.key_frames_wanted.push((consumer.producer, consumer.encoding())),
                }
            }
        } else {
            for consumer in &pending {
                if let Some(consumer) = self.consumers.get_mut(*consumer) {
                    consumer.queued = false;
                    consumer.retransmit.clear();
                }
            }
        }
        pending.clear();
        association.pending = pending;
        if started {
            let due = association
                .report_due
                .map_or(now + FIRST_REPORT, |at| at.min(now + FIRST_REPORT));
            association.report_due = Some(due);
            association
                .planned
                .no_later_than(&mut self.timers, due, Due::Association(key));
        }
    }
}

fn queue_consumer(
    key: Key<Consumer>,
    consumers: &mut super::Slab<Consumer>,
    associations: &mut super::Slab<Association>,
    sending: &mut Vec<Key<Association>>,
) {
    let Some(consumer) = consumers.get_mut(key).filter(|consumer| !consumer.queued) else {
        return;
    };
    let Some(association) = associations.get_mut(consumer.transport) else {
        return;
    };
    consumer.queued = true;
    if association.pending.is_empty() {
        sending.push(consumer.transport);
    }
    association.pending.push(key);
}

/// Why a packet goes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The receiver misses it.
    Repair,
    /// The path is to carry more for a moment.
    Probe,
}

/// What a round was for a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Sent,
    Started,
    NeedsKeyFrame,
}

impl Sender<'_> {
    /// Sends a consumer's part of the round.
    fn send_fresh(&mut self, consumer: &mut Consumer, producer: &Producer) -> Outcome {
        let mut outcome = Outcome::Sent;
        // Packets up to this one were sent when the consumer began.
        let mut caught_up = self.send_past(consumer, producer);
        if caught_up.is_some() {
            outcome = Outcome::Started;
        } else if producer.round.is_empty() && consumer.kind == MediaKind::Video && consumer.is_waiting() {
            outcome = Outcome::NeedsKeyFrame;
        }
        for fresh in &producer.round {
            let Some(stream) = producer.streams.get(fresh.encoding) else {
                continue;
            };
            if caught_up.is_some_and(|(encoding, last)| encoding == fresh.encoding && fresh.extended <= last) {
                continue;
            }
            // A packet that was overtaken in its slot within one round is gone.
            let Some(slot) = stream.ring.get(fresh.extended) else {
                continue;
            };
            if producer.codec_kind(slot.info.codec) != Some(consumer.codec.kind) {
                // Should the publisher come back to the codec, that is a new beginning.
                consumer.mapping.stop();
                continue;
            }
            if content(consumer, slot).is_none() {
                self.dropped.opaque += 1;
                continue;
            }
            match consumer.decide(&slot.info, fresh.encoding, producer) {
                Decision::Skip => {}
                Decision::NeedKeyFrame => outcome = Outcome::NeedsKeyFrame,
                Decision::Send(mapped) => self.send_first(consumer, slot, mapped),
                Decision::Fill(mapped) => self.use_up(consumer, slot, mapped),
                Decision::Start(mapped) => {
                    outcome = Outcome::Started;
                    self.send_first(consumer, slot, mapped);
                    // What overtook it is in the ring already and will not come again.
                    caught_up = self
                        .send_later(consumer, producer, fresh.encoding, &slot.info)
                        .or(caught_up);
                }
            }
        }
        outcome
    }

    /// Lets a consumer begin with what is kept since the latest key frame, if it may. Gives up to where it was sent then.
    fn send_past(&mut self, consumer: &mut Consumer, producer: &Producer) -> Option<(usize, u64)> {
        let run = beginning(self.now, consumer, producer, self.downlink)?;
        let encoding = consumer.encoding();
        let stream = producer.streams.get(encoding)?;
        let (first, latest) = (stream.ring.get(run.first)?, stream.ring.get(stream.highest()?)?);
        let mapped = consumer.begin_with_past(&first.info, &latest.info, producer);
        let numbered = consumer.header.has_transport_cc();
        self.downlink.begin_burst(self.now, wire_bytes(&run), numbered);
        self.send_first(consumer, first, mapped);
        self.send_later(consumer, producer, encoding, &first.info);
        self.downlink.end_burst();
        Some((encoding, latest.info.extended))
    }

    /// Sends what the ring holds of a stream after the packet that a consumer began with. Gives up to where that is.
    fn send_later(
        &mut self,
        consumer: &mut Consumer,
        producer: &Producer,
        encoding: usize,
        first: &PacketInfo,
    ) -> Option<(usize, u64)> {
        let stream = producer.streams.get(encoding)?;
        let highest = stream.highest()?;
        let later = (first.extended + 1..=highest).filter_map(|extended| stream.ring.get(extended));
        let mut last = None;
        for slot in later.take_while(|slot| slot.info.epoch == first.epoch) {
            if let Decision::Send(mapped) = consumer.decide(&slot.info, encoding, producer) {
                self.send_first(consumer, slot, mapped);
            }
            last = Some((encoding, slot.info.extended));
        }
        last
    }

    fn send_first(&mut self, consumer: &mut Consumer, slot: &Slot, mapped: Mapped) {
        let Some((payload_type, content)) = content(consumer, slot) else {
            return;
        };
        let label = Label {
            payload_type,
            ssrc: consumer.ssrc,
            index: mapped.index,
            timestamp: mapped.timestamp,
            picture: mapped.picture,
            original: None,
            content,
        };
        let Some(sealed) = self.seal(consumer, slot, &label) else {
            return;
        };
        if let (Some(kept), Some(datagram)) = (&mut consumer.sealed, self.out.last()) {
            kept.keep(mapped.index, datagram);
        }
        let payload = label.payload(slot).len();
        consumer.sent(mapped, slot.info.arrival, payload, sealed);
    }

    /// Uses up the number of a packet that came too late to be left out: its receiver would ask for it again and again.
    fn use_up(&mut self, consumer: &mut Consumer, slot: &Slot, mapped: Mapped) {
        let label = Label {
            payload_type: consumer.codec.payload_type,
            ssrc: consumer.ssrc,
            index: mapped.index,
            timestamp: mapped.timestamp,
            picture: PictureNumbers::default(),
            original: None,
            content: Content::Filled,
        };
        if self.seal(consumer, slot, &label).is_some()
            && let (Some(kept), Some(datagram)) = (&mut consumer.sealed, self.out.last())
        {
            kept.keep(mapped.index, datagram);
        }
    }

    /// Answers what the receiver asked for.
    fn send_again(&mut self, consumer: &mut Consumer, producer: &Producer) {
        if !consumer.retransmit.is_asked() {
            return;
        }
        let asked = consumer.retransmit.take();
        for sequence in &asked {
            if self
                .send_one_again(consumer, producer, *sequence, Purpose::Repair)
                .is_none()
            {
                self.dropped.retransmissions += 1;
            }
        }
        consumer.retransmit.give_back(asked);
    }

    fn send_one_again(
        &mut self,
        consumer: &mut Consumer,
        producer: &Producer,
        sequence: u16,
        purpose: Purpose,
    ) -> Option<()> {
        let located = consumer.mapping.locate(sequence)?;
        let index = located.index;
        if let Some((payload_type, ssrc)) = consumer.rtx {
            let slot = producer.streams.get(located.encoding)?.ring.get(located.extended)?;
            let is_same =
                slot.info.epoch == located.epoch && producer.codec_kind(slot.info.codec) == Some(consumer.codec.kind);
            if !is_same {
                return None;
            }
            let len = slot.payload().len() + MAX_HEADER / 4;
            if purpose == Purpose::Repair && !consumer.retransmit.admit(self.now, index, len, self.rtt) {
                return None;
            }
            let filled = located.filled || !consumer.mapping.admitted(&located, &slot.info);
            let (timestamp, numbers) = consumer.mapping.numbers(&located, &slot.info)?;
            let picture = if filled { PictureNumbers::default() } else { numbers };
            let index = consumer.retransmit.take_rtx_index();
            let label = Label {
                payload_type,
                ssrc,
                index,
                timestamp,
                picture,
                original: Some(sequence),
                content: if filled { Content::Filled } else { Content::Whole },
            };
            self.seal(consumer, slot, &label)?;
        } else {
            // The same datagram again has no number of its own: nothing could be learnt from it.
            if purpose == Purpose::Probe {
                return None;
            }
            let datagram = consumer.sealed.as_ref()?.get(index)?;
            if !consumer.retransmit.admit(self.now, index, datagram.len(), self.rtt) {
                return None;
            }
            self.out.push(self.path, datagram);
        }
        consumer.stats.retransmitted += u64::from(purpose == Purpose::Repair);
        Some(())
    }

    /// Builds and seals a packet in place, and returns the datagram's length.
    fn seal(&mut self, consumer: &Consumer, slot: &Slot, label: &Label) -> Option<usize> {
        let payload = label.payload(slot);
        let filled = label.content == Content::Filled;
        let numbers = Numbers {
            payload_type: label.payload_type,
            ssrc: label.ssrc,
            sequence: label.index as u16,
            timestamp: label.timestamp,
            abs_send_time: self.abs_send_time,
            marker: label.picture.marker,
            frame: label.picture.frame,
            transport_cc: Some(self.downlink.next_number()),
        };
        let buffer = self.out.reserve(MAX_HEADER + 2 + payload.len() + SRTP_OVERHEAD);
        let header = buffer
            .first_chunk_mut()
            .expect("the buffer begins with room for the longest header");
        let header_len = if filled {
            consumer.header.write_padding(header, &numbers)
        } else {
            consumer.header.write(header, slot, &numbers)
        };
        let mut len = header_len;
        if let Some(original) = label.original {
            // Of a retransmission the padding is what is not there: nothing follows the original number.
            buffer[0] &= !PADDING;
            buffer[len..len + 2].copy_from_slice(&original.to_be_bytes());
            len += 2;
        } else if filled {
            // RFC 3550 §5.1: one byte of padding, which counts itself.
            buffer[len] = 1;
            len += 1;
        }
        let end = len + payload.len();
        if end + SRTP_OVERHEAD > MAX_DATAGRAM {
            self.dropped.oversized += 1;
            return None;
        }
        buffer[len..end].copy_from_slice(payload);
        let frame = &slot.info.frame;
        if label.content == Content::Red {
            red::rename(&mut buffer[len..end], consumer.codec.payload_type);
        }
        if (frame.picture_bits > 0 || frame.tl0.is_some()) && !filled {
            let PictureNumbers { picture, tl0, .. } = label.picture;
            rewrite(consumer.codec.kind, &mut buffer[len..end], frame, picture, tl0);
        }
        // The index grows by one a packet: 2^48 packets are not reached, and the transport refuses to go beyond.
        let roc = (label.index >> 16) as u32;
        match self
            .transport
            .protect_rtp(&mut buffer[..end + SRTP_OVERHEAD], end, header_len, roc)
        {
            Ok(sealed) => {
                self.out.commit(self.path, sealed);
                if consumer.header.has_transport_cc() {
                    self.downlink.sent(self.now_us, sealed);
                }
                Some(sealed)
            }
            Err(_) => {
                self.dropped.unsealed += 1;
                None
            }
        }
    }
}
