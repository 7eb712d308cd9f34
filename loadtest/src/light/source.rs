//! A track that a bot publishes: frames of a fixed shape at a fixed rate.
//!
//! A camera in several sizes is sent as Chromium does it: each size is a stream of its own, with its own SSRC, sequence numbers and
//! beginning of timestamps, named by MID and RID in each packet. A key frame that is asked for of one size is made of all, and so
//! is one when a size goes on that was paused; a paused one ends with a BYE.

use std::time::Duration;

use caside_media::parameters::{MediaKind, PayloadType, Ssrc};
use caside_media::rtcp::{NtpTime, RtcpWriter};
use caside_media::rtp::header::{FIXED_HEADER_LEN, write_fixed};
use caside_media::srtp::{SRTP_OVERHEAD, SrtpSession};

use super::thread::Instant;
use super::unix_ns;
use crate::marker::Marker;
use crate::synthetic::{Encoding, Track, write_payload};

/// Packets of one frame at most: what one system call segments.
const MAX_PACKETS: u16 = 48;

/// Bytes of the header extensions of a packet, with their own header.
const EXTENSIONS: usize = 12;

/// What to publish.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceOptions {
    /// What is published.
    pub(crate) track: Track,
    /// Unique in a run.
    pub(crate) number: u32,
    /// Of the lowest size; see [`ssrc_of`].
    pub(crate) ssrc: u32,
    /// From the offer.
    pub(crate) payload_type: u8,
    /// The m-line's, one character.
    pub(crate) mid: u8,
}

/// The SSRC of a size, from that of the lowest. Numbers of sources are below 2²⁴.
fn ssrc_of(lowest: u32, encoding: u8) -> u32 {
    lowest.wrapping_add(u32::from(encoding) << 24)
}

