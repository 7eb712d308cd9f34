//! The answer that a request awaits, wherever its client is.

use caside_protocol::client::RequestId;
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::Member;
use caside_protocol::server::ServerMessage;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

use super::message::{Generation, PeerMsg};
use crate::audit::{Act, Outcome, Via};
use crate::gateway::Gateway;
use crate::mailbox::Mailbox;
use crate::trace::Call;

/// The answer that a request awaits. Dropped unanswered, it answers `internal`: whoever had it failed.
#[derive(Debug)]
pub(crate) struct Reply {
    to: Option<To>,
    /// Bounds the requests under way.
    credit: Option<OwnedSemaphorePermit>,
    /// What is to be written down with what came of it.
    act: Option<Box<Act>>,
    call: Call,
}

#[derive(Debug)]
enum To {
    Session(Mailbox<PeerMsg>, Generation, Option<RequestId>),
    /// A node that keeps the request under this number.
    Node(Arc<Gateway>, Member, u64),
}

impl Reply {
    pub(crate) fn new(
        peer: Mailbox<PeerMsg>,
        generation: Generation,
        id: Option<RequestId>,
        credit: OwnedSemaphorePermit,
        call: Call,
    ) -> Self {
        Self {
            to: Some(To::Session(peer, generation, id)),
            credit: Some(credit),
            call,
            act: None,
        }
    }

    /// Has this written down when it is answered.
    pub(super) fn audited(mut self, act: Act) -> Self {
        self.act = Some(Box::new(act));
        self
    }

    /// Writes down what came of it, if it is to be: for the session itself, which answers without [`Reply::answer`].
    pub(super) fn write_down(&mut self, answer: &ServerMessage) {
        if let Some(act) = self.act.take() {
            act.log(Via::WebSocket, Outcome::from(answer));
        }
    }

    /// Of a request that another node keeps, and that is handled now.
    pub(crate) fn to_node(gateway: Arc<Gateway>, member: Member, request: u64) -> Self {
        Self {
            to: Some(To::Node(gateway, member, request)),
            credit: None,
            act: None,
            call: Call::current(),
        }
    }

    /// The request.
    pub(crate) fn call(&self) -> &Call {
        &self.call
    }

    /// Answers by the session's mailbox, behind the events that are there already.
    pub(crate) fn answer(mut self, message: impl Into<ServerMessage>) {
        self.send(message.into());
    }

    /// The number under which another node keeps the request, which is answered in another way.
    pub(super) fn into_number(mut self) -> Option<u64> {
        match self.to.take() {
            Some(To::Node(_, _, request)) => Some(request),
            Some(To::Session(..)) | None => None,
        }
    }

    /// Takes the answer's address: for the session itself, which writes without its mailbox.
    pub(super) fn into_address(self) -> (Generation, Option<RequestId>) {
        let (generation, id, _) = self.into_parts();
        (generation, id)
    }

    /// Takes it apart, for a request that is answered by another session.
    pub(super) fn into_parts(mut self) -> (Generation, Option<RequestId>, Option<OwnedSemaphorePermit>) {
        match self.to.take() {
            Some(To::Session(_, generation, id)) => (generation, id, self.credit.take()),
            Some(To::Node(..)) | None => (0, None, None),
        }
    }

    fn send(&mut self, message: ServerMessage) {
        let Some(to) = self.to.take() else { return };
        self.write_down(&message);
        self.call.answered(&message);
        let _within = self.call.span().enter();
        match to {
            To::Session(peer, generation, id) => {
                // A session that is gone needs no answer.
                peer.post(PeerMsg::Answer {
                    generation,
                    id,
                    message,
                });
            }
            To::Node(gateway, member, request) => gateway.reply(&member, request, message),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.send(
            Refusal::new(
                ErrorCode::Internal,
                "the request was lost by a failure of ours; try again",
            )
            .into(),
        );
    }
}
