//! All recordings of a node: starts them, finishes them, and takes up those that a crash left behind.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use caside_protocol::rest::RecordingState;
use caside_protocol::{NodeId, RecordingId};
use caside_store::journal::RecordingStarted;
use caside_store::recordings::StoredRecording;
use caside_store::{Journal, ObjectStore, Spool, Store, StoreError};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use ractor_cluster::RactorMessage;
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::actor::{self, RecorderArgs};
use super::finalize::{Ending, Outcome};
use super::group::{self, GroupOutcome};
use super::report::{RecordingsReport, Tally};
use super::shipping::Shipping;
use crate::observed::{Asked, Kind, Label, Observed, Seen, Vitals};
use crate::ports::{
    Later, RecorderEvent, RecorderEvents, RecorderFactory, RecorderHandle, RecorderJob, RecorderStartError,
};

/// How long the groups of a stopped recording may take to write what is left: what a slow disk has not taken by then is
/// lost.
const GROUPS_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Recordings whose files are made at one time.
const FINALIZERS: usize = 2;

/// What recordings are kept with.
#[derive(Clone)]
pub struct RecordingsArgs {
    /// This node.
    pub node: NodeId,
    /// Segments.
    pub spool: Spool,
    /// Files.
    pub objects: ObjectStore,
    /// Rows.
    pub journal: Journal,
    /// Rows that are read.
    pub store: Store,
    /// Name and version of the program, for the files.
    pub writing_app: String,
    /// Where recorders are listed.
    pub observed: Observed,
}

/// A recording's way to tell its room, kept by whoever may be the last to know.
pub(super) type SharedEvents = Arc<Mutex<RecorderEvents>>;

/// What recorders and finalizers share.
pub(super) struct Keeping {
    /// This node.
    pub(super) node: NodeId,
    pub(super) spool: Spool,
    pub(super) objects: ObjectStore,
    pub(super) journal: Journal,
    pub(super) store: Store,
    pub(super) writing_app: String,
    pub(super) shipping: Shipping,
    pub(super) tally: Arc<Tally>,
    pub(super) observed: Observed,
    /// Recordings whose files are made at one time.
    pub(super) finalizers: Semaphore,
    /// Everything that a stop waits for: recorders, and files that are being made.
    tasks: TaskTracker,
}

impl Keeping {
    /// Held by whoever a stop has to wait for.
    pub(super) fn token(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Recordings whose files are being made, while so many run.
    fn finishing(&self, running: usize) -> usize {
        // A recorder that runs holds a token, and its supervisor's entry another.
        self.tasks.len().saturating_sub(2 * running)
    }

    /// Makes the files in a task of its own, when the groups have written what they have.
    pub(super) fn finalize_later(
        self: &Arc<Self>,
        mut ending: Ending,
        groups: JoinSet<GroupOutcome>,
        events: SharedEvents,
    ) {
        let keeping = self.clone();
        self.tasks.spawn(async move {
            let recording = ending.recording;
            group::ended(groups, GROUPS_LIMIT, &mut ending.missing).await;
            let finished = match keeping.finalize(&ending).await {
                Outcome::Finished(finished) => *finished,
                Outcome::Deleted => {
                    tracing::info!(recording.id = %recording, "what is left of a deleted recording is removed");
                    return keeping.clean_deleted(recording).await;
                }
                Outcome::Elsewhere => {
                    tracing::info!(recording.id = %recording, "another node goes on with a recording of ours");
                    return;
                }
            };
            keeping.tally.over(finished.state == RecordingState::Ready);
            tracing::info!(
                recording.id = %recording,
                state = ?finished.state,
                error = finished.error,
                files = finished.files.len(),
                "a recording is over",
            );
            tell(&events, RecorderEvent::Finished(Box::new(finished.message(recording))));
            keeping.clean(recording, &finished).await;
        });
    }
}

impl Keeping {
    /// Has the groups write and ship what they have of a recording that another node goes on with.
    pub(super) fn leave_later(self: &Arc<Self>, recording: RecordingId, groups: JoinSet<GroupOutcome>) {
        self.tasks.spawn(async move {
            let mut missing = Vec::new();
            group::ended(groups, GROUPS_LIMIT, &mut missing).await;
            tracing::info!(recording.id = %recording, ?missing, "a recording goes on at another node");
        });
    }
}

/// For a recording whose room is gone.
fn nobody() -> SharedEvents {
    Arc::new(Mutex::new(Box::new(|_| {})))
}

fn tell(events: &SharedEvents, event: RecorderEvent) {
    (events.lock().unwrap_or_else(PoisonError::into_inner))(event);
}

/// A way to all recordings of a node; cheap to clone.
#[derive(Clone)]
pub struct Recordings {
    node: NodeId,
    keeping: Arc<Keeping>,
    supervisor: ActorRef<SupervisorMsg>,
    running: Running,
}

impl fmt::Debug for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recordings")
    }
}

