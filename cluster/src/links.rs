//! Links between members, over `ractor_cluster`.
//!
//! Two members that know of each other have one connection, which the one with the lower node id dials. It is ours until both ends
//! have shown that they know the cookie, that they are who the other means, and that their wire versions fit; then ractor_cluster
//! gets it, and the two gateways – the only actors that can be reached from elsewhere – say hello. From then on it is a link.
//!
//! Absent on purpose: what messages mean, and who the members are (that is the directory's). Nothing is repeated: what was under
//! way when a link is lost may or may not have arrived.
//!
//! Strangers are kept out before an actor hears of them; members are trusted: to keep to their windows, and to be who they say
//! among those who know the cookie. `ractor_cluster=debug` logs what messages hold, so that its level stays at info or above.
//!
//! ractor keeps its registry and its groups in statics, so that a process can have links of one member only.

mod accept;
mod age;
mod backoff;
mod connection;
mod credit;
mod dial;
mod frame;
mod gateway;
mod keeper;
mod message;
mod opening;
mod sessions;
mod settings;
mod shared;
mod stream;
mod tls;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use caside_protocol::node::Member;
use ractor::{Actor, ActorRef};
use ractor_cluster::node::NodeConnectionMode;
use ractor_cluster::{NodeServer, NodeServerMessage};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use frame::{Body, MAX_STATUS};
use gateway::{Gateway, GatewayArgs};
use message::GatewayMsg;
use opening::Secret;
use sessions::Sessions;
use shared::{Counts, Known, Phase, Shared, add, count, lock};
use tls::Tls;

pub use settings::{LinkTls, LinksError, LinksSettings, MAX_MESSAGE, SendError};

/// Longest frame that ractor_cluster takes in: a message of [`MAX_MESSAGE`] with what goes around it.
const MAX_FRAME: u64 = (MAX_MESSAGE + MAX_MESSAGE / 4) as u64;
/// How long an actor may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// What links tell. Calls come from one actor, one after the other, and must not block: nothing else of the links goes on meanwhile.
pub trait LinkEvents: Send + Sync {
    /// There is a link to `member`.
    fn up(&self, member: &Member);

    /// The link to `member` is lost.
    ///
    /// With `proof` its process is known to be gone: the other end closed the connection, and its address refuses connections or
    /// another run of its node is there. Without, it may be frozen or cut off, and may come back. If proof is found later, while
    /// the member is still to be linked to or another run of its node is, this is called once more, with `proof`.
    fn down(&self, member: &Member, proof: bool);

    /// A message of `from`, in the order in which it was sent.
    fn received(&self, from: &Member, message: Bytes);
}

/// The links of a member. Clones are of the same links.
#[derive(Clone)]
pub struct Links {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
}

/// What happened since the start, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Members that are linked now.
    pub linked: usize,
    /// Messages sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Connections of others that were not let in.
    pub refused: u64,
    /// Frames that could not be read.
    pub undecodable: u64,
    /// Frames of connections that are no links.
    pub stray: u64,
    /// Messages that were too old when it was their turn.
    pub expired: u64,
    /// Messages not sent because too much was under way.
    pub overloaded: u64,
    /// Events at which whoever uses the links panicked.
    pub panicked: u64,
}

impl Links {
    /// Listens, and starts the actors. Nobody is dialed before [`Self::know`].
    ///
    /// # Errors
    /// [`LinksError`] tells what about the settings, the address or the certificates is wrong.
    pub async fn start(settings: LinksSettings, events: Arc<dyn LinkEvents>) -> Result<Self, LinksError> {
        settings.check()?;
        let tls = settings.tls.as_ref().map(Tls::load).transpose()?;
        let address = settings.listen;
        let bind_error = |source| LinksError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let local_addr = listener.local_addr().map_err(bind_error)?;

        let slot = Arc::new(OnceLock::new());
        let args = GatewayArgs {
            me: settings.me.clone(),
            events,
            shared: slot.clone(),
        };
        let (gateway, gateway_end) = Actor::spawn(None, Gateway, args).await.map_err(not_started)?;
        let (server, server_end) = match Actor::spawn(None, node_server(&settings), ()).await {
            Ok(started) => started,
            Err(error) => {
                gateway.stop(None);
                return Err(not_started(error));
            }
        };
        let shared = Arc::new(Shared::new(settings, tls, server.clone(), gateway));
        drop(slot.set(Arc::downgrade(&shared)));
        let subscription = Box::new(Sessions(Arc::downgrade(&shared)));
        let subscribe = NodeServerMessage::SubscribeToEvents {
            id: "links".to_owned(),
            subscription,
        };
        server.send_message(subscribe).map_err(not_started)?;

        tokio::spawn(accept::accept(shared.clone(), listener));
        tokio::spawn(beat(shared.clone()));
        tokio::spawn(watch_actors(shared.clone(), gateway_end, server_end));
        Ok(Self { shared, local_addr })
    }

