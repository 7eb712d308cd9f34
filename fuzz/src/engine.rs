//! The engine under datagrams and orders in any order, from nobody it has keys with.

use std::time::Duration;

use arbitrary::Arbitrary;
use caside_media::control::Command;
use caside_media::engine::{Engine, EngineConfig};
use caside_media::parameters::{
    Codec, CodecKind, ConsumerId, ConsumerParameters, Encoding, ExtensionIds, Feedback, MediaKind, PayloadType,
    ProducerId, ProducerParameters, RouterId, Ssrc, TransportId,
};
use caside_media::send_buffer::{MAX_DATAGRAM, SendBuffer};

use crate::input::{Blob, Sequence, Text};
use crate::peer::Check;
use crate::setting::{config, credentials, path, start, wait};

/// Since the Unix epoch, when a run starts.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// Ids are few, so that orders meet.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct Id(u8);

impl Id {
    fn number(self) -> u64 {
        u64::from(self.0 % 4)
    }
}

#[derive(Debug, Arbitrary)]
enum Act<'a> {
    Datagram {
        port: u8,
        bytes: Blob<'a>,
    },
    /// A right check for a transport.
    Check {
        port: u8,
        transport: Id,
        nominate: bool,
    },
    OpenRouter(Id),
    CloseRouter(Id),
    OpenTransport(Id, Id),
    Connect(Id),
    CloseTransport(Id),
    Produce {
        transport: Id,
        producer: Id,
        video: bool,
        ssrc: Option<u8>,
        mid: Text<'a>,
        rid: Option<Text<'a>>,
    },
    UpdateProducer {
        producer: Id,
        video: bool,
        ssrc: Option<u8>,
        mid: Text<'a>,
    },
    PauseProducer(Id, bool),
    CloseProducer(Id),
    Consume {
        transport: Id,
        producer: Id,
        consumer: Id,
        video: bool,
        ssrc: u8,
        paused: bool,
    },
    PauseConsumer(Id, bool),
    CloseConsumer(Id),
    KeyFrame(Id),
    Data(Id, Text<'a>),
    Stats(Id),
    Wait {
        ms: u16,
    },
    Flush,
}

/// What the engine goes through.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    acts: Sequence<Act<'a>>,
}

/// Goes through it.
pub fn run(input: &Input<'_>) {
    let mut now = start();
    let mut engine = Engine::new(EngineConfig::new(config(), (now, EPOCH)));
    let mut out = SendBuffer::default();
    for act in input.acts.iter().take(256) {
        match act {
            Act::Datagram { port, bytes } => engine.receive(now, path(*port), &mut bytes.to_vec()),
            Act::Check {
                port,
                transport,
                nominate,
            } => {
                let mut check = Check::new(&ours(*transport), &credentials("theirs"));
                check.nominate = *nominate;
                engine.receive(now, path(*port), &mut check.datagram());
            }
            Act::Wait { ms } => {
                now += wait(*ms);
                engine.handle_timeout(now);
                assert!(
                    engine.poll_timeout().is_none_or(|at| at > now),
                    "a timer that stays due would spin"
                );
            }
            Act::Flush => flush(&mut engine, now, &mut out),
            other => engine.handle(now, command(other)),
        }
        while engine.poll_event().is_some() {}
    }
    flush(&mut engine, now, &mut out);
    assert_eq!(engine.dropped().panics, 0, "a panic was caught");
}

pub(crate) fn flush(engine: &mut Engine, now: std::time::Instant, out: &mut SendBuffer) {
    engine.flush(now, out);
    assert!(out.datagrams().iter().all(|datagram| datagram.len() <= MAX_DATAGRAM));
    out.clear();
}

fn ours(transport: Id) -> caside_media::parameters::IceCredentials {
    credentials(&format!("ours{}", transport.number()))
}

