//! What publishers are told at once: which packets are missing, that a key frame is wanted, when packets arrived.

use std::time::{Duration, Instant};

use crate::control::EventKind;
use crate::engine::rtcp_batch::RtcpBatch;
use crate::engine::slab::Key;
use crate::engine::timers::Due;
use crate::engine::{Association, Engine};
use crate::layers::Layer;
use crate::parameters::{MediaKind, Ssrc};
use crate::producer::nack::GaveUp;
use crate::rtcp::transport_cc::MAX_ENCODED;
use crate::send_buffer::SendBuffer;

/// How soon a request that is put off is thought of again.
const RECHECK: Duration = Duration::from_millis(50);

/// A client whose path is choked is to send this part of what arrives, until so long after it is not choked any more.
const CAP: f64 = 0.85;
const CAPPED: Duration = Duration::from_secs(1);
/// It may always send sound and the lowest size, in bits a second.
const LEAST_CAP: u64 = 150_000;

/// What a client may send in any case, in bits a second.
pub(super) const UNCAPPED: u64 = 1_000_000_000;

/// Our SSRC in feedback. It names no stream.
pub(super) const FEEDBACK_SSRC: Ssrc = Ssrc(1);

impl Engine {
    /// Lets a transport's publisher be told, at the end of the round, what is due.
    pub(super) fn queue_feedback(&mut self, key: Key<Association>) {
        if let Some(association) = self.associations.get_mut(key).filter(|it| !it.feedback_queued) {
            association.feedback_queued = true;
            self.feedback.push(key);
        }
    }

    /// Tells publishers what is due.
    pub(super) fn send_feedback(&mut self, now: Instant, out: &mut SendBuffer) {
        let mut feedback = std::mem::take(&mut self.feedback);
        for key in feedback.drain(..) {
            self.guarded(now, key, |engine| engine.send_feedback_to(now, key, out));
        }
        // Nothing above queues feedback; still, what would be there is kept.
        feedback.append(&mut self.feedback);
        self.feedback = feedback;
        self.relieve_publishers(now);
    }

    /// Tells publishers whose paths lose most to send less, and lets receivers be content with that.
    fn relieve_publishers(&mut self, now: Instant) {
        let mut choked = std::mem::take(&mut self.choked);
        for key in choked.drain(..) {
            let Some(producer) = self.producers.get_mut(key).filter(|it| it.started) else {
                continue;
            };
            let Some(top) = producer.streams.len().checked_sub(2) else {
                continue;
            };
            let (id, router) = (producer.id, producer.router);
            let was_relieved = producer.dynacast.is_relieved();
            let told = producer.dynacast.relieve(now, top as u8 + 1);
            if let Some(highest) = told {
                tracing::debug!(producer.id = id.0, "a publisher's path loses most of what it sends");
                self.emit(router, EventKind::EncodingsWanted { producer: id, highest });
            }
            if !was_relieved {
                self.follow(now, key);
            }
        }
        self.choked = choked;
    }

