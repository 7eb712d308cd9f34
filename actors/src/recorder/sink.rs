//! From the media worker's thread to a group's task: a bounded queue that never blocks the worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use caside_media::control::{TapItem, TapSink};
use caside_media::parameters::{Codec, MediaKind};
use caside_protocol::TrackId;
use tokio::sync::mpsc;

use super::report::Tally;
use crate::sfu::SfuHandle;

/// Items that may wait for a group's task: several seconds of video.
pub(super) const QUEUE: usize = 4096;

/// What a group's task is told.
#[derive(Debug)]
pub(super) enum GroupItem {
    /// A track begins, or begins anew, with these codecs.
    Track(GroupTrack),
    /// Observed by a tap.
    Media { kind: MediaKind, item: TapItem },
}

/// A track of a group.
#[derive(Debug, Clone)]
pub(super) struct GroupTrack {
    pub(super) kind: MediaKind,
    pub(super) track: TrackId,
    pub(super) codecs: Vec<Codec>,
    /// What its frames are encrypted with end to end, if they are.
    pub(super) encryption: Option<String>,
    /// Who forwards it, and can ask its publisher for a key frame.
    pub(super) sfu: SfuHandle,
}

/// A tap's end of the queue.
#[derive(Debug)]
pub(super) struct GroupSink {
    pub(super) kind: MediaKind,
    pub(super) queue: mpsc::Sender<GroupItem>,
    pub(super) dropped: Arc<AtomicU64>,
    /// Of all recordings.
    pub(super) tally: Arc<Tally>,
}

impl TapSink for GroupSink {
    fn push(&mut self, item: TapItem) -> bool {
        let taken = self.queue.try_send(GroupItem::Media { kind: self.kind, item }).is_ok();
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.tally.dropped();
        }
        taken
    }
}
