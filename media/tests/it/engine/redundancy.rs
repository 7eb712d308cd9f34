//! Sound that comes with earlier packets again (RFC 2198).

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use caside_media::control::{Command, EventKind, ProducerStats, TapItem, TapSink};
use caside_media::parameters::{MediaKind, PayloadType, ProducerId, TapId};
use caside_media::record::segment::{GroupParameters, TrackGroupWriter};

use crate::sim::feedback::Arrivals;
use crate::sim::parameters::{consumed, produced};
use crate::sim::source::RED;
use crate::sim::{At, ROUTER, Sim, Watch};
use crate::transport::link::{Bottleneck, Conditions, for_seeds};

const SECONDS: u64 = 10;

/// A microphone whose client may send RED, and does with so many packets before again.
fn publish(sim: &mut Sim, at: At, redundant: Option<usize>) -> ProducerId {
    let audio = sim.publish(at, MediaKind::Audio);
    let ssrc = sim.source(audio).ssrc.0;
    let mut parameters = produced(MediaKind::Audio, &sim.source(audio).mid.clone(), ssrc);
    parameters.codecs[0].red = Some(RED);
    sim.command(Command::UpdateProducer {
        producer: audio,
        parameters,
    });
    let source = sim.source(audio);
    source.redundant = redundant;
    source.level = 20;
    audio
}

/// A receiver that knows RED as 45, and Opus as 120.
fn subscribe_with_red(sim: &mut Sim, at: At, audio: ProducerId) -> Watch {
    let mut parameters = consumed(MediaKind::Audio, "0", 0x5000);
    parameters.codec.red = Some(PayloadType(45));
    sim.subscribe_with(at, audio, parameters).1
}

fn produced_stats(sim: &mut Sim, producer: ProducerId) -> ProducerStats {
    sim.command(Command::Stats {
        router: ROUTER,
        request: 1,
    });
    let told = sim.events.iter().rev().find_map(|event| match &event.kind {
        EventKind::Stats { transports, .. } => Some(transports.clone()),
        _ => None,
    });
    let mut producers = told.unwrap().into_iter().flat_map(|transport| transport.producers);
    producers.find(|stats| stats.producer == producer).unwrap()
}

fn lossy_up(sim: &mut Sim, at: At, loss: f64) {
    sim.client(at).up.conditions = Conditions {
        loss,
        jitter: Duration::from_millis(8),
        ..Conditions::GOOD
    };
}

#[test]
fn it_passes_to_who_has_it_and_is_taken_off_for_who_has_not() {
    for redundant in [0, 1, 2] {
        let mut sim = Sim::good();
        let (alice, bob, carol) = (sim.join(), sim.join(), sim.join());
        let audio = publish(&mut sim, alice, Some(redundant));
        let (with, without) = (subscribe_with_red(&mut sim, bob, audio), sim.subscribe(carol, audio));
        sim.run(Duration::from_secs(2));
        let sent = sim.source(audio).sent.len();
        for watch in [with, without] {
            assert!(sim.sink(watch).frames().len() + 3 >= sent);
            assert_eq!(sim.sink(watch).holes(), 0);
            let sink = sim.sink(watch);
            assert!(sink.levels + 3 >= sent, "levels go with either");
        }
        let wrapped = sim.sink(with).wrapped;
        assert!(wrapped + 3 >= sent, "{wrapped} of {sent}");
        assert_eq!(sim.sink(without).wrapped, 0);
        let again = sim.sink(with).redundant.clone();
        assert_eq!(again.is_empty(), redundant == 0);
        let packets: Vec<_> = sim.sink(without).packets.values().cloned().collect();
        let known = packets
            .iter()
            .filter(|got| again.get(&got.timestamp) == Some(&got.payload));
        assert!(
            redundant == 0 || known.count() + 3 >= sent,
            "what comes again is the same"
        );
        assert_eq!(sim.speakers().last(), Some(&vec![audio]), "and who speaks is told");
    }
}

