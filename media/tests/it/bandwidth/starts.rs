//! Receivers whose paths nothing is known of yet: they begin with what most paths carry, and have what theirs carries soon.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use caside_media::control::Command;
use caside_media::parameters::{MediaKind, ProducerId};

use crate::sim::feedback::Arrivals;
use crate::sim::{At, Sim, Watch};
use crate::transport::link::{Bottleneck, Conditions, for_seeds};

const SECOND: Duration = Duration::from_secs(1);

/// What a camera's encodings take a second, as browsers send them: packets a frame of 25 frames a second, and bytes of each.
const CAMERA: [(u16, usize); 3] = [(1, 690), (3, 770), (12, 970)];

fn camera(sim: &mut Sim, at: At) -> ProducerId {
    let video = sim.publish_simulcast(at, &["q", "h", "f"]);
    for (source, (parts, len)) in sim.encodings(video).into_iter().zip(CAMERA) {
        (source.parts, source.payload_len) = (parts, len);
    }
    video
}

/// A path of 25 ms each way.
const NEAR: Conditions = Conditions {
    delay: Duration::from_millis(25),
    ..Conditions::GOOD
};

/// A receiver that tells what arrives, on a path with some jitter.
fn receiver(sim: &mut Sim, bottleneck: Option<Bottleneck>) -> At {
    sim.conditions = Conditions {
        jitter: Duration::from_millis(2),
        bottleneck,
        ..NEAR
    };
    let bob = sim.join();
    let start = sim.now;
    sim.client(bob).arrivals = Some(Arrivals::new(start));
    bob
}

/// When each whole frame came, with its encoding.
fn frames(sim: &mut Sim, watch: Watch) -> Vec<(Instant, u32)> {
    let mut came: BTreeMap<u32, (u16, Instant)> = BTreeMap::new();
    let mut whole = Vec::new();
    let mut packets: Vec<_> = sim
        .sink(watch)
        .packets
        .values()
        .map(|got| (got.at, got.piece))
        .collect();
    packets.sort_by_key(|(at, _)| *at);
    for (at, piece) in packets {
        let (parts, _) = came.entry(piece.frame).or_insert((0, at));
        *parts += 1;
        if *parts == piece.parts {
            whole.push((at, piece.frame >> 24));
        }
    }
    whole
}

/// How long it took until the first frame.
fn until_seen(sim: &mut Sim, watch: Watch, since: Instant) -> Duration {
    frames(sim, watch).first().expect("a picture").0 - since
}

/// How long it took until the best encoding came at its full rate of frames.
fn until_best(sim: &mut Sim, watch: Watch, since: Instant) -> Duration {
    let frames = frames(sim, watch);
    let full = frames.windows(11).find(|some| {
        // 25 a second, but for the jitter.
        let took = some[10].0 - some[0].0;
        some.iter().all(|(_, encoding)| *encoding == 2) && took.abs_diff(SECOND * 2 / 5) < SECOND / 20
    });
    full.expect("the best picture")[0].0 - since
}

#[test]
fn one_camera_is_seen_at_its_best_within_a_second_and_a_half() {
    for_seeds(1..=3, |seed| {
        for (since_key_frame, rates) in [(100, true), (300, true), (700, true), (300, false), (700, false)] {
            let mut sim = Sim::new(seed, NEAR);
            let alice = sim.join();
            let video = camera(&mut sim, alice);
            if !rates {
                // Sizes alone: the largest is beyond what is assumed.
                sim.encodings(video).into_iter().for_each(|source| source.layers = None);
            }
            sim.run(SECOND * 3);
            sim.command(Command::RequestKeyFrame { producer: video });
            sim.run(Duration::from_millis(since_key_frame));
            let bob = receiver(&mut sim, None);
            let watch = sim.subscribe(bob, video);
            let joined = sim.now;
            sim.run(SECOND * 4);
            let first = until_seen(&mut sim, watch, joined);
            let best = until_best(&mut sim, watch, joined);
            eprintln!(
                "{since_key_frame} ms after a key frame, rates {rates}: {first:?} to the first picture, {best:?} to the best"
            );
            assert!(first <= Duration::from_millis(160), "{first:?}");
            assert!(best <= SECOND * 3 / 2, "{best:?}");
        }
    });
}

