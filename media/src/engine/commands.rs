//! Orders.

use std::time::Instant;

use crate::consumer::Consumer;
use crate::control::{CloseReason, Command, EventKind, TapItem, TapSink, TransportStats};
use crate::engine::association::MAX_RETIRED;
use crate::engine::slab::Key;
use crate::engine::{Association, Engine, Router, pipes};
use crate::layers::Layer;
use crate::parameters::{
    ConsumerId, ConsumerParameters, DtlsParameters, IceCredentials, MediaKind, ProducerId, ProducerParameters,
    RouterId, TapId, TransportId,
};
use crate::producer::{Origin, Producer, Tap};
use crate::transport::Transport;

impl Engine {
    /// Carries out an order.
    pub fn handle(&mut self, now: Instant, command: Command) {
        if self.carry_out(now, command).is_none() {
            self.dropped.commands += 1;
        }
    }

    /// `None` for an order that names something unknown or exceeds a limit.
    fn carry_out(&mut self, now: Instant, command: Command) -> Option<()> {
        match command {
            Command::OpenRouter { router } => self.open_router(router),
            Command::CloseRouter { router } => self.close_router(now, router),
            Command::OpenTransport {
                router,
                transport,
                local,
            } => self.open_transport(now, router, transport, local),
            Command::ConnectTransport {
                transport,
                local,
                remote,
                dtls,
            } => self.connect_transport(now, transport, local, remote, dtls),
            Command::CloseTransport { transport } => {
                let key = *self.transport_ids.get(&transport)?;
                self.close_association(now, key, CloseReason::Requested);
                Some(())
            }
            Command::Produce {
                transport,
                producer,
                parameters,
            } => self.produce(transport, producer, &parameters),
            Command::UpdateProducer { producer, parameters } => self.update_producer(producer, &parameters),
            Command::PauseProducer { producer, paused } => self.pause_producer(now, producer, paused),
            Command::CloseProducer { producer } => {
                let key = *self.producer_ids.get(&producer)?;
                self.close_producer(key);
                Some(())
            }
            Command::Pipe { producer, to } => self.pipe(producer, to),
            Command::Unpipe { producer, to } => self.unpipe(producer, to),
            Command::ProducePiped {
                router,
                producer,
                home,
                publisher,
                parameters,
            } => self.produce_piped(router, producer, home, publisher, parameters),
            Command::Consume {
                transport,
                producer,
                consumer,
                parameters,
                paused,
            } => self.consume(now, transport, producer, consumer, parameters, paused),
            Command::PauseConsumer { consumer, paused } => self.pause_consumer(now, consumer, paused),
            Command::PreferLayers { consumer, preference } => {
                let key = *self.consumer_ids.get(&consumer)?;
                let consumer = self.consumers.get_mut(key)?;
                consumer.prefer(preference);
                let (producer, transport) = (consumer.producer, consumer.transport);
                self.follow(now, producer);
                self.share_anew(now, transport);
                Some(())
            }
            Command::DescribeProducer { producer, content } => {
                let key = *self.producer_ids.get(&producer)?;
                self.producers.get_mut(key)?.content = content;
                self.follow(now, key);
                Some(())
            }
            Command::LimitVoices { router, loudest } => {
                let key = *self.router_ids.get(&router)?;
                self.limit_voices(key, loudest.map(|loudest| loudest.max(1)));
                Some(())
            }
            Command::CloseConsumer { consumer } => {
                let key = *self.consumer_ids.get(&consumer)?;
                self.close_consumer(key);
                Some(())
            }
            Command::RequestKeyFrame { producer } => {
                let key = *self.producer_ids.get(&producer)?;
                self.request_key_frames(now, key);
                Some(())
            }
            Command::Tap { producer, tap, sink } => self.tap(now, producer, tap, sink),
            Command::Untap { tap } => self.untap(tap),
            Command::SendData {
                transport,
                label,
                data,
                text,
            } => {
                let key = *self.transport_ids.get(&transport)?;
                self.guarded(now, key, |engine| engine.send_data(now, key, &label, &data, text));
                Some(())
            }
            Command::Stats { router, request } => self.stats(router, request),
        }
    }

    fn open_router(&mut self, id: RouterId) -> Option<()> {
        if self.router_ids.contains_key(&id) {
            return None;
        }
        let key = self.routers.insert_with(|_| Router::new(id));
        self.router_ids.insert(id, key);
        Some(())
    }

    fn close_router(&mut self, now: Instant, id: RouterId) -> Option<()> {
        let key = *self.router_ids.get(&id)?;
        for transport in self.routers.get(key)?.transports.clone() {
            self.close_association(now, transport, CloseReason::Requested);
        }
        for producer in self.routers.get(key)?.piped.clone() {
            self.close_producer(producer);
        }
        self.router_ids.remove(&id);
        self.routers.remove(key).map(drop)
    }

