//! How well a connection does, in a word that people understand.
//!
//! A score after the E-model (ITU-T G.107, with its defaults and Opus' robustness against loss) is made of delay, jitter and
//! loss; a picture that gets less bandwidth than it could use, or none, caps it. A word changes only when the score says so
//! for a while: soon for the worse, later for the better.

/// A word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// Noticeable: words are lost, or a picture is.
    Poor,
    /// Small losses, a long delay, or a smaller picture than could be had.
    Good,
    /// Nothing to notice.
    Excellent,
}

/// What matters most of what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Packets are lost.
    Loss,
    /// The way is long.
    Delay,
    /// Packets come unevenly.
    Jitter,
    /// There is room for less than is wanted.
    Bandwidth,
    /// We have too little time for all that is wanted.
    Overload,
}

/// What was seen in about a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sample {
    /// Part of the packets lost, 0–1.
    pub loss: f64,
    /// Round trip, where it is known.
    pub rtt_ms: Option<f64>,
    /// Interarrival jitter.
    pub jitter_ms: f64,
    /// Whether a picture is smaller or slower than wanted for want of bandwidth.
    pub lowered: bool,
    /// Whether there is no room for a picture at all.
    pub starved: bool,
    /// Whether that is for want of time on our side.
    pub overloaded: bool,
}

/// The least score of each word, of 93.2. In G.107's terms "excellent" leaves users satisfied, "good" at least most of them.
const EXCELLENT: f64 = 80.0;
const GOOD: f64 = 60.0;

/// A score must be beyond a bound by this much to cross it upward.
const MARGIN: f64 = 3.0;

/// How many samples in a row must agree to a worse, and to a better word.
const WORSE: u32 = 2;
const BETTER: u32 = 5;

/// How much of a new sample the score takes.
const SMOOTHING: f64 = 0.5;

/// A jitter buffer holds about so many times the jitter, and encoding and playing take this long in milliseconds.
const BUFFERED: f64 = 2.0;
const PROCESSING_MS: f64 = 30.0;

/// How Opus with in-band FEC stands random losses (G.107 Annex: Bpl), in percent.
const ROBUSTNESS: f64 = 20.0;

/// The E-model's score of nothing wrong at all.
const BEST: f64 = 93.2;

/// What delay takes from the score (G.107 §7.4, simplified as usual for one-way delay in ms).
fn delay_impairment(one_way_ms: f64) -> f64 {
    0.024 * one_way_ms + 0.11 * (one_way_ms - 177.3).max(0.0)
}

/// What loss takes from the score (G.107 §7.5).
fn loss_impairment(loss: f64) -> f64 {
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    95.0 * percent / (percent + ROBUSTNESS)
}

impl Sample {
    /// The score, up to 93.2, and what takes most of it.
    pub fn score(&self) -> (f64, Cause) {
        let way = self.rtt_ms.unwrap_or(0.0) / 2.0;
        let uneven = self.jitter_ms * BUFFERED;
        let delay = delay_impairment(way + uneven + PROCESSING_MS);
        let loss = loss_impairment(self.loss);
        let by_sound = BEST - delay - loss;
        let by_picture = match (self.starved, self.lowered) {
            (true, _) => GOOD - MARGIN,
            (false, true) => EXCELLENT - MARGIN,
            (false, false) => BEST,
        };
        let cause = if by_picture < by_sound {
            if self.overloaded {
                Cause::Overload
            } else {
                Cause::Bandwidth
            }
        } else if loss >= delay {
            Cause::Loss
        } else if uneven > way {
            Cause::Jitter
        } else {
            Cause::Delay
        };
        (by_sound.min(by_picture), cause)
    }
}

/// The word for one connection.
#[derive(Debug, Default)]
pub struct QualityMeter {
    score: Option<f64>,
    told: Option<Grade>,
    /// The word that samples ask for, and how many in a row did.
    pending: Option<(Grade, u32)>,
}

impl QualityMeter {
    /// Takes a sample. Gives the word when it changed, with a cause unless nothing is wrong.
    pub fn observe(&mut self, sample: &Sample) -> Option<(Grade, Option<Cause>)> {
        let (score, cause) = sample.score();
        let score = self.score.map_or(score, |before| before + SMOOTHING * (score - before));
        self.score = Some(score);
        let grade = self.grade(score);
        if self.told == Some(grade) {
            self.pending = None;
            return None;
        }
        let count = match self.pending {
            Some((pending, count)) if pending == grade => count + 1,
            _ => 1,
        };
        self.pending = Some((grade, count));
        let needed = if self.told.is_none_or(|told| grade < told) {
            WORSE
        } else {
            BETTER
        };
        if count < needed {
            return None;
        }
        self.told = Some(grade);
        self.pending = None;
        Some((grade, (grade < Grade::Excellent).then_some(cause)))
    }

