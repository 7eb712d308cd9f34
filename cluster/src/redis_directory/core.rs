//! What the calls and the tasks of a directory share: the state behind one lock, and events in the order of their causes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use caside_protocol::RoomId;
use caside_protocol::node::Member;
use tokio::sync::{Notify, RwLock};
use tokio::time::Instant;

use super::lease::{Lease, Renewed, Standing, Times, Verdict};
use super::roll::{MemberInfo, Roll};
use super::scripts::Scripts;
use super::wire::{Wire, WireError};
use super::{DirectoryEvents, Peers, RedisSettings};
use crate::{DirectoryAway, Owner};

/// So many rooms of others are remembered for the time when Redis is away.
const MOST_SEEN: usize = 16_384;
/// So many rooms wait to be released when Redis is back; entries beyond last as long as our lease.
const MOST_UNSURE: usize = 100_000;

/// An event that has yet to be told.
#[derive(Debug)]
pub(super) enum Event {
    Members(Vec<MemberInfo>),
    Expired(Member),
    Fenced(&'static str),
    Reinstated,
    RoomLost(RoomId, u64),
    Away,
    Back,
}

/// What a renewal answered.
#[derive(Debug)]
pub(super) struct Renewal {
    /// Redis' clock, Unix milliseconds.
    pub(super) now: u64,
    /// Which memory this is.
    pub(super) born: String,
    /// Since when owners may assert what they have.
    pub(super) back: u64,
    pub(super) live: Vec<MemberInfo>,
}

/// Redis' clock, as of a renewal.
#[derive(Debug, Clone, Copy)]
struct Reading {
    sent: Instant,
    unix_ms: u64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) lease: Lease,
    pub(super) info: MemberInfo,
    pub(super) roll: Roll,
    /// The rooms this member owns, and under which epoch.
    pub(super) mine: HashMap<RoomId, u64>,
    /// Rooms whose entry may name us although we do not have them.
    pub(super) unsure: HashSet<RoomId>,
    seen: HashMap<RoomId, Owner>,
    clock: Reading,
    /// When the last renewal was answered.
    answered: Instant,
    born: String,
    back: u64,
    /// When this member came, by Redis' clock.
    joined: u64,
    /// The highest epoch met.
    highest: u64,
    /// Ownerships up to this epoch ended when this member was fenced.
    floor: u64,
    queue: VecDeque<Event>,
    /// The thread that tells events now.
    teller: Option<ThreadId>,
}

/// Shared by the directory and its tasks.
pub(super) struct Core {
    pub(super) settings: RedisSettings,
    pub(super) me: Member,
    pub(super) times: Times,
    pub(super) wire: Wire,
    pub(super) scripts: Scripts,
    events: Arc<dyn DirectoryEvents>,
    peers: Arc<dyn Peers>,
    state: Mutex<State>,
    /// Whoever has it tells events.
    telling: Mutex<()>,
    away: AtomicBool,
    /// Numbers kept states.
    pub(super) keeps: AtomicU64,
    /// A renewal is worth an attempt now.
    pub(super) hurry: Notify,
    /// What Redis has of our rooms is to be compared now.
    pub(super) compare: Notify,
    /// Read by what changes one entry of ours, written by what compares many: an entry is never asserted while it is given up.
    pub(super) entries: RwLock<()>,
}

impl Core {
    pub(super) fn new(
        settings: RedisSettings,
        wire: Wire,
        scripts: Scripts,
        info: MemberInfo,
        (events, peers): (Arc<dyn DirectoryEvents>, Arc<dyn Peers>),
        (sent, first): (Instant, Renewal),
    ) -> Self {
        let times = Times::new(settings.lease);
        let now = Instant::now();
        let mut state = State {
            lease: Lease::new(times, sent, now),
            info,
            roll: Roll::default(),
            mine: HashMap::new(),
            unsure: HashSet::new(),
            seen: HashMap::new(),
            clock: Reading {
                sent,
                unix_ms: first.now,
            },
            answered: now,
            born: first.born,
            back: first.back,
            joined: first.now,
            highest: 0,
            floor: 0,
            queue: VecDeque::new(),
            teller: None,
        };
        state.roll.update(first.live, false);
        state.queue.push_back(Event::Members(state.roll.list()));
        Self {
            settings,
            me: state.info.member.clone(),
            times,
            wire,
            scripts,
            events,
            peers,
            state: Mutex::new(state),
            telling: Mutex::new(()),
            away: AtomicBool::new(false),
            keeps: AtomicU64::new(1),
            hurry: Notify::new(),
            compare: Notify::new(),
            entries: RwLock::new(()),
        }
    }