/// The ids of header extensions that light publishers offer.
pub(crate) mod extension {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    pub(crate) const MID: u8 = 4;
    /// Transport-wide sequence numbers.
    pub(crate) const TRANSPORT_CC: u8 = 3;
    /// RFC 6464.
    pub(crate) const AUDIO_LEVEL: u8 = 1;
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`
    pub(crate) const RID: u8 = 7;
}

/// A track on its way.
pub(super) struct Source {
    options: SourceOptions,
    streams: Vec<Stream>,
    frame: u32,
    /// When the next frame's picture is taken, in nanoseconds since 1970 on the wall clock of sender reports.
    taken_ns: u64,
    /// The next frame is a key frame.
    wants_key_frame: bool,
    pub(super) due: Instant,
    packets: Vec<u8>,
}

/// One of a track's sizes on its way.
#[derive(Debug)]
struct Stream {
    encoding: Encoding,
    number: u8,
    ssrc: u32,
    /// Somebody watches it.
    active: bool,
    /// It was paused, and its receiver is not told yet.
    ended: bool,
    sequence: u64,
    /// Of the next frame.
    timestamp: u32,
    packets: u32,
    payload_bytes: u32,
    /// When key frames were asked for.
    asked: Vec<Instant>,
}

impl Source {
    pub(super) fn new(now: Instant, options: SourceOptions) -> Self {
        let streams = (0u8..).zip(options.track.encodings()).map(|(number, encoding)| {
            let ssrc = ssrc_of(options.ssrc, number);
            Stream {
                encoding: Encoding {
                    packets_per_frame: encoding.packets_per_frame.clamp(1, MAX_PACKETS),
                    ..*encoding
                },
                number,
                ssrc,
                active: true,
                ended: false,
                sequence: u64::from(number) * 10_000,
                // Anywhere: only sender reports say how the sizes' timestamps belong together.
                timestamp: u32::from(number).wrapping_mul(0x6789_abcd),
                packets: 0,
                payload_bytes: 0,
                asked: Vec::new(),
            }
        });
        Self {
            streams: streams.collect(),
            options,
            frame: 0,
            taken_ns: unix_ns(),
            wants_key_frame: true,
            // Publishers that joined together do not send together.
            due: now + Duration::from_micros(u64::from(options.number.wrapping_mul(7919) % 33_000)),
            packets: Vec::new(),
        }
    }

    /// Media flows from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        self.due = self.due.max(now);
        let ahead = (self.due - now).as_nanos();
        self.taken_ns = unix_ns() + u64::try_from(ahead).unwrap_or_default();
    }

    /// Takes a request for a key frame of one of its SSRCs. `false` when it is another's.
    pub(super) fn ask_for_key_frame(&mut self, now: Instant, ssrc: Ssrc) -> bool {
        let asked = self.streams.iter_mut().find(|stream| stream.ssrc == ssrc.0);
        let is_ours = asked.map(|stream| stream.asked.push(now)).is_some();
        self.wants_key_frame |= is_ours;
        is_ours
    }

    /// Sends a size from now on, or pauses it.
    pub(super) fn activate(&mut self, rid: &str, active: bool) {
        let Some(stream) = self.streams.iter_mut().find(|it| it.encoding.rid == Some(rid)) else {
            return;
        };
        if stream.active != active {
            stream.active = active;
            stream.ended = !active;
            self.wants_key_frame |= active;
        }
    }

    /// How many sizes it sends, and how many there are.
    pub(super) fn sending(&self) -> (usize, usize) {
        let active = self.streams.iter().filter(|stream| stream.active).count();
        (active, self.streams.len())
    }

    /// When key frames were asked for, of each size.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Vec<Instant>> {
        self.streams.iter().map(|stream| &stream.asked)
    }

    /// Makes the next frame of each size and gives `send` its sealed packets, back to back, and the length of each.
    pub(super) fn frame(
        &mut self,
        now: Instant,
        srtp: &mut SrtpSession,
        transport_cc: &mut u16,
        mut send: impl FnMut(&[u8], usize),
    ) {
        let options = &self.options;
        let interval = Duration::from_secs(1) / options.track.frames_per_second.max(1);
        let ticks = options.track.ticks_per_frame();
        let sent_ns = unix_ns();
        let is_key_frame = self.wants_key_frame || options.track.kind == MediaKind::Audio;
        for stream in &mut self.streams {
            if stream.active {
                let sealed_len = stream.encoding.packet_bytes + SRTP_OVERHEAD;
                self.packets.clear();
                self.packets
                    .resize(usize::from(stream.encoding.packets_per_frame) * sealed_len, 0x55);
                let mut made = 0;
                for (packet, number) in self.packets.chunks_exact_mut(sealed_len).zip(0..) {
                    let marker = Marker {
                        stream: options.number,
                        frame: self.frame,
                        packet: number,
                        packets: stream.encoding.packets_per_frame,
                        key_frame: is_key_frame,
                        encoding: stream.encoding.rid.map(|_| stream.number),
                        ticks,
                        sent_ns,
                    };
                    if stream.seal(packet, options, &marker, *transport_cc, srtp).is_none() {
                        break;
                    }
                    made += sealed_len;
                    *transport_cc = transport_cc.wrapping_add(1);
                }
                if made > 0 {
                    send(self.packets.get(..made).unwrap_or_default(), sealed_len);
                }
            }
            stream.timestamp = stream.timestamp.wrapping_add(u32::from(ticks));
        }
        self.wants_key_frame = false;
        self.frame = self.frame.wrapping_add(1);
        self.taken_ns += u64::from(ticks) * 1_000_000_000 / u64::from(options.track.clock_rate());
        self.due += interval;
        if self.due + Duration::from_secs(1) < now {
            // We were not run for long; what was missed is not made up for.
            let missed = now + interval - self.due;
            self.due += missed;
            self.taken_ns += u64::try_from(missed.as_nanos()).unwrap_or_default();
        }
    }

    /// Writes a sender report for each size that is sent, and a BYE for each that ended. Their timestamps are all of one moment.
    pub(super) fn report(&mut self, writer: &mut RtcpWriter<'_>) {
        for stream in &mut self.streams {
            if stream.active && stream.packets > 0 {
                let ntp = NtpTime::from_unix(Duration::from_nanos(self.taken_ns));
                let ssrc = Ssrc(stream.ssrc);
                // What has no room is said the next time.
                if writer.sender_report(ssrc, ntp, stream.timestamp, stream.packets, stream.payload_bytes) {
                    writer.canonical_name(ssrc, "bot");
                }
            }
            if stream.ended {
                stream.ended = !writer.goodbye(&[Ssrc(stream.ssrc)]);
            }
        }
    }

    /// Whether its receiver is to be told that a size ended.
    pub(super) fn has_ended(&self) -> bool {
        self.streams.iter().any(|stream| stream.ended)
    }
}

impl Stream {
    /// Writes and seals the next packet; `None` when `packet_bytes` is too few for it.
    fn seal(
        &mut self,
        packet: &mut [u8],
        options: &SourceOptions,
        marker: &Marker,
        transport_cc: u16,
        srtp: &mut SrtpSession,
    ) -> Option<()> {
        let header = self.write(packet, options, marker, transport_cc)?;
        let roc = u32::try_from(self.sequence >> 16).unwrap_or(u32::MAX);
        let len = self.encoding.packet_bytes;
        srtp.protect_rtp(packet, len, header, roc).ok()?;
        self.sequence += 1;
        self.packets = self.packets.wrapping_add(1);
        let payload = u32::try_from(len - header).unwrap_or_default();
        self.payload_bytes = self.payload_bytes.wrapping_add(payload);
        Some(())
    }

    /// Writes the plain packet and returns its header's length.
    fn write(&self, packet: &mut [u8], options: &SourceOptions, marker: &Marker, transport_cc: u16) -> Option<usize> {
        let is_audio = options.track.kind == MediaKind::Audio;
        let ends_frame = marker.packet + 1 == marker.packets;
        let (fixed, rest) = packet.split_first_chunk_mut::<FIXED_HEADER_LEN>()?;
        let low = u16::try_from(self.sequence & 0xffff).unwrap_or_default();
        write_fixed(
            fixed,
            true,
            ends_frame && !is_audio,
            PayloadType(options.payload_type),
            low,
            self.timestamp,
            Ssrc(self.ssrc),
        );
        let [n0, n1] = transport_cc.to_be_bytes();
        let last = match self.encoding.rid.map(str::as_bytes) {
            // Speech, some 20 dB below the loudest.
            _ if is_audio => [extension::AUDIO_LEVEL << 4, 0x80 | 20],
            // Names of sizes have one letter.
            Some([rid]) => [extension::RID << 4, *rid],
            _ => [0, 0],
        };
        let elements = [
            [0xbe, 0xde, 0, 2],
            [extension::MID << 4, options.mid, extension::TRANSPORT_CC << 4 | 1, n0],
            [n1, last[0], last[1], 0],
        ];
        let (block, payload) = rest.split_first_chunk_mut::<EXTENSIONS>()?;
        block.copy_from_slice(elements.as_flattened());
        let size = (self.encoding.width, self.encoding.height);
        write_payload(payload, options.track.kind, size, marker)?;
        Some(FIXED_HEADER_LEN + EXTENSIONS)
    }
}

#[cfg(test)]
mod tests;
