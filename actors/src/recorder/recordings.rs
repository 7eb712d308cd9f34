//! All recordings of a node: starts them, finishes them, and takes up those that a crash left behind.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use caside_protocol::{CallId, NodeId, RecordingId, RoomId, UserId};
use caside_store::journal::{AppendError, RecordingStarted};
use caside_store::{Journal, JournalEntry, ObjectStore, Spool, Store, StoreError};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::actor::{self, RecorderArgs, RecorderEvent, RecorderEvents, RecorderHandle};
use super::shipping::Shipping;
use crate::sfu::SfuHandle;

/// How long the groups of a stopped recording may take to write what is left.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(10);

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
}

/// What a recording begins with.
pub struct NewRecording {
    /// Its id.
    pub recording: RecordingId,
    /// The room.
    pub room: RoomId,
    /// The call.
    pub call: Option<CallId>,
    /// The room's owner: a host sees it.
    pub owner: Option<UserId>,
    /// Of the room's ownership.
    pub epoch: u64,
    /// The zero of every file's offset.
    pub start: Instant,
    /// The same on the wall clock.
    pub started_at: OffsetDateTime,
    /// Where tracks are tapped.
    pub sfu: SfuHandle,
    /// Takes what becomes of it; must not block.
    pub events: RecorderEvents,
}

impl fmt::Debug for NewRecording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRecording").field("recording", &self.recording).field("room", &self.room).finish_non_exhaustive()
    }
}

/// Why a recording did not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Its row could not be queued.
    #[error("the recording cannot be listed")]
    Journal(#[from] AppendError),
    /// Its actor did not start.
    #[error("the recorder did not start")]
    Spawn(#[from] Box<SpawnErr>),
}

/// What recorders and finalizers share.
pub(super) struct Keeping {
    pub(super) spool: Spool,
    pub(super) objects: ObjectStore,
    pub(super) journal: Journal,
    pub(super) store: Store,
    pub(super) writing_app: String,
    pub(super) shipping: Shipping,
    tasks: TaskTracker,
}

impl Keeping {
    /// Makes the files in a task of its own.
    pub(super) fn finalize_later(self: &Arc<Self>, recording: RecordingId, missing: Vec<String>, mut events: RecorderEvents) {
        let keeping = self.clone();
        self.tasks.spawn(async move {
            let state = keeping.finalize(recording, missing).await;
            tracing::info!(recording.id = %recording, ?state, "a recording is finished");
            events(RecorderEvent::Finished(state));
        });
    }
}

/// A way to all recordings of a node; cheap to clone.
#[derive(Clone)]
pub struct Recordings {
    node: NodeId,
    keeping: Arc<Keeping>,
    supervisor: ActorRef<SupervisorMsg>,
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
        let supervisor = match parent {
            Some(parent) => Actor::spawn_linked(None, Supervisor, (), parent).await?.0,
            None => Actor::spawn(None, Supervisor, ()).await?.0,
        };
        let shipping = Shipping::start(args.spool.clone(), args.objects.clone(), args.journal.clone());
        let keeping = Arc::new(Keeping {
            spool: args.spool,
            objects: args.objects,
            journal: args.journal,
            store: args.store,
            writing_app: args.writing_app,
            shipping,
            tasks: TaskTracker::new(),
        });
        Ok(Self { node: args.node, keeping, supervisor })
    }

    /// Begins a recording. Its room then tells the handle which tracks there are.
    ///
    /// # Errors
    /// [`RecordError`]; then nothing was begun.
    pub async fn record(&self, new: NewRecording) -> Result<RecorderHandle, RecordError> {
        self.keeping.journal.append(JournalEntry::RecordingStarted(RecordingStarted {
            recording: new.recording,
            room: new.room.clone(),
            call: new.call,
            owner: new.owner.clone(),
            node: self.node.clone(),
            epoch: new.epoch,
            started_at: new.started_at,
        }))?;
        let args = RecorderArgs { new, keeping: self.keeping.clone() };
        actor::spawn(self.supervisor.get_cell(), args).await.map_err(|e| RecordError::Spawn(Box::new(e)))
    }

    /// Finishes what a crash left behind, in the background; how many recordings that are.
    ///
    /// # Errors
    /// When the database fails; what lies in the spool is finished all the same.
    pub async fn recover(&self) -> Result<usize, StoreError> {
        let listed = self.keeping.store.unfinished_recordings(&self.node).await;
        let mut left: BTreeSet<RecordingId> = self.keeping.spool.recordings().into_iter().collect();
        for stored in listed.iter().flatten() {
            let recording = stored.recording.id;
            left.insert(recording);
            if stored.recording.ended_at.is_some() {
                continue;
            }
            // It ended with the last media that is safe.
            let last_ms = self.keeping.spool.segments(recording).iter().map(|s| s.end_ms).max().unwrap_or_default();
            let ended_at = stored.recording.started_at + Duration::from_millis(last_ms);
            if let Err(error) = self.keeping.journal.append(JournalEntry::RecordingStopped { recording, ended_at }) {
                tracing::error!(recording.id = %recording, %error, "the end of a recording is not listed");
            }
        }
        for recording in &left {
            tracing::info!(recording.id = %recording, "a recording that was cut off is finished");
            self.keeping.finalize_later(*recording, Vec::new(), Box::new(|_| {}));
        }
        listed.map(|_| left.len())
    }

    /// Waits until files that are being made are there, at most until `deadline`. What is left is finished at the next start.
    pub async fn close(&self, deadline: Instant) {
        self.keeping.tasks.close();
        if tokio::time::timeout_at(deadline, self.keeping.tasks.wait()).await.is_err() {
            tracing::warn!("some recordings are not finished yet; the next start finishes them");
        }
    }
}

#[derive(Debug, ractor_cluster::RactorMessage)]
enum SupervisorMsg {}

/// Keeps recorders apart: one that fails is finished from its segments and hurts no other.
struct Supervisor;

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<SupervisorMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(actor, error) = event {
            tracing::error!(actor.id = %actor.get_id(), %error, "a recorder failed");
        }
        Ok(())
    }
}
