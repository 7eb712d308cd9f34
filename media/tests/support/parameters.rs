//! Parameters as a negotiation with a browser would give them.

use caside_media::parameters::{
    Codec, CodecKind, ConsumerParameters, Encoding, ExtensionIds, Feedback, MediaKind, PayloadType, ProducerParameters,
    Ssrc,
};

/// Ids as a browser numbers them when it publishes.
pub(crate) const PUBLISHED: ExtensionIds = ExtensionIds {
    mid: Some(4),
    rid: Some(10),
    repaired_rid: Some(11),
    audio_level: Some(1),
    abs_send_time: Some(2),
    transport_cc: Some(3),
    video_orientation: Some(13),
    dependency_descriptor: Some(12),
};

/// Others, as we number them when we send.
pub(crate) const CONSUMED: ExtensionIds = ExtensionIds {
    mid: Some(1),
    rid: None,
    repaired_rid: None,
    audio_level: Some(5),
    abs_send_time: Some(6),
    transport_cc: Some(7),
    video_orientation: Some(8),
    dependency_descriptor: Some(9),
};

pub(crate) fn codec(kind: CodecKind, payload_type: u8, rtx: Option<u8>) -> Codec {
    let is_video = kind.media() == MediaKind::Video;
    Codec {
        kind,
        payload_type: PayloadType(payload_type),
        clock_rate: if is_video { 90_000 } else { 48_000 },
        channels: if is_video { 0 } else { 2 },
        fmtp: String::new(),
        feedback: Feedback {
            nack: is_video,
            pli: is_video,
            fir: is_video,
            transport_cc: true,
            remb: is_video,
        },
        rtx: rtx.map(PayloadType),
        red: None,
    }
}

/// A published track under `ssrc`, its retransmissions under `ssrc + 1`.
pub(crate) fn produced(kind: MediaKind, mid: &str, ssrc: u32) -> ProducerParameters {
    let codecs = match kind {
        MediaKind::Audio => vec![codec(CodecKind::Opus, 111, None)],
        MediaKind::Video => vec![
            codec(CodecKind::Vp8, 96, Some(97)),
            codec(CodecKind::H264, 102, Some(103)),
        ],
    };
    let rtx_ssrc = (kind == MediaKind::Video).then_some(Ssrc(ssrc + 1));
    ProducerParameters {
        kind,
        mid: mid.to_owned(),
        codecs,
        extensions: PUBLISHED,
        encodings: vec![Encoding {
            ssrc: Some(Ssrc(ssrc)),
            rtx_ssrc,
            rid: None,
        }],
    }
}

/// A track to a receiver under `ssrc`, its retransmissions under `ssrc + 1`.
pub(crate) fn consumed(kind: MediaKind, mid: &str, ssrc: u32) -> ConsumerParameters {
    let codec = match kind {
        MediaKind::Audio => codec(CodecKind::Opus, 120, None),
        MediaKind::Video => codec(CodecKind::Vp8, 100, Some(101)),
    };
    let rtx_ssrc = codec.rtx.map(|_| Ssrc(ssrc + 1));
    ConsumerParameters {
        kind,
        mid: mid.to_owned(),
        codec,
        ssrc: Ssrc(ssrc),
        rtx_ssrc,
        extensions: CONSUMED,
        cname: "publisher".to_owned(),
    }
}
