//! Pauses, renegotiations and reloads: the receiver sees one continuous track.

use std::time::Duration;

use caside_media::control::Command;
use caside_media::parameters::{MediaKind, PayloadType, ProducerId, Ssrc};

use crate::sim::parameters::produced;
use crate::sim::{Sim, Watch};

/// No number is missing, timestamps do not go back, and after each interruption comes a key frame.
fn assert_continuous(sim: &mut Sim, watch: Watch) {
    let sink = sim.sink(watch);
    assert_eq!(sink.holes(), 0);
    let is_video = sink.is_video();
    for (before, after) in sink.packets.values().zip(sink.packets.values().skip(1)) {
        let step = after.timestamp.wrapping_sub(before.timestamp) as i32;
        assert!(step >= 0, "timestamps go back: {before:?} then {after:?}");
        let same_frame = before.piece.frame == after.piece.frame;
        let next_frame = before.piece.frame + 1 == after.piece.frame;
        if !same_frame && !next_frame && is_video {
            assert!(
                after.piece.key && after.piece.part == 0,
                "{:?} then {:?}",
                before.piece,
                after.piece
            );
        }
        let passed = (after.at - before.at).as_secs_f64();
        let rate = if is_video { 90_000.0 } else { 48_000.0 };
        let drift = f64::from(step) / rate - passed;
        assert!(
            drift.abs() < 0.15,
            "after {passed} s the clock went on by {} s",
            f64::from(step) / rate
        );
    }
}

fn frames_since(sim: &mut Sim, watch: Watch, since: usize) -> usize {
    sim.sink(watch).packets.len() - since
}

#[test]
fn muting_at_the_producer_stops_all_and_resumes_without_a_seam() {
    for kind in [MediaKind::Video, MediaKind::Audio] {
        let mut sim = Sim::good();
        let (alice, bob) = (sim.join(), sim.join());
        let producer = sim.publish(alice, kind);
        let watch = sim.subscribe(bob, producer);
        sim.run(Duration::from_secs(2));
        sim.command(Command::PauseProducer { producer, paused: true });
        sim.run(Duration::from_millis(100));
        let before = sim.sink(watch).packets.len();
        sim.run(Duration::from_secs(3));
        assert_eq!(frames_since(&mut sim, watch, before), 0);
        sim.command(Command::PauseProducer {
            producer,
            paused: false,
        });
        sim.run(Duration::from_secs(2));
        assert!(frames_since(&mut sim, watch, before) > 70);
        assert_continuous(&mut sim, watch);
    }
}

#[test]
fn pausing_one_consumer_leaves_the_others_alone() {
    let mut sim = Sim::good();
    let (alice, bob, carol) = (sim.join(), sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    let parameters = crate::sim::parameters::consumed(MediaKind::Video, "0", 0x7000);
    let (consumer, paused) = sim.subscribe_with(bob, video, parameters);
    let other = sim.subscribe(carol, video);
    sim.run(Duration::from_secs(1));
    sim.command(Command::PauseConsumer { consumer, paused: true });
    sim.run(Duration::from_millis(100));
    let before = sim.sink(paused).packets.len();
    sim.run(Duration::from_secs(2));
    assert_eq!(frames_since(&mut sim, paused, before), 0);
    sim.command(Command::PauseConsumer {
        consumer,
        paused: false,
    });
    sim.run(Duration::from_secs(1));
    assert!(frames_since(&mut sim, paused, before) > 50);
    assert_continuous(&mut sim, paused);
    assert_continuous(&mut sim, other);
    let sent = sim.source(video).sent.len();
    assert!(sim.sink(other).frames().len() + 5 > sent);
}

/// The publisher sends under other numbers from now on.
fn change_stream(sim: &mut Sim, producer: ProducerId, ssrc: u32) {
    let source = sim.source(producer);
    source.ssrc = Ssrc(ssrc);
    source.sequence = source.sequence.wrapping_add(40_000);
    source.timestamp = source.timestamp.wrapping_add(2_000_000_000);
    source.pli(source.next_frame.unwrap());
}

#[test]
fn a_renegotiated_track_goes_on_under_new_numbers() {
    for kind in [MediaKind::Video, MediaKind::Audio] {
        let mut sim = Sim::good();
        let (alice, bob) = (sim.join(), sim.join());
        let producer = sim.publish(alice, kind);
        let watch = sim.subscribe(bob, producer);
        sim.run(Duration::from_secs(2));
        let mid = sim.source(producer).mid.clone();
        sim.command(Command::UpdateProducer {
            producer,
            parameters: produced(kind, &mid, 0x9000),
        });
        change_stream(&mut sim, producer, 0x9000);
        let before = sim.sink(watch).packets.len();
        sim.run(Duration::from_secs(2));
        assert!(frames_since(&mut sim, watch, before) > 80);
        assert_continuous(&mut sim, watch);
    }
}

#[test]
fn an_ssrc_that_nobody_announced_is_learnt_by_its_mid() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let audio = sim.publish(alice, MediaKind::Audio);
    let video = sim.publish(alice, MediaKind::Video);
    let (watch_audio, watch_video) = (sim.subscribe(bob, audio), sim.subscribe(bob, video));
    sim.run(Duration::from_secs(1));
    change_stream(&mut sim, video, 0xabcd_0000);
    let before = (sim.sink(watch_audio).packets.len(), sim.sink(watch_video).packets.len());
    sim.run(Duration::from_secs(2));
    assert!(frames_since(&mut sim, watch_audio, before.0) > 90);
    assert!(frames_since(&mut sim, watch_video, before.1) > 150);
    assert_continuous(&mut sim, watch_video);
    assert_continuous(&mut sim, watch_audio);
}

