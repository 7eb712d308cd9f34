//! What happens to transports, and how things end.

use std::time::Instant;

use crate::consumer::Consumer;
use crate::control::{CloseReason, EventKind};
use crate::engine::slab::Key;
use crate::engine::{Association, Engine};
use crate::parameters::{ExtensionIds, Path};
use crate::producer::Producer;
use crate::producer::twcc::Arrivals;
use crate::transport::TransportEvent;

impl Engine {
    /// Acts on what a transport reports.
    pub(super) fn transport_events(&mut self, now: Instant, key: Key<Association>) {
        while let Some(association) = self.associations.get_mut(key) {
            let Some(event) = association.transport.poll_event() else {
                return;
            };
            let (router, transport) = (association.router, association.id);
            match event {
                TransportEvent::Connected => {
                    self.emit(router, EventKind::TransportConnected { transport });
                    self.begin_media(now, key);
                }
                TransportEvent::HandshakeBegun => self.emit(router, EventKind::HandshakeBegun { transport }),
                TransportEvent::Secured => {
                    association.report_due = Some(Self::first_report(now));
                    self.emit(router, EventKind::TransportSecured { transport });
                    self.begin_media(now, key);
                }
                TransportEvent::PathAdded(path) => {
                    if !std::mem::replace(&mut association.checked[usize::from(path.tcp)], true) {
                        let tcp = path.tcp;
                        self.emit(router, EventKind::TransportChecked { transport, tcp });
                    }
                    self.add_path(key, path);
                }
                TransportEvent::PathRemoved(path) => self.remove_path(key, path),
                // Each packet asks the transport for its path.
                TransportEvent::PathChanged { .. } => {}
                TransportEvent::Data { label, data, text } => {
                    if !association.budget.message(now, data.len()) {
                        self.dropped.messages += 1;
                        continue;
                    }
                    self.emit(
                        router,
                        EventKind::Data {
                            transport,
                            label,
                            data,
                            text,
                        },
                    );
                }
                TransportEvent::Closed(reason) => self.close_association(now, key, reason),
            }
        }
    }

    /// Tells a publisher what is due, and lets the consumers of a transport begin. Not before
    /// media has both its keys and its path, whichever comes last: clients may end the handshake before they nominate,
    /// and a key frame that comes in between would reach nobody.
    fn begin_media(&mut self, now: Instant, key: Key<Association>) {
        let Some(association) = self.associations.get(key).filter(|it| it.media_path().is_some()) else {
            return;
        };
        let consumers = association.consumers.clone();
        self.queue_feedback(key);
        self.share_anew(now, key);
        for consumer in consumers {
            if self.consumers.get(consumer).is_some_and(Consumer::is_waiting) {
                self.begin(now, consumer);
            }
        }
    }

    /// Enters a producer's SSRCs and header extensions into its transport's tables.
    pub(super) fn enter_producer(&mut self, transport: Key<Association>, key: Key<Producer>) {
        let Some(association) = self.associations.get_mut(transport) else {
            return;
        };
        let Some(producer) = self.producers.get(key) else {
            return;
        };
        association.ssrcs.enter(key, producer);
        self.agree_extensions(transport);
    }

    fn agree_extensions(&mut self, transport: Key<Association>) {
        let Some(association) = self.associations.get_mut(transport) else {
            return;
        };
        let mut agreed = ExtensionIds::default();
        let mut wants_arrivals = false;
        for producer in association.producers.iter().filter_map(|key| self.producers.get(*key)) {
            merge(&mut agreed, &producer.extensions);
            wants_arrivals |= producer.extensions.transport_cc.is_some()
                && producer.codecs.iter().any(|codec| codec.feedback.transport_cc);
        }
        association.extensions = agreed;
        if wants_arrivals {
            association
                .arrivals
                .get_or_insert_with(|| Arrivals::new(self.config.clock.0));
        } else {
            association.arrivals = None;
            association.arrivals_due = None;
        }
    }

    fn add_path(&mut self, key: Key<Association>, path: Path) {
        // Whoever passed the check last has the path: a reloaded page may get its old port again.
        if let Some(before) = self.paths.insert(path, key).filter(|before| *before != key)
            && let Some(before) = self.associations.get_mut(before)
        {
            before.paths.retain(|other| *other != path);
        }
        if let Some(association) = self.associations.get_mut(key)
            && !association.paths.contains(&path)
        {
            association.paths.push(path);
        }
    }

