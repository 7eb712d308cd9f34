//! DTLS from a client whose path is proven: a real handshake with changes, and records of any bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use caside_media::parameters::{DtlsParameters, DtlsRole, Fingerprint};
use caside_media::send_buffer::{MAX_DATAGRAM, SendBuffer};
use caside_media::transport::{Transport, TransportEvent};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use crate::input::{Blob, Sequence};
use crate::peer::{Check, ClientDtls, DtlsOptions, provider};
use crate::setting::{config, credentials, path, start, wait};

/// What the client does.
#[derive(Debug, Arbitrary)]
enum Act<'a> {
    /// Sends its next datagram as it is.
    Send,
    /// Sends it changed.
    SendChanged(Vec<(u16, u8)>),
    /// Sends it cut.
    SendCut(u16),
    /// Sends it twice.
    SendTwice,
    /// Loses it.
    Lose,
    /// Sends something of its own.
    Raw(Blob<'a>),
    /// Sends a record that looks like a handshake message.
    Handshake {
        epoch: u8,
        sequence: u8,
        kind: u8,
        length: u32,
        message: u8,
        offset: u32,
        fragment: u32,
        body: Blob<'a>,
    },
    /// Waits.
    Wait { ms: u16 },
}

/// A client's handshake.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    /// Whether we begin.
    reverse: bool,
    acts: Sequence<Act<'a>>,
}

/// Goes through it.
pub fn run(input: &Input<'_>) {
    let mut world = World::new(start(), input.reverse);
    for act in input.acts.iter().take(128) {
        match act {
            Act::Send => {
                if let Some(datagram) = world.next() {
                    world.deliver(datagram);
                }
            }
            Act::SendChanged(changes) => {
                if let Some(mut datagram) = world.next() {
                    for (at, xor) in changes {
                        let at = usize::from(*at) % datagram.len();
                        datagram[at] ^= xor;
                    }
                    world.deliver(datagram);
                }
            }
            Act::SendCut(length) => {
                if let Some(mut datagram) = world.next() {
                    datagram.truncate(usize::from(*length));
                    world.deliver(datagram);
                }
            }
            Act::SendTwice => {
                if let Some(datagram) = world.next() {
                    world.deliver(datagram.clone());
                    world.deliver(datagram);
                }
            }
            Act::Lose => drop(world.next()),
            Act::Raw(bytes) => world.deliver(bytes.to_vec()),
            Act::Handshake {
                epoch,
                sequence,
                kind,
                length,
                message,
                offset,
                fragment,
                body,
            } => {
                let body = &body[..body.len().min(1200)];
                let mut record = vec![22, 0xfe, 0xfd, 0, *epoch, 0, 0, 0, 0, 0, *sequence];
                record.extend((12 + body.len() as u16).to_be_bytes());
                record.push(*kind);
                record.extend(&length.to_be_bytes()[1..]);
                record.extend([0, *message]);
                record.extend(&offset.to_be_bytes()[1..]);
                record.extend(&fragment.to_be_bytes()[1..]);
                record.extend(body);
                world.deliver(record);
            }
            Act::Wait { ms } => world.wait(wait(*ms)),
        }
    }
}

/// What a client that is not there would have signaled.
pub(crate) fn expected() -> DtlsParameters {
    let fingerprint = Fingerprint {
        algorithm: "sha-256".to_owned(),
        digest: vec![7; 32],
    };
    DtlsParameters {
        role: DtlsRole::Server,
        fingerprints: vec![fingerprint],
    }
}

/// The client's certificate: one for all, for it takes long to make.
pub(crate) fn certificate() -> Certificate {
    thread_local! {
        static CERTIFICATE: Certificate =
            Certificate::generate_self_signed(vec!["client".to_owned()], provider().crypto()).expect("a certificate");
    }
    CERTIFICATE.with(Clone::clone)
}

/// A transport with a proven path, and its client.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) transport: Transport,
    pub(crate) client: ClientDtls,
    pub(crate) events: Vec<TransportEvent>,
    pub(crate) out: SendBuffer,
    waiting: VecDeque<Vec<u8>>,
}

impl World {
    pub(crate) fn new(now: Instant, reverse: bool) -> Self {
        let (local, remote) = (credentials("ours"), credentials("theirs"));
        let role = if reverse { DtlsRole::Server } else { DtlsRole::Client };
        let profiles = vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm];
        let client = ClientDtls::new(DtlsOptions {
            profiles,
            certificate: certificate(),
            role,
        });
        let mut transport = Transport::new(now, config(), local.clone());
        let mut out = SendBuffer::default();
        let dtls = DtlsParameters {
            role: if reverse { DtlsRole::Client } else { DtlsRole::Server },
            fingerprints: vec![client.fingerprint("sha-256")],
        };
        transport.connect(now, None, Some(remote.clone()), dtls, &mut out);
        let mut check = Check::new(&local, &remote).datagram();
        transport.receive(now, path(0), &mut check, &mut out);
        assert_eq!(transport.path_count(), 1, "the check is right");
        let mut world = Self {
            now,
            transport,
            client,
            events: Vec::new(),
            out,
            waiting: VecDeque::new(),
        };
        world.client.begin(now);
        world.collect();
        world
    }

    /// One that is secured.
    pub(crate) fn secured(now: Instant) -> Self {
        let mut world = Self::new(now, false);
        for _ in 0..64 {
            let Some(datagram) = world.next() else { break };
            world.deliver(datagram);
        }
        assert!(
            world.transport.is_secured() && world.client.complete,
            "the handshake is right"
        );
        world.events.clear();
        world
    }

    /// The client's next datagram.
    fn next(&mut self) -> Option<Vec<u8>> {
        self.waiting
            .extend(self.client.transmits().into_iter().map(|datagram| datagram.to_vec()));
        self.waiting.pop_front().filter(|datagram| !datagram.is_empty())
    }

    pub(crate) fn deliver(&mut self, mut datagram: Vec<u8>) {
        self.transport.receive(self.now, path(0), &mut datagram, &mut self.out);
        self.collect();
    }

    /// Sends what the client's DTLS has sealed.
    pub(crate) fn deliver_sealed(&mut self) {
        while let Some(datagram) = self.next() {
            self.deliver(datagram);
        }
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.handle_timeout(self.now);
        }
        if self.transport.poll_timeout().is_some_and(|at| at <= self.now) {
            self.transport.handle_timeout(self.now, &mut self.out);
            assert!(
                self.transport.poll_timeout().is_none_or(|at| at > self.now),
                "a timer that stays due would spin"
            );
        }
        self.collect();
    }

    /// What the transport sends goes to the client.
    pub(crate) fn collect(&mut self) {
        let datagrams: Vec<Vec<u8>> = self.out.iter().map(|(_, datagram)| datagram.to_vec()).collect();
        self.out.clear();
        for datagram in datagrams {
            assert!(datagram.len() <= MAX_DATAGRAM, "{} bytes", datagram.len());
            if (20..=63).contains(&datagram[0]) {
                self.client.receive(self.now, &datagram);
            }
        }
        self.events.extend(std::iter::from_fn(|| self.transport.poll_event()));
    }
}