#[test]
fn a_payload_type_of_one_producer_tells_where_an_unknown_ssrc_belongs() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let audio = sim.publish(alice, MediaKind::Audio);
    let transport = sim.transport_of(alice);
    let mut parameters = produced(MediaKind::Video, "7", 1);
    parameters.encodings[0].ssrc = None;
    parameters.encodings[0].rtx_ssrc = None;
    parameters.extensions.mid = None;
    let video = ProducerId(700);
    sim.command(Command::Produce {
        transport,
        producer: video,
        parameters,
    });
    let now = sim.now;
    let source = crate::sim::source::Source::new(now, video, MediaKind::Video, "7".to_owned(), Ssrc(0x4444));
    sim.client(alice).sources.push(source);
    // Ids of extensions belong to the whole connection: without that of the MID, none is read.
    let mut without_mid = produced(MediaKind::Audio, "0", sim.source(audio).ssrc.0);
    without_mid.extensions.mid = None;
    sim.command(Command::UpdateProducer {
        producer: audio,
        parameters: without_mid,
    });
    let watch = sim.subscribe(bob, video);
    sim.run(Duration::from_secs(2));
    assert!(sim.sink(watch).frames().len() > 40);
}

#[test]
fn a_reloaded_publisher_is_a_new_producer_and_the_old_one_is_gone() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join_at(5000, crate::sim::ROUTER), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    let old = sim.subscribe(bob, video);
    sim.run(Duration::from_secs(1));
    // The page is reloaded: the same address and port, a new transport, while the old one is not closed yet.
    let now = sim.now;
    sim.client(alice).fall_silent(now);
    sim.run(Duration::from_millis(1100));
    let again = sim.join_at(5000, crate::sim::ROUTER);
    let video_again = sim.publish(again, MediaKind::Video);
    let new = sim.subscribe(bob, video_again);
    sim.run(Duration::from_millis(500));
    let transport = sim.transport_of(alice);
    sim.command(Command::CloseTransport { transport });
    let before = sim.sink(old).packets.len();
    sim.run(Duration::from_secs(2));
    assert_eq!(frames_since(&mut sim, old, before), 0);
    assert!(
        sim.sink(new).frames().len() > 50,
        "the path stayed with the new transport"
    );
    assert_continuous(&mut sim, new);
}

#[test]
fn an_ssrc_used_again_does_not_use_its_numbers_again() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    let parameters = crate::sim::parameters::consumed(MediaKind::Video, "0", 0x7000);
    let (consumer, watch) = sim.subscribe_with(bob, video, parameters.clone());
    sim.run(Duration::from_secs(1));
    let before = sim.sink(watch).packets.len();
    sim.command(Command::CloseConsumer { consumer });
    let consumer = caside_media::parameters::ConsumerId(4321);
    let transport = sim.transport_of(bob);
    sim.command(Command::Consume {
        transport,
        producer: video,
        consumer,
        parameters,
        paused: false,
    });
    sim.run(Duration::from_secs(1));
    // The sink asserts that no number has two ciphertexts.
    assert!(frames_since(&mut sim, watch, before) > 50);
    assert_eq!(sim.sink(watch).holes(), 0);
    assert_eq!(sim.engine.dropped().unsealed, 0);
}

#[test]
fn a_codec_that_the_receiver_did_not_agree_to_is_not_sent() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    let watch = sim.subscribe(bob, video);
    sim.run(Duration::from_secs(1));
    sim.source(video).payload_type = PayloadType(102);
    sim.run(Duration::from_millis(100));
    let before = sim.sink(watch).packets.len();
    sim.run(Duration::from_secs(1));
    assert_eq!(frames_since(&mut sim, watch, before), 0);
    sim.source(video).payload_type = PayloadType(96);
    let now = sim.now;
    sim.source(video).pli(now);
    sim.run(Duration::from_secs(1));
    assert!(frames_since(&mut sim, watch, before) > 70);
    assert_continuous(&mut sim, watch);
    let unknown = sim.engine.dropped().unknown_payload_type;
    sim.source(video).payload_type = PayloadType(50);
    sim.run(Duration::from_secs(1));
    assert!(sim.engine.dropped().unknown_payload_type > unknown + 50);
}
