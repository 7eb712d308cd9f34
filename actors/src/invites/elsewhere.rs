//! Calls and invitations between users on different nodes. Each waits in the book of the node where it was made; those that
//! waited over a restart are in the book of every node, one of which speaks for it.

use std::sync::Arc;
use std::time::Duration;

use caside_cluster::placement;
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::{Address, Answer, Invited, NodeMessage, Question};
use caside_protocol::server::ServerMessage;
use caside_protocol::{InviteId, RoomId, SessionId, UserId};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::book::Invite;
use super::{Inviter, InvitesMsg, Running};
use crate::mailbox::Mailbox;
use crate::peer::{PeerMsg, PeerWay, Reply};

/// How long the other nodes are waited for.
const LIMIT: Duration = Duration::from_secs(2);

impl Running {
    /// Whether other nodes may have what this one has not.
    pub(super) fn is_in_company(&self) -> bool {
        !self.shared.gateway.others().is_empty()
    }

    /// Rings a user who has no session here if they have one elsewhere.
    pub(super) fn call_elsewhere(&self, from: Inviter, session: SessionId, to: UserId, reply: Reply) {
        let (shared, myself) = (self.shared.clone(), self.myself.clone());
        tokio::spawn(async move {
            let others = shared.gateway.others();
            let asked = others
                .iter()
                .map(|other| shared.gateway.ask(&other.member, Question::IsOnline(to.clone()), LIMIT));
            let online = join_all(asked)
                .await
                .into_iter()
                .any(|answer| matches!(answer, Ok(Answer::Done(Ok(true)))));
            myself.post(InvitesMsg::Reached {
                from,
                session,
                to,
                online,
                reply,
            });
        });
    }

    /// Tells every session of a user, on any node.
    pub(super) fn tell_user(&self, user: &UserId, message: &Arc<ServerMessage>) {
        for peer in self.shared.sessions.of_user(user) {
            peer.post(PeerMsg::Notify(message.clone()));
        }
        self.shared.gateway.broadcast(&NodeMessage::Notify {
            user: user.clone(),
            message: message.clone(),
        });
    }

    /// Takes an invitation that is in another node's book.
    pub(super) fn take_elsewhere(
        &self,
        invite: InviteId,
        user: UserId,
        session: SessionId,
        peer: Mailbox<PeerMsg>,
        reply: Reply,
        refusal: Refusal,
    ) {
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let mut result = Err(refusal);
            for other in shared.gateway.others() {
                let question = Question::TakeInvite {
                    invite,
                    user: user.clone(),
                    session,
                };
                let asked = shared.gateway.ask(&other.member, question, LIMIT).await;
                if let Ok(Answer::Invited(Some(invited))) = asked {
                    result = Ok(invited);
                    break;
                }
            }
            peer.post(PeerMsg::Accepting { reply, invite, result });
        });
    }

    /// Turns down an invitation that is in another node's book.
    pub(super) fn decline_elsewhere(
        &self,
        invite: InviteId,
        user: UserId,
        session: SessionId,
        reply: Reply,
        refusal: Refusal,
    ) {
        let shared = self.shared.clone();
        tokio::spawn(async move {
            for other in shared.gateway.others() {
                let question = Question::DeclineInvite {
                    invite,
                    user: user.clone(),
                    session,
                };
                let asked = shared.gateway.ask(&other.member, question, LIMIT).await;
                if matches!(asked, Ok(Answer::Done(Ok(true)))) {
                    return reply.answer(ServerMessage::ok());
                }
            }
            reply.answer(refusal);
        });
    }

    /// Another node's session takes one of this book.
    pub(super) fn take_for(
        &mut self,
        invite: InviteId,
        user: &UserId,
        session: SessionId,
        answer: oneshot::Sender<Option<Invited>>,
    ) {
        let invited = self.book.take(invite, user, session).ok();
        let invited = invited.map(|room| self.invited(room));
        if answer.send(invited).is_err() {
            tracing::debug!("nobody waits for an invitation any more");
        }
    }

    /// Another node's session turns one of this book down.
    pub(super) fn decline_for(
        &mut self,
        invite: InviteId,
        user: &UserId,
        session: SessionId,
        answer: oneshot::Sender<bool>,
    ) {
        let declined = self.book.decline(invite, user, session);
        if answer.send(declined.is_ok()).is_err() {
            tracing::debug!("nobody waits for an answer to an invitation any more");
        }
        self.tell(declined.into_iter().collect());
    }

    /// Where an invitation leads, and whose room that is to be if it is made for a call.
    pub(super) fn invited(&self, room: RoomId) -> Invited {
        let caller = self.shared.plans.find(&room);
        Invited { room, caller }
    }

    /// Whether this node speaks for an invitation: it was made here, or its maker's node is not there any more and this one is
    /// the nearest.
    pub(super) fn speaks_for(&self, invite: &Invite<PeerWay>) -> bool {
        if invite.answer_to.is_some() || !self.is_in_company() {
            return true;
        }
        let Ok(place) = RoomId::new(invite.id.to_string()) else {
            return true;
        };
        let mut all = self.shared.gateway.others();
        all.push(self.shared.as_neighbour());
        placement::standby(&place, &all).is_none_or(|member| *member == self.shared.args.member)
    }

    /// Has the others deliver to a session of this node what waits there for its user.
    pub(super) fn greet_elsewhere(&self, user: &UserId, session: SessionId) {
        self.shared.gateway.broadcast(&NodeMessage::Greet {
            user: user.clone(),
            to: Address {
                member: self.shared.args.member.clone(),
                session,
            },
        });
    }

    pub(super) fn reached(&mut self, from: Inviter, session: SessionId, to: UserId, online: bool, reply: Reply) {
        if online {
            self.ring(from, session, to, reply);
        } else {
            reply.answer(Refusal::new(ErrorCode::UserOffline, "they are not connected"));
        }
    }
}
