//! The connection a client publishes over.

use std::collections::BTreeMap;

use super::error::NegotiateError;
use super::policy::{CodecPolicy, Connect, LocalDescription};
use crate::parameters::{IceCredentials, ProducerId, ProducerParameters};

/// The publish connection of one client: it offers, we answer; again on the same connection for more or fewer tracks.
#[derive(Debug)]
pub struct PublishSession {
    local: LocalDescription,
    policy: CodecPolicy,
}

/// The answer to a publish offer, and what it changes for the engine.
#[derive(Debug, Clone)]
pub struct PublishAnswer {
    /// The answer's text.
    pub sdp: String,
    /// For the transport.
    pub connect: Connect,
    /// Tracks that begin: mid, id, what will come.
    pub added: Vec<(String, ProducerId, ProducerParameters)>,
    /// Tracks that go on with other parameters.
    pub updated: Vec<(String, ProducerId, ProducerParameters)>,
    /// Tracks that ended.
    pub removed: Vec<(String, ProducerId)>,
    /// Whether there is a data channel association.
    pub data_channel: bool,
    /// Every live track by its mid, those that did not change too.
    pub tracks: BTreeMap<String, ProducerId>,
}

impl PublishSession {
    /// A connection on which nothing was offered yet.
    pub fn new(local: LocalDescription, policy: CodecPolicy) -> Self {
        Self { local, policy }
    }

    /// Answers an offer. `allocate` makes the id of each new track; `credentials` makes ours after an ICE restart.
    ///
    /// # Errors
    /// [`NegotiateError`] when the offer cannot be answered; the session is then as before.
    pub fn offer(
        &mut self,
        sdp: &str,
        allocate: &mut dyn FnMut() -> ProducerId,
        credentials: &mut dyn FnMut() -> IceCredentials,
    ) -> Result<PublishAnswer, NegotiateError> {
        let (_, _, _, _, _) = (sdp, allocate, credentials, &self.local, &self.policy);
        Err(NegotiateError::NoCommonCodec)
    }
}
