//! Copies of segments to a remote object store while the call runs, so that they survive the loss of the machine.
//!
//! A segment that is not taken waits for another try while those behind it go on; only when nothing is taken any more does
//! everything wait.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caside_protocol::RecordingId;
use caside_store::objects::ObjectError;
use caside_store::recordings::{SegmentId, SegmentPlace, StoredSegment};
use caside_store::spool::SpoolError;
use caside_store::{Journal, JournalEntry, ObjectStore, Spool};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::report::{ShippingReport, Tally};

/// Segments that may wait to be shipped; those beyond it stay in the spool alone, from where the file is finished all the same.
const QUEUE: usize = 65_536;
/// Orders on their way to the task, which takes them at once.
const ORDERS: usize = 4_096;
/// Segments that are shipped at one time.
const LANES: usize = 8;
/// Pauses after failures, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Of everything, while nothing is taken.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Of one segment.
const LONGEST_RETRY: Duration = Duration::from_secs(10 * 60);
/// What one try may take.
const TRY_LIMIT: Duration = Duration::from_secs(60);
/// How long whoever finishes a recording waits for copies that are on their way.
const FORGET_LIMIT: Duration = Duration::from_secs(90);
/// How long somebody who wants numbers waits for them.
const REPORT_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug)]
enum Order {
    Ship(SegmentId),
    /// Ship no more of a recording, and say when nothing of it is on its way.
    Forget(RecordingId, oneshot::Sender<()>),
    Report(oneshot::Sender<ShippingReport>),
}

/// The way to the task that ships.
#[derive(Debug, Clone)]
pub(super) struct Shipping {
    orders: Option<mpsc::Sender<Order>>,
    tally: Arc<Tally>,
}

impl Shipping {
    /// Starts shipping when `objects` is on another machine; with local files the spool is as safe as they are.
    pub(super) fn start(spool: Spool, objects: ObjectStore, journal: Journal, tally: Arc<Tally>) -> Self {
        if !objects.is_remote() {
            return Self { orders: None, tally };
        }
        let (orders, waiting) = mpsc::channel(ORDERS);
        let shipper = Shipper {
            spool,
            objects,
            journal,
            parcels: VecDeque::new(),
            retries: BTreeMap::new(),
            flying: JoinSet::new(),
            ids: HashMap::new(),
            forgetting: HashMap::new(),
            refused: 0,
            calm_until: Instant::now(),
            calm: FIRST_PAUSE,
            next_retry: 0,
            counted: ShippingReport::default(),
            tally: tally.clone(),
        };
        tokio::spawn(shipper.run(waiting));
        Self {
            orders: Some(orders),
            tally,
        }
    }

    /// Whether segments are copied at all.
    pub(super) fn is_on(&self) -> bool {
        self.orders.is_some()
    }

    /// Queues a segment.
    pub(super) fn ship(&self, segment: SegmentId) {
        if let Some(orders) = &self.orders
            && orders.try_send(Order::Ship(segment)).is_err()
        {
            self.tally.left_out();
            tracing::warn!("too many segments wait for the object store; one stays in the spool alone");
        }
    }

    /// What is shipped, in numbers; `None` when nothing is.
    pub(super) async fn report(&self) -> Option<ShippingReport> {
        let (tell, told) = oneshot::channel();
        self.orders.as_ref()?.try_send(Order::Report(tell)).ok()?;
        tokio::time::timeout(REPORT_LIMIT, told).await.ok()?.ok()
    }

    /// Ships no more of a recording; when this returns, nothing of it is on its way.
    pub(super) async fn forget(&self, recording: RecordingId) {
        let Some(orders) = &self.orders else { return };
        let (done, forgotten) = oneshot::channel();
        let asked = async {
            if orders.send(Order::Forget(recording, done)).await.is_ok() && forgotten.await.is_err() {
                tracing::debug!(recording.id = %recording, "the shipping of segments has ended");
            }
        };
        if tokio::time::timeout(FORGET_LIMIT, asked).await.is_err() {
            tracing::warn!(recording.id = %recording, "a copy of a segment is still on its way");
        }
    }
}

/// A segment that waits.
#[derive(Debug, Clone, Copy)]
struct Parcel {
    id: SegmentId,
    /// Failures so far.
    tries: u32,
    /// When it was queued.
    since: Instant,
}

/// What came of a try.
#[derive(Debug)]
enum Tried {
    /// It is there, with so many bytes.
    Shipped(u64),
    /// Nobody needs it.
    Settled,
    Again(String),
}

struct Shipper {
    spool: Spool,
    objects: ObjectStore,
    journal: Journal,
    /// In order.
    parcels: VecDeque<Parcel>,
    /// By when they are due.
    retries: BTreeMap<(Instant, u64), Parcel>,
    flying: JoinSet<(Parcel, Tried)>,
    /// What is flying.
    ids: HashMap<Id, Parcel>,
    forgetting: HashMap<RecordingId, Vec<oneshot::Sender<()>>>,
    /// Failures since something was taken.
    refused: usize,
    /// Nothing is tried before.
    calm_until: Instant,
    /// The next pause of everything.
    calm: Duration,
    next_retry: u64,
    /// What happened so far.
    counted: ShippingReport,
    tally: Arc<Tally>,
}

