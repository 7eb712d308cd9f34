//! RTP header extensions (RFC 8285): which we know, and under which ids.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use super::model::{Direction, Extmap, Media};
use super::policy::CodecPolicy;
use crate::parameters::{ExtensionIds, MediaKind};

/// An extension that passes through or that we handle ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderExtension {
    /// The m-line's identification tag.
    Mid,
    /// The simulcast layer.
    Rid,
    /// The simulcast layer that is retransmitted.
    RepairedRid,
    /// Loudness.
    AudioLevel,
    /// When the packet was sent.
    AbsSendTime,
    /// A counter over all packets of the transport.
    TransportCc,
    /// How the picture is to be turned.
    VideoOrientation,
    /// Layers of AV1, and of other codecs.
    DependencyDescriptor,
}

impl HeaderExtension {
    /// All of them, by their id in our offers.
    pub const ALL: [Self; 8] = [
        Self::AudioLevel,
        Self::AbsSendTime,
        Self::TransportCc,
        Self::Mid,
        Self::VideoOrientation,
        Self::DependencyDescriptor,
        Self::Rid,
        Self::RepairedRid,
    ];

    /// What `a=extmap` calls it.
    pub fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::TransportCc => "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    /// The extension of this name, if we know it.
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.uri() == uri)
    }

    /// Its id in our offers: the same on every m-line (RFC 9143 §12).
    pub fn our_id(self) -> u8 {
        match self {
            Self::AudioLevel => 1,
            Self::AbsSendTime => 2,
            Self::TransportCc => 3,
            Self::Mid => 4,
            Self::VideoOrientation => 5,
            Self::DependencyDescriptor => 6,
            Self::Rid => 7,
            Self::RepairedRid => 8,
        }
    }

    /// Where its id is kept.
    pub fn slot(self, ids: &mut ExtensionIds) -> &mut Option<u8> {
        match self {
            Self::Mid => &mut ids.mid,
            Self::Rid => &mut ids.rid,
            Self::RepairedRid => &mut ids.repaired_rid,
            Self::AudioLevel => &mut ids.audio_level,
            Self::AbsSendTime => &mut ids.abs_send_time,
            Self::TransportCc => &mut ids.transport_cc,
            Self::VideoOrientation => &mut ids.video_orientation,
            Self::DependencyDescriptor => &mut ids.dependency_descriptor,
        }
    }

    fn applies_to(self, kind: MediaKind) -> bool {
        match self {
            Self::Mid | Self::AbsSendTime | Self::TransportCc => true,
            Self::AudioLevel => kind == MediaKind::Audio,
            Self::Rid | Self::RepairedRid | Self::VideoOrientation | Self::DependencyDescriptor => {
                kind == MediaKind::Video
            }
        }
    }
}

/// The offered extensions that we agree to, under the ids of the offer (RFC 8285 §5), as our answer writes them.
pub fn accept(kind: MediaKind, media: &Media, policy: &CodecPolicy) -> Vec<Extmap> {
    let mut accepted: Vec<Extmap> = Vec::new();
    for offered in &media.extensions {
        let Some(extension) = HeaderExtension::from_uri(&offered.uri) else {
            continue;
        };
        let wanted =
            extension.applies_to(kind) && (extension != HeaderExtension::TransportCc || policy.feedback.transport_cc);
        // The one-byte form has no other ids (RFC 8285 §4.2). Of two with one id or one name, the first counts.
        let usable = (1..=14).contains(&offered.id)
            && !accepted
                .iter()
                .any(|other| other.id == offered.id || other.uri == offered.uri);
        // RFC 8285 §6: directions are mirrored; the client has to be the one that sends it.
        let direction = match offered.direction {
            None => Some(None),
            Some(Direction::SendRecv | Direction::SendOnly) => Some(Some(Direction::RecvOnly)),
            Some(Direction::RecvOnly | Direction::Inactive) => None,
        };
        if let (true, Some(direction)) = (wanted && usable, direction) {
            accepted.push(Extmap {
                id: offered.id,
                direction,
                uri: offered.uri.clone(),
            });
        }
    }
    accepted
}

/// The offered extensions of an m-line that we send on, under the ids of the offer, as our answer writes them.
pub fn accept_to_send(kind: MediaKind, media: &Media, policy: &CodecPolicy) -> Vec<Extmap> {
    let sendable = |extension: HeaderExtension| match extension {
        // Layers are chosen here: a receiver gets one stream.
        HeaderExtension::Rid | HeaderExtension::RepairedRid => false,
        HeaderExtension::TransportCc => policy.subscribe_feedback.transport_cc,
        HeaderExtension::AbsSendTime => policy.subscribe_feedback.remb,
        other => other.applies_to(kind),
    };
    let mut accepted: Vec<Extmap> = Vec::new();
    for offered in &media.extensions {
        let known = HeaderExtension::from_uri(&offered.uri).is_some_and(sendable);
        let usable = (1..=14).contains(&offered.id)
            && !accepted
                .iter()
                .any(|other| other.id == offered.id || other.uri == offered.uri);
        // RFC 8285 §6: directions are mirrored; we have to be the one that sends it.
        let direction = match offered.direction {
            None => Some(None),
            Some(Direction::SendRecv | Direction::RecvOnly) => Some(Some(Direction::SendOnly)),
            Some(Direction::SendOnly | Direction::Inactive) => None,
        };
        if let (true, Some(direction)) = (known && usable, direction) {
            accepted.push(Extmap {
                id: offered.id,
                direction,
                uri: offered.uri.clone(),
            });
        }
    }
    accepted
}

/// The extensions that we offer for a track: those of the producer that pass through, and our own.
pub fn offer(kind: MediaKind, producer: &ExtensionIds, policy: &CodecPolicy) -> Vec<Extmap> {
    let mut producer = *producer;
    HeaderExtension::ALL
        .into_iter()
        .filter(|extension| extension.applies_to(kind))
        .filter(|extension| match extension {
            HeaderExtension::Mid => true,
            // Layers are chosen here: a receiver gets one stream.
            HeaderExtension::Rid | HeaderExtension::RepairedRid => false,
            // Sound is never held back, and an answer has no room to spare in a large room.
            HeaderExtension::TransportCc => policy.subscribe_feedback.transport_cc && kind == MediaKind::Video,
            // Only good for the receiver to estimate from, which it tells by REMB.
            HeaderExtension::AbsSendTime => policy.subscribe_feedback.remb,
            passed => passed.slot(&mut producer).is_some(),
        })
        .map(|extension| Extmap {
            id: extension.our_id(),
            direction: None,
            uri: extension.uri().to_owned(),
        })
        .collect()
}

/// What an answer agrees to of our offered extensions.
pub fn accepted(answer: &Media, offered: &[Extmap]) -> ExtensionIds {
    let sends_to_them = |direction: Option<Direction>| direction.is_none_or(Direction::receives);
    let agreed: Vec<Extmap> = offered
        .iter()
        .filter(|ours| {
            answer
                .extensions
                .iter()
                .any(|theirs| theirs.id == ours.id && theirs.uri == ours.uri && sends_to_them(theirs.direction))
        })
        .cloned()
        .collect();
    ids(&agreed)
}

/// The ids of a list of extensions.
pub fn ids(extensions: &[Extmap]) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    for entry in extensions {
        if let Some(extension) = HeaderExtension::from_uri(&entry.uri) {
            *extension.slot(&mut ids) = Some(entry.id);
        }
    }
    ids
}
