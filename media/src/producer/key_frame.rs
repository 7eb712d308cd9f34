//! Asking a publisher for key frames, without wearying it.

use std::time::{Duration, Instant};

/// A key frame costs a publisher several ordinary ones: requests are this far apart, whoever comes. Those who come between are
/// helped by what is kept ([`crate::producer::kept`]). Half a second, and what a network may bring two requests nearer to each other.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(520);

/// When a request is repeated while no key frame comes.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A request is put off for no longer than this.
const MAX_HELD: Duration = Duration::from_secs(1);

/// How often a request is sent before only packets without a key frame bring a new one.
const MAX_TRIES: u8 = 10;

/// So often a request is sent until it counts as unheeded: after two seconds.
const UNHEEDED: u8 = 3;

/// The key frame requests of one stream.
#[derive(Debug, Default)]
pub(crate) struct KeyFrameRequests {
    last_sent: Option<Instant>,
    /// When the next is to be sent.
    due: Option<Instant>,
    /// Since when it is put off.
    held_since: Option<Instant>,
    tries: u8,
    /// Of FIR: grows with each new request (RFC 5104 §4.3.1.1).
    number: u8,
}

impl KeyFrameRequests {
    /// Wants a key frame: now, or as soon as the throttle allows. One that was asked for and is on its way serves too: over a full
    /// path another would only delay it.
    pub(crate) fn request(&mut self, now: Instant) {
        if self.due.is_some() && self.tries > 0 {
            return;
        }
        let allowed = self.last_sent.map_or(now, |sent| now.max(sent + MIN_INTERVAL));
        self.tries = 0;
        self.due = Some(self.due.map_or(allowed, |due| due.min(allowed)));
    }

    /// Wants a key frame unless one is being asked for.
    pub(crate) fn request_if_idle(&mut self, now: Instant) {
        if self.due.is_none() {
            self.request(now);
        }
    }

    /// Puts a request that is due off by `pause`, unless it waits for [`MAX_HELD`] already. Says whether it was put off.
    pub(crate) fn hold(&mut self, now: Instant, pause: Duration) -> bool {
        let Some(due) = self.due.filter(|due| *due <= now) else {
            return false;
        };
        let since = *self.held_since.get_or_insert(due);
        let holds = now.saturating_duration_since(since) < MAX_HELD;
        if holds {
            self.due = Some(now + pause);
        }
        holds
    }

    /// A key frame came: who wanted one has it.
    pub(crate) fn arrived(&mut self) {
        (self.due, self.held_since) = (None, None);
    }

    /// Nothing that was asked for comes any more; the next request waits for no answer.
    pub(crate) fn forget(&mut self) {
        (self.due, self.held_since, self.tries) = (None, None, 0);
    }

    /// Whether a key frame was asked for again and again, and did not come.
    pub(crate) fn is_unheeded(&self) -> bool {
        self.due.is_some() && self.tries >= UNHEEDED
    }

    /// When [`take_due`](Self::take_due) has something.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The number of the request to be sent now, if one is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<u8> {
        if self.due? > now {
            return None;
        }
        if self.tries == 0 {
            self.number = self.number.wrapping_add(1);
        }
        self.tries += 1;
        self.held_since = None;
        self.last_sent = Some(now);
        self.due = (self.tries < MAX_TRIES).then_some(now + RETRY_INTERVAL);
        Some(self.number)
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
    fn requests_are_half_a_second_apart_and_one_is_remembered() {
        let mut requests = KeyFrameRequests::default();
        requests.request(at(0));
        assert_eq!(requests.take_due(at(0)), Some(1));
        requests.request(at(10));
        assert_eq!(requests.deadline(), Some(at(1000)), "it is on its way");
        requests.arrived();
        requests.request(at(20));
        requests.request(at(30));
        assert_eq!(requests.take_due(at(519)), None);
        assert_eq!(requests.deadline(), Some(at(520)));
        assert_eq!(requests.take_due(at(520)), Some(2));
        requests.arrived();
        assert_eq!(requests.deadline(), None);
    }

    #[test]
    fn a_request_is_put_off_for_a_second_and_no_longer() {
        let mut requests = KeyFrameRequests::default();
        let pause = Duration::from_millis(50);
        assert!(!requests.hold(at(0), pause), "nothing is due");
        requests.request(at(0));
        let sent = (0..100).map(|step| 50 * step).find(|ms| {
            assert!(requests.deadline().is_some_and(|due| due <= at(*ms)));
            !requests.hold(at(*ms), pause) && requests.take_due(at(*ms)).is_some()
        });
        assert_eq!(sent, Some(1000));
        assert!(!requests.hold(at(1050), pause), "its repetition is not due yet");
        assert!(requests.hold(at(2000), pause), "and is put off anew");
    }

    #[test]
    fn a_key_frame_that_comes_serves_whoever_waits() {
        let mut requests = KeyFrameRequests::default();
        requests.request(at(0));
        requests.take_due(at(0));
        requests.request(at(30));
        requests.request(at(90));
        assert_eq!(requests.deadline(), Some(at(1000)));
        requests.arrived();
        assert_eq!(requests.deadline(), None);
    }

    #[test]
    fn however_many_come_requests_are_an_interval_apart() {
        // Somebody joins every 10 ms for 5 s; the publisher answers within 30 to 470 ms.
        for answer in (30..=470).step_by(20) {
            let mut requests = KeyFrameRequests::default();
            let (mut sent, mut coming) = (Vec::new(), None);
            for ms in 0..5_000 {
                if coming == Some(ms) {
                    requests.arrived();
                }
                if ms % 10 == 0 {
                    requests.request(at(ms));
                }
                if requests.take_due(at(ms)).is_some() {
                    sent.push(ms);
                    coming = Some(ms + answer);
                }
            }
            assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= 520), "{sent:?}");
            assert!(sent.len() >= 9, "nobody waits for longer than the interval: {sent:?}");
        }
    }

    #[test]
    fn an_unanswered_request_is_repeated_under_its_number_and_given_up() {
        let mut requests = KeyFrameRequests::default();
        requests.request(at(0));
        let mut sent = 0;
        while let Some(due) = requests.deadline() {
            assert_eq!(requests.take_due(due), Some(1));
            sent += 1;
        }
        assert_eq!(sent, MAX_TRIES);
        requests.request_if_idle(at(60_000));
        assert_eq!(requests.take_due(at(60_000)), Some(2));
    }
}
