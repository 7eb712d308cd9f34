//! Sessions: what a client's sockets come and go on.

use caside_protocol::client::{Request, RequestId};
use caside_protocol::error::Refusal;

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
pub struct PeerHandle {}

#[allow(clippy::unused_async, unused_variables, reason = "the session comes with the next change")]
impl PeerHandle {
    /// Takes a request of the client. Waits while as many are under way as may, which holds the socket's reading back.
    pub async fn request(&self, request: Request) {}

    /// Answers a frame that was no request, in order with the other answers.
    pub fn refuse(&self, id: Option<RequestId>, refusal: Refusal) {}

    /// Says how the socket ended.
    pub fn closed(self, how: SocketClosed) {}
}
