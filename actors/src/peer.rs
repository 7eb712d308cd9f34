//! Sessions: what a client's sockets come and go on. One actor each, which speaks for the client to rooms and the other
//! way round, survives its sockets by the grace time, and ends with a clean close.
//!
//! Absent on purpose: WebSocket frames and rates (the binary's), a room's events and their numbers (the room's).

mod actor;
mod allowance;
mod arrival;
mod inspect;
mod link;
mod membership;
mod message;
mod place;
mod reply;
mod requests;
mod resume;
mod sessions;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use caside_protocol::SessionId;
use caside_protocol::client::{ClientMessage, Request, RequestId};
use caside_protocol::error::{ErrorCode, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub(crate) use actor::{Peer, PeerArgs};
pub(crate) use allowance::Allowances;
pub(crate) use arrival::{Found, FoundPlace};
pub(crate) use link::{PeerGone, PeerLink, PeerWay, RemoteSession};
pub(crate) use message::{DrainGuard, PeerMsg};
pub(crate) use reply::Reply;
pub(crate) use sessions::{Sessions, TokenHash};
use socket::Route;

use crate::trace::Call;

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketClosed {
    /// The client closed it with 1000 or 1001: the session ends.
    Clean,
    /// Anything else: the session waits for its resume.
    Dropped,
}

/// A socket's way to its session. Dropped without [`PeerHandle::closed`], the socket counts as dropped.
#[derive(Debug)]
pub struct PeerHandle {
    route: Arc<Route>,
    credits: Arc<Semaphore>,
    session: SessionId,
    /// Longest wait for a credit, and for a resume.
    patience: Duration,
}

impl PeerHandle {
    /// The session that the socket came with; a resume leads it to another.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Takes a request of the client; the answer comes by the socket's queue. Waits while as many are under way as may,
    /// which holds the socket's reading back, and refuses the request as overloaded when that takes too long.
    pub async fn request(&self, request: Request) {
        let Ok(Ok(credit)) = tokio::time::timeout(self.patience, self.credits.clone().acquire_owned()).await else {
            let text = "too many of your requests are under way";
            return self.refuse(request.id, Refusal::new(ErrorCode::Overloaded, text));
        };
        if matches!(request.message, ClientMessage::Resume(_)) {
            return self.resume(request, credit).await;
        }
        let (peer, generation) = self.route.get();
        let message = PeerMsg::Request {
            generation,
            credit,
            call: Call::of(request.message.kind()),
            request: Box::new(request),
        };
        if let Err(refused) = peer.send(message)
            && let PeerMsg::Request { request, .. } = refused.0
        {
            self.refuse(
                request.id,
                Refusal::new(ErrorCode::Overloaded, "your session is overloaded; try again"),
            );
        }
    }

    /// Waits until it is settled which session later requests are for.
    async fn resume(&self, request: Request, credit: OwnedSemaphorePermit) {
        let (settled, settling) = oneshot::channel();
        let (peer, generation) = self.route.get();
        peer.post(PeerMsg::Resume {
            generation,
            request: Box::new(request),
            credit,
            call: Call::current(),
            settled,
        });
        // Its end, of either kind, is the message.
        if tokio::time::timeout(self.patience, settling).await.is_err() {
            tracing::warn!(session.id = %self.session, "a resume took too long");
        }
    }

    /// The client has every event up to this number.
    pub fn received(&self, seq: u64) {
        let (peer, generation) = self.route.get();
        peer.post(PeerMsg::Received { generation, seq });
    }

    /// Answers a frame that was no request, in order with the other answers.
    pub fn refuse(&self, id: Option<RequestId>, refusal: Refusal) {
        let (peer, generation) = self.route.get();
        peer.post(PeerMsg::Refuse {
            generation,
            id,
            refusal,
        });
    }

    /// Says how the socket ended.
    pub fn closed(self, how: SocketClosed) {
        self.route.close(how);
    }
}

impl Drop for PeerHandle {
    fn drop(&mut self) {
        self.route.close(SocketClosed::Dropped);
    }
}
