//! Several nodes in one process, with wires between them that can be cut.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use caside_actors::node::Limits;
use caside_cluster::{Directory, Gateways, Inbox, LocalDirectory, Neighbour, SendError};
use caside_protocol::NodeId;
use caside_protocol::node::{self, Member, NodeMessage};

use super::{Catalog, Journal, World};

/// The wires of all nodes.
#[derive(Default)]
pub(crate) struct Wires {
    nodes: Mutex<HashMap<Member, Arc<dyn Inbox>>>,
    cut: Mutex<HashSet<(Member, Member)>>,
    draining: Mutex<HashSet<Member>>,
    /// What goes to these is lost on the way.
    deaf: Mutex<HashSet<Member>>,
    /// Every message that went, by its sender and its kind, shortened.
    pub(crate) log: Mutex<Vec<(Member, String)>>,
}

/// One node's end of them.
pub(crate) struct End {
    me: Member,
    wires: Arc<Wires>,
}

impl Gateways for End {
    fn others(&self) -> Vec<Neighbour> {
        let nodes = self.wires.nodes.lock().unwrap();
        let mut others: Vec<Neighbour> = nodes
            .keys()
            .filter(|member| **member != self.me && !self.wires.is_cut(&self.me, member))
            .map(|member| Neighbour {
                member: member.clone(),
                draining: self.wires.draining.lock().unwrap().contains(member),
                load: 0,
            })
            .collect();
        others.sort_by(|a, b| a.member.cmp(&b.member));
        others
    }

    fn send(&self, to: &Member, message: &NodeMessage) -> Result<(), SendError> {
        if self.wires.is_cut(&self.me, to) {
            return Err(SendError::Unreachable);
        }
        let inbox = self.wires.nodes.lock().unwrap().get(to).cloned();
        let inbox = inbox.ok_or(SendError::Unreachable)?;
        if self.wires.deaf.lock().unwrap().contains(to) {
            return Ok(());
        }
        let bytes = node::encode(message).unwrap();
        let arrived: NodeMessage = node::decode(&bytes).unwrap();
        assert_eq!(&arrived, message, "what arrives is what was sent");
        let shown: String = format!("{message:?}").chars().take(600).collect();
        self.wires.log.lock().unwrap().push((self.me.clone(), shown));
        inbox.received(&self.me, arrived);
        Ok(())
    }

    fn describe(&self, _: usize, _: u32, draining: bool) {
        let mut all = self.wires.draining.lock().unwrap();
        if draining {
            all.insert(self.me.clone());
        } else {
            all.remove(&self.me);
        }
    }
}

impl Wires {
    /// Nobody knows of any node that it drains.
    pub(crate) fn forget_drains(&self) {
        self.draining.lock().unwrap().clear();
    }

    /// What is sent to a node does not arrive, and nobody notices.
    pub(crate) fn deafen(&self, member: &Member) {
        self.deaf.lock().unwrap().insert(member.clone());
    }

    pub(crate) fn hear_again(&self, member: &Member) {
        self.deaf.lock().unwrap().remove(member);
    }

    fn is_cut(&self, one: &Member, other: &Member) -> bool {
        let cut = self.cut.lock().unwrap();
        cut.contains(&(one.clone(), other.clone())) || cut.contains(&(other.clone(), one.clone()))
    }
}

/// Nodes that share rooms, journal and directory.
pub(crate) struct Cluster {
    pub(crate) worlds: Vec<World>,
    pub(crate) wires: Arc<Wires>,
}

impl Cluster {
    pub(crate) async fn of(nodes: usize) -> Self {
        Self::with(nodes, Limits::default()).await
    }

    pub(crate) async fn with(nodes: usize, limits: Limits) -> Self {
        Self::asking(nodes, limits, |directory| directory).await
    }

