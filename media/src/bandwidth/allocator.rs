//! How a receiver's budget is shared among the tracks it watches.
//!
//! Everyone gets the lowest layer before anyone gets a better one. Then screens are raised, then who speaks, then the others;
//! among equals each is raised by one layer before one is raised by two, the one wanted largest first. A layer that does not
//! fit is passed over, and what is less dear may still be raised.
//!
//! A layer that a track has already may stay as long as it fits; a better one must leave [`HEADROOM`]. So the shares of a
//! steady budget come to rest, and a budget that wavers by less than that changes nothing.

use crate::layers::{Layer, LayerRate, MAX_SPATIAL, MAX_TEMPORAL};

/// Tracks that one budget is shared among; those after them get nothing beyond their lowest layer.
pub const MAX_RAISED: usize = 64;

/// The part of what a better layer adds that must be free beside it.
pub const HEADROOM: f64 = 0.15;

/// A spatial layer that does not come now is taken for so many times the one below it.
const GROWTH: f64 = 3.5;

/// The lowest layer of a track that does not come yet, in bits a second.
const UNKNOWN_LOWEST: f64 = 100_000.0;

/// What matters most is raised first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Importance {
    /// A camera.
    Camera,
    /// The camera of one who speaks.
    Speaker,
    /// A screen.
    Screen,
}

/// A layer and what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Step {
    /// Which.
    pub layer: Layer,
    /// Bits a second.
    pub rate: f64,
}

/// The layers that a track may be given, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ladder {
    steps: [Step; MAX_SPATIAL * MAX_TEMPORAL],
    len: usize,
}

impl Ladder {
    /// The layers up to `ceiling` that are worth being chosen. `screen`: few frames are better than a small picture.
    pub fn new(rates: &[LayerRate], ceiling: Layer, screen: bool) -> Self {
        let mut ladder = Self::default();
        let mut below = UNKNOWN_LOWEST / GROWTH;
        for spatial in 0..MAX_SPATIAL as u8 {
            let of_size = || rates.iter().filter(move |rate| rate.layer.spatial == spatial);
            let Some(last) = of_size().next_back() else { continue };
            let guessed = below * GROWTH;
            let known = |rate: &LayerRate| match rate.bits_per_second {
                0 => guessed,
                known => known as f64,
            };
            below = known(last);
            // The lowest layer is there whatever was asked for.
            if spatial > ceiling.spatial && ladder.len > 0 {
                break;
            }
            for rate in of_size() {
                let beyond = rate.layer.temporal > ceiling.temporal && rate.layer.temporal > 0;
                // A larger picture at a quarter of the frames is worse than a smaller one at all of them.
                let jerky = spatial > 0 && !screen && rate.layer.temporal == 0 && last.layer.temporal >= 2;
                let skipped_only = jerky && ceiling.temporal == 0;
                if beyond || (jerky && !skipped_only) {
                    continue;
                }
                ladder.push(Step {
                    layer: rate.layer,
                    rate: known(rate),
                });
            }
        }
        ladder
    }

    /// Adds a step unless an earlier one is no cheaper: a better layer for less replaces those.
    fn push(&mut self, step: Step) {
        // The lowest stays: it is what a track comes down to when a better one stops.
        while self.len > 1 && self.steps[self.len - 1].rate >= step.rate {
            self.len -= 1;
        }
        if self.len == 1 && self.steps[0].rate >= step.rate {
            self.len = 0;
        }
        if let Some(slot) = self.steps.get_mut(self.len) {
            *slot = step;
            self.len += 1;
        }
    }

    /// The steps, from the least to the most.
    pub fn steps(&self) -> &[Step] {
        self.steps.get(..self.len).unwrap_or_default()
    }

    /// What the least of it takes, in bits a second.
    pub fn lowest_rate(&self) -> f64 {
        self.steps().first().map_or(0.0, |step| step.rate)
    }

    /// What the best of it takes, in bits a second.
    pub fn top_rate(&self) -> f64 {
        self.steps().last().map_or(0.0, |step| step.rate)
    }

    /// What a target takes, in bits a second.
    pub fn rate_of(&self, target: Layer) -> f64 {
        self.step_of(target)
            .and_then(|step| self.steps().get(step))
            .map_or(0.0, |step| step.rate)
    }

    /// The step that a target stands for: the best that does not exceed it.
    fn step_of(&self, target: Layer) -> Option<usize> {
        self.steps().iter().rposition(|step| step.layer <= target)
    }
}

/// A track that wants a share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// What it may be given.
    pub ladder: Ladder,
    /// How much it matters.
    pub importance: Importance,
    /// Pixels that were asked for: of equals, the larger first.
    pub pixels: u32,
    /// What it was given before.
    pub current: Option<Layer>,
}

/// Shares `budget` bits a second among `demands`, and writes each one's layer into `targets` in their order: `None` when
/// there is no room for the lowest. `order` and `targets` are overwritten; they keep their memory.
///
/// Returns what is given away, which is never more than the budget.
pub fn allocate(budget: f64, demands: &[Demand], order: &mut Vec<usize>, targets: &mut Vec<Option<Layer>>) -> f64 {
    order.clear();
    order.extend(0..demands.len());
    // Stable: of those alike in all respects the one that came first goes first.
    order.sort_by_key(|index| {
        let demand = &demands[*index];
        std::cmp::Reverse((demand.importance, demand.pixels))
    });
    targets.clear();
    targets.resize(demands.len(), None);
    let mut spent = 0.0;
    for index in order.iter().copied() {
        let demand = &demands[index];
        let Some(lowest) = demand.ladder.steps().first() else {
            continue;
        };
        let headroom = if demand.current.is_some() { 0.0 } else { HEADROOM };
        if spent + lowest.rate * (1.0 + headroom) <= budget {
            targets[index] = Some(lowest.layer);
            spent += lowest.rate;
        }
    }
    let mut rest = order.as_slice();
    while let Some(first) = rest.first() {
        let class = demands[*first].importance;
        let len = rest
            .iter()
            .take_while(|index| demands[**index].importance == class)
            .count();
        let (equals, others) = rest.split_at(len);
        rest = others;
        spent = raise(budget, spent, demands, &equals[..len.min(MAX_RAISED)], targets);
    }
    spent
}

/// Raises equals by turns until nothing more fits.
fn raise(budget: f64, mut spent: f64, demands: &[Demand], equals: &[usize], targets: &mut [Option<Layer>]) -> f64 {
    for level in 1..MAX_SPATIAL * MAX_TEMPORAL {
        for index in equals.iter().copied() {
            let Demand { ladder, current, .. } = &demands[index];
            let Some(target) = targets[index] else { continue };
            let (Some(at), Some(next)) = (ladder.step_of(target), ladder.steps().get(level)) else {
                continue;
            };
            let added = next.rate - ladder.steps()[at].rate;
            let has_it = current.is_some_and(|current| ladder.step_of(current).is_some_and(|step| step >= level));
            let headroom = if has_it { 0.0 } else { HEADROOM };
            if spent + added * (1.0 + headroom) <= budget {
                targets[index] = Some(next.layer);
                spent += added;
            }
        }
    }
    spent
}

#[cfg(test)]
mod tests;
