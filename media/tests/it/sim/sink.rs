//! A track that a simulated client receives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use caside_media::parameters::{ConsumerParameters, MediaKind};
use caside_media::rtcp::NtpTime;
use caside_media::rtp::red::Red;
use caside_media::rtp::{RtpHeader, find_extension, unwrap_near};

use crate::sim::source::Piece;

/// A packet as received.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) at: Instant,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) piece: Piece,
    pub(crate) payload: Vec<u8>,
}

/// A track that is received.
pub(crate) struct Sink {
    pub(crate) parameters: ConsumerParameters,
    /// By extended sequence number.
    pub(crate) packets: BTreeMap<u64, Got>,
    /// Numbers that were used up by padding.
    pub(crate) filled: BTreeSet<u64>,
    highest: Option<u64>,
    /// How often missing packets were asked for.
    asked: HashMap<u64, u32>,
    pub(crate) asks: bool,
    /// Packets that came again by RTX, and as they were.
    pub(crate) restored: usize,
    pub(crate) repeated: usize,
    /// Packets of padding alone.
    pub(crate) padding: usize,
    /// Bytes of all datagrams of this track.
    pub(crate) bytes: usize,
    /// Whole datagrams by sequence number, sealed: a number has one ciphertext.
    ciphertexts: HashMap<(u32, u64), Vec<u8>>,
    rtx_highest: Option<u64>,
    pub(crate) reports: Vec<(Instant, NtpTime, u32)>,
    pub(crate) cnames: BTreeSet<String>,
    /// Packets in RED, and what was in them of packets before: by timestamp.
    pub(crate) wrapped: usize,
    pub(crate) redundant: BTreeMap<u32, Vec<u8>>,
    /// Payloads of RED that cannot be taken apart.
    pub(crate) opaque: Vec<Vec<u8>>,
    /// Packets that bore a level.
    pub(crate) levels: usize,
}

impl Sink {
    pub(crate) fn new(parameters: ConsumerParameters) -> Self {
        Self {
            parameters,
            packets: BTreeMap::new(),
            filled: BTreeSet::new(),
            highest: None,
            asked: HashMap::new(),
            asks: true,
            restored: 0,
            repeated: 0,
            padding: 0,
            bytes: 0,
            ciphertexts: HashMap::new(),
            rtx_highest: None,
            reports: Vec::new(),
            cnames: BTreeSet::new(),
            wrapped: 0,
            redundant: BTreeMap::new(),
            opaque: Vec::new(),
            levels: 0,
        }
    }

    /// Takes a packet of this track, plain, with the datagram it came in.
    pub(crate) fn receive(&mut self, now: Instant, packet: &[u8], sealed: &[u8]) {
        let header = RtpHeader::parse(packet).expect("what is sent is RTP");
        let is_rtx = Some(header.ssrc) == self.parameters.rtx_ssrc;
        let reference = if is_rtx {
            &mut self.rtx_highest
        } else {
            &mut self.highest
        };
        let extended = unwrap_near(reference.unwrap_or(1 << 20), header.sequence);
        *reference = Some(reference.map_or(extended, |highest| highest.max(extended)));
        let before = self
            .ciphertexts
            .entry((header.ssrc.0, extended))
            .or_insert_with(|| sealed.to_vec());
        assert_eq!(before, sealed, "two contents were sealed under one number");
        self.bytes += sealed.len();

        let codec = &self.parameters.codec;
        let expected_type = if is_rtx {
            codec.rtx.expect("agreed")
        } else {
            codec.payload_type
        };
        let is_red = !is_rtx && Some(header.payload_type) == codec.red;
        assert!(is_red || header.payload_type == expected_type);
        let own_type = codec.payload_type;
        let extensions = header.extensions(packet);
        assert_eq!(
            find_extension(&extensions, self.parameters.extensions.mid),
            Some(self.parameters.mid.as_bytes()),
            "every packet names its m-line"
        );
        let level = find_extension(&extensions, self.parameters.extensions.audio_level);
        self.levels += usize::from(level.is_some());
        let mut payload = header.payload(packet);
        if is_red {
            self.wrapped += 1;
            let Some(red) = Red::parse(payload).filter(|red| red.payload_type == own_type) else {
                self.opaque.push(payload.to_vec());
                return;
            };
            for block in red.redundant() {
                assert_eq!(block.payload_type, own_type);
                let timestamp = header.timestamp.wrapping_sub(u32::from(block.earlier));
                self.redundant.insert(timestamp, block.data.to_vec());
            }
            payload = red.primary;
        }
        let mut place = extended;
        if is_rtx {
            let Some((original, rest)) = payload.split_first_chunk() else {
                self.padding += 1;
                return;
            };
            place = unwrap_near(
                self.highest.expect("media before its retransmission"),
                u16::from_be_bytes(*original),
            );
            payload = rest;
            self.restored += 1;
        }
        if payload.is_empty() {
            self.filled.insert(place);
            return;
        }
        let got = Got {
            at: now,
            timestamp: header.timestamp,
            marker: header.marker,
            piece: Piece::read(payload),
            payload: payload.to_vec(),
        };
        if let Some(before) = self.packets.get(&place) {
            self.repeated += usize::from(!is_rtx);
            assert_eq!(
                (before.timestamp, before.marker, &before.payload),
                (got.timestamp, got.marker, &got.payload),
                "a packet that comes again is the same"
            );
            return;
        }
        self.packets.insert(place, got);
    }

    /// What is missing and worth asking for.
    pub(crate) fn missing(&mut self) -> Vec<u16> {
        let (Some(first), Some(last)) = (self.packets.keys().next(), self.packets.keys().next_back()) else {
            return Vec::new();
        };
        if !self.asks || !self.parameters.codec.feedback.nack {
            return Vec::new();
        }
        let missing: Vec<u64> = ((*last).saturating_sub(200).max(*first)..*last)
            .filter(|place| !self.packets.contains_key(place) && !self.filled.contains(place))
            .collect();
        missing
            .into_iter()
            .filter(|place| {
                let asked = self.asked.entry(*place).or_insert(0);
                *asked += 1;
                *asked <= 15
            })
            .map(|place| place as u16)
            .collect()
    }

    /// Frames that came whole.
    pub(crate) fn frames(&self) -> BTreeSet<u32> {
        let mut parts: BTreeMap<u32, (BTreeSet<u16>, u16)> = BTreeMap::new();
        for got in self.packets.values() {
            let (came, expected) = parts.entry(got.piece.frame).or_default();
            came.insert(got.piece.part);
            *expected = got.piece.parts;
        }
        parts.retain(|_, (came, expected)| came.len() == usize::from(*expected));
        parts.into_keys().collect()
    }

    /// Numbers between the first and the last that no packet came under.
    pub(crate) fn holes(&self) -> usize {
        match (self.packets.keys().next(), self.packets.keys().next_back()) {
            (Some(first), Some(last)) => (*first..=*last)
                .filter(|place| !self.packets.contains_key(place) && !self.filled.contains(place))
                .count(),
            _ => 0,
        }
    }

    pub(crate) fn is_video(&self) -> bool {
        self.parameters.kind == MediaKind::Video
    }
}
