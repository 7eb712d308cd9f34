use proptest::prelude::*;

use super::*;

fn rate(spatial: u8, temporal: u8, bits_per_second: u64) -> LayerRate {
    LayerRate {
        layer: Layer { spatial, temporal },
        bits_per_second,
        width: 0,
        height: 0,
        active: bits_per_second > 0,
    }
}

fn simulcast() -> Vec<LayerRate> {
    vec![rate(0, 0, 150_000), rate(1, 0, 500_000), rate(2, 0, 2_000_000)]
}

fn demand(rates: &[LayerRate], importance: Importance) -> Demand {
    Demand {
        ladder: Ladder::new(rates, Layer::TOP, importance == Importance::Screen),
        importance,
        pixels: 0,
        current: None,
    }
}

fn share(budget: f64, demands: &[Demand]) -> (f64, Vec<Option<u8>>) {
    let (mut order, mut targets) = (Vec::new(), Vec::new());
    let spent = allocate(budget, demands, &mut order, &mut targets);
    (
        spent,
        targets
            .into_iter()
            .map(|target| target.map(|layer| layer.spatial))
            .collect(),
    )
}

#[test]
fn everyone_gets_something_before_anyone_gets_more() {
    let demands = [
        demand(&simulcast(), Importance::Screen),
        demand(&simulcast(), Importance::Camera),
    ];
    assert_eq!(share(100e3, &demands).1, [None, None]);
    assert_eq!(share(200e3, &demands).1, [Some(0), None]);
    assert_eq!(share(500e3, &demands).1, [Some(0), Some(0)]);
    assert_eq!(share(750e3, &demands).1, [Some(1), Some(0)]);
    assert_eq!(share(1.2e6, &demands).1, [Some(1), Some(1)]);
    assert_eq!(share(9e6, &demands).1, [Some(2), Some(2)]);
}

#[test]
fn screens_go_before_speakers_and_those_before_the_larger_of_the_others() {
    use Importance::{Camera, Screen, Speaker};
    let large = Demand {
        pixels: 9,
        ..demand(&simulcast(), Camera)
    };
    let demands = [
        demand(&simulcast(), Camera),
        large,
        demand(&simulcast(), Speaker),
        demand(&simulcast(), Screen),
    ];
    assert_eq!(share(1.1e6, &demands).1, [Some(0), Some(0), Some(0), Some(1)]);
    assert_eq!(share(3e6, &demands).1, [Some(0), Some(0), Some(1), Some(2)]);
    assert_eq!(share(5.2e6, &demands).1, [Some(1), Some(1), Some(2), Some(2)]);
    assert_eq!(share(7.0e6, &demands).1, [Some(1), Some(2), Some(2), Some(2)]);
}

#[test]
fn what_was_given_stays_while_it_fits() {
    let mut demands = [demand(&simulcast(), Importance::Camera)];
    assert_eq!(share(510e3, &demands).1, [Some(0)]);
    demands[0].current = Some(Layer {
        spatial: 1,
        temporal: 0,
    });
    assert_eq!(share(510e3, &demands).1, [Some(1)]);
    assert_eq!(share(490e3, &demands).1, [Some(0)]);
}

#[test]
fn ladders_leave_out_what_is_beyond_the_ceiling_or_not_worth_it() {
    let steps = |rates: &[LayerRate], spatial, temporal, screen| {
        let ladder = Ladder::new(rates, Layer { spatial, temporal }, screen);
        let layers = ladder
            .steps()
            .iter()
            .map(|step| (step.layer.spatial, step.layer.temporal));
        layers.collect::<Vec<_>>()
    };
    let mut rates = Vec::new();
    for (spatial, base) in [(0, 50_000), (1, 200_000), (2, 800_000)] {
        rates.extend((0..3).map(|temporal| rate(spatial, temporal, base * u64::from(temporal + 1))));
    }
    let all = steps(&rates, 3, 3, false);
    assert_eq!(all, [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]);
    assert_eq!(steps(&rates, 1, 3, false), all[..5]);
    assert_eq!(steps(&rates, 2, 0, false), [(0, 0), (1, 0), (2, 0)]);
    assert!(steps(&rates, 3, 3, true).contains(&(1, 0)));
    // A large picture that shows little and takes less than the small one.
    rates[8].bits_per_second = 60_000;
    rates[7].bits_per_second = 50_000;
    assert_eq!(steps(&rates, 3, 3, false).last(), Some(&(2, 2)));
}

