//! What receivers are given of what their paths carry, and how more is looked for.

use std::time::Instant;

use crate::bandwidth::allocator::{Demand, HEADROOM, Importance, Ladder, allocate};
use crate::bandwidth::estimator::Limit;
use crate::consumer::Consumer;
use crate::engine::downlink::{LITTLE_WAIT_MS, LONG_WAIT_MS, SLOT};
use crate::engine::slab::Key;
use crate::engine::timers::Due;
use crate::engine::{Association, Engine, Router};
use crate::layers::Layer;
use crate::parameters::{MediaKind, TransportId};
use crate::pressure::Pressure;
use crate::producer::Producer;
use crate::rtcp::transport_cc::Feedback;

/// Headers of a packet of sound on the wire: RTP with extensions, SRTP, UDP and IP.
const SOUND_HEADERS: u64 = 72;

/// The part of the budget that retransmissions may need at most.
const MAX_REPAIR: f64 = 0.25;

/// So many times the budget is too much to be sent any longer, if only until a lower encoding begins.
const OVERRUN: f64 = 1.5;

/// Where a budget became so small a part of the one before, nobody knows yet how little the path carries.
const COLLAPSED: f64 = 0.6;

/// What a camera that began just now may take, in bits a second: its layers are not measured yet.
const UNMEASURED: f64 = 2_000_000.0;

/// Memory that is kept from one sharing to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    consumers: Vec<Key<Consumer>>,
    demands: Vec<Demand>,
    order: Vec<usize>,
    targets: Vec<Option<Layer>>,
}

impl Engine {
    /// A receiver told what arrived.
    pub(super) fn arrivals_told(&mut self, now: Instant, key: Key<Association>, feedback: &Feedback<'_>) {
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        if association.downlink.feedback(now, feedback) {
            self.path_told(now, key);
        }
    }

    /// A receiver told how much it can take.
    pub(super) fn receiver_estimated(&mut self, now: Instant, key: Key<Association>, bits_per_second: u64) {
        if let Some(association) = self.associations.get_mut(key) {
            association.downlink.receiver_estimate(bits_per_second);
            self.path_told(now, key);
        }
    }

    /// Something new is known of a path: acts at once when it carries less than is given, or much more, else by and by.
    fn path_told(&mut self, now: Instant, key: Key<Association>) {
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        if association.downlink.is_changed() {
            self.share(now, key);
        }
        self.probe(now, key);
        self.plan_downlink(now, key);
    }

    /// Begins a probe if one is wanted, and sends what is due of it.
    fn probe(&mut self, now: Instant, key: Key<Association>) {
        let may_probe = self.pressure == Pressure::NONE;
        if let Some(association) = self.associations.get_mut(key) {
            if !may_probe {
                // A machine without time looks for no more to send.
                association.downlink.end_probe();
                return;
            }
            association.downlink.begin_probe(now);
        }
        self.send_probe(now, key);
    }

    /// The time of [`Downlink::due`](super::downlink::Downlink::due) has come.
    pub(super) fn downlink_due(&mut self, now: Instant, key: Key<Association>) {
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        let downlink = &mut association.downlink;
        downlink.due = None;
        downlink.tick(now);
        let since = downlink.shared.map(|at| now.saturating_duration_since(at));
        if since.is_none_or(|since| since >= downlink.share_interval()) {
            self.share(now, key);
        }
        self.probe(now, key);
        self.plan_downlink(now, key);
    }

    /// Shares out what a path carries, or is assumed to, to a track that is to begin.
    pub(super) fn share_anew(&mut self, now: Instant, key: Key<Association>) {
        let association = self.associations.get(key);
        if association.is_some_and(|association| association.media_path().is_some()) {
            self.share(now, key);
            self.plan_downlink(now, key);
        }
    }

    fn plan_downlink(&mut self, now: Instant, key: Key<Association>) {
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        let downlink = &mut association.downlink;
        let pause = match downlink.probe() {
            Some(_) => SLOT,
            None if downlink.estimate().is_none() && downlink.given == 0.0 => return,
            None => downlink.share_interval(),
        };
        let at = downlink.due.map_or(now + pause, |due| due.min(now + pause));
        downlink.due = Some(at);
        association
            .planned
            .no_later_than(&mut self.timers, at, Due::Association(key));
    }

