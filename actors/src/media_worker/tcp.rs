//! A worker's TCP side: listeners beside its UDP sockets, and the connections that clients open where UDP is blocked
//! (ICE-TCP, RFC 6544, `tcptype passive`).
//!
//! A connection is a path of the engine's like any other. It costs whoever opens it a valid STUN check within
//! [`CHECK_DEADLINE`]; it ends with its path. Nothing here waits: a client that does not take what is sent loses packets.

mod connection;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use caside_media::parameters::Path;
use caside_media::send_buffer::{Datagram, SendBuffer};
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Protocol, Socket, Type};

use self::connection::{Connection, Ended, Queued};

/// How long a connection may be open without a valid STUN check.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);
/// How often connections without a path are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// Connections that the kernel holds for us to accept.
const BACKLOG: i32 = 256;
/// Connections accepted from one listener before the others have their turn.
const ACCEPTS_PER_ROUND: usize = 32;
/// Events taken from the kernel in one round.
const EVENTS_PER_ROUND: usize = 256;
/// Read at once.
const READ_BYTES: usize = 64 << 10;

#[expect(
    clippy::disallowed_types,
    reason = "sockets live on real time; the engine itself is tested on virtual time"
)]
type Instant = std::time::Instant;

/// Bounds of one worker's TCP side.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Connections in all.
    connections: usize,
    /// Of one address (of IPv6: one /64).
    per_address: usize,
    /// Without a valid check. At the bound the oldest gives way, so that a flood cannot lock others out.
    unproven: usize,
    /// Without a valid check, of one address.
    unproven_per_address: usize,
}

const BOUNDS: Bounds = Bounds {
    connections: 4096,
    per_address: 1024,
    unproven: 512,
    unproven_per_address: 64,
};

/// What became of connections and packets over TCP, since the worker began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// Connections that are open.
    pub open: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because of a bound.
    pub refused: u64,
    /// Connections closed because no valid STUN check came on them in time, or something else did.
    pub strangers: u64,
    /// Packets received.
    pub received: u64,
    /// Packets queued for sending.
    pub sent: u64,
    /// Packets dropped because a client was too slow.
    pub dropped_full: u64,
    /// Packets for connections that are gone.
    pub dropped_gone: u64,
}

struct Listener {
    socket: TcpListener,
    local: SocketAddr,
}

/// Connections of one address.
#[derive(Debug, Default)]
struct Share {
    all: usize,
    unproven: usize,
}

/// The listeners and connections of one worker.
pub(super) struct TcpSide {
    epoll: OwnedFd,
    listeners: Vec<Listener>,
    /// Until when no connections are accepted, because the process has no descriptors left.
    resting_until: Option<Instant>,
    connections: HashMap<u64, Connection>,
    /// Which connection a path is.
    by_path: HashMap<Path, u64>,
    shares: HashMap<IpAddr, Share>,
    /// Those without a valid check when they were last looked at, oldest first, with their deadlines.
    unproven: VecDeque<(Instant, u64)>,
    unproven_open: usize,
    /// Connections' names go on counting, so that a late event never meets another connection.
    next_token: u64,
    /// Connections with something queued in this round.
    touched: Vec<u64>,
    /// Paths whose connections ended.
    lost: Vec<Path>,
    next_sweep: Option<Instant>,
    bounds: Bounds,
    /// What happened to which connection or listener in this round.
    events: Vec<(u64, epoll::EventFlags)>,
    scratch: Vec<u8>,
    pub(super) counters: TcpCounters,
}

