//! What the parts of the links share: who is to be linked, which connections there are, which of them are links.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use caside_protocol::node::Member;
use ractor::ActorRef;
use ractor_cluster::NodeServerMessage;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::credit::{Handled, Tally, Window};
use super::frame::{Body, Frame};
use super::message::GatewayMsg;
use super::opening::Secret;
use super::settings::LinksSettings;
use super::stream::Conduit;
use super::stream::Socket;
use super::tls::Tls;

/// How many members with versions that do not fit are remembered.
const MAX_MISFITS: usize = 256;

/// What the parts of the links share.
pub(crate) struct Shared {
    pub(crate) settings: LinksSettings,
    pub(crate) secret: Secret,
    pub(crate) tls: Option<Tls>,
    /// When our clock began.
    pub(crate) began: Instant,
    /// Where our tasks run, whoever asks for one.
    pub(crate) runtime: Handle,
    pub(crate) server: ActorRef<NodeServerMessage>,
    pub(crate) gateway: ActorRef<GatewayMsg>,
    /// Members to be linked to.
    pub(crate) known: Mutex<HashMap<Member, Known>>,
    /// Tells of each change of `known`.
    pub(crate) known_changed: watch::Sender<()>,
    /// Connections that got as far as a session.
    pub(crate) connections: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Members that are linked.
    pub(crate) links: RwLock<HashMap<Member, Arc<Link>>>,
    /// What goes with our heartbeats.
    pub(crate) status: Mutex<Bytes>,
    /// Room for connections of others.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) counts: Counts,
    /// Versions that did not fit, by member, so that each is logged once.
    pub(crate) misfits: Mutex<HashMap<Member, u32>>,
    /// Everything shall end.
    pub(crate) stopping: CancellationToken,
}

/// A member to be linked to.
pub(crate) struct Known {
    /// Where it is reached, as "host:port".
    pub(crate) address: String,
    /// How its link is.
    pub(crate) phase: watch::Sender<Phase>,
    /// The task that dials it, or finds out what became of it.
    pub(crate) keeper: AbortHandle,
}

/// How a member's link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not linked so far.
    Never,
    /// Linked.
    Up,
    /// Not linked any more.
    Lost {
        /// The other end's kernel ended the connection.
        by_peer: bool,
    },
}

/// A link.
pub(crate) struct Link {
    pub(crate) connection: Arc<Connection>,
    /// The other end's gateway.
    pub(crate) gateway: ActorRef<GatewayMsg>,
    pub(crate) window: Mutex<Window>,
    pub(crate) handled: Mutex<Handled>,
    /// The word last heard of it.
    pub(crate) status: Mutex<Bytes>,
}

/// What was counted; see [`super::LinkCounts`].
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) undecodable: AtomicU64,
    pub(crate) stray: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) overloaded: AtomicU64,
    pub(crate) panicked: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Adds so many.
pub(crate) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// Locks what no holder leaves half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Milliseconds since our clock began.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The bound of a link's window.
    pub(crate) fn window(&self) -> Tally {
        Tally {
            messages: self.settings.window_messages,
            bytes: self.settings.window_bytes,
        }
    }

    /// The link to `member`.
    pub(crate) fn link(&self, member: &Member) -> Option<Arc<Link>> {
        self.links
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(member)
            .cloned()
    }

    /// All links.
    pub(crate) fn all_links(&self) -> Vec<Arc<Link>> {
        self.links
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// A frame of ours for a connection.
    pub(crate) fn frame(&self, connection: &Connection, body: Body) -> GatewayMsg {
        let frame = Frame {
            connection: connection.id,
            sent_ms: self.now_ms(),
            body,
        };
        GatewayMsg::Wire(frame.encode().into())
    }

    /// Sets how a member's link is; `false` if it is not to be linked.
    pub(crate) fn set_phase(&self, member: &Member, phase: Phase) -> bool {
        match lock(&self.known).get(member) {
            Some(known) => {
                known.phase.send_replace(phase);
                true
            }
            None => false,
        }
    }

    /// Where `member` is reached, or another run of its node is.
    pub(crate) fn address(&self, member: &Member) -> Option<String> {
        let known = lock(&self.known);
        let same_node = || {
            known
                .iter()
                .find(|(other, _)| other.node == member.node)
                .map(|(_, known)| known)
        };
        known.get(member).or_else(same_node).map(|known| known.address.clone())
    }

    /// Logs, once, that a member's version does not fit ours.
    pub(crate) fn misfit(&self, member: &Member, version: u32) {
        let mut misfits = lock(&self.misfits);
        if misfits.len() >= MAX_MISFITS {
            misfits.clear();
        }
        if misfits.insert(member.clone(), version) != Some(version) {
            let ours = self.settings.version;
            tracing::warn!(%member, version.ours = ours, version.theirs = version, "wire versions do not fit: not linked");
        }
    }

    /// Gives a connection to ractor_cluster and sees to it until it ends. `false` if there is one with this number.
    pub(crate) fn hand_over(self: &Arc<Self>, socket: Socket, connection: &Arc<Connection>, accepted: bool) -> bool {
        {
            let mut connections = lock(&self.connections);
            if connections.contains_key(&connection.id) {
                return false;
            }
            connections.insert(connection.id, connection.clone());
        }
        let conduit = Conduit {
            socket,
            connection: connection.clone(),
        };
        let opened = NodeServerMessage::ConnectionOpenedExternal {
            stream: Box::new(conduit),
            is_server: accepted,
        };
        if self.server.send_message(opened).is_err() {
            connection.ended.cancel();
        }
        tokio::spawn(tend(self.clone(), connection.clone()));
        true
    }
}

/// Closes a connection that is no link in time, and tells the gateway when it has ended.
async fn tend(shared: Arc<Shared>, connection: Arc<Connection>) {
    tokio::select! {
        () = connection.up.cancelled() => {}
        () = connection.ended.cancelled() => {}
        () = shared.stopping.cancelled() => connection.close(),
        () = tokio::time::sleep_until(connection.deadline) => connection.close(),
    }
    tokio::select! {
        () = connection.ended.cancelled() => {}
        () = shared.stopping.cancelled() => connection.close(),
        // Its session lets go of it when it is closed; what is closed counts as ended in any case.
        () = closed_for_long(&connection) => {}
    }
    connection.ended.cancel();
    lock(&shared.connections).remove(&connection.id);
    // Fails only when all of the links have ended.
    drop(shared.gateway.send_message(GatewayMsg::Ended(connection)));
}

async fn closed_for_long(connection: &Connection) {
    connection.closing.cancelled().await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}
