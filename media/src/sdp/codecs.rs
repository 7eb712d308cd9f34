//! Which of the offered payload types pass through here, in what order, with which retransmissions and feedback.
//!
//! RED (RFC 2198) goes with the codec it repeats, as retransmissions do. Other FEC, comfort noise and telephone events are not
//! answered: they would have to be understood to be forwarded.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::fmt::Write as _;

use super::h264::{Profile, ProfileLevelId};
use super::model::{Media, RtpCodec};
use super::policy::CodecPolicy;
use crate::parameters::{Codec, CodecKind, Feedback, MediaKind, PayloadType};

/// A codec with the parameters that have to be equal on both sides (RFC 9143 §9.1.1 calls it a codec configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Configuration {
    /// Receivers decode every variant (RFC 7587 §7).
    Opus,
    /// There is but one.
    Vp8,
    /// RFC 6184 §8.2.2: profile and packetization mode.
    H264 {
        /// Without level, which may differ.
        profile: Profile,
        /// `packetization-mode` 1; 0 otherwise.
        fragments: bool,
    },
    /// RFC 9628 §7: profile 0 or 2, that is 4:2:0 with 8 or 10 bits.
    Vp9 {
        /// `profile-id`.
        profile: u8,
    },
    /// The main profile, `profile=0`.
    Av1,
}

impl Configuration {
    /// Of a codec kind with its format parameters. `None` for what does not pass through.
    pub fn new(kind: CodecKind, fmtp: &str) -> Option<Self> {
        match kind {
            CodecKind::Opus => Some(Self::Opus),
            CodecKind::Vp8 => Some(Self::Vp8),
            CodecKind::H264 => {
                let profile = profile_level_id(fmtp)?.profile;
                match parameter(fmtp, "packetization-mode").unwrap_or("0") {
                    "0" => Some(Self::H264 {
                        profile,
                        fragments: false,
                    }),
                    "1" => Some(Self::H264 {
                        profile,
                        fragments: true,
                    }),
                    _ => None,
                }
            }
            CodecKind::Vp9 => match parameter(fmtp, "profile-id").unwrap_or("0") {
                "0" => Some(Self::Vp9 { profile: 0 }),
                "2" => Some(Self::Vp9 { profile: 2 }),
                _ => None,
            },
            CodecKind::Av1 => (parameter(fmtp, "profile").unwrap_or("0") == "0").then_some(Self::Av1),
        }
    }

    /// Of a payload type in an m-line of this kind.
    pub fn of(media: MediaKind, codec: &RtpCodec) -> Option<(CodecKind, Self)> {
        let kind = match media {
            // RFC 7587 §7: always 48000/2, whatever is in the packets.
            MediaKind::Audio if is(codec, "opus", 48_000) && codec.channels == 2 => CodecKind::Opus,
            MediaKind::Audio => return None,
            MediaKind::Video => [CodecKind::Vp8, CodecKind::H264, CodecKind::Vp9, CodecKind::Av1]
                .into_iter()
                .find(|kind| is(codec, kind.name(), 90_000))?,
        };
        Some((kind, Self::new(kind, &codec.fmtp)?))
    }
}

fn is(codec: &RtpCodec, name: &str, clock_rate: u32) -> bool {
    codec.name.eq_ignore_ascii_case(name) && codec.clock_rate == clock_rate
}

/// One parameter of an `a=fmtp` value; names are compared without case.
pub fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Deviates from RFC 6184 §8.1: without the parameter we take Constrained Baseline, not Baseline at level 1. That is
/// what such senders send, and WebRTC endpoints have to give it (RFC 7742 §6.2).
fn profile_level_id(fmtp: &str) -> Option<ProfileLevelId> {
    match parameter(fmtp, "profile-level-id") {
        Some(text) => ProfileLevelId::parse(text),
        None => Some(ProfileLevelId::CONSTRAINED_BASELINE_3_1),
    }
}

/// The parameters of a codec that are passed on, in a fixed order and spelling: what a client wrote elsewhere in its
/// `a=fmtp` never reaches another client.
pub fn canonical_fmtp(kind: CodecKind, fmtp: &str) -> String {
    let names: &[&str] = match kind {
        CodecKind::Opus => &[
            "minptime",
            "maxplaybackrate",
            "maxaveragebitrate",
            "stereo",
            "sprop-stereo",
            "cbr",
            "useinbandfec",
            "usedtx",
        ],
        // Its parameters limit what their author receives (RFC 7741 §6.1), and we have no such limit.
        CodecKind::Vp8 => &[],
        CodecKind::H264 => return h264_fmtp(fmtp),
        CodecKind::Vp9 => &["profile-id"],
        CodecKind::Av1 => &["level-idx", "profile", "tier"],
    };
    let mut text = String::new();
    for name in names {
        let number = parameter(fmtp, name).and_then(|value| value.parse::<u32>().ok());
        if let Some(number) = number {
            append(&mut text, name, number);
        }
    }
    text
}