impl Recordings {
    /// Starts the supervisor of recorders under `parent`.
    ///
    /// # Errors
    /// [`SpawnErr`] when the parent is stopping.
    pub async fn start(parent: Option<ActorCell>, args: RecordingsArgs) -> Result<Self, SpawnErr> {
        let tally = Arc::<Tally>::default();
        let shipping = Shipping::start(
            args.spool.clone(),
            args.objects.clone(),
            args.journal.clone(),
            tally.clone(),
        );
        let keeping = Arc::new(Keeping {
            node: args.node.clone(),
            spool: args.spool,
            objects: args.objects,
            journal: args.journal,
            store: args.store,
            writing_app: args.writing_app,
            shipping,
            tally,
            observed: args.observed,
            finalizers: Semaphore::new(FINALIZERS),
            tasks: TaskTracker::new(),
        });
        let running = Running::default();
        let supervisor = Supervisor {
            keeping: keeping.clone(),
            running: running.clone(),
        };
        let supervisor = match parent {
            Some(parent) => Actor::spawn_linked(None, supervisor, (), parent).await?.0,
            None => Actor::spawn(None, supervisor, ()).await?.0,
        };
        Ok(Self {
            node: args.node,
            keeping,
            supervisor,
            running,
        })
    }

    /// Finishes what a crash left behind, in the background; how many recordings that are.
    ///
    /// # Errors
    /// When the database fails; what lies in the spool is finished all the same.
    pub async fn recover(&self) -> Result<usize, StoreError> {
        let listed = self.unfinished().await;
        let mut left: BTreeSet<RecordingId> = self.keeping.spool.recordings().into_iter().collect();
        left.extend(listed.iter().flatten().map(|stored| stored.recording.id));
        for recording in &left {
            tracing::info!(recording.id = %recording, "a recording that was cut off is finished");
            self.keeping
                .finalize_later(Ending::cut_off(*recording), JoinSet::new(), nobody());
        }
        listed.map(|_| left.len())
    }

