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
use crate::producer::overrun::Load;
use crate::producer::stream::Stream;
use crate::producer::twcc::Arrivals;
use crate::rtcp::transport_cc::MAX_ENCODED;
use crate::send_buffer::SendBuffer;

/// How soon a request that is put off is thought of again.
const RECHECK: Duration = Duration::from_millis(50);

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
            let top = producer.streams.len().saturating_sub(1) as u8;
            if top == 0 {
                continue;
            }
            let (id, router) = (producer.id, producer.router);
            let was_relieved = producer.dynacast.is_relieved();
            let told = producer.dynacast.relieve(now, top);
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
        let copes = association.arrivals.as_mut().and_then(Arrivals::path);
        let (load, cap) = copes.map_or((Load::Fits, None), |path| (path.load(now), path.take_cap(now)));
        if load == Load::Choked {
            self.choked.extend(&association.producers);
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
                let pairs = &mut self.nack_pairs;
                pairs.clear();
                let oldest = stream.oldest();
                if stream.nack.deadline().is_some_and(|due| due <= now) && !is_watched(encoding) {
                    // What nobody watches is not worth repairing; who comes asks for a key frame.
                    stream.nack.clear();
                }
                if producer.kind == MediaKind::Video {
                    let is_stopped = encoding > 0 && producer.dynacast.is_relieved();
                    spare(now, stream, is_stopped, load);
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
                if load >= Load::Overrun && stream.key_frames.hold(now, RECHECK) {
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
        let media = media.unwrap_or(FEEDBACK_SSRC);
        if let Some(cap) = cap {
            // By its own means a browser comes down to what its path carries step by step, for a second.
            batch.add(|writer| writer.remb(FEEDBACK_SSRC, cap, &[media]));
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

/// Asks no more of a stream of pictures than its publisher's path can carry under this load.
fn spare(now: Instant, stream: &mut Stream, is_stopped: bool, load: Load) {
    if is_stopped {
        // It is to be sent no longer.
        stream.nack.clear();
        stream.key_frames.forget();
        return;
    }
    if load == Load::Choked {
        if stream.nack.deadline().is_some() {
            // Browsers send what is asked for again before anything new. A key frame, later, is less.
            stream.nack.clear();
            stream.has_given_up = true;
        }
    } else if std::mem::take(&mut stream.has_given_up) {
        stream.key_frames.request_if_idle(now);
    }
}