    fn send_feedback_to(&mut self, now: Instant, key: Key<Association>, out: &mut SendBuffer) {
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        association.feedback_queued = false;
        // Requested again when the transport is secured.
        let Some(path) = association.media_path() else { return };
        let arrivals = association.arrivals.as_ref();
        let is_overrun = arrivals.is_some_and(|arrivals| arrivals.is_overrun(now));
        let is_choking = arrivals.is_some_and(|arrivals| arrivals.is_choking(now));
        let is_choked = arrivals.is_some_and(|arrivals| arrivals.is_choked(now));
        let mut cap = None;
        if is_choked {
            self.choked.extend(&association.producers);
            cap = arrivals.map(|arrivals| ((arrivals.rate() * CAP) as u64).max(LEAST_CAP));
            association.capped_until = Some(now + CAPPED);
        } else if association.capped_until.is_some_and(|until| until <= now) {
            association.capped_until = None;
            cap = Some(UNCAPPED);
        }
        let mut batch = RtcpBatch::new(&mut association.transport, path, out);
        let mut next: Option<Instant> = None;
        let mut media = None;
        for producer in &association.producers {
            let Some(producer) = self.producers.get_mut(*producer) else {
                continue;
            };
            let best = producer.nearest(Layer::TOP).0;
            let (tapped, has_taps, is_piped) = (producer.tapped, !producer.taps.is_empty(), !producer.pipes.is_empty());
            let watchers = &producer.consumers;
            let is_watched = |encoding| {
                let mut watchers = watchers.iter().filter_map(|key| self.consumers.get(*key));
                let is_taken = is_piped || has_taps && (encoding == tapped || encoding == best);
                is_taken || watchers.any(|consumer| consumer.watches(encoding))
            };
            for (encoding, stream) in producer.streams.iter_mut().enumerate() {
                let Some(ssrc) = stream.ssrc else { continue };
                media = media.or(Some(ssrc));
                if producer.kind == MediaKind::Video {
                    if producer.dynacast.is_relieved() && encoding > 0 {
                        // It is to be sent no longer.
                        stream.nack.clear();
                        stream.key_frames.forget();
                    } else if is_choked && stream.nack.deadline().is_some() {
                        // Browsers send what is asked for again before anything new. A key frame, later, is less.
                        stream.nack.clear();
                        stream.has_given_up = true;
                    } else if is_choking {
                        stream.nack.hold(now + RECHECK);
                    } else if std::mem::take(&mut stream.has_given_up) {
                        stream.key_frames.request_if_idle(now);
                    }
                }
                let pairs = &mut self.nack_pairs;
                pairs.clear();
                let oldest = stream.oldest();
                if stream.nack.deadline().is_some_and(|due| due <= now) && !is_watched(encoding) {
                    // What nobody watches is not worth repairing; who comes asks for a key frame.
                    stream.nack.clear();
                }
                let GaveUp(gave_up) = stream.nack.take_due(now, oldest, pairs);
                if gave_up && producer.kind == MediaKind::Video && !producer.paused {
                    stream.key_frames.request_if_idle(now);
                }
                if !pairs.is_empty() {
                    producer.stats.nacks += pairs
                        .iter()
                        .map(|(_, mask)| 1 + u64::from(mask.count_ones()))
                        .sum::<u64>();
                    batch.add(|writer| writer.nack(FEEDBACK_SSRC, ssrc, pairs));
                }
                let feedback = stream.feedback(&producer.codecs);
                if is_overrun && stream.key_frames.hold(now, RECHECK) {
                    // On a path that is full a key frame, of all encodings often, would be lost and delay what is not.
                } else if let Some(number) = stream.key_frames.take_due(now) {
                    tracing::debug!(
                        producer.id = producer.id.0,
                        encoding,
                        gave_up,
                        "a key frame is asked for"
                    );
                    if feedback.pli {
                        producer.stats.key_frame_requests += 1;
                        batch.add(|writer| writer.picture_loss(FEEDBACK_SSRC, ssrc));
                    } else if feedback.fir {
                        producer.stats.key_frame_requests += 1;
                        batch.add(|writer| writer.full_intra(FEEDBACK_SSRC, ssrc, number));
                    }
                }
                next = [next, stream.nack.deadline(), stream.key_frames.deadline()]
                    .into_iter()
                    .flatten()
                    .min();
            }
        }
        if let Some((cap, media)) = cap.filter(|cap| association.cap != Some(*cap)).zip(media) {
            // By its own means a browser comes down to what its path carries step by step, for a second.
            batch.add(|writer| writer.remb(FEEDBACK_SSRC, cap, &[media]));
            association.cap = Some(cap);
        }
        if let Some(arrivals) = association
            .arrivals
            .as_mut()
            .filter(|_| association.arrivals_due.is_some())
        {
            if association.arrivals_due.is_some_and(|due| due <= now) {
                association.arrivals_due = None;
                let mut encoded = [0; MAX_ENCODED];
                while let Some(len) = arrivals.take(&mut encoded) {
                    let media = media.unwrap_or(FEEDBACK_SSRC);
                    batch.add(|writer| writer.transport_cc(FEEDBACK_SSRC, media, &encoded[..len]));
                }
            } else {
                next = next.into_iter().chain(association.arrivals_due).min();
            }
        }
        self.dropped.unsealed += batch.finish();
        if let Some(at) = next {
            association
                .planned
                .no_later_than(&mut self.timers, at, Due::Association(key));
        }
    }
}
