//! An engine and its clients in virtual time, over seeded links.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

use crate::transport::client;

pub(crate) mod client_side;
#[path = "../support/connect.rs"]
pub(crate) mod connect;
#[allow(dead_code, reason = "shared with benches that use more of it")]
#[path = "../support/fan_out.rs"]
pub(crate) mod fan_out;
pub(crate) mod feedback;
#[path = "../support/parameters.rs"]
pub(crate) mod parameters;
pub(crate) mod sink;
pub(crate) mod source;

use std::time::{Duration, Instant};

use caside_media::control::{Command, Event, EventKind};
use caside_media::engine::{Engine, EngineConfig};
use caside_media::parameters::{
    ConsumerId, ConsumerParameters, Encoding, MediaKind, ProducerId, RouterId, Ssrc, TransportId,
};
use caside_media::pipe::carrier::{PipeReceiver, PipeSender};
use caside_media::pipe::{Neighbour, PipeSink, Piped};
use caside_media::rtcp::NtpTime;
use caside_media::send_buffer::SendBuffer;

pub(crate) use self::client_side::Client;
use self::parameters::{consumed, produced};
use self::sink::Sink;
use self::source::{Layers, Source};
use crate::transport::link::{Conditions, Rng, SimLink};
use crate::transport::world;

pub(crate) const ROUTER: RouterId = RouterId(1);

/// Since the Unix epoch, when a simulation starts.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// A client's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At(pub(crate) usize);

/// A received track: the client's index, and its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watch(pub(crate) usize, pub(crate) usize);

pub(crate) struct Sim {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) engine: Engine,
    pub(crate) clients: Vec<Client>,
    pub(crate) events: Vec<Event>,
    pub(crate) conditions: Conditions,
    pub(crate) rng: Rng,
    pub(crate) pipes: Pipes,
    out: SendBuffer,
    next_id: u64,
}

/// An engine's ends of the pipes from and to others.
#[derive(Default)]
pub(crate) struct Pipes {
    pub(crate) to: Vec<(Neighbour, PipeSender)>,
    pub(crate) from: Vec<(Neighbour, PipeReceiver)>,
}

impl PipeSink for Pipes {
    fn push(&mut self, to: Neighbour, item: &Piped<'_>) -> bool {
        let mut pipes = self.to.iter_mut();
        pipes
            .find(|(other, _)| *other == to)
            .is_some_and(|(_, pipe)| pipe.push(item))
    }
}

impl Sim {
    /// A failure prints the seed with the test's name; the same seed gives the same run but for keys.
    pub(crate) fn new(seed: u64, conditions: Conditions) -> Self {
        Self::beside(world::start(), 1, seed, conditions)
    }

    /// One that shares time with another, and whose ids begin with another number.
    pub(crate) fn beside(now: Instant, next_id: u64, seed: u64, conditions: Conditions) -> Self {
        let mut engine = Engine::new(EngineConfig::new(world::config(), (now, EPOCH)));
        engine.handle(now, Command::OpenRouter { router: ROUTER });
        Self {
            now,
            start: now,
            engine,
            clients: Vec::new(),
            events: Vec::new(),
            conditions,
            rng: Rng(seed),
            pipes: Pipes::default(),
            out: SendBuffer::default(),
            next_id,
        }
    }

