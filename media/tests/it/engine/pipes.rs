//! A room on two engines: what is published in one is received in the other like in its own.

use std::time::Duration;

use caside_media::control::{Command, EventKind};
use caside_media::engine::{Engine, EngineConfig};
use caside_media::layers::{Preference, Quality};
use caside_media::parameters::{ConsumerId, Encoding, MediaKind, ProducerId, ProducerParameters, Ssrc};
use caside_media::pipe::Neighbour;
use caside_media::pipe::carrier::channel;

use super::layers::{RIDS, SECOND, check_continuous, check_decodable, frames};
use crate::sim::parameters::{consumed, produced};
use crate::sim::{At, ROUTER, Sim, Watch};
use crate::transport::link::{Conditions, for_seeds};
use crate::transport::world;

const HOME: Neighbour = Neighbour(0);
const OTHER: Neighbour = Neighbour(1);

/// Items that a pipe holds.
const CAPACITY: usize = 256;

/// Two engines with a pipe each way. Publishers are at home unless a test says otherwise.
struct Joined {
    home: Sim,
    other: Sim,
    /// Whether the other engine takes what comes over its pipe.
    stalled: bool,
}

impl Joined {
    fn new(seed: u64, conditions: Conditions) -> Self {
        let mut home = Sim::new(seed, conditions);
        let mut other = Sim::beside(home.now, 1 << 32, seed + 100, conditions);
        let (down, from_home) = channel(CAPACITY);
        let (up, from_other) = channel(CAPACITY);
        home.pipes.to.push((OTHER, down));
        home.pipes.from.push((OTHER, from_other));
        other.pipes.to.push((HOME, up));
        other.pipes.from.push((HOME, from_home));
        Self {
            home,
            other,
            stalled: false,
        }
    }

    fn good() -> Self {
        Self::new(1, Conditions::GOOD)
    }

