//! Packets of a run that were not sent, so that those after them move up.

/// How many packets back a number is known: as many as the producer's ring holds.
const WINDOW: u64 = 512;

const WORDS: usize = WINDOW as usize / 64;

/// Which of the last packets of a run were left out, and which were filled in.
///
/// A packet is left out when it comes in order: it has no number, and what follows moves up. One that comes after its successor
/// has a number already; if it is not to be sent, its number is filled in with padding.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Skips {
    /// By the lower bits of the packet's number.
    skipped: [u64; WORDS],
    filled: [u64; WORDS],
    /// One above the highest packet that was looked at.
    head: u64,
    /// Packets left out since the run began.
    total: u64,
}

impl Skips {
    /// Begins with the run's first packet.
    pub(super) fn new(first: u64) -> Self {
        Self {
            head: first,
            ..Self::default()
        }
    }

    /// One above the highest packet that was looked at.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Reads what the next packet needs; see [`crate::engine::ahead`].
    pub(super) fn preload(&self) -> u64 {
        let (word, _) = place(self.head);
        self.skipped[word] ^ self.filled[word] ^ self.total
    }

    /// A packet is looked at.
    pub(super) fn advance(&mut self, extended: u64) {
        if extended < self.head {
            return;
        }
        if extended == self.head {
            self.clear(extended);
        } else if extended - self.head >= WINDOW {
            (self.skipped, self.filled) = ([0; WORDS], [0; WORDS]);
        } else {
            (self.head..=extended).for_each(|extended| self.clear(extended));
        }
        self.head = extended + 1;
    }

    /// The latest packet is left out.
    pub(super) fn skip(&mut self, extended: u64) {
        self.advance(extended);
        set(&mut self.skipped, extended);
        self.total += 1;
    }

    /// A number is used up by padding.
    pub(super) fn fill(&mut self, extended: u64) {
        set(&mut self.filled, extended);
    }

    /// How many packets were left out before this one; `None` when it was left out itself, or is too old to tell.
    pub(super) fn before(&self, extended: u64) -> Option<u64> {
        if extended >= self.head || self.total == 0 {
            return Some(self.total);
        }
        if extended + WINDOW < self.head || get(&self.skipped, extended) {
            return None;
        }
        let after = (extended + 1..self.head).filter(|later| get(&self.skipped, *later));
        Some(self.total - after.count() as u64)
    }

    /// The packet before which `place` packets of the run were not left out, and whether it was filled in; `None` when it is too
    /// old to tell. `first` is the run's first packet.
    pub(super) fn nth(&self, first: u64, place: u64) -> Option<(u64, bool)> {
        let mut extended = first + place + self.total;
        if self.total > 0 && extended < self.head {
            // Going back from the newest, each that was left out is one fewer before.
            extended = self.head;
            let mut left = (self.head - first).checked_sub(self.total + place)?;
            while left > 0 {
                extended = extended.checked_sub(1).filter(|at| at + WINDOW >= self.head)?;
                left -= u64::from(!get(&self.skipped, extended));
            }
        }
        let known = extended < self.head && extended + WINDOW >= self.head;
        Some((extended, known && get(&self.filled, extended)))
    }

    fn clear(&mut self, extended: u64) {
        let (word, bit) = place(extended);
        self.skipped[word] &= !bit;
        self.filled[word] &= !bit;
    }
}

fn place(extended: u64) -> (usize, u64) {
    let at = extended % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

fn get(bits: &[u64; WORDS], extended: u64) -> bool {
    let (word, bit) = place(extended);
    bits[word] & bit != 0
}

fn set(bits: &mut [u64; WORDS], extended: u64) {
    let (word, bit) = place(extended);
    bits[word] |= bit;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_follows_a_packet_left_out_moves_up() {
        let mut skips = Skips::new(100);
        for extended in 100..110 {
            if extended % 3 == 0 {
                skips.skip(extended);
            } else {
                skips.advance(extended);
            }
        }
        // Left out: 102, 105, 108.
        let places: Vec<_> = (100..111).map(|extended| skips.before(extended)).collect();
        assert_eq!(
            places,
            [0, 0, 9, 1, 1, 9, 2, 2, 9, 3, 3].map(|before| (before < 9).then_some(before))
        );
        let sent: Vec<_> = (0..8)
            .filter_map(|place| skips.nth(100, place))
            .map(|(at, _)| at)
            .collect();
        assert_eq!(sent, [100, 101, 103, 104, 106, 107, 109, 110]);
    }

    #[test]
    fn what_is_too_old_is_not_guessed() {
        let mut skips = Skips::new(0);
        skips.skip(0);
        skips.advance(5000);
        assert_eq!(skips.before(4000), None);
        assert_eq!(skips.nth(0, 100), None);
        assert_eq!(skips.nth(0, 4999), Some((5000, false)));
    }

    proptest! {
        /// However packets come, a place and its packet lead to each other.
        #[test]
        fn places_and_packets_are_one_to_one(steps in proptest::collection::vec((0u64..4, any::<bool>()), 1..400)) {
            let mut skips = Skips::new(7);
            let mut extended = 7;
            let mut sent = Vec::new();
            let mut left_out = 0;
            for (gap, skip) in steps {
                extended += gap;
                if skip {
                    skips.skip(extended);
                    left_out += 1;
                } else {
                    skips.advance(extended);
                    sent.push((extended, extended - 7 - left_out));
                }
                extended += 1;
            }
            let known = sent.iter().filter(|(at, _)| at + WINDOW > skips.head());
            for (at, place) in known {
                prop_assert_eq!(skips.before(*at), Some(at - 7 - place));
                prop_assert_eq!(skips.nth(7, *place), Some((*at, false)));
            }
        }
    }
}
