//! Media workers: one OS thread a core, each with its port (UDP and TCP) and a sans-I/O engine. A room is on one of them, or on
//! several when one is too little.
//!
//! Actors give orders through a bounded channel and hear of events through a callback. Packets leave the thread for a
//! recorder's taps, and for other workers that carry the same room (`pipes`); each way has a bounded queue of its own.

mod addresses;
mod gauge;
mod mmsg;
mod pipes;
mod priority;
mod rest;
mod socket;
mod tcp;
mod thread;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use caside_media::certificate::Certificate;
use caside_media::control::{Command, EventKind};
pub use caside_media::engine::{Counts, DropCounters, Totals};
use caside_media::parameters::{Fingerprint, RouterId};
use caside_media::pipe::{Neighbour, carrier};
use caside_media::sdp::Candidate;
use caside_media::transport::TransportConfig;
use rustix::event::{EventfdFlags, eventfd};

pub use addresses::{MediaAddress, MediaAddressError};
use gauge::Published;
pub use pipes::PipeCounters;
use pipes::PipeEnds;
pub use socket::SocketCounters;
pub use tcp::TcpCounters;

#[expect(
    clippy::disallowed_types,
    reason = "sockets live on real time; the engine itself is tested on virtual time"
)]
type Instant = std::time::Instant;

/// Orders that may wait for a worker; beyond it a command is refused as overloaded.
const ORDER_QUEUE: usize = 8192;
/// Of those, data channel messages, which clients can flood with: there is always room for the rest.
const DATA_ORDERS: usize = 1024;
/// How long counters are waited for.
const COUNTERS_TIMEOUT: Duration = Duration::from_secs(2);

/// How to start the media workers.
#[derive(Debug, Clone)]
pub struct MediaWorkersConfig {
    /// How many; at least one.
    pub workers: usize,
    /// The first worker's port, UDP and TCP, counted up from it; 0: any ports.
    pub port: u16,
    /// Addresses to bind and to offer; empty: those of the interfaces.
    pub addresses: Vec<MediaAddress>,
    /// Whether loopback addresses are among them when they are the interfaces'.
    pub loopback: bool,
    /// What media travels by.
    pub protocols: MediaProtocols,
    /// Participants on one worker at most; beyond it they are placed on another.
    pub max_participants: usize,
}

/// What media travels by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaProtocols {
    /// UDP, and TCP for clients whom UDP does not reach.
    #[default]
    Both,
    /// UDP alone.
    Udp,
    /// TCP alone.
    Tcp,
}

impl MediaProtocols {
    /// Whether UDP is among them.
    pub fn udp(self) -> bool {
        self != Self::Tcp
    }

    /// Whether TCP is among them.
    pub fn tcp(self) -> bool {
        self != Self::Udp
    }
}

/// No protocols that media travels by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocols")]
pub struct UnknownProtocols;

impl FromStr for MediaProtocols {
    type Err = UnknownProtocols;

    fn from_str(text: &str) -> Result<Self, UnknownProtocols> {
        match text.trim() {
            "udp+tcp" => Ok(Self::Both),
            "udp" => Ok(Self::Udp),
            "tcp" => Ok(Self::Tcp),
            _ => Err(UnknownProtocols),
        }
    }
}

impl fmt::Display for MediaProtocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "udp+tcp",
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

