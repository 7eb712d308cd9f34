//! Simulcast and temporal layers: who gets which, without a seam.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use caside_media::control::{Command, EventKind, TapItem, TapSink};
use caside_media::layers::{Content, Preference, Quality};
use caside_media::parameters::{ConsumerId, MediaKind, ProducerId, TapId};
use caside_media::rtp::vp8::Vp8Descriptor;

use crate::sim::parameters::consumed;
use crate::sim::sink::Sink;
use crate::sim::source::Piece;
use crate::sim::{Sim, Watch};
use crate::transport::link::{Conditions, for_seeds};

pub(super) const RIDS: [&str; 3] = ["q", "h", "f"];

/// A whole frame as it was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) encoding: u32,
    number: u32,
    key: bool,
    timestamp: u32,
    pub(super) descriptor: Vp8Descriptor,
}

fn watch(sim: &mut Sim, producer: ProducerId) -> (ConsumerId, Watch) {
    let bob = sim.join();
    sim.subscribe_with(bob, producer, consumed(MediaKind::Video, "0", 0x10_0000))
}

fn prefer(sim: &mut Sim, consumer: ConsumerId, quality: Quality) {
    let preference = Preference {
        quality,
        ..Preference::default()
    };
    sim.command(Command::PreferLayers { consumer, preference });
}

/// The frames that came whole, in order.
pub(super) fn frames(sink: &Sink) -> Vec<Frame> {
    let mut parts: BTreeMap<u32, (u16, u64)> = BTreeMap::new();
    let mut frames = BTreeMap::new();
    for (place, got) in &sink.packets {
        let Piece {
            frame,
            part,
            parts: expected,
            key,
        } = got.piece;
        assert_eq!(got.marker, part + 1 == expected);
        let (came, first) = parts.entry(frame).or_insert((0, *place));
        *came += 1;
        *first = (*first).min(*place);
        if *came == expected {
            let descriptor = Vp8Descriptor::parse(&got.payload).unwrap();
            frames.insert(
                *first,
                Frame {
                    encoding: frame >> 24,
                    number: frame,
                    key,
                    timestamp: got.timestamp,
                    descriptor,
                },
            );
        }
    }
    frames.into_values().collect()
}

/// Whether a decoder could show every frame: each refers to those it was made from, by the pattern of the source.
pub(super) fn check_decodable(frames: &[Frame]) {
    let mut last: [Option<u32>; 3] = [None; 3];
    for frame in frames {
        let temporal = usize::from(frame.descriptor.temporal.unwrap());
        if frame.key {
            last = [None; 3];
        } else {
            let base = last[0].expect("a key frame first");
            assert_eq!(base >> 24, frame.encoding, "a key frame before another encoding");
            match (temporal, frame.descriptor.layer_sync) {
                (0, _) => assert_eq!(base, frame.number - 4, "the lowest layer refers to itself"),
                (2, false) => assert_eq!(last[1], Some(frame.number - 1), "the last refers to the one before"),
                (_, sync) => assert!(sync && base + 2 >= frame.number),
            }
        }
        last[temporal] = Some(frame.number);
    }
}

/// Numbers of pictures count what is received, those of the lowest layer its frames, and time goes forward.
pub(super) fn check_continuous(frames: &[Frame]) {
    for pair in frames.windows(2) {
        let [before, frame] = [pair[0].descriptor, pair[1].descriptor];
        let step = frame.picture.wrapping_sub(before.picture) & 0x7fff;
        let tl0_step = frame.tl0.unwrap().wrapping_sub(before.tl0.unwrap());
        // A switch may cut a frame, of which the beginning went out.
        let cut = u8::from(pair[1].key);
        let least = u8::from(frame.temporal == Some(0));
        assert!((1..=1 + u16::from(cut)).contains(&step), "{pair:?}");
        assert!((least..=least + cut).contains(&tl0_step), "{pair:?}");
        let passed = pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32;
        assert!((1..90_000).contains(&passed), "{passed} ticks between {pair:?}");
    }
}

/// Runs, and gives the encodings and temporal layers of what came in the last part.
fn settled(sim: &mut Sim, watch: Watch, run: Duration, last: Duration) -> Vec<(u32, u8)> {
    sim.run(run - last);
    let before = sim.sink(watch).packets.len();
    sim.run(last);
    let packets = sim.sink(watch).packets.values().skip(before + 20);
    let mut layers: Vec<_> = packets
        .map(|got| {
            let descriptor = Vp8Descriptor::parse(&got.payload).unwrap();
            (got.piece.frame >> 24, descriptor.temporal.unwrap())
        })
        .collect();
    layers.sort_unstable();
    layers.dedup();
    layers
}

