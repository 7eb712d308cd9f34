//! The estimate is near the real rate, soon after it changed, whatever else the path does.

use std::time::Duration;

use super::flow::Flow;
use crate::transport::link::{Bottleneck, Bursts, Conditions, for_seeds};

fn limited(bits_per_second: u64) -> Conditions {
    Conditions {
        bottleneck: Some(bottleneck(bits_per_second)),
        delay: Duration::from_millis(25),
        ..Conditions::GOOD
    }
}

fn bottleneck(bits_per_second: u64) -> Bottleneck {
    Bottleneck {
        bits_per_second,
        queue_bytes: 40_000,
    }
}

fn print(flow: &Flow) {
    let mut next = 0.0;
    for (at, estimate) in &flow.trace {
        if *at >= next {
            next += 0.5;
            eprintln!(
                "{at:6.2} {:8.0} {:8.0} {:?} loss {:.3} wait {:.0}",
                estimate.bits_per_second / 1000.0,
                estimate.budget / 1000.0,
                estimate.limit,
                estimate.loss,
                estimate.wait_ms
            );
        }
    }
}

/// The mean of the estimates of a span is within a quarter of the rate.
fn assert_near(flow: &Flow, from: f64, to: f64, rate: f64) {
    let estimates: Vec<_> = flow.between(from, to).map(|(_, it)| it.bits_per_second).collect();
    let mean = estimates.iter().sum::<f64>() / estimates.len() as f64;
    if !(0.75 * rate..1.25 * rate).contains(&mean) {
        print(flow);
        panic!("{mean:.0} for {rate:.0} from {from} to {to} s");
    }
}

/// The estimate comes within a quarter of the rate in the span.
fn assert_reaches(flow: &Flow, from: f64, to: f64, rate: f64) {
    let near = |estimate: f64| (0.75 * rate..1.25 * rate).contains(&estimate);
    if !flow.between(from, to).any(|(_, it)| near(it.bits_per_second)) {
        print(flow);
        panic!("not near {rate:.0} from {from} to {to} s");
    }
}

fn steps(seed: u64, conditions: Conditions, wanted: f64) {
    let mut flow = Flow::new(seed, conditions, wanted);
    flow.run(20.0);
    assert_reaches(&flow, 0.0, 5.0, 3e6);
    assert_near(&flow, 10.0, 20.0, 3e6);
    flow.down.conditions.bottleneck = Some(bottleneck(300_000));
    flow.run(20.0);
    assert_reaches(&flow, 20.0, 21.0, 3e5);
    assert_near(&flow, 22.0, 40.0, 3e5);
    flow.down.conditions.bottleneck = Some(bottleneck(2_000_000));
    flow.run(20.0);
    assert_reaches(&flow, 40.0, 50.0, 2e6);
    assert_near(&flow, 50.0, 60.0, 2e6);
}

#[test]
fn follows_a_rate_that_drops_and_rises() {
    for_seeds(1..=4, |seed| steps(seed, limited(3_000_000), 5e6));
}

#[test]
fn follows_it_over_a_long_way() {
    for_seeds(1..=4, |seed| {
        let far = Conditions {
            delay: Duration::from_millis(100),
            ..limited(3_000_000)
        };
        steps(seed, far, 5e6);
    });
}

#[test]
fn follows_it_through_random_losses() {
    for loss in [0.05, 0.15] {
        for_seeds(1..=4, |seed| {
            let lossy = Conditions {
                loss,
                ..limited(3_000_000)
            };
            steps(seed, lossy, 5e6);
        });
    }
}

#[test]
fn follows_it_through_jitter_and_bursts() {
    for_seeds(1..=4, |seed| {
        let rough = Conditions {
            bursts: Some(Bursts {
                begin: 0.005,
                end: 0.2,
                loss: 0.8,
            }),
            jitter: Duration::from_millis(15),
            ..limited(3_000_000)
        };
        steps(seed, rough, 5e6);
    });
}

