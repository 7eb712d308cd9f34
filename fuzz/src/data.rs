//! SCTP and data channels of an authenticated client that sends what it likes.

use arbitrary::Arbitrary;
use caside_media::data::{MAX_CHANNELS, MAX_LABEL, MAX_MESSAGE};
use caside_media::transport::TransportEvent;

use crate::input::{Blob, Sequence, Text};
use crate::setting::{start, wait};
use crate::transport::World;

/// One chunk. TSNs are counted from the client's first.
#[derive(Debug, Arbitrary)]
enum Chunk<'a> {
    Data {
        flags: u8,
        tsn: u8,
        stream: u8,
        ssn: u8,
        kind: Kind,
        payload: Blob<'a>,
    },
    /// Opens a channel.
    Open {
        tsn: u8,
        stream: u8,
        channel_type: u8,
        label: Blob<'a>,
        protocol: Blob<'a>,
    },
    Sack {
        acked: u8,
        window: u32,
        gaps: Vec<(u16, u16)>,
        duplicates: u8,
    },
    ForwardTsn {
        tsn: u32,
        streams: Vec<(u16, u16)>,
    },
    Reset {
        kind: u16,
        body: Blob<'a>,
    },
    Init {
        tag: u32,
        window: u32,
        outbound: u16,
        inbound: u16,
        tsn: u32,
        rest: Blob<'a>,
    },
    /// Any other, or one of the above with any body.
    Other {
        kind: u8,
        flags: u8,
        body: Blob<'a>,
    },
    /// One whose length says something else.
    Lying {
        kind: u8,
        length: u16,
        body: Blob<'a>,
    },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Kind {
    Dcep,
    Text,
    Binary,
    TextEmpty,
    BinaryEmpty,
    Unknown(u32),
}

/// What happens.
#[derive(Debug, Arbitrary)]
enum Act<'a> {
    Packet(Vec<Chunk<'a>>),
    /// A packet with another tag or checksum.
    Foreign {
        tag: u32,
        checksum: bool,
        chunks: Vec<Chunk<'a>>,
    },
    /// Not even SCTP.
    Raw(Blob<'a>),
    /// We send a message.
    Send {
        label: Text<'a>,
        length: u16,
        text: bool,
    },
    Wait {
        ms: u16,
    },
}

/// A client's data channels.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    /// Whether the association is begun in order.
    begun: bool,
    acts: Sequence<Act<'a>>,
}

const CLIENT_TAG: u32 = 0x0102_0304;
const FIRST_TSN: u32 = 1000;

/// Goes through it.
pub fn run(input: &Input<'_>) {
    let mut world = World::secured(start());
    let mut tag = 0;
    if input.begun {
        tag = begin(&mut world);
    }
    for act in input.acts.iter().take(64) {
        match act {
            Act::Packet(chunks) => send(&mut world, &packet(tag, chunks, true)),
            Act::Foreign { tag, checksum, chunks } => send(&mut world, &packet(*tag, chunks, *checksum)),
            Act::Raw(bytes) => send(&mut world, bytes),
            Act::Send { label, length, text } => {
                let data = vec![b'x'; usize::from(*length)];
                let now = world.now;
                // Refused when it exceeds a limit.
                world.transport.send_data(now, label, &data, *text, &mut world.out).ok();
                world.collect();
            }
            Act::Wait { ms } => world.wait(wait(*ms)),
        }
        world.client.data.clear();
        assert!(world.transport.data_channels() <= MAX_CHANNELS);
        for event in world.events.drain(..) {
            if let TransportEvent::Data { label, data, .. } = event {
                assert!(label.len() <= MAX_LABEL && data.len() <= MAX_MESSAGE);
            }
        }
    }
}

fn send(world: &mut World, packet: &[u8]) {
    let packet = &packet[..packet.len().min(1200)];
    if world.client.closed || packet.is_empty() || !world.transport.is_secured() {
        return;
    }
    let now = world.now;
    world.client.write(now, packet);
    world.deliver_sealed();
}

