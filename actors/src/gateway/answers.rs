//! What other nodes ask of this one.

use std::sync::Arc;

use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::{Answer, Member, NodeMessage, Question};
use tracing::Instrument;

use crate::invites::InvitesMsg;
use crate::node::Shared;
use crate::peer::PeerMsg;
use crate::room::{RoomsMsg, Snapshot};

/// Rooms in one answer: less than a link carries in one message.
const MOST_ROOMS: usize = 4_000;

/// Answers a question when it can be answered.
pub(super) fn answer(shared: &Arc<Shared>, from: &Member, id: u64, question: Question) {
    let (shared, from) = (shared.clone(), from.clone());
    let answering = async move {
        let answer = find(&shared, question).await;
        let message = NodeMessage::Answer {
            id,
            answer: Box::new(answer),
        };
        if let Err(error) = shared.gateway.links.send(&from, &message) {
            tracing::debug!(member = %from, %error, "an answer did not go");
        }
    };
    tokio::spawn(answering.in_current_span());
}

async fn find(shared: &Arc<Shared>, question: Question) -> Answer {
    match question {
        Question::View(room) => Answer::Room(shared.view_here(&room).await.map(|view| view.map(Box::new))),
        Question::Act { room, by, act } => Answer::Report(shared.act_here(&room, act, &by).await),
        Question::Update { room, change } => Answer::Done(shared.update_here(&room, *change).await),
        Question::Delete(room) => Answer::Done(Ok(shared.delete_here(&room).await)),
        Question::Admits { room, claims } => Answer::Admits(shared.admits_here(&room, &claims)),
        Question::Rooms => Answer::Rooms(shared.running_here(MOST_ROOMS)),
        Question::Drain => {
            shared.args.stop.notify_one();
            Answer::Done(Ok(true))
        }
        Question::Runs(room) => Answer::Runs(shared.rooms.find(&room).map(|listed| listed.handle.epoch())),
        Question::RoomOfCall(call) => Answer::RoomOfCall(shared.rooms.of_call(call)),
        Question::Depart { resume } => {
            let (answer, answered) = tokio::sync::oneshot::channel();
            let peer = shared.sessions.redeem(&resume.into());
            let departing = if peer.is_some_and(|peer| peer.post(PeerMsg::Depart(answer))) {
                // One that does not go drops its end.
                tokio::time::timeout(shared.args.limits.call_timeout, answered)
                    .await
                    .ok()
            } else {
                None
            };
            match departing.and_then(Result::ok) {
                Some(departing) => Answer::Session(Some(Box::new(departing))),
                // Sessions end with their node; the participants they are of are waited for by the rooms' nodes.
                None if shared.is_draining() => Answer::Unsupported,
                None => Answer::Session(None),
            }
        }
        Question::Adopt { room, epoch, state } => {
            let Some(snapshot) = Snapshot::decode(&room, &state) else {
                return Answer::Done(Ok(false));
            };
            let (done, opened) = tokio::sync::oneshot::channel();
            shared.rooms_supervisor().post(RoomsMsg::Adopt {
                room,
                epoch,
                snapshot,
                done,
            });
            let opened = tokio::time::timeout(shared.args.limits.call_timeout, opened).await;
            Answer::Done(Ok(matches!(opened, Ok(Ok(true)))))
        }
        Question::IsOnline(user) => Answer::Done(Ok(!shared.sessions.of_user(&user).is_empty())),
        Question::TakeInvite { invite, user, session } => {
            let (answer, answered) = tokio::sync::oneshot::channel();
            shared.invites().post(InvitesMsg::TakeFor {
                invite,
                user,
                session,
                answer,
            });
            Answer::Invited(answered.await.ok().flatten())
        }
        Question::DeclineInvite { invite, user, session } => {
            let (answer, answered) = tokio::sync::oneshot::channel();
            shared.invites().post(InvitesMsg::DeclineFor {
                invite,
                user,
                session,
                answer,
            });
            Answer::Done(Ok(answered.await.unwrap_or(false)))
        }
        Question::FindOrphan { resume } => Answer::Orphan(shared.gateway.take_orphan(resume.into()).map(Box::new)),
        Question::Explain { id } => {
            let (call, refused) = shared.explain_here(&id).await;
            Answer::Explained {
                call: call.map(Box::new),
                refused,
            }
        }
        Question::Actors(query) => Answer::Actors(Box::new(shared.actors_here(&query).await)),
        Question::Examine(room) => Answer::Examined(shared.examine_here(&room).await),
        _ => Answer::Unsupported,
    }
}

/// An answer to another question than was asked: our mistake, or another version's.
pub(crate) fn unexpected(answer: &Answer) -> Refusal {
    tracing::error!(?answer, "another node answered another question");
    Refusal::new(ErrorCode::Internal, "another node answered another question")
}
