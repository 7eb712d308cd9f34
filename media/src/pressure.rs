//! What is given up when the machine has too little time for all: pictures, step by step, so that sound never breaks.
//!
//! [`Guard`] watches how busy a worker is and says how much pressure there is; the engine bounds by [`Pressure`] what it
//! sends. Cameras become smaller and slower before they stop, those of who speaks after the others, screens last of all.

use std::time::{Duration, Instant};

use crate::bandwidth::allocator::Importance;
use crate::layers::Layer;

/// How much is given up; 0 is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pressure(u8);

impl Pressure {
    /// Nothing is given up.
    pub const NONE: Self = Self(0);

    /// Only sound is left.
    pub const MOST: Self = Self(7);

    /// From 0 to that of [`MOST`](Self::MOST), for people and metrics.
    pub fn level(self) -> u8 {
        self.0
    }

    /// One step more, or less.
    #[must_use]
    pub fn raised(self) -> Self {
        Self(self.0 + 1).min(Self::MOST)
    }

    /// One step less.
    #[must_use]
    pub fn lowered(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The highest layer that is sent of a track whose largest picture is layer `top`; `None`: nothing is sent of it.
    pub fn limit(self, importance: Importance, top: u8) -> Option<Layer> {
        let size = |spatial| Layer {
            spatial,
            temporal: Layer::TOP.temporal,
        };
        let slow = |spatial| Layer { spatial, temporal: 0 };
        match (self.0, importance) {
            (0, _) | (..=2, Importance::Speaker) | (..=5, Importance::Screen) => Some(Layer::TOP),
            (1, Importance::Camera) => Some(size(top.saturating_sub(1))),
            (2, Importance::Camera) | (3, Importance::Speaker) => Some(size(0)),
            (3, Importance::Camera) | (4, Importance::Speaker) => Some(Layer::LOWEST),
            (6, Importance::Screen) => Some(slow(Layer::TOP.spatial)),
            (_, Importance::Camera | Importance::Speaker | Importance::Screen) => None,
        }
    }
}

/// Above this share of busy time there is too little left for what comes in bursts.
const HIGH: f64 = 0.85;

/// Above this share packets wait already.
const SATURATED: f64 = 0.97;

/// Below this share more can be taken on again. The step that was taken back last made no more of a difference than this.
const LOW: f64 = 0.65;

/// How long it must be high before the first step, and before each further one: a smaller picture takes a key frame.
const PATIENCE: Duration = Duration::from_millis(300);
const STEP: Duration = Duration::from_millis(1000);
const STEP_SATURATED: Duration = Duration::from_millis(400);

/// How long it must be low before a step is taken back, at first and at most: twice as long after each that was in vain.
const CALM: Duration = Duration::from_secs(3);
const MAX_CALM: Duration = Duration::from_secs(48);

/// A step back was in vain when pressure rises again within this.
const IN_VAIN: Duration = Duration::from_secs(10);

/// Says how much pressure there is. Told how busy a worker is, several times a second.
#[derive(Debug)]
pub struct Guard {
    pressure: Pressure,
    /// Since when it is high, and since when it is low.
    high: Option<Instant>,
    low: Option<Instant>,
    raised: Option<Instant>,
    eased: Option<Instant>,
    calm: Duration,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            pressure: Pressure::NONE,
            high: None,
            low: None,
            raised: None,
            eased: None,
            calm: CALM,
        }
    }
}

impl Guard {
    /// The pressure there is.
    pub fn pressure(&self) -> Pressure {
        self.pressure
    }

