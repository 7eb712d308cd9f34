//! Two authenticated clients in one room that send RTP and RTCP as they like: one publishes, both receive.

use std::collections::HashMap;
use std::time::Instant;

use arbitrary::Arbitrary;
use bytes::Bytes;
use caside_media::control::{Command, TapItem, TapSink};
use caside_media::engine::{Engine, EngineConfig};
use caside_media::parameters::{ConsumerId, DtlsParameters, DtlsRole, Path, ProducerId, RouterId, TapId, TransportId};
use caside_media::rtp::{RtpHeader, unwrap_near};
use caside_media::send_buffer::{MAX_DATAGRAM, SendBuffer};
use caside_media::srtp::{SRTCP_OVERHEAD, SRTP_OVERHEAD, SrtpProfile, SrtpSession};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use crate::engine::{EPOCH, consumed, produced};
use crate::input::{Blob, Sequence};
use crate::peer::{Check, ClientDtls, DtlsOptions};
use crate::setting::{astray, config, credentials, path, start, wait};
use crate::transport::certificate;

/// What happens; `who` is the first client or the second.
#[derive(Debug, Arbitrary)]
enum Act<'a> {
    /// A packet that is nearly right.
    Media(Media<'a>),
    /// Any packet.
    Rtp {
        who: bool,
        packet: Blob<'a>,
    },
    /// Any compound.
    Rtcp {
        who: bool,
        compound: Blob<'a>,
    },
    /// Feedback that is nearly right.
    Feedback {
        who: bool,
        message: Feedback<'a>,
    },
    Pause {
        video: bool,
        paused: bool,
    },
    PauseConsumer {
        video: bool,
        paused: bool,
    },
    Renegotiate {
        video: bool,
        ssrc: u8,
    },
    Tap,
    KeyFrame,
    Wait {
        ms: u16,
    },
}

#[derive(Debug, Arbitrary)]
struct Media<'a> {
    stream: Stream,
    payload_type: u8,
    skip: i8,
    ticks: u16,
    marker: bool,
    extension: Extension<'a>,
    payload: Blob<'a>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Stream {
    Audio,
    Video,
    /// The start of a key frame of VP8.
    Key,
    /// A retransmission of so many packets before.
    Rtx {
        back: u8,
    },
}