    /// Shares what a path carries among the tracks that go over it.
    fn share(&mut self, now: Instant, key: Key<Association>) {
        let mut scratch = std::mem::take(&mut self.sharing);
        self.share_with(now, key, &mut scratch);
        self.sharing = scratch;
    }

    fn share_with(&mut self, now: Instant, key: Key<Association>, scratch: &mut Scratch) {
        let router = self.associations.get(key).map(|association| association.router);
        let speaking = router.map(|router| self.speaking(router)).unwrap_or_default();
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        scratch.consumers.clear();
        scratch.demands.clear();
        let (mut numbered, mut beside) = (0, 0);
        let mut flows = false;
        // The lowest layers of those who have nothing yet.
        let mut newcomers = 0.0;
        // What is sent now, whatever is wanted, and what may be sent without having been measured.
        let (mut live, mut unmeasured) = (0.0, 0.0);
        for consumer_key in &association.consumers {
            let Some(consumer) = self.consumers.get(*consumer_key) else {
                continue;
            };
            if consumer.kind == MediaKind::Audio {
                // Sound without numbers takes no part in what the estimate is of.
                let bytes = consumer.stats.payload_bytes + consumer.stats.packets * SOUND_HEADERS;
                if consumer.header.has_transport_cc() {
                    numbered += bytes;
                } else {
                    beside += bytes;
                }
                continue;
            }
            flows |= consumer.stats.packets > 0;
            let producer = self.producers.get(consumer.producer);
            let is_live = |producer: &&Producer| !producer.paused && !consumer.paused && !consumer.is_given_up();
            if let Some(producer) = producer.filter(is_live) {
                let demand = demand(consumer, producer, &speaking);
                if consumer.is_new() {
                    newcomers += demand.ladder.lowest_rate() * (1.0 + HEADROOM);
                }
                live += live_rate(consumer, producer);
                if !producer.layers.is_measured() {
                    unmeasured += UNMEASURED;
                }
                scratch.consumers.push(*consumer_key);
                scratch.demands.push(demand);
            }
        }
        let told = association.downlink.estimate();
        if told.is_none() && scratch.demands.is_empty() {
            return;
        }
        let Some(estimate) = told.or_else(|| association.downlink.assumed(now, flows)) else {
            association.downlink.unbound(now);
            let consumers = association.consumers.clone();
            self.unbind(now, &consumers);
            return;
        };
        let (sound, beside) = association.downlink.sound_rates(now, (numbered, beside));
        let is_thrifty = association.downlink.thrift(&estimate, sound, beside);
        for key in &association.consumers {
            if let Some(consumer) = self.consumers.get_mut(*key) {
                consumer.is_thrifty = is_thrifty;
            }
        }
        // Sound first, and what will have to go again: a rate that arrives has what is lost left out already.
        let again = match estimate.limit {
            Limit::Loss => estimate.loss.min(MAX_REPAIR),
            Limit::Delay | Limit::Receiver => 0.0,
        };
        let mut budget = (estimate.budget - sound) * (1.0 - again);
        if told.is_some_and(|told| !told.congested) {
            // What flows is not taken away without a sign that the path does not carry it, and nobody is kept out.
            let flows = |demand: &Demand| demand.current.map_or(0.0, |current| demand.ladder.rate_of(current));
            budget = budget.max(scratch.demands.iter().map(flows).sum::<f64>() + newcomers + 1.0);
        }
        if estimate.limit == Limit::Loss && estimate.loss < MAX_REPAIR && estimate.wait_ms < LITTLE_WAIT_MS {
            // What is lost without waiting is lost at any rate, or can be sent again: no picture ends for it.
            let lowest = |demand: &Demand| demand.current.map_or(0.0, |_| demand.ladder.lowest_rate());
            budget = budget.max(scratch.demands.iter().map(lowest).sum::<f64>() + 1.0);
        }
        let mut given = allocate(budget, &scratch.demands, &mut scratch.order, &mut scratch.targets);
        if told.is_none() {
            // What is only assumed keeps nobody out either.
            for (target, demand) in scratch.targets.iter_mut().zip(&scratch.demands) {
                if target.is_none() {
                    *target = demand.ladder.steps().first().map(|step| step.layer);
                    given += demand.ladder.lowest_rate();
                }
            }
        }
        let is_overrun = told.is_some() && live > OVERRUN * budget;
        let is_full = estimate.congested && (is_overrun || estimate.wait_ms > LONG_WAIT_MS);
        let collapses = is_full && estimate.budget < COLLAPSED * association.downlink.budget;
        let tops: f64 = scratch.demands.iter().map(|demand| demand.ladder.top_rate()).sum();
        let repair = 1.0 / (1.0 - estimate.loss.min(MAX_REPAIR));
        // A better layer is given only with some room beside it, which has to be found too.
        let wanted = given + (tops - given) * (1.0 + HEADROOM);
        association.downlink.shared = Some(now);
        association.downlink.budget = estimate.budget;
        association.downlink.given = given * repair + sound;
        association.downlink.unmeasured = unmeasured;
        association.downlink.desired = if given + 1.0 < tops {
            wanted * repair + sound
        } else {
            0.0
        };
        association.downlink.keep_pace();
        let transport = association.id.0;
        tracing::trace!(
            transport.id = transport,
            ?estimate,
            given,
            sound,
            beside,
            live,
            is_thrifty,
            "a path was shared out"
        );
        for ((key, target), demand) in scratch.consumers.iter().zip(&scratch.targets).zip(&scratch.demands) {
            let Some(consumer) = self.consumers.get_mut(*key) else {
                continue;
            };
            let before = consumer.target();
            let lowest = demand.ladder.steps().first().map_or(Layer::LOWEST, |step| step.layer);
            consumer.share(now, *target, lowest);
            let resumes = before.is_none() && consumer.target().is_some();
            if before.is_none() != consumer.target().is_none() {
                tracing::debug!(
                    transport.id = transport,
                    consumer.id = consumer.id.0,
                    has_room = consumer.target().is_some(),
                    ?estimate,
                    given,
                    "a path's share for a track began or ended"
                );
            }
            if let Some(producer) = self.producers.get(consumer.producer) {
                if collapses {
                    consumer.give_way(now, producer, lowest);
                }
                if is_overrun {
                    consumer.cut(producer);
                }
            }
            if before != consumer.target() {
                self.follow_one(now, *key, resumes);
            }
        }
    }