    fn open_transport(&mut self, now: Instant, router: RouterId, id: TransportId, local: IceCredentials) -> Option<()> {
        let router = *self.router_ids.get(&router)?;
        if self.transport_ids.contains_key(&id) || self.ufrags.contains_key(&local.ufrag) {
            return None;
        }
        let ufrag = local.ufrag.clone();
        let transport = Transport::new(now, self.config.transport.clone(), local);
        let association = Association::new(now, id, router, transport, ufrag.clone());
        let key = self.associations.insert_with(|_| association);
        self.transport_ids.insert(id, key);
        self.ufrags.insert(ufrag, key);
        self.routers.get_mut(router)?.transports.push(key);
        self.plan_transport(now, key);
        Some(())
    }

    fn connect_transport(
        &mut self,
        now: Instant,
        id: TransportId,
        local: Option<IceCredentials>,
        remote: Option<IceCredentials>,
        dtls: DtlsParameters,
    ) -> Option<()> {
        let key = *self.transport_ids.get(&id)?;
        if let Some(local) = &local {
            if self.ufrags.get(&local.ufrag).is_some_and(|other| *other != key) {
                return None;
            }
            let association = self.associations.get_mut(key)?;
            if self.ufrags.insert(local.ufrag.clone(), key).is_none() {
                association.ufrags.push(local.ufrag.clone());
            }
            // Those before the last two are out of use for good.
            while association.ufrags.len() > 2 {
                self.ufrags.remove(&association.ufrags.remove(0));
            }
        }
        self.guarded(now, key, |engine| {
            if let Some(association) = engine.associations.get_mut(key) {
                association
                    .transport
                    .connect(now, local, remote, dtls, &mut engine.control);
            }
            engine.transport_events(now, key);
            engine.plan_transport(now, key);
        });
        Some(())
    }

    fn produce(&mut self, transport: TransportId, id: ProducerId, parameters: &ProducerParameters) -> Option<()> {
        let limits = self.config.limits;
        let transport_key = *self.transport_ids.get(&transport)?;
        let association = self.associations.get_mut(transport_key)?;
        let within_limits = association.producers.len() < limits.producers_per_transport
            && (1..=limits.encodings_per_producer).contains(&parameters.encodings.len())
            && !parameters.codecs.is_empty();
        if !within_limits || self.producer_ids.contains_key(&id) {
            return None;
        }
        let router = association.router;
        let origin = Origin::Transport(transport_key);
        let key = self
            .producers
            .insert_with(|_| Producer::new(id, router, origin, transport, parameters));
        self.producer_ids.insert(id, key);
        association.producers.push(key);
        if parameters.kind == MediaKind::Audio {
            let audible = self
                .routers
                .get(router)
                .is_some_and(|router| self.has_free_voice(router));
            if let Some(producer) = self.producers.get_mut(key) {
                producer.audible = audible;
            }
            if let Some(router) = self.routers.get_mut(router) {
                router.audio.push(key);
            }
        }
        self.enter_producer(transport_key, key);
        Some(())
    }

    fn update_producer(&mut self, id: ProducerId, parameters: &ProducerParameters) -> Option<()> {
        let key = *self.producer_ids.get(&id)?;
        let producer = self.producers.get_mut(key)?;
        let acceptable = (1..=self.config.limits.encodings_per_producer).contains(&parameters.encodings.len())
            && !parameters.codecs.is_empty()
            && parameters.kind == producer.kind;
        if !acceptable {
            return None;
        }
        let Some(transport) = producer.transport() else {
            producer.update(&pipes::without_ssrcs(parameters.clone()));
            return Some(());
        };
        producer.update(parameters);
        self.associations.get_mut(transport)?.ssrcs.remove(key, producer);
        self.enter_producer(transport, key);
        Some(())
    }

    fn pause_producer(&mut self, now: Instant, id: ProducerId, paused: bool) -> Option<()> {
        let key = *self.producer_ids.get(&id)?;
        let producer = self.producers.get_mut(key)?;
        if std::mem::replace(&mut producer.paused, paused) == paused {
            return Some(());
        }
        producer.observe(|| TapItem::Paused(paused));
        if paused {
            producer.round.clear();
            for stream in &mut producer.streams {
                stream.nack.clear();
                // What comes while it is muted is for nobody, later either.
                stream.forget_run();
            }
            for consumer in &producer.consumers {
                if let Some(consumer) = self.consumers.get_mut(*consumer) {
                    consumer.mapping.stop();
                }
            }
        } else {
            self.request_key_frames(now, key);
        }
        Some(())
    }

