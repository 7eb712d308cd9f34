//! Who gets what.

use std::time::Duration;

use bytes::Bytes;
use caside_media::control::{CloseReason, Command, EventKind};
use caside_media::engine::EngineConfig;
use caside_media::parameters::{ConsumerId, MediaKind, Path, RouterId};

use crate::sim::fan_out::FanOut;
use crate::sim::parameters::consumed;
use crate::sim::{ROUTER, Sim};
use crate::transport::world;

#[test]
fn two_publishers_and_three_subscribers() {
    let mut sim = Sim::good();
    let publishers = [sim.join(), sim.join()];
    let subscribers = [sim.join(), sim.join(), sim.join()];
    let mut watches = Vec::new();
    for publisher in publishers {
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let producer = sim.publish(publisher, kind);
            for subscriber in subscribers {
                watches.push((producer, sim.subscribe(subscriber, producer)));
            }
        }
    }
    sim.run(Duration::from_secs(4));
    for (producer, watch) in watches {
        let sent = sim.source(producer).sent.len();
        let is_video = sim.sink(watch).is_video();
        let frames = sim.sink(watch).frames();
        assert!(frames.len() + 10 >= sent, "{} of {sent} frames", frames.len());
        assert_eq!(sim.sink(watch).holes(), 0);
        assert_eq!(sim.sink(watch).repeated, 0);
        assert_eq!(sim.source(producer).plis.is_empty(), !is_video);
    }
    for subscriber in subscribers {
        let numbers = &sim.client(subscriber).numbers_received;
        assert!(numbers.len() > 1000);
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)),
            "transport-wide numbers count all packets of a transport"
        );
    }
    let counts = sim.engine.counts();
    assert_eq!(
        (counts.routers, counts.transports, counts.producers, counts.consumers),
        (1, 5, 4, 12)
    );
}

#[test]
fn a_late_joiner_begins_with_a_key_frame() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    sim.subscribe(bob, video);
    sim.run(Duration::from_secs(3));
    let plis = sim.source(video).plis.len();
    let carol = sim.join();
    let joined = sim.now;
    let watch = sim.subscribe(carol, video);
    sim.run(Duration::from_secs(2));
    assert!(sim.source(video).plis.len() > plis);
    let sink = sim.sink(watch);
    let first = sink.packets.values().next().unwrap();
    assert!(first.piece.key && first.piece.part == 0);
    assert!(
        first.at - joined < Duration::from_millis(120),
        "{:?}",
        first.at - joined
    );
    assert_eq!(sink.holes(), 0);
}

#[test]
fn a_key_frame_is_asked_for_when_the_joiner_has_keys_and_path() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let video = sim.publish(alice, MediaKind::Video);
    sim.run(Duration::from_secs(2));
    let bob = sim.join_unnominated();
    let watch = sim.subscribe(bob, video);
    let before = sim.source(video).plis.len();
    sim.run(Duration::from_millis(80));
    assert!(sim.sink(watch).packets.is_empty(), "no path to send on");
    assert_eq!(sim.source(video).plis.len(), before, "nor any use for a key frame");
    let nomination = sim.client(bob).connected.check();
    let (now, path) = (sim.now, sim.client(bob).connected.path);
    sim.client(bob).up.send(now, path, &nomination);
    sim.run(Duration::from_millis(150));
    assert_eq!(sim.source(video).plis.len(), before + 1);
    assert!(!sim.sink(watch).frames().is_empty(), "it came in time for the joiner");
}

#[test]
fn who_joins_shortly_after_another_need_not_wait_for_the_throttle() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let video = sim.publish(alice, MediaKind::Video);
    sim.run(Duration::from_secs(2));
    let bob = sim.join();
    sim.subscribe(bob, video);
    sim.run(Duration::from_millis(300));
    let carol = sim.join();
    let watch = sim.subscribe(carol, video);
    sim.run(Duration::from_millis(150));
    assert!(!sim.sink(watch).frames().is_empty());
}

