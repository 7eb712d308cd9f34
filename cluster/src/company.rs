//! The company of nodes that one is in: who is listed in Redis is linked to, what links know of deaths is told to Redis, and
//! whoever runs on this node hears of both in one voice.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use caside_protocol::RoomId;
use caside_protocol::node::{self, Member, NodeMessage};
use tokio::time::Instant;

use crate::redis_directory::Quorum;
use crate::{
    ConnectError, Directory, DirectoryEvents, Gateways, Inbox, LinkCounts, LinkEvents, Links, LinksError,
    LinksSettings, MemberInfo, Neighbour, Peers, RedisDirectory, RedisSettings, SendError,
};

/// Most members that are remembered as gone.
const MAX_GONE: usize = 1024;
/// Most messages that wait for whoever is to take them: those of a start, which takes a moment.
const MAX_EARLY: usize = 16_384;
/// How long the other nodes are waited for when Redis lists them.
const FIRST_LINKS: Duration = Duration::from_secs(3);
/// What heartbeats say of Redis.
const WORKS: &[u8] = b"redis";
const AWAY: &[u8] = b"no redis";

/// What a company is joined with.
#[derive(Debug, Clone)]
pub struct CompanySettings {
    /// The links, and who this member is.
    pub links: LinksSettings,
    /// Where other members reach our links, `host:port`; where they listen when left out.
    pub advertise: Option<String>,
    /// Redis.
    pub redis: RedisSettings,
}

/// Why a company could not be joined.
#[derive(Debug, thiserror::Error)]
pub enum CompanyError {
    /// The links did not start.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// The directory cannot be opened.
    #[error("the room directory cannot be opened")]
    Directory(#[from] ConnectError),
}

/// The company, as this member sees it.
pub struct Company {
    me: Member,
    links: Links,
    directory: OnceLock<Arc<RedisDirectory>>,
    inbox: OnceLock<Arc<dyn Inbox>>,
    state: Mutex<State>,
    /// What came before there was an inbox; `None` from then on.
    early: Mutex<Option<Vec<(Member, NodeMessage)>>>,
    /// Itself, for tasks.
    this: Weak<Self>,
}

#[derive(Debug, Default)]
struct State {
    /// Everybody who was listed and is not known to be gone, but us.
    known: HashMap<Member, MemberInfo>,
    linked: HashSet<Member>,
    /// Those whose end was told.
    gone: HashSet<Member>,
}

impl fmt::Debug for Company {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Company").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Company {
    /// Takes a lease in Redis, and links to whoever else has one. Nothing is told before [`Company::attend`].
    ///
    /// # Errors
    /// [`CompanyError`].
    pub async fn join(settings: CompanySettings) -> Result<Arc<Self>, CompanyError> {
        let CompanySettings {
            links: link_settings,
            advertise,
            redis,
        } = settings;
        let (me, version) = (link_settings.me.clone(), link_settings.version);
        let late = Arc::new(Late::default());
        let links = Links::start(link_settings, late.clone()).await?;
        links.set_status(Bytes::from_static(WORKS));
        let info = MemberInfo {
            member: me.clone(),
            cluster_address: advertise.unwrap_or_else(|| links.local_addr().to_string()),
            version,
            draining: false,
            rooms: 0,
            load: 0,
        };
        let company = Arc::new_cyclic(|this| Self {
            me,
            links,
            directory: OnceLock::new(),
            inbox: OnceLock::new(),
            state: Mutex::default(),
            early: Mutex::new(Some(Vec::new())),
            this: this.clone(),
        });
        late.is(&company);
        let directory = RedisDirectory::connect(redis, info, late.clone(), late).await;
        let directory = match directory {
            Ok(directory) => Arc::new(directory),
            Err(error) => {
                company.links.clone().stop().await;
                return Err(error.into());
            }
        };
        let listed = directory.members();
        if company.directory.set(directory).is_err() {
            tracing::error!("a company was joined twice");
        }
        company.listed(&listed);
        Ok(company)
    }

