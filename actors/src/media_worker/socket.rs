//! A worker's sockets, one an address and protocol: UDP in batches here, TCP in [`TcpSide`].

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, UNIX_EPOCH};

use caside_media::engine::Engine;
use caside_media::parameters::Path;
use caside_media::sdp::{Candidate, CandidateTransport};
use caside_media::send_buffer::{Datagram, SendBuffer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::addresses::Plan;
use super::mmsg::{Receiver, Run, Sender, enable_gro, enable_timestamps};
use super::tcp::TcpSide;
use super::{MediaProtocols, StartError};

/// Asked of the kernel for each socket, in bytes; it gives what `net.core.[rw]mem_max` allows.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Datagrams that the kernel takes as one (`UDP_MAX_SEGMENTS` is 128 since 6.9, 64 before).
const MAX_SEGMENTS: usize = 64;
/// Bytes that the kernel takes as one: what an IP packet can have, less headers.
const MAX_RUN_BYTES: usize = 65_000;
/// How long a full socket buffer is waited for before packets are dropped.
const SEND_WAIT: Duration = Duration::from_millis(2);
/// How often another port is tried, when any will do, before it is given up.
const PORT_ATTEMPTS: usize = 32;
/// Batches taken from one socket before the others have their turn.
const BATCHES_PER_ROUND: usize = 4;

/// A datagram that waited longer than this has a time stamp by another clock: one that was set meanwhile.
const MAX_AGE: Duration = Duration::from_secs(1);

#[expect(
    clippy::disallowed_types,
    reason = "sockets live on real time; the engine itself is tested on virtual time"
)]
type Instant = std::time::Instant;

/// When a datagram came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// It was taken from the socket.
    pub(super) now: Instant,
    /// It had come from the network; not after `now`.
    pub(super) arrival: Instant,
}

/// What was sent and what was not, since the worker began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketCounters {
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// System calls that took.
    pub send_calls: u64,
    /// Datagrams dropped because the socket's buffer stayed full.
    pub dropped_full: u64,
    /// Datagrams that the kernel refused for another reason (no route, too long).
    pub refused: u64,
    /// Datagrams received.
    pub received: u64,
}

/// Who takes what came.
pub(super) trait Intake {
    /// Datagrams from these paths come next.
    fn expect(&self, paths: impl Iterator<Item = Path>);

    /// A datagram came.
    fn take(&mut self, path: Path, times: Times, datagram: &mut [u8]);
}

impl Intake for Engine {
    fn expect(&self, paths: impl Iterator<Item = Path>) {
        self.expect(paths);
    }

    fn take(&mut self, path: Path, times: Times, datagram: &mut [u8]) {
        self.receive_late(times.now, times.arrival, path, datagram);
    }
}

/// One bound socket.
#[derive(Debug)]
struct Bound {
    socket: UdpSocket,
    local: SocketAddr,
    /// Cleared when the device turns out not to segment.
    segments: bool,
}

/// All sockets of a worker.
pub(super) struct Sockets {
    candidates: Vec<Candidate>,
    bound: Vec<Bound>,
    /// Which of them had something to read when they were last asked; all, before that.
    readable: Vec<bool>,
    tcp_ready: bool,
    /// Connections of clients whom UDP does not reach.
    pub(super) tcp: TcpSide,
    receiver: Receiver,
    sender: Sender,
    runs: Vec<Run>,
    pub(super) counters: SocketCounters,
}

impl Sockets {
    /// Binds each planned address at `port` (0: any), UDP and TCP as `protocols` says; all share the port's number.
    ///
    /// An interface's address that cannot be bound is left out with a warning, unless the plan is strict or it is the last.
    ///
    /// # Errors
    /// [`StartError::Bind`] names the address.
    pub(super) fn bind(plan: &Plan, port: u16, protocols: MediaProtocols) -> Result<Self, StartError> {
        let mut attempts = if port == 0 { PORT_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            match Self::bind_all(plan, port, protocols) {
                // The kernel's choice for the first was taken elsewhere.
                Err(StartError::Bind { source, .. }) if attempts > 0 && source.kind() == io::ErrorKind::AddrInUse => {}
                result => return result,
            }
        }
    }