/// Begins the association; the tag that the client has to use.
fn begin(world: &mut World) -> u32 {
    let mut init = CLIENT_TAG.to_be_bytes().to_vec();
    init.extend(131_072_u32.to_be_bytes());
    init.extend([0, 64, 0, 64]);
    init.extend(FIRST_TSN.to_be_bytes());
    send(world, &sealed(0, &[chunk(1, 0, &init)], true));
    let answers: Vec<Vec<u8>> = world.client.data.drain(..).map(|data| data.to_vec()).collect();
    let answer = answers
        .iter()
        .find(|packet| packet.get(12) == Some(&2))
        .expect("an INIT ACK");
    let tag = u32::from_be_bytes(answer[16..20].try_into().expect("four bytes"));
    let mut parameters = &answer[32..];
    while let [high, low, length_high, length_low, ..] = *parameters {
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if [high, low] == [0, 7] {
            send(world, &sealed(tag, &[chunk(10, 0, &parameters[4..length])], true));
            break;
        }
        parameters = parameters.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    tag
}

fn packet(tag: u32, chunks: &[Chunk<'_>], checksum: bool) -> Vec<u8> {
    let chunks: Vec<Vec<u8>> = chunks.iter().take(8).map(encode).collect();
    sealed(tag, &chunks, checksum)
}

fn encode(chunk_of: &Chunk<'_>) -> Vec<u8> {
    match chunk_of {
        Chunk::Data {
            flags,
            tsn,
            stream,
            ssn,
            kind,
            payload,
        } => {
            let mut body = data_header(*tsn, *stream, *ssn, kind.number());
            body.extend(&payload[..payload.len().min(1000)]);
            chunk(0, *flags, &body)
        }
        Chunk::Open {
            tsn,
            stream,
            channel_type,
            label,
            protocol,
        } => {
            let (label, protocol) = (&label[..label.len().min(300)], &protocol[..protocol.len().min(300)]);
            let mut body = data_header(*tsn, *stream, 0, 50);
            body.extend([3, *channel_type, 1, 0, 0, 0, 0, 0]);
            body.extend((label.len() as u16).to_be_bytes());
            body.extend((protocol.len() as u16).to_be_bytes());
            body.extend(label.iter().chain(*&protocol));
            chunk(0, 3, &body)
        }
        Chunk::Sack {
            acked,
            window,
            gaps,
            duplicates,
        } => {
            let mut body = u32::from(*acked).to_be_bytes().to_vec();
            body.extend(window.to_be_bytes());
            body.extend((gaps.len() as u16).to_be_bytes());
            body.extend(u16::from(*duplicates).to_be_bytes());
            gaps.iter()
                .for_each(|(from, to)| body.extend(from.to_be_bytes().into_iter().chain(to.to_be_bytes())));
            body.resize(body.len() + 4 * usize::from(*duplicates), 0);
            chunk(3, 0, &body)
        }
        Chunk::ForwardTsn { tsn, streams } => {
            let mut body = tsn.to_be_bytes().to_vec();
            streams
                .iter()
                .for_each(|(id, ssn)| body.extend(id.to_be_bytes().into_iter().chain(ssn.to_be_bytes())));
            chunk(192, 0, &body)
        }
        Chunk::Reset { kind, body } => {
            let mut parameter = kind.to_be_bytes().to_vec();
            parameter.extend((4 + body.len() as u16).to_be_bytes());
            parameter.extend(body.iter());
            chunk(130, 0, &parameter)
        }
        Chunk::Init {
            tag,
            window,
            outbound,
            inbound,
            tsn,
            rest,
        } => {
            let mut body = tag.to_be_bytes().to_vec();
            body.extend(window.to_be_bytes());
            body.extend(outbound.to_be_bytes());
            body.extend(inbound.to_be_bytes());
            body.extend(tsn.to_be_bytes());
            body.extend(rest.iter());
            chunk(1, 0, &body)
        }
        Chunk::Other { kind, flags, body } => chunk(*kind, *flags, body),
        Chunk::Lying { kind, length, body } => {
            let mut bytes = vec![*kind, 0];
            bytes.extend(length.to_be_bytes());
            bytes.extend(body.iter());
            bytes
        }
    }
}

impl Kind {
    /// RFC 8831 §8.
    fn number(self) -> u32 {
        match self {
            Self::Dcep => 50,
            Self::Text => 51,
            Self::Binary => 53,
            Self::TextEmpty => 56,
            Self::BinaryEmpty => 57,
            Self::Unknown(number) => number,
        }
    }
}

fn data_header(tsn: u8, stream: u8, ssn: u8, kind: u32) -> Vec<u8> {
    let mut body = (FIRST_TSN + u32::from(tsn)).to_be_bytes().to_vec();
    body.extend([0, stream, 0, ssn]);
    body.extend(kind.to_be_bytes());
    body
}

fn chunk(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let body = &body[..body.len().min(1180)];
    let mut bytes = vec![kind, flags];
    bytes.extend((4 + body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A packet with the common header (RFC 9260 §3.1).
fn sealed(tag: u32, chunks: &[Vec<u8>], checksum: bool) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    chunks.iter().for_each(|chunk| packet.extend(chunk));
    packet.truncate(1200);
    if checksum {
        let crc = crc32c(&packet).to_le_bytes();
        packet[8..12].copy_from_slice(&crc);
    }
    packet
}

/// CRC-32C (RFC 9260 Appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}
