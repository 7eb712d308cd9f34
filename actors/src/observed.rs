//! The actors of a node, as an operator may look at them: each is listed with its mailbox while it lives, and is asked for its
//! state when somebody looks. What was wrong with those that failed is kept for a while.
//!
//! A listing costs an actor about 150 bytes and one lock of a shard at its start and its end; a message a few relaxed atomic
//! writes. Absent on purpose: packets (the media workers').

mod asking;
mod counters;
mod fates;
mod histogram;
mod page;
mod vitals;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use caside_protocol::{RecordingId, RoomId, SessionId, Timestamp};
use ractor::{ActorCell, ActorId};

pub(crate) use asking::Asked;
use asking::Asking;
pub(crate) use counters::Counters;
pub use counters::KindReport;
use fates::Fates;
pub use histogram::{BOUNDS, Durations};
pub(crate) use vitals::{Observable, Vitals, room_number};

/// Locks that the listings are spread over.
const SHARDS: usize = 16;
/// Ended actors of a shard whose task is remembered: a supervisor hears of a failure after the actor is off the list.
const REMEMBERED: usize = 64;

/// What an actor is there for; those above come first in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Node,
    Rooms,
    Invites,
    Peers,
    Recordings,
    Room,
    Sfu,
    Recorder,
    Peer,
}

impl Kind {
    /// All, in order.
    pub(crate) const ALL: [Self; 9] = [
        Self::Node,
        Self::Rooms,
        Self::Invites,
        Self::Peers,
        Self::Recordings,
        Self::Room,
        Self::Sfu,
        Self::Recorder,
        Self::Peer,
    ];

    /// A stable word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Rooms => "rooms",
            Self::Invites => "invites",
            Self::Peers => "peers",
            Self::Recordings => "recordings",
            Self::Room => "room",
            Self::Sfu => "sfu",
            Self::Recorder => "recorder",
            Self::Peer => "peer",
        }
    }
}

/// Tells actors of one kind apart by what they are there for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Label {
    /// The only one of its kind.
    Only,
    Room(RoomId),
    Session(SessionId),
    Recording(Box<(RecordingId, RoomId)>),
}

impl Label {
    /// Of a recording.
    pub(crate) fn recording(recording: RecordingId, room: RoomId) -> Self {
        Self::Recording(Box::new((recording, room)))
    }

    fn name(&self) -> Option<String> {
        match self {
            Self::Only => None,
            Self::Room(room) => Some(room.to_string()),
            Self::Session(session) => Some(session.to_string()),
            Self::Recording(of) => Some(of.0.to_string()),
        }
    }

    fn room(&self) -> Option<&RoomId> {
        match self {
            Self::Room(room) => Some(room),
            Self::Recording(of) => Some(&of.1),
            Self::Only | Self::Session(_) => None,
        }
    }
}

/// How an actor is asked for its state; `None` for those that take no messages.
type Ask = fn(&ActorCell, Asked);

/// A listed actor.
#[derive(Clone)]
struct Entry {
    label: Label,
    cell: ActorCell,
    vitals: Arc<dyn Observable>,
    ask: Option<Ask>,
    /// Unix time.
    started_ms: i64,
    kind: Kind,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<u64, Entry>,
    ended: VecDeque<(u64, Kind, Label)>,
}

struct Registry {
    shards: [Mutex<Shard>; SHARDS],
    fates: Mutex<Fates>,
    asking: Asking,
    /// In the order of [`Kind::ALL`].
    counters: [Arc<Counters>; Kind::ALL.len()],
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shards: Default::default(),
            fates: Mutex::default(),
            asking: Asking::default(),
            counters: Kind::ALL.map(|kind| Arc::new(Counters::new(kind))),
        }
    }
}

/// The actors of one node; cheap to clone. Whatever is started for the node is given the same one.
#[derive(Clone, Default)]
pub struct Observed(Arc<Registry>);

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observed")
    }
}

/// Keeps an actor listed until it is dropped; kept in the actor's state, so that a panic ends it too.
#[derive(Debug)]
pub(crate) struct Seen {
    observed: Observed,
    id: u64,
}

