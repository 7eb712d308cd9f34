//! The thread on which all light clients live: one socket, one queue of what is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use caside_media::parameters::IceCredentials;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::oneshot;

use super::checker::{Pictures, Totals};
use super::client::{Client, Link};
use super::dtls::Identity;
use super::gaps::Gaps;
use super::sdp::Remote;
use super::socket::{Arrival, Inbox, Socket};
use super::source::SourceOptions;
use super::unix_ns;

#[expect(
    clippy::disallowed_types,
    reason = "media is sent and received in real time, beside the runtime"
)]
pub(crate) type Instant = std::time::Instant;

/// Now.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Orders that may wait.
const ORDERS: usize = 16_384;
/// The longest sleep: how late an order may be seen.
const LONGEST_WAIT: Duration = Duration::from_millis(2);
/// Batches taken from the socket before something else has its turn.
const BATCHES: usize = 8;
/// Asked of the kernel: a frame to a thousand clients waits here.
const BUFFER_BYTES: usize = 256 << 20;
/// How often all clients are asked for feedback that is due.
const SWEEP: Duration = Duration::from_millis(20);
/// Unless others are asked for: every address of 127.0.0.0/8 leads to this machine.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);
/// Clients at most: each has an address of 127.1.0.0/16 and the 126 networks after it.
const MAX_CLIENTS: usize = 126 << 16;

/// A connection to be made.
#[derive(Debug)]
pub(crate) struct Connect {
    /// What our description said.
    pub(crate) local: IceCredentials,
    /// What the node's description says.
    pub(crate) remote: Remote,
    /// Who receives over it, where gaps are counted.
    pub(crate) viewer: Option<u32>,
    /// What to publish over it.
    pub(crate) sources: Vec<SourceOptions>,
    /// Told when media flows; dropped when it cannot.
    pub(crate) connected: oneshot::Sender<()>,
}

/// What all clients together have seen since the last snapshot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// What was received.
    pub(crate) totals: Totals,
    /// Clients that media flows to.
    pub(crate) connected: usize,
    /// Clients that gave up.
    pub(crate) failed: usize,
    /// Streams that have had a whole key frame, since the beginning.
    pub(crate) decoding: usize,
    /// From connecting to the first whole key frame, of each client that has had one.
    pub(crate) decoding_after: Vec<Duration>,
    /// The shortest time between two requests for a key frame of one source, since the beginning.
    pub(crate) shortest_request: Option<Duration>,
    /// Requests for key frames since the beginning.
    pub(crate) requests: usize,
    /// When each source was asked for key frames, since the beginning.
    pub(crate) asked: Vec<Vec<Instant>>,
    /// Of each client that asked for sizes of pictures.
    pub(crate) pictures: Vec<Pictures>,
    /// Streams that publishers send, and those that they could send, of cameras in several sizes.
    pub(crate) sending: (usize, usize),
    /// Datagrams that the kernel dropped because this program was too slow, since the beginning.
    pub(crate) overflowed: u64,
    /// Datagrams for no client of ours, such as those of the bare loop.
    pub(crate) strangers: u64,
    /// The first failures.
    pub(crate) failures: Vec<String>,
}

enum Order {
    Connect(Box<Connect>, oneshot::Sender<usize>),
    /// More was negotiated on a connection.
    Update(usize, Option<u8>, u128),
    /// Which of a source's sizes are to be sent.
    Activate(usize, usize, Vec<(String, bool)>),
    /// Which sizes a client asks for, by SSRC.
    Expect(usize, Vec<(u32, u8)>),
    /// A datagram to send from a client's address, which is not the client's own.
    Forge(usize, Vec<u8>),
    Leave(usize),
    /// Gaps count from now on.
    Mark,
    Gaps(oneshot::Sender<Vec<f64>>),
    Snapshot(oneshot::Sender<Snapshot>),
    Stop,
}

