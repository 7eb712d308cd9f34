//! Copies of segments to a remote object store while the call runs, so that they survive the loss of the machine.

use std::time::Duration;

use bytes::Bytes;
use caside_store::recordings::{SegmentPlace, StoredSegment};
use caside_store::{Journal, JournalEntry, ObjectStore, Spool};
use tokio::sync::mpsc;

/// Segments that may wait to be shipped; those beyond it stay in the spool alone, from where the file is finished all the same.
const QUEUE: usize = 65_536;
/// Tries pause this long after a failure, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What one try may take.
const TRY_LIMIT: Duration = Duration::from_secs(60);

/// The way to the task that ships.
#[derive(Debug, Clone)]
pub(super) struct Shipping {
    queue: Option<mpsc::Sender<StoredSegment>>,
}

impl Shipping {
    /// Starts shipping when `objects` is on another machine; with local files the spool is as safe as they are.
    pub(super) fn start(spool: Spool, objects: ObjectStore, journal: Journal) -> Self {
        if !objects.is_remote() {
            return Self { queue: None };
        }
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(run(waiting, spool, objects, journal));
        Self { queue: Some(queue) }
    }

    /// Whether segments are copied at all.
    pub(super) fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Queues a segment.
    pub(super) fn ship(&self, segment: StoredSegment) {
        if let Some(queue) = &self.queue
            && queue.try_send(segment).is_err()
        {
            tracing::warn!("too many segments wait for the object store; one stays in the spool alone");
        }
    }
}

/// Ships in order until nobody queues any more; an object store that is away is waited for.
async fn run(mut waiting: mpsc::Receiver<StoredSegment>, spool: Spool, objects: ObjectStore, journal: Journal) {
    while let Some(segment) = waiting.recv().await {
        let mut pause = FIRST_PAUSE;
        loop {
            // A segment that is gone was finished in the meantime.
            let Ok((stored, bytes)) = spool.read(segment.id).await else {
                break;
            };
            match put(&objects, &stored, bytes).await {
                // Its file was finished while it was on its way: nobody needs the copy.
                Ok(()) if spool.read(segment.id).await.is_err() => {
                    if let Err(error) = objects.delete(&segment.id.object_key()).await {
                        tracing::warn!(%error, "a segment stays in the object store");
                    }
                    break;
                }
                Ok(()) => {
                    let shipped = StoredSegment {
                        place: SegmentPlace::Object,
                        ..stored
                    };
                    if let Err(error) = journal.append(JournalEntry::SegmentAdded(shipped)) {
                        tracing::warn!(%error, "a shipped segment is not listed");
                    }
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, retry_ms = pause.as_millis() as u64, "the object store does not take a segment");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

async fn put(objects: &ObjectStore, segment: &StoredSegment, bytes: Bytes) -> Result<(), String> {
    let key = segment.id.object_key();
    match tokio::time::timeout(TRY_LIMIT, objects.put(&key, "video/x-matroska", bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {TRY_LIMIT:?}")),
    }
}
