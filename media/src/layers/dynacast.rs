//! Which encodings a publisher need not send, because nobody watches them, or because its path carries the lowest at most.

use std::time::{Duration, Instant};

/// How long nobody must have wanted an encoding before its publisher is told to stop it: people look at a track and away again.
const PATIENCE: Duration = Duration::from_secs(2);

/// For how long only the lowest encoding is wanted of a publisher whose path lost most of all. Browsers send again
/// what was lost before they send anything new; of encodings that are stopped nothing more is added to that.
const RELIEF: Duration = Duration::from_secs(2);

/// What the publisher of a track with several encodings was told. The lowest one is never stopped, so that a newcomer sees
/// something at once.
#[derive(Debug, Default)]
pub(crate) struct Dynacast {
    /// The highest encoding to send; `None` while nothing was said, so all are sent.
    told: Option<u8>,
    /// Since when less would do, and the most that was wanted since.
    less: Option<(Instant, u8)>,
    /// Until when only the lowest is wanted.
    relieved_until: Option<Instant>,
}

impl Dynacast {
    /// `wanted` is the highest encoding that anybody wants, of those up to `top`. Gives what to tell the publisher, if that changes:
    /// at once that more is wanted, after a while that less is.
    pub(crate) fn settle(&mut self, now: Instant, wanted: u8, top: u8) -> Option<u8> {
        if self.is_relieved() {
            return None;
        }
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

    /// The path of the publisher loses most of what is sent. Gives what to tell it, if that is news.
    pub(crate) fn relieve(&mut self, now: Instant, top: u8) -> Option<u8> {
        self.relieved_until = Some(now + RELIEF);
        self.less = None;
        (self.told.unwrap_or(top) > 0).then(|| self.tell(0))
    }

    /// Lets all be wanted again when the time for less is over. To be called before [`settle`](Self::settle), and before what is
    /// wanted is worked out.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.relieved_until = self.relieved_until.filter(|until| now < *until);
    }

    /// Whether only the lowest is wanted, whoever watches.
    pub(crate) fn is_relieved(&self) -> bool {
        self.relieved_until.is_some()
    }

    /// Whether time alone may bring a change.
    pub(crate) fn is_waiting(&self) -> bool {
        self.less.is_some() || self.is_relieved()
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

    fn at(ms: u64) -> Instant {
        test_start() + Duration::from_millis(ms)
    }

    #[test]
    fn more_is_told_at_once_and_less_after_a_while() {
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

    #[test]
    fn a_publisher_whose_path_is_full_is_to_send_the_lowest_for_a_while() {
        let mut dynacast = Dynacast::default();
        assert_eq!(dynacast.relieve(at(0), 2), Some(0));
        assert_eq!(dynacast.relieve(at(100), 2), None, "it was told");
        dynacast.expire(at(2099));
        assert_eq!(dynacast.settle(at(2099), 2, 2), None);
        assert!(dynacast.is_relieved() && dynacast.is_waiting());
        dynacast.expire(at(2100));
        assert!(!dynacast.is_relieved());
        assert_eq!(dynacast.settle(at(2100), 2, 2), Some(2), "all that is wanted");
        assert_eq!(dynacast.settle(at(2200), 0, 2), None);
        assert_eq!(dynacast.settle(at(4200), 0, 2), Some(0));
        assert_eq!(dynacast.relieve(at(5000), 2), None, "there is nothing to take away");
    }
}