fn append(text: &mut String, name: &str, value: u32) {
    let semicolon = if text.is_empty() { "" } else { ";" };
    write!(text, "{semicolon}{name}={value}").expect("writing to a string does not fail");
}

fn h264_fmtp(fmtp: &str) -> String {
    let mut text = String::new();
    if parameter(fmtp, "level-asymmetry-allowed") == Some("1") {
        append(&mut text, "level-asymmetry-allowed", 1);
    }
    append(
        &mut text,
        "packetization-mode",
        u32::from(parameter(fmtp, "packetization-mode") == Some("1")),
    );
    let [idc, iop, level] = profile_level_id(fmtp)
        .unwrap_or(ProfileLevelId::CONSTRAINED_BASELINE_3_1)
        .bytes;
    write!(text, ";profile-level-id={idc:02x}{iop:02x}{level:02x}").expect("writing to a string does not fail");
    text
}

/// The codecs of an offered m-line that we agree to, preferred first; empty when there is none.
pub fn accept(kind: MediaKind, media: &Media, policy: &CodecPolicy) -> Vec<Codec> {
    let mut accepted: Vec<(usize, Codec)> = Vec::new();
    for (position, offered) in media.codecs.iter().enumerate() {
        let Some((codec_kind, _)) = Configuration::of(kind, offered) else {
            continue;
        };
        if !policy.allowed.contains(&codec_kind) || collides_with_rtcp(offered.payload_type) {
            continue;
        }
        let feedback = common(read_feedback(kind, &offered.feedback), policy.feedback);
        let codec = Codec {
            kind: codec_kind,
            payload_type: offered.payload_type,
            clock_rate: offered.clock_rate,
            channels: offered.channels,
            fmtp: canonical_fmtp(codec_kind, &offered.fmtp),
            feedback,
            rtx: if feedback.nack { rtx_of(media, offered) } else { None },
            red: if policy.red { red_of(media, offered) } else { None },
        };
        accepted.push((position, codec));
    }
    order(&mut accepted, policy);
    accepted.into_iter().map(|(_, codec)| codec).collect()
}

/// RFC 5761 §4: with rtcp-mux, payload types 64–95 look like RTCP.
fn collides_with_rtcp(payload_type: PayloadType) -> bool {
    (64..=95).contains(&payload_type.0)
}

/// The policy's preference first, then the client's (RFC 8829 §5.3.1).
///
/// Among H.264 configurations, Constrained Baseline with fragments goes first: it is the one that all receivers have, and
/// the first in our answer is what the client sends to everybody. Safari puts a High profile first that Chromium refuses.
fn order(codecs: &mut [(usize, Codec)], policy: &CodecPolicy) {
    let first_h264 = codecs
        .iter()
        .find(|(_, codec)| codec.kind == CodecKind::H264)
        .map(|(position, _)| *position);
    codecs.sort_by_key(|(position, codec)| {
        let preferred = policy
            .preferred
            .iter()
            .position(|kind| *kind == codec.kind)
            .unwrap_or(usize::MAX);
        let is_h264 = codec.kind == CodecKind::H264;
        let place = first_h264.filter(|_| is_h264).unwrap_or(*position);
        let common = Configuration::H264 {
            profile: Profile::ConstrainedBaseline,
            fragments: true,
        };
        let rare = is_h264 && Configuration::new(codec.kind, &codec.fmtp) != Some(common);
        (preferred, place, rare, *position)
    });
}

/// The payload type of a codec's retransmissions (RFC 4588 §8.6).
fn rtx_of(media: &Media, codec: &RtpCodec) -> Option<PayloadType> {
    media
        .codecs
        .iter()
        .filter(|rtx| is(rtx, "rtx", codec.clock_rate) && !collides_with_rtcp(rtx.payload_type))
        .find(|rtx| parameter(&rtx.fmtp, "apt").and_then(|apt| apt.parse().ok()) == Some(codec.payload_type.0))
        .map(|rtx| rtx.payload_type)
}

/// The payload type under which a codec comes with its earlier packets again: every block is to be of the codec (RFC 2198 §5).
fn red_of(media: &Media, codec: &RtpCodec) -> Option<PayloadType> {
    let repeats_it = |red: &&RtpCodec| {
        let mut blocks = red.fmtp.split('/').map(|block| block.trim().parse().ok());
        blocks.all(|block| block == Some(codec.payload_type.0))
    };
    media
        .codecs
        .iter()
        .filter(|red| is(red, "red", codec.clock_rate) && red.channels == codec.channels)
        .filter(|red| media.media.kind() == Some(MediaKind::Audio) && !collides_with_rtcp(red.payload_type))
        .find(repeats_it)
        .map(|red| red.payload_type)
}