    /// Lets tracks have everything: nothing is told of their path, nor will be.
    fn unbind(&mut self, now: Instant, consumers: &[Key<Consumer>]) {
        for key in consumers {
            let Some(consumer) = self.consumers.get_mut(*key).filter(|it| it.is_bounded()) else {
                continue;
            };
            let resumes = consumer.target().is_none();
            consumer.unbind();
            self.follow_one(now, *key, resumes);
        }
    }

    /// The publishers of a room who speak now.
    pub(super) fn speaking(&self, router: Key<Router>) -> Speaking {
        let mut speaking = [None; MAX_SPEAKERS];
        let router = self.routers.get(router);
        let speakers = router.map(|router| router.speakers.reported()).unwrap_or_default();
        for (slot, speaker) in speaking.iter_mut().zip(speakers) {
            let producer = self.producer_ids.get(speaker).and_then(|key| self.producers.get(*key));
            *slot = producer.map(|producer| producer.publisher);
        }
        speaking
    }
}

/// Speakers whose cameras go first.
const MAX_SPEAKERS: usize = 3;

/// What a track is sent at, in bits a second.
fn live_rate(consumer: &Consumer, producer: &Producer) -> f64 {
    let mut rates = producer.layers.rates().iter();
    let current = consumer.current(producer);
    let live = current.and_then(|current| rates.rfind(|rate| rate.layer <= current));
    live.map_or(0.0, |rate| rate.bits_per_second as f64)
}

/// The transports of those who speak.
pub(super) type Speaking = [Option<TransportId>; MAX_SPEAKERS];

/// How much a picture matters.
pub(super) fn importance(producer: &Producer, speaking: &Speaking) -> Importance {
    if producer.content.screen {
        Importance::Screen
    } else if speaking.contains(&Some(producer.publisher)) {
        Importance::Speaker
    } else {
        Importance::Camera
    }
}

fn demand(consumer: &Consumer, producer: &Producer, speaking: &Speaking) -> Demand {
    let (rates, ceiling) = (producer.layers.rates(), consumer.ceiling());
    let wanted = rates.iter().rfind(|rate| rate.layer.spatial <= ceiling.spatial);
    Demand {
        ladder: Ladder::new(rates, ceiling, producer.content.screen),
        importance: importance(producer, speaking),
        pixels: wanted.map_or(0, |rate| u32::from(rate.width) * u32::from(rate.height)),
        current: consumer.share_before(),
    }
}