    /// Takes note of the share of time, 0 to 1, that the worker was busy in the last moments. Gives the pressure when it changes.
    pub fn observe(&mut self, now: Instant, busy: f64) -> Option<Pressure> {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        self.high = if busy >= HIGH { self.high.or(Some(now)) } else { None };
        self.low = if busy < LOW { self.low.or(Some(now)) } else { None };
        let step = if busy >= SATURATED { STEP_SATURATED } else { STEP };
        let before = self.pressure;
        if since(self.high).is_some_and(|high| high >= PATIENCE) && since(self.raised).is_none_or(|it| it >= step) {
            self.pressure = before.raised();
            self.raised = Some(now);
            if since(self.eased).is_some_and(|eased| eased < IN_VAIN) {
                self.calm = (self.calm * 2).min(MAX_CALM);
                self.eased = None;
            }
        } else if before > Pressure::NONE && since(self.low).is_some_and(|low| low >= self.calm) {
            self.pressure = before.lowered();
            self.eased = Some(now);
            // The next step takes as long again.
            self.low = Some(now);
        } else if before == Pressure::NONE && since(self.eased).is_some_and(|eased| eased >= IN_VAIN) {
            self.calm = CALM;
        }
        (self.pressure != before).then_some(self.pressure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::test_start;

    /// What is told over phases of so many seconds with so much to do, of which each level takes off a part.
    fn told(guard: &mut Guard, from_ms: u64, phases: &[(u64, f64)], relief: f64) -> Vec<(u64, u8)> {
        let mut told = Vec::new();
        let mut ms = from_ms;
        for (seconds, work) in phases {
            for _ in 0..seconds * 10 {
                ms += 100;
                let busy = (work - relief * f64::from(guard.pressure().level())).clamp(0.0, 1.0);
                let change = guard.observe(test_start() + Duration::from_millis(ms), busy);
                told.extend(change.map(|pressure| (ms, pressure.level())));
            }
        }
        told
    }

    #[test]
    fn a_moment_is_no_pressure_and_a_while_is() {
        let mut guard = Guard::default();
        let at = |ms| test_start() + Duration::from_millis(ms);
        for ms in (0..2000).step_by(100) {
            assert_eq!(guard.observe(at(ms), if ms % 400 < 200 { 1.0 } else { 0.5 }), None);
        }
        assert_eq!(told(&mut guard, 2000, &[(1, 0.9)], 0.0), [(2400, 1)]);
    }

    #[test]
    fn it_rises_until_there_is_relief_and_sooner_when_nothing_is_left() {
        let mut guard = Guard::default();
        assert_eq!(
            told(&mut guard, 0, &[(10, 1.0)], 0.02)[..3],
            [(400, 1), (800, 2), (1800, 3)]
        );
        let mut guard = Guard::default();
        assert_eq!(
            told(&mut guard, 0, &[(10, 0.95)], 0.04),
            [(400, 1), (1400, 2), (2400, 3)]
        );
        let mut guard = Guard::default();
        let all = told(&mut guard, 0, &[(20, 1.0)], 0.0);
        assert_eq!((all.len(), all.last().unwrap().1), (7, Pressure::MOST.level()));
        assert!(
            all.last().unwrap().0 <= 3000,
            "sound alone after less than 3 s: {all:?}"
        );
    }

    #[test]
    fn it_eases_step_by_step_and_does_not_waver() {
        let mut guard = Guard::default();
        let busy = told(&mut guard, 0, &[(5, 1.2)], 0.2);
        let eased = told(&mut guard, 5000, &[(20, 0.3)], 0.0);
        let levels: Vec<_> = eased.iter().map(|(_, level)| *level).collect();
        let reached = busy.last().unwrap().1;
        assert_eq!(levels, (0..reached).rev().collect::<Vec<_>>());
        assert!(eased.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 3000), "{eased:?}");
        // Work that fits with a step given up, and not without: the tries become rare.
        let mut guard = Guard::default();
        let wavering = told(&mut guard, 0, &[(300, 0.9)], 0.3);
        assert!(wavering.len() < 20, "{wavering:?}");
        // Work that fits between the bounds stays.
        let mut guard = Guard::default();
        assert_eq!(told(&mut guard, 0, &[(60, 0.9)], 0.1), [(400, 1)]);
    }

    #[test]
    fn what_matters_least_goes_first_and_nothing_comes_back_on_the_way() {
        let value = |limit: Option<Layer>| {
            limit.map_or(-1, |layer| {
                i32::from(
                    layer
                        .capped(Layer {
                            spatial: 2,
                            temporal: 2,
                        })
                        .spatial,
                ) * 3
                    + i32::from(layer.temporal.min(2))
            })
        };
        let kinds = [Importance::Camera, Importance::Speaker, Importance::Screen];
        let mut pressure = Pressure::NONE;
        let mut before = kinds.map(|kind| value(pressure.limit(kind, 2)));
        assert_eq!(before, [8, 8, 8]);
        while pressure < Pressure::MOST {
            pressure = pressure.raised();
            let now = kinds.map(|kind| value(pressure.limit(kind, 2)));
            assert!(now.is_sorted(), "{pressure:?}: {now:?}");
            assert!(now.iter().zip(before).all(|(now, before)| *now <= before) && now != before);
            before = now;
        }
        assert_eq!(before, [-1, -1, -1]);
        assert_eq!(pressure.raised(), Pressure::MOST);
    }
}
