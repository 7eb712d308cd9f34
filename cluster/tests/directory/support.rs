//! Members in this process, what they are told, and what each of them believes to own.

mod proxy;
mod server;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use caside_cluster::{
    Claim, ConnectError, Directory, DirectoryEvents, MemberInfo, Peers, Quorum, RedisDirectory, RedisSettings,
};
use caside_protocol::node::Member;
use caside_protocol::{NodeId, RoomId};
use tokio::time::{Instant, sleep};

pub(crate) use proxy::Proxy;
pub(crate) use server::{Redis, signal};

pub(crate) fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

pub(crate) fn member(name: &str, incarnation: u64) -> Member {
    Member {
        node: NodeId::new(name).unwrap(),
        incarnation,
    }
}

pub(crate) fn info(member: &Member) -> MemberInfo {
    MemberInfo {
        member: member.clone(),
        cluster_address: "127.0.0.1:1".to_owned(),
        version: 1,
        draining: false,
        rooms: 0,
        load: 0,
    }
}

/// Timers that scale with the lease.
pub(crate) fn settings(url: String, lease_ms: u64) -> RedisSettings {
    RedisSettings {
        lease: Duration::from_millis(lease_ms),
        renew: Duration::from_millis(lease_ms / 6),
        call_timeout: Duration::from_millis(lease_ms / 3),
        ..RedisSettings::new(url)
    }
}

