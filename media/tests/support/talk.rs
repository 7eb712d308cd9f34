//! A room of voices that repeat themselves (RFC 2198), of which only the loudest are heard, and receivers of all of them.

use std::time::{Duration, Instant};

use caside_media::control::Command;
use caside_media::engine::{Engine, EngineConfig};
use caside_media::parameters::{ConsumerId, MediaKind, PayloadType, ProducerId, RouterId, Ssrc, TransportId};
use caside_media::rtp::header::{FIXED_HEADER_LEN, write_fixed};
use caside_media::send_buffer::SendBuffer;

use super::connect::{Connected, connect};
use super::parameters::{PUBLISHED, consumed, produced};

const ROUTER: RouterId = RouterId(1);
pub(crate) const VOICES: usize = 4;
/// Heard at a time.
pub(crate) const LOUDEST: usize = 2;
const OPUS: u8 = 111;
const RED: u8 = 63;
/// Of each packet of sound, without what it repeats.
const PAYLOAD: [u8; 80] = [0x55; 80];
/// On the sound's clock: 20 ms.
const TICKS: u16 = 960;

/// An engine that forwards voices. Of the receivers every other one takes RED.
pub(crate) struct Talk {
    pub(crate) engine: Engine,
    pub(crate) now: Instant,
    pub(crate) out: SendBuffer,
    publishers: Vec<Connected>,
    receivers: Vec<Connected>,
    next_check: Instant,
    round: usize,
}

impl Talk {
    pub(crate) fn new(config: EngineConfig, receivers: usize) -> Self {
        let now = config.clock.0 + Duration::from_secs(1);
        let mut engine = Engine::new(config);
        engine.handle(now, Command::OpenRouter { router: ROUTER });
        let loudest = Some(LOUDEST);
        engine.handle(
            now,
            Command::LimitVoices {
                router: ROUTER,
                loudest,
            },
        );
        let mut ids = 0..;
        let mut join = |engine: &mut Engine| {
            let id = ids.next().expect("there is always another");
            let transport = TransportId(id);
            (
                transport,
                connect(engine, now, ROUTER, transport, 5000 + id as u16, true),
            )
        };
        let mut publishers = Vec::new();
        for voice in 0..VOICES {
            let (transport, connected) = join(&mut engine);
            let mut parameters = produced(MediaKind::Audio, "0", ssrc(voice).0);
            parameters.codecs[0].red = Some(PayloadType(RED));
            let producer = ProducerId(voice as u64);
            let command = Command::Produce {
                transport,
                producer,
                parameters,
            };
            engine.handle(now, command);
            publishers.push(connected);
        }
        let mut connected = Vec::new();
        for receiver in 0..receivers {
            let (transport, client) = join(&mut engine);
            for voice in 0..VOICES {
                let mut parameters = consumed(MediaKind::Audio, &voice.to_string(), 0x10_0000 + voice as u32);
                parameters.codec.red = (receiver % 2 == 0).then_some(PayloadType(45));
                let command = Command::Consume {
                    transport,
                    producer: ProducerId(voice as u64),
                    consumer: ConsumerId((receiver * VOICES + voice) as u64),
                    parameters,
                    paused: false,
                };
                engine.handle(now, command);
            }
            connected.push(client);
        }
        Self {
            engine,
            now,
            out: SendBuffer::with_capacity(receivers * 8 + 64),
            publishers,
            receivers: connected,
            next_check: now,
            round: 0,
        }
    }

    /// Whose turn it is in the next round: voices send one after the other, 5 ms apart.
    pub(crate) fn voice(&self) -> usize {
        self.round % VOICES
    }

    /// The next packet of that voice. Two speak at a time, and leave it to the next two after a second. Each tenth packet is lost.
    pub(crate) fn datagram(&mut self) -> Option<Vec<u8>> {
        let (voice, number) = (self.voice(), (self.round / VOICES) as u16);
        let speaks = (voice / LOUDEST) as u16 == number / 50 % 2;
        let mut fixed = [0; FIXED_HEADER_LEN];
        let timestamp = u32::from(number) * u32::from(TICKS);
        write_fixed(
            &mut fixed,
            true,
            false,
            PayloadType(RED),
            number,
            timestamp,
            ssrc(voice),
        );
        let element = |id: Option<u8>, len: u8| id.expect("agreed") << 4 | (len - 1);
        let [n0, n1] = number.to_be_bytes();
        let extension = [
            [0xbe, 0xde, 0, 2],
            [
                element(PUBLISHED.mid, 1),
                b'0',
                element(PUBLISHED.audio_level, 1),
                if speaks { 30 } else { 80 },
            ],
            [element(PUBLISHED.transport_cc, 2), n0, n1, 0],
        ];
        let [_, a, b, c] = (u32::from(TICKS) << 10 | PAYLOAD.len() as u32).to_be_bytes();
        let red = [0x80 | OPUS, a, b, c, OPUS];
        let packet = [&fixed[..], extension.as_flattened(), &red, &PAYLOAD, &PAYLOAD].concat();
        let sealed = self.publishers[voice].seal.encrypt_rtp(&packet).unwrap().to_vec();
        (number % 10 != 9).then_some(sealed)
    }

    /// Sends the checks by which clients keep their transports alive (RFC 7675), when they are due.
    pub(crate) fn check(&mut self) {
        if self.now < self.next_check {
            return;
        }
        self.next_check = self.now + Duration::from_secs(5);
        for client in self.receivers.iter().chain(&self.publishers) {
            self.engine.receive(self.now, client.path, &mut client.check());
        }
        self.engine.flush(self.now, &mut self.out);
    }

    /// A round: takes the datagram and sends what comes of it. Returns how many datagrams go out.
    pub(crate) fn round(&mut self, datagram: Option<&mut Vec<u8>>) -> usize {
        let path = self.publishers[self.voice()].path;
        self.round += 1;
        self.now += Duration::from_millis(5);
        if self.engine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.engine.handle_timeout(self.now);
        }
        if let Some(datagram) = datagram {
            self.engine.receive(self.now, path, datagram);
        }
        self.out.clear();
        self.engine.flush(self.now, &mut self.out);
        self.out.datagrams().len()
    }
}

fn ssrc(voice: usize) -> Ssrc {
    Ssrc(0x1000 + voice as u32)
}
