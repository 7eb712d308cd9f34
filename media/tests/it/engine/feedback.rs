//! What is told to publishers and receivers by the clock.

use std::time::Duration;

use caside_media::control::Command;
use caside_media::parameters::MediaKind;

use crate::sim::Sim;
use crate::sim::parameters::produced;
use crate::transport::link::Conditions;

#[test]
fn publishers_get_transport_wide_feedback_about_every_packet() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    for kind in [MediaKind::Audio, MediaKind::Video] {
        let producer = sim.publish(alice, kind);
        sim.subscribe(bob, producer);
    }
    sim.run(Duration::from_secs(3));
    let client = sim.client(alice);
    // But for what is under way.
    assert!(
        client.acknowledged.len() as u32 + 30 > client.numbered,
        "{} of {}",
        client.acknowledged.len(),
        client.numbered
    );
    assert!(
        (40..=75).contains(&client.feedback_messages),
        "{} messages in 3 s",
        client.feedback_messages
    );
    assert!(client.rembs.is_empty(), "one kind of feedback suffices");
}

#[test]
fn what_was_lost_is_reported_as_lost() {
    let mut sim = Sim::new(
        9,
        Conditions {
            loss: 0.2,
            ..Conditions::GOOD
        },
    );
    let alice = sim.join();
    sim.publish(alice, MediaKind::Audio);
    sim.client(alice).down.conditions.loss = 0.0;
    sim.run(Duration::from_secs(10));
    let client = sim.client(alice);
    let share = client.acknowledged.len() as f64 / f64::from(client.numbered);
    assert!((0.75..0.85).contains(&share), "{share}");
    let last = client.blocks.last().unwrap();
    assert!((60..140).contains(&last.lost), "{last:?}");
    let fractions: Vec<_> = client
        .blocks
        .iter()
        .map(|block| f64::from(block.fraction_lost) / 256.0)
        .collect();
    let mean = fractions.iter().sum::<f64>() / fractions.len() as f64;
    assert!((0.15..0.25).contains(&mean), "{fractions:?}");
}

#[test]
fn publishers_without_it_get_a_generous_remb() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let video = sim.publish(alice, MediaKind::Video);
    let (mid, ssrc) = (sim.source(video).mid.clone(), sim.source(video).ssrc);
    let mut parameters = produced(MediaKind::Video, &mid, ssrc.0);
    parameters
        .codecs
        .iter_mut()
        .for_each(|codec| codec.feedback.transport_cc = false);
    sim.command(Command::UpdateProducer {
        producer: video,
        parameters,
    });
    sim.run(Duration::from_secs(5));
    let client = sim.client(alice);
    assert!((3..=6).contains(&client.rembs.len()), "{:?}", client.rembs);
    assert!(
        client.rembs.iter().all(|bitrate| (bitrate - 10e6).abs() < 1e3),
        "{:?}",
        client.rembs
    );
    assert_eq!(client.feedback_messages, 0);
}

#[test]
fn receiver_reports_come_each_second_and_name_the_sender_report() {
    let mut sim = Sim::good();
    let alice = sim.join();
    sim.publish(alice, MediaKind::Audio);
    sim.run(Duration::from_secs(10));
    let blocks = &sim.client(alice).blocks;
    assert!((8..=12).contains(&blocks.len()), "{}", blocks.len());
    let last = blocks.last().unwrap();
    assert_ne!(last.last_report, 0);
    assert!(
        last.delay <= 65_536,
        "a sender report came within the last second: {last:?}"
    );
    assert_eq!((last.lost, last.fraction_lost), (0, 0));
}

#[test]
fn sound_and_picture_stay_in_sync_whatever_the_publishers_clock() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    // An hour ahead, and its reports take longer at some times than at others.
    sim.client(alice).clock_ahead = 3600.0;
    sim.client(alice).up.conditions.jitter = Duration::from_millis(100);
    let (audio, video) = (
        sim.publish(alice, MediaKind::Audio),
        sim.publish(alice, MediaKind::Video),
    );
    // Both clocks began at the same moment, far apart.
    sim.source(audio).timestamp = 4_000_000_000;
    sim.source(video).timestamp = 12_345;
    let (watch_audio, watch_video) = (sim.subscribe(bob, audio), sim.subscribe(bob, video));
    let start = sim.wall();
    sim.run(Duration::from_secs(10));
    // The capture time, in seconds on our clock, that a receiver computes for the first frame of each.
    let mut captured = |watch, first: u32, rate: f64| -> Vec<f64> {
        let sink = sim.sink(watch);
        assert!((8..=14).contains(&sink.reports.len()), "{}", sink.reports.len());
        assert_eq!(sink.cnames.iter().collect::<Vec<_>>(), ["publisher"]);
        let moment = |(_, ntp, rtp): &(_, caside_media::rtcp::NtpTime, u32)| {
            ntp.since(start) as f64 / (1u64 << 32) as f64 - f64::from(rtp.wrapping_sub(first)) / rate
        };
        sink.reports.iter().map(moment).collect()
    };
    let sound = captured(watch_audio, 4_000_000_000, 48_000.0);
    let picture = captured(watch_video, 12_345, 90_000.0);
    let all: Vec<_> = sound.iter().chain(&picture).copied().collect();
    let spread = all.iter().copied().fold(f64::MIN, f64::max) - all.iter().copied().fold(f64::MAX, f64::min);
    assert!(spread < 0.002, "the reports disagree by {spread} s: {all:?}");
}

#[test]
fn a_publisher_without_sender_reports_gets_them_made_up_after_a_while() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let audio = sim.publish(alice, MediaKind::Audio);
    sim.source(audio).reports = false;
    let watch = sim.subscribe(bob, audio);
    sim.run(Duration::from_secs(10));
    let start = sim.start;
    let sink = sim.sink(watch);
    assert!(!sink.reports.is_empty());
    assert!(
        sink.reports
            .iter()
            .all(|(at, ..)| *at - start >= Duration::from_secs(6))
    );
}

#[test]
fn where_fir_alone_was_agreed_key_frames_are_asked_for_by_fir() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    let (mid, ssrc) = (sim.source(video).mid.clone(), sim.source(video).ssrc);
    let mut parameters = produced(MediaKind::Video, &mid, ssrc.0);
    parameters
        .codecs
        .iter_mut()
        .for_each(|codec| codec.feedback.pli = false);
    sim.command(Command::UpdateProducer {
        producer: video,
        parameters,
    });
    sim.run(Duration::from_secs(1));
    assert!(sim.source(video).plis.is_empty());
    let watch = sim.subscribe(bob, video);
    sim.run(Duration::from_secs(1));
    assert_eq!(sim.source(video).plis.len(), 1);
    assert!(sim.sink(watch).frames().len() > 15);
}
