//! What is kept of a stream since its latest key frame: whoever comes can begin with that at once, without asking the publisher.

use std::time::{Duration, Instant};

use crate::producer::key_frame::MIN_INTERVAL;
use crate::producer::ring::PacketInfo;

/// A key frame older than this is not begun with. As long as requests are apart: from then on a new one may be asked for at
/// once, so that nobody waits for longer than the publisher takes to answer. Older ones would save requests, but make those who
/// come decode, and their paths carry, more of what is past.
pub(crate) const MAX_AGE: Duration = MIN_INTERVAL;

/// The packets from a key frame to the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeptRun {
    /// The key frame's first packet.
    pub(crate) first: u64,
    pub(crate) epoch: u32,
    /// Index into the producer's codecs.
    pub(crate) codec: u8,
    /// Of the key frame.
    timestamp: u32,
    /// When the key frame began to come.
    pub(crate) began: Instant,
    /// How many packets came, in whatever order, and what they hold.
    pub(crate) packets: u64,
    pub(crate) bytes: usize,
}

impl KeptRun {
    /// Begins with a packet that begins a key frame.
    pub(super) fn new(info: &PacketInfo, len: usize) -> Self {
        Self {
            first: info.extended,
            epoch: info.epoch,
            codec: info.codec,
            timestamp: info.timestamp,
            began: info.arrival,
            packets: 1,
            bytes: len,
        }
    }

    /// Whether a packet that begins a key frame belongs to this one: of H.264 each of a frame's first packets may.
    pub(super) fn is_of(&self, info: &PacketInfo) -> bool {
        self.epoch == info.epoch && self.codec == info.codec && self.timestamp == info.timestamp
    }

    /// Counts a packet that follows.
    pub(super) fn follow(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += len;
    }

    /// Whether it is recent enough to begin with.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) <= MAX_AGE
    }
}