    /// Tells what happens from here on, and what is so now.
    pub async fn attend(&self, inbox: Arc<dyn Inbox>) {
        if self.inbox.set(inbox.clone()).is_err() {
            tracing::error!("a company has one inbox");
        }
        // Whoever is linked may send already, and is not told whether it was taken. What comes meanwhile waits for the lock.
        {
            let mut waiting = locked(&self.early);
            for (from, message) in waiting.take().into_iter().flatten() {
                inbox.received(&from, message);
            }
        }
        // A node that answers before it knows its company would place rooms as if it were alone.
        let until = Instant::now() + FIRST_LINKS;
        while Instant::now() < until && !self.is_complete() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let linked: Vec<Member> = self.locked().linked.iter().cloned().collect();
        if let Some(inbox) = self.inbox.get() {
            for member in &linked {
                inbox.linked(member);
            }
        }
    }

    /// The directory.
    pub fn directory(&self) -> Arc<dyn Directory> {
        match self.directory.get() {
            Some(directory) => directory.clone(),
            // Not before `join` has returned.
            None => unreachable!("a company has a directory"),
        }
    }

    /// Every member with a lease, this one included.
    pub fn members(&self) -> Vec<MemberInfo> {
        self.directory.get().map(|d| d.members()).unwrap_or_default()
    }

    /// Who can be sent to now.
    pub fn linked(&self) -> Vec<Member> {
        self.links.linked()
    }

    /// Whether Redis has not answered for a while.
    pub fn is_directory_away(&self) -> bool {
        self.directory.get().is_some_and(|d| d.is_away())
    }

    /// What the links refused and lost.
    pub fn counts(&self) -> LinkCounts {
        self.links.counts()
    }

    /// Gives the lease up and closes the links. The others then know that this member is gone.
    pub async fn leave(&self) {
        if let Some(directory) = self.directory.get() {
            directory.leave().await;
        }
        self.links.clone().stop().await;
    }

    fn is_complete(&self) -> bool {
        let state = self.locked();
        state.known.keys().all(|member| state.linked.contains(member))
    }

    /// Who has a lease. Whoever is not listed any more stays linked until it is known to be gone: Redis may have lost its memory.
    fn listed(&self, live: &[MemberInfo]) {
        let mut state = self.locked();
        for info in live.iter().filter(|info| info.member != self.me) {
            let (node, incarnation) = (&info.member.node, info.member.incarnation);
            state
                .known
                .retain(|known, _| known.node != *node || known.incarnation >= incarnation);
            state.gone.remove(&info.member);
            state.known.insert(info.member.clone(), info.clone());
        }
        let known = state
            .known
            .values()
            .map(|info| (info.member.clone(), info.cluster_address.clone()))
            .collect();
        drop(state);
        self.links.know(known);
    }

    /// A member is no more, or has lost its lease: its rooms may be taken.
    fn over(&self, member: &Member) {
        let is_news = {
            let mut state = self.locked();
            if state.gone.len() >= MAX_GONE {
                state.gone.clear();
            }
            state.gone.insert(member.clone())
        };
        if is_news && let Some(inbox) = self.inbox.get() {
            inbox.gone(member);
        }
    }

    /// A member's process is known to have ended.
    fn died(&self, member: &Member) {
        self.locked().known.remove(member);
        let (this, member) = (self.this.clone(), member.clone());
        tokio::spawn(async move {
            let Some(company) = this.upgrade() else { return };
            if let Some(directory) = company.directory.get()
                && let Err(error) = directory.bury(&member).await
            {
                tracing::warn!(%member, %error, "the room directory was not told that a node is gone");
            }
            company.over(&member);
        });
    }

