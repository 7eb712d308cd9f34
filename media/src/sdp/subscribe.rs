//! The connection a client subscribes over.

use super::error::{AddTrackError, NegotiateError, Rejection};
use super::policy::{CodecPolicy, Connect, LocalDescription};
use crate::parameters::{Codec, ConsumerId, ConsumerParameters, ExtensionIds, IceCredentials, MediaKind};

/// How many tracks one session takes at a time.
pub const MAX_TRACKS: usize = 128;

/// A track that the client is to be sent.
#[derive(Debug, Clone)]
pub struct SubscribeTrack {
    /// The consumer it becomes.
    pub consumer: ConsumerId,
    /// Sound or picture.
    pub kind: MediaKind,
    /// The producer's codec; payload types are ours to choose.
    pub codec: Codec,
    /// The first half of the msid: the publishing participant's id; 1–64 token characters.
    pub stream_id: String,
    /// The second half of the msid; 1–64 token characters.
    pub track_id: String,
    /// The producer's header extensions. Only which are present counts; ids are ours to choose.
    pub extensions: ExtensionIds,
    /// Equal for tracks to be played in sync; 1–255 visible ASCII characters.
    pub cname: String,
}

/// An offer of ours.
#[derive(Debug, Clone)]
pub struct SubscribeOffer {
    /// The offer's text.
    pub sdp: String,
    /// Which track is on which m-line; lines without a track are left out.
    pub mids: Vec<(String, ConsumerId)>,
}

/// What an answer to our offer changes.
#[derive(Debug, Clone)]
pub struct SubscribeAnswer {
    /// For the transport; `None` when the client has refused every m-line so far, so that there is no transport.
    pub connect: Option<Connect>,
    /// Tracks that the client accepted in this answer.
    pub started: Vec<(ConsumerId, ConsumerParameters)>,
    /// Tracks that the client did not accept, or does not any more; the session has forgotten them.
    pub rejected: Vec<(ConsumerId, Rejection)>,
    /// Tracks removed by us that are now off the client's m-lines.
    pub removed: Vec<ConsumerId>,
    /// Whether there is a data channel association.
    pub data_channel: bool,
}

/// The subscribe connection of one client: we offer, it answers. Never a second offer before the first is answered.
#[derive(Debug)]
pub struct SubscribeSession {
    local: LocalDescription,
    policy: CodecPolicy,
}

impl SubscribeSession {
    /// A connection on which nothing was offered yet.
    pub fn new(local: LocalDescription, policy: CodecPolicy) -> Self {
        Self { local, policy }
    }

    /// Puts a track into the next offer.
    ///
    /// # Errors
    /// [`AddTrackError`] when the track cannot be offered; nothing has changed then.
    pub fn add(&mut self, track: SubscribeTrack) -> Result<(), AddTrackError> {
        let _ = (track, &self.local, &self.policy);
        Err(AddTrackError::PayloadType)
    }

    /// Takes a track out; its m-line becomes inactive with the next offer. An unknown consumer is ignored.
    pub fn remove(&mut self, consumer: ConsumerId) {
        let _ = consumer;
    }

    /// Makes the next offer restart ICE with these credentials of ours.
    pub fn restart_ice(&mut self, credentials: IceCredentials) {
        let _ = credentials;
    }

    /// Whether something changed and no offer waits for its answer.
    pub fn wants_offer(&self) -> bool {
        false
    }

    /// The next offer; `None` unless [`wants_offer`](Self::wants_offer).
    pub fn offer(&mut self) -> Option<SubscribeOffer> {
        None
    }

    /// Takes the client's answer.
    ///
    /// # Errors
    /// [`NegotiateError`] when it does not answer our offer, which then still waits for its answer.
    pub fn answer(&mut self, sdp: &str) -> Result<SubscribeAnswer, NegotiateError> {
        let _ = sdp;
        Err(NegotiateError::NoOffer)
    }

    /// Withdraws an offer that was not answered in time; it is made anew on the next change.
    pub fn abandon(&mut self) {}
}
