//! The payload types of our own offers: one for each codec configuration, the same on every m-line and for as long as
//! the connection lives (RFC 3264 §8.3.2, RFC 9143 §9.1.1).

use super::codecs::{Configuration, applicable, canonical_fmtp, parameter};
use super::h264::Profile;
use crate::parameters::{Codec, CodecKind, Feedback, MediaKind, PayloadType};

/// The dynamic range (RFC 3551 §6). Some clients take no number outside of it.
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

/// Where RED goes, which only clients take up that know these numbers from each other (RFC 3551 §6 leaves them free): the last is
/// what browsers use. One for each variant of a codec.
const RED: std::ops::RangeInclusive<u8> = 35..=63;

/// What was assigned so far.
#[derive(Debug, Clone, Default)]
pub(super) struct PayloadTypes {
    assigned: Vec<Assigned>,
}

#[derive(Debug, Clone)]
struct Assigned {
    kind: CodecKind,
    fmtp: String,
    payload_type: u8,
    rtx: Option<u8>,
    /// Once a track needs it.
    red: Option<u8>,
}

impl PayloadTypes {
    /// The codec as we offer it: a producer's, with payload types of ours, its parameters in our spelling and the
    /// feedback that we handle. `None` when it is nothing that we offer, or the numbers are used up.
    pub(super) fn assign(&mut self, codec: &Codec, feedback: Feedback) -> Option<Codec> {
        let configuration = Configuration::new(codec.kind, &codec.fmtp)?;
        let fmtp = offered_fmtp(codec);
        let media = codec.kind.media();
        let index = match self
            .assigned
            .iter()
            .position(|entry| entry.kind == codec.kind && entry.fmtp == fmtp)
        {
            Some(index) => index,
            None => {
                let (payload_type, rtx) = self.choose(configuration, media)?;
                self.assigned.push(Assigned {
                    kind: codec.kind,
                    fmtp,
                    payload_type,
                    rtx,
                    red: None,
                });
                self.assigned.len() - 1
            }
        };
        let free_red = RED
            .rev()
            .find(|number| !self.assigned.iter().any(|entry| entry.red == Some(*number)));
        let entry = self.assigned.get_mut(index)?;
        if codec.red.is_some() {
            entry.red = entry.red.or(free_red);
        }
        let feedback = applicable(media, feedback);
        Some(Codec {
            kind: entry.kind,
            payload_type: PayloadType(entry.payload_type),
            clock_rate: if media == MediaKind::Audio { 48_000 } else { 90_000 },
            channels: if media == MediaKind::Audio { 2 } else { 0 },
            fmtp: entry.fmtp.clone(),
            feedback,
            rtx: entry.rtx.filter(|_| feedback.nack).map(PayloadType),
            red: entry.red.filter(|_| codec.red.is_some()).map(PayloadType),
        })
    }

    /// The configuration's usual numbers, or others when a variant of it (another level, stereo) has them.
    fn choose(&self, configuration: Configuration, media: MediaKind) -> Option<(u8, Option<u8>)> {
        let (payload_type, rtx) = usual(configuration);
        if self.is_free(payload_type) && rtx.is_none_or(|rtx| self.is_free(rtx)) {
            return Some((payload_type, rtx));
        }
        let mut free = DYNAMIC.rev().filter(|number| self.is_free(*number));
        let payload_type = free.next()?;
        let rtx = if media == MediaKind::Video {
            Some(free.next()?)
        } else {
            None
        };
        Some((payload_type, rtx))
    }

    fn is_free(&self, number: u8) -> bool {
        !self
            .assigned
            .iter()
            .any(|entry| entry.payload_type == number || entry.rtx == Some(number))
    }
}

/// Numbers that browsers are used to, where there are any. 110, 126 and 127 are left for variants.
fn usual(configuration: Configuration) -> (u8, Option<u8>) {
    let payload_type = match configuration {
        Configuration::Opus => return (111, None),
        Configuration::Vp8 => 96,
        Configuration::Vp9 { profile: 0 } => 98,
        Configuration::Vp9 { .. } => 100,
        Configuration::Av1 => 124,
        Configuration::H264 { profile, fragments } => {
            let pair = match profile {
                Profile::ConstrainedBaseline => 102,
                Profile::Baseline => 106,
                Profile::Main => 112,
                Profile::High => 116,
                Profile::ConstrainedHigh => 120,
            };
            if fragments { pair } else { pair + 2 }
        }
    };
    (payload_type, Some(payload_type + 1))
}

/// What we say of a producer's stream. Few variants of Opus, so that few numbers are needed.
fn offered_fmtp(codec: &Codec) -> String {
    let flag = |name| parameter(&codec.fmtp, name) == Some("1");
    match codec.kind {
        CodecKind::Opus => {
            let stereo = if flag("stereo") || flag("sprop-stereo") {
                ";stereo=1;sprop-stereo=1"
            } else {
                ""
            };
            let dtx = if flag("usedtx") { ";usedtx=1" } else { "" };
            format!("minptime=10{stereo};useinbandfec=1{dtx}")
        }
        // RFC 6184 §8.2.2: the receiver's level does not have to be the publisher's.
        CodecKind::H264 if !flag("level-asymmetry-allowed") => {
            format!("level-asymmetry-allowed=1;{}", canonical_fmtp(codec.kind, &codec.fmtp))
        }
        kind => canonical_fmtp(kind, &codec.fmtp),
    }
}
