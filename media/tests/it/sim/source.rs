//! A track that a simulated client publishes.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use caside_media::parameters::{MediaKind, PayloadType, ProducerId, Ssrc};
use caside_media::rtp::header::{FIXED_HEADER_LEN, write_fixed};
use caside_media::rtp::vp8::Vp8Descriptor;

use crate::sim::parameters::PUBLISHED;

/// How many packets back a client answers NACKs.
const HISTORY: u16 = 600;

/// What a payload of ours says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Piece {
    pub(crate) frame: u32,
    pub(crate) part: u16,
    pub(crate) parts: u16,
    pub(crate) key: bool,
}

impl Piece {
    /// A VP8 payload (RFC 7741 §4.2) that carries the piece; sound is made alike.
    pub(crate) fn payload(self, len: usize, layers: Option<Layers>) -> Vec<u8> {
        let begins = if self.part == 0 { 0x10 } else { 0 };
        let mut payload = match layers {
            Some(layers) => {
                let [high, low] = layers.picture.to_be_bytes();
                let layer = layers.temporal << 6 | u8::from(layers.sync) << 5;
                vec![begins | 0x80, 0xe0, high | 0x80, low, layers.tl0, layer]
            }
            None => vec![begins],
        };
        payload.push(u8::from(!self.key));
        payload.extend(self.frame.to_be_bytes());
        payload.extend(self.part.to_be_bytes());
        payload.extend(self.parts.to_be_bytes());
        payload.resize(len.max(10), self.frame as u8);
        payload
    }

    pub(crate) fn read(payload: &[u8]) -> Self {
        let payload = &payload[Vp8Descriptor::parse(payload).unwrap().len..];
        let word = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
        let frame = u32::from(word(1)) << 16 | u32::from(word(3));
        Self {
            frame,
            part: word(5),
            parts: word(7),
            key: payload[0] & 1 == 0,
        }
    }
}

/// Where a frame lies among temporal layers, and its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) picture: u16,
    pub(crate) tl0: u8,
    pub(crate) temporal: u8,
    pub(crate) sync: bool,
    /// Frames since the key frame: the pattern's place.
    place: u32,
}

impl Layers {
    pub(crate) fn new(picture: u16, tl0: u8) -> Self {
        Self {
            picture,
            tl0,
            temporal: 0,
            sync: false,
            place: 0,
        }
    }

    /// The next frame of the pattern 0 2 1 2, in which only the last depends on more than the lowest layer.
    fn next(&mut self, key: bool) {
        self.place = if key { 0 } else { self.place + 1 };
        self.picture = (self.picture + 1) & 0x7fff;
        (self.temporal, self.sync) = [(0, false), (2, true), (1, true), (2, false)][self.place as usize % 4];
        if self.temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
    }
}

/// A track that is published.
pub(crate) struct Source {
    pub(crate) producer: ProducerId,
    pub(crate) kind: MediaKind,
    pub(crate) mid: String,
    pub(crate) ssrc: Ssrc,
    pub(crate) payload_type: PayloadType,
    pub(crate) rtx_payload_type: PayloadType,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) parts: u16,
    pub(crate) payload_len: usize,
    /// RFC 6464, −dBov.
    pub(crate) level: u8,
    /// Whether retransmissions go by RTX, else under the number they had.
    pub(crate) uses_rtx: bool,
    /// When the next frame comes; `None` while nothing is sent.
    pub(crate) next_frame: Option<Instant>,
    pub(crate) frames: u32,
    /// Frame numbers with whether they were key frames, in order.
    pub(crate) sent: Vec<(u32, bool)>,
    wants_key_frame: bool,
    rtx_sequence: u16,
    history: HashMap<u16, Vec<u8>>,
    pub(crate) nacked: usize,
    pub(crate) plis: Vec<Instant>,
    pub(crate) packets: u32,
    /// Whether sender reports are sent.
    pub(crate) reports: bool,
    /// With temporal layers and numbers of pictures.
    pub(crate) layers: Option<Layers>,
    /// The simulcast encoding's name.
    pub(crate) rid: Option<String>,
    /// With so many packets before again, by RED.
    pub(crate) redundant: Option<usize>,
    /// Payloads are as if encrypted end to end, RED with them.
    pub(crate) opaque: bool,
    /// What was sent last: timestamp and payload.
    before: VecDeque<(u32, Vec<u8>)>,
}

/// The payload type of RED in [`Source`].
pub(crate) const RED: PayloadType = PayloadType(63);

impl Source {
    pub(crate) fn new(now: Instant, producer: ProducerId, kind: MediaKind, mid: String, ssrc: Ssrc) -> Self {
        Self {
            producer,
            kind,
            mid,
            ssrc,
            payload_type: PayloadType(if kind == MediaKind::Video { 96 } else { 111 }),
            rtx_payload_type: PayloadType(97),
            sequence: 1000,
            timestamp: 5000,
            parts: if kind == MediaKind::Video { 4 } else { 1 },
            payload_len: if kind == MediaKind::Video { 1000 } else { 80 },
            level: 127,
            uses_rtx: true,
            next_frame: Some(now),
            frames: 0,
            sent: Vec::new(),
            wants_key_frame: true,
            rtx_sequence: 7,
            history: HashMap::new(),
            nacked: 0,
            plis: Vec::new(),
            packets: 0,
            reports: true,
            layers: None,
            rid: None,
            redundant: None,
            opaque: false,
            before: VecDeque::new(),
        }
    }

    pub(crate) fn clock_rate(&self) -> u32 {
        if self.kind == MediaKind::Video { 90_000 } else { 48_000 }
    }

