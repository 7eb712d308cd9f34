//! What is lost, reordered and duplicated on the way arrives all the same.

use std::time::Duration;

use caside_media::parameters::{Feedback, MediaKind};

use crate::sim::parameters::{codec, consumed};
use crate::sim::{Sim, Watch};
use crate::transport::link::{Conditions, for_seeds};

const SECONDS: u64 = 10;

fn lossy(loss: f64) -> Conditions {
    Conditions {
        loss,
        duplicate: 0.02,
        delay: Duration::from_millis(25),
        jitter: Duration::from_millis(8),
        ..Conditions::GOOD
    }
}

/// Every frame from the first that came to the last but those that may still be under way.
fn assert_complete(sim: &mut Sim, watch: Watch, sent: &[(u32, bool)], seed: u64) {
    let frames = sim.sink(watch).frames();
    let first = *frames.first().unwrap_or_else(|| panic!("no frame came; seed {seed}"));
    let expected: Vec<u32> = sent
        .iter()
        .map(|(frame, _)| *frame)
        .filter(|frame| *frame >= first)
        .collect();
    let missing: Vec<_> = expected[..expected.len() - 20]
        .iter()
        .filter(|frame| !frames.contains(frame))
        .collect();
    assert!(
        expected.len() as u64 > (SECONDS - 2) * 25,
        "it began too late: frame {first}; seed {seed}"
    );
    assert!(missing.is_empty(), "frames {missing:?} did not come; seed {seed}");
}

#[test]
fn all_frames_arrive_over_lossy_links_both_ways() {
    for_seeds(1..=6, |seed| {
        let mut sim = Sim::new(seed, lossy(0.05));
        let (alice, bob) = (sim.join(), sim.join());
        let video = sim.publish(alice, MediaKind::Video);
        // Every second run the publisher answers NACKs without RTX.
        sim.source(video).uses_rtx = seed % 2 == 0;
        let watch = sim.subscribe(bob, video);
        sim.run(Duration::from_secs(SECONDS));
        let sent = sim.source(video).sent.clone();
        assert_complete(&mut sim, watch, &sent, seed);
        assert!(sim.source(video).nacked > 0, "the way up was not repaired; seed {seed}");
        assert!(
            sim.sink(watch).restored > 0,
            "the way down was not repaired; seed {seed}"
        );
    });
}

#[test]
fn receivers_without_rtx_get_the_same_datagram_again() {
    for_seeds(1..=3, |seed| {
        let mut sim = Sim::new(seed, lossy(0.05));
        let (alice, bob) = (sim.join(), sim.join());
        let video = sim.publish(alice, MediaKind::Video);
        let mut parameters = consumed(MediaKind::Video, "0", 0x5000);
        parameters.codec.rtx = None;
        parameters.rtx_ssrc = None;
        let (_, watch) = sim.subscribe_with(bob, video, parameters);
        sim.run(Duration::from_secs(SECONDS));
        let sent = sim.source(video).sent.clone();
        assert_complete(&mut sim, watch, &sent, seed);
        assert_eq!(sim.sink(watch).restored, 0);
        assert!(sim.sink(watch).holes() < 20, "lost packets came again; seed {seed}");
    });
}

#[test]
fn lost_sound_without_nack_leaves_only_its_own_holes() {
    let mut sim = Sim::new(3, lossy(0.1));
    let (alice, bob) = (sim.join(), sim.join());
    let audio = sim.publish(alice, MediaKind::Audio);
    let watch = sim.subscribe(bob, audio);
    sim.run(Duration::from_secs(SECONDS));
    let frames = sim.sink(watch).frames().len();
    assert!(
        (380..420).contains(&frames),
        "500 frames, 10 % lost twice: {frames} came"
    );
    assert_eq!(sim.source(audio).nacked, 0);
}

#[test]
fn sound_with_nack_is_repaired_where_that_was_agreed() {
    let mut sim = Sim::new(4, lossy(0.05));
    let (alice, bob) = (sim.join(), sim.join());
    let audio = sim.publish(alice, MediaKind::Audio);
    let mut parameters = consumed(MediaKind::Audio, "0", 0x5000);
    parameters.codec = codec(parameters.codec.kind, 120, None);
    parameters.codec.feedback = Feedback {
        nack: true,
        ..Feedback::default()
    };
    let (_, watch) = sim.subscribe_with(bob, audio, parameters);
    sim.run(Duration::from_secs(SECONDS));
    let sink = sim.sink(watch);
    // 5 % were lost on the way up, where sound is not asked for again, and 5 % on the way down, where it is.
    let share = sink.packets.len() as f64 / (SECONDS * 50) as f64;
    assert!((0.92..0.98).contains(&share), "{share}");
}

#[test]
fn an_outage_longer_than_the_ring_ends_with_a_key_frame() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    let watch = sim.subscribe(bob, video);
    sim.run(Duration::from_secs(2));
    sim.client(alice).up.conditions.loss = 1.0;
    sim.run(Duration::from_secs(8));
    let during = sim.sink(watch).frames().len();
    let sent_before = sim.source(video).sent.len();
    sim.client(alice).up.conditions.loss = 0.0;
    sim.run(Duration::from_secs(3));
    let frames = sim.sink(watch).frames();
    assert!(frames.len() > during + 60, "{during} then {}", frames.len());
    let resumed = *frames.range(sent_before as u32..).next().unwrap();
    let sent = sim.source(video).sent.clone();
    assert!(
        sent[resumed as usize].1,
        "frame {resumed}, the first after the outage, is no key frame"
    );
    assert_eq!(
        sim.sink(watch).holes(),
        0,
        "the receiver is not made to ask for what nobody has"
    );
}

#[test]
fn losses_are_repaired_over_the_wrap_of_sequence_numbers_and_timestamps() {
    for_seeds(1..=3, |seed| {
        let mut sim = Sim::new(seed, lossy(0.05));
        let (alice, bob) = (sim.join(), sim.join());
        let video = sim.publish(alice, MediaKind::Video);
        sim.source(video).sequence = 65_100;
        sim.source(video).timestamp = u32::MAX - 5 * 90_000;
        let watch = sim.subscribe(bob, video);
        sim.run(Duration::from_secs(SECONDS));
        let sent = sim.source(video).sent.clone();
        assert_complete(&mut sim, watch, &sent, seed);
    });
}

#[test]
fn our_own_sequence_numbers_wrap_without_a_seam() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    sim.source(video).parts = 100;
    sim.source(video).payload_len = 20;
    let watch = sim.subscribe(bob, video);
    sim.run(Duration::from_secs(27));
    let packets = &sim.sink(watch).packets;
    assert!(packets.len() > 1 << 16, "{}", packets.len());
    assert_eq!(sim.sink(watch).holes(), 0);
    let sent = sim.source(video).sent.len();
    assert!(sim.sink(watch).frames().len() + 5 > sent);
}
