//! Stays in calls. They are written through the journal.

use std::net::IpAddr;

use caside_protocol::rest::CallParticipant;
use caside_protocol::{CallId, ParticipantId, UserId};
use serde_json::Value;

use crate::{Store, StoreError};

/// A stay in a call with what only operators see.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredParticipant {
    /// What everybody sees.
    pub stay: CallParticipant,
    /// Which call.
    pub call: CallId,
    /// From where.
    pub client_ip: Option<IpAddr>,
    /// The application's own.
    pub metadata: Value,
}

impl Store {
    /// A stay by its id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn participant(&self, _id: ParticipantId) -> Result<Option<StoredParticipant>, StoreError> {
        todo!()
    }

    /// Whether this user was ever in this call.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn was_in_call(&self, _call: CallId, _user: &UserId) -> Result<bool, StoreError> {
        todo!()
    }
}
