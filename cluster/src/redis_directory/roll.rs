//! Which members there are: what Redis said last, less those known to be dead.

use std::collections::{BTreeMap, HashSet};

use caside_protocol::NodeId;
use caside_protocol::node::Member;
use serde::{Deserialize, Serialize};

/// So many proofs of death are remembered.
const MOST_BURIED: usize = 4096;

/// What others are told of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Who it is.
    pub member: Member,
    /// Where its links listen, `host:port`.
    pub cluster_address: String,
    /// Of the protocol between nodes.
    pub version: u32,
    /// It takes no new rooms.
    pub draining: bool,
    /// How many rooms it runs.
    pub rooms: u32,
    /// How busy it is, in thousandths.
    pub load: u32,
}

/// What an answer changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RollChange {
    /// The list or an entry of it is another.
    pub(super) changed: bool,
    /// Whose lease ran out or was broken.
    pub(super) expired: Vec<Member>,
}

#[derive(Debug, Default)]
pub(super) struct Roll {
    listed: BTreeMap<NodeId, MemberInfo>,
    buried: HashSet<Member>,
}

impl Roll {
    /// Takes note of who has a lease. While the directory settles, who has none may still get one, and stays listed.
    pub(super) fn update(&mut self, live: Vec<MemberInfo>, settling: bool) -> RollChange {
        let mut next: BTreeMap<NodeId, MemberInfo> =
            live.into_iter().map(|info| (info.member.node.clone(), info)).collect();
        next.retain(|_, info| !self.buried.contains(&info.member));
        let mut change = RollChange::default();
        for (node, info) in &self.listed {
            match next.get(node) {
                Some(now) if now.member == info.member => {}
                None if settling && !self.buried.contains(&info.member) => {
                    next.insert(node.clone(), info.clone());
                }
                _ => change.expired.push(info.member.clone()),
            }
        }
        change.changed = next != self.listed;
        self.listed = next;
        change
    }

    /// Takes note of a proof of death. `true` when the member was listed until now.
    pub(super) fn bury(&mut self, member: &Member) -> bool {
        if self.buried.len() >= MOST_BURIED {
            self.buried.clear();
        }
        self.buried.insert(member.clone());
        let listed = self.listed.get(&member.node).is_some_and(|info| info.member == *member);
        if listed {
            self.listed.remove(&member.node);
        }
        listed
    }

    pub(super) fn is_buried(&self, member: &Member) -> bool {
        self.buried.contains(member)
    }

    pub(super) fn list(&self) -> Vec<MemberInfo> {
        self.listed.values().cloned().collect()
    }

    /// How many members but `me` are listed.
    pub(super) fn others(&self, me: &Member) -> usize {
        self.listed.values().filter(|info| info.member != *me).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(node: &str, incarnation: u64) -> MemberInfo {
        MemberInfo {
            member: Member {
                node: NodeId::new(node).unwrap(),
                incarnation,
            },
            cluster_address: String::new(),
            version: 1,
            draining: false,
            rooms: 0,
            load: 0,
        }
    }

    #[test]
    fn who_is_missing_has_expired_but_not_while_the_directory_settles() {
        let mut roll = Roll::default();
        assert!(roll.update(vec![info("a", 1), info("b", 1)], false).changed);
        assert_eq!(roll.update(vec![info("a", 1)], true), RollChange::default());
        assert_eq!(roll.others(&info("a", 1).member), 1);
        let change = roll.update(vec![info("a", 1)], false);
        assert_eq!(change.expired, [info("b", 1).member]);
        assert_eq!(roll.list(), [info("a", 1)]);
    }

    #[test]
    fn a_new_run_of_a_node_ends_the_run_before_at_once() {
        let mut roll = Roll::default();
        roll.update(vec![info("a", 1)], false);
        let change = roll.update(vec![info("a", 2)], true);
        assert!(change.changed);
        assert_eq!(change.expired, [info("a", 1).member]);
    }

    #[test]
    fn who_was_buried_is_not_listed_again() {
        let mut roll = Roll::default();
        roll.update(vec![info("a", 1), info("b", 1)], false);
        assert!(roll.bury(&info("b", 1).member));
        assert!(!roll.bury(&info("b", 1).member));
        assert_eq!(
            roll.update(vec![info("a", 1), info("b", 1)], false),
            RollChange::default()
        );
    }
}
