//! Timestamps of one run.

/// Pictures of the past come so many times faster than they were taken.
const GATHER: u32 = 32;

/// No picture is further in the past, in ticks: some seconds on any clock.
const MAX_PAST: u32 = 1 << 20;

/// What the timestamps of a run become.
///
/// A run may begin with pictures of the past, which all come at once. Deviates from RFC 3550 §5.1: their timestamps do not tell
/// when they were taken but are drawn together to just before the latest of them. A receiver would else show them at the pace
/// they were taken at, and stay behind by that for long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeline {
    offset: u32,
    /// The publisher's timestamp before which pictures are of the past.
    gathered: Option<u32>,
}

impl Timeline {
    /// Adds `offset`; what was taken before `gathered` is drawn together.
    pub(super) fn new(offset: u32, gathered: Option<u32>) -> Self {
        Self { offset, gathered }
    }

    /// What is added to timestamps.
    pub(super) fn offset(&self) -> u32 {
        self.offset
    }

    /// A packet's timestamp as the receiver sees it.
    pub(super) fn map(&self, timestamp: u32) -> u32 {
        let timestamp = match self.gathered {
            Some(until) if until.wrapping_sub(timestamp) < MAX_PAST => {
                until.wrapping_sub(until.wrapping_sub(timestamp) / GATHER)
            }
            Some(_) | None => timestamp,
        };
        timestamp.wrapping_add(self.offset)
    }

    /// A packet came in order: once nothing of the past can come again, timestamps may wrap around to it.
    pub(super) fn advance(&mut self, timestamp: u32) {
        let passed = |until| timestamp.wrapping_sub(until);
        if self
            .gathered
            .map(passed)
            .is_some_and(|it| (16 * MAX_PAST..1 << 31).contains(&it))
        {
            self.gathered = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_drawn_together_in_its_order_and_the_present_is_left_alone() {
        for until in [100_000, 10, 0, u32::MAX] {
            let timeline = Timeline::new(7, Some(until));
            let pictures = (0..=15).rev().map(|n| timeline.map(until.wrapping_sub(n * 3000)));
            let ahead: Vec<_> = pictures
                .map(|it| it.wrapping_sub(until.wrapping_add(7)) as i32)
                .collect();
            assert!(ahead.windows(2).all(|pair| pair[0] < pair[1]), "{ahead:?}");
            assert_eq!((ahead[0], ahead[15]), (-1406, 0));
            assert_eq!(timeline.map(until.wrapping_add(3000)), until.wrapping_add(3007));
        }
    }

    #[test]
    fn timestamps_that_come_around_are_not_of_the_past() {
        let mut timeline = Timeline::new(0, Some(5000));
        timeline.advance(0);
        assert_ne!(timeline.map(0), 0);
        timeline.advance(5000 + 32 * MAX_PAST);
        assert_eq!(timeline.map(0), 0);
    }
}
