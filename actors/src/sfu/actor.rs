//! The shell around the SFU's state: carries orders in, engine commands and room events out, and keeps the clock of offers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use caside_media::control::{Command, EventKind};
use caside_media::parameters::{IceCredentials, RouterId};
use caside_media::sdp::CodecPolicy;
use caside_protocol::ParticipantId;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr};
use ractor_cluster::RactorMessage;
use tokio::time::Instant;
use tracing::Span;

use super::command::{SfuCommand, SfuEvent};
use super::journey::Journeys;
use super::state::{Effects, Setting, SfuState};
use crate::mailbox;
use crate::media_worker::{EventSink, MediaWorkerHandle, MediaWorkers, Registration, WorkerEvent};
use crate::observed::{Asked, Counters, Kind, Observed, Seen, Vitals};

/// How long an offer waits for its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long until who waits for a seat is tried again: workers measure meanwhile how much those take who were let in last.
const SEATS_LOOKED_FOR: Duration = Duration::from_millis(500);
/// Orders and events that may wait for the actor; beyond it orders are refused.
const MAILBOX: usize = 4096;
/// Messages that may wait when a data channel message comes; beyond it that one is dropped.
const DATA_MESSAGES: usize = 1024;

/// The SFU takes no more orders now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the room's media is overloaded")]
pub struct SfuOverloaded;

/// What an SFU is started with.
pub struct SfuArgs {
    /// The workers that forward for the room.
    pub workers: Arc<MediaWorkers>,
    /// What may be published, and how.
    pub policy: CodecPolicy,
    /// Takes what happens; must not block.
    pub events: Box<dyn FnMut(SfuEvent) + Send>,
    /// Where it is listed, under its room.
    pub observed: Observed,
}

impl fmt::Debug for SfuArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SfuArgs")
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// A way to one room's SFU. The SFU closes when [`SfuHandle::close`] is called or its room ends.
#[derive(Clone)]
pub struct SfuHandle {
    order: Arc<dyn Fn(SfuCommand) -> Result<(), SfuOverloaded> + Send + Sync>,
    close: Arc<dyn Fn() + Send + Sync>,
    actor: Option<ActorId>,
}

impl fmt::Debug for SfuHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SfuHandle")
    }
}

impl SfuHandle {
    /// A handle whose orders go to `order`: how tests watch what a room asks of its SFU.
    pub fn new(
        order: impl Fn(SfuCommand) -> Result<(), SfuOverloaded> + Send + Sync + 'static,
        close: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            order: Arc::new(order),
            close: Arc::new(close),
            actor: None,
        }
    }

    /// Starts an SFU under `supervisor`, usually its room.
    ///
    /// # Errors
    /// [`SpawnErr`] when the actor does not start.
    pub async fn spawn(supervisor: ActorCell, args: SfuArgs) -> Result<Self, SpawnErr> {
        let vitals = Arc::new(Vitals::new(MAILBOX));
        let counters = args.observed.counters(Kind::Sfu).clone();
        let sfu = Sfu {
            vitals: vitals.clone(),
            counters: counters.clone(),
            room: supervisor.get_id(),
        };
        let (actor, _) = Actor::spawn_linked(None, sfu, args, supervisor).await?;
        let closing = actor.clone();
        let id = actor.get_id();
        let handle = Self::new(
            move |command| {
                let order = SfuMsg::Order(command, Span::current(), Instant::now());
                cast(&actor, &vitals, MAILBOX, order).inspect_err(|_| counters.refused())
            },
            move || closing.stop(Some("room closed".to_owned())),
        );
        Ok(Self {
            actor: Some(id),
            ..handle
        })
    }

    /// Whether this actor is the SFU; of a handle for tests any is.
    pub(crate) fn is(&self, actor: ActorId) -> bool {
        self.actor.is_none_or(|own| own == actor)
    }

    /// Gives an order without waiting.
    ///
    /// # Errors
    /// [`SfuOverloaded`] when too many wait, or the SFU is gone.
    pub fn send(&self, command: SfuCommand) -> Result<(), SfuOverloaded> {
        (self.order)(command)
    }

    /// Closes every connection of the room.
    pub fn close(&self) {
        (self.close)();
    }
}

