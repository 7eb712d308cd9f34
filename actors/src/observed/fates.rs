//! What went wrong with actors, by their task: outlives the actor, for whoever comes after it has the same.

use std::collections::HashMap;

use caside_protocol::inspect::{ActorError, ActorFailure};
use caside_protocol::{NodeId, Timestamp};

use super::{Kind, Label};

/// Tasks that are remembered; of more, the one that is longest ago is forgotten.
const MOST: usize = 512;
/// Failures that are shown.
const SHOWN: usize = 64;
/// Longest error that is kept, in characters.
const LONGEST: usize = 400;

/// What is remembered of one task.
#[derive(Debug, Clone)]
pub(super) struct Fate {
    pub(super) failures: u32,
    pub(super) error: ActorError,
}

#[derive(Debug, Default)]
pub(super) struct Fates(HashMap<(Kind, Label), Fate>);

impl Fates {
    pub(super) fn failed(&mut self, kind: Kind, label: Label, error: String) {
        self.note(kind, label, error).failures += 1;
    }

    pub(super) fn went_wrong(&mut self, kind: Kind, label: Label, error: String) {
        self.note(kind, label, error);
    }

    fn note(&mut self, kind: Kind, label: Label, error: String) -> &mut Fate {
        let error = ActorError {
            message: error.chars().take(LONGEST).collect(),
            at: Timestamp::now_utc(),
        };
        let key = (kind, label);
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, fate)| fate.error.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        let fate = self.0.entry(key).or_insert_with(|| Fate {
            failures: 0,
            error: error.clone(),
        });
        fate.error = error;
        fate
    }

    pub(super) fn of(&self, kind: Kind, label: &Label) -> Option<Fate> {
        // The key owns its label; looking is rare, so that a clone does.
        self.0.get(&(kind, label.clone())).cloned()
    }

    /// Those that failed, the last first.
    pub(super) fn failures(&self, node: &NodeId, wanted: impl Fn(Kind, &Label) -> bool) -> Vec<ActorFailure> {
        let failed = self.0.iter().filter(|(_, fate)| fate.failures > 0);
        let mut failures: Vec<ActorFailure> = failed
            .filter(|((kind, label), _)| wanted(*kind, label))
            .map(|((kind, label), fate)| ActorFailure {
                node: node.clone(),
                kind: kind.as_str().to_owned(),
                name: label.name(),
                failures: fate.failures,
                error: fate.error.clone(),
            })
            .collect();
        failures.sort_by_key(|failure| std::cmp::Reverse(failure.error.at));
        failures.truncate(SHOWN);
        failures
    }
}

#[cfg(test)]
mod tests {
    use caside_protocol::{RoomId, SessionId};

    use super::*;

    fn node() -> NodeId {
        NodeId::new("n1").unwrap()
    }

    #[test]
    fn failures_are_counted_by_task_and_the_last_error_is_kept() {
        let mut fates = Fates::default();
        let room = |id: &str| Label::Room(RoomId::new(id).unwrap());
        fates.failed(Kind::Room, room("a"), "first".to_owned());
        fates.went_wrong(Kind::Room, room("b"), "a slip".to_owned());
        fates.failed(Kind::Room, room("a"), "é".repeat(LONGEST + 1));
        let fate = fates.of(Kind::Room, &room("a")).unwrap();
        assert_eq!((fate.failures, fate.error.message.chars().count()), (2, LONGEST));
        assert_eq!(fates.of(Kind::Room, &room("b")).unwrap().failures, 0);
        assert!(fates.of(Kind::Sfu, &room("a")).is_none());
        let shown = fates.failures(&node(), |_, _| true);
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].name.as_deref(), Some("a"));
    }

    #[test]
    fn the_longest_ago_is_forgotten_at_the_bound() {
        let mut fates = Fates::default();
        let first = SessionId::new();
        fates.failed(Kind::Peer, Label::Session(first), "x".to_owned());
        for _ in 0..MOST {
            fates.failed(Kind::Peer, Label::Session(SessionId::new()), "x".to_owned());
        }
        assert_eq!(fates.0.len(), MOST);
        assert!(fates.of(Kind::Peer, &Label::Session(first)).is_none());
        assert_eq!(fates.failures(&node(), |_, _| true).len(), SHOWN);
    }
}
