//! What all actors of one kind have done since the start.
//!
//! A message costs four relaxed additions and a look at a table of words; nothing here is locked or allocated for it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::Kind;
use super::histogram::{Durations, Histogram};

/// Words for messages that a kind of actor is told apart by; more share one entry. A power of two.
const WORDS: usize = 64;
/// What they share.
const OTHER: &str = "other";

/// What all actors of one kind have done.
#[derive(Debug)]
pub(crate) struct Counters {
    kind: Kind,
    started: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    /// Most that ended in order, as it was last told: a failure is heard of a moment after the actor's end.
    ended_well: AtomicU64,
    refused: AtomicU64,
    /// Most messages that waited for one of those that have ended.
    high_water: AtomicU64,
    waits: Histogram,
    works: [Work; WORDS],
    others: Histogram,
}

/// Messages of one word.
#[derive(Debug)]
struct Work {
    word: OnceLock<&'static str>,
    took: Histogram,
}

/// A reading of what all actors of one kind have done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindReport {
    /// The kind: `room`, `peer`, ….
    pub actor: &'static str,
    /// Those that run now.
    pub alive: u64,
    /// Those that were started.
    pub started: u64,
    /// Those that ended in order.
    pub ended: u64,
    /// Those that ended by a panic or an error.
    pub failed: u64,
    /// Messages refused at a mailbox's bound.
    pub refused: u64,
    /// Messages that wait now, in all their mailboxes.
    pub waiting: u64,
    /// Messages that wait now for the one for which most do.
    pub deepest: u64,
    /// Most messages that ever waited for one.
    pub high_water: u64,
    /// How long handled messages waited.
    pub waits: Durations,
    /// How long handling took, by the message's word.
    pub works: Vec<(&'static str, Durations)>,
}

impl KindReport {
    /// Messages handled.
    pub fn handled(&self) -> u64 {
        self.works.iter().map(|(_, took)| took.count()).sum()
    }

    /// Time that handling took, in µs.
    pub fn worked_us(&self) -> u64 {
        self.works.iter().map(|(_, took)| took.sum_us).sum()
    }
}

impl Counters {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            ended_well: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            high_water: AtomicU64::new(0),
            waits: Histogram::new(),
            works: [const {
                Work {
                    word: OnceLock::new(),
                    took: Histogram::new(),
                }
            }; WORDS],
            others: Histogram::new(),
        }
    }

    /// A stable word for the kind.
    pub(crate) fn actor(&self) -> &'static str {
        self.kind.as_str()
    }

    pub(super) fn started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// One ended, for which so many messages waited at most.
    pub(super) fn ended(&self, high_water: u32) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.high_water.fetch_max(u64::from(high_water), Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was refused at a mailbox's bound.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A message that was put in then is taken out now.
    pub(crate) fn waited(&self, enqueued_at: Instant, now: Instant) {
        self.waits.add(micros(enqueued_at, now));
    }

    /// A message of this word, begun then, is handled.
    pub(crate) fn worked(&self, word: &'static str, began: Instant) {
        self.took(word).add(micros(began, Instant::now()));
    }

    /// Where messages of a word are counted. A word has its place by its address; two copies of one are added up in a reading.
    fn took(&self, word: &'static str) -> &Histogram {
        let address = word.as_ptr().addr();
        let first = address.wrapping_mul(0x9e37_79b9) >> 8;
        for step in 0..WORDS {
            let Some(work) = self.works.get(first.wrapping_add(step) % WORDS) else {
                break;
            };
            if std::ptr::eq(*work.word.get_or_init(|| word), word) {
                return &work.took;
            }
        }
        &self.others
    }

    pub(super) fn report(&self) -> KindReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // What ends later than it fails is never counted twice, and what is told never falls.
        let (failed, ended) = (read(&self.failed), read(&self.ended));
        let well = ended.saturating_sub(failed);
        let well = self.ended_well.fetch_max(well, Ordering::Relaxed).max(well);
        let mut works: Vec<(&'static str, Durations)> = Vec::new();
        let counted = self
            .works
            .iter()
            .filter_map(|work| Some((*work.word.get()?, work.took.read())));
        for (word, took) in counted.chain([(OTHER, self.others.read())]) {
            if took.count() == 0 {
                continue;
            }
            match works.iter_mut().find(|(known, _)| *known == word) {
                Some((_, sum)) => sum.merge(&took),
                None => works.push((word, took)),
            }
        }
        works.sort_unstable_by_key(|(word, _)| *word);
        KindReport {
            actor: self.actor(),
            alive: read(&self.started).saturating_sub(ended),
            started: read(&self.started),
            ended: well,
            failed,
            refused: read(&self.refused),
            waiting: 0,
            deepest: 0,
            high_water: read(&self.high_water),
            waits: self.waits.read(),
            works,
        }
    }
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_their_word_and_the_rest_together() {
        let counters = Counters::new(Kind::Room);
        let words: Vec<&'static str> = (0..WORDS + 3)
            .map(|n| -> &'static str { Box::leak(format!("word-{n:03}").into_boxed_str()) })
            .collect();
        for (n, word) in words.iter().enumerate() {
            for _ in 0..=n {
                counters.took(word).add(7);
            }
        }
        let report = counters.report();
        assert_eq!(report.works.len(), WORDS + 1);
        let count = |word: &str| report.works.iter().find(|(known, _)| *known == word).unwrap().1.count();
        assert_eq!((count("word-000"), count("word-063")), (1, 64));
        assert_eq!(count(OTHER), 65 + 66 + 67);
        let all = (1..=WORDS as u64 + 3).sum::<u64>();
        assert_eq!((report.handled(), report.worked_us()), (all, 7 * all));
    }

    #[test]
    fn what_ended_in_order_never_falls_when_a_failure_is_heard_of_late() {
        let counters = Counters::new(Kind::Peer);
        for _ in 0..3 {
            counters.started();
        }
        counters.ended(4);
        counters.ended(9);
        assert_eq!((counters.report().alive, counters.report().ended), (1, 2));
        counters.failed();
        let report = counters.report();
        assert_eq!((report.ended, report.failed, report.high_water), (2, 1, 9));
        counters.ended(0);
        assert_eq!((counters.report().alive, counters.report().ended), (0, 2));
    }
}
