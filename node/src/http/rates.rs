//! How often an address, and a user, may ask by HTTP.

use caside_actors::limit::{Buckets, Rate, wait_ms};
use caside_actors::refused::{self, Reason};
use caside_protocol::error::Refusal;
use caside_protocol::{ErrorCode, RoomId, UserId};
use tokio::time::Instant;

use crate::auth::Caller;
use crate::client::Client;
use crate::limit::AddressLimit;

/// How many times what a second may bring may come at once.
const BURST: f64 = 4.0;

/// So many a second, and four times that at once.
pub(crate) fn of(per_second: f64) -> Rate {
    Rate {
        per_second,
        burst: per_second * BURST,
    }
}

/// The buckets of a node. Who counts as one address is [`Client::key`]'s to say.
#[derive(Debug)]
pub(crate) struct Rates {
    addresses: AddressLimit,
    users: Buckets<(UserId, Option<RoomId>)>,
}

impl Rates {
    /// Of so many requests a second.
    pub(crate) fn new(per_second: f64) -> Self {
        Self {
            addresses: AddressLimit::new(of(per_second)),
            users: Buckets::new(of(per_second)),
        }
    }

    /// One request of this client.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn address(&self, client: &Client) -> Result<(), Refusal> {
        let taken = self.addresses.take(client, Instant::now());
        taken.map_err(|wait| {
            refused::count(Reason::RequestsAddress);
            Refusal::new(ErrorCode::RateLimited, "too many requests from this address").retry_after_ms(wait_ms(wait))
        })
    }

    /// One request of this caller. Admins and API keys are exempt: they are the deployment's own programs.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn user(&self, caller: &Caller) -> Result<(), Refusal> {
        if caller.is_admin() {
            return Ok(());
        }
        // Whoever hosts a room may name anybody in tokens for it.
        let user = (caller.user().clone(), caller.claims.room.clone());
        let taken = self.users.take(user, Instant::now());
        taken.map_err(|wait| {
            refused::count(Reason::RequestsUser);
            Refusal::new(ErrorCode::RateLimited, "too many requests of this user").retry_after_ms(wait_ms(wait))
        })
    }
}
