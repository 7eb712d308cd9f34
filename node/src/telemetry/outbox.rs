//! What waits to be sent to a collector. Bounded: when the collector is slow or away, what does not fit is dropped and counted, and
//! nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_sdk::error::OTelSdkResult;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::settings::Batch;

/// What became of the items of one signal.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// Taken by the collector.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Lost at the queue's bound.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Lost because the collector did not take them.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Counts what was sent, or was not.
    pub(crate) fn settle(&self, count: u64, is_sent: bool) {
        let counter = if is_sent { &self.sent } else { &self.failed };
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// The way in.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    items: mpsc::Sender<T>,
    counts: Arc<Counts>,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
            counts: self.counts.clone(),
        }
    }
}

impl<T> Outbox<T> {
    /// A queue, and the end from which it is sent.
    pub(crate) fn new(batch: Batch, counts: Arc<Counts>) -> (Self, Waiting<T>) {
        let (items, waiting) = mpsc::channel(batch.max_queue);
        let outbox = Self {
            items,
            counts: counts.clone(),
        };
        let waiting = Waiting {
            items: waiting,
            batch,
            counts,
        };
        (outbox, waiting)
    }

    /// Puts an item in, or drops it.
    pub(crate) fn push(&self, item: T) {
        if self.items.try_send(item).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What waits, until somebody sends it.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    items: mpsc::Receiver<T>,
    batch: Batch,
    counts: Arc<Counts>,
}

/// Asks for all that waits to be sent now.
pub(crate) type Flush = mpsc::Sender<oneshot::Sender<()>>;

#[cfg(test)]
impl<T> Waiting<T> {
    /// Takes one that waits.
    pub(crate) fn try_take(&mut self) -> Result<T, mpsc::error::TryRecvError> {
        self.items.try_recv()
    }
}

impl<T: Send + 'static> Waiting<T> {
    /// Sends what comes, batch by batch, until every way in is gone. `signal` is for people.
    pub(crate) fn send<E, F>(self, signal: &'static str, export: E) -> Flush
    where
        E: Fn(Vec<T>) -> F + Send + Sync + 'static,
        F: Future<Output = OTelSdkResult> + Send + 'static,
    {
        let (flush, asked) = mpsc::channel(1);
        tokio::spawn(self.run(signal, export, asked));
        flush
    }

    async fn run<E, F>(mut self, signal: &'static str, export: E, mut asked: mpsc::Receiver<oneshot::Sender<()>>)
    where
        E: Fn(Vec<T>) -> F + Send + Sync,
        F: Future<Output = OTelSdkResult> + Send + 'static,
    {
        let mut gathered: Vec<T> = Vec::new();
        let mut due: Option<Instant> = None;
        let mut is_away = false;
        loop {
            let room = self.batch.max_batch.saturating_sub(gathered.len());
            let later = due.unwrap_or_else(|| Instant::now() + self.batch.delay);
            let mut flushed = None;
            let is_over = tokio::select! {
                came = self.items.recv_many(&mut gathered, room), if room > 0 => {
                    due.get_or_insert_with(|| Instant::now() + self.batch.delay);
                    came == 0
                }
                () = sleep_until(later), if due.is_some() => false,
                Some(done) = asked.recv() => {
                    flushed = Some(done);
                    false
                }
            };
            let is_due = due.is_some_and(|due| due <= Instant::now());
            let is_full = gathered.len() >= self.batch.max_batch;
            if is_due || is_full || is_over || flushed.is_some() {
                due = None;
                self.export(signal, &export, std::mem::take(&mut gathered), &mut is_away)
                    .await;
            }
            if let Some(done) = flushed {
                // What came meanwhile is not waited for beyond what was there.
                while let Ok(item) = self.items.try_recv() {
                    gathered.push(item);
                    if gathered.len() >= self.batch.max_batch {
                        self.export(signal, &export, std::mem::take(&mut gathered), &mut is_away)
                            .await;
                    }
                }
                self.export(signal, &export, std::mem::take(&mut gathered), &mut is_away)
                    .await;
                if done.send(()).is_err() {
                    tracing::debug!(signal, "nobody waits for a flush any more");
                }
            }
            if is_over {
                return;
            }
        }
    }

    async fn export<E, F>(&mut self, signal: &'static str, export: &E, items: Vec<T>, is_away: &mut bool)
    where
        E: Fn(Vec<T>) -> F,
        F: Future<Output = OTelSdkResult>,
    {
        if items.is_empty() {
            return;
        }
        let count = items.len() as u64;
        let error = match timeout(self.batch.timeout, export(items)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        self.counts.settle(count, error.is_none());
        super::note_collector(signal, error.as_deref(), is_away);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    fn batch() -> Batch {
        Batch {
            max_queue: 4,
            max_batch: 2,
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_never_answers_costs_what_does_not_fit_and_nothing_else() {
        let counts = Arc::new(Counts::default());
        let (outbox, waiting) = Outbox::new(batch(), counts.clone());
        let flush = waiting.send("test", |_: Vec<u32>| std::future::pending());
        for item in 0..100 {
            outbox.push(item);
        }
        assert_eq!(counts.dropped(), 96);
        let (done, is_done) = oneshot::channel();
        flush.send(done).await.unwrap();
        timeout(Duration::from_secs(10), is_done).await.unwrap().unwrap();
        assert_eq!((counts.sent(), counts.failed()), (0, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn items_wait_for_others_but_not_longer_than_they_may() {
        let counts = Arc::new(Counts::default());
        let (outbox, waiting) = Outbox::new(batch(), counts.clone());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let taken = sent.clone();
        let _flush = waiting.send("test", move |items: Vec<u32>| {
            taken.lock().unwrap().push(items);
            std::future::ready(Ok(()))
        });
        outbox.push(1);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(sent.lock().unwrap().is_empty());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(*sent.lock().unwrap(), [vec![1]]);
        for item in 2..=4 {
            outbox.push(item);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(*sent.lock().unwrap(), [vec![1], vec![2, 3]]);
        drop(outbox);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(*sent.lock().unwrap(), [vec![1], vec![2, 3], vec![4]]);
        assert_eq!(counts.sent(), 4);
    }
}