#[test]
fn nine_cameras_on_a_path_for_few_make_no_queue_and_none_stops() {
    for_seeds(1..=2, |seed| {
        let mut sim = Sim::new(seed, NEAR);
        let mut cameras = Vec::new();
        for _ in 0..9 {
            let at = sim.join();
            cameras.push(camera(&mut sim, at));
        }
        let speaker = At(0);
        let sound = sim.publish(speaker, MediaKind::Audio);
        let sound_began = sim.now;
        sim.run(SECOND * 3);
        let narrow = Bottleneck {
            bits_per_second: 3_000_000,
            queue_bytes: 150_000,
        };
        let bob = receiver(&mut sim, Some(narrow));
        let sound = sim.subscribe(bob, sound);
        let joined = sim.now;
        let watches: Vec<_> = cameras.iter().map(|video| sim.subscribe(bob, *video)).collect();
        sim.run(SECOND * 10);
        for watch in watches {
            let frames = frames(&mut sim, watch);
            assert!(frames[0].0 - joined < SECOND * 3 / 5, "{:?}", frames[0].0 - joined);
            let gap = frames.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
            assert!(gap < SECOND / 2, "a freeze of {gap:?}");
        }
        // Both ways take 25 ms; whatever more sound takes it waited in the queue.
        let waits = sim.sink(sound).packets.values().map(|got| {
            let sent = sound_began + Duration::from_millis(20) * got.piece.frame;
            (got.at - sent).saturating_sub(Duration::from_millis(50))
        });
        let mut waits: Vec<_> = waits.collect();
        waits.sort_unstable();
        let (median, most) = (waits[waits.len() / 2], waits[waits.len() - 1]);
        eprintln!("seed {seed}: sound waited {median:?}, {most:?} at most");
        assert_eq!(sim.client(bob).down.overflowed, 0);
        assert!(most < Duration::from_millis(250), "{most:?}");
        assert!(median < Duration::from_millis(50), "{median:?}");
    });
}

#[test]
fn a_receiver_that_tells_nothing_has_everything_after_a_while() {
    let mut sim = Sim::new(1, NEAR);
    let (alice, bob) = (sim.join(), sim.join());
    let video = camera(&mut sim, alice);
    sim.run(SECOND * 3);
    let watch = sim.subscribe(bob, video);
    let joined = sim.now;
    sim.run(SECOND * 8);
    let best = until_best(&mut sim, watch, joined);
    assert!((SECOND * 3..SECOND * 6).contains(&best), "{best:?}");
    let first = until_seen(&mut sim, watch, joined);
    assert!(first < SECOND / 5, "{first:?}");
}

#[test]
fn a_beginning_sent_at_once_is_no_sign_of_congestion() {
    for_seeds(1..=4, |seed| {
        for rate in [2_500_000, 4_000_000, 10_000_000] {
            let mut sim = Sim::new(seed, NEAR);
            let alice = sim.join();
            // 0.85 Mbit/s, without layers: half a second is 53 KB.
            let video = sim.publish(alice, MediaKind::Video);
            sim.run(SECOND * 3);
            sim.command(Command::RequestKeyFrame { producer: video });
            sim.run(Duration::from_millis(500));
            let path = Bottleneck {
                bits_per_second: rate,
                queue_bytes: 100_000,
            };
            let bob = receiver(&mut sim, Some(path));
            let watch = sim.subscribe(bob, video);
            let joined = sim.now;
            let (mut least, mut congested) = (f64::MAX, false);
            for _ in 0..60 {
                sim.run(SECOND / 20);
                if let Some(downlink) = super::receivers::downlink(&mut sim, bob) {
                    least = least.min(downlink.estimate.bits_per_second);
                    congested |= downlink.estimate.congested;
                }
            }
            assert!(until_seen(&mut sim, watch, joined) < SECOND / 4);
            let sent = sim.source(video).sent.len();
            let frames = sim.sink(watch).frames();
            assert!(
                frames.len() + 6 >= sent - *frames.first().unwrap() as usize,
                "{frames:?} of {sent}"
            );
            assert!(!congested && least >= 1.9e6, "{least} at {rate}");
        }
    });
}