#[test]
fn random_losses_alone_do_not_lower_the_estimate_below_what_is_sent() {
    for loss in [0.05, 0.15] {
        for_seeds(1..=4, |seed| {
            let lossy = Conditions {
                loss,
                delay: Duration::from_millis(50),
                ..Conditions::GOOD
            };
            let mut flow = Flow::new(seed, lossy, 2e6);
            flow.run(30.0);
            let low = flow
                .between(10.0, 30.0)
                .map(|(_, it)| it.bits_per_second)
                .fold(f64::MAX, f64::min);
            if low < 1.5e6 {
                print(&flow);
                panic!("{low:.0} at {loss}");
            }
        });
    }
}

#[test]
fn a_policer_without_a_queue_is_found_by_its_losses() {
    for_seeds(1..=4, |seed| {
        let policed = Conditions {
            bottleneck: Some(Bottleneck {
                bits_per_second: 800_000,
                queue_bytes: 4_000,
            }),
            ..Conditions::GOOD
        };
        let mut flow = Flow::new(seed, policed, 5e6);
        flow.run(30.0);
        assert_near(&flow, 10.0, 30.0, 8e5);
    });
}

#[test]
fn silence_lowers_the_estimate_and_the_first_word_after_it_counts_again() {
    let mut flow = Flow::new(1, limited(3_000_000), 2e6);
    flow.run(10.0);
    flow.down.conditions.partitioned = true;
    flow.run(8.0);
    assert!(flow.rate() < 5e5, "{}", flow.rate());
    flow.down.conditions.partitioned = false;
    flow.run(10.0);
    assert!(flow.rate() > 1.5e6, "{}", flow.rate());
}

/// What is sent steps from layer to layer; probes find the room for the next.
#[test]
fn finds_room_that_media_does_not_fill() {
    for_seeds(1..=4, |seed| {
        let mut flow = Flow::new(seed, limited(300_000), 2.5e6);
        flow.layers = vec![150e3, 500e3, 2.5e6];
        flow.run(10.0);
        assert_near(&flow, 5.0, 10.0, 3e5);
        flow.down.conditions.bottleneck = Some(bottleneck(3_500_000));
        flow.run(15.0);
        let late = flow.between(20.0, 25.0).map(|(_, it)| it.bits_per_second);
        let low = late.fold(f64::MAX, f64::min);
        if low < 2.6e6 {
            print(&flow);
            panic!("{low:.0}");
        }
    });
}

/// A hundred packets at once, on a path that carries them within 300 ms and holds them meanwhile.
#[test]
fn what_is_sent_at_once_does_not_lower_the_estimate_of_a_path_that_carries_it() {
    for_seeds(1..=4, |seed| {
        let path = Conditions {
            bottleneck: Some(Bottleneck {
                bits_per_second: 4_000_000,
                queue_bytes: 200_000,
            }),
            ..limited(0)
        };
        let mut flow = Flow::new(seed, path, 1.5e6);
        flow.run(0.02);
        for _ in 0..6 {
            flow.burst(100);
            flow.run(3.0);
        }
        let low = flow
            .between(0.5, 18.0)
            .map(|(_, it)| it.bits_per_second)
            .fold(f64::MAX, f64::min);
        let congested = flow.between(0.0, 18.0).any(|(_, it)| it.congested);
        if low < 3e6 || congested {
            print(&flow);
            panic!("{low:.0}, congested: {congested}");
        }
    });
}

#[test]
fn what_is_sent_at_once_over_a_slow_path_shows_how_slow_it_is() {
    for_seeds(1..=4, |seed| {
        for (rate, queue_bytes) in [(500_000, 40_000), (1_000_000, 40_000), (1_000_000, 200_000)] {
            let slow = Conditions {
                bottleneck: Some(Bottleneck {
                    bits_per_second: rate,
                    queue_bytes,
                }),
                ..limited(0)
            };
            let mut flow = Flow::new(seed, slow, 5e6);
            flow.burst(80);
            flow.run(2.0);
            assert_reaches(&flow, 0.0, 1.0, rate as f64);
        }
    });
}