    fn interval(&self) -> Duration {
        if self.kind == MediaKind::Video {
            Duration::from_millis(40)
        } else {
            Duration::from_millis(20)
        }
    }

    /// The next frame's packets, plain, without the transport-wide number, which [`number`](Self::number) adds.
    pub(crate) fn frame(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let key = self.kind == MediaKind::Audio || std::mem::take(&mut self.wants_key_frame);
        let frame = self.frames;
        self.frames += 1;
        self.sent.push((frame, key));
        if let Some(layers) = &mut self.layers {
            layers.next(key);
        }
        let parts = self.parts;
        let packets = (0..parts)
            .map(|part| {
                let piece = Piece {
                    frame,
                    part,
                    parts,
                    key,
                };
                let payload = piece.payload(self.payload_len, self.layers);
                let packet = match self.redundant {
                    Some(count) => {
                        let payload = self.red(count, payload);
                        self.packets += 1;
                        packet(self, self.ssrc, RED, self.sequence, false, &payload)
                    }
                    None => self.packet(part + 1 == parts, &payload),
                };
                self.history.insert(self.sequence, packet.clone());
                self.history.remove(&self.sequence.wrapping_sub(HISTORY));
                self.sequence = self.sequence.wrapping_add(1);
                packet
            })
            .collect();
        let interval = self.interval();
        self.timestamp = self
            .timestamp
            .wrapping_add((interval.as_millis() as u32) * self.clock_rate() / 1000);
        self.next_frame = Some(now + interval);
        packets
    }

    /// Puts what was sent before in front of a payload (RFC 2198 §3).
    fn red(&mut self, count: usize, payload: Vec<u8>) -> Vec<u8> {
        let kept = self.before.iter().rev().take(count).rev();
        let (mut headers, mut blocks) = (Vec::new(), Vec::new());
        for (timestamp, block) in kept {
            let earlier = self.timestamp.wrapping_sub(*timestamp);
            if earlier >= 1 << 14 {
                continue;
            }
            let bits = earlier << 10 | block.len() as u32;
            let [_, a, b, c] = bits.to_be_bytes();
            headers.extend([0x80 | self.payload_type.0, a, b, c]);
            blocks.extend(block);
        }
        headers.push(self.payload_type.0);
        let red = [headers, blocks, payload.clone()].concat();
        self.before.push_back((self.timestamp, payload));
        if self.before.len() > 8 {
            self.before.pop_front();
        }
        match self.opaque {
            true => red.iter().map(|byte| byte ^ 0x55).collect(),
            false => red,
        }
    }

    fn packet(&mut self, marker: bool, payload: &[u8]) -> Vec<u8> {
        self.packets += 1;
        packet(self, self.ssrc, self.payload_type, self.sequence, marker, payload)
    }

    /// Sends nothing for a while, as with discontinuous transmission: the clock runs on, the numbers do not.
    pub(crate) fn silent(&mut self, time: Duration) {
        let ticks = time.as_millis() as u32 * self.clock_rate() / 1000;
        self.timestamp = self.timestamp.wrapping_add(ticks);
        self.next_frame = self.next_frame.map(|at| at + time);
    }

    /// What a NACK is answered with.
    pub(crate) fn again(&mut self, sequence: u16) -> Option<Vec<u8>> {
        self.nacked += 1;
        let original = self.history.get(&sequence)?.clone();
        if !self.uses_rtx {
            return Some(original);
        }
        let header = caside_media::rtp::RtpHeader::parse(&original).unwrap();
        let payload = [&sequence.to_be_bytes()[..], header.payload(&original)].concat();
        let number = self.rtx_sequence;
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        let mut again = packet(
            self,
            Ssrc(self.ssrc.0 + 1),
            self.rtx_payload_type,
            number,
            header.marker,
            &payload,
        );
        again[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
        Some(again)
    }

    pub(crate) fn pli(&mut self, now: Instant) {
        self.plis.push(now);
        self.wants_key_frame = true;
    }
}

fn packet(
    source: &Source,
    ssrc: Ssrc,
    payload_type: PayloadType,
    sequence: u16,
    marker: bool,
    payload: &[u8],
) -> Vec<u8> {
    let mut fixed = [0; FIXED_HEADER_LEN];
    write_fixed(&mut fixed, true, marker, payload_type, sequence, source.timestamp, ssrc);
    let mut elements = Vec::new();
    let mut element = |id: Option<u8>, data: &[u8]| {
        elements.push(id.unwrap() << 4 | (data.len() - 1) as u8);
        elements.extend(data);
    };
    // The transport-wide number comes first, so that its place is known.
    element(PUBLISHED.transport_cc, &[0, 0]);
    element(PUBLISHED.mid, source.mid.as_bytes());
    if let Some(rid) = &source.rid {
        let is_rtx = payload_type == source.rtx_payload_type;
        let id = if is_rtx { PUBLISHED.repaired_rid } else { PUBLISHED.rid };
        element(id, rid.as_bytes());
    }
    if source.kind == MediaKind::Audio {
        element(PUBLISHED.audio_level, &[source.level]);
    }
    elements.resize(elements.len().next_multiple_of(4), 0);
    let words = (elements.len() / 4) as u16;
    [&fixed[..], &[0xbe, 0xde], &words.to_be_bytes(), &elements, payload].concat()
}

/// Sets the transport-wide number of a packet of [`Source`].
pub(crate) fn number(packet: &mut [u8], number: u16) {
    packet[FIXED_HEADER_LEN + 5..FIXED_HEADER_LEN + 7].copy_from_slice(&number.to_be_bytes());
}