    /// The score lately, up to 93.2.
    pub fn score(&self) -> Option<f64> {
        self.score
    }

    /// The word told last.
    pub fn grade_told(&self) -> Option<Grade> {
        self.told
    }

    fn grade(&self, score: f64) -> Grade {
        let reaches = |grade, bound: f64| {
            let upward = self.told.is_some_and(|told| told < grade);
            score >= if upward { bound + MARGIN } else { bound }
        };
        if reaches(Grade::Excellent, EXCELLENT) {
            Grade::Excellent
        } else if reaches(Grade::Good, GOOD) {
            Grade::Good
        } else {
            Grade::Poor
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Sample = Sample {
        loss: 0.0,
        rtt_ms: Some(40.0),
        jitter_ms: 3.0,
        lowered: false,
        starved: false,
        overloaded: false,
    };

    /// The words told over these samples.
    fn told(samples: impl IntoIterator<Item = Sample>) -> Vec<(usize, Grade, Option<Cause>)> {
        let mut meter = QualityMeter::default();
        let told = samples.into_iter().enumerate().filter_map(|(n, sample)| {
            let (grade, cause) = meter.observe(&sample)?;
            Some((n, grade, cause))
        });
        told.collect()
    }

    fn lasting(sample: Sample) -> (Grade, Option<Cause>) {
        let (_, grade, cause) = told([sample; 10])[0];
        (grade, cause)
    }

    #[test]
    fn words_by_what_is_wrong() {
        let loss = |loss| Sample { loss, ..FINE };
        let rtt = |rtt| Sample {
            rtt_ms: Some(rtt),
            ..FINE
        };
        let cases = [
            (FINE, Grade::Excellent, None),
            (loss(0.02), Grade::Excellent, None),
            (loss(0.05), Grade::Good, Some(Cause::Loss)),
            (loss(0.15), Grade::Poor, Some(Cause::Loss)),
            (rtt(200.0), Grade::Excellent, None),
            (rtt(500.0), Grade::Good, Some(Cause::Delay)),
            (rtt(900.0), Grade::Poor, Some(Cause::Delay)),
            (
                Sample {
                    jitter_ms: 120.0,
                    ..FINE
                },
                Grade::Good,
                Some(Cause::Jitter),
            ),
            (Sample { lowered: true, ..FINE }, Grade::Good, Some(Cause::Bandwidth)),
            (Sample { starved: true, ..FINE }, Grade::Poor, Some(Cause::Bandwidth)),
            (
                Sample {
                    starved: true,
                    overloaded: true,
                    ..FINE
                },
                Grade::Poor,
                Some(Cause::Overload),
            ),
        ];
        for (sample, grade, cause) in cases {
            assert_eq!(lasting(sample), (grade, cause), "{sample:?}");
        }
    }

    #[test]
    fn a_moment_changes_nothing_and_recovery_is_believed_later_than_trouble() {
        let bad = Sample { loss: 0.2, ..FINE };
        let run = |sample, count| std::iter::repeat_n(sample, count);
        assert_eq!(
            told(
                run(FINE, 10)
                    .chain(run(Sample { loss: 0.03, ..FINE }, 1))
                    .chain(run(FINE, 10))
            )
            .len(),
            1
        );
        let words = told(run(FINE, 10).chain(run(bad, 10)).chain(run(FINE, 20)));
        let grades: Vec<_> = words.iter().map(|(_, grade, _)| *grade).collect();
        assert_eq!(
            (grades[0], grades[grades.len() - 1]),
            (Grade::Excellent, Grade::Excellent),
            "{words:?}"
        );
        assert!(grades.contains(&Grade::Poor), "{words:?}");
        let fell = words
            .iter()
            .find(|(_, grade, _)| *grade == Grade::Poor)
            .map(|(at, ..)| *at - 10);
        let rose = words.last().map(|(at, ..)| *at - 20);
        assert!(fell <= Some(4) && rose >= Some(5), "{words:?}");
    }

    #[test]
    fn a_score_that_wavers_about_a_bound_keeps_its_word() {
        let wavering = (0..100).map(|n| Sample {
            loss: if n % 2 == 0 { 0.028 } else { 0.036 },
            ..FINE
        });
        assert!(told(wavering).len() <= 2);
    }
}