fn command(act: &Act<'_>) -> Command {
    let transport = |id: &Id| TransportId(id.number());
    let producer = |id: &Id| ProducerId(id.number());
    let consumer = |id: &Id| ConsumerId(id.number());
    match act {
        Act::OpenRouter(router) => Command::OpenRouter {
            router: RouterId(router.number()),
        },
        Act::CloseRouter(router) => Command::CloseRouter {
            router: RouterId(router.number()),
        },
        Act::OpenTransport(router, id) => Command::OpenTransport {
            router: RouterId(router.number()),
            transport: transport(id),
            local: ours(*id),
        },
        Act::Connect(id) => Command::ConnectTransport {
            transport: transport(id),
            local: None,
            remote: Some(credentials("theirs")),
            dtls: crate::transport::expected(),
        },
        Act::CloseTransport(id) => Command::CloseTransport {
            transport: transport(id),
        },
        Act::Produce {
            transport: over,
            producer: id,
            video,
            ssrc,
            mid,
            rid,
        } => Command::Produce {
            transport: transport(over),
            producer: producer(id),
            parameters: produced(*video, *ssrc, mid, rid.as_deref()),
        },
        Act::UpdateProducer {
            producer: id,
            video,
            ssrc,
            mid,
        } => Command::UpdateProducer {
            producer: producer(id),
            parameters: produced(*video, *ssrc, mid, None),
        },
        Act::PauseProducer(id, paused) => Command::PauseProducer {
            producer: producer(id),
            paused: *paused,
        },
        Act::CloseProducer(id) => Command::CloseProducer { producer: producer(id) },
        Act::Consume {
            transport: over,
            producer: of,
            consumer: id,
            video,
            ssrc,
            paused,
        } => Command::Consume {
            transport: transport(over),
            producer: producer(of),
            consumer: consumer(id),
            parameters: consumed(*video, *ssrc),
            paused: *paused,
        },
        Act::PauseConsumer(id, paused) => Command::PauseConsumer {
            consumer: consumer(id),
            paused: *paused,
        },
        Act::CloseConsumer(id) => Command::CloseConsumer { consumer: consumer(id) },
        Act::KeyFrame(id) => Command::RequestKeyFrame { producer: producer(id) },
        Act::Data(id, label) => Command::SendData {
            transport: transport(id),
            label: label.to_string(),
            data: bytes::Bytes::from_static(b"x"),
            text: true,
        },
        Act::Stats(router) => Command::Stats {
            router: RouterId(router.number()),
            request: 1,
        },
        Act::Datagram { .. } | Act::Check { .. } | Act::Wait { .. } | Act::Flush => {
            unreachable!("no order to the engine")
        }
    }
}

const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: Some(4),
    rid: Some(10),
    repaired_rid: Some(11),
    audio_level: Some(1),
    abs_send_time: Some(2),
    transport_cc: Some(3),
    video_orientation: Some(13),
    dependency_descriptor: Some(12),
};

/// A codec with all feedback.
fn codec(kind: CodecKind, payload_type: u8, rtx: Option<u8>) -> Codec {
    Codec {
        feedback: Feedback {
            nack: true,
            pli: true,
            fir: true,
            transport_cc: true,
            remb: true,
        },
        rtx: rtx.map(PayloadType),
        ..crate::record::codec(kind, payload_type)
    }
}

/// Opus, with RED under this number.
fn sound(payload_type: u8, red: Option<u8>) -> Codec {
    Codec {
        red: red.map(PayloadType),
        ..codec(CodecKind::Opus, payload_type, None)
    }
}

fn video_codecs() -> Vec<Codec> {
    vec![
        codec(CodecKind::Vp8, 96, Some(97)),
        codec(CodecKind::Vp9, 98, Some(99)),
        codec(CodecKind::H264, 102, Some(103)),
        codec(CodecKind::Av1, 104, Some(105)),
    ]
}

/// What a client will send, under this SSRC and the next, or under any when it says none.
pub(crate) fn produced(video: bool, ssrc: Option<u8>, mid: &str, rid: Option<&str>) -> ProducerParameters {
    let ssrc = ssrc.map(u32::from);
    let (kind, codecs) = if video {
        (MediaKind::Video, video_codecs())
    } else {
        (MediaKind::Audio, vec![sound(111, Some(63))])
    };
    ProducerParameters {
        kind,
        mid: mid.chars().filter(char::is_ascii_graphic).take(16).collect(),
        codecs,
        extensions: EXTENSIONS,
        encodings: vec![Encoding {
            ssrc: ssrc.map(Ssrc),
            rtx_ssrc: ssrc.filter(|_| video).map(|ssrc| Ssrc(ssrc + 1)),
            rid: rid.map(|rid| rid.chars().filter(char::is_ascii_alphanumeric).take(16).collect()),
        }],
    }
}

/// What we send, under this SSRC and the next.
pub(crate) fn consumed(video: bool, ssrc: u8) -> ConsumerParameters {
    let codec = if video {
        codec(CodecKind::Vp8, 100, Some(101))
    } else {
        // Half of them get RED, for the others it is taken off.
        sound(120, Some(45).filter(|_| ssrc.is_multiple_of(2)))
    };
    ConsumerParameters {
        kind: codec.kind.media(),
        mid: "0".to_owned(),
        rtx_ssrc: codec.rtx.map(|_| Ssrc(0x2000 + u32::from(ssrc))),
        codec,
        ssrc: Ssrc(0x1000 + u32::from(ssrc)),
        extensions: EXTENSIONS,
        cname: "publisher".to_owned(),
    }
}
