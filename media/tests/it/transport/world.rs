//! A transport, a client and the link between them.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use caside_media::certificate::Certificate;
use caside_media::parameters::{DtlsParameters, DtlsRole, Fingerprint, IceCredentials, Path};
use caside_media::send_buffer::SendBuffer;
use caside_media::transport::{Received, Transport, TransportConfig, TransportEvent};

use super::client::{Check, ClientDtls, DtlsOptions};
use super::link::{Conditions, SimLink};

pub(crate) fn config() -> Arc<TransportConfig> {
    static CONFIG: LazyLock<Arc<TransportConfig>> =
        LazyLock::new(|| Arc::new(TransportConfig::new(Certificate::generate().unwrap())));
    CONFIG.clone()
}

#[expect(clippy::disallowed_methods, reason = "an arbitrary start of virtual time")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn path(port: u16) -> Path {
    let local = SocketAddr::from(([198, 51, 100, 1], 7000));
    Path {
        local,
        remote: SocketAddr::from(([203, 0, 113, 5], port)),
        tcp: false,
    }
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) transport: Transport,
    pub(crate) client: ClientDtls,
    pub(crate) local: IceCredentials,
    pub(crate) remote: IceCredentials,
    pub(crate) events: Vec<TransportEvent>,
    pub(crate) media: Vec<(bool, Vec<u8>)>,
    pub(crate) up: SimLink,
    pub(crate) down: SimLink,
    /// Where the client sends from.
    pub(crate) client_path: Path,
    /// When the client checks next; `None` stops it.
    pub(crate) check_at: Option<Instant>,
    pub(crate) checks_answered: usize,
    /// What the client received on which path, STUN and DTLS left out.
    pub(crate) client_media: Vec<(Path, Vec<u8>)>,
    /// The paths that DTLS reached the client on.
    pub(crate) client_dtls_path: Option<Path>,
    pub(crate) out: SendBuffer,
}

impl World {
    pub(crate) fn new(options: DtlsOptions, conditions: Conditions, seed: u64) -> Self {
        let now = start();
        let local = IceCredentials::random();
        Self {
            now,
            transport: Transport::new(now, config(), local.clone()),
            client: ClientDtls::new(options),
            local,
            remote: IceCredentials::random(),
            events: Vec::new(),
            media: Vec::new(),
            up: SimLink::new(conditions, seed),
            down: SimLink::new(conditions, !seed),
            client_path: path(1),
            check_at: Some(now),
            checks_answered: 0,
            client_media: Vec::new(),
            client_dtls_path: None,
            out: SendBuffer::default(),
        }
    }

    /// A transport whose client is usual, over a good link, secured.
    pub(crate) fn secured() -> Self {
        Self::secured_with(DtlsOptions::default())
    }

    pub(crate) fn secured_with(options: DtlsOptions) -> Self {
        let mut world = Self::new(options, Conditions::GOOD, 1);
        world.connect();
        world.run_until(Duration::from_secs(5), |world| {
            world.transport.is_secured() && world.client.complete
        });
        assert!(world.transport.is_secured(), "{:?}", world.events);
        world
    }

    pub(crate) fn connect(&mut self) {
        let fingerprints = vec![self.client.fingerprint("sha-256")];
        self.connect_with(DtlsRole::Server, fingerprints);
    }

    pub(crate) fn connect_with(&mut self, role: DtlsRole, fingerprints: Vec<Fingerprint>) {
        let dtls = DtlsParameters { role, fingerprints };
        self.transport
            .connect(self.now, None, Some(self.remote.clone()), dtls, &mut self.out);
        self.collect();
    }

    pub(crate) fn check(&self) -> Check {
        Check::new(&self.local, &self.remote)
    }

    /// Hands the transport a datagram at once and returns what it answered at once.
    pub(crate) fn deliver(&mut self, path: Path, datagram: &[u8]) -> Vec<(Path, Vec<u8>)> {
        let mut datagram = datagram.to_vec();
        match self.transport.receive(self.now, path, &mut datagram, &mut self.out) {
            Received::Nothing | Received::Check => {}
            Received::Rtp(packet) => self.media.push((false, packet.to_vec())),
            Received::Rtcp(packet) => self.media.push((true, packet.to_vec())),
        }
        let answers = self.out.iter().map(|(path, bytes)| (path, bytes.to_vec())).collect();
        self.collect();
        answers
    }

    pub(crate) fn closed(&self) -> Option<caside_media::control::CloseReason> {
        match self.events.last() {
            Some(TransportEvent::Closed(reason)) => Some(*reason),
            _ => None,
        }
    }

    /// Runs virtual time until the condition holds, or for so long.
    pub(crate) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        while !done(self) && self.now < end {
            self.client_step();
            let next = [
                self.up.next_arrival(),
                self.down.next_arrival(),
                self.transport.poll_timeout(),
                self.client.poll_timeout(),
                self.check_at,
            ];
            self.now = next
                .into_iter()
                .flatten()
                .min()
                .map_or(end, |at| at.min(end))
                .max(self.now);
            while let Some((path, datagram)) = self.up.receive(self.now) {
                self.deliver(path, &datagram);
            }
            if self.transport.poll_timeout().is_some_and(|at| at <= self.now) {
                self.transport.handle_timeout(self.now, &mut self.out);
                self.collect();
                let again = self.transport.poll_timeout();
                assert!(
                    again.is_none_or(|at| at > self.now),
                    "a timer that stays due would spin"
                );
            }
            while let Some((path, datagram)) = self.down.receive(self.now) {
                self.client_receive(path, &datagram);
            }
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    pub(crate) fn collect(&mut self) {
        for (path, datagram) in self.out.iter() {
            assert!(datagram.len() <= caside_media::send_buffer::MAX_DATAGRAM);
            self.down.send(self.now, path, datagram);
        }
        self.out.clear();
        self.events.extend(std::iter::from_fn(|| self.transport.poll_event()));
    }

    fn client_receive(&mut self, path: Path, datagram: &[u8]) {
        match datagram[0] {
            0..=3 => {
                self.checks_answered += 1;
                self.client.begin(self.now);
            }
            20..=63 => {
                self.client_dtls_path = Some(path);
                self.client.receive(self.now, datagram);
            }
            _ => self.client_media.push((path, datagram.to_vec())),
        }
    }

    fn client_step(&mut self) {
        if self.check_at.is_some_and(|at| at <= self.now) {
            let datagram = self.check().datagram();
            self.up.send(self.now, self.client_path, &datagram);
            self.check_at = Some(self.now + Duration::from_millis(500));
        }
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
        }
        for datagram in self.client.transmits() {
            self.up.send(self.now, self.client_path, &datagram);
        }
    }
}
