//! The node's door to the others: what its sessions and rooms say to those of other nodes, what is asked across, and what
//! comes in. A message never waits here; what cannot be sent is refused to whoever sends it.

mod answers;
mod inbox;
mod questions;
mod requests;
mod travel;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use caside_cluster::{Gateways, Neighbour, Owner, SendError, placement};
use caside_protocol::node::{Answer, Member, NodeMessage, Orphan, RoomOrder, SessionOrder, ToRoom, ToSession};
use caside_protocol::server::ServerMessage;
use caside_protocol::{ParticipantId, RoomId};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Span;

pub(crate) use answers::unexpected;
pub(crate) use inbox::NodeInbox;
pub(crate) use questions::NoAnswer;
pub(crate) use travel::{fetch, seek, way};

use crate::peer::TokenHash;
use crate::room::{JoinRequest, Order, RemoteRoom};
use crate::trace;
use requests::{Requests, Waiting};

/// Most rooms of other nodes whose owners are remembered; beyond it they are asked for again.
const MAX_ROUTES: usize = 200_000;

/// The door.
pub(crate) struct Gateway {
    me: Member,
    links: Arc<dyn Gateways>,
    requests: Requests,
    questions: Mutex<HashMap<u64, (Member, oneshot::Sender<Answer>)>>,
    next_question: AtomicU64,
    /// Owners of rooms elsewhere, until one turns out to be wrong.
    routes: Mutex<HashMap<RoomId, Owner>>,
    /// Members that were linked and are not, and since when.
    missing: Mutex<HashMap<Member, Instant>>,
    /// Participants of rooms here whose sessions' nodes are gone, by their resume tokens.
    orphans: Mutex<HashMap<TokenHash, Orphan>>,
    /// Rooms of other nodes that this one would take over.
    copies: Mutex<HashMap<RoomId, Copy>>,
}

/// A room of another node, as it last was.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) of: Member,
    pub(crate) epoch: u64,
    pub(crate) state: Bytes,
}