/// A way to the thread; cheap to clone.
#[derive(Clone)]
pub(crate) struct Light {
    orders: SyncSender<Order>,
    identity: Identity,
    port: u16,
}

impl Light {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Self> {
        Self::start_from(FIRST_ADDRESS)
    }

    /// Starts the thread for clients with addresses from this one on. They must lead to this machine.
    pub(crate) fn start_from(first: Ipv4Addr) -> Result<Self> {
        let (orders, receiver) = sync_channel(ORDERS);
        let identity = Identity::generate()?;
        let socket = Socket::bind(BUFFER_BYTES)?;
        let light = Self {
            orders,
            identity: identity.clone(),
            port: socket.port()?,
        };
        let thread = Thread {
            socket,
            first,
            identity,
            orders: receiver,
            clients: Vec::new(),
            due: BinaryHeap::new(),
            totals: Totals::default(),
            gaps: Gaps::default(),
            strangers: 0,
            failures: Vec::new(),
        };
        std::thread::Builder::new()
            .name("light-clients".to_owned())
            .spawn(move || thread.run())?;
        Ok(light)
    }

    /// The certificate that clients show.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The UDP port at which all clients receive.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Makes a connection and returns its number at once.
    pub(crate) async fn connect(&self, connect: Connect) -> Result<usize> {
        let (reply, number) = oneshot::channel();
        self.order(Order::Connect(Box::new(connect), reply))?;
        number.await.context("no address is left for another client")
    }

    /// Says that more was negotiated.
    pub(crate) fn update(&self, client: usize, remote: &Remote) -> Result<()> {
        self.order(Order::Update(client, remote.transport_cc, remote.rtx))
    }

    /// Says which sizes of a client's source are to be sent, by their names.
    pub(crate) fn activate(&self, client: usize, source: usize, sizes: Vec<(String, bool)>) -> Result<()> {
        self.order(Order::Activate(client, source, sizes))
    }

    /// Says which sizes a client asks for, lowest 0, by SSRC.
    pub(crate) fn expect(&self, client: usize, sizes: Vec<(u32, u8)>) -> Result<()> {
        self.order(Order::Expect(client, sizes))
    }

    /// Sends a datagram from a client's address and port: what somebody could do who forges addresses.
    pub(crate) fn forge(&self, client: usize, datagram: Vec<u8>) -> Result<()> {
        self.order(Order::Forge(client, datagram))
    }

    /// Lets a client fall silent for good. Its address is not given away again.
    pub(crate) fn leave(&self, client: usize) -> Result<()> {
        self.order(Order::Leave(client))
    }

    /// Begins to count gaps anew.
    pub(crate) fn mark(&self) -> Result<()> {
        self.order(Order::Mark)
    }

    /// The longest time that each viewer had nothing of each stream since the mark, in milliseconds.
    pub(crate) async fn gaps(&self) -> Result<Vec<f64>> {
        let (reply, gaps) = oneshot::channel();
        self.order(Order::Gaps(reply))?;
        gaps.await.context("the light clients' thread has ended")
    }

    /// What was seen since the last snapshot.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot> {
        let (reply, snapshot) = oneshot::channel();
        self.order(Order::Snapshot(reply))?;
        snapshot.await.context("the light clients' thread has ended")
    }

    /// Ends the thread; clients fall silent.
    pub(crate) fn stop(&self) -> Result<()> {
        self.order(Order::Stop)
    }

    fn order(&self, order: Order) -> Result<()> {
        self.orders
            .try_send(order)
            .map_err(|_| anyhow!("the light clients' thread takes no orders"))
    }
}

/// What a client is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Maintain,
    Frame(usize),
}

struct Thread {
    socket: Socket,
    /// The first client's address.
    first: Ipv4Addr,
    identity: Identity,
    orders: Receiver<Order>,
    clients: Vec<Client>,
    due: BinaryHeap<Reverse<(Instant, usize, Task)>>,
    totals: Totals,
    gaps: Gaps,
    strangers: u64,
    failures: Vec<String>,
}