/// Whether both are one codec in one configuration: what is sent as the one can be received as the other.
pub fn same(one: &Codec, other: &Codec) -> bool {
    let of = |codec: &Codec| Configuration::new(codec.kind, &codec.fmtp);
    one.kind == other.kind && of(one).is_some() && of(one) == of(other)
}

/// What an answer to our offer agrees to for one codec of the offer: the answer's payload type (RFC 3264 §6.1), its
/// retransmissions and feedback. `None` when the codec is not in it.
pub fn accepted(kind: MediaKind, answer: &Media, offered: &Codec) -> Option<Codec> {
    let configuration = Configuration::new(offered.kind, &offered.fmtp)?;
    let fits = |codec: &&RtpCodec| Configuration::of(kind, codec) == Some((offered.kind, configuration));
    let same = answer
        .codecs
        .iter()
        .filter(fits)
        .find(|codec| codec.payload_type == offered.payload_type);
    let codec = same.or_else(|| answer.codecs.iter().find(fits))?;
    let feedback = common(read_feedback(kind, &codec.feedback), offered.feedback);
    let rtx = offered
        .rtx
        .and_then(|_| rtx_of(answer, codec))
        .filter(|_| feedback.nack);
    let red = offered.red.and_then(|_| red_of(answer, codec));
    Some(Codec {
        payload_type: codec.payload_type,
        feedback,
        rtx,
        red,
        ..offered.clone()
    })
}

/// The payload types of an m-line that we receive on. RED comes before its codec: clients send it only if it is the first.
pub fn describe_received(codecs: &[Codec]) -> Vec<RtpCodec> {
    let red = codecs.iter().filter_map(describe_red);
    red.chain(codecs.iter().flat_map(describe_plain)).collect()
}

/// The payload types that describe a codec in an m-line that we send on: itself, its retransmissions, and RED.
pub fn describe(codec: &Codec) -> Vec<RtpCodec> {
    describe_plain(codec).chain(describe_red(codec)).collect()
}

fn describe_red(codec: &Codec) -> Option<RtpCodec> {
    let payload_type = codec.red?;
    Some(RtpCodec {
        payload_type,
        name: "red".to_owned(),
        clock_rate: codec.clock_rate,
        channels: codec.channels,
        // As browsers write it: a packet before the primary one.
        fmtp: format!("{0}/{0}", codec.payload_type.0),
        feedback: Vec::new(),
    })
}

fn describe_plain(codec: &Codec) -> impl Iterator<Item = RtpCodec> + use<> {
    let media = RtpCodec {
        payload_type: codec.payload_type,
        name: codec.kind.name().to_owned(),
        clock_rate: codec.clock_rate,
        channels: codec.channels,
        fmtp: codec.fmtp.clone(),
        feedback: write_feedback(codec.feedback),
    };
    let rtx = codec.rtx.map(|payload_type| RtpCodec {
        payload_type,
        name: "rtx".to_owned(),
        clock_rate: codec.clock_rate,
        channels: 0,
        fmtp: format!("apt={}", codec.payload_type.0),
        feedback: Vec::new(),
    });
    std::iter::once(media).chain(rtx)
}

/// Feedback that makes sense for this kind of media: key frames are asked of video alone.
pub fn applicable(kind: MediaKind, feedback: Feedback) -> Feedback {
    let video = kind == MediaKind::Video;
    Feedback {
        pli: feedback.pli && video,
        fir: feedback.fir && video,
        remb: feedback.remb && video,
        ..feedback
    }
}

fn read_feedback(kind: MediaKind, values: &[String]) -> Feedback {
    let has = |name: &str| values.iter().any(|value| value == name);
    let feedback = Feedback {
        nack: has("nack"),
        pli: has("nack pli"),
        fir: has("ccm fir"),
        transport_cc: has("transport-cc"),
        remb: has("goog-remb"),
    };
    applicable(kind, feedback)
}

fn write_feedback(feedback: Feedback) -> Vec<String> {
    [
        (feedback.remb, "goog-remb"),
        (feedback.transport_cc, "transport-cc"),
        (feedback.fir, "ccm fir"),
        (feedback.nack, "nack"),
        (feedback.pli, "nack pli"),
    ]
    .into_iter()
    .filter(|(agreed, _)| *agreed)
    .map(|(_, name)| name.to_owned())
    .collect()
}

fn common(a: Feedback, b: Feedback) -> Feedback {
    Feedback {
        nack: a.nack && b.nack,
        pli: a.pli && b.pli,
        fir: a.fir && b.fir,
        transport_cc: a.transport_cc && b.transport_cc,
        remb: a.remb && b.remb,
    }
}
