//! What the engine gives to receivers whose paths carry less than there is.

use std::time::Duration;

use caside_media::control::{Command, DownlinkStats, EventKind, TransportStats};
use caside_media::parameters::MediaKind;
use caside_media::quality::{Cause, Grade};

use crate::sim::feedback::Arrivals;
use crate::sim::parameters::consumed;
use crate::sim::{At, ROUTER, Sim, Watch};
use crate::transport::link::{Bottleneck, Conditions, for_seeds};

const SECOND: Duration = Duration::from_secs(1);

/// A publisher with sound and so many cameras of 0.85 Mbit/s each, and a receiver of all that.
struct Call {
    sim: Sim,
    bob: At,
    sound: Watch,
    cameras: Vec<Watch>,
}

impl Call {
    fn new(seed: u64, cameras: usize) -> Self {
        let mut sim = Sim::new(seed, Conditions::GOOD);
        let (alice, bob) = (sim.join(), sim.join());
        let start = sim.now;
        sim.client(bob).arrivals = Some(Arrivals::new(start));
        let sound = sim.publish(alice, MediaKind::Audio);
        let sound = sim.subscribe(bob, sound);
        let cameras = (0..cameras)
            .map(|_| {
                let camera = sim.publish(alice, MediaKind::Video);
                sim.subscribe(bob, camera)
            })
            .collect();
        Self {
            sim,
            bob,
            sound,
            cameras,
        }
    }

    fn limit(&mut self, bits_per_second: u64) {
        self.sim.client(self.bob).down.conditions.bottleneck = Some(Bottleneck {
            bits_per_second,
            queue_bytes: 40_000,
        });
    }

    fn stats(&mut self) -> TransportStats {
        stats(&mut self.sim, self.bob)
    }

    fn downlink(&mut self) -> DownlinkStats {
        self.stats().downlink.expect("the receiver tells what arrives")
    }

    /// Cameras of which at least half the packets arrived in the last seconds: probes repeat some of the others.
    fn live_cameras(&mut self, seconds: u32) -> usize {
        let since = self.sim.now - SECOND * seconds;
        let came = |sim: &mut Sim, watch| sim.sink(watch).packets.values().filter(|got| got.at >= since).count();
        let live = |sim: &mut Sim, watch| came(sim, watch) > 50 * seconds as usize;
        self.cameras
            .clone()
            .into_iter()
            .filter(|watch| live(&mut self.sim, *watch))
            .count()
    }
}

pub(super) fn stats(sim: &mut Sim, at: At) -> TransportStats {
    sim.command(Command::Stats {
        router: ROUTER,
        request: 1,
    });
    let transport = sim.transport_of(at);
    let answer = sim.events.iter().rev().find_map(|event| match &event.kind {
        EventKind::Stats { transports, .. } => Some(transports.clone()),
        _ => None,
    });
    answer
        .into_iter()
        .flatten()
        .find(|stats| stats.transport == transport)
        .expect("statistics of the receiver")
}

/// What is known of a receiver's path.
pub(super) fn downlink(sim: &mut Sim, at: At) -> Option<DownlinkStats> {
    stats(sim, at).downlink
}

#[test]
fn as_many_cameras_flow_as_the_path_carries_and_sound_always_does() {
    for_seeds(1..=3, |seed| {
        let mut call = Call::new(seed, 3);
        call.sim.run(SECOND * 5);
        assert_eq!(call.live_cameras(1), 3);
        call.limit(2_200_000);
        call.sim.run(SECOND * 12);
        let estimate = call.downlink().estimate.bits_per_second;
        assert!((1.65e6..2.75e6).contains(&estimate), "{estimate}");
        assert_eq!(call.live_cameras(3), 2);
        call.limit(300_000);
        call.sim.run(SECOND * 6);
        assert_eq!(call.live_cameras(3), 0);
        let sound = call.sim.sink(call.sound).packets.len();
        call.sim.run(SECOND * 10);
        let came = call.sim.sink(call.sound).packets.len() - sound;
        assert!((490..=510).contains(&came), "{came} of 500 packets of sound");
        let estimate = call.downlink().estimate.bits_per_second;
        assert!((225e3..375e3).contains(&estimate), "{estimate}");
        call.limit(4_000_000);
        call.sim.run(SECOND * 10);
        assert_eq!(call.live_cameras(1), 3);
    });
}

#[test]
fn the_only_camera_in_the_only_size_goes_on_over_a_path_that_loses_much() {
    for_seeds(1..=12, |seed| {
        let mut call = Call::new(seed, 1);
        call.sim.run(SECOND * 5);
        let conditions = &mut call.sim.client(call.bob).down.conditions;
        if seed % 2 == 0 {
            conditions.loss = 0.15;
            conditions.delay = Duration::from_millis(100);
        } else {
            // Much enough for the estimate to be bounded by it now and then, below what the camera takes.
            conditions.loss = 0.18;
        }
        for second in 0..30 {
            call.sim.run(SECOND);
            assert_eq!(call.live_cameras(1), 1, "after {second} s: {:?}", call.downlink());
        }
    });
}