#[derive(Debug, Arbitrary)]
enum Extension<'a> {
    None,
    /// Elements of the one-byte form.
    OneByte(Vec<(u8, Blob<'a>)>),
    /// Any bytes under any profile.
    Raw(u16, Blob<'a>),
}

#[derive(Debug, Arbitrary)]
enum Feedback<'a> {
    Nack {
        video: bool,
        rtx: bool,
        /// How far back of the last packet sent, and which after it.
        pairs: Vec<(u8, u16)>,
    },
    Pli {
        video: bool,
    },
    Fir {
        video: bool,
        number: u8,
    },
    Report {
        video: bool,
        fraction: u8,
        lost: u32,
        highest: u32,
        jitter: u32,
        last: u32,
        delay: u32,
    },
    SenderReport {
        video: bool,
        ntp: u64,
        rtp: u32,
    },
    Goodbye {
        video: bool,
    },
    TransportCc(Blob<'a>),
    Application(Blob<'a>),
}

/// What the clients do.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    acts: Sequence<Act<'a>>,
}

const ROUTER: RouterId = RouterId(1);
/// The publisher's streams: sound, and picture with its retransmissions after it.
const AUDIO: u8 = 10;
const VIDEO: u8 = 20;

/// Lets them.
pub fn run(input: &Input<'_>) {
    let mut room = Room::new();
    for act in input.acts.iter().take(128) {
        room.act(act);
        room.round();
    }
    assert_eq!(room.engine.dropped().panics, 0, "a panic was caught");
}

/// One client's keys and counts.
struct Peer {
    path: Path,
    srtp: SrtpSession,
    /// The highest sequence number a stream has sent, with its wraps.
    highest: HashMap<u32, u64>,
    /// What came, sealed as it was, by SSRC and sequence number.
    received: HashMap<(Vec<u8>, Vec<u8>), Vec<u8>>,
}

struct Room {
    now: Instant,
    engine: Engine,
    peers: [Peer; 2],
    out: SendBuffer,
    /// Sequence number and timestamp of the last packet: sound, picture, retransmission.
    last: [(u16, u32); 3],
    /// The last sequence number of each stream that came out.
    sent: HashMap<u32, u16>,
    taps: u64,
}

#[derive(Debug)]
struct Sink;

impl TapSink for Sink {
    fn push(&mut self, _: TapItem) -> bool {
        true
    }
}

impl Room {
    fn new() -> Self {
        let now = start();
        let mut engine = Engine::new(EngineConfig::new(config(), (now, EPOCH)));
        engine.handle(now, Command::OpenRouter { router: ROUTER });
        let peers = [connect(&mut engine, now, 0), connect(&mut engine, now, 1)];
        for (producer, video, ssrc) in [(1, false, AUDIO), (2, true, VIDEO)] {
            let parameters = produced(video, Some(ssrc), if video { "1" } else { "0" }, None);
            engine.handle(
                now,
                Command::Produce {
                    transport: TransportId(0),
                    producer: ProducerId(producer),
                    parameters,
                },
            );
            engine.handle(
                now,
                Command::Consume {
                    transport: TransportId(1),
                    producer: ProducerId(producer),
                    consumer: ConsumerId(producer),
                    parameters: consumed(video, ssrc),
                    paused: false,
                },
            );
        }
        // A track that is to be learnt from its extension.
        let parameters = produced(true, None, "2", Some("hi"));
        engine.handle(
            now,
            Command::Produce {
                transport: TransportId(0),
                producer: ProducerId(3),
                parameters,
            },
        );
        Self {
            now,
            engine,
            peers,
            out: SendBuffer::default(),
            last: [(0, 0); 3],
            sent: HashMap::new(),
            taps: 0,
        }
    }

    fn act(&mut self, act: &Act<'_>) {
        let track = |video: bool| ProducerId(if video { 2 } else { 1 });
        match act {
            Act::Media(media) => {
                let packet = self.packet(media);
                self.send_rtp(false, packet);
            }
            Act::Rtp { who, packet } => self.send_rtp(*who, packet.to_vec()),
            Act::Rtcp { who, compound } => self.send_rtcp(*who, compound.to_vec()),
            Act::Feedback { who, message } => {
                let compound = feedback(message, |ssrc| self.sent.get(&ssrc).copied().unwrap_or(0));
                self.send_rtcp(*who, compound);
            }
            Act::Pause { video, paused } => {
                self.command(Command::PauseProducer {
                    producer: track(*video),
                    paused: *paused,
                });
            }
            Act::PauseConsumer { video, paused } => {
                let consumer = ConsumerId(track(*video).0);
                self.command(Command::PauseConsumer {
                    consumer,
                    paused: *paused,
                });
            }
            Act::Renegotiate { video, ssrc } => {
                let parameters = produced(*video, Some(*ssrc), if *video { "1" } else { "0" }, None);
                self.command(Command::UpdateProducer {
                    producer: track(*video),
                    parameters,
                });
            }
            Act::Tap => {
                self.taps += 1;
                self.command(Command::Tap {
                    producer: track(true),
                    tap: TapId(self.taps),
                    sink: Box::new(Sink),
                });
            }
            Act::KeyFrame => self.command(Command::RequestKeyFrame { producer: track(true) }),
            Act::Wait { ms } => {
                self.now += wait(*ms);
                self.engine.handle_timeout(self.now);
                let due = self.engine.poll_timeout();
                assert!(due.is_none_or(|at| at > self.now), "a timer that stays due would spin");
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.engine.handle(self.now, command);
    }

    fn packet(&mut self, media: &Media<'_>) -> Vec<u8> {
        let video = self.last[1].0;
        let (stream, ssrc, types, prefix): (usize, u8, &[u8], Vec<u8>) = match media.stream {
            Stream::Audio => (0, AUDIO, &[111, 63], vec![]),
            Stream::Video => (1, VIDEO, &[96, 98, 102, 104, 97], vec![]),
            Stream::Key => (1, VIDEO, &[96], vec![0x10, 0x10]),
            Stream::Rtx { back } => {
                let original = video.wrapping_sub(u16::from(back)).to_be_bytes();
                (2, VIDEO + 1, &[97, 99, 103, 105, 96], original.to_vec())
            }
        };
        let (sequence, timestamp) = &mut self.last[stream];
        *sequence = sequence.wrapping_add(1).wrapping_add_signed(astray(media.skip));
        *timestamp = timestamp.wrapping_add(u32::from(media.ticks));
        let payload_type = match media.payload_type {
            0..=199 => types[0],
            other => types[usize::from(other) % types.len()],
        };
        let elements = encode(&media.extension);
        let mut packet = vec![
            0x80 | u8::from(elements.is_some()) << 4,
            payload_type | u8::from(media.marker) << 7,
        ];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(u32::from(ssrc).to_be_bytes());
        packet.extend(elements.unwrap_or_default());
        packet.extend(prefix);
        packet.extend(media.payload.iter());
        packet
    }

    fn send_rtp(&mut self, second: bool, mut packet: Vec<u8>) {
        let peer = &mut self.peers[usize::from(second)];
        // What is no RTP cannot be sealed, and is dropped before it is opened.
        let Ok(header) = RtpHeader::parse(&packet) else { return };
        let highest = peer
            .highest
            .entry(header.ssrc.0)
            .or_insert(1 << 16 | u64::from(header.sequence));
        let number = unwrap_near(*highest, header.sequence);
        *highest = number.max(*highest);
        let roc = u32::try_from((number >> 16).saturating_sub(1)).unwrap_or(0);
        let (length, header_len) = (packet.len(), header.payload.start);
        packet.resize(length + SRTP_OVERHEAD, 0);
        if let Ok(length) = peer.srtp.protect_rtp(&mut packet, length, header_len, roc) {
            self.engine.receive(self.now, peer.path, &mut packet[..length]);
        }
    }

    fn send_rtcp(&mut self, second: bool, mut compound: Vec<u8>) {
        let peer = &mut self.peers[usize::from(second)];
        let length = compound.len();
        compound.resize(length + SRTCP_OVERHEAD, 0);
        if let Ok(length) = peer.srtp.protect_rtcp(&mut compound, length) {
            self.engine.receive(self.now, peer.path, &mut compound[..length]);
        }
    }

    fn round(&mut self) {
        self.engine.flush(self.now, &mut self.out);
        for (to, datagram) in self.out.iter() {
            assert!(datagram.len() <= MAX_DATAGRAM, "{} bytes", datagram.len());
            let peer = self
                .peers
                .iter_mut()
                .find(|peer| peer.path == to)
                .expect("sent to nobody");
            let mut datagram = datagram.to_vec();
            match datagram[..] {
                [128..=191, 192..=223, ..] => {
                    peer.srtp
                        .unprotect_rtcp(&mut datagram)
                        .expect("what we seal can be opened");
                }
                [128..=191, ..] => {
                    let sealed = datagram.clone();
                    let number = (sealed[8..12].to_vec(), sealed[2..4].to_vec());
                    let Some(length) = peer.srtp.unprotect_rtp(&mut datagram) else {
                        // Without RTX what is asked for again is sent again as it was; anything else under its number would
                        // give the key stream away.
                        assert_eq!(
                            peer.received.get(&number),
                            Some(&sealed),
                            "what we seal can be opened, once"
                        );
                        continue;
                    };
                    peer.received.insert(number, sealed);
                    let header = RtpHeader::parse(&datagram[..length]).expect("what we send is RTP");
                    self.sent.insert(header.ssrc.0, header.sequence);
                }
                _ => {}
            }
        }
        self.out.clear();
        while self.engine.poll_event().is_some() {}
    }
}

/// Opens a transport and secures it.
fn connect(engine: &mut Engine, now: Instant, port: u8) -> Peer {
    let (local, remote) = (credentials(&format!("ours{port}")), credentials("theirs"));
    let (transport, path) = (TransportId(u64::from(port)), path(port));
    let mut dtls = ClientDtls::new(DtlsOptions {
        profiles: vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm],
        certificate: certificate(),
        role: DtlsRole::Client,
    });
    let parameters = DtlsParameters {
        role: DtlsRole::Server,
        fingerprints: vec![dtls.fingerprint("sha-256")],
    };
    engine.handle(
        now,
        Command::OpenTransport {
            router: ROUTER,
            transport,
            local: local.clone(),
        },
    );
    engine.handle(
        now,
        Command::ConnectTransport {
            transport,
            local: None,
            remote: Some(remote.clone()),
            dtls: parameters,
        },
    );
    engine.receive(now, path, &mut Check::new(&local, &remote).datagram());
    dtls.begin(now);
    let mut out = SendBuffer::default();
    for _ in 0..16 {
        for datagram in dtls.transmits() {
            engine.receive(now, path, &mut datagram.to_vec());
        }
        engine.flush(now, &mut out);
        for (_, datagram) in out.iter().filter(|(_, datagram)| (20..=63).contains(&datagram[0])) {
            dtls.receive(now, datagram);
        }
        out.clear();
    }
    assert!(dtls.complete, "the handshake is right");
    let server = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let state = dtls.endpoint.get_connection_state(server).expect("a state");
    let material = state
        .export_keying_material("EXTRACTOR-dtls_srtp", &[], 2 * (16 + 12))
        .expect("keys");
    let srtp = SrtpSession::new(SrtpProfile::AeadAes128Gcm, material.as_ref(), true).expect("keys of the right length");
    while engine.poll_event().is_some() {}
    Peer {
        path,
        srtp,
        highest: HashMap::new(),
        received: HashMap::new(),
    }
}

fn encode(extension: &Extension<'_>) -> Option<Bytes> {
    let (profile, mut bytes) = match extension {
        Extension::None => return None,
        Extension::OneByte(elements) => {
            let mut bytes = Vec::new();
            for (id, data) in elements.iter().take(8).filter(|(_, data)| !data.is_empty()) {
                let data = &data[..data.len().min(16)];
                bytes.push(id << 4 | (data.len() - 1) as u8);
                bytes.extend(data);
            }
            (0xbede_u16, bytes)
        }
        Extension::Raw(profile, bytes) => (*profile, bytes[..bytes.len().min(256)].to_vec()),
    };
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut whole = profile.to_be_bytes().to_vec();
    whole.extend((bytes.len() as u16 / 4).to_be_bytes());
    whole.extend(bytes);
    Some(whole.into())
}

/// What a receiver says of the streams that we send, and a sender of its own.
fn feedback(message: &Feedback<'_>, last: impl Fn(u32) -> u16) -> Vec<u8> {
    let own = |video: bool| u32::from(if video { VIDEO } else { AUDIO });
    let sent = |video: bool| 0x1000 + own(video);
    let body = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    match message {
        Feedback::Nack { video, rtx, pairs } => {
            let media = if *rtx { 0x2000 + own(*video) } else { sent(*video) };
            let mut bytes = body(&[9, media]);
            for (back, mask) in pairs.iter().take(200) {
                bytes.extend(last(media).wrapping_sub(u16::from(*back)).to_be_bytes());
                bytes.extend(mask.to_be_bytes());
            }
            rtcp(1, 205, &bytes)
        }
        Feedback::Pli { video } => rtcp(1, 206, &body(&[9, sent(*video)])),
        Feedback::Fir { video, number } => rtcp(4, 206, &body(&[9, 0, sent(*video), u32::from(*number) << 24])),
        Feedback::Report {
            video,
            fraction,
            lost,
            highest,
            jitter,
            last,
            delay,
        } => {
            let losses = u32::from(*fraction) << 24 | lost >> 8;
            rtcp(
                1,
                201,
                &body(&[9, sent(*video), losses, *highest, *jitter, *last, *delay]),
            )
        }
        Feedback::SenderReport { video, ntp, rtp } => rtcp(
            0,
            200,
            &body(&[own(*video), (ntp >> 32) as u32, *ntp as u32, *rtp, 1, 1]),
        ),
        Feedback::Goodbye { video } => rtcp(1, 203, &body(&[own(*video)])),
        Feedback::TransportCc(bytes) => rtcp(15, 205, &[&body(&[9, 0]), &**bytes].concat()),
        Feedback::Application(bytes) => rtcp(15, 206, &[&body(&[9, 0]), &**bytes].concat()),
    }
}

fn rtcp(count: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut body = body[..body.len().min(1200)].to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let mut packet = vec![0x80 | count, kind];
    packet.extend((body.len() as u16 / 4).to_be_bytes());
    packet.extend(body);
    packet
}
