//! Which sizes of cameras came to whom, beside what was asked for.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::light::{Pictures, Snapshot};
use crate::report::Times;
use crate::synthetic::{SIMULCAST, SIZES};

/// What a run found of sizes.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    expected: Expected,
    /// How long it took until all had what they asked for; `None` when they had not in time.
    settled: Option<Duration>,
    /// The same after each change of who is shown large.
    turns: Vec<Option<Duration>>,
    /// What each receiver had in the end.
    had: Vec<Pictures>,
    switches: u64,
    skew_ms: f64,
    /// Streams that publishers sent in the end, and those that they could send.
    sending: (usize, usize),
}

/// What is asked for in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// By so many.
    pub(crate) receivers: usize,
    /// Pictures of each size, lowest first.
    pub(crate) sizes: [usize; SIZES],
}

impl Expected {
    /// Whether all have asked, and each has each picture in the size that it asked for.
    pub(crate) fn is_met(&self, had: &[Pictures]) -> bool {
        let asked = sum(had.iter().map(|pictures| pictures.asked));
        asked == self.sizes && as_asked(had) == self.receivers
    }
}

impl Layers {
    /// Of what was there in the `end`; see the fields.
    pub(crate) fn new(
        expected: Expected,
        settled: Option<Duration>,
        turns: Vec<Option<Duration>>,
        end: &Snapshot,
    ) -> Self {
        Self {
            expected,
            settled,
            turns,
            had: end.pictures.clone(),
            switches: end.totals.switches,
            // Ticks of 90 kHz.
            skew_ms: f64::from(end.totals.skew) / 90.0,
            sending: end.sending,
        }
    }

    /// Whether all had what they asked for, each time and in the end.
    pub(crate) fn is_whole(&self) -> bool {
        let all_settled = self.settled.is_some() && self.turns.iter().all(Option::is_some);
        all_settled && self.expected.is_met(&self.had)
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "asked": self.expected.sizes,
            "had": self.had(),
            "receivers": self.expected.receivers,
            "receivers_as_asked": as_asked(&self.had),
            "as_asked_after_ms": self.settled.map(milliseconds),
            "turns_as_asked_after_ms": self.turns.iter().map(|after| after.map(milliseconds)).collect::<Vec<_>>(),
            "switches": self.switches,
            "skew_max_ms": self.skew_ms,
            "encodings_sent": self.sending.0,
            "encodings": self.sending.1,
        })
    }

    fn had(&self) -> [usize; SIZES] {
        sum(self.had.iter().map(|pictures| pictures.had))
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = SIMULCAST.iter().zip(self.expected.sizes.iter().zip(self.had())).rev();
        for (size, (asked, had)) in sizes {
            write!(f, "{had} of {asked} pictures of {} × {}, ", size.width, size.height)?;
        }
        let same = as_asked(&self.had);
        write!(
            f,
            "{same} of {} receivers with what they asked for",
            self.expected.receivers
        )?;
        match self.settled {
            Some(after) => write!(f, ", all after {:.1} s", after.as_secs_f64())?,
            None => f.write_str(", never all")?,
        }
        if !self.turns.is_empty() {
            let times = Times::new(self.turns.iter().flatten().copied().collect());
            write!(
                f,
                "; {} of {} turns, all after p50 {:.0} ms, max {:.0} ms",
                times.len(),
                self.turns.len(),
                times.quantile_ms(0.5),
                times.quantile_ms(1.0)
            )?;
        }
        let (sent, all) = self.sending;
        write!(
            f,
            "; {} changes of size, timestamps off by {:.1} ms at most; publishers send {sent} of {all} encodings",
            self.switches, self.skew_ms
        )
    }
}

fn sum(sizes: impl Iterator<Item = [usize; SIZES]>) -> [usize; SIZES] {
    let mut sum = [0; SIZES];
    for sizes in sizes {
        sum.iter_mut().zip(sizes).for_each(|(sum, size)| *sum += size);
    }
    sum
}

/// How many have each picture in the size that they asked for.
fn as_asked(had: &[Pictures]) -> usize {
    had.iter().filter(|pictures| pictures.others == 0).count()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(had: [usize; SIZES], others: usize) -> Pictures {
        Pictures {
            asked: [6, 2, 1],
            had,
            others,
        }
    }

    const EXPECTED: Expected = Expected {
        receivers: 2,
        sizes: [12, 4, 2],
    };

    #[test]
    fn all_have_to_have_asked_and_to_have_what_they_asked_for() {
        let (good, bad) = (pictures([6, 2, 1], 0), pictures([6, 2, 1], 2));
        assert!(EXPECTED.is_met(&[good, good]));
        assert!(!EXPECTED.is_met(&[good]));
        assert!(!EXPECTED.is_met(&[good, bad]), "two of each other's size");
    }

    #[test]
    fn the_report_says_what_came_of_each_size() {
        let mut end = Snapshot {
            pictures: vec![pictures([6, 2, 1], 0), pictures([7, 2, 0], 1)],
            sending: (16, 30),
            ..Snapshot::default()
        };
        (end.totals.switches, end.totals.skew) = (4, 90);
        let turns = vec![Some(Duration::from_millis(400)), None];
        let layers = Layers::new(EXPECTED, None, turns, &end);
        assert!(!layers.is_whole());
        assert_eq!(
            layers.to_string(),
            "1 of 2 pictures of 1280 × 720, 4 of 4 pictures of 640 × 360, 13 of 12 pictures of 320 × 180, \
             1 of 2 receivers with what they asked for, never all; 1 of 2 turns, all after p50 400 ms, max 400 ms; \
             4 changes of size, timestamps off by 1.0 ms at most; publishers send 16 of 30 encodings"
        );
        assert_eq!(layers.json()["receivers_as_asked"], 1);
    }
}
