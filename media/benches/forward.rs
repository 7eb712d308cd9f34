//! What forwarding a packet costs: find the transport, open, parse and keep it once; copy, rewrite and seal it for each
//! receiver. Beside it the bare AES-128-GCM of the same bytes, which is the limit.
//!
//! Prints a line like `forward 1→50: 312 ns/packet, bare GCM 246 ns, ratio 1.27` for each number of receivers, and one of what it
//! costs to bring a packet to another engine, beside two copies of its bytes, which is the least.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]
#![expect(clippy::disallowed_methods, reason = "a bench is about real time")]
#![expect(clippy::print_stdout, reason = "a bench prints its result")]

#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../tests/it/transport/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../tests/support/connect.rs"]
mod connect;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../tests/support/fan_out.rs"]
mod fan_out;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../tests/support/parameters.rs"]
mod parameters;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../tests/support/piped.rs"]
mod piped;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caside_media::certificate::Certificate;
use caside_media::engine::EngineConfig;
use caside_media::rtp::RtpHeader;
use caside_media::transport::TransportConfig;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fan_out::FanOut;
use piped::PipedFanOut;
use rtc_crypto::AeadAlgorithm;

/// A full packet as browsers send it: about 1200 bytes with its header.
const PAYLOAD: usize = 1160;

/// The header that receivers get: 12 bytes, and 20 of extensions.
const HEADER: usize = 32;

/// Packets a round: what comes in some milliseconds of a video at 2.5 Mbit/s.
const PACKETS: usize = 4;

const RECEIVERS: [usize; 4] = [1, 5, 10, 50];

fn config() -> EngineConfig {
    let transport = Arc::new(TransportConfig::new(Certificate::generate().unwrap()));
    EngineConfig::new(transport, (Instant::now(), Duration::from_secs(1_800_000_000)))
}

fn fan_out(receivers: usize) -> FanOut {
    let config = config();
    let now = config.clock.0 + Duration::from_secs(1);
    let mut fan_out = FanOut::new(config, now, receivers, PAYLOAD);
    // Two turns of the ring.
    for _ in 0..256 {
        let mut datagrams = fan_out.datagrams(PACKETS);
        fan_out.round(&mut datagrams);
    }
    fan_out
}

/// Time that rounds take, sealing by the publisher left out.
fn rounds(fan_out: &mut FanOut, receivers: usize, count: u64) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..count {
        fan_out.check();
        let mut datagrams = fan_out.datagrams(PACKETS);
        let start = Instant::now();
        let sent = black_box(fan_out.round(&mut datagrams));
        took += start.elapsed();
        assert!(sent >= receivers * PACKETS, "{sent} datagrams to {receivers} receivers");
    }
    took
}

/// Bare AES-128-GCM over as many bytes, in place.
struct Bare {
    cipher: Box<dyn rtc_crypto::AeadCipher>,
    header: [u8; HEADER],
    payload: Vec<u8>,
}

impl Bare {
    fn new() -> Self {
        let cipher = client::provider()
            .crypto()
            .new_aead(AeadAlgorithm::Aes128Gcm, &[7; 16])
            .unwrap();
        Self {
            cipher,
            header: [0x90; HEADER],
            payload: vec![0x55; PAYLOAD],
        }
    }

    fn seal(&mut self, number: u64) {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number.to_be_bytes());
        let mut tag = [0; 16];
        self.cipher
            .seal_in_place(&nonce, &self.header, &mut self.payload, &mut tag)
            .unwrap();
        black_box(tag);
    }
}

/// The least time of many short runs: what else the machine does disturbs some of them only.
fn least(mut run: impl FnMut() -> f64) -> f64 {
    (0..400).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn forward(c: &mut Criterion) {
    let mut bare = Bare::new();
    let mut number = 0;
    let mut next = || {
        number += 1;
        number
    };
    let mut group = c.benchmark_group("forward");
    group.throughput(Throughput::Elements(1));
    group.bench_function("bare GCM", |b| b.iter(|| bare.seal(next())));
    let mut summary = Vec::new();
    for receivers in RECEIVERS {
        let mut fan_out = fan_out(receivers);
        let packets = (receivers * PACKETS) as u64;
        group.throughput(Throughput::Elements(packets));
        group.bench_function(format!("1→{receivers}"), |b| {
            b.iter_custom(|count| rounds(&mut fan_out, receivers, count))
        });
        let count = (800 / packets).max(2);
        let forward = least(|| rounds(&mut fan_out, receivers, count).as_nanos() as f64 / (count * packets) as f64);
        let limit = least(|| {
            let start = Instant::now();
            (0..800).for_each(|_| bare.seal(next()));
            start.elapsed().as_nanos() as f64 / 800.0
        });
        summary.push((receivers, forward, limit));
    }
    group.finish();
    for (receivers, forward, limit) in summary {
        let ratio = forward / limit;
        println!("forward 1→{receivers}: {forward:.0} ns/packet, bare GCM {limit:.0} ns, ratio {ratio:.2}");
    }
}

/// Time that packets take from a ring of one engine into that of another.
fn crossings(piped: &mut PipedFanOut, count: u64) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..count {
        piped.check();
        let mut datagrams = piped.home.datagrams(PACKETS);
        piped.home.round(&mut datagrams);
        let start = Instant::now();
        piped.cross();
        took += start.elapsed();
    }
    took
}

fn pipe(c: &mut Criterion) {
    let mut piped = PipedFanOut::new(config(), 0, PAYLOAD);
    crossings(&mut piped, 256);
    let mut group = c.benchmark_group("pipe");
    group.throughput(Throughput::Elements(PACKETS as u64));
    group.bench_function("a packet to another engine", |b| {
        b.iter_custom(|count| crossings(&mut piped, count))
    });
    group.finish();
    let crossing = least(|| crossings(&mut piped, 50).as_nanos() as f64 / (50 * PACKETS) as f64);
    assert_eq!(piped.home.engine.dropped().pipe_full, 0);
    // As scattered as in the rings.
    let (mut from, mut slots) = (vec![vec![0x55u8; PAYLOAD]; 512], vec![vec![0u8; PAYLOAD]; 512]);
    let copies = least(|| {
        let start = Instant::now();
        for (from, slot) in from.iter_mut().zip(&mut slots) {
            slot.copy_from_slice(black_box(from));
            from.copy_from_slice(black_box(slot));
        }
        start.elapsed().as_nanos() as f64 / 512.0
    });
    println!("pipe: {crossing:.0} ns/packet, two copies of its bytes {copies:.0} ns");
}

fn parse(c: &mut Criterion) {
    let mut packet = vec![0x55; 12 + 12 + PAYLOAD];
    packet[..12].copy_from_slice(&[0x90, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
    packet[12..24].copy_from_slice(&[0xbe, 0xde, 0, 2, 0x40, b'0', 0x31, 0, 1, 0, 0, 0]);
    c.bench_function("parse a header and its extensions", |b| {
        b.iter(|| {
            let packet = black_box(&packet);
            let header = RtpHeader::parse(packet).unwrap();
            header
                .extensions(packet)
                .map(|(id, data)| usize::from(id) + data.len())
                .sum::<usize>()
        });
    });
}

criterion_group!(benches, forward, pipe, parse);
criterion_main!(benches);