    /// Brings a message to the inbox, or keeps it until there is one.
    fn receive(&self, from: &Member, message: NodeMessage) {
        let mut early = locked(&self.early);
        match (&mut *early, self.inbox.get()) {
            (Some(waiting), _) if waiting.len() < MAX_EARLY => waiting.push((from.clone(), message)),
            (None, Some(inbox)) => {
                drop(early);
                inbox.received(from, message);
            }
            _ => tracing::warn!(member = %from, "a message was lost: too many came before this node was ready"),
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way through a change, so what a poisoned lock guards is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gateways for Company {
    fn others(&self) -> Vec<Neighbour> {
        let state = self.locked();
        let mut others: Vec<Neighbour> = state
            .linked
            .iter()
            .map(|member| {
                let info = state.known.get(member);
                Neighbour {
                    member: member.clone(),
                    draining: info.is_some_and(|info| info.draining),
                    load: info.map_or(0, |info| info.load),
                }
            })
            .collect();
        others.sort_by(|a, b| a.member.cmp(&b.member));
        others
    }

    fn send(&self, to: &Member, message: &NodeMessage) -> Result<(), SendError> {
        match node::encode(message) {
            Ok(bytes) => self.links.send(to, bytes.into()),
            Err(error) => {
                tracing::error!(%error, "a message to another node could not be written");
                Err(SendError::TooLarge)
            }
        }
    }

    fn describe(&self, rooms: usize, load: u32, draining: bool) {
        if let Some(directory) = self.directory.get() {
            directory.describe(|info| {
                info.rooms = u32::try_from(rooms).unwrap_or(u32::MAX);
                info.load = load;
                info.draining = draining;
            });
        }
    }
}

/// Hears of links and directory, which start before the company is there.
#[derive(Default)]
struct Late(OnceLock<Weak<Company>>);

impl Late {
    fn is(&self, company: &Arc<Company>) {
        if self.0.set(Arc::downgrade(company)).is_err() {
            tracing::error!("a company was joined twice");
        }
    }

    fn company(&self) -> Option<Arc<Company>> {
        self.0.get().and_then(Weak::upgrade)
    }
}

impl LinkEvents for Late {
    fn up(&self, member: &Member) {
        let Some(company) = self.company() else { return };
        company.locked().linked.insert(member.clone());
        if let Some(inbox) = company.inbox.get() {
            inbox.linked(member);
        }
    }

    fn down(&self, member: &Member, proof: bool) {
        let Some(company) = self.company() else { return };
        let was_linked = company.locked().linked.remove(member);
        if was_linked && let Some(inbox) = company.inbox.get() {
            inbox.unlinked(member);
        }
        if proof {
            company.died(member);
        }
    }

    fn received(&self, from: &Member, message: Bytes) {
        let Some(company) = self.company() else { return };
        match node::decode(&message) {
            Ok(message) => company.receive(from, message),
            Err(error) => tracing::warn!(member = %from, %error, "a message of another node cannot be read"),
        }
    }
}

impl DirectoryEvents for Late {
    fn members(&self, live: &[MemberInfo]) {
        if let Some(company) = self.company() {
            company.listed(live);
        }
    }

    fn expired(&self, member: &Member) {
        if let Some(company) = self.company() {
            company.over(member);
        }
    }

    fn fenced(&self) {
        if let Some(inbox) = self.company().as_ref().and_then(|company| company.inbox.get()) {
            inbox.fenced();
        }
    }

    fn reinstated(&self) {
        if let Some(inbox) = self.company().as_ref().and_then(|company| company.inbox.get()) {
            inbox.reinstated();
        }
    }

    fn room_lost(&self, room: &RoomId, epoch: u64) {
        if let Some(inbox) = self.company().as_ref().and_then(|company| company.inbox.get()) {
            inbox.room_lost(room, epoch);
        }
    }

    fn away(&self) {
        tracing::warn!("Redis is away; rooms run on as long as the other nodes say so too");
        if let Some(company) = self.company() {
            company.links.set_status(Bytes::from_static(AWAY));
        }
    }

    fn back(&self) {
        tracing::info!("Redis is back");
        if let Some(company) = self.company() {
            company.links.set_status(Bytes::from_static(WORKS));
        }
    }
}

impl Peers for Late {
    fn quorum(&self) -> Quorum {
        let Some(company) = self.company() else {
            return Quorum::default();
        };
        let state = company.locked();
        let reachable = state.linked.iter().filter(|member| state.known.contains_key(*member));
        let away = reachable
            .clone()
            .filter(|member| company.links.status_of(member).is_some_and(|status| status == AWAY));
        Quorum {
            known: state.known.len(),
            reachable: reachable.count(),
            away: away.count(),
        }
    }
}