    /// Where others reach us.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Members to be linked to, each with its address ("host:port"); replaces what was known. The address has to be the process's
    /// own: a balancer before it refuses connections while the process lives, which would pass for a proof of its end.
    ///
    /// The member with the lower node id dials. One that is not on the list any more is unlinked; one that is not on it yet is let
    /// in as soon as it is.
    pub fn know(&self, members: Vec<(Member, String)>) {
        let me = &self.shared.settings.me;
        let wanted: HashMap<Member, String> = members
            .into_iter()
            .filter(|(member, _)| member.node != me.node)
            .collect();
        let mut forgotten = Vec::new();
        {
            let mut known = lock(&self.shared.known);
            known.retain(|member, entry| {
                let stays = wanted.contains_key(member);
                if !stays {
                    entry.keeper.abort();
                    forgotten.push(member.clone());
                }
                stays
            });
            for (member, address) in wanted {
                self.keep(&mut known, member, address);
            }
        }
        self.shared.known_changed.send_replace(());
        for connection in lock(&self.shared.connections).values() {
            if forgotten.contains(&connection.member) {
                connection.close();
            }
        }
        for member in forgotten {
            drop(self.shared.gateway.send_message(GatewayMsg::Forgotten(member)));
        }
    }

    /// Has a task keep `member` linked at `address`.
    fn keep(&self, known: &mut HashMap<Member, Known>, member: Member, address: String) {
        if self.shared.stopping.is_cancelled() || known.get(&member).is_some_and(|entry| entry.address == address) {
            return;
        }
        // A new address changes nothing about a link that there is.
        let phase = match known.remove(&member) {
            Some(moved) => {
                moved.keeper.abort();
                moved.phase
            }
            None => watch::channel(Phase::Never).0,
        };
        let keeping = keeper::keep(self.shared.clone(), member.clone(), address.clone(), phase.subscribe());
        let keeper = self.shared.runtime.spawn(keeping).abort_handle();
        known.insert(member, Known { address, phase, keeper });
    }

    /// Puts a message on the link to `to`, without waiting. It is dropped unread if it is older than the settings' deadline when
    /// it is its turn there.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    pub fn send(&self, to: &Member, message: Bytes) -> Result<(), SendError> {
        self.send_within(to, message, self.shared.settings.deadline)
    }

    /// [`Self::send`] with a deadline of its own.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    pub fn send_within(&self, to: &Member, message: Bytes, deadline: Duration) -> Result<(), SendError> {
        if message.len() > MAX_MESSAGE {
            return Err(SendError::TooLarge);
        }
        let link = self.shared.link(to).ok_or(SendError::Unreachable)?;
        if !lock(&link.window).take(message.len()) {
            count(&self.shared.counts.overloaded);
            return Err(SendError::Overloaded);
        }
        let ttl_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        let bytes = message.len();
        let frame = self.shared.frame(&link.connection, Body::Data { ttl_ms, message });
        link.gateway.send_message(frame).map_err(|_| SendError::Unreachable)?;
        count(&self.shared.counts.sent);
        add(&self.shared.counts.sent_bytes, bytes);
        Ok(())
    }

    /// Members that are linked.
    pub fn linked(&self) -> Vec<Member> {
        self.shared
            .all_links()
            .iter()
            .map(|link| link.connection.member.clone())
            .collect()
    }

    /// Sets the word that goes with every heartbeat: at most 64 bytes; a longer one is not taken.
    pub fn set_status(&self, status: Bytes) {
        if status.len() > MAX_STATUS {
            tracing::error!(bytes = status.len(), "a status that is too long for a heartbeat");
            return;
        }
        *lock(&self.shared.status) = status;
    }

    /// The word last heard of a linked member; empty if it has none.
    pub fn status_of(&self, member: &Member) -> Option<Bytes> {
        self.shared.link(member).map(|link| lock(&link.status).clone())
    }

    /// Whether a member's process is known to be gone: its address refuses connections, or another run of its node is there.
    ///
    /// Takes 500 ms at most; whatever else happens is no proof. The address is that of the list, or of another run of the same
    /// node. The list has to be fresh: a machine that took the address of another over refuses connections as well.
    pub async fn prove_gone(&self, member: &Member) -> bool {
        match self.shared.address(member) {
            Some(address) => dial::probe(&self.shared, member, &address).await,
            None => false,
        }
    }

    /// What happened since the start.
    pub fn counts(&self) -> LinkCounts {
        let counts = &self.shared.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkCounts {
            linked: self.shared.all_links().len(),
            sent: read(&counts.sent),
            sent_bytes: read(&counts.sent_bytes),
            received: read(&counts.received),
            received_bytes: read(&counts.received_bytes),
            refused: read(&counts.refused),
            undecodable: read(&counts.undecodable),
            stray: read(&counts.stray),
            expired: read(&counts.expired),
            overloaded: read(&counts.overloaded),
            panicked: read(&counts.panicked),
        }
    }

    /// Waits until the links have ended, by [`Self::stop`] or because an actor of theirs died.
    pub async fn ended(&self) {
        self.shared.stopping.cancelled().await;
    }

    /// Ends all links; no events come after. The others take it for the end of the process, so let it be one.
    pub async fn stop(self) {
        self.shared.stop().await;
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links")
            .field("me", &self.shared.settings.me)
            .field("linked", &self.linked())
            .finish_non_exhaustive()
    }
}