impl TcpSide {
    /// Without listeners.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            listeners: Vec::new(),
            resting_until: None,
            connections: HashMap::new(),
            by_path: HashMap::new(),
            shares: HashMap::new(),
            unproven: VecDeque::new(),
            unproven_open: 0,
            next_token: 0,
            touched: Vec::new(),
            lost: Vec::new(),
            next_sweep: None,
            bounds: BOUNDS,
            events: Vec::with_capacity(EVENTS_PER_ROUND),
            scratch: vec![0; READ_BYTES],
            counters: TcpCounters::default(),
        })
    }

    /// Listens at `address` (port 0: any) and returns where that is.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(super) fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Connections of a node that stopped a moment ago must not keep the next one from its port.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        let local = socket.local_addr()?;
        let token = self.next_token;
        self.next_token += 1;
        epoll::add(
            &self.epoll,
            &socket,
            epoll::EventData::new_u64(token),
            epoll::EventFlags::IN,
        )?;
        debug_assert_eq!(
            usize::try_from(token),
            Ok(self.listeners.len()),
            "listeners come before connections"
        );
        self.listeners.push(Listener { socket, local });
        Ok(local)
    }

    /// Where it listens.
    pub(super) fn local_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|listener| listener.local)
    }

    /// Takes new connections and what came on the others. `take` hands a packet to the engine and returns whether its path
    /// is a validated one then.
    pub(super) fn receive(&mut self, now: Instant, mut take: impl FnMut(Path, &mut [u8]) -> bool) {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let mut room = [const { MaybeUninit::uninit() }; EVENTS_PER_ROUND];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, &mut room[..], Some(&at_once)) {
            Ok((happened, _)) => events.extend(happened.iter().map(|event| (event.data.u64(), event.flags))),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => tracing::warn!(error = %e, "asking for TCP events failed"),
        }
        for (token, flags) in events.iter().copied() {
            if usize::try_from(token).is_ok_and(|index| index < self.listeners.len()) {
                self.accept(now, token);
                continue;
            }
            if self.serve(token, flags, &mut take).is_err() {
                self.end(token);
            }
        }
        self.events = events;
    }

    /// Queues the packets of a round for their connections and writes what the kernel takes.
    pub(super) fn send(&mut self, datagrams: &[Datagram], out: &SendBuffer) {
        for datagram in datagrams {
            let Some(token) = self.by_path.get(&datagram.path) else {
                self.counters.dropped_gone += 1;
                continue;
            };
            let Some(connection) = self.connections.get_mut(token) else {
                continue;
            };
            let bytes = out.bytes().get(datagram.range()).unwrap_or_default();
            match connection.queue(bytes) {
                Queued::Yes => self.counters.sent += 1,
                Queued::Dropped => self.counters.dropped_full += 1,
            }
            if !connection.touched {
                connection.touched = true;
                self.touched.push(*token);
            }
        }
    }

    /// Writes what the kernel takes of what was queued.
    pub(super) fn flush(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for token in touched.drain(..) {
            if let Some(connection) = self.connections.get_mut(&token) {
                connection.touched = false;
            }
            if self.write(token).is_err() {
                self.end(token);
            }
        }
        self.touched = touched;
    }

    /// A path whose connection ended since the last call.
    pub(super) fn take_lost(&mut self) -> Option<Path> {
        self.lost.pop()
    }

    /// Ends, now and then, the connections that no transport uses: those without a check in time, and those whose path is
    /// `known` no more.
    pub(super) fn sweep(&mut self, now: Instant, known: impl Fn(&Path) -> bool) {
        if self.next_sweep.is_none_or(|at| now < at) {
            return;
        }
        if self.resting_until.is_some_and(|until| until <= now) {
            self.resting_until = None;
            self.watch_listeners(epoll::EventFlags::IN);
        }
        while let Some((deadline, token)) = self.unproven.front().copied() {
            let is_proven = self.connections.get(&token).is_none_or(|it| it.proven);
            if !is_proven && now < deadline {
                break;
            }
            self.unproven.pop_front();
            if !is_proven {
                self.counters.strangers += 1;
                self.end(token);
            }
        }
        let unused: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.proven && !known(&connection.path))
            .map(|(token, _)| *token)
            .collect();
        for token in unused {
            self.end(token);
        }
        let is_idle = self.connections.is_empty() && self.resting_until.is_none();
        self.next_sweep = (!is_idle).then(|| now + SWEEP_INTERVAL);
    }

    fn serve(
        &mut self,
        token: u64,
        flags: epoll::EventFlags,
        take: &mut impl FnMut(Path, &mut [u8]) -> bool,
    ) -> Result<(), Ended> {
        if flags.contains(epoll::EventFlags::OUT) {
            self.write(token)?;
        }
        // An error is found out, and a goodbye heard, by reading.
        if !flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
            return Ok(());
        }
        let Some(connection) = self.connections.get_mut(&token) else {
            return Ok(());
        };
        let was_proven = connection.proven;
        let counters = &mut self.counters;
        let result = connection.receive(&mut self.scratch, |path, packet| {
            counters.received += 1;
            take(path, packet)
        });
        if connection.proven && !was_proven {
            let share = self.shares.entry(address_of(&connection.path)).or_default();
            share.unproven = share.unproven.saturating_sub(1);
            self.unproven_open = self.unproven_open.saturating_sub(1);
        } else if result.is_err() && !was_proven {
            self.counters.strangers += 1;
        }
        result
    }

    /// Writes a connection's queue, and waits for room when it is not taken whole.
    fn write(&mut self, token: u64) -> Result<(), Ended> {
        let Some(connection) = self.connections.get_mut(&token) else {
            return Ok(());
        };
        let awaits_room = !connection.flush()?;
        if awaits_room != connection.awaits_room {
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, awaits_room);
            let data = epoll::EventData::new_u64(token);
            epoll::modify(&self.epoll, &*connection, data, flags).map_err(|_| Ended)?;
            connection.awaits_room = awaits_room;
        }
        Ok(())
    }

    fn accept(&mut self, now: Instant, token: u64) {
        for _ in 0..ACCEPTS_PER_ROUND {
            let listener = usize::try_from(token).ok().and_then(|at| self.listeners.get(at));
            let Some(listener) = listener else { return };
            match listener.socket.accept() {
                Ok((stream, remote)) => {
                    let path = Path {
                        local: listener.local,
                        remote,
                        tcp: true,
                    };
                    self.admit(now, stream, path);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e)
                    if matches!(
                        e.raw_os_error(),
                        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
                    ) =>
                {
                    tracing::warn!(error = %e, "no media connections over TCP are accepted for a moment");
                    self.watch_listeners(epoll::EventFlags::empty());
                    self.resting_until = Some(now + SWEEP_INTERVAL);
                    self.next_sweep.get_or_insert(now + SWEEP_INTERVAL);
                    return;
                }
                // That one connection was gone before it was accepted.
                Err(_) => {}
            }
        }
    }

    /// Takes a new connection, if no bound speaks against it.
    fn admit(&mut self, now: Instant, stream: TcpStream, path: Path) {
        if let Some(before) = self.by_path.get(&path).copied() {
            // The kernel gives no 4-tuple twice: that one ended and we have not heard of it yet.
            self.end(before);
        }
        let address = address_of(&path);
        let share = self.shares.entry(address).or_default();
        if self.connections.len() >= self.bounds.connections
            || share.all >= self.bounds.per_address
            || share.unproven >= self.bounds.unproven_per_address
        {
            self.counters.refused += 1;
            self.forget_share(address);
            return;
        }
        if self.unproven_open >= self.bounds.unproven {
            self.end_oldest_unproven();
        }
        let token = self.next_token;
        self.next_token += 1;
        let connection = stream
            .set_nonblocking(true)
            .and_then(|()| Connection::new(stream, path));
        let watched = connection.and_then(|connection| {
            let data = epoll::EventData::new_u64(token);
            epoll::add(&self.epoll, &connection, data, epoll::EventFlags::IN)?;
            Ok(connection)
        });
        let Ok(connection) = watched else {
            self.forget_share(address);
            return;
        };
        let share = self.shares.entry(address).or_default();
        share.all += 1;
        share.unproven += 1;
        self.unproven_open += 1;
        self.counters.accepted += 1;
        self.counters.open += 1;
        self.connections.insert(token, connection);
        self.by_path.insert(path, token);
        self.unproven.push_back((now + CHECK_DEADLINE, token));
        self.next_sweep.get_or_insert(now + SWEEP_INTERVAL);
    }

    fn end_oldest_unproven(&mut self) {
        while let Some((_, token)) = self.unproven.pop_front() {
            if self.connections.get(&token).is_some_and(|it| !it.proven) {
                self.counters.strangers += 1;
                self.end(token);
                return;
            }
        }
    }

    /// Closes a connection and forgets it.
    fn end(&mut self, token: u64) {
        let Some(connection) = self.connections.remove(&token) else {
            return;
        };
        self.counters.open -= 1;
        self.by_path.remove(&connection.path);
        let address = address_of(&connection.path);
        if let Some(share) = self.shares.get_mut(&address) {
            share.all = share.all.saturating_sub(1);
            if !connection.proven {
                share.unproven = share.unproven.saturating_sub(1);
            }
        }
        if !connection.proven {
            self.unproven_open = self.unproven_open.saturating_sub(1);
        }
        self.forget_share(address);
        if connection.proven {
            self.lost.push(connection.path);
        }
        if let Err(e) = epoll::delete(&self.epoll, &connection) {
            tracing::debug!(error = %e, "a connection was not watched any more");
        }
    }

    /// Drops an address without connections.
    fn forget_share(&mut self, address: IpAddr) {
        if self.shares.get(&address).is_some_and(|share| share.all == 0) {
            self.shares.remove(&address);
        }
    }

    fn watch_listeners(&self, flags: epoll::EventFlags) {
        for (token, listener) in (0u64..).zip(&self.listeners) {
            let data = epoll::EventData::new_u64(token);
            if let Err(e) = epoll::modify(&self.epoll, &listener.socket, data, flags) {
                tracing::warn!(local = %listener.local, error = %e, "a media listener cannot be watched");
            }
        }
    }
}

impl AsFd for TcpSide {
    /// Readable when a connection waits to be accepted, or has something to be read or room to write.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Whose connection it is: an address, of IPv6 its network.
fn address_of(path: &Path) -> IpAddr {
    match path.remote.ip() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests;
