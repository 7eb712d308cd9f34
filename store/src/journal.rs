//! Writes that a running call must not wait for: queued in memory, applied in order by one task, retried while the
//! database is away.
//!
//! What waits is lost with the process: after a crash [`Store::close_orphans`] ends the calls, and the recorder's spool
//! knows its segments itself.

mod apply;
mod entry;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, SpanKind};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

pub use self::entry::{CallStarted, JournalEntry, ParticipantJoined, RecordingStarted};
use crate::trace::{self, Told};
use crate::{Store, StoreError};

/// How often an entry is tried that fails alone for a reason that nobody knows.
const MAX_TRIES: u32 = 5;

/// Limits of a [`Journal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// Most entries that wait; beyond it entries are refused. Default 100,000.
    pub max_entries: usize,
    /// Most entries of one transaction. Default 512.
    pub max_batch: usize,
    /// First pause after a failure, doubled up to `max_backoff`. Default 100 ms.
    pub min_backoff: Duration,
    /// Longest pause between two tries. Default 5 s.
    pub max_backoff: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            max_entries: 100_000,
            max_batch: 512,
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
        }
    }
}

/// Why an entry was refused; it is lost, and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// As many entries wait as may.
    #[error("the journal is full: {max_entries} entries wait for the database")]
    Full {
        /// How many may wait.
        max_entries: usize,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

/// Not everything was applied in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{left} entries still wait for the database")]
pub struct FlushError {
    /// How many wait.
    pub left: usize,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalStats {
    /// Entries that wait.
    pub depth: usize,
    /// Entries written.
    pub applied: u64,
    /// Entries refused at the bound or after the end.
    pub refused: u64,
    /// Entries that the database will never take: logged and left out.
    pub skipped: u64,
    /// Whether the last try found the database away.
    pub away: bool,
}

/// The queue of writes. Clones share it.
#[derive(Debug, Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

/// What all clones share; the task does not, so that it notices when they are gone.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    settled: watch::Receiver<u64>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    max_entries: usize,
    queue: Mutex<Queue>,
    appended: Notify,
    applied: AtomicU64,
    refused: AtomicU64,
    skipped: AtomicU64,
    away: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<JournalEntry>,
    /// Of each entry, the trace that it is part of.
    traces: VecDeque<Option<Traced>>,
    /// Entries ever appended.
    total: u64,
    /// Entries ever applied or skipped.
    settled: u64,
    closed: bool,
}

/// The trace that an entry is part of.
#[derive(Debug)]
struct Traced {
    parent: SpanContext,
    appended: SystemTime,
}

impl Traced {
    fn now() -> Option<Self> {
        Some(Self {
            parent: trace::current()?,
            appended: SystemTime::now(),
        })
    }

    /// Tells that an entry was written, or was left out.
    fn tell(self, kind: &'static str, batch: usize, error: Option<&str>) {
        let told = Told {
            name: "journal.write".to_owned(),
            kind: SpanKind::Internal,
            began: self.appended,
            attributes: vec![
                KeyValue::new("caside.journal.entry", kind),
                KeyValue::new("db.operation.batch.size", i64::try_from(batch).unwrap_or(i64::MAX)),
            ],
            error,
        };
        trace::tell(self.parent, told);
    }
}

impl Queue {
    fn depth(&self) -> usize {
        usize::try_from(self.total - self.settled).unwrap_or(usize::MAX)
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing under the lock can stop half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    /// Starts the task that applies entries to `store`. It ends after [`Journal::close`], or when the last clone is
    /// dropped and everything is applied.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(store: Store, options: JournalOptions) -> Self {
        let shared = Arc::new(Shared {
            max_entries: options.max_entries,
            queue: Mutex::default(),
            appended: Notify::new(),
            applied: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            away: AtomicBool::new(false),
        });
        let (settle, settled) = watch::channel(0);
        let writer = Writer {
            store,
            options,
            shared: Arc::clone(&shared),
            settle,
            batch: VecDeque::new(),
            traces: VecDeque::new(),
            batch_size: options.max_batch.max(1),
            backoff: options.min_backoff,
            tries: 0,
        };
        let task = tokio::spawn(writer.run()).abort_handle();
        Self {
            handle: Arc::new(Handle { shared, settled, task }),
        }
    }

    /// Queues an entry behind those before it. Never waits.
    ///
    /// # Errors
    /// [`AppendError::Full`] when `max_entries` wait, [`AppendError::Closed`] after [`Journal::close`].
    pub fn append(&self, entry: JournalEntry) -> Result<(), AppendError> {
        let traced = Traced::now();
        let shared = &self.handle.shared;
        let mut queue = shared.queue();
        let refusal = if queue.closed {
            Some(AppendError::Closed)
        } else if queue.depth() >= shared.max_entries {
            Some(AppendError::Full {
                max_entries: shared.max_entries,
            })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return Err(refusal);
        }
        queue.total += 1;
        queue.entries.push_back(entry);
        queue.traces.push_back(traced);
        drop(queue);
        shared.appended.notify_one();
        Ok(())
    }

    /// Entries that wait, those being written now included.
    pub fn depth(&self) -> usize {
        self.handle.shared.queue().depth()
    }

    /// Counts since the start.
    pub fn stats(&self) -> JournalStats {
        let shared = &self.handle.shared;
        JournalStats {
            depth: self.depth(),
            applied: shared.applied.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            skipped: shared.skipped.load(Ordering::Relaxed),
            away: shared.away.load(Ordering::Relaxed),
        }
    }

    /// Waits until every entry appended before is applied.
    ///
    /// # Errors
    /// [`FlushError`] after `timeout`.
    pub async fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        let target = self.handle.shared.queue().total;
        let mut settled = self.handle.settled.clone();
        match tokio::time::timeout(timeout, settled.wait_for(|settled| *settled >= target)).await {
            Ok(Ok(_)) => Ok(()),
            // Too late, or the task was stopped.
            Err(_) | Ok(Err(_)) => Err(FlushError { left: self.depth() }),
        }
    }

    /// Refuses further entries, waits for those that are queued, and ends the task.
    ///
    /// # Errors
    /// [`FlushError`] after `timeout`: what is left is lost.
    pub async fn close(&self, timeout: Duration) -> Result<(), FlushError> {
        self.handle.end();
        let flushed = self.flush(timeout).await;
        self.handle.task.abort();
        flushed
    }
}