#[test]
fn a_lost_key_frame_request_is_repeated() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    sim.run(Duration::from_secs(1));
    sim.client(alice).down.conditions.loss = 1.0;
    let watch = sim.subscribe(bob, video);
    sim.run(Duration::from_millis(700));
    sim.client(alice).down.conditions.loss = 0.0;
    assert!(sim.sink(watch).packets.is_empty(), "nothing is sent before a key frame");
    sim.run(Duration::from_secs(2));
    assert!(sim.sink(watch).frames().len() > 10);
}

#[test]
fn key_frame_requests_are_throttled() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    let watch = sim.subscribe(bob, video);
    sim.run(Duration::from_secs(1));
    let before = sim.source(video).plis.len();
    let ssrc = sim.sink(watch).parameters.ssrc;
    for _ in 0..200 {
        let now = sim.now;
        sim.client(bob).send_rtcp(now, |writer| {
            writer.picture_loss(caside_media::parameters::Ssrc(9), ssrc)
        });
        sim.run(Duration::from_millis(20));
    }
    let plis = &sim.source(video).plis[before..];
    assert!((6..=9).contains(&plis.len()), "200 requests in 4 s made {}", plis.len());
    for pair in plis.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(499));
    }
}

#[test]
fn active_speakers_are_told_on_change() {
    let mut sim = Sim::good();
    let clients: Vec<_> = (0..3).map(|_| sim.join()).collect();
    let audio: Vec<_> = clients
        .iter()
        .map(|client| sim.publish(*client, MediaKind::Audio))
        .collect();
    sim.run(Duration::from_secs(2));
    assert_eq!(sim.speakers(), Vec::<Vec<_>>::new());
    sim.source(audio[1]).level = 30;
    sim.run(Duration::from_secs(3));
    sim.source(audio[2]).level = 10;
    sim.run(Duration::from_secs(3));
    sim.source(audio[1]).level = 127;
    sim.run(Duration::from_secs(3));
    let muted = Command::PauseProducer {
        producer: audio[2],
        paused: true,
    };
    sim.command(muted);
    sim.run(Duration::from_secs(3));
    let told = sim.speakers();
    assert_eq!(told.first(), Some(&vec![audio[1]]));
    assert!(told.contains(&vec![audio[2], audio[1]]), "{told:?}");
    assert!(told.contains(&vec![audio[2]]), "{told:?}");
    assert_eq!(told.last(), Some(&vec![]));
    assert!(told.len() <= 5, "{told:?}");
}

#[test]
fn rooms_do_not_mix() {
    let mut sim = Sim::good();
    sim.command(Command::OpenRouter { router: RouterId(2) });
    let alice = sim.join();
    let stranger = sim.join_at(6000, RouterId(2));
    let video = sim.publish(alice, MediaKind::Video);
    let transport = sim.transport_of(stranger);
    let before = sim.engine.dropped().commands;
    sim.command(Command::Consume {
        transport,
        producer: video,
        consumer: ConsumerId(900),
        parameters: consumed(MediaKind::Video, "0", 77),
        paused: false,
    });
    assert_eq!(sim.engine.dropped().commands, before + 1);
    assert_eq!(sim.engine.counts().consumers, 0);
    sim.command(Command::CloseRouter { router: RouterId(2) });
    sim.run(Duration::from_millis(100));
    assert_eq!(sim.engine.counts().transports, 1);
    assert!(sim.client(stranger).closed, "the client was told");
    let closed = sim
        .events
        .iter()
        .find(|event| event.router == RouterId(2))
        .map(|event| &event.kind);
    assert!(
        sim.events.iter().any(|event| matches!(
            event.kind,
            EventKind::TransportClosed { transport: closed, reason: CloseReason::Requested } if closed == transport
        )),
        "{closed:?}"
    );
}