#[test]
fn packets_lost_on_the_way_up_are_filled_in_for_everybody() {
    for_seeds(1..=4, |seed| {
        let loss = 0.1;
        let mut sim = Sim::new(seed, Conditions::GOOD);
        let (alice, bob, carol) = (sim.join(), sim.join(), sim.join());
        lossy_up(&mut sim, alice, loss);
        let audio = publish(&mut sim, alice, Some(1));
        let (with, without) = (subscribe_with_red(&mut sim, bob, audio), sim.subscribe(carol, audio));
        sim.run(Duration::from_secs(SECONDS));
        let sent = sim.source(audio).sent.len();
        for watch in [with, without] {
            let missing = sent - sim.sink(watch).frames().len();
            // Only two in a row leave a hole: 1 % of the packets, where 10 % were lost.
            assert!(missing < sent / 33, "{missing} of {sent} are missing; seed {seed}");
            let packets = sim.sink(watch).packets.clone();
            let steps = packets.values().zip(packets.values().skip(1));
            for (before, after) in steps {
                let frames = after.piece.frame - before.piece.frame;
                assert_eq!(
                    after.timestamp.wrapping_sub(before.timestamp),
                    frames * 960,
                    "seed {seed}"
                );
            }
        }
        let stats = produced_stats(&mut sim, audio);
        let lost = sent as i64 - stats.packets_received as i64;
        assert!(stats.packets_recovered as i64 * 4 > lost * 3, "{stats:?}; seed {seed}");
        assert!(
            stats.packets_lost * 2 > lost,
            "the way up is told of as it is: {stats:?}; seed {seed}"
        );
    });
}

#[test]
fn a_narrow_path_is_not_filled_with_what_is_said_again() {
    for_seeds(1..=4, |seed| {
        let mut sim = Sim::new(seed, Conditions::GOOD);
        let (alice, bob) = (sim.join(), sim.join());
        let start = sim.now;
        sim.client(bob).arrivals = Some(Arrivals::new(start));
        let camera = sim.publish_camera(alice);
        let audio = publish(&mut sim, alice, Some(1));
        sim.subscribe(bob, camera);
        let sound = subscribe_with_red(&mut sim, bob, audio);
        let wrapped = |sim: &mut Sim, bits_per_second: u64, seconds: u64| {
            sim.client(bob).down.conditions.bottleneck = Some(Bottleneck {
                bits_per_second,
                queue_bytes: bits_per_second as usize * 3 / 80,
            });
            // What is asked is how it is once the path is known.
            sim.run(Duration::from_secs(seconds));
            let before = sim.sink(sound).wrapped;
            sim.run(Duration::from_secs(2));
            sim.sink(sound).wrapped - before
        };
        let wide = wrapped(&mut sim, 3_000_000, 8);
        assert!(wide > 95, "{wide} of 100; seed {seed}");
        let narrow = wrapped(&mut sim, 200_000, 8);
        assert_eq!(narrow, 0, "seed {seed}");
        let again = wrapped(&mut sim, 3_000_000, 20);
        assert!(again > 95, "{again} of 100; seed {seed}");
        assert!(sim.sink(sound).holes() < 40, "{}; seed {seed}", sim.sink(sound).holes());
    });
}

#[test]
fn a_packet_that_was_only_late_is_not_sent_twice_and_not_counted_as_lost() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    sim.client(alice).up.conditions = Conditions {
        jitter: Duration::from_millis(60),
        ..Conditions::GOOD
    };
    let audio = publish(&mut sim, alice, Some(1));
    let watch = sim.subscribe(bob, audio);
    sim.run(Duration::from_secs(SECONDS));
    let stats = produced_stats(&mut sim, audio);
    assert!(stats.packets_recovered > 20, "{stats:?}");
    assert!(stats.packets_lost <= 4, "{stats:?}");
    // The sink itself asserts that no number has two ciphertexts.
    assert_eq!((sim.sink(watch).holes(), sim.sink(watch).repeated), (0, 0));
}