    fn bind_all(plan: &Plan, mut port: u16, protocols: MediaProtocols) -> Result<Self, StartError> {
        let mut bound = Vec::new();
        let mut tcp = TcpSide::new().map_err(StartError::Thread)?;
        let mut failure = None;
        for ip in &plan.bound {
            let address = SocketAddr::new(*ip, port);
            let result = bind_one(address, protocols, &mut bound, &mut tcp);
            match result {
                Ok(local) => port = local.port(),
                Err(failed @ StartError::Bind { .. }) if !plan.strict && !is_in_use(&failed) => {
                    let cause = std::error::Error::source(&failed).map(ToString::to_string);
                    tracing::warn!(
                        %address,
                        error = cause.unwrap_or_default(),
                        "an interface's address cannot be bound; no candidate for it"
                    );
                    failure = Some(failed);
                }
                Err(failed) => return Err(failed),
            }
        }
        let mut sockets = Self {
            candidates: Vec::new(),
            readable: vec![true; bound.len()],
            tcp_ready: true,
            bound,
            tcp,
            receiver: Receiver::new(),
            sender: Sender::new(),
            runs: Vec::with_capacity(256),
            counters: SocketCounters::default(),
        };
        sockets.candidates = sockets.offer(plan);
        match failure {
            Some(failure) if sockets.candidates.is_empty() => Err(failure),
            _ => Ok(sockets),
        }
    }

    /// What clients are told: the offered addresses that lead to a socket, over UDP and then over TCP.
    fn offer(&self, plan: &Plan) -> Vec<Candidate> {
        let udp: Vec<SocketAddr> = self.bound.iter().map(|b| b.local).collect();
        let tcp: Vec<SocketAddr> = self.tcp.local_addresses().collect();
        let mut candidates = Vec::new();
        for (transport, locals) in [(CandidateTransport::Udp, udp), (CandidateTransport::TcpPassive, tcp)] {
            for (offered, behind) in &plan.offered {
                let leads_to = |local: &&SocketAddr| match behind {
                    Some(ip) => local.ip() == *ip,
                    None => local.is_ipv4() == offered.is_ipv4(),
                };
                if let Some(local) = locals.iter().find(leads_to) {
                    candidates.push(Candidate {
                        address: SocketAddr::new(*offered, local.port()),
                        transport,
                    });
                }
            }
        }
        candidates
    }

