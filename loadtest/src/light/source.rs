//! A track that a bot publishes: frames of a fixed shape at a fixed rate.

use std::time::Duration;

use caside_media::parameters::{MediaKind, PayloadType, Ssrc};
use caside_media::rtp::header::{FIXED_HEADER_LEN, write_fixed};
use caside_media::srtp::{SRTP_OVERHEAD, SrtpSession};

use super::thread::Instant;
use super::unix_ns;
use crate::marker::Marker;
use crate::synthetic::{Track, write_payload};

/// Packets of one frame at most: what one system call segments.
const MAX_PACKETS: u16 = 48;

/// What to publish.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceOptions {
    /// What is published.
    pub(crate) track: Track,
    /// Unique in a run.
    pub(crate) number: u32,
    /// From the offer.
    pub(crate) ssrc: u32,
    /// From the offer.
    pub(crate) payload_type: u8,
    /// The m-line's, one character.
    pub(crate) mid: u8,
}

/// The ids of header extensions that light publishers offer.
pub(crate) mod extension {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    pub(crate) const MID: u8 = 4;
    /// Transport-wide sequence numbers.
    pub(crate) const TRANSPORT_CC: u8 = 3;
    /// RFC 6464.
    pub(crate) const AUDIO_LEVEL: u8 = 1;
}

/// A track on its way.
pub(super) struct Source {
    options: SourceOptions,
    sequence: u64,
    frame: u32,
    timestamp: u32,
    /// The next frame is a key frame.
    wants_key_frame: bool,
    pub(super) due: Instant,
    packets: Vec<u8>,
    /// When key frames were asked for.
    pub(super) asked: Vec<Instant>,
}

impl Source {
    pub(super) fn new(now: Instant, options: SourceOptions) -> Self {
        let packets_per_frame = options.track.packets_per_frame.clamp(1, MAX_PACKETS);
        Self {
            options: SourceOptions {
                track: Track {
                    packets_per_frame,
                    ..options.track
                },
                ..options
            },
            sequence: 0,
            frame: 0,
            timestamp: 0,
            wants_key_frame: true,
            // Publishers that joined together do not send together.
            due: now + Duration::from_micros(u64::from(options.number.wrapping_mul(7919) % 33_000)),
            packets: Vec::new(),
            asked: Vec::new(),
        }
    }

    pub(super) fn ssrc(&self) -> Ssrc {
        Ssrc(self.options.ssrc)
    }

    pub(super) fn ask_for_key_frame(&mut self, now: Instant) {
        self.asked.push(now);
        self.wants_key_frame = true;
    }

    /// Makes the next frame: its sealed packets back to back, and the length of each.
    pub(super) fn frame(&mut self, now: Instant, srtp: &mut SrtpSession, transport_cc: &mut u16) -> (&[u8], usize) {
        let options = &self.options;
        let interval = Duration::from_secs(1) / options.track.frames_per_second.max(1);
        self.due += interval;
        if self.due + Duration::from_secs(1) < now {
            // We were not run for long; what was missed is not made up for.
            self.due = now + interval;
        }
        let sealed_len = options.track.packet_bytes + SRTP_OVERHEAD;
        self.packets.clear();
        self.packets
            .resize(usize::from(options.track.packets_per_frame) * sealed_len, 0x55);
        let sent_ns = unix_ns();
        let mut made = 0;
        for (number, packet) in (0..options.track.packets_per_frame).zip(self.packets.chunks_exact_mut(sealed_len)) {
            let marker = Marker {
                stream: options.number,
                frame: self.frame,
                packet: number,
                packets: options.track.packets_per_frame,
                key_frame: self.wants_key_frame || options.track.kind == MediaKind::Audio,
                sent_ns,
            };
            let header = write_packet(packet, options, &marker, self.sequence, self.timestamp, *transport_cc);
            let roc = u32::try_from(self.sequence >> 16).unwrap_or(u32::MAX);
            let sealed =
                header.and_then(|header| srtp.protect_rtp(packet, options.track.packet_bytes, header, roc).ok());
            if sealed.is_none() {
                break;
            }
            made += sealed_len;
            self.sequence += 1;
            *transport_cc = transport_cc.wrapping_add(1);
        }
        self.wants_key_frame = false;
        self.frame = self.frame.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(options.track.ticks_per_frame());
        (self.packets.get(..made).unwrap_or_default(), sealed_len)
    }
}