pub(super) const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_receiver_goes_down_and_up_without_a_seam() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let video = sim.publish_simulcast(alice, &RIDS);
    let (consumer, watch) = watch(&mut sim, video);
    assert_eq!(settled(&mut sim, watch, 3 * SECOND, SECOND), [(2, 0), (2, 1), (2, 2)]);
    prefer(&mut sim, consumer, Quality::Low);
    assert_eq!(settled(&mut sim, watch, 2 * SECOND, SECOND), [(0, 0), (0, 1), (0, 2)]);
    prefer(&mut sim, consumer, Quality::Medium);
    assert_eq!(settled(&mut sim, watch, 2 * SECOND, SECOND), [(1, 0), (1, 1), (1, 2)]);
    prefer(&mut sim, consumer, Quality::High);
    assert_eq!(settled(&mut sim, watch, 2 * SECOND, SECOND), [(2, 0), (2, 1), (2, 2)]);
    let sink = sim.sink(watch);
    assert_eq!((sink.holes(), sink.filled.len()), (0, 0));
    let frames = frames(sink);
    assert!(frames.len() > 200, "9 s at 25 frames a second: {}", frames.len());
    check_decodable(&frames);
    check_continuous(&frames);
}

#[test]
fn what_nobody_watches_is_not_asked_for_again() {
    for_seeds(1..=4, |seed| {
        let mut sim = Sim::new(seed, Conditions::GOOD);
        let alice = sim.join();
        let video = sim.publish_simulcast(alice, &RIDS);
        let (consumer, watch) = watch(&mut sim, video);
        prefer(&mut sim, consumer, Quality::Medium);
        sim.run(2 * SECOND);
        sim.client(alice).up.conditions.loss = 0.1;
        sim.run(SECOND);
        let asked = |sim: &mut Sim| -> Vec<(usize, usize)> {
            let encodings = sim.encodings(video).into_iter();
            encodings
                .map(|encoding| (encoding.nacked, encoding.plis.len()))
                .collect()
        };
        let before = asked(&mut sim);
        sim.run(5 * SECOND);
        let after = asked(&mut sim);
        let nacked = [0, 1, 2].map(|encoding: usize| after[encoding].0 - before[encoding].0);
        assert_eq!((nacked[0], nacked[2]), (0, 0), "seed {seed}");
        assert!(nacked[1] > 10, "{nacked:?}; seed {seed}");
        let asked_anew = [0, 2].map(|encoding: usize| after[encoding].1 - before[encoding].1);
        assert_eq!(asked_anew, [0, 0], "nor are key frames of it; seed {seed}");
        assert_eq!(sim.sink(watch).holes(), 0, "seed {seed}");
    });
}

#[test]
fn encodings_are_aligned_by_the_publishers_reports() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let video = sim.publish_simulcast(alice, &RIDS);
    let (consumer, watch) = watch(&mut sim, video);
    sim.run(3 * SECOND);
    for quality in [Quality::Low, Quality::High, Quality::Medium, Quality::High] {
        prefer(&mut sim, consumer, quality);
        sim.run(SECOND);
    }
    // All encodings took their frames at the same moments, 3600 ticks apart.
    let frames = frames(sim.sink(watch));
    let origin = frames.last().unwrap();
    let switched = frames.iter().skip_while(|frame| frame.encoding != 2);
    for frame in switched {
        let steps = (origin.number & 0xff_ffff) - (frame.number & 0xff_ffff);
        let off = origin
            .timestamp
            .wrapping_sub(frame.timestamp)
            .wrapping_sub(steps * 3600) as i32;
        assert!(off.abs() <= 2, "{off} ticks from where it should be: {frame:?}");
    }
}

#[test]
fn loss_and_reordering_leave_no_hole_and_nothing_that_cannot_be_decoded() {
    for_seeds(1..=4, |seed| {
        let lossy = Conditions {
            loss: 0.03,
            jitter: Duration::from_millis(8),
            duplicate: 0.02,
            ..Conditions::GOOD
        };
        let mut sim = Sim::new(seed, Conditions::GOOD);
        let alice = sim.join();
        let video = sim.publish_simulcast(alice, &RIDS);
        let (consumer, watch) = watch(&mut sim, video);
        sim.run(2 * SECOND);
        for client in &mut sim.clients {
            (client.up.conditions, client.down.conditions) = (lossy, lossy);
        }
        for quality in [
            Quality::Low,
            Quality::High,
            Quality::Medium,
            Quality::Low,
            Quality::High,
        ] {
            prefer(&mut sim, consumer, quality);
            sim.run(3 * SECOND / 2);
        }
        // What is under way comes in.
        sim.encodings(video)
            .into_iter()
            .for_each(|source| source.next_frame = None);
        sim.run(SECOND);
        let sink = sim.sink(watch);
        assert_eq!(sink.holes(), 0);
        let frames = frames(sink);
        assert!(frames.len() > 180, "{}", frames.len());
        check_decodable(&frames);
        check_continuous(&frames);
    });
}

