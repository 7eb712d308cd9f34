//! The loop of a media worker: rest, wait, take orders, receive, forward, send, report.
//!
//! A worker that has time forwards packets as they come. A busy one rests between two rounds ([`rest`]): what comes
//! meanwhile is taken and sent by few system calls. When a packet came is told by the kernel, so that nothing that is
//! measured by it is the worse for the rest.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use caside_media::control::Command;
use caside_media::engine::{Engine, EngineConfig};
use caside_media::parameters::RouterId;
use caside_media::send_buffer::SendBuffer;
use caside_media::transport::TransportConfig;

use super::gauge::{Gauge, Published};
use super::pipes::Pipes;
use super::priority::Standing;
use super::rest::rest;
use super::socket::Sockets;
use super::{EventSink, Instant, Order, Waker, WorkerCounters, WorkerEvent};

/// Orders carried out in one round, so that a burst of them does not delay packets.
const ORDERS_PER_ROUND: usize = 128;
/// The longest sleep, so that a missed wake-up cannot stall orders for good.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// A round is sent in parts of about this many bytes, which the second-level cache holds: some 64 frames of 7 packets.
const PART_BYTES: usize = 512 << 10;
/// Datagrams that a round's buffer holds before it grows.
const ROUND_DATAGRAMS: usize = 512;

/// How a round ended.
enum Turn {
    /// Every order was carried out.
    Idle,
    /// Some orders, items of a pipe, or datagrams wait for the next round.
    More,
    /// The thread ends.
    Stop,
}

/// A worker's state, on its own thread.
pub(super) struct Thread {
    pub(super) sockets: Sockets,
    pub(super) orders: Receiver<Order>,
    pub(super) waker: Waker,
    pub(super) data: Arc<AtomicUsize>,
    pub(super) pipes: Pipes,
    pub(super) measured: Arc<Published>,
    pub(super) closed: Arc<Mutex<Vec<RouterId>>>,
    pub(super) transport: Arc<TransportConfig>,
}

