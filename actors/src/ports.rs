//! What the tree needs from outside, as traits: rooms as they are configured, the journal, tokens, SFUs and recorders.
//! Production wires the store and the media workers in; tests watch what is asked.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use caside_protocol::claims::Claims;
use caside_protocol::error::Refusal;
use caside_protocol::server::RecordingFinished;
use caside_protocol::{CallId, InviteId, ParticipantId, RecordingId, RoomId, Timestamp, TrackId, UserId};
use caside_store::invites::StoredInvite;
use caside_store::journal::{AppendError, FlushError};
use caside_store::rooms::{FormerRoom, StoredRoom};
use caside_store::{Journal, JournalEntry, Store, StoreError};
use ractor::ActorCell;

use crate::sfu::{PublishedTrack, SfuEvent, SfuHandle};

/// An answer that is still on its way.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A room as configured, and the call that was made for it and waits for its first join.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogRoom {
    /// The room.
    pub room: StoredRoom,
    /// Taken up by the first join.
    pub waiting_call: Option<CallId>,
}

/// What the catalog has under an id.
#[derive(Debug, Clone, PartialEq)]
pub enum CatalogEntry {
    /// A room.
    Room(Box<CatalogRoom>),
    /// None now; perhaps there was one.
    Free(Option<FormerRoom>),
}

/// The configured rooms cannot be read now.
#[derive(Debug, thiserror::Error)]
#[error("the rooms cannot be read")]
pub struct CatalogError(#[from] pub StoreError);

/// Durable rooms.
pub trait RoomCatalog: Send + Sync {
    /// What is there of this id. Whoever asks bounds the time.
    fn load<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<CatalogEntry, CatalogError>>;
}

impl RoomCatalog for Store {
    fn load<'a>(&'a self, room: &'a RoomId) -> Later<'a, Result<CatalogEntry, CatalogError>> {
        Box::pin(async move {
            let waiting_call = self.waiting_call(room).await?.map(|call| call.id);
            Ok(match self.room(room).await? {
                Some(room) => CatalogEntry::Room(Box::new(CatalogRoom { room, waiting_call })),
                None => CatalogEntry::Free(self.former_room(room).await?),
            })
        })
    }
}

/// Invitations that outlive the process. They are written by the journal.
pub trait InviteShelf: Send + Sync {
    /// What waits at `now`, in the order of the ids behind `after`, at most `limit`. Whoever asks bounds the time.
    fn waiting(
        &self,
        after: Option<InviteId>,
        limit: u64,
        now: Timestamp,
    ) -> Later<'_, Result<Vec<StoredInvite>, StoreError>>;

    /// Forgets what ran out before `before`; says how many.
    fn purge(&self, before: Timestamp) -> Later<'_, Result<u64, StoreError>>;
}

impl InviteShelf for Store {
    fn waiting(
        &self,
        after: Option<InviteId>,
        limit: u64,
        now: Timestamp,
    ) -> Later<'_, Result<Vec<StoredInvite>, StoreError>> {
        Box::pin(self.waiting_invites(after, limit, now))
    }

    fn purge(&self, before: Timestamp) -> Later<'_, Result<u64, StoreError>> {
        Box::pin(self.purge_invites(before))
    }
}

/// Writes that running calls do not wait for.
pub trait CallJournal: Send + Sync {
    /// Queues an entry behind those before it. Never waits.
    ///
    /// # Errors
    /// [`AppendError`]: the entry is lost, the call goes on.
    fn append(&self, entry: JournalEntry) -> Result<(), AppendError>;

    /// Waits until every entry appended before is applied.
    fn flush(&self, timeout: Duration) -> Later<'_, Result<(), FlushError>>;
}

impl CallJournal for Journal {
    fn append(&self, entry: JournalEntry) -> Result<(), AppendError> {
        Self::append(self, entry)
    }

    fn flush(&self, timeout: Duration) -> Later<'_, Result<(), FlushError>> {
        Box::pin(Self::flush(self, timeout))
    }
}

/// Reads the token of an `auth` message.
pub trait Authenticator: Send + Sync {
    /// What the token says, or why it does not hold. Whoever asks bounds the time.
    fn authenticate(&self, token: String) -> Later<'_, Result<Claims, Refusal>>;
}

/// Takes what happens in an SFU; must not block.
pub type SfuEvents = Box<dyn FnMut(SfuEvent) + Send>;

/// Why an SFU did not start.
#[derive(Debug, thiserror::Error)]
#[error("the SFU did not start: {reason}")]
pub struct SfuStartError {
    /// Why.
    pub reason: String,
}

/// Starts SFUs.
pub trait SfuFactory: Send + Sync {
    /// Starts the SFU of a room, linked to `supervisor`, the room.
    fn start(&self, supervisor: ActorCell, events: SfuEvents) -> Later<'_, Result<SfuHandle, SfuStartError>>;
}

/// What a recorder is started for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderJob {
    /// The recording.
    pub recording: RecordingId,
    /// Its call.
    pub call: CallId,
    /// Its room.
    pub room: RoomId,
    /// The room's owner: a host sees the recording.
    pub owner: Option<UserId>,
    /// The epoch of the room's owner.
    pub epoch: u64,
    /// The zero of every file's offset.
    pub started_at: time::OffsetDateTime,
    /// Whether another node recorded before, and this one goes on.
    pub continued: bool,
}

/// What a room tells its recorder.
#[derive(Debug, Clone)]
pub enum RecorderCommand {
    /// A track is there to record. Taps go to `sfu`, which differs from that of earlier tracks after an SFU was lost.
    TrackPublished {
        /// Whose.
        participant: ParticipantId,
        /// The track; `muted` and `held` say whether packets come.
        track: Box<PublishedTrack>,
        /// Who forwards it.
        sfu: SfuHandle,
    },
    /// A track ended.
    TrackUnpublished {
        /// Which.
        track: TrackId,
    },
    /// A track pauses (muted or held) or goes on.
    TrackPaused {
        /// Which.
        track: TrackId,
        /// Whether no packets come.
        paused: bool,
    },
    /// The recording is over: finish the files. The recorder outlives its room for that.
    Stop,
    /// Another node goes on with the recording: write what is left, and leave the files to it.
    HandOver,
}

/// What a recorder reports to its room, while that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecorderEvent {
    /// It was stopped, or failed, and its files are there or will not be: nothing more is reported of it.
    Finished(Box<RecordingFinished>),
    /// It cannot go on; what it has is kept, and [`RecorderEvent::Finished`] follows.
    Failed {
        /// For people.
        reason: String,
    },
}

/// Takes what happens in a recorder; must not block.
pub type RecorderEvents = Box<dyn FnMut(RecorderEvent) + Send>;

/// A way to one recorder.
pub trait RecorderHandle: fmt::Debug + Send + Sync {
    /// Gives an order without waiting. A recorder that is gone has reported [`RecorderEvent::Failed`].
    fn send(&self, command: RecorderCommand);
}

/// Why a recorder did not start.
#[derive(Debug, thiserror::Error)]
#[error("the recorder did not start: {reason}")]
pub struct RecorderStartError {
    /// Why.
    pub reason: String,
}

/// Starts recorders.
pub trait RecorderFactory: Send + Sync {
    /// Starts a recorder. It belongs to the factory, not to the room, whose end it outlives.
    fn start(
        &self,
        job: RecorderJob,
        events: RecorderEvents,
    ) -> Later<'_, Result<Box<dyn RecorderHandle>, RecorderStartError>>;
}
