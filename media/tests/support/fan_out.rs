//! One publisher and many receivers of one track.

use std::time::{Duration, Instant};

use caside_media::control::Command;
use caside_media::engine::{Engine, EngineConfig};
use caside_media::parameters::{ConsumerId, MediaKind, Path, PayloadType, ProducerId, RouterId, Ssrc, TransportId};
use caside_media::rtp::header::{FIXED_HEADER_LEN, write_fixed};
use caside_media::send_buffer::SendBuffer;

use super::connect::{Connected, connect};
use super::parameters::{PUBLISHED, consumed, produced};

const ROUTER: RouterId = RouterId(1);
const SSRC: u32 = 0x1000;

/// An engine that forwards one track to many.
pub(crate) struct FanOut {
    pub(crate) engine: Engine,
    pub(crate) now: Instant,
    pub(crate) out: SendBuffer,
    publisher: Connected,
    receivers: Vec<Connected>,
    next_check: Instant,
    sequence: u16,
    payload: Vec<u8>,
}

impl FanOut {
    /// `payload_len` bytes a packet, of VP8.
    pub(crate) fn new(config: EngineConfig, now: Instant, receivers: usize, payload_len: usize) -> Self {
        let mut engine = Engine::new(config);
        engine.handle(now, Command::OpenRouter { router: ROUTER });
        let publisher = connect(&mut engine, now, ROUTER, TransportId(0), 5000, true);
        let producer = ProducerId(1);
        let parameters = produced(MediaKind::Video, "0", SSRC);
        engine.handle(
            now,
            Command::Produce {
                transport: TransportId(0),
                producer,
                parameters,
            },
        );
        let mut connected = Vec::new();
        for n in 1..=receivers as u64 {
            let transport = TransportId(n);
            connected.push(connect(&mut engine, now, ROUTER, transport, 5000 + n as u16, true));
            let parameters = consumed(MediaKind::Video, "0", 0x10_0000);
            let consumer = ConsumerId(n);
            engine.handle(
                now,
                Command::Consume {
                    transport,
                    producer,
                    consumer,
                    parameters,
                    paused: false,
                },
            );
        }
        let out = SendBuffer::with_capacity(receivers * 8 + 64);
        let payload = vec![0x55; payload_len];
        Self {
            engine,
            now,
            out,
            publisher,
            receivers: connected,
            next_check: now,
            sequence: 0,
            payload,
        }
    }

    /// The next packets as they come from the network. The first of all begins a key frame.
    pub(crate) fn datagrams(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.datagram()).collect()
    }

    fn datagram(&mut self) -> Vec<u8> {
        let mut fixed = [0; FIXED_HEADER_LEN];
        let timestamp = u32::from(self.sequence) * 3000;
        write_fixed(
            &mut fixed,
            true,
            true,
            PayloadType(96),
            self.sequence,
            timestamp,
            Ssrc(SSRC),
        );
        let mid = PUBLISHED.mid.unwrap() << 4;
        let transport_cc = PUBLISHED.transport_cc.unwrap() << 4 | 1;
        let [n0, n1] = self.sequence.to_be_bytes();
        let extension = [0xbe, 0xde, 0, 2, mid, b'0', transport_cc, n0, n1, 0, 0, 0];
        // VP8: the start of a frame, a key frame at first.
        self.payload[..2].copy_from_slice(&[0x10, u8::from(self.sequence != 0)]);
        let packet = [&fixed[..], &extension, &self.payload].concat();
        self.sequence = self.sequence.wrapping_add(1);
        self.publisher.seal.encrypt_rtp(&packet).unwrap().to_vec()
    }

    /// Drops what is not the engine's.
    pub(crate) fn leave_clients_out(&mut self) {
        self.receivers = Vec::new();
        self.out = SendBuffer::default();
    }

    /// Sends the checks by which clients keep their transports alive (RFC 7675), when they are due.
    pub(crate) fn check(&mut self) {
        if self.now < self.next_check {
            return;
        }
        self.next_check = self.now + Duration::from_secs(5);
        for client in self.receivers.iter().chain([&self.publisher]) {
            self.engine.receive(self.now, client.path, &mut client.check());
        }
        self.engine.flush(self.now, &mut self.out);
    }

    /// A round that is sent in parts of this many bytes: the parts, of which the last may have less.
    pub(crate) fn round_in_parts(&mut self, datagrams: &mut [Vec<u8>], part: usize) -> Vec<Vec<(Path, Vec<u8>)>> {
        self.now += Duration::from_millis(5);
        for datagram in datagrams {
            self.engine.receive(self.now, self.publisher.path, datagram);
        }
        let mut parts = Vec::new();
        let copy = |out: &SendBuffer| out.iter().map(|(path, bytes)| (path, bytes.to_vec())).collect();
        self.out.clear();
        self.engine
            .flush_in_parts(self.now, &mut self.out, part, &mut |out| parts.push(copy(out)));
        parts.push(copy(&self.out));
        parts
    }

    /// A round: takes the datagrams and sends what comes of them. Returns how many datagrams go out.
    pub(crate) fn round(&mut self, datagrams: &mut [Vec<u8>]) -> usize {
        self.now += Duration::from_millis(5);
        if self.engine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.engine.handle_timeout(self.now);
        }
        for datagram in datagrams {
            self.engine.receive(self.now, self.publisher.path, datagram);
        }
        self.out.clear();
        self.engine.flush(self.now, &mut self.out);
        self.out.datagrams().len()
    }
}