    /// Where clients reach this worker, most preferred first.
    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Sleeps until a datagram waits, `wake` is readable, or `timeout` has passed. Returns whether `wake` is.
    pub(super) fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
        let mut fds: Vec<PollFd<'_>> = self
            .bound
            .iter()
            .map(|b| PollFd::from_borrowed_fd(b.socket.as_fd(), PollFlags::IN))
            .collect();
        fds.push(PollFd::from_borrowed_fd(self.tcp.as_fd(), PollFlags::IN));
        fds.push(PollFd::from_borrowed_fd(wake, PollFlags::IN));
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        for (readable, ready) in self.readable.iter_mut().zip(&mut ready) {
            *readable = ready;
        }
        self.tcp_ready = ready.next().unwrap_or_default();
        Ok(ready.next().unwrap_or_default())
    }

    /// The TCP side, if anything happened there by the last [`wait`](Self::wait).
    pub(super) fn ready_tcp(&mut self) -> Option<&mut TcpSide> {
        self.tcp_ready.then_some(&mut self.tcp)
    }

    /// Hands over the datagrams that wait, some batches of each socket that had any by the last [`wait`](Self::wait); of each batch
    /// `intake` is told before where it comes from. Says whether there may be more.
    pub(super) fn receive(&mut self, intake: &mut impl Intake) -> bool {
        let mut has_more = false;
        for (bound, _) in self.bound.iter().zip(&self.readable).filter(|(_, readable)| **readable) {
            for batch in 1..=BATCHES_PER_ROUND {
                match self.receiver.receive(bound.socket.as_fd()) {
                    Ok(messages) => {
                        let counters = &mut self.counters;
                        let now = Instant::now();
                        let unix = std::time::SystemTime::now().duration_since(UNIX_EPOCH).ok();
                        let path = |remote| Path {
                            local: bound.local,
                            remote,
                            tcp: false,
                        };
                        intake.expect(self.receiver.senders().map(path));
                        self.receiver.for_each(|remote, arrival, datagram| {
                            counters.received += 1;
                            let age = unix.zip(arrival).and_then(|(unix, arrival)| unix.checked_sub(arrival));
                            let arrival = age
                                .filter(|age| *age < MAX_AGE)
                                .and_then(|age| now.checked_sub(age))
                                .unwrap_or(now);
                            intake.take(path(remote), Times { now, arrival }, datagram);
                        });
                        if messages < Receiver::capacity() {
                            break;
                        }
                        has_more |= batch == BATCHES_PER_ROUND;
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP answer to an earlier send; it says nothing about this socket.
                    Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(e) => {
                        tracing::warn!(local = %bound.local, error = %e, "receiving failed");
                        break;
                    }
                }
            }
        }
        has_more
    }

    /// Sends all datagrams of a round.
    pub(super) fn send(&mut self, out: &SendBuffer) {
        let mut rest = out.datagrams();
        while let Some(first) = rest.first() {
            // Datagrams of one local address, in order; with one socket that is all of them.
            let Path { local, tcp, .. } = first.path;
            let is_same = |d: &&Datagram| d.path.local == local && d.path.tcp == tcp;
            let same = rest.iter().take_while(is_same).count();
            let (mine, others) = rest.split_at(same);
            if tcp {
                self.tcp.send(mine, out);
            } else {
                self.send_from(local, mine, out.bytes());
            }
            rest = others;
        }
        self.tcp.flush();
    }

    fn send_from(&mut self, local: SocketAddr, datagrams: &[Datagram], bytes: &[u8]) {
        let Some(index) = self.bound.iter().position(|b| b.local == local) else {
            self.counters.refused += datagrams.len() as u64;
            return;
        };
        gather(datagrams, self.bound[index].segments, &mut self.runs);
        let mut next = 0;
        let mut waited = false;
        while next < self.runs.len() {
            let bound = &mut self.bound[index];
            self.counters.send_calls += 1;
            match self.sender.send(bound.socket.as_fd(), &self.runs[next..], bytes) {
                Ok(sent) => {
                    self.counters.sent += self.runs[next..next + sent].iter().map(datagrams_of).sum::<u64>();
                    next += sent.max(1);
                    waited = false;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && !waited => {
                    waited = true;
                    wait_writable(&bound.socket);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.counters.dropped_full += self.runs[next..].iter().map(datagrams_of).sum::<u64>();
                    return;
                }
                // The device does not segment (EIO), or the kernel does not (EINVAL): once and for all singly.
                Err(e) if bound.segments && matches!(e.raw_os_error(), Some(libc::EIO | libc::EINVAL)) => {
                    tracing::info!(local = %bound.local, error = %e, "no segmentation offload here; datagrams are sent singly");
                    bound.segments = false;
                    split(&mut self.runs, next);
                }
                Err(_) => {
                    self.counters.refused += datagrams_of(&self.runs[next]);
                    next += 1;
                }
            }
        }
    }
}

/// Datagrams of one run.
fn datagrams_of(run: &Run) -> u64 {
    run.len.div_ceil(run.segment.max(1)) as u64
}

/// Joins neighbours for one receiver into runs of equal size, the last of which may be shorter.
fn gather(datagrams: &[Datagram], segments: bool, runs: &mut Vec<Run>) {
    runs.clear();
    let mut open = false;
    for datagram in datagrams {
        let (to, start, len) = (datagram.path.remote, datagram.range().start, datagram.len());
        if let Some(run) = runs.last_mut()
            && open
            && run.to == to
            && len <= run.segment
            && run.start + run.len == start
            && run.len / run.segment < MAX_SEGMENTS
            && run.len + len <= MAX_RUN_BYTES
        {
            run.len += len;
            open = len == run.segment;
        } else {
            runs.push(Run {
                to,
                start,
                len,
                segment: len,
            });
            open = segments;
        }
    }
}

/// Takes the runs from `from` on apart into single datagrams.
fn split(runs: &mut Vec<Run>, from: usize) {
    let rest = runs.split_off(from);
    for run in rest {
        let mut start = run.start;
        let end = run.start + run.len;
        while start < end {
            let len = run.segment.min(end - start);
            runs.push(Run {
                to: run.to,
                start,
                len,
                segment: len,
            });
            start += len;
        }
    }
}

fn is_in_use(error: &StartError) -> bool {
    matches!(error, StartError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
}

/// Binds one address, and returns it with its port. Both protocols, or none.
fn bind_one(
    address: SocketAddr,
    protocols: MediaProtocols,
    bound: &mut Vec<Bound>,
    tcp: &mut TcpSide,
) -> Result<SocketAddr, StartError> {
    let failed = |protocol, address| {
        move |source| StartError::Bind {
            protocol,
            address,
            source,
        }
    };
    let mut local = address;
    let mut udp = None;
    if protocols.udp() {
        let socket = bind(address).map_err(failed("UDP", address))?;
        local = socket.local;
        udp = Some(socket);
    }
    if protocols.tcp() {
        local = tcp.listen(local).map_err(failed("TCP", local))?;
    }
    bound.extend(udp);
    Ok(local)
}

fn bind(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Smaller buffers than asked for are no reason not to start.
    for (what, result) in [
        ("receive", socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)),
        ("send", socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)),
    ] {
        if let Err(e) = result {
            tracing::debug!(%address, error = %e, "the {what} buffer keeps its size");
        }
    }
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    if !enable_gro(socket.as_fd()) {
        tracing::debug!(%address, "no coalescing of received datagrams here");
    }
    if !enable_timestamps(socket.as_fd()) {
        tracing::debug!(%address, "no time stamps of received datagrams here");
    }
    let local = socket.local_addr()?;
    Ok(Bound {
        socket,
        local,
        segments: true,
    })
}

fn wait_writable(socket: &UdpSocket) {
    let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)];
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: SEND_WAIT.subsec_nanos().into(),
    };
    if let Err(e) = poll(&mut fds, Some(&timeout)) {
        tracing::debug!(error = %e, "waiting for a full socket was cut short");
    }
}