#[test]
fn a_layer_that_is_not_sent_may_be_given_so_that_it_is_asked_for() {
    let rates = [rate(0, 0, 150_000), rate(1, 0, 500_000), rate(2, 0, 0)];
    let demands = [demand(&rates, Importance::Camera)];
    assert_eq!(share(1.5e6, &demands).1, [Some(1)]);
    assert_eq!(share(2.5e6, &demands).1, [Some(2)]);
    assert_eq!(demands[0].ladder.top_rate(), 1.75e6);
}

fn demands() -> impl Strategy<Value = Vec<Demand>> {
    let importance = prop_oneof![
        Just(Importance::Camera),
        Just(Importance::Speaker),
        Just(Importance::Screen)
    ];
    let rates = proptest::collection::vec((1u8..4, 0u64..3_000_000), 1..4);
    let current = proptest::option::of((0u8..4, 0u8..4));
    let one = (importance, rates, 0u32..3, current, 0u8..4, 0u8..4).prop_map(
        |(importance, spatial, pixels, current, top_spatial, top_temporal)| {
            let mut rates = Vec::new();
            for ((temporal, base), index) in spatial.into_iter().zip(0u8..) {
                rates.extend((0..temporal).map(|it| rate(index, it, base * u64::from(it + 1) / 2)));
            }
            let ceiling = Layer {
                spatial: top_spatial,
                temporal: top_temporal,
            };
            Demand {
                ladder: Ladder::new(&rates, ceiling, importance == Importance::Screen),
                importance,
                pixels,
                current: current.map(|(spatial, temporal)| Layer { spatial, temporal }),
            }
        },
    );
    proptest::collection::vec(one, 0..8)
}

fn allocated(budget: f64, demands: &[Demand]) -> (f64, Vec<Option<Layer>>) {
    let (mut order, mut targets) = (Vec::new(), Vec::new());
    let spent = allocate(budget, demands, &mut order, &mut targets);
    (spent, targets)
}

fn rate_of(demand: &Demand, target: Option<Layer>) -> f64 {
    target.map_or(0.0, |target| demand.ladder.rate_of(target))
}

proptest! {
    #[test]
    fn never_gives_more_than_there_is(demands in demands(), budget in 0f64..20e6) {
        let (spent, targets) = allocated(budget, &demands);
        let sum: f64 = demands.iter().zip(&targets).map(|(demand, target)| rate_of(demand, *target)).sum();
        prop_assert!((sum - spent).abs() < 1.0, "{sum} {spent}");
        prop_assert!(sum <= budget + 1.0);
        for (demand, target) in demands.iter().zip(&targets) {
            let steps = demand.ladder.steps();
            prop_assert!(target.is_none_or(|target| steps.iter().any(|step| step.layer == target)));
        }
    }

    /// Of what matters most, more budget never gives less.
    #[test]
    fn more_budget_is_no_less_for_the_most_important(demands in demands(), budget in 0f64..10e6, more in 0f64..10e6) {
        let (_, less) = allocated(budget, &demands);
        let (_, more) = allocated(budget + more, &demands);
        let order = |demand: &Demand| (demand.importance, demand.pixels);
        let Some(top) = demands.iter().map(order).max() else { return Ok(()) };
        let alone = demands.iter().filter(|demand| demand.importance == top.0).count() == 1;
        // With all the lowest layers given in both, the first to be raised has the whole rest to itself.
        let all_served = less.iter().all(Option::is_some);
        if alone && all_served {
            let index = demands.iter().position(|demand| order(demand) == top).unwrap();
            prop_assert!(rate_of(&demands[index], less[index]) <= rate_of(&demands[index], more[index]) + 1.0);
        }
        let served = |targets: &[Option<Layer>]| targets.iter().flatten().count();
        prop_assert!(!all_served || served(&more) == served(&less));
    }

    /// At a steady budget shares only grow, and soon no more.
    #[test]
    fn shares_of_a_steady_budget_come_to_rest(mut demands in demands(), budget in 0f64..20e6) {
        let mut before = None;
        for round in 0..40 {
            let (_, targets) = allocated(budget, &demands);
            if before.as_ref() == Some(&targets) {
                return Ok(());
            }
            prop_assert!(round < 39, "still changing");
            demands.iter_mut().zip(&targets).for_each(|(demand, target)| demand.current = *target);
            before = Some(targets);
        }
    }
}
