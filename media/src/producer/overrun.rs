//! Whether a publisher's path carries what is sent over it, by what is lost, and how much its client is told to send.

use std::time::{Duration, Instant};

/// A path is judged by so much time and so many packets.
const JUDGED: Duration = Duration::from_millis(100);
const MIN_JUDGED: u64 = 8;

/// A path that loses more than half for so many times [`JUDGED`] is choked: most bursts of radio are shorter.
const CHOKED: u32 = 2;

/// A client whose path is choked is to send this part of what arrives, until so long after it is not choked any more.
const CAP: f64 = 0.85;
const CAPPED: Duration = Duration::from_secs(1);

/// It may always send sound and the lowest size, in bits a second.
const LEAST_CAP: u64 = 150_000;

/// What a client may send that has no cap any more, in bits a second.
const UNCAPPED: u64 = 1_000_000_000;

/// How a path copes with what is sent over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    /// It carries it, though radio may lose some at random.
    Fits,
    /// It loses more than a quarter.
    Overrun,
    /// It loses more than half for so long that most of what is sent had better not be.
    Choked,
}

/// The judgement of one path.
#[derive(Debug)]
pub(crate) struct Overrun {
    /// What is judged now: since when, the packet before it, how many came and of how many bytes.
    since: Instant,
    from: u64,
    came: u64,
    came_bytes: usize,
    load: Load,
    /// How often in a row more than half was lost.
    choked: u32,
    /// What came when it was judged last, in bits a second: of a path that is choked, what it carries.
    rate: f64,
    /// What the client was told to send at most, if ever, and until when that holds.
    cap: Option<u64>,
    capped_until: Option<Instant>,
}

impl Overrun {
    /// A path over which `first` is the first packet, by its extended transport-wide number.
    pub(crate) fn new(now: Instant, first: u64) -> Self {
        Self {
            since: now,
            from: first,
            came: 0,
            came_bytes: 0,
            load: Load::Fits,
            choked: 0,
            rate: 0.0,
            cap: None,
            capped_until: None,
        }
    }

    /// A packet of `len` bytes came; `highest` is the latest there is.
    pub(crate) fn came(&mut self, now: Instant, highest: u64, len: usize) {
        self.came += 1;
        self.came_bytes += len;
        let passed = now.saturating_duration_since(self.since);
        if passed < JUDGED {
            return;
        }
        let sent = highest.saturating_sub(self.from);
        self.choked = match sent >= MIN_JUDGED && self.came * 2 < sent {
            true => self.choked.saturating_add(1),
            false => 0,
        };
        self.load = match self.choked {
            CHOKED.. => Load::Choked,
            _ if sent >= MIN_JUDGED && self.came * 4 < sent * 3 => Load::Overrun,
            _ => Load::Fits,
        };
        self.rate = self.came_bytes as f64 * 8.0 / passed.as_secs_f64();
        (self.since, self.from) = (now, highest);
        (self.came, self.came_bytes) = (0, 0);
    }

    /// How the path copes.
    pub(crate) fn load(&self, now: Instant) -> Load {
        // What does not come at all is another matter.
        match now.saturating_duration_since(self.since) < 3 * JUDGED {
            true => self.load,
            false => Load::Fits,
        }
    }

    /// What the client is to be told to send at most from now on, in bits a second, if that is news.
    pub(crate) fn take_cap(&mut self, now: Instant) -> Option<u64> {
        if self.load(now) == Load::Choked {
            self.capped_until = Some(now + CAPPED);
            let cap = ((self.rate * CAP) as u64).max(LEAST_CAP);
            return (self.cap.replace(cap) != Some(cap)).then_some(cap);
        }
        self.capped_until.take_if(|until| *until <= now)?;
        self.cap = Some(UNCAPPED);
        self.cap
    }

    /// What a client that had a cap may send now that it has none. It is to be told again and again: the first time may have been
    /// lost.
    pub(crate) fn lifted(&self) -> Option<u64> {
        self.cap.filter(|cap| *cap == UNCAPPED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::test_start;

    fn at(ms: u64) -> Instant {
        test_start() + Duration::from_millis(ms)
    }

    /// A packet of 1,000 bytes each 5 ms for a second, of which those come that `comes` is true of. After each: how the path copes, and
    /// what the client is told.
    fn course(comes: impl Fn(u64) -> bool) -> Vec<(Load, Option<u64>)> {
        let mut path = Overrun::new(at(0), 0);
        let after = |number: u64| {
            if comes(number) {
                path.came(at(5 * number), number, 1000);
            }
            (path.load(at(5 * number)), path.take_cap(at(5 * number)))
        };
        (1..400).map(after).collect()
    }

    /// For how long it coped so badly or worse, in ms.
    fn lasts(load: Load, comes: impl Fn(u64) -> bool) -> usize {
        5 * course(comes).iter().filter(|(it, _)| *it >= load).count()
    }

    /// Three of four packets are lost for half a second.
    fn narrows(number: u64) -> bool {
        !(60..160).contains(&number) || number.is_multiple_of(4)
    }

    #[test]
    fn a_path_that_loses_most_is_overrun_and_one_that_loses_some_or_falls_silent_is_not() {
        let overrun = lasts(Load::Overrun, narrows);
        assert!((350..=600).contains(&overrun), "{overrun} ms");
        assert_eq!(lasts(Load::Overrun, |number| number % 6 != 0), 0, "a sixth is lost");
        let third = |number: u64| !number.is_multiple_of(3);
        assert!(lasts(Load::Overrun, third) > 1500, "a third is lost");
        assert_eq!(lasts(Load::Choked, third), 0);
        let ends_narrow = |number: u64| number < 40 || (number < 80 && number.is_multiple_of(4));
        assert!(lasts(Load::Overrun, ends_narrow) < 600, "nothing comes any more");
    }

    #[test]
    fn a_path_is_choked_that_loses_most_for_longer_than_a_burst() {
        let choked = lasts(Load::Choked, narrows);
        assert!((200..=500).contains(&choked), "{choked} ms");
        assert_eq!(
            lasts(Load::Choked, |number| number.is_multiple_of(2)),
            0,
            "half is lost"
        );
        let burst = |number: u64| !(60..85).contains(&number);
        assert!(lasts(Load::Overrun, burst) > 0);
        assert_eq!(lasts(Load::Choked, burst), 0, "125 ms are lost");
    }

    #[test]
    fn a_client_is_told_what_arrives_until_a_second_after_its_path_was_choked() {
        let told: Vec<_> = (1..)
            .zip(course(narrows))
            .filter_map(|(number, (_, cap))| Some((5 * number, cap?)))
            .collect();
        let ((lifted, cap), caps) = told.split_last().expect("it is told");
        assert_eq!(*cap, UNCAPPED);
        assert!((1700..1950).contains(lifted), "{told:?}");
        // A quarter of 1.6 Mbit/s, less a part; each told once.
        assert!(!caps.is_empty() && caps.len() <= 5, "{told:?}");
        assert!(caps.iter().all(|(_, cap)| (280_000..400_000).contains(cap)), "{told:?}");
        assert!(caps.windows(2).all(|pair| pair[0].1 != pair[1].1), "{told:?}");
        assert!(course(|_| true).iter().all(|(_, cap)| cap.is_none()));
    }

    #[test]
    fn sound_and_the_lowest_size_are_never_capped() {
        let sound = |number: u64| number < 60 || number.is_multiple_of(20);
        let caps = course(sound).into_iter().filter_map(|(_, cap)| cap);
        assert_eq!(caps.collect::<Vec<_>>(), [LEAST_CAP]);
    }
}