    /// What the recordings do, in numbers.
    pub async fn report(&self) -> RecordingsReport {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).len();
        RecordingsReport {
            running,
            finishing: self.keeping.finishing(running),
            spool_bytes: self.keeping.spool.used_bytes(),
            spool_max_bytes: self.keeping.spool.max_bytes(),
            shipping: self.keeping.shipping.report().await,
            ..self.keeping.tally.report()
        }
    }

    async fn unfinished(&self) -> Result<Vec<StoredRecording>, StoreError> {
        let mut all: Vec<StoredRecording> = Vec::new();
        loop {
            let after = all.last().map(|stored| stored.recording.id);
            let page = self.keeping.store.unfinished_recordings(&self.node, after).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Waits until files that are being made are there, at most until `deadline`. What is left is finished at the next start.
    pub async fn close(&self, deadline: Instant) {
        self.keeping.tasks.close();
        if tokio::time::timeout_at(deadline, self.keeping.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some recordings are not finished yet; the next start finishes them");
        }
    }
}

impl RecorderFactory for Recordings {
    fn start(
        &self,
        job: RecorderJob,
        events: RecorderEvents,
    ) -> Later<'_, Result<Box<dyn RecorderHandle>, RecorderStartError>> {
        Box::pin(async move {
            let begun = RecordingStarted {
                recording: job.recording,
                room: job.room,
                call: Some(job.call),
                owner: job.owner,
                node: self.node.clone(),
                epoch: job.epoch,
                started_at: job.started_at,
            };
            let events: SharedEvents = Arc::new(Mutex::new(events));
            let args = RecorderArgs {
                begun: begun.clone(),
                continued: job.continued,
                keeping: self.keeping.clone(),
                events: events.clone(),
            };
            let failed = |reason: String| RecorderStartError { reason };
            let spawned = actor::spawn(self.supervisor.get_cell(), args).await;
            let (actor, handle) = spawned.map_err(|e| failed(e.to_string()))?;
            // Before anybody can give it an order, so before it can fail.
            let entry = Entry {
                begun,
                events,
                _token: self.keeping.token(),
            };
            self.running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(actor, entry);
            Ok(Box::new(handle) as Box<dyn RecorderHandle>)
        })
    }
}

/// A recorder that runs, as its supervisor knows it.
struct Entry {
    begun: RecordingStarted,
    events: SharedEvents,
    _token: TaskTrackerToken,
}

type Running = Arc<Mutex<HashMap<ActorId, Entry>>>;

/// The supervisor hears of its children, and of operators.
#[derive(Debug, RactorMessage)]
enum SupervisorMsg {
    Inspect(Asked),
}

/// Keeps recorders apart: one that fails is finished from its segments and hurts no other.
struct Supervisor {
    keeping: Arc<Keeping>,
    running: Running,
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = Seen;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<SupervisorMsg>, (): ()) -> Result<Seen, ActorProcessingErr> {
        let ask = |cell: &ActorCell, asked: Asked| {
            if ActorRef::from(cell.clone())
                .cast(SupervisorMsg::Inspect(asked))
                .is_err()
            {
                tracing::debug!("the supervisor of recorders, which was asked for its state, is gone");
            }
        };
        let (cell, vitals) = (myself.get_cell(), Arc::new(Vitals::new(0)));
        let observed = &self.keeping.observed;
        Ok(observed.list(Kind::Recordings, Label::Only, cell, vitals, Some(ask)))
    }

    async fn handle(
        &self,
        _: ActorRef<SupervisorMsg>,
        SupervisorMsg::Inspect(asked): SupervisorMsg,
        _: &mut Seen,
    ) -> Result<(), ActorProcessingErr> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).len();
        asked.answer(json!({
            "running": running,
            "being_finished": self.keeping.finishing(running),
            "ships_while_recording": self.keeping.shipping.is_on(),
        }));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        _: &mut Seen,
    ) -> Result<(), ActorProcessingErr> {
        let remove = |actor: &ActorCell| {
            self.running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&actor.get_id())
        };
        match event {
            SupervisionEvent::ActorTerminated(actor, _, _) => drop(remove(&actor)),
            SupervisionEvent::ActorFailed(actor, error) => {
                self.keeping.observed.failed(actor.get_id(), &error);
                let Some(entry) = remove(&actor) else { return Ok(()) };
                let recording = entry.begun.recording;
                tracing::error!(recording.id = %recording, %error, "a recorder failed; what it kept is made files");
                // The room must know at once: nothing more is recorded.
                let reason = "the recorder failed before the recording was stopped".to_owned();
                tell(&entry.events, RecorderEvent::Failed { reason: reason.clone() });
                let ending = Ending {
                    recording,
                    begun: Some(entry.begun),
                    ended_at: Some(OffsetDateTime::now_utc()),
                    missing: vec![reason],
                };
                self.keeping.finalize_later(ending, JoinSet::new(), entry.events);
            }
            _ => {}
        }
        Ok(())
    }
}
