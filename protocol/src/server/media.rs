//! Negotiation with the SFU, and what it tells of tracks and connections.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::client::Target;
use crate::view::{Quality, Source};
use crate::{ParticipantId, TrackId};

/// `offer` of the SFU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SfuOffer {
    /// Always `subscribe`.
    pub target: Target,
    /// The session description.
    pub sdp: String,
    /// What each m-line carries, by mid.
    pub tracks: BTreeMap<String, SfuOfferTrack>,
}

/// What an m-line of the SFU's offer carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SfuOfferTrack {
    /// Whose it is.
    pub participant_id: ParticipantId,
    /// The track.
    pub track: TrackId,
    /// Where it comes from.
    pub source: Source,
}

/// `answer` of the SFU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SfuAnswer {
    /// `publish`; of a viewer's offer `subscribe`.
    pub target: Target,
    /// The session description.
    pub sdp: String,
    /// The track id of each m-line, by mid.
    pub tracks: BTreeMap<String, TrackId>,
}

/// `track-unpublished`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackGone {
    /// The track.
    pub track: TrackId,
    /// Whose it was.
    pub participant_id: ParticipantId,
}

/// `publish-layers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishLayers {
    /// Our track.
    pub track: TrackId,
    /// All of its encodings, lowest first.
    pub layers: Vec<PublishLayer>,
}

/// One encoding of a track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishLayer {
    /// Its restriction identifier (RFC 8851), as in the offer.
    pub rid: String,
    /// Whether it is to be sent.
    pub active: bool,
}

/// `cameras-selected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CamerasSelected {
    /// Those of the last speakers; null when there is no limit any more.
    pub tracks: Option<Vec<TrackId>>,
}

/// `active-speakers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveSpeakers {
    /// Loudest first; empty when nobody speaks.
    pub participants: Vec<ParticipantId>,
}

/// `connection-quality`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionQuality {
    /// Whose.
    pub participant_id: ParticipantId,
    /// How good.
    pub quality: Quality,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}