    pub(super) fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing here panics half-way through a change, so what a poisoned lock guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the clock, tells what that brings, and says under what this member acts now. First in every call, so that
    /// a process that stood still fences itself before it grants anything.
    pub(super) fn judge(&self) -> Standing {
        let asks = self.locked().lease.asks(Instant::now());
        // Not under the lock: the links may ask us something.
        let quorum = asks.then(|| self.peers.quorum());
        let now = Instant::now();
        let standing = {
            let mut state = self.locked();
            let quorum = quorum.map(|mut quorum| {
                // Members that the links have not met yet count.
                quorum.known = quorum.known.max(state.roll.others(&self.me));
                quorum
            });
            match state.lease.judge(now, quorum) {
                Verdict::Unchanged => {}
                Verdict::Hurry => self.hurry.notify_one(),
                Verdict::Suspend => tracing::warn!("Redis is away for everybody: going on without a lease"),
                Verdict::Fence(why) => state.fenced(why),
            }
            if now.duration_since(state.answered) >= self.times.away_after && !self.away.swap(true, Ordering::AcqRel) {
                state.queue.push_back(Event::Away);
            }
            state.lease.standing(now)
        };
        self.tell();
        standing
    }

    /// What is refused without a lease.
    pub(super) fn no_lease(&self) -> DirectoryAway {
        DirectoryAway {
            reason: format!("{} has no lease", self.me),
        }
    }

    /// Fences for a reason that is not of the clock.
    pub(super) fn fence(&self, why: &'static str) {
        let mut state = self.locked();
        if let Verdict::Fence(why) = state.lease.fence(why) {
            state.fenced(why);
        }
        drop(state);
        self.tell();
    }

    /// Takes note of an answered renewal. Answers whether the directory settles, so that entries are best compared often.
    pub(super) fn renewed(&self, sent: Instant, renewal: Renewal) -> bool {
        self.judge();
        let now = Instant::now();
        let mut state = self.locked();
        let outcome = state.lease.renewed(now, sent);
        if outcome == Renewed::TooLate {
            return false;
        }
        state.answered = now;
        state.clock = Reading {
            sent,
            unix_ms: renewal.now,
        };
        if self.away.swap(false, Ordering::AcqRel) {
            state.queue.push_back(Event::Back);
        }
        if outcome == Renewed::Reinstated {
            state.queue.push_back(Event::Reinstated);
        }
        if state.born != renewal.born {
            tracing::warn!("Redis has lost its memory: asserting {} rooms", state.mine.len());
        }
        let again = state.born != renewal.born || state.back != renewal.back || outcome == Renewed::Resumed;
        state.born = renewal.born;
        state.back = renewal.back;
        let settling = Duration::from_millis(renewal.now.saturating_sub(renewal.back)) < self.times.lease;
        let change = state.roll.update(renewal.live, settling);
        if change.changed {
            let list = state.roll.list();
            state.queue.push_back(Event::Members(list));
        }
        for member in change.expired {
            state.seen.retain(|_, owner| owner.member != member);
            state.queue.push_back(Event::Expired(member));
        }
        let compare = again || settling || !state.unsure.is_empty();
        drop(state);
        self.tell();
        compare
    }

    /// Tells events, in order. Another thread that tells some is waited for, so that what follows here comes after.
    pub(super) fn tell(&self) {
        let me = thread::current().id();
        {
            let state = self.locked();
            if state.teller == Some(me) {
                // Whoever is told an event asks us something. What that brings is told next, by the call that tells this one.
                return;
            }
            if state.queue.is_empty() {
                drop(state);
                drop(self.telling.lock());
                return;
            }
        }
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let _teller = Teller::new(self, me);
        loop {
            let Some(event) = self.locked().queue.pop_front() else {
                return;
            };
            match event {
                Event::Members(live) => self.events.members(&live),
                Event::Expired(member) => {
                    tracing::info!(%member, "a member's lease is over");
                    self.events.expired(&member);
                }
                Event::Fenced(why) => {
                    tracing::error!("this member may own no room any more: {why}");
                    self.events.fenced();
                }
                Event::Reinstated => {
                    tracing::info!("this member has a lease again");
                    self.events.reinstated();
                }
                Event::RoomLost(room, epoch) => {
                    tracing::warn!(room.id = %room, room.epoch = epoch, "another member has a room of ours");
                    self.events.room_lost(&room, epoch);
                }
                Event::Away => {
                    tracing::warn!("Redis is away");
                    self.events.away();
                }
                Event::Back => {
                    tracing::info!("Redis is back");
                    self.events.back();
                }
            }
        }
    }