impl Drop for Seen {
    fn drop(&mut self) {
        let mut shard = self.observed.shard(self.id);
        if let Some(entry) = shard.entries.remove(&self.id) {
            self.observed
                .counters(entry.kind)
                .ended(entry.vitals.vitals().high_water());
            if shard.ended.len() >= REMEMBERED {
                shard.ended.pop_front();
            }
            shard.ended.push_back((self.id, entry.kind, entry.label));
        }
        drop(shard);
        self.observed.0.asking.forget(self.id);
    }
}

impl Observed {
    /// Lists an actor that takes messages.
    pub(crate) fn list(
        &self,
        kind: Kind,
        label: Label,
        cell: ActorCell,
        vitals: Arc<dyn Observable>,
        ask: Option<Ask>,
    ) -> Seen {
        let id = cell.get_id().pid();
        let entry = Entry {
            label,
            cell,
            vitals,
            ask,
            started_ms: i64::try_from(Timestamp::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
            kind,
        };
        self.shard(id).entries.insert(id, entry);
        self.counters(kind).started();
        let observed = self.clone();
        Seen { observed, id }
    }

    /// Lists an actor that only supervises.
    pub(crate) fn list_supervisor(&self, kind: Kind, cell: ActorCell) -> Seen {
        self.list(kind, Label::Only, cell, Arc::new(Vitals::new(0)), None)
    }

    /// What an actor is there for.
    pub(crate) fn label(&self, actor: ActorId) -> Option<Label> {
        Some(self.shard(actor.pid()).entries.get(&actor.pid())?.label.clone())
    }

    /// An actor ended by a panic or an error.
    pub(crate) fn failed(&self, actor: ActorId, error: &dyn fmt::Display) {
        if let Some((kind, label)) = self.task(actor.pid()) {
            self.counters(kind).failed();
            locked(&self.0.fates).failed(kind, label, error.to_string());
        }
    }

    /// Something went wrong with an actor that goes on.
    pub(crate) fn went_wrong(&self, actor: ActorId, error: &dyn fmt::Display) {
        if let Some((kind, label)) = self.task(actor.pid()) {
            locked(&self.0.fates).went_wrong(kind, label, error.to_string());
        }
    }

    fn task(&self, id: u64) -> Option<(Kind, Label)> {
        let shard = self.shard(id);
        if let Some(entry) = shard.entries.get(&id) {
            return Some((entry.kind, entry.label.clone()));
        }
        let (_, kind, label) = shard.ended.iter().rev().find(|(ended, ..)| *ended == id)?;
        Some((*kind, label.clone()))
    }

    /// The listed actors that `wanted` holds of.
    fn collect(&self, mut wanted: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        let mut found = Vec::new();
        for shard in &self.0.shards {
            found.extend(locked(shard).entries.values().filter(|entry| wanted(entry)).cloned());
        }
        found
    }

    /// What all actors of a kind have done.
    pub(crate) fn counters(&self, kind: Kind) -> &Arc<Counters> {
        // The kinds are numbered in the order of the table.
        &self.0.counters[kind as usize]
    }

    /// What the actors have done, by kind. Looks at every mailbox.
    pub fn report(&self) -> Vec<KindReport> {
        let mut reports: Vec<KindReport> = self.0.counters.iter().map(|counters| counters.report()).collect();
        for shard in &self.0.shards {
            for entry in locked(shard).entries.values() {
                let (vitals, report) = (entry.vitals.vitals(), &mut reports[entry.kind as usize]);
                let depth = u64::from(vitals.depth());
                report.waiting += depth;
                report.deepest = report.deepest.max(depth);
                report.high_water = report.high_water.max(u64::from(vitals.high_water()));
            }
        }
        reports
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(id).unwrap_or_default() % SHARDS;
        locked(&self.0.shards[index])
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way through a change, so what a poisoned lock guards is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_counters_of_its_own() {
        let observed = Observed::default();
        for (n, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, observed.counters(kind).actor()), (n, kind.as_str()));
        }
    }

    #[test]
    fn a_listing_is_small_for_there_are_tens_of_thousands() {
        // A table is half full at worst after it has grown, and a session keeps its guard and where it was seen.
        let listing = size_of::<(u64, Entry)>() + 1;
        assert!(
            listing <= 88 && size_of::<Vitals>() <= 48,
            "{listing} {}",
            size_of::<Vitals>()
        );
    }
}
