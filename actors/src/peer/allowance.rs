//! How much one user, and one address, may ask for over all their sessions on this node.
//!
//! A socket has its own rate before its session hears of a message; this is beyond it, so that many sockets of one user are
//! no way around.

use std::net::IpAddr;

use caside_protocol::claims::Claims;
use caside_protocol::client::{ClientMessage, RequestId};
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::{RoomId, UserId};
use tokio::time::Instant;

use super::actor::Session;
use crate::audit::Act;
use crate::limit::{Buckets, wait_ms};
use crate::node::Limits;
use crate::refused::{self, Reason};

/// Who counts as one user. The bearers of tokens for one room are named by that room's host, who could name anybody: they
/// count for themselves, so that they use nothing of the user's own up.
type UserKey = (UserId, Option<RoomId>);

/// The buckets of a node.
#[derive(Debug)]
pub(crate) struct Allowances {
    messages: Buckets<UserKey>,
    joins: Buckets<UserKey>,
    joins_of_address: Buckets<IpAddr>,
}

impl Allowances {
    /// Full ones.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            messages: Buckets::new(limits.user_messages),
            joins: Buckets::new(limits.user_joins),
            joins_of_address: Buckets::new(limits.address_joins),
        }
    }

    /// Takes what a message costs its user, and a join also its address.
    fn take(&self, claims: &Claims, address: Option<IpAddr>, joins: bool, now: Instant) -> Result<(), Refusal> {
        let refusal = |reason, wait, text| {
            refused::count(reason);
            Refusal::new(ErrorCode::RateLimited, text).retry_after_ms(wait_ms(wait))
        };
        let user = (claims.sub.clone(), claims.room.clone());
        let taken = self.messages.take(user.clone(), now);
        taken.map_err(|wait| {
            let text = "too many messages of this user; this one was not acted on";
            refusal(Reason::MessagesUser, wait, text)
        })?;
        if !joins {
            return Ok(());
        }
        let taken = self.joins.take(user, now);
        taken.map_err(|wait| refusal(Reason::JoinsUser, wait, "this user joins too often"))?;
        let taken = address.map_or(Ok(()), |address| self.joins_of_address.take(address, now));
        taken.map_err(|wait| refusal(Reason::JoinsAddress, wait, "too many join from this address"))
    }
}

impl Session {
    /// Whether the user may ask for this now. Admins and API keys are the deployment's own programs.
    pub(super) fn afford(&self, message: &ClientMessage) -> Result<(), Refusal> {
        let Some(claims) = self.claims.as_deref().filter(|claims| !claims.is_admin()) else {
            return Ok(());
        };
        let joins = matches!(message, ClientMessage::Join(_) | ClientMessage::Accept(_));
        let allowances = &self.shared.allowances;
        allowances.take(claims, self.limited_as, joins, Instant::now())
    }

    /// An act of this session's client.
    pub(super) fn by_client(&self, act: Act, id: Option<&RequestId>) -> Act {
        Act {
            user: self.claims.as_ref().map(|claims| claims.sub.to_string()),
            client: self.client_ip,
            request: id.map(|id| match id {
                RequestId::Number(number) => number.to_string(),
                RequestId::Text(text) => text.clone(),
            }),
            room: self.place.room().map(ToString::to_string),
            ..act
        }
    }
}
