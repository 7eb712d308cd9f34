//! The forwarding engine: datagrams, commands and the time go in; datagrams and events come out.
//!
//! The way of a datagram: [`Engine::receive`] finds its transport, which decrypts it; a packet is parsed once and kept in its
//! producer's ring (`ingress`), reports and requests are acted upon (`rtcp`). [`Engine::flush`] ends the round: transport by
//! transport and consumer by consumer, packets are rewritten and sealed (`egress`), then feedback goes to publishers
//! (`feedback`). Reports go out by the clock (`reports`).
//!
//! A panic while a transport is handled closes that transport with [`CloseReason::Internal`] and no other.
//!
//! What receivers tell of their paths bounds what they are given (`downlink`, `sharing`), and how much at once (`backlog`). Which
//! layers a consumer gets follows from that, from its wish, from what comes, and from what there is time for (`layers`,
//! `pressed`). A new one begins with what is kept, where it can (`beginnings`).
//!
//! What goes to receivers of other engines, and comes from them, is the business of `pipes`.
//!
//! Absent on purpose: sockets, clocks and signaling.
//!
//! [`CloseReason::Internal`]: crate::control::CloseReason::Internal

mod ahead;
mod association;
mod backlog;
mod beginnings;
mod budget;
mod commands;
mod config;
mod demux;
mod downlink;
mod egress;
mod feedback;
mod ingress;
mod layers;
mod lifecycle;
mod pipes;
mod pressed;
mod quality;
mod redundancy;
mod reports;
mod router;
mod rtcp;
mod rtcp_batch;
mod sharing;
pub(crate) mod slab;
pub(crate) mod speakers;
pub(crate) mod timers;
mod totals;
mod voices;

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

pub(crate) use self::association::Association;
pub use self::config::{Counts, DropCounters, EngineConfig, Limits};
pub(crate) use self::router::Router;
pub use self::totals::Totals;
use crate::consumer::Consumer;
use crate::control::{CloseReason, Event, EventKind};
use crate::engine::ahead::AHEAD;
use crate::engine::slab::{Key, Slab};
use crate::engine::timers::{Due, Timers};
use crate::ice;

use crate::parameters::{ConsumerId, Path, ProducerId, RouterId, TapId, TransportId};
use crate::pressure::Pressure;
use crate::producer::Producer;
use crate::rtcp::NtpTime;
use crate::send_buffer::SendBuffer;
use crate::transport::Received;

/// Keys are addresses, SSRCs and ids: short, and some of them a client's choice, for which the hash is seeded.
pub(crate) type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Events kept for whoever polls them. Beyond it, messages and speakers are dropped, never the fate of a transport.
const MAX_EVENTS: usize = 16_384;

/// How long a path is its transport's alone after something authentic came on it. A client that loses its page, and gets its
/// port again for the next one, is silent at once and repeats its checks.
const IN_USE: Duration = Duration::from_secs(1);

/// The least time to a timer.
const MIN_TIMER: Duration = Duration::from_millis(1);

/// The media of all routers that one worker thread serves.
pub struct Engine {
    config: EngineConfig,
    routers: Slab<Router>,
    associations: Slab<Association>,
    producers: Slab<Producer>,
    consumers: Slab<Consumer>,
    router_ids: FastMap<RouterId, Key<Router>>,
    transport_ids: FastMap<TransportId, Key<Association>>,
    producer_ids: FastMap<ProducerId, Key<Producer>>,
    consumer_ids: FastMap<ConsumerId, Key<Consumer>>,
    tap_ids: FastMap<TapId, Key<Producer>>,
    /// Paths that a transport has validated.
    paths: FastMap<Path, Key<Association>>,
    /// Our side of the credentials, for checks on new paths.
    ufrags: FastMap<String, Key<Association>>,
    timers: Timers,
    events: VecDeque<Event>,
    /// What transports answered since the last flush.
    control: SendBuffer,
    /// Producers with packets since the last flush.
    fresh: Vec<Key<Producer>>,
    /// Transports with consumers that have something to send.
    sending: Vec<Key<Association>>,
    /// Transports whose publisher is to be told something.
    feedback: Vec<Key<Association>>,
    /// Tracks whose publishers' paths lose most of them.
    choked: Vec<Key<Producer>>,
    /// Streams whose consumers wait for a key frame that nobody asked for yet.
    key_frames_wanted: Vec<(Key<Producer>, usize)>,
    /// What is to go to other engines.
    outgoing: pipes::Outgoing,
    /// Scratch memory of one NACK.
    nack_pairs: Vec<(u16, u16)>,
    /// Scratch memory of sharing out what a path carries.
    sharing: sharing::Scratch,
    pressure: Pressure,
    dropped: DropCounters,
    /// What was counted of producers, consumers and transports that are gone.
    ended: Totals,
}

