//! Reports and requests of an intruder: far too many, about what is not there, or made up.

use anyhow::Result;
use caside_media::parameters::Ssrc;
use caside_media::rtcp::{NtpTime, RtcpWriter};

use super::attack::Attack;
use super::dice::Dice;
use super::intruder::Intruder;
use super::pipe::{Pipe, Seen};

/// Compounds of one volley.
const VOLLEY: u64 = 32;
/// Bytes of a compound.
const COMPOUND: usize = 1200;
/// SSRCs that the call's publishers use; see `light::bot`.
const OTHERS_SSRC: u32 = 0x1000_0000;

const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// What is asked or told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// Everything again.
    Nacks,
    /// Key frames.
    KeyFrames,
    /// Bandwidth that there cannot be, and arrivals of what was never sent.
    Bandwidth,
    /// That others' streams end, and reports of others' streams.
    Goodbyes,
    /// Well-formed packets of random bytes.
    Nonsense,
}

/// Sends reports so.
pub(super) struct ReportFlood {
    subscribe: Pipe,
    publish: Pipe,
    kind: Report,
    dice: Dice,
}

impl ReportFlood {
    pub(super) fn new(intruder: Intruder, kind: Report) -> Self {
        Self {
            subscribe: intruder.subscribe,
            publish: intruder.publish,
            kind,
            dice: Dice::new(23),
        }
    }

    fn compound(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; COMPOUND];
        let seen = self.subscribe.seen.clone();
        let target = match seen.len() {
            0 => Seen {
                ssrc: Ssrc(1),
                sequence: 0,
                payload_type: 96,
            },
            count => seen[self.dice.below(count)],
        };
        let mut writer = RtcpWriter::new(&mut buffer);
        match self.kind {
            Report::Nacks => {
                let back = u16::try_from(self.dice.below(500)).unwrap_or_default();
                let first = target.sequence.wrapping_sub(back);
                // One in two asks for the same few again and again.
                let step = if back.is_multiple_of(2) { 0 } else { 17 };
                let pairs: Vec<(u16, u16)> = (0..280).map(|n| (first.wrapping_sub(n * step), u16::MAX)).collect();
                writer.nack(Ssrc(7), target.ssrc, &pairs);
            }
            Report::KeyFrames => {
                let mut number = 0u8;
                while writer.picture_loss(Ssrc(7), target.ssrc) && writer.full_intra(Ssrc(7), target.ssrc, number) {
                    number = number.wrapping_add(1);
                }
            }
            Report::Bandwidth => return self.bandwidth(target.ssrc),
            Report::Goodbyes => {
                let others: Vec<Ssrc> = (0..24)
                    .map(|n| Ssrc(OTHERS_SSRC | n))
                    .chain(seen.iter().map(|s| s.ssrc))
                    .take(31)
                    .collect();
                writer.goodbye(&others);
                for ssrc in others {
                    let ntp = NtpTime(self.dice.next());
                    if !writer.sender_report(ssrc, ntp, 0, u32::MAX, u32::MAX) {
                        break;
                    }
                }
            }
            Report::Nonsense => return self.nonsense(target.ssrc),
        }
        let len = writer.len();
        buffer.truncate(len);
        buffer
    }

    /// REMB of nothing and of everything; feedback on packets that were never sent, as many as a message can name.
    fn bandwidth(&mut self, ssrc: Ssrc) -> Vec<u8> {
        let mut compound = Vec::new();
        while compound.len() + 64 <= COMPOUND {
            let roll = self.dice.next();
            if roll & 3 == 0 {
                let mut body = b"REMB".to_vec();
                let (exponent, mantissa) = if roll & 4 == 0 { (0, 0) } else { (46, 0x3_ffff) };
                body.extend([
                    1,
                    exponent << 2 | (mantissa >> 16) as u8,
                    (mantissa >> 8) as u8,
                    mantissa as u8,
                ]);
                body.extend(ssrc.0.to_be_bytes());
                packet(&mut compound, PAYLOAD_FEEDBACK, 15, Ssrc(0), &body);
                continue;
            }
            let base = (roll >> 16) as u16;
            let mut body = base.to_be_bytes().to_vec();
            if roll & 4 == 0 {
                // Nothing came: one run of 2,048.
                body.extend(2048u16.to_be_bytes());
                body.extend([0, 0, 0, 0, 0x08, 0x00, 0, 0]);
            } else {
                // All of 28 came at once, at a time made up.
                body.extend(28u16.to_be_bytes());
                body.extend([(roll >> 32) as u8, (roll >> 40) as u8, (roll >> 48) as u8, 0]);
                body.extend([0x20, 28]);
                body.extend([0; 30]);
            }
            packet(&mut compound, TRANSPORT_FEEDBACK, 15, ssrc, &body);
        }
        compound
    }

    fn nonsense(&mut self, ssrc: Ssrc) -> Vec<u8> {
        let mut compound = Vec::new();
        while compound.len() + 104 <= COMPOUND {
            let len = 4 * self.dice.below(23);
            let body = self.dice.bytes(len, len);
            let kind = 200 + (self.dice.next() % 8) as u8;
            let media = if self.dice.below(2) == 0 {
                ssrc
            } else {
                Ssrc(self.dice.next() as u32)
            };
            packet(&mut compound, kind, (self.dice.next() & 0x1f) as u8, media, &body);
        }
        compound
    }
}

/// Appends a packet with its sender and its media source (RFC 4585 §6.1). `body` is padded to whole words.
fn packet(compound: &mut Vec<u8>, kind: u8, count: u8, media: Ssrc, body: &[u8]) {
    let words = 2 + body.len().div_ceil(4);
    compound.extend([0x80 | count, kind]);
    compound.extend((words as u16).to_be_bytes());
    compound.extend(7u32.to_be_bytes());
    compound.extend(media.0.to_be_bytes());
    compound.extend(body);
    compound.resize(compound.len().next_multiple_of(4), 0);
}

impl Attack for ReportFlood {
    fn volley(&mut self) -> Result<u64> {
        self.subscribe.tend()?;
        self.publish.tend()?;
        for _ in 0..VOLLEY {
            let compound = self.compound();
            // What is said of others' streams is said on both connections.
            if matches!(self.kind, Report::Goodbyes | Report::Nonsense) {
                self.publish.send_rtcp(&compound)?;
            }
            self.subscribe.send_rtcp(&compound)?;
        }
        Ok(VOLLEY)
    }
}

#[cfg(test)]
mod tests {
    use caside_media::rtcp::{Packets, RtcpMessage};

    use super::*;

    #[test]
    fn made_up_feedback_is_well_formed() {
        let mut compound = Vec::new();
        packet(
            &mut compound,
            TRANSPORT_FEEDBACK,
            15,
            Ssrc(9),
            &[0, 1, 8, 0, 0, 0, 0, 0, 8, 0, 0, 0],
        );
        packet(&mut compound, PAYLOAD_FEEDBACK, 1, Ssrc(9), &[]);
        let mut packets = Packets::new(&compound);
        let Some(RtcpMessage::TransportCc(feedback)) = packets.next() else {
            panic!("no feedback");
        };
        assert_eq!(feedback.count(), 2048);
        assert!(matches!(
            packets.next(),
            Some(RtcpMessage::PictureLoss { media: Ssrc(9) })
        ));
        assert!(packets.next().is_none());
    }
}
