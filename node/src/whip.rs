//! WHIP and WHEP: media in by one HTTP request (RFC 9725), and out (draft-ietf-wish-whep).
//!
//! A publisher is a participant of its room like any other, and so is a viewer: a session of ours that speaks the protocol of
//! `docs/protocol.md` inside this process, on its behalf. So rights, moderation, recording and limits are the room's, and
//! nothing of them is decided here. A session ends by DELETE, with its media connection, when the room ends it, and a viewer's
//! with whom they view.
//!
//! Absent on purpose: HTTP (the routes'), candidates of the client (ICE-lite learns addresses from checks).

mod client;
mod fragment;
mod links;
mod session;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use caside_actors::node::{IceServers, NodeHandle};
use caside_protocol::claims::Claims;
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::{Grants, ParticipantId, Role, RoomId, UserId};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub(crate) use fragment::MEDIA_TYPE as FRAGMENT;
pub(crate) use links::links;
use session::{Order, Purpose, Session};

use crate::auth::Caller;
use crate::ws::Place;

/// Orders that may wait for a session; beyond it they are refused.
const ORDERS: usize = 8;
/// How long a session may take to carry out an order.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a session is opened with.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Whose it is.
    pub(crate) caller: Caller,
    /// Which room.
    pub(crate) room: RoomId,
    /// Where the client is.
    pub(crate) from: IpAddr,
    /// Its place among the node's connections.
    pub(crate) place: Place,
    /// The client's offer.
    pub(crate) offer: String,
}

/// A session that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The resource's id.
    pub(crate) id: Uuid,
    /// Our answer.
    pub(crate) answer: String,
    /// Names the ICE session, for `If-Match`; quoted.
    pub(crate) etag: String,
}

/// What a PATCH came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Patched {
    /// Candidates, which need no answer.
    Noted,
    /// ICE was restarted: our side of it, and the new ICE session's name.
    Restarted {
        /// A fragment (RFC 8840 §9).
        fragment: String,
        /// Quoted.
        etag: String,
    },
    /// It was meant for another ICE session than the one that runs.
    Outdated,
}

/// Which of the two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Media in.
    Whip,
    /// Media out.
    Whep,
}

/// Names a session in requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRef {
    /// By which protocol it was opened.
    pub(crate) protocol: Protocol,
    /// Its room.
    pub(crate) room: RoomId,
    /// Its id.
    pub(crate) id: Uuid,
}

/// Where an open session is found.
struct Entry {
    protocol: Protocol,
    room: RoomId,
    user: UserId,
    orders: mpsc::Sender<Order>,
}

/// The open sessions of this node.
#[derive(Clone)]
pub(crate) struct Whip {
    node: NodeHandle,
    ice_servers: IceServers,
    open: Arc<Mutex<HashMap<Uuid, Entry>>>,
}

impl std::fmt::Debug for Whip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Whip").field("open", &self.open().len()).finish()
    }
}

impl Whip {
    /// Without sessions.
    pub(crate) fn new(node: NodeHandle, ice_servers: IceServers) -> Self {
        Self {
            node,
            ice_servers,
            open: Arc::default(),
        }
    }

    /// The STUN and TURN servers for a user.
    pub(crate) fn ice_servers(&self, user: &UserId) -> Vec<caside_protocol::server::IceServer> {
        (self.ice_servers)(user)
    }

    /// Opens a publisher's session: joins the room and answers the offer.
    ///
    /// # Errors
    /// Those of `join` and `offer` in a room; `target_required` when its media does not go through this node.
    pub(crate) async fn publish(&self, opening: Opening) -> Result<Opened, Refusal> {
        self.start(Protocol::Whip, Purpose::Publish, opening).await
    }

    /// Opens the session of a viewer of one participant, or of the first who publishes. They join a room that is there, as
    /// `viewer`, whatever their token says.
    ///
    /// # Errors
    /// Those of `join`; `nothing_published`, `participant_not_found`, `no_common_codec`, `bad_sdp`.
    pub(crate) async fn view(&self, opening: Opening, viewed: Option<ParticipantId>) -> Result<Opened, Refusal> {
        self.start(Protocol::Whep, Purpose::View(viewed), opening).await
    }

