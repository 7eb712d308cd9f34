//! Starts rooms' SFUs on the media workers of this node.

use std::sync::Arc;

use caside_media::sdp::CodecPolicy;
use ractor::ActorCell;

use super::actor::{SfuArgs, SfuHandle};
use crate::media_worker::MediaWorkers;
use crate::observed::Observed;
use crate::ports::{Later, SfuEvents, SfuFactory, SfuStartError};

/// SFUs on local media workers.
#[derive(Debug, Clone)]
pub struct LocalSfus {
    workers: Arc<MediaWorkers>,
    policy: CodecPolicy,
    observed: Observed,
}

impl LocalSfus {
    /// SFUs that let through what `policy` says.
    pub fn new(workers: Arc<MediaWorkers>, policy: CodecPolicy) -> Self {
        Self {
            workers,
            policy,
            observed: Observed::default(),
        }
    }

    /// Lists them where the node lists its actors.
    #[must_use]
    pub fn observed_by(mut self, observed: Observed) -> Self {
        self.observed = observed;
        self
    }
}

impl SfuFactory for LocalSfus {
    fn start(&self, supervisor: ActorCell, events: SfuEvents) -> Later<'_, Result<SfuHandle, SfuStartError>> {
        let args = SfuArgs {
            workers: self.workers.clone(),
            policy: self.policy.clone(),
            events,
            observed: self.observed.clone(),
        };
        Box::pin(async move {
            SfuHandle::spawn(supervisor, args)
                .await
                .map_err(|e| SfuStartError { reason: e.to_string() })
        })
    }
}
