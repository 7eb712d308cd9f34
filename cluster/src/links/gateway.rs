//! The one actor of a node that others can reach. Whatever happens to links happens here, one after the other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use caside_protocol::node::Member;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef};

use super::LinkEvents;
use super::age::Ages;
use super::connection::{Connection, group};
use super::credit::{Handled, Tally, Window};
use super::frame::{Body, Frame};
use super::message::GatewayMsg;
use super::shared::{Link, Phase, Shared, add, count, lock};

/// The one actor of a node that others can reach.
pub(crate) struct Gateway;

/// What it is started with. `Shared` refers to the gateway, so that it comes once the gateway is there.
pub(crate) struct GatewayArgs {
    pub(crate) me: Member,
    pub(crate) events: Arc<dyn LinkEvents>,
    pub(crate) shared: Arc<OnceLock<Weak<Shared>>>,
}

/// What it knows.
pub(crate) struct GatewayState {
    args: GatewayArgs,
    peers: HashMap<u64, Peer>,
    /// Members whose link was lost, and whether that was told.
    lost: HashMap<Member, bool>,
}

/// The other end of a connection.
struct Peer {
    connection: Arc<Connection>,
    gateway: Option<ActorRef<GatewayMsg>>,
    heard_hello: bool,
    link: Option<Arc<Link>>,
    ages: Ages,
    /// It has said something since the last heartbeat of ours.
    heard: bool,
    misses: u32,
}

impl Actor for Gateway {
    type Msg = GatewayMsg;
    type State = GatewayState;
    type Arguments = GatewayArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        args: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        ractor::pg::join(group(&args.me), vec![myself.get_cell()]);
        Ok(GatewayState {
            args,
            peers: HashMap::new(),
            lost: HashMap::new(),
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(shared) = state.args.shared.get().and_then(Weak::upgrade) else {
            return Ok(());
        };
        match message {
            GatewayMsg::Wire(bytes) => match Frame::decode(bytes) {
                Some(frame) => state.frame(&shared, frame),
                None => count(&shared.counts.undecodable),
            },
            GatewayMsg::Undecodable => count(&shared.counts.undecodable),
            GatewayMsg::Ready(connection) => state.ready(&shared, &connection),
            GatewayMsg::Ended(connection) => state.ended(&shared, &connection),
            GatewayMsg::Settled { member, proof } => state.settled(&shared, &member, proof),
            GatewayMsg::Forgotten(member) => state.forgotten(&shared, &member),
            GatewayMsg::Tick => state.tick(&shared),
        }
        Ok(())
    }
}

impl GatewayState {
    fn frame(&mut self, shared: &Arc<Shared>, frame: Frame) {
        let Some(peer) = self.peer(shared, frame.connection) else {
            count(&shared.counts.stray);
            return;
        };
        peer.heard = true;
        let age_ms = peer.ages.see(frame.sent_ms, shared.now_ms());
        match frame.body {
            Body::Hello => {
                peer.heard_hello = true;
                self.meet(shared, frame.connection);
            }
            Body::Heartbeat {
                seq: _,
                handled,
                status,
            } => {
                peer.ages.heartbeat();
                if let Some(link) = &peer.link {
                    lock(&link.window).handled(handled);
                    *lock(&link.status) = status;
                }
            }
            Body::Credit(handled) => {
                if let Some(link) = &peer.link {
                    lock(&link.window).handled(handled);
                }
            }
            Body::Data { ttl_ms, message } => {
                let Some(link) = peer.link.clone() else {
                    count(&shared.counts.stray);
                    return;
                };
                self.data(shared, &link, message, age_ms > u64::from(ttl_ms));
            }
        }
    }

