//! Which rooms there are, and what a caller is in them.

use std::time::Duration;

use caside_protocol::error::Refusal;
use caside_protocol::view::{Room, RoomActivity};
use caside_protocol::{ErrorCode, Role, RoomId, UserId};
use caside_store::rooms::StoredRoom;

use super::App;
use super::endpoint::absent;
use crate::auth::{Caller, refused_by_store};

/// How long writes that are queued are waited for, where the answer depends on them.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(2);

/// A stored room in which nobody is.
pub(crate) fn idle(room: StoredRoom) -> Room {
    Room {
        id: room.id,
        name: room.name,
        mode: room.mode,
        state: RoomActivity::Inactive,
        max_participants: room.max_participants,
        record: room.record,
        locked: room.locked,
        metadata: room.metadata,
        created_at: room.created_at,
        owner: room.owner,
        call_id: None,
        node: None,
        participants: Vec::new(),
    }
}

fn forbidden(why: &str) -> Refusal {
    Refusal::new(ErrorCode::Forbidden, why)
}

impl App {
    /// A room, running or not.
    ///
    /// # Errors
    /// `room_not_found`; the database may be away.
    pub(crate) async fn room(&self, id: &RoomId) -> Result<Room, Refusal> {
        if let Some(live) = self.node.room_view(id).await? {
            return Ok(live);
        }
        let stored = self.store.room(id).await.map_err(|e| refused_by_store(&e))?;
        stored.map(idle).ok_or_else(|| absent(ErrorCode::RoomNotFound))
    }

    /// A room that the caller's token is good for.
    ///
    /// # Errors
    /// `forbidden`, and those of [`App::room`].
    pub(crate) async fn admitted(&self, caller: &Caller, id: &RoomId) -> Result<Room, Refusal> {
        if !caller.claims.admits(id) {
            return Err(forbidden("the token is for another room"));
        }
        self.room(id).await
    }

    /// A room that the caller hosts: an admin, its owner, or the bearer of a host's token.
    ///
    /// # Errors
    /// `forbidden`, and those of [`App::room`].
    pub(crate) async fn hosted(&self, caller: &Caller, id: &RoomId) -> Result<Room, Refusal> {
        let room = self.admitted(caller, id).await?;
        if caller.role_in(id, room.owner.as_ref()) == Some(Role::Host) {
            Ok(room)
        } else {
            Err(forbidden("only the room's host may do this"))
        }
    }

    /// Waits until what running rooms have written down is in the database. That it is not yet is no failure: the
    /// answer is then as old as the database.
    pub(crate) async fn catch_up(&self) {
        if let Err(e) = self.journal.flush(JOURNAL_PATIENCE).await {
            tracing::debug!(error = %e, "the journal is behind");
        }
    }

    /// Whether a caller may make this room.
    ///
    /// # Errors
    /// `forbidden`.
    pub(crate) fn may_create(&self, caller: &Caller, id: &RoomId) -> Result<(), Refusal> {
        if !caller.claims.admits(id) {
            return Err(forbidden("the token is for another room"));
        }
        if !caller.claims.grants().may_create() {
            return Err(forbidden("the token does not permit to create rooms"));
        }
        Ok(())
    }
}

/// Whose rooms, calls and recordings a caller sees: `None`, an admin, everybody's.
pub(crate) fn visible_to(caller: &Caller) -> Option<UserId> {
    (!caller.is_admin()).then(|| caller.user().clone())
}
