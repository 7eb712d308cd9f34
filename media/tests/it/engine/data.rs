//! Messages from engine to engine.

use std::time::{Duration, Instant};

use bytes::Bytes;
use caside_media::control::{CloseReason, Command, EventKind};
use caside_media::engine::{Engine, EngineConfig};
use caside_media::parameters::{DtlsParameters, DtlsRole, IceCredentials, Path, TransportId};
use caside_media::send_buffer::SendBuffer;

use crate::sim::ROUTER;
use crate::sim::connect::path;
use crate::transport::client::Check;
use crate::transport::world;

const TRANSPORT: TransportId = TransportId(1);

/// Two engines, each the other's client. Neither checks paths of its own accord, so the test does.
struct Pair {
    now: Instant,
    engines: [Engine; 2],
    credentials: [IceCredentials; 2],
    paths: [Path; 2],
    events: [Vec<EventKind>; 2],
}

impl Pair {
    fn new() -> Self {
        let now = world::start();
        let credentials = [IceCredentials::random(), IceCredentials::random()];
        let here = path(5000);
        let there = Path {
            local: here.remote,
            remote: here.local,
            tcp: false,
        };
        let config = || EngineConfig::new(world::config(), (now, Duration::ZERO));
        let mut pair = Self {
            now,
            engines: [Engine::new(config()), Engine::new(config())],
            credentials,
            paths: [here, there],
            events: [Vec::new(), Vec::new()],
        };
        for (index, role) in [DtlsRole::Server, DtlsRole::Client].into_iter().enumerate() {
            let engine = &mut pair.engines[index];
            let local = pair.credentials[index].clone();
            let remote = Some(pair.credentials[1 - index].clone());
            let dtls = DtlsParameters {
                role,
                fingerprints: vec![world::config().certificate.fingerprint().clone()],
            };
            engine.handle(now, Command::OpenRouter { router: ROUTER });
            engine.handle(
                now,
                Command::OpenTransport {
                    router: ROUTER,
                    transport: TRANSPORT,
                    local,
                },
            );
            engine.handle(
                now,
                Command::ConnectTransport {
                    transport: TRANSPORT,
                    local: None,
                    remote,
                    dtls,
                },
            );
        }
        for index in 0..2 {
            let check = Check::new(&pair.credentials[index], &pair.credentials[1 - index]);
            pair.engines[index].receive(now, pair.paths[index], &mut check.datagram());
        }
        pair
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(5);
            for index in 0..2 {
                if self.engines[index].poll_timeout().is_some_and(|at| at <= self.now) {
                    self.engines[index].handle_timeout(self.now);
                }
                let mut out = SendBuffer::default();
                self.engines[index].flush(self.now, &mut out);
                for (path, datagram) in out.iter() {
                    assert_eq!(path, self.paths[index]);
                    self.engines[1 - index].receive(self.now, self.paths[1 - index], &mut datagram.to_vec());
                }
                self.events[index].extend(std::iter::from_fn(|| self.engines[index].poll_event()).map(|it| it.kind));
            }
        }
    }

    fn messages(&self, index: usize) -> Vec<(String, Bytes, bool)> {
        let messages = self.events[index].iter().filter_map(|event| match event {
            EventKind::Data { label, data, text, .. } => Some((label.clone(), data.clone(), *text)),
            _ => None,
        });
        messages.collect()
    }
}

#[test]
fn messages_go_both_ways_on_channels_of_their_labels() {
    let mut pair = Pair::new();
    pair.run(Duration::from_secs(1));
    for events in &pair.events {
        assert!(matches!(
            events[..],
            [
                EventKind::TransportChecked { tcp: false, .. },
                EventKind::TransportConnected { .. },
                EventKind::HandshakeBegun { .. },
                EventKind::TransportSecured { .. }
            ]
        ));
    }
    for (index, label, text) in [(0, "chat", true), (1, "cursor", false), (0, "chat", true)] {
        let data = Bytes::from(format!("from {index}"));
        let order = Command::SendData {
            transport: TRANSPORT,
            label: label.to_owned(),
            data,
            text,
        };
        pair.engines[index].handle(pair.now, order);
    }
    pair.run(Duration::from_secs(2));
    let message = |label: &str, data: &'static str, text| (label.to_owned(), Bytes::from(data), text);
    assert_eq!(pair.messages(0), [message("cursor", "from 1", false)]);
    assert_eq!(
        pair.messages(1),
        [message("chat", "from 0", true), message("chat", "from 0", true)]
    );
    assert_eq!(pair.engines[0].dropped().messages, 0);

    pair.engines[0].handle(pair.now, Command::CloseTransport { transport: TRANSPORT });
    pair.run(Duration::from_millis(100));
    assert!(matches!(
        pair.events[1].last(),
        Some(EventKind::TransportClosed {
            reason: CloseReason::RemoteClosed,
            ..
        })
    ));
}
