//! What is left over of a recording whose files are listed.

use std::collections::BTreeSet;
use std::sync::Arc;

use caside_protocol::RecordingId;
use caside_store::JournalEntry;
use caside_store::objects::{MAX_LIST, ObjectError};
use caside_store::recordings::SegmentId;
use futures_util::{TryStreamExt, stream};

use super::{FinalizeError, Finished, Patience};
use crate::recorder::recordings::Keeping;

/// Objects that are deleted at one time.
const DELETIONS: usize = 16;
/// Segments that one entry of the journal forgets: more would take longer than a query may.
const FORGOTTEN_AT_ONCE: usize = 1_000;

impl Keeping {
    /// Removes the segments of a finished recording that are in its files. The spool's copy goes last, so that the next
    /// start finds and removes what a crash leaves.
    pub(in crate::recorder) async fn clean(self: &Arc<Self>, recording: RecordingId, finished: &Finished) {
        let mut patience = Patience::new(recording).silent();
        while let Err(error) = self.try_clean(recording, finished).await {
            patience.wait(&self.journal, &error).await;
        }
    }

    async fn try_clean(&self, recording: RecordingId, finished: &Finished) -> Result<(), FinalizeError> {
        let left = self.spool.outline(recording);
        let kept: BTreeSet<SegmentId> = left
            .iter()
            .map(|extent| extent.id)
            .filter(|id| !finished.used.contains(id))
            .collect();
        if self.shipping.is_on() {
            match self.delete_copies(recording, &kept).await {
                Err(error) if !error.is_unavailable() => {
                    // The rows stay: deleting the recording deletes what they name.
                    tracing::error!(recording.id = %recording, %error, "segments stay in the object store");
                }
                Err(error) => return Err(error.into()),
                Ok(()) => self.forget(&finished.used).await?,
            }
        } else {
            self.forget(&finished.used).await?;
        }
        if kept.is_empty() {
            self.spool.remove_recording(recording).await?;
            return Ok(());
        }
        for id in left.iter().map(|extent| extent.id).filter(|id| !kept.contains(id)) {
            self.spool.remove(id).await?;
        }
        Ok(())
    }

    /// Removes what the spool has of a recording that was deleted, and the copies.
    pub(in crate::recorder) async fn clean_deleted(self: &Arc<Self>, recording: RecordingId) {
        let nothing: BTreeSet<SegmentId> = BTreeSet::new();
        let mut patience = Patience::new(recording).silent();
        loop {
            let done = async {
                if self.shipping.is_on() {
                    match self.delete_copies(recording, &nothing).await {
                        Err(error) if error.is_unavailable() => return Err(error.into()),
                        Err(error) => {
                            tracing::error!(recording.id = %recording, %error, "segments stay in the object store")
                        }
                        Ok(()) => {}
                    }
                }
                Ok(self.spool.remove_recording(recording).await?)
            };
            match done.await {
                Ok(()) => return,
                Err(error) => patience.wait(&self.journal, &error).await,
            }
        }
    }

    async fn forget(&self, segments: &BTreeSet<SegmentId>) -> Result<(), FinalizeError> {
        let all: Vec<SegmentId> = segments.iter().copied().collect();
        for some in all.chunks(FORGOTTEN_AT_ONCE) {
            self.append(JournalEntry::SegmentsRemoved {
                segments: some.to_vec(),
            })?;
        }
        self.flush().await
    }

    /// Deletes the copies of segments that are in the object store, whether or not they are listed, but for those of `kept`.
    async fn delete_copies(&self, recording: RecordingId, kept: &BTreeSet<SegmentId>) -> Result<(), ObjectError> {
        let prefix = format!("recordings/{recording}/");
        let kept: BTreeSet<String> = kept.iter().map(SegmentId::object_key).collect();
        let mut after: Option<String> = None;
        loop {
            let found = self.objects.list(&prefix, after.as_deref(), MAX_LIST).await?;
            let Some(last) = found.last() else { return Ok(()) };
            after = Some(last.key.clone());
            // Files lie directly below the recording, segments deeper.
            let is_segment = |key: &str| key.strip_prefix(&prefix).is_some_and(|rest| rest.contains('/'));
            let copies = found
                .into_iter()
                .map(|object| object.key)
                .filter(|key| is_segment(key) && !kept.contains(key));
            stream::iter(copies.map(Ok))
                .try_for_each_concurrent(DELETIONS, async |key| self.objects.delete(&key).await)
                .await?;
        }
    }
}