#[test]
fn it_goes_on_over_pauses_of_discontinuous_transmission() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let audio = publish(&mut sim, alice, Some(1));
    let watch = sim.subscribe(bob, audio);
    for _ in 0..5 {
        sim.run(Duration::from_millis(400));
        sim.source(audio).silent(Duration::from_millis(400));
    }
    sim.run(Duration::from_secs(1));
    let sent = sim.source(audio).sent.len();
    assert!(sim.sink(watch).frames().len() + 2 >= sent);
    assert_eq!(sim.sink(watch).holes(), 0);
    assert_eq!(produced_stats(&mut sim, audio).packets_recovered, 0);
}

#[test]
fn opaque_payloads_pass_to_who_has_red_and_to_nobody_else() {
    let mut sim = Sim::good();
    let (alice, bob, carol) = (sim.join(), sim.join(), sim.join());
    let audio = publish(&mut sim, alice, Some(1));
    sim.source(audio).opaque = true;
    let (with, without) = (subscribe_with_red(&mut sim, bob, audio), sim.subscribe(carol, audio));
    sim.run(Duration::from_secs(1));
    let sent = sim.source(audio).sent.len();
    assert!(sim.sink(with).opaque.len() + 3 >= sent);
    assert!(sim.sink(without).packets.is_empty());
    assert!(sim.engine.dropped().opaque as usize + 3 >= sent);
}

#[test]
fn a_publisher_may_change_between_red_and_plain() {
    let mut sim = Sim::good();
    let (alice, bob, carol) = (sim.join(), sim.join(), sim.join());
    let audio = publish(&mut sim, alice, None);
    let (with, without) = (subscribe_with_red(&mut sim, bob, audio), sim.subscribe(carol, audio));
    for redundant in [Some(1), None, Some(2)] {
        sim.run(Duration::from_millis(500));
        sim.source(audio).redundant = redundant;
    }
    sim.run(Duration::from_millis(500));
    let sent = sim.source(audio).sent.len();
    for watch in [with, without] {
        assert!(sim.sink(watch).frames().len() + 3 >= sent);
        assert_eq!(sim.sink(watch).holes(), 0);
    }
}

#[derive(Debug)]
struct Channel(SyncSender<TapItem>);

impl TapSink for Channel {
    fn push(&mut self, item: TapItem) -> bool {
        self.0.try_send(item).is_ok()
    }
}

/// Records a microphone over a lossy way up: frames written, packets that the recorder misses.
fn recorded(seed: u64, redundant: Option<usize>) -> (u64, u64) {
    let mut sim = Sim::new(seed, Conditions::GOOD);
    let alice = sim.join();
    lossy_up(&mut sim, alice, 0.1);
    let audio = publish(&mut sim, alice, redundant);
    let (sender, items) = sync_channel(100_000);
    sim.command(Command::Tap {
        producer: audio,
        tap: TapId(1),
        sink: Box::new(Channel(sender)),
    });
    let mut writer = TrackGroupWriter::new(GroupParameters {
        audio: Some(produced(MediaKind::Audio, "0", 1).codecs),
        video: None,
        recording_start: sim.now,
        first_segment: 0,
        writing_app: "tests".to_owned(),
    });
    for _ in 0..SECONDS * 10 {
        sim.run(Duration::from_millis(100));
        for item in items.try_iter() {
            writer.push(sim.now, MediaKind::Audio, item).unwrap();
        }
        writer.handle_timeout(sim.now);
        while writer.poll_segment().is_some() {}
    }
    writer.finish(sim.now);
    let stats = writer.stats();
    assert_eq!((stats.malformed, stats.unknown), (0, 0), "{stats:?}");
    (stats.frames, stats.lost)
}

#[test]
fn a_recording_has_fewer_holes_with_it_than_without() {
    for_seeds(1..=3, |seed| {
        let (frames, lost) = recorded(seed, None);
        let (frames_with, lost_with) = recorded(seed, Some(1));
        assert!(lost > 30 && lost_with * 4 < lost, "{lost} and {lost_with}; seed {seed}");
        assert!(frames_with > frames + 20, "{frames} and {frames_with}; seed {seed}");
    });
}