    /// Nodes that ask the directory by a way of the test's.
    pub(crate) async fn asking<D: Directory + 'static>(
        nodes: usize,
        limits: Limits,
        way: impl Fn(Arc<LocalDirectory>) -> Arc<D>,
    ) -> Self {
        let wires = Arc::new(Wires::default());
        let (catalog, journal) = (Arc::new(Catalog::default()), Arc::new(Journal::default()));
        let member = |n: usize| Member {
            node: NodeId::new(format!("n{n}")).unwrap(),
            incarnation: 1,
        };
        let directory = LocalDirectory::new(member(1));
        let mut worlds = Vec::new();
        for n in 1..=nodes {
            let (wires, me) = (wires.clone(), member(n));
            let end = End { me: me.clone(), wires };
            let directory = Arc::new(directory.seen_by(me));
            let world = World::among(
                limits.clone(),
                catalog.clone(),
                journal.clone(),
                directory.clone(),
                way(directory),
                Arc::new(end),
            )
            .await;
            worlds.push(world);
        }
        let cluster = Self { worlds, wires };
        for (n, world) in cluster.worlds.iter().enumerate() {
            cluster
                .wires
                .nodes
                .lock()
                .unwrap()
                .insert(member(n + 1), world.node.inbox());
        }
        cluster
    }

    /// The member of this number, from 0.
    pub(crate) fn member(&self, n: usize) -> Member {
        self.worlds[n].member.clone()
    }

    /// The number of the node that runs a room.
    pub(crate) fn owner(&self, room: &str) -> usize {
        let alive: Vec<usize> = (0..self.worlds.len()).filter(|n| self.is_alive(*n)).collect();
        self.owner_among(room, &alive)
    }

    /// The same, of some of the nodes.
    pub(crate) fn owner_among(&self, room: &str, nodes: &[usize]) -> usize {
        let runs = |world: &World| world.node.live_rooms().iter().any(|live| live.id.as_str() == room);
        let owners: Vec<usize> = nodes.iter().copied().filter(|n| runs(&self.worlds[*n])).collect();
        assert_eq!(owners.len(), 1, "one node runs {room}");
        owners[0]
    }

    fn is_alive(&self, n: usize) -> bool {
        self.wires.nodes.lock().unwrap().contains_key(&self.member(n))
    }

    fn inbox(&self, n: usize) -> Arc<dyn Inbox> {
        self.wires.nodes.lock().unwrap()[&self.member(n)].clone()
    }

    /// Cuts the wires between two nodes, which notice.
    pub(crate) fn cut(&self, one: usize, other: usize) {
        let (a, b) = (self.member(one), self.member(other));
        self.wires.cut.lock().unwrap().insert((a.clone(), b.clone()));
        self.inbox(one).unlinked(&b);
        self.inbox(other).unlinked(&a);
    }

    /// Mends them.
    pub(crate) fn mend(&self, one: usize, other: usize) {
        let (a, b) = (self.member(one), self.member(other));
        self.wires
            .cut
            .lock()
            .unwrap()
            .retain(|pair| *pair != (a.clone(), b.clone()) && *pair != (b.clone(), a.clone()));
        self.inbox(one).linked(&b);
        self.inbox(other).linked(&a);
    }

    /// A node is cut off from all others and the directory, and finds out.
    pub(crate) fn fence(&self, n: usize) {
        let inbox = self.inbox(n);
        self.kill(n);
        inbox.fenced();
    }

    /// A node is killed: nothing goes to it or comes from it, and the others know.
    pub(crate) fn kill(&self, n: usize) {
        let dead = self.member(n);
        self.wires.nodes.lock().unwrap().remove(&dead);
        for other in (0..self.worlds.len()).filter(|other| *other != n) {
            let member = self.member(other);
            self.wires.cut.lock().unwrap().insert((dead.clone(), member.clone()));
        }
        self.worlds[n].directory.bury(&dead);
        let survivors: Vec<Arc<dyn Inbox>> = self.wires.nodes.lock().unwrap().values().cloned().collect();
        for survivor in &survivors {
            survivor.unlinked(&dead);
        }
        for survivor in &survivors {
            survivor.gone(&dead);
        }
    }
}