    fn run(&mut self, time: Duration) {
        let end = self.home.now + time;
        loop {
            let next = [self.home.next(), self.other.next()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            let now = next.max(self.home.now);
            (self.home.now, self.other.now) = (now, now);
            self.home.step();
            self.other.step();
            while self.home.take_piped() | (!self.stalled && self.other.take_piped()) {}
        }
        (self.home.now, self.other.now) = (end, end);
    }

    /// Makes a producer of home known to the other engine, as it was published.
    fn pipe(&mut self, producer: ProducerId, parameters: ProducerParameters) {
        self.home.command(Command::Pipe { producer, to: OTHER });
        self.stand_in(producer, parameters);
    }

    /// The other engine's part of that.
    fn stand_in(&mut self, producer: ProducerId, parameters: ProducerParameters) {
        let publisher = self.home.transport_of(At(0));
        self.other.command(Command::ProducePiped {
            router: ROUTER,
            producer,
            home: HOME,
            publisher,
            parameters,
        });
    }

    /// A client of home publishes; the other engine knows of it.
    fn publish(&mut self, kind: MediaKind) -> ProducerId {
        let producer = self.home.publish(At(0), kind);
        self.pipe(producer, produced(kind, "0", 0x77));
        producer
    }

    fn publish_simulcast(&mut self) -> ProducerId {
        let producer = self.home.publish_simulcast(At(0), &RIDS);
        self.pipe(producer, simulcast());
        producer
    }

    /// A new client of the other engine receives a track of home.
    fn watch(&mut self, producer: ProducerId) -> (ConsumerId, Watch) {
        let kind = self.home.source(producer).kind;
        let client = self.other.join();
        self.other
            .subscribe_with(client, producer, consumed(kind, "0", 0x10_0000))
    }

    fn prefer(&mut self, consumer: ConsumerId, quality: Quality) {
        let preference = Preference {
            quality,
            ..Preference::default()
        };
        self.other.command(Command::PreferLayers { consumer, preference });
    }

    /// What is under way comes in, and nothing more is published.
    fn end(&mut self, producer: ProducerId) {
        let sources = self.home.encodings(producer);
        sources.into_iter().for_each(|source| source.next_frame = None);
        self.run(2 * SECOND);
    }

    fn plis(&mut self, producer: ProducerId) -> usize {
        let sources = self.home.encodings(producer);
        sources.into_iter().map(|source| source.plis.len()).sum()
    }
}

fn simulcast() -> ProducerParameters {
    let mut parameters = produced(MediaKind::Video, "0", 0);
    parameters.encodings = RIDS
        .map(|rid| Encoding {
            rid: Some(rid.to_owned()),
            ..Encoding::default()
        })
        .to_vec();
    parameters
}

/// Every frame from the first that came, each packet once.
fn assert_complete(sim: &mut Sim, watch: Watch, sent: &[(u32, bool)], least: usize) {
    let sink = sim.sink(watch);
    let came = sink.frames();
    let first = *came.first().expect("something came");
    let missing: Vec<_> = sent
        .iter()
        .map(|(frame, _)| *frame)
        .filter(|frame| *frame >= first && !came.contains(frame))
        .collect();
    assert!(missing.is_empty(), "frames {missing:?} did not come");
    assert!(came.len() >= least, "{} frames", came.len());
    assert_eq!((sink.holes(), sink.repeated), (0, 0));
}

#[test]
fn sound_and_picture_arrive_whole_and_are_repaired_where_they_are_received() {
    for_seeds(1..=4, |seed| {
        let mut joined = Joined::new(seed, Conditions::GOOD);
        joined.home.join();
        let audio = joined.publish(MediaKind::Audio);
        let video = joined.home.publish(At(0), MediaKind::Video);
        joined.pipe(video, produced(MediaKind::Video, "1", 0x99));
        let (_, sound) = joined.watch(audio);
        let (_, picture) = joined.watch(video);
        joined.other.clients[1].down.conditions.loss = 0.05;
        joined.run(10 * SECOND);
        joined.end(audio);
        joined.end(video);
        let sent = joined.home.source(video).sent.clone();
        assert_complete(&mut joined.other, picture, &sent, 240);
        let sent = joined.home.source(audio).sent.clone();
        assert_complete(&mut joined.other, sound, &sent, 490);
        assert!(joined.other.sink(picture).restored > 20);
        assert_eq!(joined.home.source(video).nacked, 0, "the publisher has no part in that");
        assert!(joined.home.clients[0].blocks.iter().all(|block| block.lost == 0));
        let (home, other) = (joined.home.engine.totals(), joined.other.engine.totals());
        assert_eq!((home.packets_forwarded, other.packets_received), (0, 0));
        assert_eq!(other.packets_piped, home.packets_received);
        assert_eq!(joined.other.engine.dropped().pipe_unknown, 0);
    });
}

#[test]
fn what_is_lost_on_the_way_up_is_repaired_once_and_goes_on_late() {
    for_seeds(1..=4, |seed| {
        let mut joined = Joined::new(seed, Conditions::GOOD);
        joined.home.join();
        let video = joined.publish(MediaKind::Video);
        let (_, watch) = joined.watch(video);
        let local = joined.home.join();
        let local = joined.home.subscribe(local, video);
        // Nobody can know of packets that were lost before the first one came.
        joined.run(SECOND / 2);
        joined.home.clients[0].up.conditions.loss = 0.05;
        joined.home.clients[0].up.conditions.jitter = Duration::from_millis(8);
        joined.run(10 * SECOND);
        joined.end(video);
        let sent = joined.home.source(video).sent.clone();
        assert_complete(&mut joined.other, watch, &sent, 230);
        assert_complete(&mut joined.home, local, &sent, 230);
        assert!(joined.home.source(video).nacked > 20);
    });
}

#[test]
fn layers_are_switched_without_a_seam() {
    for_seeds(1..=2, |seed| {
        let mut joined = Joined::new(seed, Conditions::GOOD);
        joined.home.join();
        let video = joined.publish_simulcast();
        let (consumer, watch) = joined.watch(video);
        joined.run(2 * SECOND);
        if seed == 2 {
            joined.home.clients[0].up.conditions.loss = 0.03;
            joined.other.clients[0].down.conditions.loss = 0.03;
        }
        let mut seen = Vec::new();
        for quality in [Quality::Low, Quality::High, Quality::Medium, Quality::High] {
            joined.prefer(consumer, quality);
            joined.run(2 * SECOND);
            let last = joined.other.sink(watch).packets.values().next_back();
            seen.push(last.map(|got| got.piece.frame >> 24));
        }
        assert_eq!(seen, [Some(0), Some(2), Some(1), Some(2)]);
        joined.end(video);
        let sink = joined.other.sink(watch);
        assert_eq!(sink.holes(), 0);
        let frames = frames(sink);
        assert!(frames.len() > 220, "{}", frames.len());
        check_decodable(&frames);
        check_continuous(&frames);
    });
}

#[test]
fn wishes_for_key_frames_are_throttled_once_for_all() {
    let mut joined = Joined::good();
    joined.home.join();
    let video = joined.publish(MediaKind::Video);
    joined.run(2 * SECOND);
    let local = joined.home.join();
    joined.home.subscribe(local, video);
    let before = joined.home.now;
    let (_, first) = joined.watch(video);
    joined.run(SECOND / 5);
    assert!(!joined.other.sink(first).frames().is_empty(), "it began at once");
    let (_, second) = joined.watch(video);
    joined.run(SECOND / 2);
    assert!(!joined.other.sink(second).frames().is_empty());
    // Receivers here and there ask as fast as they can.
    let begin = joined.home.now;
    for _ in 0..300 {
        let now = joined.home.now;
        for client in joined.home.clients.iter_mut().skip(1).chain(&mut joined.other.clients) {
            let ssrc = client.sinks[0].parameters.ssrc;
            client.send_rtcp(now, |writer| writer.picture_loss(Ssrc(9), ssrc));
        }
        joined.run(Duration::from_millis(10));
    }
    joined.run(SECOND);
    let asked = &joined.home.source(video).plis;
    assert!(asked.iter().filter(|at| **at < begin).count() <= 4, "since {before:?}");
    let flood = asked.iter().filter(|at| **at >= begin).count();
    assert!((4..=9).contains(&flood), "{flood} in 3 s");
    let passed = joined.other.engine.totals().key_frame_requests;
    assert!(passed < 200, "{passed} wishes passed on");
}

#[test]
fn a_pause_holds_on_both_sides_and_ends_with_a_key_frame() {
    let mut joined = Joined::good();
    joined.home.join();
    let video = joined.publish(MediaKind::Video);
    let (_, watch) = joined.watch(video);
    joined.run(2 * SECOND);
    let pause = |joined: &mut Joined, paused| {
        for sim in [&mut joined.home, &mut joined.other] {
            sim.command(Command::PauseProducer {
                producer: video,
                paused,
            });
        }
    };
    pause(&mut joined, true);
    joined.run(SECOND / 10);
    let before = joined.other.sink(watch).packets.len();
    joined.run(SECOND);
    assert_eq!(joined.other.sink(watch).packets.len(), before);
    let plis = joined.plis(video);
    pause(&mut joined, false);
    joined.run(SECOND);
    assert_eq!(joined.plis(video), plis + 1);
    let sink = joined.other.sink(watch);
    let resumed = sink.packets.values().nth(before).unwrap();
    assert!(resumed.piece.key && resumed.piece.part == 0);
    assert_eq!(sink.holes(), 0);
}

#[test]
fn each_engine_tells_which_encodings_its_receivers_want() {
    let mut joined = Joined::good();
    joined.home.join();
    let video = joined.publish_simulcast();
    let (consumer, _) = joined.watch(video);
    joined.prefer(consumer, Quality::Medium);
    joined.run(4 * SECOND);
    let told = |sim: &Sim| -> Vec<u8> {
        let told = sim.events.iter().filter_map(|event| match event.kind {
            EventKind::EncodingsWanted { highest, .. } => Some(highest),
            _ => None,
        });
        told.collect()
    };
    assert_eq!((told(&joined.home), told(&joined.other)), (vec![0], vec![1]));
    joined.prefer(consumer, Quality::High);
    assert_eq!(told(&joined.other), [1, 2]);
}

#[test]
fn receivers_of_both_engines_see_one_clock() {
    let mut joined = Joined::good();
    joined.home.join();
    joined.home.clients[0].clock_ahead = -3600.0;
    let audio = joined.publish(MediaKind::Audio);
    let local = joined.home.join();
    let local = joined.home.subscribe(local, audio);
    joined.run(2 * SECOND);
    // A pipe that is made late brings the clock along.
    let video = joined.home.publish(At(0), MediaKind::Video);
    joined.run(2 * SECOND);
    joined.pipe(video, produced(MediaKind::Video, "1", 0x99));
    let (_, sound) = joined.watch(audio);
    let (_, picture) = joined.watch(video);
    let local_picture = joined.home.join();
    let local_picture = joined.home.subscribe(local_picture, video);
    joined.run(Duration::from_millis(300));
    assert!(
        !joined.other.sink(picture).reports.is_empty(),
        "no report has to come for that"
    );
    joined.run(3 * SECOND);
    for (here, there, rate) in [(local, sound, 48_000), (local_picture, picture, 90_000)] {
        let (_, ntp, rtp) = *joined.home.sink(here).reports.last().unwrap();
        let (_, other_ntp, other_rtp) = *joined.other.sink(there).reports.last().unwrap();
        let later = caside_media::rtcp::ntp::to_ticks(other_ntp.since(ntp), rate) as u32;
        let off = other_rtp.wrapping_sub(rtp).wrapping_sub(later) as i32;
        assert!(off.abs() <= 2, "{off} ticks apart");
    }
}

#[test]
fn both_engines_know_who_speaks() {
    let mut joined = Joined::good();
    joined.home.join();
    let audio = joined.publish(MediaKind::Audio);
    joined.run(SECOND);
    joined.home.source(audio).level = 20;
    joined.run(2 * SECOND);
    joined.home.source(audio).level = 127;
    joined.run(3 * SECOND);
    let expected = [vec![audio], Vec::new()];
    assert_eq!(joined.home.speakers(), expected);
    assert_eq!(joined.other.speakers(), expected, "though nobody there receives it");
}

#[test]
fn a_pipe_that_is_full_costs_its_receivers_what_was_dropped_and_no_one_else() {
    let mut joined = Joined::good();
    joined.home.join();
    let video = joined.publish(MediaKind::Video);
    let (_, watch) = joined.watch(video);
    let local = joined.home.join();
    let local = joined.home.subscribe(local, video);
    joined.run(2 * SECOND);
    let plis = joined.plis(video);
    joined.stalled = true;
    // 100 packets a second: the pipe is full after some two of them.
    joined.run(6 * SECOND);
    assert_eq!(joined.plis(video), plis, "while it is full a key frame is of no use");
    let dropped = joined.home.engine.dropped().pipe_full;
    assert!((200..400).contains(&dropped), "{dropped}");
    // Once the other engine goes on, what it finds makes room for all that follows.
    joined.stalled = false;
    joined.run(2 * SECOND);
    assert_eq!(joined.plis(video), plis + 1);
    let sent = joined.home.source(video).sent.clone();
    joined.end(video);
    assert_complete(&mut joined.home, local, &sent[..sent.len() - 5], 240);
    let frames = joined.other.sink(watch).frames();
    let last = sent.last().unwrap().0;
    assert!((last - 40..last - 2).all(|frame| frames.contains(&frame)));
    let later = joined.home.engine.dropped().pipe_full - dropped;
    assert!(later < 10, "{later}");
}

#[test]
fn a_producer_that_ends_ends_on_both_sides() {
    let mut joined = Joined::good();
    joined.home.join();
    let video = joined.publish(MediaKind::Video);
    let (_, watch) = joined.watch(video);
    joined.run(2 * SECOND);
    joined.home.command(Command::CloseProducer { producer: video });
    joined.other.command(Command::CloseProducer { producer: video });
    let counts = joined.other.engine.counts();
    assert_eq!((counts.producers, counts.consumers), (0, 0));
    let before = joined.other.sink(watch).packets.len();
    joined.run(SECOND);
    assert!(joined.other.sink(watch).packets.len() <= before + 8);
    // The other way about, packets find nobody.
    let again = joined.publish(MediaKind::Audio);
    joined.run(SECOND);
    joined.other.command(Command::CloseProducer { producer: again });
    joined.run(SECOND / 2);
    let unknown = joined.other.engine.dropped().pipe_unknown;
    assert!((20..=30).contains(&unknown), "{unknown}");
    joined.home.command(Command::Unpipe {
        producer: again,
        to: OTHER,
    });
    joined.run(SECOND);
    assert_eq!(joined.other.engine.dropped().pipe_unknown, unknown);
}

#[test]
fn a_router_that_closes_takes_what_stood_for_others_along() {
    let mut joined = Joined::good();
    joined.home.join();
    let video = joined.publish(MediaKind::Video);
    joined.watch(video);
    joined.run(SECOND);
    joined.other.command(Command::CloseRouter { router: ROUTER });
    let counts = joined.other.engine.counts();
    assert_eq!(
        (counts.routers, counts.transports, counts.producers, counts.consumers),
        (0, 0, 0, 0)
    );
    assert_eq!(joined.home.engine.counts().producers, 1);
}

#[test]
fn a_renegotiation_is_followed() {
    let mut joined = Joined::good();
    joined.home.join();
    let video = joined.publish(MediaKind::Video);
    let (_, watch) = joined.watch(video);
    joined.run(2 * SECOND);
    // The publisher goes on under another SSRC, and with H.264 left out.
    let mut parameters = produced(MediaKind::Video, "0", 0x4242);
    parameters.codecs.truncate(1);
    for sim in [&mut joined.home, &mut joined.other] {
        let parameters = parameters.clone();
        sim.command(Command::UpdateProducer {
            producer: video,
            parameters,
        });
    }
    let source = joined.home.source(video);
    (source.ssrc, source.sequence, source.timestamp) = (Ssrc(0x4242), 40_000, 7);
    let renewed = source.frames;
    joined.run(3 * SECOND);
    let last = joined.home.source(video).frames - 1;
    joined.end(video);
    let sink = joined.other.sink(watch);
    assert_eq!(sink.holes(), 0, "numbers go on");
    let frames = sink.frames();
    let first = frames.iter().copied().find(|frame| *frame >= renewed).unwrap();
    assert!(first < renewed + 25, "{first}");
    assert!((first..=last).all(|frame| frames.contains(&frame)));
}

#[test]
fn layers_that_are_taken_away_and_given_back_are_followed() {
    let mut joined = Joined::good();
    joined.home.join();
    let video = joined.publish_simulcast();
    let (_, watch) = joined.watch(video);
    joined.run(2 * SECOND);
    let update = |joined: &mut Joined, encodings: usize| {
        let mut parameters = simulcast();
        parameters.encodings.truncate(encodings);
        for sim in [&mut joined.other, &mut joined.home] {
            let parameters = parameters.clone();
            sim.command(Command::UpdateProducer {
                producer: video,
                parameters,
            });
        }
    };
    let encoding = |joined: &mut Joined| {
        let last = joined.other.sink(watch).packets.values().next_back();
        last.unwrap().piece.frame >> 24
    };
    assert_eq!(encoding(&mut joined), 2);
    let upper = |joined: &mut Joined, next: Option<std::time::Instant>| {
        let sources = joined.home.encodings(video).into_iter().skip(1);
        sources.for_each(|source| source.next_frame = next);
    };
    upper(&mut joined, None);
    joined.run(SECOND / 10);
    update(&mut joined, 1);
    joined.run(2 * SECOND);
    assert_eq!(encoding(&mut joined), 0);
    update(&mut joined, 3);
    let now = joined.home.now;
    upper(&mut joined, Some(now));
    joined.run(3 * SECOND);
    assert_eq!(encoding(&mut joined), 2);
    joined.end(video);
    assert_eq!(joined.other.sink(watch).holes(), 0);
    check_decodable(&frames(joined.other.sink(watch)));
}

#[test]
fn a_consumer_that_is_there_before_the_pipe_begins_when_it_is_made() {
    let mut joined = Joined::good();
    joined.home.join();
    let video = joined.home.publish(At(0), MediaKind::Video);
    joined.run(SECOND);
    joined.stand_in(video, produced(MediaKind::Video, "0", 0x77));
    let (_, watch) = joined.watch(video);
    joined.run(SECOND);
    assert!(joined.other.sink(watch).packets.is_empty());
    joined.home.command(Command::Pipe {
        producer: video,
        to: OTHER,
    });
    joined.run(SECOND);
    assert!(joined.other.sink(watch).frames().len() > 15);
    assert_eq!(joined.other.sink(watch).holes(), 0);
}

#[test]
fn an_engine_that_is_lost_is_replaced_by_one_that_begins_anew() {
    let mut joined = Joined::good();
    joined.home.join();
    let video = joined.publish(MediaKind::Video);
    joined.watch(video);
    let local = joined.home.join();
    let local = joined.home.subscribe(local, video);
    joined.run(2 * SECOND);
    let clock = (joined.other.now, Duration::from_secs(1_800_000_000));
    joined.other.engine = Engine::new(EngineConfig::new(world::config(), clock));
    joined.other.clients.clear();
    joined.other.command(Command::OpenRouter { router: ROUTER });
    joined.run(SECOND);
    assert!(
        joined.other.engine.dropped().pipe_unknown > 90,
        "what still comes is for nobody"
    );
    joined.stand_in(video, produced(MediaKind::Video, "0", 0x77));
    let (_, watch) = joined.watch(video);
    joined.run(2 * SECOND);
    joined.end(video);
    let sent = joined.home.source(video).sent.clone();
    assert_complete(&mut joined.other, watch, &sent, 40);
    assert_complete(&mut joined.home, local, &sent, 100);
}

#[test]
fn orders_that_make_no_sense_are_counted_and_change_nothing() {
    let mut joined = Joined::good();
    joined.home.join();
    let video = joined.publish(MediaKind::Video);
    let refused = |joined: &Joined| joined.home.engine.dropped().commands + joined.other.engine.dropped().commands;
    assert_eq!(refused(&joined), 0);
    joined.home.command(Command::Pipe {
        producer: video,
        to: OTHER,
    });
    joined.home.command(Command::Pipe {
        producer: ProducerId(9999),
        to: OTHER,
    });
    joined.other.command(Command::Pipe {
        producer: video,
        to: HOME,
    });
    joined.stand_in(video, produced(MediaKind::Video, "0", 0x77));
    let mut none = produced(MediaKind::Video, "0", 0x77);
    none.encodings.clear();
    joined.stand_in(ProducerId(77), none);
    assert_eq!(refused(&joined), 5);
    let (_, watch) = joined.watch(video);
    joined.run(SECOND);
    assert_eq!(
        (joined.other.sink(watch).holes(), joined.other.sink(watch).repeated),
        (0, 0)
    );
    assert_eq!(joined.other.engine.dropped().too_old, 0, "each packet came once");
}
