//! Payloads that look like a codec's from outside and hold nothing but a marker.

use caside_media::parameters::MediaKind;

use crate::marker::{MARKER, Marker};

/// The descriptor (RFC 7741 §4.2) with a picture id of 15 bits, and a key frame's header (RFC 6386 §9.1).
const VP8_PREFIX: usize = 4 + 10;

/// Opus's table of contents: 20 ms of fullband CELT, one frame (RFC 6716 §3.1).
const OPUS_PREFIX: [u8; 1] = [0xf8];

/// A track as it is published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Track {
    pub(crate) kind: MediaKind,
    pub(crate) frames_per_second: u32,
    pub(crate) packets_per_frame: u16,
    /// Of a whole RTP packet.
    pub(crate) packet_bytes: usize,
}

impl Track {
    /// Ticks of the RTP clock from frame to frame.
    pub(crate) fn ticks_per_frame(&self) -> u32 {
        let clock = match self.kind {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        };
        clock / self.frames_per_second.max(1)
    }
}

/// Writes a payload over the front of `out`: Opus, or a packet of a VP8 frame of 640 × 360. `None` when there is no room.
pub(crate) fn write_payload(out: &mut [u8], kind: MediaKind, marker: &Marker) -> Option<()> {
    let prefix = match kind {
        MediaKind::Audio => {
            out.get_mut(..1)?.copy_from_slice(&OPUS_PREFIX);
            1
        }
        MediaKind::Video => {
            let [p0, p1] = u16::try_from(marker.frame & 0x7fff).unwrap_or_default().to_be_bytes();
            let start = if marker.packet == 0 { 0x90 } else { 0x80 };
            let tag = u8::from(!marker.key_frame);
            let head = [
                start,
                0x80,
                0x80 | p0,
                p1,
                tag,
                0,
                0,
                0x9d,
                0x01,
                0x2a,
                0x80,
                0x02,
                0x68,
                0x01,
            ];
            out.get_mut(..VP8_PREFIX)?.copy_from_slice(&head);
            VP8_PREFIX
        }
    };
    let place = out.get_mut(prefix..prefix + MARKER)?;
    marker.write(place).then_some(())
}
