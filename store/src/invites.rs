//! Calls and invitations to users that wait for an answer.

use caside_protocol::server::{InviteAnswer, InviteKind};
use caside_protocol::{InviteId, RoomId, UserId};
use time::OffsetDateTime;

use crate::{Store, StoreError};

/// Most invitations that wait for one user.
pub const MAX_WAITING_INVITES: usize = 100;

/// A call or invitation to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInvite {
    /// Its id.
    pub id: InviteId,
    /// Where it leads.
    pub room: RoomId,
    /// Who asks.
    pub from_user: UserId,
    /// The name of who asks.
    pub from_name: String,
    /// Who is asked.
    pub to_user: UserId,
    /// Rings or waits.
    pub kind: InviteKind,
    /// Until when, whole seconds.
    pub expires_at: OffsetDateTime,
    /// What became of it.
    pub answer: Option<InviteAnswer>,
}

impl Store {
    /// Keeps an invitation.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when [`MAX_WAITING_INVITES`] wait for that user already.
    pub async fn create_invite(&self, _invite: &StoredInvite, _now: OffsetDateTime) -> Result<(), StoreError> {
        todo!()
    }

    /// The invitation of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn invite(&self, _id: InviteId) -> Result<Option<StoredInvite>, StoreError> {
        todo!()
    }

    /// What waits for this user now, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_invites(&self, _user: &UserId, _now: OffsetDateTime) -> Result<Vec<StoredInvite>, StoreError> {
        todo!()
    }

    /// Answers an invitation; `false` when it is unknown or has an answer already: the first one counts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn answer_invite(&self, _id: InviteId, _answer: InviteAnswer) -> Result<bool, StoreError> {
        todo!()
    }

    /// Forgets invitations that expired before `before`; says how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_invites(&self, _before: OffsetDateTime) -> Result<u64, StoreError> {
        todo!()
    }
}