    /// Tells that a member is no more.
    pub(super) fn tell_end_of(&self, member: &Member) {
        {
            let mut state = self.locked();
            let list = state.roll.list();
            state.queue.push_back(Event::Members(list));
            state.queue.push_back(Event::Expired(member.clone()));
        }
        self.tell();
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Until when, by Redis' clock, an answer is of use.
    pub(super) fn not_after(&self) -> u64 {
        let limit = u64::try_from(self.settings.call_timeout.as_millis()).unwrap_or(u64::MAX);
        self.locked().redis_now().saturating_add(limit)
    }

    pub(super) fn away_because(error: &WireError) -> DirectoryAway {
        DirectoryAway {
            reason: error.to_string(),
        }
    }
}

/// A thread tells events for as long as this is there.
struct Teller<'a>(&'a Core);

impl<'a> Teller<'a> {
    fn new(core: &'a Core, thread: ThreadId) -> Self {
        core.locked().teller = Some(thread);
        Self(core)
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        self.0.locked().teller = None;
    }
}

impl State {
    fn fenced(&mut self, why: &'static str) {
        self.mine.clear();
        self.floor = self.highest;
        self.queue.push_back(Event::Fenced(why));
    }

    /// Redis' clock now; late by no more than the last renewal took.
    pub(super) fn redis_now(&self) -> u64 {
        let since = u64::try_from(self.clock.sent.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.clock.unix_ms.saturating_add(since)
    }

    /// Since when this member is the only one it knows.
    pub(super) fn lone_since(&self) -> Option<u64> {
        (self.roll.others(&self.info.member) == 0).then_some(self.joined)
    }

    /// An epoch given without Redis.
    pub(super) fn next_epoch(&mut self) -> u64 {
        self.highest = (self.highest + 1).max(self.redis_now());
        self.highest
    }

    /// Takes note that this member owns a room.
    pub(super) fn take(&mut self, room: &RoomId, epoch: u64) {
        self.met_epoch(epoch);
        self.saw(room, None);
        self.unsure.remove(room);
        // Of two claims under way at once the later counts, whichever is answered first.
        let known = self.mine.entry(room.clone()).or_insert(epoch);
        *known = (*known).max(epoch);
    }

    /// Whether an ownership can be of after the last time that this member was fenced.
    pub(super) fn is_fresh(&self, epoch: u64) -> bool {
        epoch > self.floor
    }

    fn met_epoch(&mut self, epoch: u64) {
        self.highest = self.highest.max(epoch);
    }

    /// Takes note of who has a room, for the time when Redis cannot be asked.
    pub(super) fn saw(&mut self, room: &RoomId, owner: Option<&Owner>) {
        let Some(owner) = owner.filter(|owner| owner.member != self.info.member) else {
            self.seen.remove(room);
            return;
        };
        self.met_epoch(owner.epoch);
        if self.seen.len() >= MOST_SEEN {
            self.seen.clear();
        }
        self.seen.insert(room.clone(), owner.clone());
    }

    /// Who had a room when it was last asked for.
    pub(super) fn last_seen(&self, room: &RoomId) -> Option<&Owner> {
        self.seen.get(room).filter(|owner| !self.roll.is_buried(&owner.member))
    }

    pub(super) fn doubt(&mut self, room: &RoomId) {
        if self.unsure.len() < MOST_UNSURE {
            self.unsure.insert(room.clone());
        }
    }

    pub(super) fn lost(&mut self, room: &RoomId, epoch: u64) {
        self.met_epoch(epoch);
        self.mine.remove(room);
        self.queue.push_back(Event::RoomLost(room.clone(), epoch));
    }

    /// Takes note that a member is dead; `false` when that was known.
    pub(super) fn buried(&mut self, member: &Member) -> bool {
        self.seen.retain(|_, owner| owner.member != *member);
        self.roll.bury(member)
    }
}