impl Engine {
    /// An engine without routers.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            routers: Slab::default(),
            associations: Slab::default(),
            producers: Slab::default(),
            consumers: Slab::default(),
            router_ids: FastMap::default(),
            transport_ids: FastMap::default(),
            producer_ids: FastMap::default(),
            consumer_ids: FastMap::default(),
            tap_ids: FastMap::default(),
            paths: FastMap::default(),
            ufrags: FastMap::default(),
            timers: Timers::default(),
            events: VecDeque::new(),
            control: SendBuffer::default(),
            fresh: Vec::new(),
            sending: Vec::new(),
            feedback: Vec::new(),
            choked: Vec::new(),
            key_frames_wanted: Vec::new(),
            outgoing: pipes::Outgoing::default(),
            nack_pairs: Vec::new(),
            sharing: sharing::Scratch::default(),
            pressure: Pressure::NONE,
            dropped: DropCounters::default(),
            ended: Totals::default(),
        }
    }

    /// Takes a datagram that came on `path`; it is decrypted in place. What it makes the engine send waits for
    /// [`flush`](Self::flush).
    ///
    /// Only a transport's own STUN check makes a path known; anything else from an unknown path is counted and dropped. So is
    /// what goes beyond one client's share of our time.
    pub fn receive(&mut self, now: Instant, path: Path, datagram: &mut [u8]) {
        self.receive_late(now, now, path, datagram);
    }

    /// Like [`receive`](Self::receive), of a datagram that waited since its `arrival`, which is never after `now`. What is
    /// measured by when packets come, delay and jitter, goes by that; everything else by `now`.
    pub fn receive_late(&mut self, now: Instant, arrival: Instant, path: Path, datagram: &mut [u8]) {
        let known = self.paths.get(&path).copied();
        let owner = known.and_then(|key| self.associations.get_mut(key));
        if owner.is_some_and(|owner| !owner.budget.datagram(now)) {
            self.dropped.flooded += 1;
            return;
        }
        // A check may be for another transport than the path's: a reloaded page may get its old port again.
        let by_ufrag = match datagram.first() {
            Some(0..=3) => ice::stun_ufrag(datagram).and_then(|ufrag| self.ufrags.get(ufrag).copied()),
            _ => None,
        };
        let Some(key) = by_ufrag.or(known) else {
            self.dropped.unknown_path += 1;
            return;
        };
        if known.is_some_and(|owner| owner != key && self.is_taken(now, key, owner, &path)) {
            self.dropped.occupied += 1;
            return;
        }
        self.guarded(now, key, |engine| engine.receive_for(now, arrival, key, path, datagram));
    }

    /// Whether a transport validated this path and still uses it.
    pub fn knows_path(&self, path: &Path) -> bool {
        self.paths.contains_key(path)
    }

    /// Tells that nothing comes or goes on `path` any more: its TCP connection ended. Its transport goes on by another path,
    /// or waits for its client as long as consent lasts.
    pub fn path_lost(&mut self, now: Instant, path: Path) {
        if let Some(key) = self.paths.get(&path).copied() {
            self.guarded(now, key, |engine| {
                if let Some(association) = engine.associations.get_mut(key) {
                    association.transport.drop_path(now, path);
                }
                engine.transport_events(now, key);
                engine.plan_transport(now, key);
            });
        }
    }

    /// Ends a round: puts everything to send into `out`, which is not cleared before.
    ///
    /// The packets of one consumer lie next to each other, and the consumers of one transport.
    pub fn flush(&mut self, now: Instant, out: &mut SendBuffer) {
        self.flush_in_parts(now, out, usize::MAX, &mut |_| {});
    }

    /// Ends a round like [`flush`](Self::flush), but hands `out` to `send` between two transports whenever it holds `part`
    /// bytes, and clears it then. So the first receivers of many need not wait for the last, and what is sent was
    /// written a moment ago and is still in the processor's cache. The rest stays in `out`.
    pub fn flush_in_parts(
        &mut self,
        now: Instant,
        out: &mut SendBuffer,
        part: usize,
        send: &mut dyn FnMut(&SendBuffer),
    ) {
        for (path, datagram) in self.control.iter() {
            out.push(path, datagram);
        }
        self.control.clear();
        self.send_round(now, out, part, send);
        self.send_feedback(now, out);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next. It may turn out then that nothing is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Acts on timers that are due. Call [`flush`](Self::flush) afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        loop {
            // Some at once, so that what they need is fetched together.
            let mut due = [None; AHEAD];
            for place in &mut due {
                *place = self.timers.take(now);
            }
            if due[0].is_none() {
                return;
            }
            self.expect_due(due.iter().flatten().map(|(_, due)| *due));
            for (planned_for, due) in due.into_iter().flatten() {
                self.act(now, planned_for, due);
            }
        }
    }

    fn act(&mut self, now: Instant, planned_for: Instant, due: Due) {
        match due {
            Due::Association(key) => {
                let association = self.associations.get_mut(key);
                if association.is_some_and(|it| it.planned.fulfil(planned_for)) {
                    self.guarded(now, key, |engine| engine.association_due(now, key));
                }
            }
            Due::Producer(key) => self.layers_due(now, key),
            Due::Router(key) => {
                let router = self.routers.get_mut(key);
                if router.is_some_and(|it| it.planned.fulfil(planned_for)) {
                    self.speakers_due(now, key);
                }
            }
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How many of each there are.
    pub fn counts(&self) -> Counts {
        Counts {
            routers: self.routers.len(),
            transports: self.associations.len(),
            producers: self.producers.len(),
            consumers: self.consumers.len(),
            paths: self.paths.len(),
        }
    }

    /// What was dropped since the engine began.
    pub fn dropped(&self) -> DropCounters {
        self.dropped
    }

    /// Whether `owner`'s client sent something authentic on this path a moment ago. Then nobody else has it, whatever credentials
    /// come from there, but who had it before.
    fn is_taken(&self, now: Instant, key: Key<Association>, owner: Key<Association>, path: &Path) -> bool {
        let heard = self.associations.get(owner).and_then(|owner| owner.heard);
        let had_it = self
            .associations
            .get(key)
            .is_some_and(|it| it.transport.owns_path(path));
        !had_it && heard.is_some_and(|(on, at)| on == *path && now < at + IN_USE)
    }

    fn receive_for(&mut self, now: Instant, arrival: Instant, key: Key<Association>, path: Path, datagram: &mut [u8]) {
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        match association.transport.receive(now, path, datagram, &mut self.control) {
            Received::Rtp(packet) => {
                association.hear(now, path);
                self.receive_rtp(now, arrival, key, packet);
            }
            Received::Rtcp(compound) => {
                association.hear(now, path);
                self.receive_rtcp(now, arrival, key, compound);
            }
            Received::Check => {
                association.hear(now, path);
                self.transport_events(now, key);
                self.reclaim(now, key, path);
                self.plan_transport(now, key);
            }
            Received::Nothing => {
                self.transport_events(now, key);
                self.plan_transport(now, key);
            }
        }
    }

    /// What a transport's plan stands for: its own timers, its reports, and feedback to its publisher.
    fn association_due(&mut self, now: Instant, key: Key<Association>) {
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        if association.transport.poll_timeout().is_some_and(|at| at <= now) {
            association.transport.handle_timeout(now, &mut self.control);
            self.transport_events(now, key);
        }
        let Some(association) = self.associations.get(key) else {
            return;
        };
        if association.report_due.is_some_and(|at| at <= now) {
            self.report(now, key);
        }
        let Some(association) = self.associations.get(key) else {
            return;
        };
        if association.downlink.due.is_some_and(|at| at <= now) {
            self.downlink_due(now, key);
        }
        self.resume_waiting(now, key);
        self.queue_feedback(key);
        self.plan_transport(now, key);
    }

    /// Plans the transport's own timers and its reports. Feedback is planned when it is sent.
    fn plan_transport(&mut self, now: Instant, key: Key<Association>) {
        let Some(association) = self.associations.get_mut(key) else {
            return;
        };
        let due = [
            association.transport.poll_timeout(),
            association.report_due,
            association.downlink.due,
            association.paced_due,
        ]
        .into_iter()
        .flatten()
        .min();
        if let Some(at) = due {
            // Never at once: whatever stays due must not keep the others from their turn.
            let at = at.max(now + MIN_TIMER);
            association
                .planned
                .no_later_than(&mut self.timers, at, Due::Association(key));
        }
    }

    /// Looks at who speaks.
    fn speakers_due(&mut self, now: Instant, key: Key<Router>) {
        let Some(router) = self.routers.get_mut(key) else {
            return;
        };
        let producers = &mut self.producers;
        let loudness = router.audio.iter().filter_map(|producer| {
            let producer = producers.get_mut(*producer)?;
            Some((producer.id, producer.level.settle()))
        });
        let changed = router.speakers.settle(loudness);
        if router.speakers.is_active() {
            router
                .planned
                .no_later_than(&mut self.timers, now + speakers::INTERVAL, Due::Router(key));
        }
        self.settle_voices(key);
        if let Some(producers) = changed {
            self.emit(key, EventKind::ActiveSpeakers { producers });
        }
    }

    fn emit(&mut self, router: Key<Router>, kind: EventKind) {
        let Some(router) = self.routers.get(router).map(|router| router.id) else {
            return;
        };
        let may_drop = matches!(
            kind,
            EventKind::Data { .. } | EventKind::ActiveSpeakers { .. } | EventKind::Quality { .. }
        );
        if may_drop && self.events.len() >= MAX_EVENTS {
            self.dropped.events += 1;
            return;
        }
        self.events.push_back(Event { router, kind });
    }

    /// Runs what concerns one transport. Should it panic, that transport is closed and the others go on.
    fn guarded(&mut self, now: Instant, key: Key<Association>, work: impl FnOnce(&mut Self)) {
        // Whatever the panic left half done belongs to this transport, or is a packet that is missing in a ring.
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            self.dropped.panics += 1;
            self.close_association(now, key, CloseReason::Internal);
        }
    }

    /// Our wall clock.
    fn ntp(&self, now: Instant) -> NtpTime {
        self.config.ntp(now)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("counts", &self.counts())
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}