    /// Gives a path back to the transport that had it before another one took it while its client was silent: who forges a
    /// client's address has its path until the client's next check.
    pub(super) fn reclaim(&mut self, now: Instant, key: Key<Association>, path: Path) {
        let Some(other) = self.paths.get(&path).copied().filter(|other| *other != key) else {
            return;
        };
        if !self
            .associations
            .get(key)
            .is_some_and(|it| it.transport.owns_path(&path))
        {
            return;
        }
        self.add_path(key, path);
        if let Some(association) = self.associations.get_mut(other) {
            association.transport.drop_path(now, path);
        }
        self.transport_events(now, other);
        self.plan_transport(now, other);
    }

    fn remove_path(&mut self, key: Key<Association>, path: Path) {
        if self.paths.get(&path) == Some(&key) {
            self.paths.remove(&path);
        }
        if let Some(association) = self.associations.get_mut(key) {
            association.paths.retain(|other| *other != path);
        }
    }

    /// Ends a transport with what runs over it, and reports it. After [`CloseReason::Requested`] the client is told.
    pub(super) fn close_association(&mut self, now: Instant, key: Key<Association>, reason: CloseReason) {
        let Some(association) = self.associations.get(key) else {
            return;
        };
        for consumer in association.consumers.clone() {
            self.close_consumer(consumer);
        }
        for producer in self
            .associations
            .get(key)
            .map(|it| it.producers.clone())
            .unwrap_or_default()
        {
            self.close_producer(producer);
        }
        let Some(mut association) = self.associations.remove(key) else {
            return;
        };
        self.transport_ids.remove(&association.id);
        self.ended.add_path(&association);
        for ufrag in &association.ufrags {
            self.ufrags.remove(ufrag);
        }
        for path in &association.paths {
            if self.paths.get(path) == Some(&key) {
                self.paths.remove(path);
            }
        }
        if let Some(router) = self.routers.get_mut(association.router) {
            router.transports.retain(|other| *other != key);
        }
        if reason == CloseReason::Requested {
            association.transport.close(now, &mut self.control);
        }
        self.emit(
            association.router,
            EventKind::TransportClosed {
                transport: association.id,
                reason,
            },
        );
    }

    /// Ends a producer with its consumers and taps.
    pub(super) fn close_producer(&mut self, key: Key<Producer>) {
        let Some(producer) = self.producers.remove(key) else {
            return;
        };
        self.producer_ids.remove(&producer.id);
        self.ended.add_producer(&producer);
        for consumer in &producer.consumers {
            self.close_consumer(*consumer);
        }
        for tap in &producer.taps {
            self.tap_ids.remove(&tap.id);
        }
        if let Some(router) = self.routers.get_mut(producer.router) {
            router.audio.retain(|other| *other != key);
            router.piped.retain(|other| *other != key);
        }
        let Some(transport) = producer.transport() else { return };
        if let Some(association) = self.associations.get_mut(transport) {
            association.producers.retain(|other| *other != key);
            association.ssrcs.remove(key, &producer);
        }
        self.agree_extensions(transport);
    }

    /// Ends a consumer.
    pub(super) fn close_consumer(&mut self, key: Key<Consumer>) {
        let Some(consumer) = self.consumers.remove(key) else {
            return;
        };
        self.consumer_ids.remove(&consumer.id);
        self.ended.add_consumer(&consumer);
        if let Some(producer) = self.producers.get_mut(consumer.producer) {
            producer.consumers.retain(|other| *other != key);
        }
        if let Some(association) = self.associations.get_mut(consumer.transport) {
            association.forget_consumer(key, &consumer);
        }
    }
}

/// Takes the ids that are set in `from`.
fn merge(into: &mut ExtensionIds, from: &ExtensionIds) {
    into.mid = from.mid.or(into.mid);
    into.rid = from.rid.or(into.rid);
    into.repaired_rid = from.repaired_rid.or(into.repaired_rid);
    into.audio_level = from.audio_level.or(into.audio_level);
    into.abs_send_time = from.abs_send_time.or(into.abs_send_time);
    into.transport_cc = from.transport_cc.or(into.transport_cc);
    into.video_orientation = from.video_orientation.or(into.video_orientation);
    into.dependency_descriptor = from.dependency_descriptor.or(into.dependency_descriptor);
}