    /// The other end of a connection that has not ended.
    fn peer(&mut self, shared: &Shared, id: u64) -> Option<&mut Peer> {
        let peer = match self.peers.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Peer::new(lock(&shared.connections).get(&id).cloned()?)),
        };
        Some(peer).filter(|peer| !peer.connection.closing.is_cancelled())
    }

    fn data(&self, shared: &Shared, link: &Link, message: Bytes, expired: bool) {
        let bytes = message.len();
        count(&shared.counts.received);
        add(&shared.counts.received_bytes, bytes);
        if expired {
            count(&shared.counts.expired);
        } else {
            self.tell(shared, |events| events.received(&link.connection.member, message));
        }
        let told = {
            let mut handled = lock(&link.handled);
            handled.add(bytes).then(|| handled.tell())
        };
        if let Some(tally) = told {
            drop(
                link.gateway
                    .send_message(shared.frame(&link.connection, Body::Credit(tally))),
            );
        }
    }

    fn ready(&mut self, shared: &Arc<Shared>, connection: &Connection) {
        if self.peer(shared, connection.id).is_some() {
            self.meet(shared, connection.id);
        }
    }

    /// Says hello once the other end's gateway is seen; a hello heard as well makes it a link.
    fn meet(&mut self, shared: &Arc<Shared>, id: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.gateway.is_none() {
            let Some(gateway) = gateway_of(&peer.connection) else {
                return;
            };
            drop(gateway.send_message(shared.frame(&peer.connection, Body::Hello)));
            peer.gateway = Some(gateway);
        }
        let Some(gateway) = peer.gateway.clone().filter(|_| peer.heard_hello && peer.link.is_none()) else {
            return;
        };
        let link = Arc::new(Link::new(peer.connection.clone(), gateway, shared.window()));
        peer.link = Some(link.clone());
        peer.heard = true;
        self.up(shared, &link);
    }

    fn up(&mut self, shared: &Arc<Shared>, link: &Arc<Link>) {
        let member = &link.connection.member;
        if !shared.set_phase(member, Phase::Up) {
            // It was taken off the list meanwhile.
            link.connection.close();
            return;
        }
        let replaced = {
            let mut links = shared.links.write().unwrap_or_else(PoisonError::into_inner);
            links.insert(member.clone(), link.clone())
        };
        if let Some(old) = replaced {
            old.connection.close();
            self.tell(shared, |events| events.down(member, false));
        }
        if self.lost.remove(member) == Some(false) {
            self.tell(shared, |events| events.down(member, false));
        }
        self.succeed(shared, member);
        link.connection.up.cancel();
        drop(link.gateway.send_message(heartbeat(shared, link, 0)));
        tracing::info!(%member, "linked");
        self.tell(shared, |events| events.up(member));
    }

    /// A run of a node shows that those before it are gone.
    fn succeed(&mut self, shared: &Shared, member: &Member) {
        let before: Vec<Member> = self
            .lost
            .keys()
            .filter(|lost| lost.node == member.node)
            .cloned()
            .collect();
        for gone in before {
            self.lost.remove(&gone);
            self.tell(shared, |events| events.down(&gone, true));
        }
        // One that nobody hears of any more, whose link is not given up yet.
        for link in shared.all_links() {
            let before = &link.connection.member;
            if before.node == member.node && before.incarnation < member.incarnation {
                link.connection.close();
            }
        }
    }

    fn ended(&mut self, shared: &Shared, connection: &Connection) {
        let Some(Peer { link: Some(_), .. }) = self.peers.remove(&connection.id) else {
            return;
        };
        let member = &connection.member;
        let succeeded = {
            let mut links = shared.links.write().unwrap_or_else(PoisonError::into_inner);
            if links.get(member).is_none_or(|link| link.connection.id != connection.id) {
                return;
            }
            links.remove(member);
            links
                .keys()
                .any(|other| other.node == member.node && other.incarnation > member.incarnation)
        };
        let by_peer = connection.by_peer.load(Ordering::Relaxed);
        tracing::info!(%member, by_peer, "link lost");
        self.lost.insert(member.clone(), false);
        // Its keeper finds out what became of it; one that is not to be linked any more has none.
        let kept = shared.set_phase(member, Phase::Lost { by_peer });
        if succeeded {
            self.settled(shared, member, true);
        } else if !kept {
            self.forgotten(shared, member);
        }
    }

    fn settled(&mut self, shared: &Shared, member: &Member, proof: bool) {
        let Some(told) = self.lost.get_mut(member) else { return };
        if proof {
            self.lost.remove(member);
        } else if std::mem::replace(told, true) {
            return;
        }
        self.tell(shared, |events| events.down(member, proof));
    }

    fn forgotten(&mut self, shared: &Shared, member: &Member) {
        self.settled(shared, member, false);
        // Another run of its node may yet show that it is gone.
        let known = lock(&shared.known);
        self.lost
            .retain(|lost, _| known.contains_key(lost) || known.keys().any(|other| other.node == lost.node));
    }

    fn tick(&mut self, shared: &Shared) {
        for peer in self.peers.values_mut().filter(|peer| peer.link.is_some()) {
            peer.misses = if std::mem::take(&mut peer.heard) {
                0
            } else {
                peer.misses + 1
            };
            if peer.misses == shared.settings.misses {
                tracing::warn!(member = %peer.connection.member, "nothing heard of a member: its link is given up");
                peer.connection.close();
            }
        }
    }

    /// Tells whoever uses the links; its panic is its own.
    fn tell(&self, shared: &Shared, word: impl FnOnce(&dyn LinkEvents)) {
        if catch_unwind(AssertUnwindSafe(|| word(&*self.args.events))).is_err() {
            count(&shared.counts.panicked);
            tracing::error!("whoever uses the links panicked at an event");
        }
    }
}

impl Peer {
    fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            gateway: None,
            heard_hello: false,
            link: None,
            ages: Ages::default(),
            heard: true,
            misses: 0,
        }
    }
}

impl Link {
    fn new(connection: Arc<Connection>, gateway: ActorRef<GatewayMsg>, window: Tally) -> Self {
        Self {
            connection,
            gateway,
            window: Window::new(window).into(),
            handled: Handled::new(window).into(),
            status: Bytes::new().into(),
        }
    }
}

/// A heartbeat of ours.
pub(crate) fn heartbeat(shared: &Shared, link: &Link, seq: u64) -> GatewayMsg {
    let handled = lock(&link.handled).tell();
    let status = lock(&shared.status).clone();
    shared.frame(&link.connection, Body::Heartbeat { seq, handled, status })
}

/// The gateway that a connection's session showed us.
fn gateway_of(connection: &Connection) -> Option<ActorRef<GatewayMsg>> {
    let session = connection.session.get()?;
    ractor::pg::get_members(&group(&connection.member))
        .into_iter()
        .find(|actor| matches!(actor.get_id(), ActorId::Remote { node_id, .. } if node_id == session.node))
        .map(Into::into)
}