    pub(crate) fn good() -> Self {
        Self::new(1, Conditions::GOOD)
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A client with a transport that is secured.
    pub(crate) fn join(&mut self) -> At {
        self.join_at(5000 + self.clients.len() as u16, ROUTER)
    }

    /// A client that has yet to nominate its path; its next check does.
    pub(crate) fn join_unnominated(&mut self) -> At {
        self.join_with(5000 + self.clients.len() as u16, ROUTER, false)
    }

    pub(crate) fn join_at(&mut self, port: u16, router: RouterId) -> At {
        self.join_with(port, router, true)
    }

    fn join_with(&mut self, port: u16, router: RouterId, nominate: bool) -> At {
        // What is under way keeps its time: the handshake takes none.
        self.collect();
        let transport = TransportId(self.id());
        let connected = connect::connect(&mut self.engine, self.now, router, transport, port, nominate);
        let (up, down) = (self.rng.next(), self.rng.next());
        let (up, down) = (SimLink::new(self.conditions, up), SimLink::new(self.conditions, down));
        let inherited_path = self
            .clients
            .iter()
            .any(|client| client.connected.path == connected.path);
        let mut client = Client::new(self.now, transport, connected, up, down);
        client.inherited_path = inherited_path;
        self.clients.push(client);
        self.collect();
        At(self.clients.len() - 1)
    }

    pub(crate) fn publish(&mut self, at: At, kind: MediaKind) -> ProducerId {
        let ssrc = 0x1000 + self.id() as u32 * 16;
        let mid = self.clients[at.0].sources.len().to_string();
        let producer = ProducerId(self.id());
        let parameters = produced(kind, &mid, ssrc);
        self.command(Command::Produce {
            transport: self.clients[at.0].transport,
            producer,
            parameters,
        });
        let source = Source::new(self.now, producer, kind, mid, Ssrc(ssrc));
        self.clients[at.0].sources.push(source);
        producer
    }

    /// A track with several encodings, lowest first, each with temporal layers. Their clocks, numbers and frames differ.
    pub(crate) fn publish_simulcast(&mut self, at: At, rids: &[&str]) -> ProducerId {
        let mid = self.clients[at.0].sources.len().to_string();
        let producer = ProducerId(self.id());
        let mut parameters = produced(MediaKind::Video, &mid, 0);
        parameters.encodings = rids
            .iter()
            .map(|rid| Encoding {
                rid: Some((*rid).to_owned()),
                ..Encoding::default()
            })
            .collect();
        self.command(Command::Produce {
            transport: self.clients[at.0].transport,
            producer,
            parameters,
        });
        for (rid, index) in rids.iter().zip(0u32..) {
            let ssrc = Ssrc(0x1000 + self.id() as u32 * 16);
            let mut source = Source::new(self.now, producer, MediaKind::Video, mid.clone(), ssrc);
            source.rid = Some((*rid).to_owned());
            source.frames = index << 24;
            source.timestamp = index.wrapping_mul(0x4000_1234);
            source.sequence = 1000 + index as u16 * 20_000;
            source.layers = Some(Layers::new(index as u16 * 9000, index as u8 * 70));
            source.payload_len = 300 + 300 * index as usize;
            self.clients[at.0].sources.push(source);
        }
        producer
    }

    /// The encodings of a track, lowest first.
    /// A camera in three sizes of about 0.15, 0.5 and 1.7 Mbit/s.
    pub(crate) fn publish_camera(&mut self, at: At) -> ProducerId {
        let camera = self.publish_simulcast(at, &["q", "h", "f"]);
        let encodings = self.encodings(camera).into_iter();
        for (encoding, (parts, len)) in encodings.zip([(1, 750), (3, 830), (8, 1060)]) {
            (encoding.parts, encoding.payload_len) = (parts, len);
        }
        camera
    }

    pub(crate) fn encodings(&mut self, producer: ProducerId) -> Vec<&mut Source> {
        let sources = self.clients.iter_mut().flat_map(|client| &mut client.sources);
        sources.filter(|source| source.producer == producer).collect()
    }

    pub(crate) fn subscribe(&mut self, at: At, producer: ProducerId) -> Watch {
        let kind = self.source(producer).kind;
        let ssrc = 0x10_0000 + self.id() as u32 * 16;
        let mid = self.clients[at.0].sinks.len().to_string();
        self.subscribe_with(at, producer, consumed(kind, &mid, ssrc)).1
    }

    pub(crate) fn subscribe_with(
        &mut self,
        at: At,
        producer: ProducerId,
        parameters: ConsumerParameters,
    ) -> (ConsumerId, Watch) {
        let consumer = ConsumerId(self.id());
        let transport = self.clients[at.0].transport;
        self.clients[at.0].sinks.push(Sink::new(parameters.clone()));
        self.command(Command::Consume {
            transport,
            producer,
            consumer,
            parameters,
            paused: false,
        });
        (consumer, Watch(at.0, self.clients[at.0].sinks.len() - 1))
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.engine.handle(self.now, command);
        self.flush();
    }

    pub(crate) fn client(&mut self, at: At) -> &mut Client {
        &mut self.clients[at.0]
    }

    pub(crate) fn sink(&mut self, watch: Watch) -> &mut Sink {
        &mut self.clients[watch.0].sinks[watch.1]
    }

    pub(crate) fn source(&mut self, producer: ProducerId) -> &mut Source {
        let mut sources = self.clients.iter_mut().flat_map(|client| &mut client.sources);
        sources
            .find(|source| source.producer == producer)
            .expect("a published track")
    }

    pub(crate) fn transport_of(&self, at: At) -> TransportId {
        self.clients[at.0].transport
    }

    /// Our wall clock.
    pub(crate) fn wall(&self) -> NtpTime {
        NtpTime::from_unix(EPOCH + (self.now - self.start))
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            match self.next() {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => break,
            }
            self.step();
        }
        self.now = end;
    }

    /// When something happens next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let links = self
            .clients
            .iter()
            .flat_map(|client| [client.up.next_arrival(), client.down.next_arrival()]);
        let clients = self.clients.iter().map(|client| Some(client.next_time()));
        links.chain(clients).chain([self.engine.poll_timeout()]).flatten().min()
    }

    /// Takes what came over pipes. Says whether anything did.
    pub(crate) fn take_piped(&mut self) -> bool {
        let mut came = false;
        for (home, pipe) in &mut self.pipes.from {
            pipe.receive(usize::MAX, |item| {
                came = true;
                self.engine.receive_piped(self.now, *home, item);
            });
        }
        if came {
            self.flush();
        }
        came
    }

    pub(crate) fn step(&mut self) {
        let wall = self.wall();
        for client in &mut self.clients {
            while let Some((_, datagram)) = client.down.receive(self.now) {
                client.receive(self.now, &datagram);
            }
            client.act(self.now, wall);
            while let Some((path, mut datagram)) = client.up.receive(self.now) {
                self.engine.receive(self.now, path, &mut datagram);
            }
        }
        if self.engine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.engine.handle_timeout(self.now);
            let again = self.engine.poll_timeout();
            assert!(
                again.is_none_or(|at| at > self.now),
                "a timer that stays due would spin"
            );
        }
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        self.engine.flush_pipes(self.now, &mut self.pipes);
        self.engine.flush(self.now, &mut self.out);
        self.engine.flush_pipes(self.now, &mut self.pipes);
        for (path, datagram) in self.out.iter() {
            assert!(datagram.len() <= caside_media::send_buffer::MAX_DATAGRAM);
            // The latest client of a port has it.
            if let Some(client) = self
                .clients
                .iter_mut()
                .rev()
                .find(|client| client.connected.path == path)
            {
                client.down.send(self.now, path, datagram);
            }
        }
        self.out.clear();
        self.collect();
    }

    fn collect(&mut self) {
        self.events.extend(std::iter::from_fn(|| self.engine.poll_event()));
    }

    /// The speakers as they were told, in order.
    pub(crate) fn speakers(&self) -> Vec<Vec<ProducerId>> {
        let speakers = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::ActiveSpeakers { producers } => Some(producers.clone()),
            _ => None,
        });
        speakers.collect()
    }
}
