//! Packets that go out: copied, rewritten and sealed into the send buffer.

mod fresh;
mod padding;

use std::time::{Duration, Instant};

use crate::consumer::Consumer;
use crate::consumer::mapping::{Mapped, PictureNumbers};
use crate::consumer::rewrite::{MAX_HEADER, Numbers, PADDING};
use crate::control::EventKind;
use crate::engine::ahead::AHEAD;
use crate::engine::backlog::Backlog;
use crate::engine::downlink::{Downlink, SLOT};
use crate::engine::slab::Key;
use crate::engine::timers::Due;
use crate::engine::{Association, DropCounters, Engine};
use crate::parameters::{MediaKind, Path, PayloadType, Ssrc};
use crate::producer::Producer;
use crate::producer::ring::{Slot, Wrapping};
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
    backlog: &'e mut Backlog,
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
        (Wrapping::Red { .. }, Some(red)) if !consumer.is_thrifty => Some((red, Content::Red)),
        (Wrapping::Red { .. }, _) => Some((codec.payload_type, Content::Unwrapped)),
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
        for some in sending.chunks(AHEAD) {
            self.expect_sending(some);
            for key in some {
                self.guarded(now, *key, |engine| engine.send_to(now, *key, out));
                if out.bytes().len() >= part {
                    send(out);
                    out.clear();
                }
            }
        }
        sending.clear();
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
                self.queue_request(key);
            }
        }
        self.key_frames_wanted = wanted;
    }

    /// Enters a consumer into the round.
    pub(super) fn queue_consumer(&mut self, key: Key<Consumer>) {
        queue_consumer(key, &mut self.consumers, &mut self.associations, &mut self.sending);
    }

    /// Lets a transport whose path may be given more of what waits be sent to in this round.
    pub(super) fn resume_waiting(&mut self, now: Instant, key: Key<Association>) {
        if let Some(association) = self.associations.get_mut(key)
            && association.paced_due.is_some_and(|at| at <= now)
        {
            association.paced_due = None;
            if !std::mem::replace(&mut association.sending, true) {
                self.sending.push(key);
            }
        }
    }

    /// Sends what one transport's consumers have to send.
    fn send_to(&mut self, now: Instant, key: Key<Association>, out: &mut SendBuffer) {
        let abs_send_time = self.ntp(now).abs_send_time();
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        association.sending = false;
        let mut pending = std::mem::take(&mut association.pending);
        let mut backlog = std::mem::take(&mut association.backlog);
        let mut started = false;
        let router = association.router;
        // Empty but for the rounds in which a consumer begins for the first time.
        let mut first_sent = Vec::new();
        if let Some(path) = association.media_path() {
            let mut sender = Sender {
                now,
                path,
                transport: &mut association.transport,
                now_us: association.downlink.micros(now),
                downlink: &mut association.downlink,
                backlog: &mut backlog,
                abs_send_time,
                rtt: association.rtt,
                out,
                dropped: &mut self.dropped,
            };
            let wanted = &mut self.key_frames_wanted;
            let mut take_note = |outcome, consumer: &mut Consumer| match outcome {
                Outcome::Sent => {}
                Outcome::Started => {
                    started = true;
                    if !std::mem::replace(&mut consumer.started, true) {
                        first_sent.push(consumer.id);
                    }
                }
                Outcome::NeedsKeyFrame => wanted.push((consumer.producer, consumer.encoding())),
            };
            while let Some((waiting, leave)) = sender.take_waiting() {
                let Some(consumer) = self.consumers.get_mut(waiting.consumer) else {
                    continue;
                };
                if let Some(producer) = self.producers.get(consumer.producer).filter(|it| flows(consumer, it)) {
                    take_note(sender.send_waiting(consumer, producer, (waiting, leave)), consumer);
                }
            }
            for key in &pending {
                let Some(consumer) = self.consumers.get_mut(*key) else {
                    continue;
                };
                consumer.queued = false;
                let Some(producer) = self.producers.get(consumer.producer) else {
                    continue;
                };
                if !flows(consumer, producer) {
                    if consumer.kind == MediaKind::Video && consumer.wanted().is_none() {
                        consumer.stop_for_room();
                    }
                    consumer.retransmit.clear();
                    continue;
                }
                sender.send_again(consumer, producer);
                let outcome = sender.send_fresh(*key, consumer, producer);
                take_note(outcome, consumer);
            }
            association.paced_due = (!backlog.is_empty()).then_some(now + SLOT);
            if let Some(due) = association.paced_due {
                association
                    .planned
                    .no_later_than(&mut self.timers, due, Due::Association(key));
            }
        } else {
            backlog.clear();
            association.paced_due = None;
            for consumer in &pending {
                if let Some(consumer) = self.consumers.get_mut(*consumer) {
                    consumer.queued = false;
                    consumer.retransmit.clear();
                }
            }
        }
        pending.clear();
        association.pending = pending;
        association.backlog = backlog;
        if started {
            let due = association
                .report_due
                .map_or(now + FIRST_REPORT, |at| at.min(now + FIRST_REPORT));
            association.report_due = Some(due);
            association
                .planned
                .no_later_than(&mut self.timers, due, Due::Association(key));
        }
        for consumer in first_sent {
            self.emit(router, EventKind::ConsumerStarted { consumer });
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
    if !std::mem::replace(&mut association.sending, true) {
        sending.push(consumer.transport);
    }
    association.pending.push(key);
}

/// Whether a track goes out now: nobody stopped it, and there are room and time for it.
fn flows(consumer: &Consumer, producer: &Producer) -> bool {
    let has_room = consumer.kind == MediaKind::Audio || consumer.wanted().is_some();
    has_room && !consumer.paused && !producer.paused
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
