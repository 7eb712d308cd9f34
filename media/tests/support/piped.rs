//! One publisher, and receivers of its track in another engine.

use std::time::Duration;

use caside_media::control::Command;
use caside_media::engine::{Engine, EngineConfig};
use caside_media::parameters::{ConsumerId, MediaKind, ProducerId, RouterId, TransportId};
use caside_media::pipe::carrier::{PipeReceiver, PipeSender, channel};
use caside_media::pipe::{Neighbour, PipeSink, Piped};
use caside_media::send_buffer::SendBuffer;

use super::connect::{Connected, connect};
use super::fan_out::FanOut;
use super::parameters::{consumed, produced};

const ROUTER: RouterId = RouterId(1);
const HOME: Neighbour = Neighbour(0);
const OTHER: Neighbour = Neighbour(1);

/// The two engines, with a pipe each way.
pub(crate) struct PipedFanOut {
    pub(crate) home: FanOut,
    pub(crate) other: Engine,
    pub(crate) out: SendBuffer,
    receivers: Vec<Connected>,
    down: Way,
    up: Way,
    checks: u32,
}

/// One way.
struct Way {
    sender: PipeSender,
    receiver: PipeReceiver,
}

impl Way {
    fn new() -> Self {
        let (sender, receiver) = channel(256);
        Self { sender, receiver }
    }
}

impl PipeSink for Way {
    fn push(&mut self, _: Neighbour, item: &Piped<'_>) -> bool {
        self.sender.push(item)
    }
}

impl PipedFanOut {
    pub(crate) fn new(config: EngineConfig, receivers: usize, payload_len: usize) -> Self {
        let now = config.clock.0 + Duration::from_secs(1);
        let mut home = FanOut::new(config.clone(), now, 0, payload_len);
        let producer = ProducerId(1);
        home.engine.handle(now, Command::Pipe { producer, to: OTHER });
        let mut other = Engine::new(config);
        other.handle(now, Command::OpenRouter { router: ROUTER });
        let piped = Command::ProducePiped {
            router: ROUTER,
            producer,
            home: HOME,
            publisher: TransportId(0),
            parameters: produced(MediaKind::Video, "0", 0x1000),
        };
        other.handle(now, piped);
        let mut connected = Vec::new();
        for n in 1..=receivers as u64 {
            let transport = TransportId(n);
            connected.push(connect(&mut other, now, ROUTER, transport, 5000 + n as u16, true));
            let consume = Command::Consume {
                transport,
                producer,
                consumer: ConsumerId(n),
                parameters: consumed(MediaKind::Video, "0", 0x10_0000),
                paused: false,
            };
            other.handle(now, consume);
        }
        Self {
            home,
            other,
            out: SendBuffer::with_capacity(receivers * 8 + 64),
            receivers: connected,
            down: Way::new(),
            up: Way::new(),
            checks: 0,
        }
    }

    /// Sends the checks by which clients keep their transports alive (RFC 7675), now and then.
    pub(crate) fn check(&mut self) {
        self.home.check();
        self.checks += 1;
        if self.checks.is_multiple_of(500) {
            for client in &self.receivers {
                self.other.receive(self.home.now, client.path, &mut client.check());
            }
            self.out.clear();
            self.other.flush(self.home.now, &mut self.out);
        }
    }

    /// Lets what came home go to the other engine.
    pub(crate) fn cross(&mut self) {
        let now = self.home.now;
        self.home.engine.flush_pipes(now, &mut self.down);
        let other = &mut self.other;
        self.down
            .receiver
            .receive(usize::MAX, |item| other.receive_piped(now, HOME, item));
    }

    /// A round of both: takes the datagrams and sends what comes of them. Returns how many datagrams go out.
    pub(crate) fn round(&mut self, datagrams: &mut [Vec<u8>]) -> usize {
        self.home.round(datagrams);
        self.cross();
        let now = self.home.now;
        if self.other.poll_timeout().is_some_and(|at| at <= now) {
            self.other.handle_timeout(now);
        }
        self.out.clear();
        self.other.flush(now, &mut self.out);
        self.other.flush_pipes(now, &mut self.up);
        let home = &mut self.home.engine;
        self.up
            .receiver
            .receive(usize::MAX, |item| home.receive_piped(now, OTHER, item));
        self.out.datagrams().len()
    }
}