#[test]
fn who_comes_later_begins_with_what_is_kept_of_its_encoding() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let video = sim.publish_simulcast(alice, &RIDS);
    watch(&mut sim, video);
    sim.run(2 * SECOND);
    sim.command(Command::RequestKeyFrame { producer: video });
    sim.run(SECOND * 2 / 5);
    let plis: usize = sim.encodings(video).iter().map(|source| source.plis.len()).sum();
    let (_, late) = watch(&mut sim, video);
    sim.run(SECOND / 50);
    let frames_at_once = frames(sim.sink(late));
    assert!(frames_at_once.len() >= 8, "{}", frames_at_once.len());
    assert!(frames_at_once[0].key && frames_at_once.iter().all(|frame| frame.encoding == 2));
    sim.run(SECOND);
    let after: usize = sim.encodings(video).iter().map(|source| source.plis.len()).sum();
    assert_eq!(after, plis, "nothing was asked for");
    let sink = sim.sink(late);
    assert_eq!((sink.holes(), sink.filled.len()), (0, 0));
    let frames = frames(sink);
    check_decodable(&frames);
    check_continuous(&frames);
}

#[test]
fn what_is_kept_goes_by_the_rate_of_frames_that_was_chosen() {
    let (mut sim, video, _, _) = temporal(Conditions::GOOD, 1);
    sim.run(2 * SECOND);
    sim.command(Command::RequestKeyFrame { producer: video });
    sim.run(SECOND * 2 / 5);
    let carol = sim.join();
    let (consumer, late) = sim.subscribe_with(carol, video, consumed(MediaKind::Video, "0", 0x10_0000));
    sim.command(Command::PauseConsumer { consumer, paused: true });
    prefer(&mut sim, consumer, Quality::Low);
    sim.run(SECOND);
    let went = sim.sink(late).packets.len();
    sim.command(Command::RequestKeyFrame { producer: video });
    sim.run(SECOND * 2 / 5);
    sim.command(Command::PauseConsumer {
        consumer,
        paused: false,
    });
    sim.run(SECOND / 50);
    let later: Vec<_> = sim.sink(late).packets.values().skip(went).collect();
    assert!(later.len() >= 8, "{}", later.len());
    let temporal = |payload: &[u8]| Vp8Descriptor::parse(payload).unwrap().temporal;
    assert!(later.iter().all(|got| temporal(&got.payload) == Some(0)));
    sim.run(SECOND);
    assert_eq!(sim.sink(late).holes(), 0);
    check_decodable(&frames(sim.sink(late)));
}

/// A publisher of one encoding with temporal layers.
fn temporal(conditions: Conditions, seed: u64) -> (Sim, ProducerId, ConsumerId, Watch) {
    let mut sim = Sim::new(seed, conditions);
    let alice = sim.join();
    let video = sim.publish_simulcast(alice, &["only"]);
    let (consumer, watch) = watch(&mut sim, video);
    (sim, video, consumer, watch)
}

#[test]
fn with_one_size_the_rate_of_frames_is_what_a_receiver_chooses() {
    let (mut sim, video, consumer, watch) = temporal(Conditions::GOOD, 1);
    assert_eq!(settled(&mut sim, watch, 3 * SECOND, SECOND), [(0, 0), (0, 1), (0, 2)]);
    let plis = sim.source(video).plis.len();
    prefer(&mut sim, consumer, Quality::Low);
    assert_eq!(settled(&mut sim, watch, 2 * SECOND, SECOND), [(0, 0)]);
    prefer(&mut sim, consumer, Quality::Medium);
    assert_eq!(settled(&mut sim, watch, 2 * SECOND, SECOND), [(0, 0), (0, 1)]);
    prefer(&mut sim, consumer, Quality::High);
    assert_eq!(settled(&mut sim, watch, 2 * SECOND, SECOND), [(0, 0), (0, 1), (0, 2)]);
    assert_eq!(sim.source(video).plis.len(), plis, "no key frame is needed for that");
    let sink = sim.sink(watch);
    assert_eq!(
        (sink.holes(), sink.filled.len()),
        (0, 0),
        "what is left out leaves no gap"
    );
    let frames = frames(sink);
    check_decodable(&frames);
    check_continuous(&frames);
}

