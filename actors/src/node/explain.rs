//! What this node, or the cluster, knows of a call that is to be explained.

use std::str::FromStr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use caside_protocol::claims::named_in;
use caside_protocol::error::Refusal;
use caside_protocol::explain::{ExplainedCall, KnownRefusal, Stage};
use caside_protocol::node::{Answer, Question};
use caside_protocol::{CallId, RoomId, UserId};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Shared;
use crate::room::RoomMsg;

/// How long each other node is waited for: who does not answer in time has nothing to say.
const ASKED_FOR: Duration = Duration::from_secs(2);
/// How often it is looked at whether the directory answers.
const DIRECTORY_LOOKED_AT: Duration = Duration::from_millis(500);
/// Refusals in one answer.
const MAX_REFUSALS: usize = 256;

/// A call as its room tells it, if one runs, and who was not let in.
pub type Known = (Option<ExplainedCall>, Vec<KnownRefusal>);

impl Shared {
    /// What is known here of a call, by its id or its room's.
    pub(crate) async fn explain_here(&self, id: &str) -> Known {
        let by_call = Uuid::from_str(id)
            .ok()
            .and_then(|call| self.rooms.of_call(CallId(call)));
        let room = by_call.or_else(|| RoomId::new(id).ok());
        let mut refused = self.refusals.about(id);
        let Some(room) = room else { return (None, refused) };
        if room.as_str() != id {
            refused = self.refusals.about(room.as_str());
        }
        // A room that has too much to do to answer is one that others can be told nothing of.
        let explained = self.ask_here(&room, RoomMsg::Explain).await.ok().flatten();
        (explained.map(|explained| *explained), refused)
    }

    /// What is known anywhere.
    pub(super) async fn explain(self: &Arc<Self>, id: &str) -> Known {
        let mut asked = JoinSet::new();
        for other in self.gateway.others() {
            let (shared, id) = (self.clone(), id.to_owned());
            asked.spawn(async move {
                let question = Question::Explain { id };
                shared.gateway.ask(&other.member, question, ASKED_FOR).await
            });
        }
        let (mut explained, mut refused) = self.explain_here(id).await;
        while let Some(answer) = asked.join_next().await {
            if let Ok(Ok(Answer::Explained { call, refused: more })) = answer {
                // Of two that think the room theirs, whoever has people in it.
                let better = call.filter(|call| {
                    explained.as_ref().is_none_or(|known| known.status != "active") || call.status == "active"
                });
                explained = better.map(|call| *call).or(explained);
                refused.extend(more);
            }
        }
        refused.sort_by_key(|known| known.at);
        let surplus = refused.len().saturating_sub(MAX_REFUSALS);
        refused.drain(..surplus);
        (explained, refused)
    }

    /// Remembers that somebody was not let in.
    pub(crate) fn turned_away(&self, stage: Stage, room: Option<&RoomId>, user: Option<&UserId>, refusal: &Refusal) {
        let away = self.args.directory.is_away();
        self.refusals.note(stage, room, user, refusal, away);
    }

    /// The same of a token that does not hold, by whom and what it names: of one that is not of ours that is anybody's word.
    pub(crate) fn turned_away_with(&self, token: Option<&str>, refusal: &Refusal) {
        let (user, room) = token.map_or((None, None), named_in);
        self.turned_away(Stage::Auth, room.as_ref(), user.as_ref(), refusal);
    }

    /// Tells every room when the directory goes away, and when it is back, as long as the node lives.
    pub(super) fn watch_directory(self: &Arc<Self>) {
        tokio::spawn(watch(Arc::downgrade(self)));
    }
}

async fn watch(shared: Weak<Shared>) {
    let mut was_away = false;
    loop {
        tokio::time::sleep(DIRECTORY_LOOKED_AT).await;
        let Some(shared) = shared.upgrade() else { return };
        let away = shared.args.directory.is_away();
        if away == was_away {
            continue;
        }
        was_away = away;
        for listed in shared.rooms.read().values() {
            listed.handle.post(RoomMsg::DirectoryAway(away));
        }
    }
}