impl Handle {
    fn end(&self) {
        self.shared.queue().closed = true;
        self.shared.appended.notify_one();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

/// The task: takes entries from the queue and applies them.
struct Writer {
    store: Store,
    options: JournalOptions,
    shared: Arc<Shared>,
    settle: watch::Sender<u64>,
    /// Taken from the queue, not yet settled.
    batch: VecDeque<JournalEntry>,
    /// Of each entry in the batch.
    traces: VecDeque<Option<Traced>>,
    /// Entries of the next transaction: halved when one of them fails, so that the culprit is soon alone; doubled
    /// after a success.
    batch_size: usize,
    backoff: Duration,
    /// Failures of the first entry alone.
    tries: u32,
}

impl Writer {
    async fn run(mut self) {
        while self.fill().await {
            let size = self.batch_size.min(self.batch.len());
            let entries = &self.batch.make_contiguous()[..size];
            match self.store.apply(entries).await {
                Ok(()) => self.applied(size),
                Err(error) => self.failed(size, &error).await,
            }
        }
    }

    /// Waits for entries to apply; `false` at the end.
    async fn fill(&mut self) -> bool {
        loop {
            {
                let mut queue = self.shared.queue();
                let wanted = self.options.max_batch.max(1).saturating_sub(self.batch.len());
                let wanted = wanted.min(queue.entries.len());
                self.batch.extend(queue.entries.drain(..wanted));
                self.traces.extend(queue.traces.drain(..wanted));
                if queue.entries.is_empty() {
                    // Gives back what an outage took.
                    queue.entries.shrink_to(1_024);
                    queue.traces.shrink_to(1_024);
                }
                if !self.batch.is_empty() {
                    return true;
                }
                if queue.closed {
                    return false;
                }
            }
            self.shared.appended.notified().await;
        }
    }

    fn applied(&mut self, size: usize) {
        if self.shared.away.swap(false, Ordering::Relaxed) {
            let depth = self.shared.queue().depth();
            tracing::info!(
                journal.depth = depth,
                "the database answers again; the journal catches up"
            );
        }
        self.shared.applied.fetch_add(size as u64, Ordering::Relaxed);
        self.settle(size, None);
        self.batch_size = (self.batch_size * 2).min(self.options.max_batch.max(1));
    }

    fn settle(&mut self, size: usize, error: Option<&str>) {
        for (entry, traced) in self.batch.drain(..size).zip(self.traces.drain(..size)) {
            if let Some(traced) = traced {
                traced.tell(entry.kind(), size, error);
            }
        }
        self.tries = 0;
        self.backoff = self.options.min_backoff;
        let settled = {
            let mut queue = self.shared.queue();
            queue.settled += size as u64;
            queue.settled
        };
        self.settle.send_replace(settled);
    }

    async fn failed(&mut self, size: usize, error: &StoreError) {
        let unavailable = error.is_unavailable();
        if unavailable && !self.shared.away.swap(true, Ordering::Relaxed) {
            let depth = self.shared.queue().depth();
            tracing::warn!(journal.depth = depth, error = %chain(error), "the database is away; writes wait in the journal");
        }
        if size > 1 {
            // A batch that takes longer than a query may would never get through whole.
            self.batch_size = size / 2;
            if !unavailable {
                return;
            }
        } else if !unavailable {
            self.tries += 1;
            if error.is_final() || self.tries >= MAX_TRIES {
                self.skip(error);
                return;
            }
        }
        tokio::time::sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(self.options.max_backoff);
    }

    /// Leaves out the first entry.
    fn skip(&mut self, error: &StoreError) {
        if let Some(entry) = self.batch.front() {
            tracing::error!(
                journal.entry = entry.kind(),
                journal.subject = entry.subject(),
                error = %chain(error),
                "the database refuses a write of the journal; it is left out"
            );
        }
        self.shared.skipped.fetch_add(1, Ordering::Relaxed);
        self.settle(1, Some("refused"));
    }
}

/// An error with its causes in one line.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
