//! The actors of one node as an answer to an operator.

use std::collections::HashMap;
use std::sync::Arc;

use caside_protocol::inspect::{ActorPage, ActorQuery, ActorView};
use caside_protocol::{NodeId, RoomId, Timestamp};
use futures_util::future::join_all;
use ractor::ActorId;
use serde_json::Value;
use tokio::time::Instant;

use super::{Entry, Kind, Label, Observed, locked, room_number};

/// Most bytes of one node's answer: less than a link carries in one message.
const MAX_BYTES: usize = 700 * 1024;
/// What an actor takes in an answer beside its state, roughly.
const VIEW_BYTES: usize = 700;
/// Questions that are under way at a time.
const ASKED_AT_ONCE: usize = 256;

impl Observed {
    /// The actors of this node that are asked for, with their states as far as they answer until then.
    pub(crate) async fn page(&self, node: &NodeId, query: &ActorQuery, until: Instant) -> ActorPage {
        let mut children: HashMap<u64, u32> = HashMap::new();
        let number = query.room.as_ref().map(room_number);
        let mut found = self.collect(|entry| {
            if let Some(parent) = entry.cell.try_get_supervisor() {
                *children.entry(parent.get_id().pid()).or_default() += 1;
            }
            entry.is_wanted(query, number)
        });
        let total = u32::try_from(found.len()).unwrap_or(u32::MAX);
        found.sort_by_cached_key(|entry| {
            let depth = entry.vitals.vitals().depth();
            (entry.kind, std::cmp::Reverse(depth), entry.cell.get_id().pid())
        });
        found.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
        let mut items = Vec::new();
        let mut bytes = 0;
        for some in found.chunks(ASKED_AT_ONCE) {
            let states = join_all(some.iter().map(|entry| self.state(entry, false, until))).await;
            for (entry, state) in some.iter().zip(states) {
                let size = state.as_ref().map_or(0, |state| state.to_string().len());
                bytes += VIEW_BYTES + size;
                if bytes > MAX_BYTES {
                    break;
                }
                items.push(self.view(node, entry, &children, state));
            }
        }
        let failures = locked(&self.0.fates).failures(node, |kind, label| wants(query, kind, label));
        ActorPage { items, total, failures }
    }

    /// The state of the room's actor of this kind, with all that is in it; `None` when there is none or it does not answer.
    pub(crate) async fn state_for(&self, room: &RoomId, kind: Kind, until: Instant) -> Option<Arc<Value>> {
        let mut found = self.collect(|entry| entry.kind == kind && entry.label.room() == Some(room));
        // One that was replaced may still be about to end.
        found.sort_by_key(|entry| entry.cell.get_id().pid());
        self.state(found.last()?, true, until).await
    }

    async fn state(&self, entry: &Entry, full: bool, until: Instant) -> Option<Arc<Value>> {
        self.0.asking.ask(&entry.cell, entry.ask?, full, until).await
    }

    fn view(&self, node: &NodeId, entry: &Entry, children: &HashMap<u64, u32>, state: Option<Arc<Value>>) -> ActorView {
        let fate = locked(&self.0.fates).of(entry.kind, &entry.label);
        let (id, parent) = (entry.cell.get_id(), entry.cell.try_get_supervisor());
        ActorView {
            id: name(id, node),
            node: node.clone(),
            kind: entry.kind.as_str().to_owned(),
            name: entry.label.name(),
            room: entry.label.room().cloned(),
            parent: parent.map(|parent| name(parent.get_id(), node)),
            children: children.get(&id.pid()).copied().unwrap_or_default(),
            started_at: started_at(entry.started_ms),
            mailbox: entry.vitals.vitals().view(),
            restarts: fate.as_ref().map_or(0, |fate| fate.failures),
            last_error: fate.map(|fate| fate.error),
            answers: entry.ask.is_none() || state.is_some(),
            state: state.map(Arc::unwrap_or_clone),
        }
    }
}

impl Entry {
    fn is_wanted(&self, query: &ActorQuery, room: Option<u64>) -> bool {
        let in_room = || match (&query.room, room) {
            (Some(room), Some(number)) => self.label.room() == Some(room) || self.vitals.vitals().is_in(number),
            _ => true,
        };
        query.kind.as_ref().is_none_or(|kind| kind == self.kind.as_str()) && in_room()
    }
}

fn wants(query: &ActorQuery, kind: Kind, label: &Label) -> bool {
    query.kind.as_ref().is_none_or(|wanted| wanted == kind.as_str())
        && query.room.as_ref().is_none_or(|room| label.room() == Some(room))
}

fn started_at(ms: i64) -> Timestamp {
    let nanos = i128::from(ms) * 1_000_000;
    Timestamp::from_unix_timestamp_nanos(nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Names an actor in the cluster.
fn name(actor: ActorId, node: &NodeId) -> String {
    format!("{}@{node}", actor.pid())
}