impl Thread {
    /// Runs until it is told to stop or nobody is left to give orders.
    pub(super) fn run(mut self) {
        let mut standing = Standing::raise(Instant::now());
        let mut engine = self.engine();
        let mut routers: HashMap<RouterId, EventSink> = HashMap::new();
        let mut out = SendBuffer::with_capacity(ROUND_DATAGRAMS);
        let mut more = false;
        let mut gauge = Gauge::new(Instant::now(), self.measured.clone());
        loop {
            let now = Instant::now();
            let idle = match engine.poll_timeout() {
                _ if more => Duration::ZERO,
                Some(due) => due.saturating_duration_since(now).min(LONGEST_WAIT),
                None => LONGEST_WAIT,
            };
            match self.sockets.wait(self.waker.event.as_fd(), idle) {
                Ok(true) => self.drain_wake(),
                Ok(false) => {}
                Err(e) => {
                    tracing::error!(error = %e, "waiting for sockets failed");
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            // Orders given from here on wake again; those before are seen in this round.
            self.waker.pending.swap(false, Ordering::AcqRel);
            let began = Instant::now();
            let sent = self.sockets.counters.sent;
            // A panic that the engine did not pin on one transport costs this worker's media, not the process: clients are
            // told and connect anew.
            let round = catch_unwind(AssertUnwindSafe(|| self.round(&mut engine, &mut routers, &mut out)));
            match round {
                Ok(Turn::Idle) => more = false,
                Ok(Turn::More) => more = true,
                Ok(Turn::Stop) => return,
                Err(_) => {
                    tracing::error!("the media engine panicked; its connections start anew");
                    engine = self.engine();
                    out.clear();
                    for (router, sink) in &mut routers {
                        engine.handle(Instant::now(), Command::OpenRouter { router: *router });
                        sink(WorkerEvent::Restarted);
                    }
                    engine.set_pressure(Instant::now(), gauge.pressure());
                }
            }
            let ended = Instant::now();
            if let Some(pressure) = gauge.round(began, ended, self.sockets.counters.sent) {
                tracing::warn!(
                    level = pressure.level(),
                    "a media worker's share of busy time changes what it gives up"
                );
                engine.set_pressure(ended, pressure);
            }
            standing.follow(ended);
            // What waits in a socket would only come to more than it holds.
            if !more && self.sockets.counters.sent != sent {
                std::thread::sleep((began + rest(gauge.busy())).saturating_duration_since(ended));
            }
        }
    }

    fn engine(&self) -> Engine {
        // A clock before 1970 would only shift sender reports.
        let unix = std::time::SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Engine::new(EngineConfig::new(self.transport.clone(), (Instant::now(), unix)))
    }

    fn round(&mut self, engine: &mut Engine, routers: &mut HashMap<RouterId, EventSink>, out: &mut SendBuffer) -> Turn {
        let now = Instant::now();
        let mut turn = Turn::More;
        for _ in 0..ORDERS_PER_ROUND {
            match self.orders.try_recv() {
                Ok(Order::Command(command)) => {
                    match &command {
                        Command::CloseRouter { router } => drop(routers.remove(router)),
                        Command::SendData { .. } => drop(self.data.fetch_sub(1, Ordering::Relaxed)),
                        _ => {}
                    }
                    engine.handle(now, command);
                }
                Ok(Order::Register(router, sink)) => {
                    routers.insert(router, sink);
                    engine.handle(now, Command::OpenRouter { router });
                }
                Ok(Order::Counters(reply)) => {
                    let counters = WorkerCounters {
                        sockets: self.sockets.counters,
                        tcp: self.sockets.tcp.counters,
                        engine: engine.counts(),
                        dropped: engine.dropped(),
                        totals: engine.totals(),
                        pipes: self.pipes.counters,
                        ..WorkerCounters::default()
                    };
                    if reply.send(counters).is_err() {
                        tracing::debug!("nobody waits for the worker's counters any more");
                    }
                }
                Ok(Order::Pipes(ends)) => self.pipes.add(ends),
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => {
                    engine.flush(now, out);
                    self.sockets.send(out);
                    return Turn::Stop;
                }
                Err(TryRecvError::Empty) => {
                    turn = Turn::Idle;
                    break;
                }
            }
        }
        // Once a round, held for a copy of a few numbers; after the orders, which may have been for these routers.
        let closed = std::mem::take(&mut *self.closed.lock().unwrap_or_else(PoisonError::into_inner));
        for router in closed {
            routers.remove(&router);
            engine.handle(now, Command::CloseRouter { router });
        }
        if self.pipes.receive(engine, now) {
            turn = Turn::More;
        }
        if self.sockets.receive(engine) {
            turn = Turn::More;
        }
        let now = Instant::now();
        if let Some(tcp) = self.sockets.ready_tcp() {
            tcp.receive(now, |path, packet| {
                engine.receive(now, path, packet);
                engine.knows_path(&path)
            });
        }
        self.sockets.tcp.sweep(now, |path| engine.knows_path(path));
        if engine.poll_timeout().is_some_and(|t| t <= now) {
            engine.handle_timeout(now);
        }
        // The others begin to send meanwhile.
        self.pipes.send(engine, now);
        let sockets = &mut self.sockets;
        engine.flush_in_parts(now, out, PART_BYTES, &mut |part| sockets.send(part));
        if !out.is_empty() {
            self.sockets.send(out);
            out.clear();
        }
        self.pipes.send(engine, now);
        // Sending finds out about them too.
        while let Some(path) = self.sockets.tcp.take_lost() {
            engine.path_lost(now, path);
        }
        while let Some(event) = engine.poll_event() {
            if let Some(sink) = routers.get_mut(&event.router) {
                sink(WorkerEvent::Media(event.kind));
            }
        }
        turn
    }

    fn drain_wake(&self) {
        let mut count = [0; 8];
        // Only its being readable matters; a failed read leaves it so, and costs one more turn.
        if let Err(e) = rustix::io::read(&*self.waker.event, &mut count) {
            tracing::debug!(error = %e, "reading the wake-up counter failed");
        }
    }
}
