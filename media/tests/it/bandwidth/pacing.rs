//! A key frame goes to a slow receiver as fast as its path takes it, and no faster.

use std::time::Duration;

use caside_media::parameters::MediaKind;

use crate::sim::feedback::Arrivals;
use crate::sim::{At, Sim, Watch};
use crate::transport::link::{Bottleneck, Conditions, for_seeds};

const SECOND: Duration = Duration::from_secs(1);
/// Packets of the frame that is many times the others.
const LARGE: u16 = 50;

/// A publisher with sound and a camera of 0.8 Mbit/s, and a receiver behind a path of 1.5 Mbit/s whose queue holds `queue_bytes`.
struct Call {
    sim: Sim,
    alice: At,
    bob: At,
    sound: Watch,
    camera: Watch,
}

impl Call {
    fn new(seed: u64, queue_bytes: usize) -> Self {
        let delay = Duration::from_millis(25);
        let mut sim = Sim::new(
            seed,
            Conditions {
                delay,
                ..Conditions::GOOD
            },
        );
        let (alice, bob) = (sim.join(), sim.join());
        let start = sim.now;
        sim.client(bob).arrivals = Some(Arrivals::new(start));
        sim.client(bob).down.conditions.bottleneck = Some(Bottleneck {
            bits_per_second: 1_500_000,
            queue_bytes,
        });
        let sound = sim.publish(alice, MediaKind::Audio);
        let camera = sim.publish(alice, MediaKind::Video);
        let (sound, camera) = (sim.subscribe(bob, sound), sim.subscribe(bob, camera));
        Self {
            sim,
            alice,
            bob,
            sound,
            camera,
        }
    }

    /// Sends one frame of [`LARGE`] packets at once, and goes on for a while.
    fn large_frame(&mut self) {
        let (frame, alice) = (Duration::from_millis(40), self.alice);
        let ordinary = std::mem::replace(&mut self.sim.client(alice).sources[1].parts, LARGE);
        self.sim.run(frame);
        self.sim.client(alice).sources[1].parts = ordinary;
        self.sim.run(SECOND);
    }
}

#[test]
fn a_large_frame_does_not_overflow_the_queue_of_a_path() {
    for_seeds(1..=4, |seed| {
        let mut call = Call::new(seed, 42_000);
        call.sim.run(SECOND * 6);
        let overflowed = call.sim.client(call.bob).down.overflowed;
        let begun = call.sim.now;
        call.large_frame();
        let lost = call.sim.client(call.bob).down.overflowed - overflowed;
        assert_eq!(lost, 0, "packets of the large frame were lost in the queue");
        let sink = call.sim.sink(call.camera);
        let large: Vec<_> = sink.packets.values().filter(|got| got.piece.parts == LARGE).collect();
        assert_eq!(large.len(), usize::from(LARGE));
        let took = large.iter().map(|got| got.at).max().unwrap() - begun;
        assert!(took < Duration::from_millis(450), "{took:?}");
        assert_eq!((sink.restored, sink.repeated), (0, 0));
    });
}

#[test]
fn sound_goes_before_pictures_that_wait() {
    let mut call = Call::new(1, 42_000);
    call.sim.run(SECOND * 6);
    let begun = call.sim.now;
    call.large_frame();
    let sink = call.sim.sink(call.sound);
    let came: Vec<_> = sink
        .packets
        .values()
        .filter(|got| got.at > begun)
        .map(|got| got.at)
        .collect();
    let longest = came.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(
        longest < Duration::from_millis(170),
        "{longest:?} between two packets of sound"
    );
    assert!(came.len() > 45, "{}", came.len());
}

#[test]
fn what_waits_goes_in_order_and_once() {
    let mut call = Call::new(1, 1_000_000);
    call.sim.run(SECOND * 6);
    call.large_frame();
    call.large_frame();
    let sink = call.sim.sink(call.camera);
    let frames: Vec<_> = sink
        .packets
        .values()
        .map(|got| (got.piece.frame, got.piece.part))
        .collect();
    assert!(
        frames.windows(2).all(|pair| pair[0] < pair[1]),
        "packets in the order of their numbers"
    );
    let numbers: Vec<u64> = sink.packets.keys().copied().collect();
    let last = numbers.last().unwrap() - numbers.first().unwrap() + 1;
    assert_eq!(numbers.len() as u64, last, "no number is missing");
    assert_eq!(call.sim.engine.dropped().unsealed, 0, "no number was used twice");
}

#[test]
fn a_camera_that_begins_is_not_held_to_the_pace_of_the_sound_before_it() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let start = sim.now;
    sim.client(bob).arrivals = Some(Arrivals::new(start));
    let sound = sim.publish(alice, MediaKind::Audio);
    sim.subscribe(bob, sound);
    sim.run(SECOND * 6);
    // 4.2 Mbit/s from the first packet on, which its receiver waits for.
    let camera = sim.publish(alice, MediaKind::Video);
    sim.source(camera).parts = 20;
    let watch = sim.subscribe(bob, camera);
    let begun = sim.now;
    sim.run(SECOND * 3 / 2);
    let packets = sim.sink(watch).packets.values();
    let took = packets.map(|got| got.at - begun - Duration::from_millis(40) * got.piece.frame);
    let longest = took.max().unwrap();
    // Both ways take 20 ms; beyond the pace frames would wait for up to a quarter of a second.
    assert!(longest < Duration::from_millis(60), "{longest:?}");
}