/// While it is away only probes tell that the path carries more, and they lose as much of theirs.
#[test]
fn a_camera_that_a_narrow_path_ended_comes_back_over_one_that_is_wide_and_loses_much() {
    for_seeds(1..=6, |seed| {
        let mut call = Call::new(seed, 1);
        call.sim.run(SECOND * 3);
        call.limit(700_000);
        call.sim.run(SECOND * 8);
        assert_eq!(call.live_cameras(1), 0, "{:?}", call.downlink());
        let conditions = &mut call.sim.client(call.bob).down.conditions;
        conditions.bottleneck = None;
        conditions.loss = 0.15;
        call.sim.run(SECOND * 10);
        for second in 10..30 {
            call.sim.run(SECOND);
            assert_eq!(call.live_cameras(1), 1, "after {second} s: {:?}", call.downlink());
        }
    });
}

#[test]
fn a_path_that_carries_everything_is_not_probed_for_more() {
    let mut call = Call::new(1, 1);
    call.sim.run(SECOND * 5);
    let before = call.downlink();
    assert_eq!(before.desired, 0.0, "{before:?}");
    call.sim.run(SECOND * 10);
    assert_eq!(call.downlink().probes, before.probes);
}

#[test]
fn a_receiver_that_tells_only_its_own_estimate_is_held_to_that() {
    let mut call = Call::new(1, 2);
    call.sim.client(call.bob).arrivals = None;
    call.sim.run(SECOND * 2);
    assert_eq!(call.stats().downlink, None, "nothing is known yet");
    assert_eq!(call.live_cameras(1), 2);
    for _ in 0..5 {
        let now = call.sim.now;
        let bob = call.sim.client(call.bob);
        bob.send_rtcp(now, |writer| {
            writer.remb(caside_media::parameters::Ssrc(9), 1_200_000, &[])
        });
        call.sim.run(SECOND);
    }
    assert_eq!(call.live_cameras(2), 1);
}

#[test]
fn how_well_a_connection_does_is_told_on_change() {
    let mut call = Call::new(1, 1);
    let told = |call: &Call| -> Vec<(Grade, Option<Cause>)> {
        let transport = call.sim.transport_of(call.bob);
        let qualities = call.sim.events.iter().filter_map(|event| match event.kind {
            EventKind::Quality {
                transport: of,
                grade,
                cause,
            } if of == transport => Some((grade, cause)),
            _ => None,
        });
        qualities.collect()
    };
    // Clients of the simulation report a quarter of the packets as lost, whatever comes.
    call.sim.run(SECOND * 6);
    assert_eq!(told(&call), [(Grade::Poor, Some(Cause::Loss))]);
    call.sim.client(call.bob).reported_loss = 0;
    call.sim.run(SECOND * 12);
    assert_eq!(told(&call).last(), Some(&(Grade::Excellent, None)));
    assert!(call.stats().score.is_some_and(|score| score > 85.0));
    call.limit(300_000);
    call.sim.run(SECOND * 8);
    assert_eq!(told(&call).last(), Some(&(Grade::Poor, Some(Cause::Bandwidth))));
}

#[test]
fn the_estimate_that_is_told_counts_sound_that_bears_no_numbers() {
    let mut call = Call::new(1, 0);
    let (alice, bob) = (At(0), call.bob);
    let camera = call.sim.publish_camera(alice);
    let picture = call.sim.subscribe(bob, camera);
    // Seven voices of 60 kbit/s: what is measured of the path lacks them, and leaves room for the middle size all the same.
    for voice in 0..7 {
        let sound = call.sim.publish(alice, MediaKind::Audio);
        let mut parameters = consumed(MediaKind::Audio, "v", 0x20_0000 + voice * 16);
        parameters.extensions.transport_cc = None;
        call.sim.subscribe_with(bob, sound, parameters);
    }
    call.limit(1_200_000);
    call.sim.run(SECOND * 10);
    for _ in 0..20 {
        call.sim.run(SECOND);
        let estimate = call.downlink().estimate;
        assert!((0.9e6..1.5e6).contains(&estimate.bits_per_second), "{estimate:?}");
    }
    let since = call.sim.now - SECOND * 20;
    let came = call.sim.sink(picture).packets.values();
    let middle = came.filter(|got| got.at >= since && got.piece.frame >> 24 == 1).count();
    // Of 1,500, less what a failed probe costs.
    assert!(middle >= 1350, "{middle} packets of the middle size");
}