/// Why media could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The interfaces' addresses could not be read.
    #[error("cannot list the network interfaces")]
    Interfaces(#[source] io::Error),
    /// A socket could not be bound.
    #[error("cannot bind {protocol} {address} for media")]
    Bind {
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No interface has an address of the family of one that is to be offered.
    #[error("no interface has an address of the family of {offered}, which clients are to be told of")]
    NothingBehind {
        /// The address that would lead nowhere.
        offered: IpAddr,
    },
    /// A thread or its wake-up could not be made.
    #[error("cannot start a media worker")]
    Thread(#[source] io::Error),
}

/// A worker's queue is full, or it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the media worker takes no more orders now")]
pub struct WorkerOverloaded;

/// What a worker reports to a room.
#[derive(Debug)]
pub enum WorkerEvent {
    /// From the engine.
    Media(EventKind),
    /// The engine was lost: every transport of the room is gone.
    Restarted,
}

/// Takes a room's events, on the worker's thread: must not block.
pub type EventSink = Box<dyn FnMut(WorkerEvent) + Send>;

/// Counters of one worker.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WorkerCounters {
    /// Of its UDP sockets.
    pub sockets: SocketCounters,
    /// Of its TCP connections.
    pub tcp: TcpCounters,
    /// What its engine holds.
    pub engine: Counts,
    /// What its engine dropped.
    pub dropped: DropCounters,
    /// What its engine did, and how connections do.
    pub totals: Totals,
    /// What it handed to other workers.
    pub pipes: PipeCounters,
    /// How much it has to do.
    pub load: WorkerLoad,
}

/// How much a worker has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WorkerLoad {
    /// The share of time, 0 to 1, that it was busy in the last second.
    pub busy: f64,
    /// Datagrams it sent a second, over the last one.
    pub packets_per_second: u32,
    /// How much it gives up of pictures to keep sound whole ([`Pressure::level`](caside_media::pressure::Pressure::level)); 0 is
    /// nothing.
    pub pressure: u8,
    /// Participants placed on it.
    pub participants: usize,
    /// Rooms on it.
    pub rooms: usize,
    /// How many participants it takes.
    pub max_participants: usize,
}

enum Order {
    Command(Command),
    Register(RouterId, EventSink),
    Counters(SyncSender<WorkerCounters>),
    Pipes(PipeEnds),
    Stop,
}

/// Wakes a worker.
#[derive(Clone)]
struct Waker {
    event: Arc<OwnedFd>,
    pending: Arc<AtomicBool>,
}

impl Waker {
    fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            event: Arc::new(event),
            pending: Arc::default(),
        })
    }

    /// Lets the worker look at what is new for it. One wake-up is enough until it has looked; says whether this was one.
    fn wake(&self) -> bool {
        let is_first = !self.pending.swap(true, Ordering::AcqRel);
        if is_first {
            self.wake_anyway();
        }
        is_first
    }

    fn wake_anyway(&self) {
        // It fails only when the counter is at its maximum, which wakes too.
        if let Err(e) = rustix::io::write(&*self.event, &1u64.to_ne_bytes()) {
            tracing::debug!(error = %e, "waking a media worker failed");
        }
    }
}

/// A way to one worker; cheap to clone.
#[derive(Clone)]
pub struct MediaWorkerHandle {
    orders: SyncSender<Order>,
    waker: Waker,
    /// Data channel messages among the orders that wait.
    data: Arc<AtomicUsize>,
    candidates: Arc<[Candidate]>,
    fingerprint: Arc<Fingerprint>,
    rooms: Arc<AtomicUsize>,
    participants: Arc<AtomicUsize>,
    max_participants: usize,
    measured: Arc<Published>,
    /// Routers to close, which must not depend on room in the queue.
    closed: Arc<Mutex<Vec<RouterId>>>,
}

impl fmt::Debug for MediaWorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaWorkerHandle")
            .field("candidates", &self.candidates)
            .finish_non_exhaustive()
    }
}

impl MediaWorkerHandle {
    /// Gives an order without waiting.
    ///
    /// # Errors
    /// [`WorkerOverloaded`] when its queue is full, of data channel messages when too many of them wait; the order is dropped.
    pub fn send(&self, command: Command) -> Result<(), WorkerOverloaded> {
        let is_data = matches!(command, Command::SendData { .. });
        if is_data && self.data.fetch_add(1, Ordering::Relaxed) >= DATA_ORDERS {
            self.data.fetch_sub(1, Ordering::Relaxed);
            return Err(WorkerOverloaded);
        }
        let given = self.order(Order::Command(command));
        if is_data && given.is_err() {
            self.data.fetch_sub(1, Ordering::Relaxed);
        }
        given
    }

