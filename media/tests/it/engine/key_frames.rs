//! Key frames that publishers are asked for, and those that they are spared.

use std::time::{Duration, Instant};

use caside_media::parameters::{MediaKind, Ssrc};

use crate::engine::layers::{RIDS, check_decodable, frames};
use crate::sim::sink::Sink;
use crate::sim::{At, Sim, Watch};
use crate::transport::link::{Conditions, for_seeds};

const SECOND: Duration = Duration::from_secs(1);

/// A receiver asks for a key frame of what it sees.
fn ask(sim: &mut Sim, bob: At, watch: Watch) {
    let (now, ssrc) = (sim.now, sim.sink(watch).parameters.ssrc);
    sim.client(bob)
        .send_rtcp(now, |writer| writer.picture_loss(Ssrc(9), ssrc));
}

/// The encoding of what came whole last.
fn last_encoding(sink: &Sink) -> Option<u32> {
    frames(sink).last().map(|frame| frame.encoding)
}

#[test]
fn an_encoding_that_comes_no_more_is_asked_for_nothing_and_receivers_go_on_with_the_next() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish_simulcast(alice, &RIDS);
    let watch = sim.subscribe(bob, video);
    sim.run(3 * SECOND);
    assert_eq!(last_encoding(sim.sink(watch)), Some(2));
    // Nothing answers this request: the encoding ends while it is under way.
    ask(&mut sim, bob, watch);
    sim.encodings(video)[2].next_frame = None;
    let (ended, before) = (sim.now, frames(sim.sink(watch)).len());
    sim.run(6 * SECOND);
    let asked = |sim: &mut Sim, encoding: usize, since: Instant| {
        let plis = &sim.encodings(video)[encoding].plis;
        plis.iter().filter(|at| **at >= since).count()
    };
    assert_eq!(asked(&mut sim, 2, ended), 1, "and never again");
    assert_eq!(asked(&mut sim, 1, ended), 1, "what goes on instead begins once");
    let seen = frames(sim.sink(watch)).len() - before;
    assert!(seen >= 138, "{seen} frames of 25 a second in 6 s");
    assert_eq!(last_encoding(sim.sink(watch)), Some(1));
    // It begins with a key frame when it comes again.
    let again = sim.now;
    sim.encodings(video)[2].next_frame = Some(again);
    sim.run(2 * SECOND);
    assert_eq!(last_encoding(sim.sink(watch)), Some(2));
    check_decodable(&frames(sim.sink(watch)));
}

/// A publisher of whose packets three of four are lost for `overrun`, beginning now; a receiver asks for a key frame [`ASKED`] later.
/// When the publisher was asked for some, in milliseconds from now.
fn asked_on_an_overrun_path(seed: u64, overrun: Duration) -> Vec<u128> {
    let mut sim = Sim::new(seed, Conditions::GOOD);
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    sim.source(video).parts = 12;
    let watch = sim.subscribe(bob, video);
    sim.run(3 * SECOND);
    let begun = sim.now;
    sim.client(alice).up.conditions.loss = 0.75;
    sim.run(ASKED);
    ask(&mut sim, bob, watch);
    sim.run(overrun - ASKED);
    sim.client(alice).up.conditions.loss = 0.0;
    sim.run(3 * SECOND);
    let plis = sim.source(video).plis.iter();
    plis.filter_map(|at| at.checked_duration_since(begun))
        .map(|passed| passed.as_millis())
        .collect()
}

const ASKED: Duration = Duration::from_millis(300);

#[test]
fn a_publisher_whose_path_is_overrun_is_asked_for_a_key_frame_when_it_is_not_any_more() {
    for_seeds(1..=6, |seed| {
        let asked = asked_on_an_overrun_path(seed, SECOND * 9 / 10);
        // That it is not overrun any more is known after a tenth of a second, or two; in a second it would have been asked anyhow.
        assert!(matches!(asked[..], [950..=1200]), "{asked:?} ms; seed {seed}");
    });
}

#[test]
fn a_publisher_whose_path_stays_overrun_is_asked_for_a_key_frame_a_second_later_all_the_same() {
    for_seeds(1..=6, |seed| {
        let asked = asked_on_an_overrun_path(seed, 3 * SECOND);
        // Nothing is repaired meanwhile, so that one or the other wish may come a second time.
        let (first, last) = (asked[0], asked[asked.len() - 1]);
        assert!((1300..=1450).contains(&first), "{asked:?} ms; seed {seed}");
        assert!((3050..=3600).contains(&last), "{asked:?} ms; seed {seed}");
        let is_seldom = asked.windows(2).all(|pair| pair[1] - pair[0] >= 500);
        assert!(is_seldom && asked.len() <= 3, "{asked:?} ms; seed {seed}");
    });
}
