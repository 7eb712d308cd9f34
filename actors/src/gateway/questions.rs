//! Questions to other nodes and their answers.

use std::time::Duration;

use caside_cluster::Owner;
use caside_protocol::RoomId;
use caside_protocol::node::{Answer, Member, NodeMessage, Question};
use tokio::sync::oneshot;
use tracing::Instrument;

use super::{Gateway, locked};
use crate::trace;

/// How long each node is waited for when all are asked for a room.
const WHO_RUNS_LIMIT: Duration = Duration::from_millis(500);

/// The other node cannot be asked now, or did not answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other node did not answer")]
pub(crate) struct NoAnswer;

impl Gateway {
    /// Asks another node.
    ///
    /// # Errors
    /// [`NoAnswer`] within `limit`.
    pub(crate) async fn ask(&self, member: &Member, question: Question, limit: Duration) -> Result<Answer, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let id = self.next();
        let span = trace::step!(
            "gateway.ask",
            otel.kind = "client",
            caside.message.name = question.name(),
            caside.peer.node = %member,
            error.type = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        );
        locked(&self.questions).insert(id, (member.clone(), answer));
        let message = NodeMessage::Question {
            id,
            question: Box::new(question),
            trace: span.in_scope(trace::travelling),
        };
        let result = match self.links.send(member, &message) {
            Ok(()) => {
                let answered = tokio::time::timeout(limit, answered).instrument(span.clone());
                answered.await.ok().and_then(Result::ok)
            }
            Err(_) => None,
        };
        locked(&self.questions).remove(&id);
        if result.is_none() {
            span.record("error.type", "no_answer");
            span.record("otel.status_code", "ERROR");
        }
        result.ok_or(NoAnswer)
    }

    /// Which other node runs a room, by their own word: for when the directory cannot be asked.
    pub(crate) async fn who_runs(&self, room: &RoomId) -> Option<Owner> {
        let mut found: Option<Owner> = None;
        for other in self.others() {
            let asked = self
                .ask(&other.member, Question::Runs(room.clone()), WHO_RUNS_LIMIT)
                .await;
            if let Ok(Answer::Runs(Some(epoch))) = asked
                && found.as_ref().is_none_or(|known| known.epoch < epoch)
            {
                found = Some(Owner {
                    member: other.member,
                    epoch,
                });
            }
        }
        found
    }

    /// An answer came.
    pub(super) fn answered(&self, from: &Member, id: u64, answer: Answer) {
        let asked = {
            let mut questions = locked(&self.questions);
            match questions.get(&id) {
                Some((member, _)) if member == from => questions.remove(&id),
                _ => None,
            }
        };
        if let Some((_, waiting)) = asked
            && waiting.send(answer).is_err()
        {
            tracing::debug!(member = %from, "nobody waits for an answer any more");
        }
    }

    /// Questions that will not be answered.
    pub(super) fn unanswered(&self, member: &Member) {
        locked(&self.questions).retain(|_, (asked, _)| asked != member);
    }
}
