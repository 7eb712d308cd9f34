//! Payloads that look like a codec's from outside and hold nothing but a marker.

use caside_media::parameters::MediaKind;

use crate::marker::{MARKER, Marker};

/// The descriptor (RFC 7741 §4.2) with a picture id of 15 bits, and a key frame's header (RFC 6386 §9.1).
const VP8_PREFIX: usize = 4 + 10;

/// Opus's table of contents: 20 ms of fullband CELT, one frame (RFC 6716 §3.1).
const OPUS_PREFIX: [u8; 1] = [0xf8];

/// One stream of packets: what each of its frames is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoding {
    /// Its name (RFC 8852), where there are several.
    pub(crate) rid: Option<&'static str>,
    /// Of the picture, in pixels; 0 of sound.
    pub(crate) width: u16,
    /// Of the picture, in pixels; 0 of sound.
    pub(crate) height: u16,
    pub(crate) packets_per_frame: u16,
    /// Of a whole RTP packet.
    pub(crate) packet_bytes: usize,
}

/// Sizes of a camera with simulcast.
pub(crate) const SIZES: usize = 3;

/// The sizes of a camera, lowest first, by the names and nearly the rates that `caside.js` has: 0.15, 0.5 and 1.7 Mbit/s at 30
/// frames a second.
pub(crate) const SIMULCAST: [Encoding; SIZES] = [
    size("q", 320, 180, 1, 625),
    size("h", 640, 360, 2, 1040),
    size("f", 1280, 720, 6, 1180),
];

const fn size(rid: &'static str, width: u16, height: u16, packets_per_frame: u16, packet_bytes: usize) -> Encoding {
    Encoding {
        rid: Some(rid),
        width,
        height,
        packets_per_frame,
        packet_bytes,
    }
}

/// A track as it is published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Track {
    pub(crate) kind: MediaKind,
    pub(crate) frames_per_second: u32,
    shape: Shape,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    One(Encoding),
    /// Each picture in all sizes of [`SIMULCAST`].
    Simulcast,
}

impl Track {
    /// Sound: a packet each 20 ms.
    pub(crate) fn audio(packet_bytes: usize) -> Self {
        Self {
            kind: MediaKind::Audio,
            frames_per_second: 50,
            shape: Shape::One(Encoding {
                rid: None,
                width: 0,
                height: 0,
                packets_per_frame: 1,
                packet_bytes,
            }),
        }
    }

    /// A camera of 640 × 360.
    pub(crate) fn video(frames_per_second: u32, packets_per_frame: u16, packet_bytes: usize) -> Self {
        Self {
            kind: MediaKind::Video,
            frames_per_second,
            shape: Shape::One(Encoding {
                rid: None,
                width: 640,
                height: 360,
                packets_per_frame,
                packet_bytes,
            }),
        }
    }

    /// A camera in the sizes of [`SIMULCAST`].
    pub(crate) fn simulcast(frames_per_second: u32) -> Self {
        Self {
            kind: MediaKind::Video,
            frames_per_second,
            shape: Shape::Simulcast,
        }
    }

    /// Its streams, lowest first.
    pub(crate) fn encodings(&self) -> &[Encoding] {
        match &self.shape {
            Shape::One(encoding) => std::slice::from_ref(encoding),
            Shape::Simulcast => &SIMULCAST,
        }
    }

    /// Whether it is a camera in several sizes.
    pub(crate) fn is_simulcast(&self) -> bool {
        matches!(self.shape, Shape::Simulcast)
    }

    /// Ticks of the RTP clock a second.
    pub(crate) fn clock_rate(&self) -> u32 {
        match self.kind {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        }
    }

    /// Ticks of the RTP clock from frame to frame.
    pub(crate) fn ticks_per_frame(&self) -> u16 {
        let ticks = self.clock_rate() / self.frames_per_second.max(1);
        u16::try_from(ticks).unwrap_or(u16::MAX)
    }
}

/// Writes a payload over the front of `out`: Opus, or a packet of a VP8 frame of this `size` in pixels. `None` when there is no
/// room.
pub(crate) fn write_payload(out: &mut [u8], kind: MediaKind, size: (u16, u16), marker: &Marker) -> Option<()> {
    let prefix = match kind {
        MediaKind::Audio => {
            out.get_mut(..1)?.copy_from_slice(&OPUS_PREFIX);
            1
        }
        MediaKind::Video => {
            // Each size counts its pictures from elsewhere, as encoders do.
            let first = 1000 * u32::from(marker.encoding.unwrap_or_default());
            let picture = marker.frame.wrapping_add(first);
            let [p0, p1] = u16::try_from(picture & 0x7fff).unwrap_or_default().to_be_bytes();
            let start = if marker.packet == 0 { 0x90 } else { 0x80 };
            let tag = u8::from(!marker.key_frame);
            let ([w0, w1], [h0, h1]) = (size.0.to_le_bytes(), size.1.to_le_bytes());
            let head = [start, 0x80, 0x80 | p0, p1, tag, 0, 0, 0x9d, 0x01, 0x2a, w0, w1, h0, h1];
            out.get_mut(..VP8_PREFIX)?.copy_from_slice(&head);
            VP8_PREFIX
        }
    };
    let place = out.get_mut(prefix..prefix + MARKER)?;
    marker.write(place).then_some(())
}