/// Writes the plain packet and returns its header's length; `None` when `packet_bytes` is too few for it.
fn write_packet(
    packet: &mut [u8],
    options: &SourceOptions,
    marker: &Marker,
    sequence: u64,
    timestamp: u32,
    transport_cc: u16,
) -> Option<usize> {
    let is_audio = options.track.kind == MediaKind::Audio;
    let ends_frame = marker.packet + 1 == options.track.packets_per_frame;
    let (fixed, rest) = packet.split_first_chunk_mut::<FIXED_HEADER_LEN>()?;
    let low = u16::try_from(sequence & 0xffff).unwrap_or_default();
    let payload_type = PayloadType(options.payload_type);
    write_fixed(
        fixed,
        true,
        ends_frame && !is_audio,
        payload_type,
        low,
        timestamp,
        Ssrc(options.ssrc),
    );
    let [n0, n1] = transport_cc.to_be_bytes();
    let level = if is_audio {
        // Speech, some 20 dB below the loudest.
        [extension::AUDIO_LEVEL << 4, 0x80 | 20]
    } else {
        [0, 0]
    };
    let elements = [
        [0xbe, 0xde, 0, 2],
        [extension::MID << 4, options.mid, extension::TRANSPORT_CC << 4 | 1, n0],
        [n1, level[0], level[1], 0],
    ];
    let (block, payload) = rest.split_first_chunk_mut::<12>()?;
    block.copy_from_slice(elements.as_flattened());
    write_payload(payload, options.track.kind, marker)?;
    Some(FIXED_HEADER_LEN + 12)
}

#[cfg(test)]
mod tests {
    use caside_media::parameters::CodecKind;
    use caside_media::rtp::RtpHeader;
    use caside_media::rtp::key_frame::starts_key_frame;

    use super::*;

    fn sessions() -> (SrtpSession, SrtpSession) {
        let material: Vec<u8> = (0..56).collect();
        let profile = caside_media::srtp::SrtpProfile::AeadAes128Gcm;
        let session = |client| SrtpSession::new(profile, &material, client).unwrap();
        (session(true), session(false))
    }

    #[test]
    fn a_frame_is_what_a_browser_would_send() {
        let (mut client, mut server) = sessions();
        let options = SourceOptions {
            track: Track {
                kind: MediaKind::Video,
                frames_per_second: 30,
                packets_per_frame: 3,
                packet_bytes: 1200,
            },
            number: 3,
            ssrc: 77,
            payload_type: 96,
            mid: b'1',
        };
        let now = super::super::thread::now();
        let mut source = Source::new(now, options);
        let mut transport_cc = 65_535;
        let (bytes, len) = source.frame(now, &mut client, &mut transport_cc);
        assert_eq!((bytes.len(), len), (3 * 1216, 1216));
        for (number, packet) in bytes.to_vec().chunks_mut(len).enumerate() {
            assert_eq!(server.unprotect_rtp(packet), Some(1200));
            let header = RtpHeader::parse(&packet[..1200]).unwrap();
            assert_eq!(header.marker, number == 2);
            let payload = header.payload(&packet[..1200]);
            assert_eq!(starts_key_frame(CodecKind::Vp8, payload), number == 0);
            let marker = Marker::find(payload).unwrap();
            assert_eq!(
                (marker.stream, marker.frame, usize::from(marker.packet)),
                (3, 0, number)
            );
            let found: Vec<_> = header
                .extensions(&packet[..1200])
                .map(|(id, data)| (id, data.to_vec()))
                .collect();
            let n = 65_535u16.wrapping_add(number as u16).to_be_bytes().to_vec();
            assert_eq!(found, [(4, b"1".to_vec()), (3, n)]);
        }
        assert_eq!(transport_cc, 2);
        let (bytes, len) = source.frame(now, &mut client, &mut transport_cc);
        let mut second = bytes[..len].to_vec();
        assert_eq!(server.unprotect_rtp(&mut second), Some(1200));
        assert!(!starts_key_frame(CodecKind::Vp8, &second[24..1200]));
    }
}
