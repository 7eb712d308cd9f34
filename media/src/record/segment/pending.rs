//! Frames that wait to be written: the two tracks' are put in order of time, and cut into Clusters.

use std::time::{Duration, Instant};

use super::super::cluster::{Block, MAX_SPAN_MS};

/// A frame leaves at the latest this long after its first packet came.
pub(super) const SHIP_AFTER: Duration = Duration::from_millis(1500);
/// More bytes leave at once.
const MAX_BYTES: usize = 4 << 20;
/// A key frame begins a new Cluster when the one before has this much by then, in milliseconds.
const LEAST_BEFORE_KEY_MS: u64 = 700;

/// Frames in a Cluster to be.
#[derive(Debug)]
pub(super) struct Batch {
    /// In order of time, at most [`MAX_SPAN_MS`] long, never empty.
    pub(super) blocks: Vec<Block>,
    /// End of the last frame.
    pub(super) end_ms: u64,
}

#[derive(Debug)]
struct Waiting {
    block: Block,
    end_ms: u64,
    received: Instant,
}

/// The frames that wait, at most 4 MiB and one frame.
#[derive(Debug, Default)]
pub(super) struct Pending {
    frames: Vec<Waiting>,
    bytes: usize,
    /// When the oldest came.
    oldest: Option<Instant>,
    /// Time of the earliest.
    first_ms: u64,
    /// The time of a key frame that a new Cluster is to begin with.
    key_ms: Option<u64>,
}

impl Pending {
    pub(super) fn push(&mut self, block: Block, end_ms: u64, received: Instant) {
        self.first_ms = if self.frames.is_empty() {
            block.time_ms
        } else {
            self.first_ms.min(block.time_ms)
        };
        self.oldest = Some(self.oldest.map_or(received, |oldest| oldest.min(received)));
        let begins_cluster = block.key && block.track == crate::parameters::MediaKind::Video;
        if begins_cluster && self.key_ms.is_none() && block.time_ms >= self.first_ms + LEAST_BEFORE_KEY_MS {
            self.key_ms = Some(block.time_ms);
        }
        self.bytes += block.data.len();
        self.frames.push(Waiting {
            block,
            end_ms,
            received,
        });
    }

    /// When [`due`](Self::due) will say so without another frame.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.oldest.map(|oldest| oldest + SHIP_AFTER)
    }

    /// The time before which frames are to leave now. `complete_until`: both tracks have come that far.
    pub(super) fn due(&self, now: Instant, complete_until: u64) -> Option<u64> {
        let oldest = self.oldest?;
        if self.bytes > MAX_BYTES {
            return Some(u64::MAX);
        }
        if let Some(key_ms) = self.key_ms.filter(|key_ms| *key_ms <= complete_until) {
            return Some(key_ms);
        }
        if now < oldest + SHIP_AFTER {
            return None;
        }
        // What one track has beyond the other waits for it, unless that keeps the oldest frame.
        let boundary = complete_until.saturating_add(1);
        let leaves = self
            .frames
            .iter()
            .any(|waiting| waiting.received == oldest && waiting.block.time_ms < boundary);
        Some(if leaves { boundary } else { u64::MAX })
    }

    /// Takes the frames before `boundary` out, as Clusters.
    pub(super) fn take(&mut self, boundary: u64) -> Vec<Batch> {
        let (mut leaving, staying): (Vec<Waiting>, Vec<Waiting>) = std::mem::take(&mut self.frames)
            .into_iter()
            .partition(|waiting| waiting.block.time_ms < boundary);
        self.frames = staying;
        self.bytes = self.frames.iter().map(|waiting| waiting.block.data.len()).sum();
        self.oldest = self.frames.iter().map(|waiting| waiting.received).min();
        self.first_ms = self
            .frames
            .iter()
            .map(|waiting| waiting.block.time_ms)
            .min()
            .unwrap_or(0);
        self.key_ms = None;
        // Stable: frames of one track stay in their order.
        leaving.sort_by_key(|waiting| waiting.block.time_ms);
        batches(leaving)
    }
}

/// Cuts frames that are in order where their span would exceed a Cluster's.
fn batches(frames: Vec<Waiting>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for Waiting { block, end_ms, .. } in frames {
        let fits = |batch: &Batch| {
            batch
                .blocks
                .first()
                .is_some_and(|first| block.time_ms - first.time_ms <= MAX_SPAN_MS)
        };
        match batches.last_mut().filter(|batch| fits(batch)) {
            Some(batch) => {
                batch.end_ms = batch.end_ms.max(end_ms);
                batch.blocks.push(block);
            }
            None => batches.push(Batch {
                blocks: vec![block],
                end_ms,
            }),
        }
    }
    batches
}