    fn consume(
        &mut self,
        now: Instant,
        transport: TransportId,
        producer: ProducerId,
        id: ConsumerId,
        parameters: ConsumerParameters,
        paused: bool,
    ) -> Option<()> {
        let transport_key = *self.transport_ids.get(&transport)?;
        let producer_key = *self.producer_ids.get(&producer)?;
        let association = self.associations.get_mut(transport_key)?;
        let producer = self.producers.get_mut(producer_key)?;
        let (ssrc, rtx_ssrc) = (
            parameters.ssrc,
            parameters.rtx_ssrc.filter(|_| parameters.codec.rtx.is_some()),
        );
        let acceptable = association.router == producer.router
            && parameters.kind == producer.kind
            && parameters.codec.kind.media() == producer.kind
            && association.consumers.len() < self.config.limits.consumers_per_transport
            && association.retired.len() < MAX_RETIRED
            && !self.consumer_ids.contains_key(&id)
            && association.is_free(ssrc)
            && rtx_ssrc.is_none_or(|rtx| rtx != ssrc && association.is_free(rtx));
        if !acceptable {
            return None;
        }
        let first_index = association.first_index(ssrc);
        let first_rtx_index = rtx_ssrc.map_or(0, |rtx| association.first_index(rtx));
        let consumer = Consumer::new(
            id,
            transport_key,
            producer_key,
            parameters,
            paused,
            first_index,
            first_rtx_index,
        );
        let key = self.consumers.insert_with(|_| consumer);
        self.consumer_ids.insert(id, key);
        association.consumers.push(key);
        association.consumer_ssrcs.insert(ssrc.0, key);
        if let Some(rtx) = rtx_ssrc {
            association.consumer_ssrcs.insert(rtx.0, key);
        }
        producer.consumers.push(key);
        if !paused {
            self.share_anew(now, transport_key);
        }
        self.follow(now, producer_key);
        if !paused {
            self.begin(now, key);
        }
        Some(())
    }

    fn pause_consumer(&mut self, now: Instant, id: ConsumerId, paused: bool) -> Option<()> {
        let key = *self.consumer_ids.get(&id)?;
        let consumer = self.consumers.get_mut(key)?;
        if consumer.paused == paused {
            return Some(());
        }
        consumer.pause(paused);
        let (transport, producer) = (consumer.transport, consumer.producer);
        if !paused {
            self.share_anew(now, transport);
        }
        self.follow(now, producer);
        if !paused {
            self.begin(now, key);
        }
        Some(())
    }

    fn tap(&mut self, now: Instant, producer: ProducerId, id: TapId, sink: Box<dyn TapSink>) -> Option<()> {
        let key = *self.producer_ids.get(&producer)?;
        let producer = self.producers.get_mut(key)?;
        if producer.taps.len() >= self.config.limits.taps_per_producer || self.tap_ids.contains_key(&id) {
            return None;
        }
        producer.taps.push(Tap { id, sink });
        self.tap_ids.insert(id, key);
        producer.tapped = producer.nearest(Layer::TOP).0;
        let tapped = producer.tapped;
        producer.request_key_frame(now, tapped);
        self.queue_request(key);
        self.follow(now, key);
        Some(())
    }

    fn untap(&mut self, id: TapId) -> Option<()> {
        let key = self.tap_ids.remove(&id)?;
        self.producers.get_mut(key)?.taps.retain(|tap| tap.id != id);
        Some(())
    }

    fn send_data(&mut self, now: Instant, key: Key<Association>, label: &str, data: &[u8], text: bool) {
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        if let Err(error) = association
            .transport
            .send_data(now, label, data, text, &mut self.control)
        {
            self.dropped.messages += 1;
            tracing::debug!(transport.id = association.id.0, %error, "a data channel message was dropped");
        }
        self.transport_events(now, key);
        self.plan_transport(now, key);
    }

    fn stats(&mut self, router: RouterId, request: u64) -> Option<()> {
        let key = *self.router_ids.get(&router)?;
        let transports = self.routers.get(key)?.transports.iter().filter_map(|transport| {
            let association = self.associations.get(*transport)?;
            let producers = association.producers.iter().filter_map(|key| self.producers.get(*key));
            let consumers = association.consumers.iter().filter_map(|key| self.consumers.get(*key));
            Some(TransportStats {
                transport: association.id,
                rtt_ms: association.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
                bytes_received: association.transport.bytes_received(),
                bytes_sent: association.transport.bytes_sent(),
                score: association.quality.score(),
                downlink: association.downlink.stats(),
                producers: producers.map(Producer::snapshot).collect(),
                consumers: consumers
                    .map(|consumer| consumer.snapshot(self.producers.get(consumer.producer)))
                    .collect(),
            })
        });
        let transports = transports.collect();
        self.emit(key, EventKind::Stats { request, transports });
        Some(())
    }
}
