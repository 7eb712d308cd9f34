//! The session's end of one socket, and the route by which the socket finds its session.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use caside_protocol::codec::{self, Dialect, Tag};
use caside_protocol::server::ServerMessage;

use super::SocketClosed;
use super::message::{Generation, PeerMsg};
use crate::mailbox::Mailbox;
use crate::outbound::{Behind, Frame, OutboundQueue};

/// Where a socket's requests go: to its own session at first, to the one it continues after a `resume`.
#[derive(Debug)]
pub(crate) struct Route(Mutex<Ends>);

#[derive(Debug)]
struct Ends {
    peer: Mailbox<PeerMsg>,
    generation: Generation,
    closed: Option<SocketClosed>,
}

impl Route {
    pub(crate) fn new(peer: Mailbox<PeerMsg>, generation: Generation) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Ends {
            peer,
            generation,
            closed: None,
        })))
    }

    pub(super) fn get(&self) -> (Mailbox<PeerMsg>, Generation) {
        let ends = self.ends();
        (ends.peer.clone(), ends.generation)
    }

    /// Leads the socket to another session. Says how the socket ended, if it has: nobody else tells that session.
    pub(super) fn lead_to(&self, peer: Mailbox<PeerMsg>, generation: Generation) -> Option<SocketClosed> {
        let mut ends = self.ends();
        (ends.peer, ends.generation) = (peer, generation);
        ends.closed
    }

    /// Tells the session that the socket ended; once.
    pub(super) fn close(&self, how: SocketClosed) {
        let mut ends = self.ends();
        if ends.closed.is_none() {
            ends.closed = Some(how);
            let (peer, generation) = (ends.peer.clone(), ends.generation);
            drop(ends);
            peer.post(PeerMsg::SocketClosed { generation, how });
        }
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session's end of one socket.
#[derive(Debug)]
pub(crate) struct Socket {
    queue: OutboundQueue,
    dialect: Dialect,
    pub(super) route: Arc<Route>,
}

impl Socket {
    pub(crate) fn new(queue: OutboundQueue, dialect: Dialect, route: Arc<Route>) -> Self {
        Self { queue, dialect, route }
    }

    /// Encodes a message and puts it behind the others.
    ///
    /// # Errors
    /// [`Behind`] when the client does not keep up.
    pub(crate) fn write(&self, tag: &Tag, message: &ServerMessage) -> Result<(), Behind> {
        match codec::encode(self.dialect, tag, message) {
            Ok(bytes) => self.queue.push(Frame {
                kind: message.kind(),
                bytes: Bytes::from(bytes),
                seq: match tag {
                    Tag::Event(seq) => Some(*seq),
                    _ => None,
                },
            }),
            Err(e) => {
                tracing::error!(error = %e, kind = message.kind(), "a message of ours could not be written");
                Ok(())
            }
        }
    }

    /// For operators.
    pub(super) fn inspect(&self) -> serde_json::Value {
        let (frames, bytes) = self.queue.waiting();
        let dialect = match self.dialect {
            Dialect::Json => "json",
            Dialect::MessagePack => "msgpack",
        };
        serde_json::json!({ "dialect": dialect, "queued_messages": frames, "queued_bytes": bytes })
    }

    /// Closes after what waits is written.
    pub(crate) fn close(self, code: u16, reason: &'static str) {
        self.queue.close(code, reason);
    }

    /// Closes at once.
    pub(crate) fn close_now(self, code: u16, reason: &'static str) {
        self.queue.close_now(code, reason);
    }
}
