//! A path that narrows and widens: the sizes of a camera follow it, and the picture goes on.

use std::time::{Duration, Instant};

use caside_media::parameters::{MediaKind, ProducerId};

use crate::sim::feedback::Arrivals;
use crate::sim::{At, Sim, Watch};
use crate::transport::link::{Bottleneck, Conditions, for_seeds};

const SECOND: Duration = Duration::from_secs(1);

/// A camera in three sizes of about 0.15, 0.5 and 1.7 Mbit/s, with sound, and a receiver of both.
struct Call {
    sim: Sim,
    bob: At,
    camera: ProducerId,
    picture: Watch,
    sound: Watch,
}

impl Call {
    fn new(seed: u64, conditions: Conditions) -> Self {
        let mut sim = Sim::new(seed, conditions);
        let (alice, bob) = (sim.join(), sim.join());
        sim.client(alice).up.conditions = Conditions::GOOD;
        sim.client(alice).down.conditions = Conditions::GOOD;
        let start = sim.now;
        sim.client(bob).arrivals = Some(Arrivals::new(start));
        sim.client(bob).reported_loss = 0;
        let camera = sim.publish_camera(alice);
        let sound = sim.publish(alice, MediaKind::Audio);
        let (picture, sound) = (sim.subscribe(bob, camera), sim.subscribe(bob, sound));
        Self {
            sim,
            bob,
            camera,
            picture,
            sound,
        }
    }

    fn limit(&mut self, bits_per_second: u64, queue_bytes: usize) {
        self.sim.client(self.bob).down.conditions.bottleneck = Some(Bottleneck {
            bits_per_second,
            queue_bytes,
        });
    }

    /// When whole frames came, with the place of their encoding.
    fn frames(&mut self, since: Instant) -> Vec<(Instant, u32)> {
        let mut parts = std::collections::BTreeMap::<u32, (usize, Instant)>::new();
        let sink = self.sim.sink(self.picture);
        let mut whole = Vec::new();
        for got in sink.packets.values() {
            let (count, last) = parts.entry(got.piece.frame).or_insert((0, got.at));
            *count += 1;
            *last = (*last).max(got.at);
            if *count == usize::from(got.piece.parts) && *last >= since {
                whole.push((*last, got.piece.frame >> 24));
            }
        }
        whole.sort_unstable();
        whole
    }

    /// The time until the first whole frame of an encoding for which `test` is true.
    fn until(&mut self, since: Instant, test: impl Fn(u32) -> bool) -> Option<Duration> {
        let frames = self.frames(since);
        frames
            .into_iter()
            .find(|(_, encoding)| test(*encoding))
            .map(|(at, _)| at - since)
    }