/// ractor_cluster's part. It insists on a listener of its own: one that only this machine can reach, and whose sessions are
/// stopped at once. Named as the host, too, since two nodes whose host and port are the same take each other for themselves.
fn node_server(settings: &LinksSettings) -> NodeServer {
    let name = settings.me.to_string();
    NodeServer::new(
        0,
        settings.cookie.clone(),
        name.clone(),
        name,
        None,
        Some(NodeConnectionMode::Isolated),
    )
    .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
    .with_max_inbound_frame_size(MAX_FRAME)
}

/// Sends heartbeats. Not the gateway's to do: one that has much to read still runs.
async fn beat(shared: Arc<Shared>) {
    let mut ticks = interval(shared.settings.heartbeat);
    // After a freeze there is one tick, not all that were missed: nobody was silent in a time in which nobody listened.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for seq in 1.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.stopping.cancelled() => return,
        }
        for link in shared.all_links() {
            drop(link.gateway.send_message(gateway::heartbeat(&shared, &link, seq)));
        }
        drop(shared.gateway.send_message(GatewayMsg::Tick));
    }
}

/// Without one of the two there are no links.
async fn watch_actors(shared: Arc<Shared>, gateway: JoinHandle<()>, server: JoinHandle<()>) {
    let died = tokio::select! {
        _ = gateway => "gateway",
        _ = server => "node server",
        () = shared.stopping.cancelled() => return,
    };
    tracing::error!(actor = died, "an actor of the links died");
    shared.stop().await;
}

fn not_started(error: impl std::error::Error + Send + Sync + 'static) -> LinksError {
    LinksError::Actor(Box::new(error))
}

impl Shared {
    fn new(
        settings: LinksSettings,
        tls: Option<Tls>,
        server: ActorRef<NodeServerMessage>,
        gateway: ActorRef<GatewayMsg>,
    ) -> Self {
        Self {
            secret: Secret::new(&settings.cookie),
            tls,
            began: Instant::now(),
            runtime: Handle::current(),
            server,
            gateway,
            known: HashMap::new().into(),
            known_changed: watch::channel(()).0,
            connections: HashMap::new().into(),
            links: HashMap::new().into(),
            status: Bytes::new().into(),
            room: Arc::new(Semaphore::new(settings.max_connections)),
            counts: Counts::default(),
            misfits: HashMap::new().into(),
            stopping: CancellationToken::new(),
            settings,
        }
    }

    async fn stop(&self) {
        self.stopping.cancel();
        for (_, known) in lock(&self.known).drain() {
            known.keeper.abort();
        }
        // The gateway first: no event comes from then on.
        drop(self.gateway.stop_and_wait(None, Some(STOP_LIMIT)).await);
        drop(self.server.stop_and_wait(None, Some(STOP_LIMIT)).await);
        self.links
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clear();
    }
}
