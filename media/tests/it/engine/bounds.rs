//! Hostile and broken clients hurt nobody else.

use std::time::Duration;

use caside_media::control::{CloseReason, Command, EventKind, TapItem, TapSink};
use caside_media::parameters::{
    ConsumerId, DtlsParameters, DtlsRole, IceCredentials, MediaKind, ProducerId, Ssrc, TapId, TransportId,
};

use crate::sim::parameters::{consumed, produced};
use crate::sim::{ROUTER, Sim, Watch, connect};

/// A room with a call that must not suffer.
fn bystanders(sim: &mut Sim) -> (ProducerId, Watch) {
    let (alice, bob) = (sim.join(), sim.join());
    let video = sim.publish(alice, MediaKind::Video);
    let watch = sim.subscribe(bob, video);
    sim.run(Duration::from_secs(1));
    (video, watch)
}

fn assert_unhurt(sim: &mut Sim, (video, watch): (ProducerId, Watch)) {
    let sent = sim.source(video).sent.len();
    let sink = sim.sink(watch);
    assert!(
        sink.frames().len() + 3 >= sent,
        "{} of {sent} frames",
        sink.frames().len()
    );
    assert_eq!(sink.holes(), 0);
}

#[test]
fn a_nack_storm_is_answered_within_bounds() {
    let mut sim = Sim::good();
    let calm = bystanders(&mut sim);
    let mallory = sim.join();
    let watch = sim.subscribe(mallory, calm.0);
    sim.run(Duration::from_secs(1));
    let before = sim.sink(watch).bytes;
    let ssrc = sim.sink(watch).parameters.ssrc;
    for _ in 0..500 {
        let now = sim.now;
        let latest = *sim.sink(watch).packets.keys().next_back().unwrap() as u16;
        let all: Vec<u16> = (0..500u16).map(|back| latest.wrapping_sub(back)).collect();
        sim.client(mallory).nack(now, ssrc, &all);
        sim.run(Duration::from_millis(10));
    }
    let bytes = sim.sink(watch).bytes - before;
    // 5 s of 100 packets a second.
    let media = 500 * 1060;
    assert!(bytes < 2 * media + 300_000, "a storm made {bytes} of {media} bytes");
    assert!(sim.sink(watch).restored > 50, "within bounds it is answered");
    assert!(sim.engine.dropped().retransmissions > 1000);
    assert_unhurt(&mut sim, calm);
}

#[test]
fn garbage_of_any_kind_hurts_nobody() {
    let mut sim = Sim::good();
    let calm = bystanders(&mut sim);
    let mallory = sim.join();
    sim.publish(mallory, MediaKind::Audio);
    let mut rng = sim.rng.clone();
    let alice_path = connect::path(5000);
    for round in 0..300u64 {
        let now = sim.now;
        let len = rng.below(1500) as usize;
        let mut bytes = rng.bytes(len);
        // From nowhere, from a bystander's address, and from Mallory's own.
        for path in [
            connect::path(9000 + (round % 500) as u16),
            alice_path,
            connect::path(5002),
        ] {
            for first in [0, 1, 20, 22, 23, 63, 64, 128, 144, 191, 255] {
                if let Some(byte) = bytes.first_mut() {
                    *byte = first;
                }
                sim.engine.receive(now, path, &mut bytes.clone());
            }
        }
        // And sealed with Mallory's keys.
        let mut plain = rng.bytes(12 + len % 1200);
        plain[0] = 0x80 | plain[0] & 0x3f;
        plain[1] &= 0x7f;
        plain[8..12].copy_from_slice(&rng.below(4).to_be_bytes()[4..]);
        if plain.len() >= 40 && plain[0] & 0x3f == 0 {
            sim.client(mallory).send_plain(now, &plain);
        }
        sim.run(Duration::from_millis(5));
    }
    assert!(sim.engine.dropped().unknown_path > 1000);
    assert_eq!(sim.engine.dropped().panics, 0);
    assert_unhurt(&mut sim, calm);
}

#[test]
fn sealed_rtcp_garbage_hurts_nobody() {
    let mut sim = Sim::good();
    let calm = bystanders(&mut sim);
    let mallory = sim.join();
    let watch = sim.subscribe(mallory, calm.0);
    let ssrc = sim.sink(watch).parameters.ssrc.0;
    let mut rng = sim.rng.clone();
    for _ in 0..500 {
        let len = 8 + 4 * rng.below(60) as usize;
        let mut compound = rng.bytes(len);
        compound[0] = 0x80 | compound[0] & 0x1f;
        compound[1] = 200 + (rng.below(8) as u8);
        compound[2..4].copy_from_slice(&((len / 4 - 1) as u16).to_be_bytes());
        if len >= 16 && rng.below(2) == 0 {
            compound[8..12].copy_from_slice(&ssrc.to_be_bytes());
        }
        let sealed = sim.client(mallory).connected.seal.encrypt_rtcp(&compound).unwrap();
        let (now, path) = (sim.now, sim.client(mallory).connected.path);
        sim.engine.receive(now, path, &mut sealed.to_vec());
        sim.run(Duration::from_millis(5));
    }
    assert_eq!(sim.engine.dropped().panics, 0);
    assert_unhurt(&mut sim, calm);
}

