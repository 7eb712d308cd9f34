//! How receivers begin: with what is kept since the latest key frame, without asking its publisher for another.

use std::time::Duration;

use caside_media::control::Command;
use caside_media::parameters::{MediaKind, ProducerId};

use crate::sim::parameters::consumed;
use crate::sim::{Sim, Watch};
use crate::transport::link::{Conditions, for_seeds};

const INTERVAL: Duration = Duration::from_millis(500);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A publisher of video, and somebody who watches, 2 s later and at a key frame.
fn room(seed: u64, conditions: Conditions) -> (Sim, ProducerId) {
    let mut sim = Sim::new(seed, conditions);
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    sim.subscribe(bob, video);
    sim.run(Duration::from_secs(2));
    sim.command(Command::RequestKeyFrame { producer: video });
    sim.run(ms(60));
    (sim, video)
}

fn join(sim: &mut Sim, video: ProducerId) -> Watch {
    let at = sim.join();
    sim.subscribe(at, video)
}

fn requests(sim: &mut Sim, video: ProducerId) -> usize {
    sim.source(video).plis.len()
}

fn is_apart(sim: &mut Sim, video: ProducerId) -> bool {
    let plis = &sim.source(video).plis;
    plis.windows(2).all(|pair| pair[1] - pair[0] >= INTERVAL)
}

/// What came can be decoded from its first packet on, each frame is later than the one before, and no number is missing.
fn assert_whole(sim: &mut Sim, watch: Watch) {
    let sink = sim.sink(watch);
    assert_eq!(sink.holes(), 0);
    let first = sink.packets.values().next().expect("packets").piece;
    assert!(first.key && first.part == 0, "{first:?}");
    for (before, after) in sink.packets.values().zip(sink.packets.values().skip(1)) {
        let step = after.timestamp.wrapping_sub(before.timestamp) as i32;
        if before.piece.frame == after.piece.frame {
            assert_eq!((before.piece.part + 1, step), (after.piece.part, 0));
        } else {
            assert_eq!(before.piece.frame + 1, after.piece.frame);
            assert!((1..9000).contains(&step), "{step} ticks from {before:?} to {after:?}");
        }
    }
}

#[test]
fn whoever_comes_soon_after_a_key_frame_begins_with_it_at_once() {
    let (mut sim, video) = room(1, Conditions::GOOD);
    let asked = requests(&mut sim, video);
    let latest = sim.source(video).sent.iter().rposition(|(_, key)| *key).unwrap() as u32;
    sim.run(ms(300));
    let (watch, joined) = (join(&mut sim, video), sim.now);
    sim.run(ms(30));
    let frames = sim.sink(watch).frames();
    assert_eq!(frames.first(), Some(&latest));
    assert!(
        frames.len() >= 8,
        "all frames since then, in one way's time: {frames:?}"
    );
    assert!(sim.sink(watch).packets.values().all(|got| got.at - joined <= ms(30)));
    sim.run(Duration::from_secs(1));
    assert_whole(&mut sim, watch);
    assert_eq!(requests(&mut sim, video), asked);
    // What was of the past when it came is dated just before what was not.
    let timestamps: Vec<_> = sim.sink(watch).packets.values().map(|got| got.timestamp).collect();
    let past = timestamps[4 * 7].wrapping_sub(timestamps[0]);
    assert!(past < 90 * 20, "{past} ticks");
}

#[test]
fn after_a_while_a_key_frame_is_asked_for() {
    let (mut sim, video) = room(1, Conditions::GOOD);
    let asked = requests(&mut sim, video);
    sim.run(ms(600));
    let watch = join(&mut sim, video);
    sim.run(ms(100));
    assert_eq!(requests(&mut sim, video), asked + 1);
    assert!(!sim.sink(watch).frames().is_empty());
    assert_whole(&mut sim, watch);
}

#[test]
fn in_a_storm_of_joiners_all_begin_soon_and_requests_are_half_a_second_apart() {
    for_seeds(1..=2, |seed| {
        let (mut sim, video) = room(seed, Conditions::GOOD);
        let before = requests(&mut sim, video);
        let mut watches = Vec::new();
        for _ in 0..60 {
            watches.push((join(&mut sim, video), sim.now));
            sim.run(ms(50));
        }
        sim.run(Duration::from_secs(1));
        assert!(is_apart(&mut sim, video), "{:?}", sim.source(video).plis);
        let asked = requests(&mut sim, video) - before;
        assert!((4..=6).contains(&asked), "{asked} requests in 3 s");
        for (watch, joined) in watches {
            let first = sim.sink(watch).packets.values().next().unwrap().at - joined;
            assert!(first <= ms(90), "no longer than a key frame takes to come: {first:?}");
            assert_whole(&mut sim, watch);
        }
    });
}