#[test]
fn what_is_left_out_late_is_filled_in() {
    for_seeds(1..=3, |seed| {
        let (mut sim, video, consumer, watch) = temporal(Conditions::GOOD, seed);
        sim.run(2 * SECOND);
        prefer(&mut sim, consumer, Quality::Low);
        // On its way to us packets are lost, and come again after their successors.
        sim.clients[0].up.conditions.loss = 0.05;
        sim.run(10 * SECOND);
        sim.source(video).next_frame = None;
        sim.run(SECOND);
        let sink = sim.sink(watch);
        assert!(sink.filled.len() > 5, "{}", sink.filled.len());
        assert_eq!(sink.holes(), 0);
        check_decodable(&frames(sink));
    });
}

#[test]
fn a_screen_keeps_its_size() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let video = sim.publish_simulcast(alice, &["h", "f"]);
    let content = Content {
        screen: true,
        encrypted: false,
    };
    sim.command(Command::DescribeProducer {
        producer: video,
        content,
    });
    let (consumer, watch) = watch(&mut sim, video);
    prefer(&mut sim, consumer, Quality::Low);
    assert_eq!(settled(&mut sim, watch, 3 * SECOND, SECOND), [(1, 0)]);
}

#[test]
fn an_encoding_that_stops_is_replaced_by_the_next_below() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let video = sim.publish_simulcast(alice, &RIDS);
    let (_, watch) = watch(&mut sim, video);
    sim.run(2 * SECOND);
    sim.encodings(video)[2].next_frame = None;
    assert_eq!(settled(&mut sim, watch, 3 * SECOND, SECOND), [(1, 0), (1, 1), (1, 2)]);
    let now = sim.now;
    sim.encodings(video)[2].next_frame = Some(now);
    assert_eq!(settled(&mut sim, watch, 2 * SECOND, SECOND), [(2, 0), (2, 1), (2, 2)]);
    let frames = frames(sim.sink(watch));
    check_decodable(&frames);
    check_continuous(&frames);
}

/// The highest encodings that a publisher was told to send, in order.
fn told(sim: &Sim) -> Vec<u8> {
    let told = sim.events.iter().filter_map(|event| match event.kind {
        EventKind::EncodingsWanted { highest, .. } => Some(highest),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_publisher_is_told_which_encodings_nobody_wants() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let video = sim.publish_simulcast(alice, &RIDS);
    sim.run(3 * SECOND);
    assert_eq!(told(&sim), [0], "nobody watches: the lowest stays for those who come");
    let (first, _) = watch(&mut sim, video);
    sim.run(SECOND / 10);
    assert_eq!(told(&sim), [0, 2]);
    let (second, _) = watch(&mut sim, video);
    prefer(&mut sim, first, Quality::Low);
    prefer(&mut sim, second, Quality::Medium);
    sim.run(SECOND);
    assert_eq!(told(&sim), [0, 2]);
    sim.run(2 * SECOND);
    assert_eq!(told(&sim), [0, 2, 1]);
    prefer(&mut sim, first, Quality::High);
    prefer(&mut sim, first, Quality::Low);
    assert_eq!(told(&sim), [0, 2, 1, 2]);
    sim.command(Command::CloseConsumer { consumer: second });
    sim.run(5 * SECOND);
    assert_eq!(told(&sim), [0, 2, 1, 2, 1, 0]);
}

#[derive(Debug)]
struct Channel(std::sync::mpsc::SyncSender<TapItem>);

impl TapSink for Channel {
    fn push(&mut self, item: TapItem) -> bool {
        self.0.try_send(item).is_ok()
    }
}

#[test]
fn a_tap_sees_one_encoding_at_a_time_and_keeps_the_best_coming() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let video = sim.publish_simulcast(alice, &RIDS);
    sim.run(3 * SECOND);
    let (sender, items) = sync_channel(100_000);
    sim.command(Command::Tap {
        producer: video,
        tap: TapId(1),
        sink: Box::new(Channel(sender)),
    });
    assert_eq!(told(&sim), [0, 2]);
    sim.run(SECOND);
    sim.encodings(video)[2].next_frame = None;
    sim.run(3 * SECOND);
    let mut seen = Vec::new();
    for item in items.try_iter() {
        if let TapItem::Packet(packet) = item {
            let piece = Piece::read(&packet.payload);
            let encoding = piece.frame >> 24;
            if seen.last() != Some(&encoding) {
                assert!(piece.key && piece.part == 0 || seen.is_empty());
                seen.push(encoding);
            }
        }
    }
    assert_eq!(seen, [2, 1]);
}