#[test]
fn packets_of_no_producer_and_of_others_are_dropped() {
    let mut sim = Sim::good();
    let calm = bystanders(&mut sim);
    let mallory = sim.join();
    let (now, victim) = (sim.now, sim.source(calm.0).ssrc);
    // The bystander's SSRC on Mallory's transport is not the bystander's stream.
    for ssrc in [victim, Ssrc(1), Ssrc(0xffff_ffff)] {
        for sequence in 0..50 {
            let mut packet = vec![0; 100];
            let fixed = packet.first_chunk_mut().unwrap();
            let payload_type = caside_media::parameters::PayloadType(96);
            caside_media::rtp::header::write_fixed(fixed, false, true, payload_type, sequence, 0, ssrc);
            sim.client(mallory).send_plain(now, &packet);
        }
    }
    sim.run(Duration::from_secs(1));
    assert_eq!(sim.engine.dropped().unknown_ssrc, 150);
    assert_unhurt(&mut sim, calm);
}

#[derive(Debug)]
struct Panics;

impl TapSink for Panics {
    fn push(&mut self, _: TapItem) -> bool {
        panic!("on purpose: what a transport's packets set off must not reach the others");
    }
}

#[test]
fn a_panic_closes_the_transport_that_it_concerns() {
    let mut sim = Sim::good();
    let calm = bystanders(&mut sim);
    let (mallory, dave) = (sim.join(), sim.join());
    let audio = sim.publish(mallory, MediaKind::Audio);
    sim.subscribe(dave, audio);
    sim.run(Duration::from_millis(200));
    let counts = sim.engine.counts();
    sim.command(Command::Tap {
        producer: audio,
        tap: TapId(1),
        sink: Box::new(Panics),
    });
    sim.run(Duration::from_secs(1));
    let transport = sim.transport_of(mallory);
    assert!(sim.events.iter().any(|event| matches!(
        event.kind,
        EventKind::TransportClosed { transport: closed, reason: CloseReason::Internal } if closed == transport
    )));
    assert_eq!(sim.engine.dropped().panics, 1);
    let after = sim.engine.counts();
    assert_eq!(
        (after.transports, after.producers),
        (counts.transports - 1, counts.producers - 1)
    );
    assert_unhurt(&mut sim, calm);
}

#[test]
fn orders_beyond_the_limits_are_ignored() {
    let mut sim = Sim::good();
    let (alice, bob) = (sim.join(), sim.join());
    let (alice, bob) = (sim.transport_of(alice), sim.transport_of(bob));
    for n in 0..70u32 {
        let parameters = produced(MediaKind::Audio, &n.to_string(), 10_000 + n);
        sim.command(Command::Produce {
            transport: alice,
            producer: ProducerId(n.into()),
            parameters,
        });
    }
    assert_eq!(sim.engine.counts().producers, 64);
    for n in 0..1100u32 {
        let parameters = consumed(MediaKind::Audio, "0", 100_000 + n * 2);
        let consumer = ConsumerId(n.into());
        let producer = ProducerId((n % 64).into());
        sim.command(Command::Consume {
            transport: bob,
            producer,
            consumer,
            parameters,
            paused: false,
        });
    }
    assert_eq!(sim.engine.counts().consumers, 1024);
    assert_eq!(sim.engine.dropped().commands, 6 + 76);
}

#[test]
fn orders_about_what_is_not_there_are_counted() {
    let mut sim = Sim::good();
    let (transport, producer, consumer) = (TransportId(77), ProducerId(77), ConsumerId(77));
    let dtls = DtlsParameters {
        role: DtlsRole::Server,
        fingerprints: Vec::new(),
    };
    let orders = [
        Command::OpenRouter { router: ROUTER },
        Command::CloseTransport { transport },
        Command::ConnectTransport {
            transport,
            local: None,
            remote: None,
            dtls,
        },
        Command::Produce {
            transport,
            producer,
            parameters: produced(MediaKind::Audio, "0", 1),
        },
        Command::UpdateProducer {
            producer,
            parameters: produced(MediaKind::Audio, "0", 1),
        },
        Command::PauseProducer { producer, paused: true },
        Command::CloseProducer { producer },
        Command::Consume {
            transport,
            producer,
            consumer,
            parameters: consumed(MediaKind::Audio, "0", 1),
            paused: false,
        },
        Command::PauseConsumer { consumer, paused: true },
        Command::CloseConsumer { consumer },
        Command::RequestKeyFrame { producer },
        Command::Tap {
            producer,
            tap: TapId(1),
            sink: Box::new(Panics),
        },
        Command::Untap { tap: TapId(1) },
    ];
    let expected = orders.len() as u64;
    for order in orders {
        sim.command(order);
    }
    assert_eq!(sim.engine.dropped().commands, expected);
}

