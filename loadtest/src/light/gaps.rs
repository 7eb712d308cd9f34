//! How long each viewer had nothing of each stream, over all the connections it had one after the other.

use std::collections::HashMap;

/// Who receives, and which stream of which bot.
type Pair = (u32, u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    last_ns: u64,
    longest_ns: u64,
}

/// The gaps of everybody since they were last [marked](Gaps::mark).
#[derive(Debug, Default)]
pub(crate) struct Gaps(HashMap<Pair, Seen>);

impl Gaps {
    /// Notes a packet by when it came, in nanoseconds since 1970.
    pub(super) fn note(&mut self, viewer: u32, stream: u32, at_ns: u64) {
        let seen = self.0.entry((viewer, stream)).or_insert(Seen {
            last_ns: at_ns,
            longest_ns: 0,
        });
        seen.longest_ns = seen.longest_ns.max(at_ns.saturating_sub(seen.last_ns));
        seen.last_ns = seen.last_ns.max(at_ns);
    }

    /// Forgets the gaps so far; who received what stays known.
    pub(super) fn mark(&mut self) {
        self.0.values_mut().for_each(|seen| seen.longest_ns = 0);
    }

    /// The longest gap of each pair until `now_ns`, one that still lasts included, in milliseconds.
    pub(super) fn longest_ms(&self, now_ns: u64) -> Vec<f64> {
        let longest = |seen: &Seen| seen.longest_ns.max(now_ns.saturating_sub(seen.last_ns));
        self.0.values().map(|seen| longest(seen) as f64 / 1e6).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lasts_from_one_packet_to_the_next_whichever_connection_brings_them() {
        let mut gaps = Gaps::default();
        [10, 20, 70, 80].iter().for_each(|ms| gaps.note(1, 2, ms * 1_000_000));
        assert_eq!(gaps.longest_ms(90_000_000), [50.0]);
        gaps.mark();
        assert_eq!(gaps.longest_ms(90_000_000), [10.0]);
        // The old connection is late.
        gaps.note(1, 2, 75_000_000);
        assert_eq!(gaps.longest_ms(180_000_000), [100.0]);
    }
}
