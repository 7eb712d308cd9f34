//! Which encodings a publisher need not send, because nobody watches them.

use std::time::{Duration, Instant};

/// How long nobody must have wanted an encoding before its publisher is told to stop it: people look at a track and away again.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the publisher of a track with several encodings was told. The lowest one is never stopped, so that a newcomer sees
/// something at once.
#[derive(Debug, Default)]
pub(crate) struct Dynacast {
    /// The highest encoding to send; `None` while nothing was said, so all are sent.
    told: Option<u8>,
    /// Since when less would do, and the most that was wanted since.
    less: Option<(Instant, u8)>,
}

impl Dynacast {
    /// `wanted` is the highest encoding that anybody wants, of those up to `top`. Gives what to tell the publisher, if that changes:
    /// at once that more is wanted, after a while that less is.
    pub(crate) fn settle(&mut self, now: Instant, wanted: u8, top: u8) -> Option<u8> {
        let wanted = wanted.min(top);
        let told = self.told.unwrap_or(top);
        if wanted >= told {
            self.less = None;
            return (wanted > told).then(|| self.tell(wanted));
        }
        let (since, most) = self.less.get_or_insert((now, wanted));
        *most = wanted.max(*most);
        if now.saturating_duration_since(*since) < PATIENCE {
            return None;
        }
        let most = *most;
        self.less = None;
        Some(self.tell(most))
    }

    /// Whether time alone may bring a change.
    pub(crate) fn is_waiting(&self) -> bool {
        self.less.is_some()
    }

    fn tell(&mut self, wanted: u8) -> u8 {
        self.told = Some(wanted);
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::test_start;

    #[test]
    fn more_is_told_at_once_and_less_after_a_while() {
        let at = |ms| test_start() + Duration::from_millis(ms);
        let mut dynacast = Dynacast::default();
        assert_eq!(dynacast.settle(at(0), 3, 2), None, "all are sent as it is");
        assert_eq!(dynacast.settle(at(100), 0, 2), None);
        assert!(dynacast.is_waiting());
        assert_eq!(dynacast.settle(at(1000), 1, 2), None);
        assert_eq!(dynacast.settle(at(2099), 0, 2), None);
        assert_eq!(dynacast.settle(at(2100), 0, 2), Some(1), "the most that was wanted");
        assert_eq!(dynacast.settle(at(2200), 0, 2), None);
        assert_eq!(dynacast.settle(at(3000), 1, 2), None);
        assert!(!dynacast.is_waiting(), "somebody looked again");
        assert_eq!(dynacast.settle(at(3100), 0, 2), None);
        assert_eq!(dynacast.settle(at(5100), 0, 2), Some(0));
        assert_eq!(dynacast.settle(at(5200), 2, 2), Some(2));
    }
}