#[test]
fn what_is_lost_of_a_beginning_is_repaired() {
    for_seeds(1..=4, |seed| {
        let lossy = Conditions {
            loss: 0.1,
            ..Conditions::GOOD
        };
        let (mut sim, video) = room(seed, Conditions::GOOD);
        sim.run(ms(300));
        sim.conditions = lossy;
        let watch = join(&mut sim, video);
        sim.run(Duration::from_secs(3));
        sim.source(video).next_frame = None;
        sim.run(Duration::from_secs(1));
        assert!(sim.sink(watch).restored > 0);
        let sent = sim.source(video).sent.len();
        let frames = sim.sink(watch).frames();
        let expected = sent - *frames.first().unwrap() as usize;
        assert!(frames.len() + 2 >= expected, "{} of {expected}", frames.len());
    });
}

#[test]
fn a_publisher_that_loses_packets_is_followed_from_a_whole_key_frame() {
    for_seeds(1..=6, |seed| {
        let (mut sim, video) = room(seed, Conditions::GOOD);
        sim.clients[0].up.conditions.loss = 0.08;
        let mut watches = Vec::new();
        for _ in 0..20 {
            watches.push(join(&mut sim, video));
            sim.run(ms(130));
        }
        sim.run(Duration::from_secs(1));
        sim.source(video).next_frame = None;
        sim.run(Duration::from_secs(1));
        assert!(is_apart(&mut sim, video));
        for watch in watches {
            assert_whole(&mut sim, watch);
        }
    });
}

#[test]
fn what_came_while_a_track_was_muted_is_sent_to_nobody() {
    let (mut sim, video) = room(1, Conditions::GOOD);
    let pause = |paused| Command::PauseProducer {
        producer: video,
        paused,
    };
    sim.command(pause(true));
    // It sends on all the same, and a key frame too.
    let now = sim.now;
    sim.source(video).pli(now);
    sim.run(ms(200));
    let watch = join(&mut sim, video);
    let muted = sim.source(video).frames;
    sim.command(pause(false));
    sim.run(Duration::from_secs(1));
    assert!(sim.sink(watch).frames().len() > 10);
    let first = *sim.sink(watch).frames().first().unwrap();
    assert!(first >= muted, "frame {first}, of which {muted} were muted");
}

#[test]
fn who_pauses_for_a_moment_sees_nothing_twice() {
    let (mut sim, video) = room(1, Conditions::GOOD);
    let at = sim.join();
    let (consumer, watch) = sim.subscribe_with(at, video, consumed(MediaKind::Video, "0", 0x7000));
    sim.run(ms(100));
    for (pause, beyond) in [(50, 800), (100, 300), (700, 800)] {
        sim.command(Command::PauseConsumer { consumer, paused: true });
        sim.run(ms(pause));
        sim.command(Command::PauseConsumer {
            consumer,
            paused: false,
        });
        sim.run(ms(beyond));
    }
    let sink = sim.sink(watch);
    assert_eq!((sink.holes(), sink.repeated), (0, 0));
    for (before, after) in sink.packets.values().zip(sink.packets.values().skip(1)) {
        assert!(before.piece < after.piece, "{before:?} then {after:?}");
        assert!(after.timestamp.wrapping_sub(before.timestamp) as i32 >= 0);
    }
}

#[test]
fn who_goes_on_after_a_pause_begins_with_what_is_kept() {
    let (mut sim, video) = room(1, Conditions::GOOD);
    let at = sim.join();
    let (consumer, watch) = sim.subscribe_with(at, video, consumed(MediaKind::Video, "0", 0x7000));
    sim.command(Command::PauseConsumer { consumer, paused: true });
    sim.run(Duration::from_secs(2));
    sim.command(Command::RequestKeyFrame { producer: video });
    sim.run(ms(300));
    let asked = requests(&mut sim, video);
    sim.command(Command::PauseConsumer {
        consumer,
        paused: false,
    });
    sim.run(ms(30));
    assert!(sim.sink(watch).frames().len() >= 5);
    assert_eq!(requests(&mut sim, video), asked);
}

#[test]
fn what_is_too_much_to_send_at_once_waits_for_a_key_frame() {
    let (mut sim, video) = room(1, Conditions::GOOD);
    // 6 Mbit/s.
    sim.source(video).parts = 30;
    sim.run(ms(300));
    let asked = requests(&mut sim, video);
    let watch = join(&mut sim, video);
    sim.run(ms(30));
    assert!(sim.sink(watch).packets.is_empty());
    sim.run(ms(400));
    assert_eq!(requests(&mut sim, video), asked + 1);
    assert_whole(&mut sim, watch);
    assert!(is_apart(&mut sim, video));
}

#[test]
fn a_stream_that_began_anew_is_not_begun_with_what_was_before() {
    let (mut sim, video) = room(1, Conditions::GOOD);
    let mid = sim.source(video).mid.clone();
    sim.command(Command::UpdateProducer {
        producer: video,
        parameters: crate::sim::parameters::produced(MediaKind::Video, &mid, 0x9000),
    });
    let watch = join(&mut sim, video);
    sim.run(ms(15));
    assert!(sim.sink(watch).packets.is_empty());
}
