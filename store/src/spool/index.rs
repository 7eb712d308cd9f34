//! What the spool holds, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caside_protocol::view::Source;
use caside_protocol::{ParticipantId, RecordingId};
use uuid::Uuid;

use super::{Inner, SpoolError};
use crate::recordings::{SegmentId, StoredSegment};

/// The segments and what they take.
#[derive(Debug)]
pub(super) struct Index {
    max_bytes: u64,
    used_bytes: u64,
    segments: BTreeMap<SegmentId, Entry>,
}

#[derive(Debug)]
struct Entry {
    file_bytes: u64,
    /// `None` while it is being written.
    segment: Option<StoredSegment>,
}

impl Index {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            used_bytes: 0,
            segments: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.segments.len() as u64
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Takes up a segment that was found.
    pub(super) fn insert(&mut self, segment: StoredSegment, file_bytes: u64) {
        self.used_bytes += file_bytes;
        let entry = Entry {
            file_bytes,
            segment: Some(segment.clone()),
        };
        self.segments.insert(segment.id, entry);
    }

    pub(super) fn remove(&mut self, id: SegmentId) {
        if let Some(entry) = self.segments.remove(&id) {
            self.used_bytes -= entry.file_bytes;
        }
    }

    pub(super) fn recordings(&self) -> Vec<RecordingId> {
        let ids: BTreeSet<_> = self.segments.keys().map(|id| id.recording).collect();
        ids.into_iter().collect()
    }

    pub(super) fn contains(&self, id: SegmentId) -> bool {
        self.segments.get(&id).is_some_and(|entry| entry.segment.is_some())
    }

    /// What `map` makes of each of a recording's segments, in the order of their ids.
    pub(super) fn map_segments<T>(&self, recording: RecordingId, map: impl Fn(&StoredSegment) -> T) -> Vec<T> {
        let first = SegmentId {
            recording,
            epoch: 0,
            participant: ParticipantId(Uuid::nil()),
            source: Source::Camera,
            n: 0,
        };
        self.segments
            .range(first..)
            .take_while(|(id, _)| id.recording == recording)
            .filter_map(|(_, entry)| entry.segment.as_ref().map(&map))
            .collect()
    }

    fn reserve(&mut self, id: SegmentId, file_bytes: u64) -> Result<(), SpoolError> {
        if self.segments.contains_key(&id) {
            return Err(SpoolError::Exists(id));
        }
        let used_bytes = self.used_bytes.saturating_add(file_bytes);
        if used_bytes > self.max_bytes {
            return Err(SpoolError::Full {
                used_bytes: self.used_bytes,
                max_bytes: self.max_bytes,
            });
        }
        self.used_bytes = used_bytes;
        let entry = Entry {
            file_bytes,
            segment: None,
        };
        self.segments.insert(id, entry);
        Ok(())
    }
}

/// Room for a segment that is being written; given back unless it is filled.
pub(super) struct Reservation {
    inner: Arc<Inner>,
    id: SegmentId,
    filled: bool,
}

impl Reservation {
    pub(super) fn new(inner: &Arc<Inner>, id: SegmentId, file_bytes: u64) -> Result<Self, SpoolError> {
        inner.index().reserve(id, file_bytes)?;
        Ok(Self {
            inner: Arc::clone(inner),
            id,
            filled: false,
        })
    }

    /// The segment is on disk.
    pub(super) fn fill(mut self, segment: StoredSegment) {
        self.filled = true;
        if let Some(entry) = self.inner.index().segments.get_mut(&self.id) {
            entry.segment = Some(segment);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.filled {
            self.inner.index().remove(self.id);
        }
    }
}
