//! Media of an intruder: sealed with good keys, and replayed, damaged, or far too much of it.

use anyhow::{Context, Result};
use caside_media::parameters::{MediaKind, PayloadType, Ssrc};
use caside_media::rtp::header::{FIXED_HEADER_LEN, write_fixed};
use caside_media::srtp::{SRTP_OVERHEAD, SrtpSession};

use super::attack::Attack;
use super::dice::Dice;
use super::intruder::{FIRST_SSRC, Intruder};
use super::pipe::Pipe;
use crate::light::{dtls, extension, sdp};
use crate::marker::Marker;
use crate::synthetic::write_payload;

/// Datagrams of one volley, which one system call takes.
const VOLLEY: usize = 48;

/// Bytes of a packet before it is sealed.
const PACKET: usize = 1180;

/// SSRCs that one set of keys seals for before it is made anew.
const SSRCS_A_SESSION: u32 = 512;

/// What is done with media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// The same packets over and over.
    Replayed,
    /// A byte is changed, the end is cut off, or both.
    Mutated,
    /// Each packet is of an SSRC of its own.
    ManySsrcs,
    /// Good packets, as many as there can be.
    TooMuch,
}

/// Sends media so.
pub(super) struct MediaFlood {
    pipe: Pipe,
    kind: Media,
    dice: Dice,
    ssrc: u32,
    sequence: u64,
    /// Sealed packets, one after the other.
    volley: Vec<u8>,
    /// Keys for SSRCs that were not used yet.
    fresh: SrtpSession,
    /// The receiving connection, which must not look dead.
    other: Pipe,
}

impl MediaFlood {
    pub(super) fn new(intruder: Intruder, kind: Media) -> Result<Self> {
        let fresh = dtls::session(&intruder.publish.material)?;
        let number = u32::from(intruder.publish.line.from) & 0xff;
        Ok(Self {
            pipe: intruder.publish,
            other: intruder.subscribe,
            kind,
            dice: Dice::new(11),
            ssrc: FIRST_SSRC + 2 * number + 1,
            sequence: 0,
            volley: Vec::new(),
            fresh,
        })
    }

    /// Seals a volley of new packets.
    fn seal(&mut self) -> Result<()> {
        self.volley.clear();
        for _ in 0..VOLLEY {
            if self.kind == Media::ManySsrcs {
                self.ssrc = self.ssrc.wrapping_add(0x0101_0107);
                self.sequence += 1;
                if self.sequence.is_multiple_of(u64::from(SSRCS_A_SESSION)) {
                    self.fresh = dtls::session(&self.pipe.material)?;
                }
            }
            let start = self.volley.len();
            self.volley.resize(start + PACKET + SRTP_OVERHEAD, 0x66);
            let packet = self.volley.get_mut(start..).unwrap_or_default();
            let header = write_packet(packet, self.ssrc, self.sequence).context("a packet without room")?;
            let srtp = if self.kind == Media::ManySsrcs {
                &mut self.fresh
            } else {
                &mut self.pipe.srtp
            };
            let roc = u32::try_from(self.sequence >> 16)?;
            srtp.protect_rtp(packet, PACKET, header, roc)?;
            self.sequence += 1;
        }
        Ok(())
    }
}

impl Attack for MediaFlood {
    fn volley(&mut self) -> Result<u64> {
        self.pipe.tend()?;
        self.other.tend()?;
        if self.kind != Media::Replayed || self.volley.is_empty() {
            self.seal()?;
        }
        let segment = PACKET + SRTP_OVERHEAD;
        if self.kind != Media::Mutated {
            self.pipe.line.send(&self.volley, segment)?;
            return Ok(VOLLEY as u64);
        }
        let mut damaged = self.volley.clone();
        for packet in damaged.chunks_exact_mut(segment) {
            let at = self.dice.below(segment);
            packet[at] ^= 1 << self.dice.below(8);
        }
        self.pipe.line.send(&damaged, segment)?;
        // Cut off, each elsewhere.
        for packet in self.volley.chunks_exact(segment).take(VOLLEY / 4) {
            let cut = 1 + self.dice.below(segment - 1);
            self.pipe.line.send(&packet[..cut], cut)?;
        }
        let mut compound = vec![0x80, 201, 0, 1];
        compound.extend(self.ssrc.to_be_bytes());
        let mut report = self.pipe.seal_rtcp(&compound)?;
        for _ in 0..VOLLEY / 4 {
            let at = 4 + self.dice.below(report.len() - 4);
            report[at] ^= 1 << self.dice.below(8);
            let cut = report.len() - self.dice.below(8);
            self.pipe.line.send(&report[..cut], cut)?;
        }
        Ok((VOLLEY + 2 * (VOLLEY / 4)) as u64)
    }
}

/// A packet of the intruder's picture, with the m-line it is of, and the length of its header.
fn write_packet(packet: &mut [u8], ssrc: u32, sequence: u64) -> Option<usize> {
    let (fixed, rest) = packet.split_first_chunk_mut::<FIXED_HEADER_LEN>()?;
    let low = u16::try_from(sequence & 0xffff).ok()?;
    let timestamp = u32::try_from(sequence & 0xffff_ffff).ok()?.wrapping_mul(90);
    write_fixed(fixed, true, true, PayloadType(sdp::VP8), low, timestamp, Ssrc(ssrc));
    let (block, payload) = rest.split_first_chunk_mut::<8>()?;
    *block = [0xbe, 0xde, 0, 1, extension::MID << 4, b'1', 0, 0];
    let marker = Marker {
        stream: ssrc,
        frame: u32::try_from(sequence & 0x7fff).ok()?,
        packet: 0,
        packets: 1,
        key_frame: true,
        encoding: None,
        ticks: 0,
        sent_ns: 0,
    };
    write_payload(payload, MediaKind::Video, (640, 360), &marker)?;
    // The call's members count what bears a marker as the call's.
    *payload.get_mut(14)? = 0;
    Some(FIXED_HEADER_LEN + 8)
}