/// The address of a client, counted from that of the first.
fn address(first: Ipv4Addr, client: usize) -> Option<Ipv4Addr> {
    let number = u32::try_from(client).ok().filter(|_| client < MAX_CLIENTS)?;
    Some(Ipv4Addr::from(u32::from(first).checked_add(number)?))
}

fn client_at(first: Ipv4Addr, address: Ipv4Addr) -> Option<usize> {
    usize::try_from(u32::from(address).checked_sub(u32::from(first))?).ok()
}

impl Thread {
    fn run(mut self) {
        let mut sweep = now();
        let mut inbox = Inbox::new();
        loop {
            match self.take_orders() {
                Ok(true) => {}
                Ok(false) | Err(()) => return,
            }
            self.wait();
            self.receive(&mut inbox);
            let now = now();
            self.act(now);
            if now >= sweep {
                sweep = now + SWEEP;
                let mut link = Link {
                    socket: &self.socket,
                    identity: &self.identity,
                    failures: &mut self.failures,
                };
                for client in &mut self.clients {
                    client.send_reports(now, &mut link);
                    client.send_feedback(now, &mut link);
                }
            }
        }
    }

    /// Whether to go on.
    fn take_orders(&mut self) -> Result<bool, ()> {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Connect(connect, reply)) => {
                    let Some(from) = address(self.first, self.clients.len()) else {
                        continue;
                    };
                    let now = now();
                    let number = self.clients.len();
                    self.clients.push(Client::new(now, from, *connect));
                    self.due.push(Reverse((now, number, Task::Maintain)));
                    reply.send(number).map_err(|_| ())?;
                }
                Ok(Order::Update(client, transport_cc, rtx)) => {
                    if let Some(client) = self.clients.get_mut(client) {
                        client.transport_cc = transport_cc;
                        client.rtx = rtx;
                    }
                }
                Ok(Order::Activate(client, source, sizes)) => {
                    let client = self.clients.get_mut(client);
                    if let Some(source) = client.and_then(|client| client.sources.get_mut(source)) {
                        sizes.iter().for_each(|(rid, active)| source.activate(rid, *active));
                    }
                }
                Ok(Order::Expect(client, sizes)) => {
                    if let Some(client) = self.clients.get_mut(client) {
                        client.checker.expect(sizes);
                    }
                }
                Ok(Order::Forge(client, datagram)) => {
                    if let Some(client) = self.clients.get(client) {
                        let mut link = Link {
                            socket: &self.socket,
                            identity: &self.identity,
                            failures: &mut self.failures,
                        };
                        client.forge(&datagram, &mut link);
                    }
                }
                Ok(Order::Leave(client)) => {
                    if let Some(client) = self.clients.get_mut(client) {
                        client.leave(&mut self.totals);
                    }
                }
                Ok(Order::Mark) => self.gaps.mark(),
                Ok(Order::Gaps(reply)) => reply.send(self.gaps.longest_ms(unix_ns())).map_err(|_| ())?,
                Ok(Order::Snapshot(reply)) => {
                    let snapshot = self.snapshot();
                    reply.send(snapshot).map_err(|_| ())?;
                }
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return Ok(false),
                Err(TryRecvError::Empty) => return Ok(true),
            }
        }
    }

    fn wait(&self) {
        let now = now();
        let until = self.due.peek().map_or(LONGEST_WAIT, |Reverse((at, _, _))| {
            at.saturating_duration_since(now).min(LONGEST_WAIT)
        });
        // In whole milliseconds, so a frame may leave that much late; it carries the time at which it did.
        let timeout = u8::try_from(until.as_micros().div_ceil(1000)).unwrap_or(1);
        let mut fds = [PollFd::new(self.socket.fd(), PollFlags::POLLIN)];
        // A wait that is cut short is a turn without anything to do.
        poll(&mut fds, PollTimeout::from(timeout)).ok();
    }

    fn receive(&mut self, inbox: &mut Inbox) {
        let (clients, strangers) = (&mut self.clients, &mut self.strangers);
        let (totals, gaps) = (&mut self.totals, &mut self.gaps);
        // Answers to a handshake go out of the same socket that is being read, so what comes is kept until the batch ends.
        let mut later: Vec<(Arrival, Vec<u8>)> = Vec::new();
        for _ in 0..BATCHES {
            let now = now();
            let more = self.socket.receive(inbox, |arrival, datagram| {
                let Some(client) = client_at(self.first, arrival.to).and_then(|number| clients.get_mut(number)) else {
                    *strangers += 1;
                    return;
                };
                if client.is_connected() {
                    client.receive_media(now, arrival, datagram, totals, gaps);
                } else {
                    later.push((arrival, datagram.to_vec()));
                }
            });
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.failures.push(format!("{error:#}"));
                    break;
                }
            }
        }
        let now = now();
        let mut link = Link {
            socket: &self.socket,
            identity: &self.identity,
            failures: &mut self.failures,
        };
        for (arrival, mut datagram) in later {
            let Some(number) = client_at(self.first, arrival.to) else {
                continue;
            };
            let Some(client) = self.clients.get_mut(number) else {
                continue;
            };
            client.receive(now, arrival, &mut datagram, &mut link, &mut self.totals, &mut self.gaps);
            if client.is_connected() {
                for source in client.take_new_sources() {
                    let due = client.sources.get(source).map_or(now, |source| source.due);
                    self.due.push(Reverse((due, number, Task::Frame(source))));
                }
            }
        }
    }

    fn act(&mut self, now: Instant) {
        let mut link = Link {
            socket: &self.socket,
            identity: &self.identity,
            failures: &mut self.failures,
        };
        while let Some(Reverse((at, number, task))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            let Some(client) = self.clients.get_mut(number) else {
                continue;
            };
            match task {
                Task::Maintain => {
                    if let Some(again) = client.handle_timeout(now, &mut link) {
                        self.due.push(Reverse((now + again, number, task)));
                    }
                }
                Task::Frame(source) => {
                    client.send_frame(now, source, &mut link);
                    if let Some(source) = client.sources.get(source) {
                        self.due.push(Reverse((source.due, number, task)));
                    }
                }
            }
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = Snapshot {
            totals: std::mem::take(&mut self.totals),
            overflowed: self.socket.overflowed,
            strangers: std::mem::take(&mut self.strangers),
            failures: std::mem::take(&mut self.failures),
            ..Snapshot::default()
        };
        for client in &mut self.clients {
            client.checker.end_window(&mut snapshot.totals);
            snapshot.connected += usize::from(client.is_connected());
            snapshot.failed += usize::from(client.has_failed());
            snapshot.decoding += client.checker.decoding();
            snapshot.decoding_after.extend(client.decoding_after);
            snapshot.pictures.extend(client.checker.pictures());
            for source in &client.sources {
                if let (sent, all @ 2..) = source.sending() {
                    snapshot.sending = (snapshot.sending.0 + sent, snapshot.sending.1 + all);
                }
                for asked in source.asked() {
                    let gaps = asked.windows(2).map(|pair| pair[1] - pair[0]);
                    snapshot.shortest_request = snapshot.shortest_request.into_iter().chain(gaps).min();
                    snapshot.requests += asked.len();
                    snapshot.asked.push(asked.clone());
                }
            }
        }
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_an_address_of_its_own() {
        for client in [0, 255, 256, 70_000, MAX_CLIENTS - 1] {
            let address = address(FIRST_ADDRESS, client).unwrap();
            assert!(address.is_loopback());
            assert_eq!(client_at(FIRST_ADDRESS, address), Some(client));
        }
        assert_eq!(address(FIRST_ADDRESS, MAX_CLIENTS), None);
        assert_eq!(client_at(FIRST_ADDRESS, Ipv4Addr::LOCALHOST), None);
    }
}
