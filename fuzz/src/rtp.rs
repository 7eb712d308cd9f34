//! RTP headers, their extensions, and the detectors of key frames.

use caside_media::parameters::CodecKind;
use caside_media::rtp::key_frame::starts_key_frame;
use caside_media::rtp::{RtpHeader, find_extension};

const CODECS: [CodecKind; 5] = [
    CodecKind::Opus,
    CodecKind::Vp8,
    CodecKind::Vp9,
    CodecKind::H264,
    CodecKind::Av1,
];

/// Reads one plain packet.
pub fn run(packet: &[u8]) {
    for codec in CODECS {
        starts_key_frame(codec, packet);
    }
    let Ok(header) = RtpHeader::parse(packet) else { return };
    let payload = header.payload(packet);
    assert_eq!(payload.len(), header.payload.len(), "the payload lies in the packet");
    assert_eq!(header.payload.end + usize::from(header.padding), packet.len());
    for codec in CODECS {
        starts_key_frame(codec, payload);
    }
    let extensions = header.extensions(packet);
    let mut bytes = 0;
    for (id, data) in extensions.clone() {
        assert_ne!(id, 0);
        bytes += 1 + data.len();
    }
    assert!(bytes <= packet.len(), "elements do not overlap");
    for id in 0..=u8::MAX {
        let found = find_extension(&extensions, Some(id)).is_some();
        assert_eq!(found, extensions.clone().any(|(other, _)| other == id));
    }
}