#[test]
fn credentials_of_another_transport_are_not_taken() {
    let mut sim = Sim::good();
    let local = IceCredentials::random();
    let open = |transport| Command::OpenTransport {
        router: ROUTER,
        transport,
        local: local.clone(),
    };
    sim.command(open(TransportId(1)));
    sim.command(open(TransportId(2)));
    assert_eq!((sim.engine.counts().transports, sim.engine.dropped().commands), (1, 1));
}

#[test]
fn a_transport_that_nobody_checks_is_closed_and_forgotten() {
    let mut sim = Sim::good();
    let transport = TransportId(1);
    let local = IceCredentials::random();
    sim.command(Command::OpenTransport {
        router: ROUTER,
        transport,
        local,
    });
    sim.run(Duration::from_secs(120));
    assert_eq!(sim.engine.counts().transports, 0);
    assert!(sim.events.iter().any(|event| matches!(
        event.kind,
        EventKind::TransportClosed { transport: closed, reason: CloseReason::IceTimeout } if closed == transport
    )));
    assert_eq!(sim.engine.poll_timeout(), None, "nothing is left to wait for");
}

#[test]
fn a_flood_of_one_client_is_dropped_beyond_its_share() {
    let mut sim = Sim::good();
    let calm = bystanders(&mut sim);
    let mallory = sim.join();
    let audio = sim.publish(mallory, MediaKind::Audio);
    let bob = sim.join();
    let heard = sim.subscribe(bob, audio);
    sim.run(Duration::from_secs(1));
    let path = sim.client(mallory).connected.path;
    for _ in 0..1000 {
        let now = sim.now;
        for _ in 0..100 {
            sim.engine.receive(now, path, &mut [0x80; 200]);
        }
        sim.run(Duration::from_millis(1));
    }
    let dropped = sim.engine.dropped().flooded;
    assert!((88_000..95_000).contains(&dropped), "{dropped} of 100000");
    assert_unhurt(&mut sim, calm);
    // It was its own fault, and is over with the flood.
    sim.run(Duration::from_secs(2));
    let before = sim.sink(heard).packets.len();
    sim.run(Duration::from_secs(1));
    assert!(sim.sink(heard).packets.len() >= before + 45);
}

#[test]
fn feedback_about_thousands_of_packets_is_acted_upon_within_bounds() {
    let mut sim = Sim::good();
    let calm = bystanders(&mut sim);
    let mallory = sim.join();
    let watch = sim.subscribe(mallory, calm.0);
    sim.run(Duration::from_secs(1));
    let media = sim.sink(watch).parameters.ssrc;
    // 2,048 packets of which none came, in one run.
    let body = [0, 0, 0x08, 0, 0, 0, 0, 0, 0x08, 0, 0, 0];
    let mut sent = 0;
    for _ in 0..1000 {
        let now = sim.now;
        sim.client(mallory).send_rtcp(now, |writer| {
            let mut fits = 0;
            while writer.transport_cc(Ssrc(9), media, &body) {
                fits += 1;
            }
            sent += fits;
            fits > 0
        });
        sim.run(Duration::from_millis(1));
    }
    // A compound ends with the first packet that is too much.
    let refused = sim.engine.dropped().reports;
    assert!(refused > 800, "{refused} of 1000 compounds with {sent} messages");
    assert_unhurt(&mut sim, calm);
}

#[test]
fn the_path_of_a_client_that_sends_is_not_taken_by_forged_checks() {
    let mut sim = Sim::good();
    let (video, watch) = bystanders(&mut sim);
    let mallory = sim.join();
    let alice = connect::path(5000);
    for _ in 0..100 {
        let (now, mut check) = (sim.now, sim.client(mallory).connected.check());
        sim.engine.receive(now, alice, &mut check);
        sim.run(Duration::from_millis(50));
    }
    assert_eq!(sim.engine.dropped().occupied, 100);
    assert_unhurt(&mut sim, (video, watch));
}

#[test]
fn the_path_of_a_silent_client_comes_back_with_its_next_check() {
    let mut sim = Sim::good();
    let (alice, bob, mallory) = (sim.join(), sim.join(), sim.join());
    sim.run(Duration::from_secs(1));
    let path = sim.client(alice).connected.path;
    // Past what protects a client that sends.
    let later = sim.now + Duration::from_millis(1500);
    let mut forged = sim.client(mallory).connected.check();
    sim.engine.receive(later, path, &mut forged);
    assert_eq!(sim.engine.dropped().occupied, 0);
    let mut own = sim.client(alice).connected.check();
    sim.engine.receive(later, path, &mut own);
    // Once more, at once: now Alice is not silent.
    let mut forged = sim.client(mallory).connected.check();
    sim.engine.receive(later, path, &mut forged);
    assert_eq!(sim.engine.dropped().occupied, 1);
    let video = sim.publish(alice, MediaKind::Video);
    let watch = sim.subscribe(bob, video);
    sim.run(Duration::from_secs(2));
    assert_unhurt(&mut sim, (video, watch));
    assert_eq!(sim.engine.counts().transports, 3);
}
