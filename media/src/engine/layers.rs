//! Which layers go to whom, worked out anew when wishes, bandwidth or the layers themselves change.

use std::time::Instant;

use crate::consumer::Consumer;
use crate::control::EventKind;
use crate::engine::beginnings::beginning;
use crate::engine::slab::Key;
use crate::engine::timers::Due;
use crate::engine::{Association, Engine};
use crate::layers::{self, Layer};
use crate::producer::Producer;

impl Engine {
    /// Lets the consumers of a producer take what they are to have now, asks for the key frames this needs, and tells the
    /// publisher what nobody wants.
    pub(super) fn follow(&mut self, now: Instant, key: Key<Producer>) {
        let limit = self.limit(key);
        let Some(producer) = self.producers.get_mut(key) else {
            return;
        };
        if std::mem::take(&mut producer.layers_changed) {
            let comes = (0..producer.streams.len()).filter(|encoding| producer.layers.is_active(*encoding));
            let comes = comes.map(|encoding| encoding.to_string()).collect::<Vec<_>>().join(" ");
            tracing::debug!(producer.id = producer.id.0, comes, "what comes of a track changed");
        }
        producer.forget_silent();
        producer.dynacast.expire(now);
        // Encodings of which a key frame is needed, and the highest that is wanted.
        let mut needed = 0u32;
        let mut wanted = 0;
        for consumer in &producer.consumers {
            let Some(consumer) = self.consumers.get_mut(*consumer) else {
                continue;
            };
            if let Some(encoding) = consumer.follow(producer, limit) {
                let association = self.associations.get(consumer.transport);
                // Who can begin with what is kept needs none.
                let needs = |it: &Association| {
                    it.media_path().is_some() && beginning(now, consumer, producer, &it.downlink).is_none()
                };
                needed |= u32::from(association.is_some_and(needs)) << encoding;
            }
            if !consumer.paused {
                wanted = wanted.max(consumer.ceiling().spatial);
            }
        }
        if !producer.taps.is_empty() {
            wanted = Layer::TOP.spatial;
            let best = producer.nearest(Layer::TOP).0;
            if best != producer.tapped {
                needed |= 1 << best;
            }
        }
        for encoding in 0..producer.streams.len() {
            if needed & 1 << encoding != 0 {
                producer.want_key_frame(now, encoding);
            }
        }
        let told = match producer.streams.len() {
            0 | 1 => None,
            streams if producer.started => producer.dynacast.settle(now, wanted, streams as u8 - 1),
            _ => None,
        };
        let (id, router) = (producer.id, producer.router);
        if needed != 0 {
            self.queue_request(key);
        }
        if let Some(highest) = told {
            self.emit(router, EventKind::EncodingsWanted { producer: id, highest });
        }
    }

    /// Settles what a producer's layers bring in.
    pub(super) fn layers_due(&mut self, now: Instant, key: Key<Producer>) {
        let Some(producer) = self.producers.get_mut(key) else {
            return;
        };
        let goes_on = producer.layers.settle(now) || producer.dynacast.is_waiting();
        producer.planned_layers = goes_on.then_some(now + layers::INTERVAL);
        if let Some(due) = producer.planned_layers {
            self.timers.plan(due, Due::Producer(key));
        }
        self.follow(now, key);
    }

    /// Lets one consumer take what its bandwidth allows now. `resumes`: there was no room for it before.
    pub(super) fn follow_one(&mut self, now: Instant, key: Key<Consumer>, resumes: bool) {
        let producer = self.consumers.get(key).map(|consumer| consumer.producer);
        let limit = producer.map_or(Some(Layer::TOP), |producer| self.limit(producer));
        let Some(consumer) = self.consumers.get_mut(key) else {
            return;
        };
        let Some(producer) = self.producers.get_mut(consumer.producer) else {
            return;
        };
        let needed = consumer.follow(producer, limit);
        if resumes {
            self.request_key_frame_for(now, key);
        } else if needed.is_some() && consumer.is_waiting() {
            self.begin(now, key);
        } else if let Some(encoding) = needed {
            producer.want_key_frame(now, encoding);
            let producer = consumer.producer;
            self.queue_request(producer);
        }
    }

    /// Asks the publisher for the key frame that a consumer needs, at the end of the round, if the throttle allows.
    pub(super) fn request_key_frame_for(&mut self, now: Instant, key: Key<Consumer>) {
        let Some(consumer) = self.consumers.get(key) else {
            return;
        };
        let Some(producer) = self.producers.get_mut(consumer.producer) else {
            return;
        };
        // Of what it sees now, and of what it waits for.
        let live = consumer.mapping.live().map(|(encoding, _)| encoding);
        producer.request_key_frame(now, consumer.encoding());
        if let Some(live) = live.filter(|live| *live != consumer.encoding()) {
            producer.request_key_frame(now, live);
        }
        let producer = consumer.producer;
        self.queue_request(producer);
    }

    /// Asks the publisher for key frames of all that comes.
    pub(super) fn request_key_frames(&mut self, now: Instant, key: Key<Producer>) {
        let Some(producer) = self.producers.get_mut(key) else {
            return;
        };
        for encoding in 0..producer.streams.len() {
            producer.request_key_frame(now, encoding);
        }
        self.queue_request(key);
    }
}
