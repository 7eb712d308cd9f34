//! Wishes of a piped producer's receivers for key frames, on their way to the producer's home. When the publisher is asked is
//! decided there, once for all; here they are only kept from becoming a flood.

use std::time::{Duration, Instant};

/// A wish that is passed on stays at the home until a key frame comes: another so soon says nothing new.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// How often it is said again that somebody still waits: a wish may get lost.
const REPEAT_INTERVAL: Duration = Duration::from_millis(500);

/// Who wants a key frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A receiver that comes, or asked, or whose layer changes.
    Asked,
    /// One that waits still.
    Waiting,
}

/// The wishes for one stream.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// When the last was passed on, unless a key frame came since.
    passed: Option<Instant>,
    /// Whether one is to be passed on.
    due: bool,
}

impl Wishes {
    pub(crate) fn want(&mut self, now: Instant, wish: Wish) {
        let interval = match wish {
            Wish::Asked => MIN_INTERVAL,
            Wish::Waiting => REPEAT_INTERVAL,
        };
        let since = self.passed.map(|passed| now.saturating_duration_since(passed));
        self.due |= since.is_none_or(|since| since >= interval);
    }

    /// A key frame came: who wanted one has it.
    pub(crate) fn arrived(&mut self) {
        *self = Self::default();
    }

    /// Whether one is to be passed on now; it is then.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let due = std::mem::take(&mut self.due);
        if due {
            self.passed = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::test_start;

    #[test]
    fn one_wish_in_a_while_is_passed_on_until_a_key_frame_comes() {
        let at = |ms| test_start() + Duration::from_millis(ms);
        let mut wishes = Wishes::default();
        assert!(!wishes.take(at(0)));
        wishes.want(at(0), Wish::Waiting);
        wishes.want(at(0), Wish::Asked);
        assert_eq!((wishes.take(at(0)), wishes.take(at(0))), (true, false));
        let passed: Vec<_> = (1..1200)
            .filter(|ms| {
                wishes.want(at(*ms), Wish::Waiting);
                wishes.take(at(*ms))
            })
            .collect();
        assert_eq!(passed, [500, 1000]);
        wishes.want(at(1210), Wish::Asked);
        assert!(wishes.take(at(1210)));
        wishes.want(at(1229), Wish::Asked);
        assert!(!wishes.take(at(1229)));
        wishes.arrived();
        wishes.want(at(1229), Wish::Asked);
        assert!(wishes.take(at(1229)), "the key frame may have been lost on the way");
    }
}