    async fn start(&self, protocol: Protocol, purpose: Purpose, opening: Opening) -> Result<Opened, Refusal> {
        let Opening {
            caller,
            room,
            from,
            place,
            offer,
        } = opening;
        let user = caller.user().clone();
        let mut claims = for_this_room(caller.claims, &room);
        if protocol == Protocol::Whep {
            claims = as_viewer(claims);
        }
        let opening = Session::open(&self.node, claims, purpose, room.clone(), from, place, offer);
        let (session, answer, etag) = opening.await?;
        let id = Uuid::new_v4();
        let (orders, queue) = mpsc::channel(ORDERS);
        let entry = Entry {
            protocol,
            room,
            user,
            orders,
        };
        self.open().insert(id, entry);
        let listed = Listed {
            sessions: self.clone(),
            id,
        };
        tokio::spawn(async move {
            session.run(queue).await;
            drop(listed);
        });
        Ok(Opened { id, answer, etag })
    }

    /// Takes a fragment of a description for a session's ICE.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `bad_sdp`; `overloaded`.
    pub(crate) async fn patch(
        &self,
        caller: &Caller,
        session: &SessionRef,
        if_match: String,
        fragment: &str,
    ) -> Result<Patched, Refusal> {
        let orders = self.find(caller, session)?;
        let fragment = fragment::read(fragment)?;
        let (done, answer) = oneshot::channel();
        let order = Order::Patch {
            if_match,
            fragment,
            done,
        };
        orders.try_send(order).map_err(|_| busy())?;
        wait(answer).await?
    }

    /// Ends a session.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; `overloaded`.
    pub(crate) async fn end(&self, caller: &Caller, session: &SessionRef) -> Result<(), Refusal> {
        let orders = self.find(caller, session)?;
        let (done, ended) = oneshot::channel();
        orders.try_send(Order::End { done }).map_err(|_| busy())?;
        wait(ended).await
    }

    fn find(&self, caller: &Caller, session: &SessionRef) -> Result<mpsc::Sender<Order>, Refusal> {
        let open = self.open();
        let is_meant = |entry: &&Entry| entry.protocol == session.protocol && entry.room == session.room;
        let entry = open.get(&session.id).filter(is_meant).ok_or_else(gone)?;
        if entry.user != *caller.user() && !caller.is_admin() {
            return Err(Refusal::new(ErrorCode::Forbidden, "this session is somebody else's"));
        }
        Ok(entry.orders.clone())
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        // Nothing panics half-way through a change, so what a poisoned lock guards is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a session off the list when its task ends, however that is.
struct Listed {
    sessions: Whip,
    id: Uuid,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.sessions.open().remove(&self.id);
    }
}

/// The token as good for this room alone, so that the session is not one that rings for its user's calls. A right to every
/// room is one to the room that is there now.
fn for_this_room(claims: Claims, room: &RoomId) -> Claims {
    if claims.room.is_some() {
        return claims;
    }
    let now_us = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
    Claims {
        room: Some(room.clone()),
        room_since_us: i64::try_from(now_us).ok(),
        ..claims
    }
}

/// The token as a viewer's, who makes no rooms.
fn as_viewer(claims: Claims) -> Claims {
    let grants = Grants {
        subscribe: claims.grants().subscribe,
        create: Some(false),
        ..Grants::default()
    };
    Claims {
        role: Some(Role::Viewer),
        grants: Some(grants),
        ..claims
    }
}

async fn wait<T>(answer: oneshot::Receiver<T>) -> Result<T, Refusal> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(value)) => Ok(value),
        // The session ended meanwhile.
        Ok(Err(_)) => Err(gone()),
        Err(_) => Err(busy()),
    }
}

fn gone() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "no such session; it may have ended")
}

fn busy() -> Refusal {
    Refusal::new(ErrorCode::Overloaded, "the session has too much to do; try again").retry_after_ms(1000)
}
