//! What the node itself counts as still there, from its metrics.

use std::fmt;

use anyhow::{Context, Result};

use crate::http;
use crate::node::Node;

/// What must be zero when nobody is there.
const WORDS: [&str; 7] = [
    "caside_websockets",
    "caside_sessions",
    "caside_participants",
    "caside_rooms",
    "caside_actors{actor=\"peer\"}",
    "caside_actors{actor=\"room\"}",
    "caside_journal_entries",
];

/// A reading of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gauges([u64; WORDS.len()]);

impl Gauges {
    /// Asks the node.
    pub(crate) async fn read(node: &Node) -> Result<Self> {
        Self::parse(&http::text(&node.address, "GET", "/metrics", Some(&node.token), None).await?)
    }

    fn parse(page: &str) -> Result<Self> {
        let mut values = [0; WORDS.len()];
        for (value, word) in values.iter_mut().zip(WORDS) {
            let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
            let (_, count) = lines
                .find(|(name, _)| *name == word)
                .with_context(|| format!("the metrics have no {word}"))?;
            *value = count.parse().with_context(|| format!("{word} is {count}"))?;
        }
        Ok(Self(values))
    }

    /// Whether nothing is left.
    pub(crate) fn are_zero(&self) -> bool {
        self.0.iter().all(|&value| value == 0)
    }
}

impl fmt::Display for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [
            sockets,
            sessions,
            participants,
            rooms,
            peer_actors,
            room_actors,
            entries,
        ] = self.0;
        write!(
            f,
            "sockets {sockets}, sessions {sessions}, participants {participants}, rooms {rooms}, actors {} \
             ({peer_actors} peer, {room_actors} room), journal entries {entries}",
            peer_actors + room_actors
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_by_name_and_one_without_a_name_is_refused() {
        let page: String = WORDS
            .iter()
            .enumerate()
            .map(|(n, word)| format!("{word} {n}\n"))
            .collect();
        let gauges = Gauges::parse(&format!("# HELP caside_rooms rooms that run\n{page}")).unwrap();
        assert_eq!(
            gauges.to_string(),
            "sockets 0, sessions 1, participants 2, rooms 3, actors 9 (4 peer, 5 room), journal entries 6"
        );
        assert!(!gauges.are_zero());
        assert!(Gauges::parse(&page.replace(WORDS[3], "caside_halls")).is_err());
    }
}