    /// Makes a room's router under an id of the caller's choice, unique in this process; its events go to `sink`. The room is on
    /// this worker until the returned registration is dropped, which also closes the router.
    ///
    /// # Errors
    /// [`WorkerOverloaded`] when its queue is full.
    pub fn register(&self, router: RouterId, sink: EventSink) -> Result<Registration, WorkerOverloaded> {
        self.order(Order::Register(router, sink))?;
        self.rooms.fetch_add(1, Ordering::Relaxed);
        Ok(Registration {
            worker: self.clone(),
            router,
            participants: 0,
        })
    }

    /// How much it has to do.
    pub fn load(&self) -> WorkerLoad {
        WorkerLoad {
            busy: self.measured.busy(),
            packets_per_second: self.measured.packets_per_second(),
            pressure: self.measured.pressure(),
            participants: self.participants.load(Ordering::Relaxed),
            rooms: self.rooms.load(Ordering::Relaxed),
            max_participants: self.max_participants,
        }
    }

    /// Where clients reach it, most preferred first.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Of the certificate it shows.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Its counters; `None` when it does not answer. Blocks for a round of the worker: not for async code.
    pub fn counters(&self) -> Option<WorkerCounters> {
        let (reply, answer) = sync_channel(1);
        self.order(Order::Counters(reply)).ok()?;
        let counters = answer.recv_timeout(COUNTERS_TIMEOUT).ok()?;
        Some(WorkerCounters {
            load: self.load(),
            ..counters
        })
    }

    fn order(&self, order: Order) -> Result<(), WorkerOverloaded> {
        self.orders.try_send(order).map_err(|e| match e {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => WorkerOverloaded,
        })?;
        self.waker.wake();
        Ok(())
    }
}

/// A room's place on a worker; closes its router when dropped.
#[derive(Debug)]
pub struct Registration {
    worker: MediaWorkerHandle,
    router: RouterId,
    participants: usize,
}

impl Registration {
    /// The room's router.
    pub fn router(&self) -> RouterId {
        self.router
    }

    /// The worker.
    pub fn worker(&self) -> &MediaWorkerHandle {
        &self.worker
    }

    /// Says how many participants of the room are placed on the worker.
    pub fn set_participants(&mut self, participants: usize) {
        let before = std::mem::replace(&mut self.participants, participants);
        self.worker.participants.fetch_add(participants, Ordering::Relaxed);
        self.worker.participants.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.set_participants(0);
        self.worker.rooms.fetch_sub(1, Ordering::Relaxed);
        self.worker
            .closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.router);
        self.worker.waker.wake_anyway();
    }
}

/// All media workers of a node. Dropping it stops them.
#[derive(Debug)]
pub struct MediaWorkers {
    workers: Vec<MediaWorkerHandle>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Pairs of workers with pipes between them, the lower index first.
    joined: Mutex<HashSet<(usize, usize)>>,
    /// Whether a check of any client came by UDP: what clients are told leads here.
    reached: Arc<AtomicBool>,
}

impl MediaWorkers {
    /// Binds the sockets and starts the threads.
    ///
    /// # Errors
    /// [`StartError`] names the address that cannot be bound.
    pub fn start(config: &MediaWorkersConfig, certificate: Certificate) -> Result<Self, StartError> {
        let plan = addresses::plan(&config.addresses, config.loopback)?;
        let fingerprint = Arc::new(certificate.fingerprint().clone());
        let transport = Arc::new(TransportConfig::new(certificate));
        let mut started = Self {
            workers: Vec::new(),
            threads: Mutex::default(),
            joined: Mutex::default(),
            reached: Arc::default(),
        };
        for index in 0..config.workers.max(1) {
            let port = match config.port {
                0 => 0,
                base => base.saturating_add(u16::try_from(index).unwrap_or(u16::MAX)),
            };
            let sockets = socket::Sockets::bind(&plan, port, config.protocols)?;
            let candidates = sockets.candidates().into();
            let waker = Waker::new().map_err(StartError::Thread)?;
            let (orders, receiver) = sync_channel(ORDER_QUEUE);
            let handle = MediaWorkerHandle {
                orders,
                waker: waker.clone(),
                data: Arc::default(),
                candidates,
                fingerprint: fingerprint.clone(),
                rooms: Arc::default(),
                participants: Arc::default(),
                max_participants: config.max_participants,
                measured: Arc::default(),
                closed: Arc::default(),
            };
            let thread = thread::Thread {
                sockets,
                orders: receiver,
                waker,
                data: handle.data.clone(),
                pipes: pipes::Pipes::default(),
                measured: handle.measured.clone(),
                closed: handle.closed.clone(),
                transport: transport.clone(),
            };
            let joined = std::thread::Builder::new()
                .name(format!("media-{index}"))
                .spawn(move || thread.run())
                .map_err(StartError::Thread)?;
            started.workers.push(handle);
            started
                .threads
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .push(joined);
        }
        Ok(started)
    }

