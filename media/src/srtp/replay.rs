//! Sliding replay windows (RFC 3711 §3.3.2).

/// The last `64 × WORDS` indices up to the highest seen, each once.
#[derive(Debug, Clone)]
pub(super) struct ReplayWindow<const WORDS: usize> {
    /// Highest index seen; `None` before the first.
    highest: Option<u64>,
    /// Bit `index % SIZE` tells whether `index` was seen, for indices within the window.
    seen: [u64; WORDS],
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    const SIZE: u64 = 64 * WORDS as u64;

    pub(super) const fn new() -> Self {
        Self {
            highest: None,
            seen: [0; WORDS],
        }
    }

    /// The highest index seen.
    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Reads what the next index needs; see [`crate::engine::ahead`].
    pub(super) fn preload(&self) -> u64 {
        let next = self.highest.map_or(0, |highest| highest + 1);
        next ^ self.seen[Self::place(next).0]
    }

    /// Whether `index` is new: above the window, or within it and not seen. What is below it counts as seen.
    pub(super) fn is_new(&self, index: u64) -> bool {
        match self.highest {
            Some(highest) if index <= highest => highest - index < Self::SIZE && !self.bit(index),
            _ => true,
        }
    }

    /// Marks `index` as seen. To be called only when [`is_new`](Self::is_new) held and the packet was authentic.
    pub(super) fn mark(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => {}
            Some(highest) if index - highest < Self::SIZE => {
                for skipped in highest + 1..index {
                    self.clear(skipped);
                }
                self.highest = Some(index);
            }
            _ => {
                self.seen = [0; WORDS];
                self.highest = Some(index);
            }
        }
        let (word, mask) = Self::place(index);
        self.seen[word] |= mask;
    }

    fn bit(&self, index: u64) -> bool {
        let (word, mask) = Self::place(index);
        self.seen[word] & mask != 0
    }

    fn clear(&mut self, index: u64) {
        let (word, mask) = Self::place(index);
        self.seen[word] &= !mask;
    }

    fn place(index: u64) -> (usize, u64) {
        let position = index % Self::SIZE;
        ((position / 64) as usize, 1 << (position % 64))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_index_passes_once_and_never_below_the_window() {
        let mut window = ReplayWindow::<2>::new();
        assert!(window.is_new(0));
        window.mark(1000);
        assert!(!window.is_new(1000));
        assert!(window.is_new(1000 - 127));
        assert!(!window.is_new(1000 - 128));
        window.mark(1000 - 127);
        assert!(!window.is_new(1000 - 127));
        window.mark(1001);
        assert!(!window.is_new(1000 - 127), "fell out of the window");
        assert_eq!(window.highest(), Some(1001));
    }

    proptest! {
        /// Against the definition: a set of all that was seen, and the highest.
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec(0u64..400, 1..600)) {
            let mut window = ReplayWindow::<2>::new();
            let (mut seen, mut highest) = (HashSet::new(), None::<u64>);
            for (round, step) in steps.into_iter().enumerate() {
                let index = (round as u64 * 3 + step).saturating_sub(150);
                let new = !seen.contains(&index) && highest.is_none_or(|h| index + 128 > h);
                prop_assert_eq!(window.is_new(index), new, "index {} highest {:?}", index, highest);
                if new {
                    window.mark(index);
                    seen.insert(index);
                    highest = Some(highest.map_or(index, |h| h.max(index)));
                }
            }
        }
    }
}
