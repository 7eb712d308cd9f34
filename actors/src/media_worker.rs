//! Media workers: one OS thread a core, each with its port (UDP and TCP) and a sans-I/O engine, to which rooms are pinned.
//!
//! Actors give orders through a bounded channel and hear of events through a callback; packets never leave the thread
//! (but for a recorder's taps, which have bounded queues of their own).

mod addresses;
mod load;
mod mmsg;
mod socket;
mod tcp;
mod thread;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use caside_media::certificate::Certificate;
use caside_media::control::{Command, EventKind};
pub use caside_media::engine::{Counts, DropCounters, Totals};
use caside_media::parameters::{Fingerprint, RouterId};
use caside_media::sdp::Candidate;
use caside_media::transport::TransportConfig;
use rustix::event::{EventfdFlags, eventfd};

pub use addresses::{MediaAddress, MediaAddressError};
pub use socket::SocketCounters;
pub use tcp::TcpCounters;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
}

enum Order {
    Command(Command),
    Register(RouterId, EventSink),
    Counters(SyncSender<WorkerCounters>),
    Stop,
}

/// A way to one worker; cheap to clone.
#[derive(Clone)]
pub struct MediaWorkerHandle {
    orders: SyncSender<Order>,
    wake: Arc<OwnedFd>,
    pending: Arc<AtomicBool>,
    /// Data channel messages among the orders that wait.
    data: Arc<AtomicUsize>,
    candidates: Arc<[Candidate]>,
    fingerprint: Arc<Fingerprint>,
    rooms: Arc<AtomicUsize>,
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

    /// Makes a room's router, whose events go to `sink`. The room counts as pinned to this worker until the
    /// returned registration is dropped, which also closes the router.
    ///
    /// # Errors
    /// [`WorkerOverloaded`] when its queue is full.
    pub fn register(&self, sink: EventSink) -> Result<Registration, WorkerOverloaded> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let router = RouterId(NEXT.fetch_add(1, Ordering::Relaxed));
        self.order(Order::Register(router, sink))?;
        self.rooms.fetch_add(1, Ordering::Relaxed);
        Ok(Registration {
            worker: self.clone(),
            router,
        })
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
        answer.recv_timeout(COUNTERS_TIMEOUT).ok()
    }

    fn order(&self, order: Order) -> Result<(), WorkerOverloaded> {
        self.orders.try_send(order).map_err(|e| match e {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => WorkerOverloaded,
        })?;
        // One wake-up is enough until the worker has looked again.
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.wake();
        }
        Ok(())
    }

    fn wake(&self) {
        // It fails only when the counter is at its maximum, which wakes too.
        if let Err(e) = rustix::io::write(&*self.wake, &1u64.to_ne_bytes()) {
            tracing::debug!(error = %e, "waking a media worker failed");
        }
    }
}

/// A room's place on a worker; closes its router when dropped.
#[derive(Debug)]
pub struct Registration {
    worker: MediaWorkerHandle,
    router: RouterId,
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
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.worker.rooms.fetch_sub(1, Ordering::Relaxed);
        self.worker
            .closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.router);
        self.worker.wake();
    }
}

/// All media workers of a node. Dropping it stops them.
#[derive(Debug)]
pub struct MediaWorkers {
    workers: Vec<MediaWorkerHandle>,
    threads: Mutex<Vec<JoinHandle<()>>>,
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
        };
        for index in 0..config.workers.max(1) {
            let port = match config.port {
                0 => 0,
                base => base.saturating_add(u16::try_from(index).unwrap_or(u16::MAX)),
            };
            let sockets = socket::Sockets::bind(&plan, port, config.protocols)?;
            let candidates = sockets.candidates().into();
            let wake =
                eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| StartError::Thread(e.into()))?;
            let (orders, receiver) = sync_channel(ORDER_QUEUE);
            let handle = MediaWorkerHandle {
                orders,
                wake: Arc::new(wake),
                pending: Arc::default(),
                data: Arc::default(),
                candidates,
                fingerprint: fingerprint.clone(),
                rooms: Arc::default(),
                closed: Arc::default(),
            };
            let thread = thread::Thread {
                sockets,
                orders: receiver,
                wake: handle.wake.clone(),
                pending: handle.pending.clone(),
                data: handle.data.clone(),
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

    /// The worker with the fewest rooms.
    pub fn least_loaded(&self) -> MediaWorkerHandle {
        let least = self.workers.iter().min_by_key(|w| w.rooms.load(Ordering::Relaxed));
        least.expect("`start` makes at least one worker").clone()
    }

    /// Every worker.
    pub fn workers(&self) -> &[MediaWorkerHandle] {
        &self.workers
    }

    /// Stops the threads after what they have to send is sent, and waits for them.
    pub fn stop(&self) {
        for worker in &self.workers {
            if worker.orders.send(Order::Stop).is_ok() {
                worker.wake();
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
            wake: Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap()),
            pending: Arc::default(),
            data: Arc::default(),
            candidates: [].into(),
            fingerprint: Arc::new(Certificate::generate().unwrap().fingerprint().clone()),
            rooms: Arc::default(),
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