/// Puts a message into the (unbounded) mailbox if fewer than `bound` wait there.
fn cast(actor: &ActorRef<SfuMsg>, vitals: &Vitals, bound: usize, message: SfuMsg) -> Result<(), SfuOverloaded> {
    if usize::try_from(vitals.depth()).unwrap_or(usize::MAX) >= bound {
        vitals.refused();
        return Err(SfuOverloaded);
    }
    vitals.arrived();
    actor.cast(message).map_err(|_| {
        vitals.returned();
        SfuOverloaded
    })
}

#[derive(Debug, RactorMessage)]
enum SfuMsg {
    /// With the span that it was given under, and when.
    Order(SfuCommand, Span, Instant),
    Worker(RouterId, WorkerEvent),
    OfferTimeout(ParticipantId, u64),
    LookForSeats,
    /// An operator looks.
    Inspect(Asked),
}

struct Sfu {
    vitals: Arc<Vitals>,
    counters: Arc<Counters>,
    /// The actor of its room.
    room: ActorId,
}

struct Running {
    state: SfuState,
    workers: Arc<MediaWorkers>,
    /// One for each seat that is taken.
    registrations: Vec<Registration>,
    events: Box<dyn FnMut(SfuEvent) + Send>,
    myself: ActorRef<SfuMsg>,
    journeys: Journeys,
    vitals: Arc<Vitals>,
    /// Of an SFU without a room, as in tests, nothing is listed.
    _seen: Option<Seen>,
}

impl Actor for Sfu {
    type Msg = SfuMsg;
    type State = Running;
    type Arguments = SfuArgs;