    /// The longest time without a whole frame.
    fn longest_gap(&mut self, since: Instant) -> Duration {
        let frames = self.frames(since);
        let times = std::iter::once(since).chain(frames.into_iter().map(|(at, _)| at));
        let times: Vec<_> = times.chain([self.sim.now]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    fn sound_came(&mut self) -> usize {
        self.sim.sink(self.sound).packets.len()
    }
}

/// 3 Mbit/s, then 0.3, then 2, with so much room in the queue each time.
fn steps(seed: u64, conditions: Conditions, queue_bytes: impl Fn(u64) -> usize) {
    let mut call = Call::new(seed, conditions);
    call.limit(3_000_000, queue_bytes(3_000_000));
    call.sim.run(SECOND * 12);
    let before = call.frames(call.sim.now - SECOND);
    assert!(
        before.iter().all(|(_, encoding)| *encoding == 2),
        "the path carries everything"
    );

    let dropped = call.sim.now;
    let sound = call.sound_came();
    call.limit(300_000, queue_bytes(300_000));
    call.sim.run(SECOND * 20);
    let lower = call.until(dropped, |encoding| encoding < 2).expect("a lower size");
    assert!(lower < SECOND, "{lower:?}");
    let gap = call.longest_gap(dropped);
    assert!(gap < SECOND, "{gap:?}");
    let late = call.frames(dropped + SECOND * 5);
    // The middle size at half the frames takes as much as the path carries.
    assert!(late.iter().all(|(_, encoding)| *encoding <= 1), "too much is sent");
    let small = late.iter().filter(|(_, encoding)| *encoding == 0).count();
    assert!(small > late.len() / 2, "{small} of {}", late.len());
    let came = call.sound_came() - sound;
    assert!(
        came as f64 >= 990.0 * (1.0 - conditions.loss) - 10.0,
        "{came} of 1000 packets of sound"
    );

    let risen = call.sim.now;
    call.limit(2_000_000, queue_bytes(2_000_000));
    call.sim.run(SECOND * 12);
    let higher = call.until(risen, |encoding| encoding > 0).expect("a higher size");
    assert!(higher < SECOND * 10, "{higher:?}");
    let highest = call.until(risen, |encoding| encoding == 2).expect("the highest size");
    assert!(highest < SECOND * 10, "{highest:?}");
    let gap = call.longest_gap(risen);
    assert!(gap < SECOND, "{gap:?}");
}

#[test]
fn sizes_follow_a_path_with_a_queue_of_300_ms() {
    for_seeds(1..=4, |seed| {
        steps(seed, Conditions::GOOD, |rate| rate as usize * 3 / 80)
    });
}

#[test]
fn sizes_follow_a_long_path() {
    let far = Conditions {
        delay: Duration::from_millis(100),
        ..Conditions::GOOD
    };
    for_seeds(1..=2, |seed| steps(seed, far, |rate| rate as usize * 3 / 80));
}

#[test]
fn sizes_follow_a_path_that_loses_much_besides() {
    let lossy = Conditions {
        loss: 0.05,
        ..Conditions::GOOD
    };
    for_seeds(1..=2, |seed| steps(seed, lossy, |rate| rate as usize * 3 / 80));
}

/// How much less there is shows only by and by: a size that is begun on the first guess may be too much again, and the one below has
/// to wait for another key frame then.
#[test]
fn what_filled_its_path_goes_on_with_the_lowest_size_first() {
    for_seeds(1..=4, |seed| {
        let mut call = Call::new(seed, Conditions::GOOD);
        call.limit(3_000_000, 3_000_000 * 3 / 80);
        call.sim.run(SECOND * 12);
        let dropped = call.sim.now;
        call.limit(750_000, 750_000 * 3 / 80);
        call.sim.run(SECOND * 10);
        let frames = call.frames(dropped);
        let first = frames.iter().find(|(_, encoding)| *encoding < 2);
        assert!(first.is_some_and(|(_, encoding)| *encoding == 0), "{first:?}");
        let middle = call.until(dropped, |encoding| encoding == 1).expect("the middle size");
        assert!(middle < SECOND * 5, "{middle:?}");
        let gap = call.longest_gap(dropped);
        assert!(gap < SECOND, "{gap:?}");
    });
}

#[test]
fn a_route_that_becomes_longer_costs_no_size_for_long() {
    for_seeds(1..=4, |seed| {
        let mut call = Call::new(seed, Conditions::GOOD);
        call.limit(3_000_000, 3_000_000 * 3 / 80);
        call.sim.run(SECOND * 12);
        let longer = call.sim.now;
        call.sim.client(call.bob).down.conditions.delay += Duration::from_millis(100);
        call.sim.run(SECOND * 12);
        let late = call.frames(longer + SECOND * 8);
        let highest = late.iter().filter(|(_, encoding)| *encoding == 2).count();
        assert!(highest * 10 > late.len() * 9, "{highest} of {}", late.len());
        assert!(late.len() > 50, "{} pictures in 4 s", late.len());
        let gap = call.longest_gap(longer);
        assert!(gap < SECOND, "{gap:?}");
    });
}

#[test]
fn a_size_that_its_publisher_stops_is_left_at_once() {
    let mut call = Call::new(1, Conditions::GOOD);
    call.sim.run(SECOND * 5);
    let stopped = call.sim.now;
    call.sim.encodings(call.camera)[2].next_frame = None;
    call.sim.run(SECOND * 2);
    let lower = call.until(stopped, |encoding| encoding == 1).expect("the middle size");
    assert!(lower < Duration::from_millis(400), "{lower:?}");
    let again = call.sim.now;
    call.sim.encodings(call.camera)[2].next_frame = Some(again);
    call.sim.run(SECOND * 2);
    let higher = call.until(again, |encoding| encoding == 2).expect("the highest size");
    assert!(higher < SECOND, "{higher:?}");
}
