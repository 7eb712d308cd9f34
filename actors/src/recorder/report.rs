//! What recordings of a node do, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is counted where it happens.
#[derive(Debug, Default)]
pub(super) struct Tally {
    ready: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    left_out: AtomicU64,
}

/// A reading of all recordings of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordingsReport {
    /// Recordings that run.
    pub running: usize,
    /// Recordings whose files are being made.
    pub finishing: usize,
    /// Recordings that are over, with all their files.
    pub ready: u64,
    /// Recordings that are over, without.
    pub failed: u64,
    /// Packets that a recorder was too slow for.
    pub dropped_packets: u64,
    /// Bytes in the spool.
    pub spool_bytes: u64,
    /// Most bytes that the spool takes.
    pub spool_max_bytes: u64,
    /// Segments that were not queued for the object store, for too many waited.
    pub left_out: u64,
    /// Copies to the object store while recordings run; `None` when there are none, or it did not answer.
    pub shipping: Option<ShippingReport>,
}

/// Copies of segments to a remote object store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShippingReport {
    /// Segments that wait or are on their way.
    pub waiting: usize,
    /// How long the first of them has waited; zero when none does.
    pub oldest: Duration,
    /// Segments that were taken.
    pub shipped: u64,
    /// Their bytes.
    pub shipped_bytes: u64,
    /// Tries that failed.
    pub failures: u64,
}

impl Tally {
    /// A recording is over.
    pub(super) fn over(&self, is_ready: bool) {
        let counter = if is_ready { &self.ready } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A recorder was too slow for a packet.
    pub(super) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// A segment stays in the spool alone.
    pub(super) fn left_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// A reading of what is counted here.
    pub(super) fn report(&self) -> RecordingsReport {
        RecordingsReport {
            ready: self.ready.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped_packets: self.dropped.load(Ordering::Relaxed),
            left_out: self.left_out.load(Ordering::Relaxed),
            ..RecordingsReport::default()
        }
    }
}