/// Waits until `done`, and fails after `limit` with `what`.
pub(crate) async fn until(what: &str, limit: Duration, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done().await {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Long enough for anything that happens at all.
pub(crate) const LONG: Duration = Duration::from_secs(15);

/// Who believes to own which room, over all members of a test.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) owned: HashMap<RoomId, Vec<(Member, u64)>>,
    highest: HashMap<RoomId, u64>,
    pub(crate) wrongs: Vec<String>,
    pub(crate) grants: u64,
}

impl Ledger {
    pub(crate) fn gain(&mut self, room: &RoomId, who: &Member, epoch: u64) {
        let owners = self.owned.entry(room.clone()).or_default();
        owners.retain(|(member, _)| member != who);
        owners.push((who.clone(), epoch));
        self.grants += 1;
        if owners.len() > 1 {
            self.wrongs.push(format!("{room} has several owners: {owners:?}"));
        }
        let highest = self.highest.entry(room.clone()).or_default();
        if epoch <= *highest {
            self.wrongs
                .push(format!("{room} went from epoch {highest} to {epoch} at {who}"));
        }
        *highest = (*highest).max(epoch);
    }

    pub(crate) fn lose(&mut self, room: &RoomId, who: &Member) {
        if let Some(owners) = self.owned.get_mut(room) {
            owners.retain(|(member, _)| member != who);
        }
    }

    pub(crate) fn lose_all(&mut self, who: &Member) {
        for owners in self.owned.values_mut() {
            owners.retain(|(member, _)| member != who);
        }
    }

    pub(crate) fn epoch(&self, room: &RoomId, who: &Member) -> Option<u64> {
        let owners = self.owned.get(room)?;
        owners.iter().find(|(member, _)| member == who).map(|(_, epoch)| *epoch)
    }

    pub(crate) fn has_owner(&self, room: &RoomId) -> bool {
        self.owned.get(room).is_some_and(|owners| !owners.is_empty())
    }
}

/// What a member was told.
#[derive(Debug)]
pub(crate) struct Log {
    me: Member,
    ledger: Arc<Mutex<Ledger>>,
    lines: Mutex<Vec<String>>,
    fences: AtomicU64,
    directory: OnceLock<Weak<RedisDirectory>>,
}

impl Log {
    /// Writes down what is told, and asks the directory as it is told, as a node does.
    fn add(&self, line: String) {
        self.lines.lock().unwrap().push(line);
        if let Some(directory) = self.directory.get().and_then(Weak::upgrade) {
            directory.holds();
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|l| l == line)
    }

    pub(crate) fn fences(&self) -> u64 {
        self.fences.load(Ordering::SeqCst)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DirectoryEvents for Log {
    fn members(&self, live: &[MemberInfo]) {
        let names: Vec<_> = live.iter().map(|info| info.member.to_string()).collect();
        self.add(format!("members {}", names.join(" ")));
    }
    fn expired(&self, member: &Member) {
        self.add(format!("expired {member}"));
    }
    fn fenced(&self) {
        self.ledger().lose_all(&self.me);
        self.fences.fetch_add(1, Ordering::SeqCst);
        self.add("fenced".to_owned());
    }
    fn reinstated(&self) {
        self.add("reinstated".to_owned());
    }
    fn room_lost(&self, room: &RoomId, _: u64) {
        self.ledger().lose(room, &self.me);
        self.add(format!("lost {room}"));
    }
    fn away(&self) {
        self.add("away".to_owned());
    }
    fn back(&self) {
        self.add("back".to_owned());
    }
}

#[derive(Debug)]
struct Seat {
    member: Member,
    directory: Weak<RedisDirectory>,
    dead: bool,
    cut: Arc<AtomicBool>,
}

/// The links between the members of a test.
#[derive(Debug, Default)]
pub(crate) struct Mesh {
    seats: Mutex<Vec<Seat>>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
}

struct View {
    mesh: Arc<Mesh>,
    me: Member,
}

impl Peers for View {
    fn quorum(&self) -> Quorum {
        let seats = self.mesh.seats.lock().unwrap();
        let me_cut = seats
            .iter()
            .any(|s| s.member == self.me && s.cut.load(Ordering::SeqCst));
        let mut quorum = Quorum::default();
        for seat in seats.iter().filter(|s| s.member != self.me && !s.dead) {
            quorum.known += 1;
            if me_cut || seat.cut.load(Ordering::SeqCst) {
                continue;
            }
            if let Some(directory) = seat.directory.upgrade() {
                quorum.reachable += 1;
                quorum.away += usize::from(directory.is_away());
            }
        }
        quorum
    }
}

/// One member.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) member: Member,
    pub(crate) directory: Arc<RedisDirectory>,
    pub(crate) log: Arc<Log>,
    pub(crate) mesh: Arc<Mesh>,
    cut: Arc<AtomicBool>,
}

impl Mesh {
    pub(crate) async fn join(self: &Arc<Self>, member: Member, settings: RedisSettings) -> Node {
        let log = Arc::new(Log {
            me: member.clone(),
            ledger: self.ledger.clone(),
            lines: Mutex::default(),
            fences: AtomicU64::new(0),
            directory: OnceLock::new(),
        });
        let view = View {
            mesh: self.clone(),
            me: member.clone(),
        };
        let (view, end) = (Arc::new(view), Instant::now() + LONG);
        let directory = loop {
            match RedisDirectory::connect(settings.clone(), info(&member), log.clone(), view.clone()).await {
                // A busy machine.
                Err(ConnectError::Wire(error)) => assert!(Instant::now() < end, "{error}"),
                other => break Arc::new(other.unwrap()),
            }
        };
        log.directory.set(Arc::downgrade(&directory)).unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        self.seats.lock().unwrap().push(Seat {
            member: member.clone(),
            directory: Arc::downgrade(&directory),
            dead: false,
            cut: cut.clone(),
        });
        Node {
            member,
            directory,
            log,
            mesh: self.clone(),
            cut,
        }
    }

    /// Everybody has proof that this member is dead.
    pub(crate) fn prove_dead(&self, member: &Member) {
        for seat in self.seats.lock().unwrap().iter_mut().filter(|s| s.member == *member) {
            seat.dead = true;
        }
    }

    pub(crate) fn locked(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn assert_right(&self) {
        let wrongs = &self.locked().wrongs;
        assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    }
}

impl Node {
    /// Cuts the links to it, or mends them.
    pub(crate) fn cut_links(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    /// Claims, and enters what was granted in the ledger unless it was lost at once.
    pub(crate) async fn claim(&self, room: &RoomId) -> Option<Claim> {
        let fences = self.log.fences();
        let claim = self.directory.claim(room).await.ok()?;
        if let Claim::Granted { epoch, .. } = &claim {
            let mut ledger = self.mesh.locked();
            if self.log.fences() == fences {
                ledger.gain(room, &self.member, *epoch);
            }
        }
        Some(claim)
    }

    /// Claims until the room is granted.
    pub(crate) async fn own(&self, room: &RoomId) -> (u64, Option<Bytes>) {
        let end = Instant::now() + LONG;
        loop {
            let claim = self.claim(room).await;
            if let Some(Claim::Granted { epoch, kept }) = claim {
                return (epoch, kept);
            }
            assert!(Instant::now() < end, "{} does not get {room}: {claim:?}", self.member);
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends as a killed process does: silently.
    pub(crate) fn kill(self) -> Member {
        self.mesh.locked().lose_all(&self.member);
        self.member.clone()
    }
}

/// Members `a`, `b`, … on one Redis, each listed by all, and the directory settled.
pub(crate) async fn members<const N: usize>(redis: &Redis, lease_ms: u64) -> (Arc<Mesh>, [Node; N]) {
    let mesh = Arc::new(Mesh::default());
    let mut nodes = Vec::new();
    for i in 0..N {
        let name = char::from(b'a' + u8::try_from(i).unwrap()).to_string();
        nodes.push(mesh.join(member(&name, 1), settings(redis.url(), lease_ms)).await);
    }
    for node in &nodes {
        until("all are listed", LONG, async || node.directory.members().len() == N).await;
    }
    let probe = room("probe");
    let (epoch, _) = nodes[0].own(&probe).await;
    nodes[0].directory.release(&probe, epoch).await.unwrap();
    mesh.locked().lose(&probe, &nodes[0].member);
    (mesh, nodes.try_into().unwrap())
}