#[test]
fn closing_leaves_nothing_behind() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    let audio = sim.publish(alice, MediaKind::Audio);
    sim.subscribe(bob, video);
    sim.subscribe(bob, audio);
    sim.run(Duration::from_secs(1));
    sim.command(Command::CloseProducer { producer: audio });
    assert_eq!((sim.engine.counts().producers, sim.engine.counts().consumers), (1, 1));
    let transport = sim.transport_of(alice);
    sim.command(Command::CloseTransport { transport });
    sim.run(Duration::from_millis(100));
    assert!(sim.client(alice).closed);
    let counts = sim.engine.counts();
    assert_eq!((counts.transports, counts.producers, counts.consumers), (1, 0, 0));
    sim.command(Command::CloseRouter { router: ROUTER });
    sim.run(Duration::from_secs(1));
    assert_eq!(sim.engine.counts(), caside_media::engine::Counts::default());
}

#[test]
fn statistics_count_what_went_through() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    let watch = sim.subscribe(bob, video);
    sim.run(Duration::from_secs(3));
    sim.command(Command::Stats {
        router: ROUTER,
        request: 42,
    });
    let transports = sim
        .events
        .iter()
        .find_map(|event| match &event.kind {
            EventKind::Stats {
                request: 42,
                transports,
            } => Some(transports.clone()),
            _ => None,
        })
        .unwrap();
    let produced = &transports[0].producers[0];
    let consumed = &transports[1].consumers[0];
    assert_eq!(produced.producer, video);
    assert!(produced.packets_received >= 280, "{produced:?}");
    assert_eq!(produced.bytes_received, produced.packets_received * 1000);
    assert_eq!((produced.packets_lost, produced.nacks_sent), (0, 0));
    assert!(produced.plis_sent >= 1);
    assert!(consumed.packets_sent >= sim.sink(watch).packets.len() as u64);
    assert_eq!(consumed.fraction_lost, 0.25, "as the receiver reported");
    let rtt = transports[1].rtt_ms.unwrap();
    assert!((15.0..40.0).contains(&rtt), "two ways of 10 ms: {rtt}");
}

#[test]
fn a_message_to_a_transport_that_cannot_take_it_is_counted() {
    let mut sim = Sim::good();
    let transport = caside_media::parameters::TransportId(500);
    let local = caside_media::parameters::IceCredentials::random();
    sim.command(Command::OpenTransport {
        router: ROUTER,
        transport,
        local,
    });
    let data = Bytes::from_static(b"hello");
    sim.command(Command::SendData {
        transport,
        label: "chat".to_owned(),
        data,
        text: true,
    });
    assert_eq!(sim.engine.dropped().messages, 1);
}

#[test]
fn a_round_in_parts_is_sent_whole_and_no_receiver_is_split() {
    let start = world::start();
    let config = EngineConfig::new(world::config(), (start, Duration::from_secs(1_800_000_000)));
    let mut fan_out = FanOut::new(config, start + Duration::from_secs(1), 10, 1000);
    let mut first = fan_out.datagrams(4);
    fan_out.round(&mut first);
    let mut datagrams = fan_out.datagrams(4);
    let parts = fan_out.round_in_parts(&mut datagrams, 8000);
    let media = |part: &[(Path, Vec<u8>)]| -> Vec<(Path, usize)> {
        let large = part.iter().filter(|(_, bytes)| bytes.len() > 1000);
        large.map(|(path, bytes)| (*path, bytes.len())).collect()
    };
    let (rest, full) = parts.split_last().unwrap();
    assert!(full.len() >= 4, "{} parts", full.len());
    for part in full {
        let bytes: usize = part.iter().map(|(_, bytes)| bytes.len()).sum();
        // A part ends with the receiver that fills it: 4 packets more at most.
        assert!((8000..8000 + 4 * 1200).contains(&bytes), "{bytes} bytes");
    }
    let mut receivers: Vec<Path> = Vec::new();
    for part in full.iter().chain([rest]) {
        let media = media(part);
        assert!(media.len().is_multiple_of(4), "a receiver's packets are in one part");
        for packets in media.chunks(4) {
            assert!(packets.iter().all(|(path, _)| *path == packets[0].0));
            receivers.push(packets[0].0);
        }
    }
    receivers.sort_unstable_by_key(|path| path.remote);
    receivers.dedup();
    assert_eq!(receivers.len(), 10);
}