impl Shipper {
    /// Ships until nobody is there to queue any more.
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            self.launch();
            let due = self.next_due();
            tokio::select! {
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::Ship(id)) => self.queue(Parcel {
                        id,
                        tries: 0,
                        since: Instant::now(),
                    }),
                    Some(Order::Forget(recording, done)) => self.forget(recording, done),
                    // Whoever asked may have gone.
                    Some(Order::Report(tell)) => drop(tell.send(self.report())),
                },
                Some(landed) = self.flying.join_next_with_id() => self.landed(landed),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn queue(&mut self, parcel: Parcel) {
        if self.parcels.len() + self.retries.len() >= QUEUE {
            self.tally.left_out();
            tracing::warn!("too many segments wait for the object store; one stays in the spool alone");
            return;
        }
        self.parcels.push_back(parcel);
    }

    fn report(&self) -> ShippingReport {
        let waiting = self
            .parcels
            .iter()
            .chain(self.retries.values())
            .chain(self.ids.values());
        let oldest = waiting.map(|parcel| parcel.since).min();
        ShippingReport {
            waiting: self.parcels.len() + self.retries.len() + self.ids.len(),
            oldest: oldest.map(|since| since.elapsed()).unwrap_or_default(),
            ..self.counted
        }
    }

    /// When there is something to do without an order; `None` while lanes are full or nothing waits.
    fn next_due(&self) -> Option<Instant> {
        if self.flying.len() >= LANES {
            return None;
        }
        let retry = self.retries.keys().next().map(|(at, _)| *at);
        let first = match self.parcels.is_empty() {
            true => retry?,
            false => self.calm_until,
        };
        Some(first.max(self.calm_until))
    }

    fn launch(&mut self) {
        let now = Instant::now();
        while now >= self.calm_until && self.flying.len() < LANES {
            let due = self.retries.first_entry().filter(|retry| retry.key().0 <= now);
            let Some(parcel) = due.map(|retry| retry.remove()).or_else(|| self.parcels.pop_front()) else {
                return;
            };
            let (spool, objects, journal) = (self.spool.clone(), self.objects.clone(), self.journal.clone());
            let task = self
                .flying
                .spawn(async move { (parcel, ship(parcel.id, &spool, &objects, &journal).await) });
            self.ids.insert(task.id(), parcel);
        }
    }

    fn landed(&mut self, landed: Result<(Id, (Parcel, Tried)), JoinError>) {
        let (id, tried) = match landed {
            Ok((id, (_, tried))) => (id, tried),
            Err(error) => (error.id(), Tried::Again(error.to_string())),
        };
        let Some(parcel) = self.ids.remove(&id) else { return };
        if let Tried::Shipped(bytes) = tried {
            self.counted.shipped += 1;
            self.counted.shipped_bytes += bytes;
        }
        match tried {
            Tried::Shipped(_) | Tried::Settled => {
                self.refused = 0;
                self.calm = FIRST_PAUSE;
                self.calm_until = Instant::now();
            }
            Tried::Again(why) => self.again(parcel, &why),
        }
        self.tell_forgotten(parcel.id.recording);
    }

    fn again(&mut self, parcel: Parcel, why: &str) {
        let now = Instant::now();
        self.counted.failures += 1;
        self.refused += 1;
        if self.refused >= LANES {
            self.refused = 0;
            self.calm_until = now + self.calm;
            self.calm = (self.calm * 2).min(LONGEST_PAUSE);
        }
        let retry = FIRST_PAUSE.saturating_mul(1 << parcel.tries.min(16)).min(LONGEST_RETRY);
        let segment = parcel.id.object_key();
        tracing::warn!(
            segment,
            why,
            retry_ms = retry.as_millis() as u64,
            "the object store does not take a segment"
        );
        if self.forgetting.contains_key(&parcel.id.recording) {
            return;
        }
        let tries = parcel.tries.saturating_add(1);
        self.next_retry += 1;
        self.retries
            .insert((now + retry, self.next_retry), Parcel { tries, ..parcel });
    }

    fn forget(&mut self, recording: RecordingId, done: oneshot::Sender<()>) {
        self.parcels.retain(|parcel| parcel.id.recording != recording);
        self.retries.retain(|_, parcel| parcel.id.recording != recording);
        self.forgetting.entry(recording).or_default().push(done);
        self.tell_forgotten(recording);
    }

    fn tell_forgotten(&mut self, recording: RecordingId) {
        if self.ids.values().any(|parcel| parcel.id.recording == recording) {
            return;
        }
        for done in self.forgetting.remove(&recording).into_iter().flatten() {
            if done.send(()).is_err() {
                tracing::debug!(recording.id = %recording, "nobody waits for a recording's shipping to end");
            }
        }
    }
}

async fn ship(id: SegmentId, spool: &Spool, objects: &ObjectStore, journal: &Journal) -> Tried {
    let (stored, bytes) = match spool.read(id).await {
        Ok(read) => read,
        // Its recording is finished.
        Err(SpoolError::Missing(_)) => return Tried::Settled,
        Err(SpoolError::Damaged { reason, .. }) => {
            tracing::error!(
                segment = id.object_key(),
                reason,
                "a segment is damaged and not shipped"
            );
            return Tried::Settled;
        }
        Err(error) => return Tried::Again(error.to_string()),
    };
    let size = bytes.len() as u64;
    if let Err(why) = put(objects, id, bytes).await {
        return Tried::Again(why);
    }
    let shipped = StoredSegment {
        place: SegmentPlace::Object,
        ..stored
    };
    if let Err(error) = journal.append(JournalEntry::SegmentAdded(shipped)) {
        tracing::warn!(%error, "a shipped segment is not listed");
    }
    Tried::Shipped(size)
}

async fn put(objects: &ObjectStore, id: SegmentId, bytes: Bytes) -> Result<(), String> {
    let key = id.object_key();
    match tokio::time::timeout(TRY_LIMIT, objects.put(&key, "video/x-matroska", bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ ObjectError::Io { .. })) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Err(format!("{error}: {}", cause.unwrap_or_default()))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {TRY_LIMIT:?}")),
    }
}