    async fn pre_start(&self, myself: ActorRef<SfuMsg>, args: SfuArgs) -> Result<Running, ActorProcessingErr> {
        let workers = args.workers;
        let handles = || workers.workers().iter();
        let fingerprint = handles().next().map(|worker| worker.fingerprint().clone());
        let state = SfuState::new(Setting {
            candidates: handles().map(|worker| worker.candidates().to_vec()).collect(),
            fingerprint: fingerprint.ok_or("there is no media worker")?,
            loads: {
                let workers = workers.clone();
                Box::new(move || workers.workers().iter().map(MediaWorkerHandle::load).collect())
            },
            policy: args.policy,
            next_id: Box::new(next_id),
            credentials: Box::new(fresh_credentials),
            reached: workers.reached().clone(),
        });
        let label = args.observed.label(self.room);
        let ask = |cell: &ActorCell, asked: Asked| {
            if ActorRef::from(cell.clone()).cast(SfuMsg::Inspect(asked)).is_err() {
                tracing::debug!("an SFU that was asked for its state is gone");
            }
        };
        let list = |label| {
            let (cell, vitals) = (myself.get_cell(), self.vitals.clone());
            args.observed.list(Kind::Sfu, label, cell, vitals, Some(ask))
        };
        Ok(Running {
            _seen: label.map(list),
            state,
            workers,
            registrations: Vec::new(),
            events: args.events,
            myself,
            journeys: Journeys::default(),
            vitals: self.vitals.clone(),
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<SfuMsg>,
        message: SfuMsg,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        let is_counted = matches!(message, SfuMsg::Order(..) | SfuMsg::Worker(..));
        let began = Instant::now();
        if is_counted {
            self.vitals.taken(began);
        }
        let effects = match message {
            SfuMsg::Order(command, context, enqueued_at) => {
                self.counters.waited(enqueued_at, began);
                let name = command.name();
                let _within = mailbox::span(&context, "sfu", name).entered();
                let effects = running.state.apply(command);
                running.journeys.begin(&effects.commands);
                let carried_out = running.carry_out(effects);
                self.vitals.done();
                self.counters.worked(name, began);
                return carried_out;
            }
            SfuMsg::Worker(router, event) => match event {
                WorkerEvent::Media(kind) => {
                    running.journeys.passed(&kind);
                    running.state.media(router, kind)
                }
                WorkerEvent::Restarted => running.state.restarted(router),
            },
            SfuMsg::OfferTimeout(participant, offer) => running.state.offer_timed_out(participant, offer),
            SfuMsg::LookForSeats => running.state.seat_who_waits(),
            SfuMsg::Inspect(asked) => running.state.inspect(asked),
        };
        running.journeys.begin(&effects.commands);
        let carried_out = running.carry_out(effects);
        if is_counted {
            self.vitals.done();
            self.counters.worked("media_event", began);
        }
        carried_out
    }
}

impl Running {
    /// Ends the actor when a worker takes no orders: media would no longer be what was agreed, and the room starts anew.
    fn carry_out(&mut self, effects: Effects) -> Result<(), ActorProcessingErr> {
        self.register_new_seats()?;
        for (index, command) in effects.commands {
            let Some(worker) = self.workers.workers().get(index) else {
                continue;
            };
            if let Command::Pipe { to, .. } = &command {
                self.workers.join(index, usize::from(to.0))?;
            }
            // Data messages are what a client can flood with: they are dropped before anything else suffers.
            let droppable = matches!(command, Command::SendData { .. });
            match worker.send(command) {
                Err(_) if droppable => {}
                sent => sent?,
            }
        }
        self.settle_registrations();
        for event in effects.events {
            (self.events)(event);
        }
        for (participant, offer) in effects.timers {
            // Ends by itself: with the actor, or by one message that a later offer's number makes void.
            drop(
                self.myself
                    .send_after(ANSWER_TIMEOUT, move || SfuMsg::OfferTimeout(participant, offer)),
            );
        }
        if effects.look_for_seats {
            drop(self.myself.send_after(SEATS_LOOKED_FOR, || SfuMsg::LookForSeats));
        }
        Ok(())
    }
}

impl Running {
    fn register_new_seats(&mut self) -> Result<(), ActorProcessingErr> {
        for taken in self.state.seats() {
            let router = taken.seat.router;
            let is_known = self.registrations.iter().any(|known| known.router() == router);
            if let Some(worker) = self.workers.workers().get(taken.seat.worker).filter(|_| !is_known) {
                let sink = event_sink(router, self.myself.clone(), self.vitals.clone());
                self.registrations.push(worker.register(router, sink)?);
            }
        }
        Ok(())
    }

    /// Tells workers how many sit there, and closes the routers of seats that nobody has any more.
    fn settle_registrations(&mut self) {
        let seats = self.state.seats();
        self.registrations.retain_mut(|registration| {
            let taken = seats.iter().find(|taken| taken.seat.router == registration.router());
            if let Some(taken) = taken {
                registration.set_participants(taken.participants);
            }
            taken.is_some()
        });
    }
}

/// Takes the events of one router to the actor.
fn event_sink(router: RouterId, actor: ActorRef<SfuMsg>, vitals: Arc<Vitals>) -> EventSink {
    Box::new(move |event| {
        // The engine reports changes, a few a second, which must arrive; only data messages can flood, and those are
        // dropped long before orders are refused.
        let is_data = matches!(event, WorkerEvent::Media(EventKind::Data { .. }));
        let bound = if is_data { DATA_MESSAGES } else { usize::MAX };
        if cast(&actor, &vitals, bound, SfuMsg::Worker(router, event)).is_err() && !is_data {
            tracing::debug!("a media event came after the end of its SFU");
        }
    })
}

/// Ids of routers, transports, producers and consumers, unique in this process.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// ICE credentials from the operating system's randomness.
fn fresh_credentials() -> IceCredentials {
    IceCredentials::generate(&mut |bytes: &mut [u8]| {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    })
}
