//! The rooms that run here, as others may know them without asking their actors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use caside_protocol::{CallId, RoomId, Timestamp, UserId};
use caside_store::rooms::StoredRoom;

use super::super::message::RoomHandle;

/// What others may know of a room without asking it.
#[derive(Debug)]
pub(crate) struct Card {
    /// Who made it.
    pub(crate) owner: Option<UserId>,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When somebody else's room of this id ended.
    pub(crate) tokens_since: Option<Timestamp>,
    /// What changes.
    now: Mutex<(Option<CallId>, usize)>,
}

impl Card {
    /// Of a room that is about to start.
    pub(super) fn of(room: &StoredRoom) -> Arc<Self> {
        Arc::new(Self {
            owner: room.owner.clone(),
            created_at: room.created_at,
            tokens_since: room.tokens_since,
            now: Mutex::new((None, 0)),
        })
    }

    /// Writes down the call that is on and how many are here; gives what was so before.
    fn update(&self, call: Option<CallId>, participants: usize) -> (Option<CallId>, usize) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *now, (call, participants))
    }

    /// The call that is on and how many are here.
    pub(crate) fn now(&self) -> (Option<CallId>, usize) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A room in the table.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The way to it.
    pub(crate) handle: RoomHandle,
    /// What is known of it.
    pub(crate) card: Arc<Card>,
}

/// The rooms that run, written by their supervisor alone, and the calls that are on in them, written by each.
#[derive(Debug, Default)]
pub(crate) struct RoomTable {
    rooms: Mutex<HashMap<RoomId, Listed>>,
    calls: Mutex<HashMap<CallId, RoomId>>,
}

impl RoomTable {
    /// Every room.
    pub(crate) fn read(&self) -> MutexGuard<'_, HashMap<RoomId, Listed>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<CallId, RoomId>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The room whose call this is.
    pub(crate) fn of_call(&self, call: CallId) -> Option<RoomId> {
        let room = self.calls().get(&call).cloned()?;
        // A room that its supervisor's end took along may have written its call down just after.
        let listed = self.find(&room)?;
        (listed.card.now().0 == Some(call)).then_some(room)
    }

    /// Writes down how a room is now, on its card and in the list of calls.
    pub(crate) fn update(&self, room: &RoomId, card: &Card, call: Option<CallId>, participants: usize) {
        let (before, _) = card.update(call, participants);
        if before == call {
            return;
        }
        let mut calls = self.calls();
        if let Some(before) = before {
            calls.remove(&before);
        }
        if let Some(call) = call {
            calls.insert(call, room.clone());
        }
    }

    /// Forgets a room and its call.
    pub(super) fn remove(&self, room: &RoomId) {
        let Some(listed) = self.read().remove(room) else { return };
        if let (Some(call), _) = listed.card.now() {
            self.calls().remove(&call);
        }
    }

    /// Forgets every room.
    pub(crate) fn clear(&self) {
        self.read().clear();
        self.calls().clear();
    }

    /// One room.
    pub(crate) fn find(&self, room: &RoomId) -> Option<Listed> {
        self.read().get(room).cloned()
    }
}
