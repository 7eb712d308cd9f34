//! What operators ask: the actors of every node, and a room in full. Whoever answers asks the others, all at once.

use std::time::Duration;

use caside_protocol::error::Refusal;
use caside_protocol::inspect::{ActorFailure, ActorPage, ActorQuery, Actors, RoomInspection};
use caside_protocol::node::{Answer, Question};
use caside_protocol::{NodeId, RoomId};
use futures_util::future::{join, join_all};
use serde_json::Value;
use tokio::time::Instant;

use super::rooms::Elsewhere;
use super::{NodeHandle, Shared};
use crate::gateway::unexpected;
use crate::observed::Kind;
use crate::room::RoomMsg;

/// How long actors are waited for: one that is not stuck answers in a fraction of it.
const ACTORS_LIMIT: Duration = Duration::from_millis(750);
/// How long a room's SFU and its media workers are waited for.
const MEDIA_LIMIT: Duration = Duration::from_millis(1000);
/// How long other nodes are waited for.
const NODES_LIMIT: Duration = Duration::from_millis(2500);
/// Failures in one answer.
const MOST_FAILURES: usize = 64;

impl NodeHandle {
    /// The actors that run on all nodes, or on one.
    pub async fn actors(&self, query: &ActorQuery, node: Option<&NodeId>) -> Actors {
        self.shared.actors(query, node).await
    }

    /// A room in full, from whichever node has it; `None` when it does not run.
    ///
    /// # Errors
    /// `overloaded`, `moving`, `dependency_unavailable`.
    pub async fn examine_room(&self, room: &RoomId) -> Result<Option<Box<RoomInspection>>, Refusal> {
        self.shared.examine(room).await
    }
}

impl Shared {
    /// The actors that run here.
    pub(crate) async fn actors_here(&self, query: &ActorQuery) -> ActorPage {
        let (node, until) = (&self.args.member.node, Instant::now() + ACTORS_LIMIT);
        self.args.observed.page(node, query, until).await
    }

    /// A room in full that runs here.
    pub(crate) async fn examine_here(&self, room: &RoomId) -> Result<Option<Box<RoomInspection>>, Refusal> {
        let Some(mut found) = self.ask_here(room, RoomMsg::Examine).await? else {
            return Ok(None);
        };
        let (observed, until) = (&self.args.observed, Instant::now() + MEDIA_LIMIT);
        let media = observed.state_for(room, Kind::Sfu, until);
        let (media, recorder) = join(media, observed.state_for(room, Kind::Recorder, until)).await;
        found.recorder = recorder.as_deref().cloned();
        let members = media.as_deref().map(|media| &media["members"]);
        for member in &mut found.members {
            let of_member = members.and_then(|members| members.get(member.participant_id.to_string()));
            member.media = of_member.filter(|media| !media.is_null()).cloned();
        }
        let is_cut = media
            .as_deref()
            .is_none_or(|media| media["truncated"] == Value::Bool(true));
        found.truncated = found.sfu == "up" && is_cut;
        Ok(Some(found))
    }

    async fn actors(&self, query: &ActorQuery, node: Option<&NodeId>) -> Actors {
        let me = &self.args.member.node;
        let is_asked = |other: &NodeId| node.is_none_or(|node| node == other);
        let mut others = self.gateway.others();
        others.retain(|other| is_asked(&other.member.node));
        let asking = others.iter().map(|other| {
            let question = Question::Actors(Box::new(query.clone()));
            self.gateway.ask(&other.member, question, NODES_LIMIT)
        });
        let here = async {
            match is_asked(me) {
                true => Some(self.actors_here(query).await),
                false => None,
            }
        };
        let (here, answers) = join(here, join_all(asking)).await;
        let mut pages: Vec<ActorPage> = here.into_iter().collect();
        let mut silent = Vec::new();
        for (other, answer) in others.into_iter().zip(answers) {
            match answer {
                Ok(Answer::Actors(page)) => pages.push(*page),
                Ok(_) | Err(_) => silent.push(other.member.node),
            }
        }
        if node.is_some_and(|node| node != me) && pages.is_empty() && silent.is_empty() {
            silent.extend(node.cloned());
        }
        merged(pages, silent, query.limit)
    }

    async fn examine(&self, room: &RoomId) -> Result<Option<Box<RoomInspection>>, Refusal> {
        match self.elsewhere(room, Question::Examine(room.clone())).await? {
            Elsewhere::Here => self.examine_here(room).await,
            Elsewhere::Nowhere => Ok(None),
            Elsewhere::Answered(Answer::Examined(result)) => result,
            Elsewhere::Answered(other) => Err(unexpected(&other)),
        }
    }
}

/// One answer of what the nodes say.
fn merged(pages: Vec<ActorPage>, silent: Vec<NodeId>, limit: u32) -> Actors {
    let total = pages.iter().map(|page| page.total).fold(0, u32::saturating_add);
    let mut failures: Vec<ActorFailure> = Vec::new();
    let mut items = Vec::new();
    for page in pages {
        failures.extend(page.failures);
        items.extend(page.items);
    }
    let rank = |kind: &str| Kind::ALL.iter().position(|known| known.as_str() == kind);
    let depth = |depth: u32| std::cmp::Reverse(depth);
    items.sort_by_cached_key(|actor| {
        let waiting = actor.mailbox.as_ref().map_or(0, |mailbox| mailbox.depth);
        (rank(&actor.kind), depth(waiting), actor.node.clone(), actor.started_at)
    });
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.error.at));
    failures.truncate(MOST_FAILURES);
    Actors {
        truncated: u32::try_from(items.len()).unwrap_or(u32::MAX) < total,
        items,
        total,
        failures,
        silent,
    }
}