/// How much the door keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// Owners of rooms elsewhere.
    pub(crate) routes: usize,
    /// Rooms of other nodes.
    pub(crate) copies: usize,
    /// Participants whose sessions' nodes are gone.
    pub(crate) orphans: usize,
    /// Requests that other nodes are to answer.
    pub(crate) requests: usize,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Gateway {
    pub(crate) fn new(me: Member, links: Arc<dyn Gateways>) -> Arc<Self> {
        Arc::new(Self {
            me,
            links,
            requests: Requests::default(),
            questions: Mutex::default(),
            next_question: AtomicU64::new(1),
            routes: Mutex::default(),
            missing: Mutex::default(),
            orphans: Mutex::default(),
            copies: Mutex::default(),
        })
    }

    /// Those that can be sent to now.
    pub(crate) fn others(&self) -> Vec<Neighbour> {
        self.links.others()
    }

    /// Whether there are others, or were a moment ago.
    pub(crate) fn is_in_company(&self) -> bool {
        !self.links.others().is_empty() || !locked(&self.missing).is_empty()
    }

    // ---- rooms and sessions ---------------------------------------------------------------------------------------

    /// Brings an order to a room on another node.
    ///
    /// # Errors
    /// Gives it back when it did not go.
    #[expect(
        clippy::result_large_err,
        reason = "it is what was to be sent, and goes to whoever can answer it"
    )]
    pub(crate) fn order(&self, to: &RemoteRoom, participant: ParticipantId, order: Order) -> Result<(), Order> {
        let _sending = sending(&to.member, order.name()).entered();
        let (order, request) = match order {
            Order::Rejoin(reply) => {
                let request = self.requests.keep(&to.member, Waiting::Reply(reply));
                (RoomOrder::Rejoin { request }, Some(request))
            }
            Order::Leave(Some(reply)) => {
                let request = self.requests.keep(&to.member, Waiting::Reply(reply));
                (RoomOrder::Leave { request: Some(request) }, Some(request))
            }
            Order::Ask { reply, message } => {
                let request = self.requests.keep(&to.member, Waiting::Reply(reply));
                (RoomOrder::Ask { request, message }, Some(request))
            }
            Order::Leave(None) => (RoomOrder::Leave { request: None }, None),
            Order::Resume { last_seq, contact } => {
                contact.link.replaced();
                let credentials = contact.credentials;
                (RoomOrder::Resume { last_seq, credentials }, None)
            }
            Order::Here {
                last_seq,
                connected,
                contact,
            } => {
                contact.link.replaced();
                let here = RoomOrder::Here {
                    last_seq,
                    connected,
                    credentials: contact.credentials,
                };
                (here, None)
            }
            Order::Lost => (RoomOrder::Lost, None),
            Order::Departing => (RoomOrder::Departing, None),
            Order::Received(seq) => (RoomOrder::Received(seq), None),
            Order::Gone => (RoomOrder::Gone, None),
            Order::Renewed(credentials) => (RoomOrder::Renewed { credentials }, None),
            Order::Post(message) => (RoomOrder::Post(message), None),
        };
        let message = NodeMessage::ToRoom(Box::new(ToRoom {
            room: to.room.clone(),
            epoch: to.epoch,
            participant,
            session: to.session,
            order,
            trace: trace::travelling(),
        }));
        let sent = self.links.send(&to.member, &message);
        match (sent, message) {
            (Ok(()), _) => Ok(()),
            (Err(error), NodeMessage::ToRoom(message)) => {
                tracing::debug!(%error, member = %to.member, room.id = %to.room, "an order did not go to a room");
                let reply = request.and_then(|request| self.requests.reply(request));
                Err(match (message.order, reply) {
                    (RoomOrder::Ask { message, .. }, Some(reply)) => Order::Ask { reply, message },
                    (RoomOrder::Rejoin { .. }, Some(reply)) => Order::Rejoin(reply),
                    (RoomOrder::Leave { .. }, reply) => Order::Leave(reply),
                    (RoomOrder::Post(message), _) => Order::Post(message),
                    (RoomOrder::Gone, _) => Order::Gone,
                    _ => Order::Lost,
                })
            }
            (Err(_), _) => Err(Order::Lost),
        }
    }

    /// Brings somebody to the door of a room on another node.
    ///
    /// # Errors
    /// Gives them back when the node cannot be reached.
    pub(crate) fn join(&self, to: &Member, request: Box<JoinRequest>) -> Result<(), Box<JoinRequest>> {
        let (room, participant, session) = (request.room.clone(), request.participant, request.session);
        let span = request.reply.call().span().clone();
        let _within = span.enter();
        let _sending = sending(to, "join").entered();
        let mut order = request.order();
        let number = self.requests.keep(to, Waiting::Join(request));
        order.request = number;
        let message = NodeMessage::ToRoom(Box::new(ToRoom {
            room,
            epoch: 0,
            participant,
            session,
            order: RoomOrder::Join(Box::new(order)),
            trace: trace::travelling(),
        }));
        match self.links.send(to, &message) {
            Ok(()) => Ok(()),
            Err(_) => match self.requests.join(number) {
                Some(request) => Err(request),
                None => Ok(()),
            },
        }
    }

    /// Tells a session on another node. Whether it went.
    pub(crate) fn to_session(&self, to: &Member, message: ToSession) -> bool {
        let important = !matches!(message.order, SessionOrder::Deliver { .. });
        match self.links.send(to, &NodeMessage::ToSession(Box::new(message))) {
            Ok(()) => true,
            Err(error) => {
                if important && error != SendError::Unreachable {
                    tracing::warn!(member = %to, %error, "a room's word did not go to a session");
                }
                false
            }
        }
    }

    /// Answers a request that another node keeps.
    pub(crate) fn reply(&self, to: &Member, request: u64, message: ServerMessage) {
        let message = NodeMessage::Reply {
            request,
            message: Box::new(message),
        };
        if let Err(error) = self.links.send(to, &message) {
            // That node answers its client itself when the link is gone.
            tracing::debug!(member = %to, %error, "an answer did not go");
        }
    }

    /// Tells every other node.
    pub(crate) fn broadcast(&self, message: &NodeMessage) {
        for other in self.links.others() {
            if let Err(error) = self.links.send(&other.member, message) {
                tracing::debug!(member = %other.member, %error, "a word to all nodes did not go to one");
            }
        }
    }

    // ---- who has which room ---------------------------------------------------------------------------------------

    /// The owner of a room elsewhere, as far as is known without asking.
    pub(crate) fn route(&self, room: &RoomId) -> Option<Owner> {
        locked(&self.routes).get(room).cloned()
    }

    /// Remembers a room's owner. An older ownership changes nothing.
    pub(crate) fn learn(&self, room: &RoomId, owner: Owner) {
        let mut routes = locked(&self.routes);
        if routes.get(room).is_some_and(|known| known.epoch > owner.epoch) {
            return;
        }
        if owner.member == self.me {
            routes.remove(room);
            return;
        }
        if routes.len() >= MAX_ROUTES {
            routes.clear();
        }
        routes.insert(room.clone(), owner);
    }

    /// Forgets who had a room.
    pub(crate) fn forget_route(&self, room: &RoomId) {
        locked(&self.routes).remove(room);
    }

    // ---- participants whose sessions are lost ---------------------------------------------------------------------

    /// Whether a participant here waits for this token.
    pub(crate) fn is_orphan(&self, token: TokenHash) -> bool {
        locked(&self.orphans).contains_key(&token)
    }

    /// Keeps a participant until its client comes back.
    pub(crate) fn keep_orphan(&self, orphan: Orphan) {
        if let Some(hash) = orphan.credentials.resume {
            locked(&self.orphans).insert(hash.into(), orphan);
        }
    }

    /// Takes a participant whose client came back.
    pub(crate) fn take_orphan(&self, token: TokenHash) -> Option<Orphan> {
        locked(&self.orphans).remove(&token)
    }

    /// Forgets a token that is no longer good.
    pub(crate) fn forget_orphan(&self, token: Option<[u8; 32]>) {
        if let Some(hash) = token {
            locked(&self.orphans).remove(&hash.into());
        }
    }

    // ---- rooms of others that would be taken over -----------------------------------------------------------------

    /// Keeps another node's room as it is now.
    fn keep_copy(&self, of: &Member, room: RoomId, epoch: u64, state: Bytes) {
        let mut copies = locked(&self.copies);
        if copies.get(&room).is_some_and(|known| known.epoch > epoch) {
            return;
        }
        let of = of.clone();
        copies.insert(room, Copy { of, epoch, state });
    }

    /// Forgets another node's room: it ended, or somebody else keeps it.
    fn forget_copy(&self, of: &Member, room: &RoomId, epoch: u64) {
        let mut copies = locked(&self.copies);
        if copies
            .get(room)
            .is_some_and(|known| known.of == *of && known.epoch <= epoch)
        {
            copies.remove(room);
        }
    }

    /// The rooms of a node that is gone.
    pub(crate) fn take_copies(&self, of: &Member) -> Vec<(RoomId, Copy)> {
        let mut copies = locked(&self.copies);
        copies.extract_if(|_, copy| copy.of == *of).collect()
    }

    /// What is kept of one room.
    pub(crate) fn take_copy(&self, room: &RoomId) -> Option<Copy> {
        locked(&self.copies).remove(room)
    }

    /// Has a room kept by another node.
    pub(crate) fn keep_at(&self, member: &Member, room: &RoomId, epoch: u64, state: &[u8]) {
        let message = NodeMessage::Keep {
            room: room.clone(),
            epoch,
            state: state.to_vec(),
        };
        if let Err(error) = self.links.send(member, &message) {
            tracing::debug!(%member, room.id = %room, %error, "a room was not kept by its standby");
        }
    }

    /// Has a room forgotten by another node.
    pub(crate) fn forget_at(&self, member: &Member, room: &RoomId, epoch: u64) {
        let message = NodeMessage::Forget {
            room: room.clone(),
            epoch,
        };
        if let Err(error) = self.links.send(member, &message) {
            tracing::debug!(%member, room.id = %room, %error, "a room was not forgotten by its standby");
        }
    }

    /// Who would take a room over that this node has.
    pub(crate) fn standby_of(&self, room: &RoomId) -> Option<Member> {
        placement::standby(room, &self.links.others()).cloned()
    }

    /// How much is kept.
    pub(crate) fn kept(&self) -> Kept {
        Kept {
            routes: locked(&self.routes).len(),
            copies: locked(&self.copies).len(),
            orphans: locked(&self.orphans).len(),
            requests: self.requests.len(),
        }
    }

    // ---- others that come and go ----------------------------------------------------------------------------------

    /// Since when a member is missing that was linked before; `None` while it is linked, or was never.
    pub(crate) fn missing_since(&self, member: &Member) -> Option<Instant> {
        locked(&self.missing).get(member).copied()
    }

    fn next(&self) -> u64 {
        self.next_question.fetch_add(1, Ordering::Relaxed)
    }
}

/// The span of sending a message to another node, whose own then follow from it.
fn sending(to: &Member, message: &'static str) -> Span {
    trace::step!(
        "gateway.send",
        otel.kind = "producer",
        caside.message.name = message,
        caside.peer.node = %to
    )
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way through a change, so what a poisoned lock guards is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