    /// Makes the pipes between two workers, each way, unless they are there.
    ///
    /// # Errors
    /// [`WorkerOverloaded`] when a queue is full; it may be tried again.
    pub fn join(&self, one: usize, other: usize) -> Result<(), WorkerOverloaded> {
        let pair = (one.min(other), one.max(other));
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        if pair.0 == pair.1 || joined.contains(&pair) {
            return Ok(());
        }
        let (Some(low), Some(high)) = (self.workers.get(pair.0), self.workers.get(pair.1)) else {
            return Err(WorkerOverloaded);
        };
        let index = |index: usize| u16::try_from(index).map(Neighbour).map_err(|_| WorkerOverloaded);
        let (up, from_low) = carrier::channel(pipes::CAPACITY);
        let (down, from_high) = carrier::channel(pipes::CAPACITY);
        low.order(Order::Pipes(PipeEnds {
            other: index(pair.1)?,
            sender: up,
            receiver: from_high,
            waker: high.waker.clone(),
        }))?;
        high.order(Order::Pipes(PipeEnds {
            other: index(pair.0)?,
            sender: down,
            receiver: from_low,
            waker: low.waker.clone(),
        }))?;
        joined.insert(pair);
        Ok(())
    }

    /// Every worker.
    pub fn workers(&self) -> &[MediaWorkerHandle] {
        &self.workers
    }

    /// Whether any client's ICE check came here by UDP; the SFUs say so.
    pub(crate) fn reached(&self) -> &Arc<AtomicBool> {
        &self.reached
    }

    /// Stops the threads after what they have to send is sent, and waits for them.
    pub fn stop(&self) {
        for worker in &self.workers {
            if worker.orders.send(Order::Stop).is_ok() {
                worker.waker.wake_anyway();
            }
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a media worker ended by a panic");
            }
        }
    }
}

impl Drop for MediaWorkers {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use caside_media::parameters::TransportId;

    use super::*;

    #[test]
    fn a_flood_of_data_messages_leaves_room_for_other_orders() {
        let (orders, receiver) = sync_channel(ORDER_QUEUE);
        let handle = MediaWorkerHandle {
            orders,
            waker: Waker::new().unwrap(),
            data: Arc::default(),
            candidates: [].into(),
            fingerprint: Arc::new(Certificate::generate().unwrap().fingerprint().clone()),
            rooms: Arc::default(),
            participants: Arc::default(),
            max_participants: 1,
            measured: Arc::default(),
            closed: Arc::default(),
        };
        let data = || Command::SendData {
            transport: TransportId(1),
            label: "flood".to_owned(),
            data: b"x"[..].into(),
            text: false,
        };
        let other = || Command::CloseTransport {
            transport: TransportId(1),
        };
        let taken = (0..2 * ORDER_QUEUE).filter(|_| handle.send(data()).is_ok()).count();
        assert_eq!(taken, DATA_ORDERS);
        assert!(
            (0..4096).all(|_| handle.send(other()).is_ok()),
            "nobody else is refused"
        );
        drop(receiver);
        assert_eq!(handle.send(other()), Err(WorkerOverloaded));
    }
}
