//! Which member a room goes to: the highest of hashes of room and member (rendezvous hashing), so that each member decides
//! alike, and a member that comes or goes moves no other's rooms.

use std::hash::{DefaultHasher, Hash, Hasher};

use caside_protocol::RoomId;
use caside_protocol::node::Member;

use crate::Neighbour;

/// The load from which a member gets no more than a little of what is new.
const FULL: u32 = 950;

/// The member that a new room goes to: the idler one is, the more rooms it gets. Not one that drains.
pub fn place<'a>(room: &RoomId, members: impl IntoIterator<Item = &'a Neighbour>) -> Option<&'a Member> {
    let able = members.into_iter().filter(|one| !one.draining);
    let best = able.max_by(|a, b| share(room, a).total_cmp(&share(room, b)));
    best.map(|one| &one.member)
}

/// The members by how near they are to a room, whatever their load: the first one that is not its owner is its standby.
pub fn standby<'a>(room: &RoomId, members: impl IntoIterator<Item = &'a Neighbour>) -> Option<&'a Member> {
    let able = members.into_iter().filter(|one| !one.draining);
    able.map(|one| &one.member)
        .max_by_key(|member| (hash(room, member), *member))
}

/// Weighted rendezvous: `-weight / ln(hash in 0..1)`.
fn share(room: &RoomId, one: &Neighbour) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a hash is as good with 53 bits")]
    let uniform = (hash(room, &one.member) as f64 + 1.0) / (u64::MAX as f64 + 2.0);
    let weight = f64::from(1000 - one.load.min(FULL));
    -weight / uniform.ln()
}

/// The same in every process of one version: `DefaultHasher` without keys.
fn hash(room: &RoomId, member: &Member) -> u64 {
    let mut hasher = DefaultHasher::new();
    room.as_str().hash(&mut hasher);
    member.node.as_str().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use caside_protocol::NodeId;
    use std::collections::HashMap;

    fn members(loads: &[u32]) -> Vec<Neighbour> {
        let member = |n: usize| Member {
            node: NodeId::new(format!("n{n}")).unwrap(),
            incarnation: 1,
        };
        let one = |(n, load): (usize, &u32)| Neighbour {
            member: member(n),
            draining: false,
            load: *load,
        };
        loads.iter().enumerate().map(one).collect()
    }

    fn counts(loads: &[u32]) -> HashMap<String, usize> {
        let members = members(loads);
        let mut counts = HashMap::new();
        for n in 0..3000 {
            let room = RoomId::new(format!("room-{n}")).unwrap();
            let member = place(&room, &members).unwrap();
            *counts.entry(member.node.to_string()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn rooms_are_shared_by_idleness() {
        for count in counts(&[0, 0, 0]).values() {
            assert!((900..1100).contains(count), "{count}");
        }
        let counts = counts(&[0, 500, 1000]);
        assert!((1800..2100).contains(&counts["n0"]), "{counts:?}");
        assert!((850..1100).contains(&counts["n1"]) && counts["n2"] < 200, "{counts:?}");
    }

    #[test]
    fn one_that_goes_moves_only_its_own_rooms_and_one_that_drains_gets_none() {
        let mut all = members(&[0, 0, 0]);
        for n in 0..300 {
            let room = RoomId::new(format!("room-{n}")).unwrap();
            let before = place(&room, &all).unwrap().clone();
            all[1].draining = true;
            let after = place(&room, &all).unwrap().clone();
            assert!(after == before || before.node.as_str() == "n1");
            assert_ne!(after.node.as_str(), "n1");
            all[1].draining = false;
        }
    }

    #[test]
    fn the_standby_does_not_depend_on_load_or_order() {
        let (idle, mut busy) = (members(&[0, 0, 0]), members(&[900, 10, 500]));
        busy.reverse();
        for n in 0..300 {
            let room = RoomId::new(format!("room-{n}")).unwrap();
            assert_eq!(standby(&room, &idle), standby(&room, &busy));
        }
    }
}
