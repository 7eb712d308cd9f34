//! Whether the delay grows: a line through its last values, held against a threshold that follows how much it wavers.
//!
//! After G. Carlucci, L. De Cicco, S. Holmer, S. Mascolo, "Analysis and design of the Google congestion control for WebRTC"
//! (2016) and draft-ietf-rmcat-gcc-02 §5.4, with the slope of a line in place of the Kalman filter.

/// Values that the line goes through.
const WINDOW: usize = 20;

/// How much of a new value the smoothed delay takes.
const SMOOTHING: f64 = 0.1;

/// By this and by the number of values seen (up to [`MAX_WEIGHT`]) the slope is multiplied, to be held against a threshold in ms.
const GAIN: f64 = 4.0;
const MAX_WEIGHT: f64 = 60.0;

/// How fast the threshold follows upward and downward, per ms.
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
const THRESHOLD_START: f64 = 12.5;
const THRESHOLD_RANGE: (f64, f64) = (6.0, 600.0);

/// A trend above the threshold counts once it lasted so long, in ms.
const OVERUSE_MS: f64 = 10.0;

/// What the delay says of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Usage {
    /// Queues drain.
    Under,
    /// Queues stay as they are.
    #[default]
    Normal,
    /// Queues grow.
    Over,
}

/// The line and its threshold.
#[derive(Debug)]
pub struct Trend {
    /// Arrival and smoothed delay in ms, a ring.
    values: [(f64, f64); WINDOW],
    count: usize,
    accumulated: f64,
    smoothed: f64,
    threshold: f64,
    before: f64,
    over_ms: f64,
    over_count: u32,
    last_ms: Option<f64>,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            values: [(0.0, 0.0); WINDOW],
            count: 0,
            accumulated: 0.0,
            smoothed: 0.0,
            threshold: THRESHOLD_START,
            before: 0.0,
            over_ms: 0.0,
            over_count: 0,
            last_ms: None,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    /// Reads what the next value needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        let lines = self.values.iter().step_by(4);
        lines.fold(self.before.to_bits(), |read, value| read ^ value.0.to_bits())
    }

    /// What it came to last.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The delay changed by `change_ms` between two groups of packets, the later of which arrived at `arrived_ms`, sent
    /// `step_ms` after the other.
    pub fn update(&mut self, change_ms: f64, step_ms: f64, arrived_ms: f64) -> Usage {
        self.accumulated += change_ms;
        self.smoothed += SMOOTHING * (self.accumulated - self.smoothed);
        self.values[self.count % WINDOW] = (arrived_ms, self.smoothed);
        self.count += 1;
        let slope = if self.count >= WINDOW {
            self.slope().unwrap_or(self.before)
        } else {
            0.0
        };
        self.decide(slope, step_ms, arrived_ms);
        self.before = slope;
        self.usage
    }

    fn slope(&self) -> Option<f64> {
        let n = WINDOW as f64;
        let (sum_x, sum_y) = self.values.iter().fold((0.0, 0.0), |(x, y), v| (x + v.0, y + v.1));
        let (mean_x, mean_y) = (sum_x / n, sum_y / n);
        let (mut covariance, mut variance) = (0.0, 0.0);
        for (x, y) in &self.values {
            covariance += (x - mean_x) * (y - mean_y);
            variance += (x - mean_x) * (x - mean_x);
        }
        (variance > 0.0).then(|| covariance / variance)
    }

    fn decide(&mut self, slope: f64, step_ms: f64, now_ms: f64) {
        let weighted = (self.count as f64).min(MAX_WEIGHT) * slope * GAIN;
        if weighted > self.threshold {
            self.over_ms += if self.over_count == 0 { step_ms / 2.0 } else { step_ms };
            self.over_count += 1;
            if self.over_ms > OVERUSE_MS && self.over_count > 1 && slope >= self.before {
                self.over_ms = 0.0;
                self.over_count = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_ms = 0.0;
            self.over_count = 0;
            self.usage = if weighted < -self.threshold {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.adapt(weighted.abs(), now_ms);
    }

    fn adapt(&mut self, weighted: f64, now_ms: f64) {
        let passed = (now_ms - self.last_ms.unwrap_or(now_ms)).clamp(0.0, 100.0);
        self.last_ms = Some(now_ms);
        // A sudden jump, as of a route that changed, says nothing of how much the delay wavers.
        if weighted > self.threshold + 15.0 {
            return;
        }
        let speed = if weighted < self.threshold {
            THRESHOLD_DOWN
        } else {
            THRESHOLD_UP
        };
        let threshold = self.threshold + speed * (weighted - self.threshold) * passed;
        self.threshold = threshold.clamp(THRESHOLD_RANGE.0, THRESHOLD_RANGE.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups every 20 ms whose delay changes as told; what the trend comes to in the end.
    fn after(changes: impl Iterator<Item = f64>) -> Usage {
        let mut trend = Trend::default();
        let mut at = 0.0;
        changes.for_each(|change| {
            at += 20.0 + change;
            trend.update(change, 20.0, at);
        });
        trend.usage()
    }

    #[test]
    fn tells_growing_steady_and_shrinking_delay_apart() {
        let steady = || (0..100).map(|n| if n % 2 == 0 { 3.0 } else { -3.0 });
        assert_eq!(after(steady()), Usage::Normal);
        assert_eq!(after(steady().chain((0..30).map(|_| 4.0))), Usage::Over);
        assert_eq!(after(steady().chain((0..30).map(|_| -4.0))), Usage::Under);
    }

    #[test]
    fn a_few_values_say_nothing() {
        assert_eq!(after((0..10).map(|_| 50.0)), Usage::Normal);
    }
}
