//! Which rooms there are, and what a caller is in them.

use std::time::Duration;

use caside_protocol::error::Refusal;
use caside_protocol::view::{Room, RoomActivity};
use caside_protocol::{ErrorCode, Role, RoomId, UserId};
use caside_store::rooms::StoredRoom;
use time::OffsetDateTime;

use super::App;
use super::endpoint::absent;
use crate::auth::{Caller, lapsed, refused_by_store};

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
        last_n: room.last_n,
        audio_last_n: room.audio_last_n,
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
        // One that was just made may not be in the database yet, where all tokens are held against.
        if self.node.admits(id, &caller.claims).await? == Some(false) {
            return Err(lapsed());
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

    /// The room that the caller hosts by a token for it alone. Nobody's who is an admin anyhow.
    ///
    /// # Errors
    /// The database may be away.
    pub(crate) async fn room_of_host_token(&self, caller: &Caller) -> Result<Option<StoredRoom>, Refusal> {
        let Some(room) = &caller.claims.room else {
            return Ok(None);
        };
        if caller.is_admin() || caller.claims.role != Some(Role::Host) {
            return Ok(None);
        }
        let room = self.store.room(room).await.map_err(|e| refused_by_store(&e))?;
        Ok(room.filter(|room| room.admits(caller.claims.right_since())))
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
    /// `forbidden`; the database may be away.
    pub(crate) async fn may_create(&self, caller: &Caller, id: &RoomId) -> Result<(), Refusal> {
        if !caller.claims.admits(id) {
            return Err(forbidden("the token is for another room"));
        }
        if !caller.claims.may_create_rooms() {
            return Err(forbidden("the token does not permit to create rooms"));
        }
        if let Some(since) = caller.claims.right_since() {
            let former = self.store.former_room(id).await.map_err(|e| refused_by_store(&e))?;
            if former.is_some_and(|former| !former.admits(Some(since), Some(caller.user()))) {
                return Err(lapsed());
            }
        }
        Ok(())
    }
}

/// Whose rooms, calls and recordings a caller sees: `None`, an admin, everybody's.
pub(crate) fn visible_to(caller: &Caller) -> Option<UserId> {
    (!caller.is_admin()).then(|| caller.user().clone())
}

/// Since when a caller sees calls and recordings that they were in; `None`: all of them. A token that we made for one room
/// may name any user, by the word of the room's host, who is to see nothing of an earlier room by it.
pub(crate) fn visible_since(caller: &Caller) -> Option<OffsetDateTime> {
    let bound = caller.claims.room_since_us.is_some() && !caller.is_admin();
    caller.claims.right_since().filter(|_| bound)
}
