//! The root of the supervision tree, and the handle by which HTTP, sockets and the command line reach what runs.

mod counts;
mod limits;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use caside_cluster::Directory;
use caside_protocol::claims::Claims;
use caside_protocol::codec::Dialect;
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::rest::{Recording, UpdateRoom};
use caside_protocol::server::IceServer;
use caside_protocol::{CallId, NodeId, ParticipantId, Role, RoomId, Timestamp, TrackId, UserId, view};

pub use counts::Counts;
pub use limits::Limits;

use crate::mailbox::MailboxReport;
use crate::outbound::OutboundQueue;
use crate::peer::PeerHandle;
use crate::ports::{Authenticator, CallJournal, RecorderFactory, RoomCatalog, SfuFactory};

/// What a node is started with.
pub struct NodeArgs {
    /// Its name.
    pub node: NodeId,
    /// The version told in `welcome`.
    pub version: String,
    /// Who owns which room.
    pub directory: Arc<dyn Directory>,
    /// Durable rooms.
    pub catalog: Arc<dyn RoomCatalog>,
    /// Where calls are written down.
    pub journal: Arc<dyn CallJournal>,
    /// Reads tokens of `auth` messages.
    pub authenticator: Arc<dyn Authenticator>,
    /// Starts SFUs.
    pub sfu: Arc<dyn SfuFactory>,
    /// Starts recorders.
    pub recorders: Arc<dyn RecorderFactory>,
    /// Bounds and times.
    pub limits: Limits,
    /// STUN and TURN servers for a user, told in `welcome`: TURN credentials are made for each.
    pub ice_servers: Arc<dyn Fn(&UserId) -> Vec<IceServer> + Send + Sync>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[error("the supervision tree did not start")]
pub struct StartError(#[from] pub ractor::SpawnErr);

/// A new socket.
#[derive(Debug)]
pub struct SessionArgs {
    /// How its messages are written.
    pub dialect: Dialect,
    /// Takes them.
    pub outbound: OutboundQueue,
    /// Where the client is.
    pub client_ip: Option<IpAddr>,
    /// From a token in the upgrade request: `welcome` is then sent unasked.
    pub claims: Option<Claims>,
}

/// A room that runs here, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRoom {
    /// Its id.
    pub id: RoomId,
    /// Who made it.
    pub owner: Option<UserId>,
    /// The call that is on.
    pub call: Option<CallId>,
    /// How many are in it.
    pub participants: usize,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A way to the node; cheap to clone. Every method that waits has a bound on it and then answers `overloaded`.
#[derive(Clone)]
pub struct NodeHandle {
    #[allow(dead_code, reason = "the tree comes with the next change")]
    args: Arc<NodeArgs>,
}

#[allow(clippy::unused_async, unused_variables, reason = "the tree comes with the next change")]
impl NodeHandle {
    /// Starts the tree.
    ///
    /// # Errors
    /// [`StartError`] when a supervisor does not start.
    pub async fn start(args: NodeArgs) -> Result<Self, StartError> {
        Ok(Self { args: Arc::new(args) })
    }

    /// Opens a session for a new socket.
    ///
    /// # Errors
    /// `draining`, `too_many_connections`.
    pub async fn open_session(&self, args: SessionArgs) -> Result<PeerHandle, Refusal> {
        Err(not_yet())
    }

    /// A room that runs here, as REST shows it; `None` when it does not run.
    ///
    /// # Errors
    /// `overloaded`.
    pub async fn room_view(&self, room: &RoomId) -> Result<Option<view::Room>, Refusal> {
        Err(not_yet())
    }

    /// The rooms that run here.
    pub fn live_rooms(&self) -> Vec<LiveRoom> {
        Vec::new()
    }

    /// The room whose call this is, while it is on here.
    pub fn room_of_call(&self, call: CallId) -> Option<RoomId> {
        None
    }

    /// Who is in a room; empty when it does not run.
    ///
    /// # Errors
    /// `overloaded`.
    pub async fn participants(&self, room: &RoomId) -> Result<Vec<view::Participant>, Refusal> {
        Err(not_yet())
    }

    /// Mutes a track, or all tracks, of a participant.
    ///
    /// # Errors
    /// `forbidden`, `room_not_found`, `participant_not_found`, `not_found` (the track), `overloaded`.
    pub async fn mute(
        &self,
        room: &RoomId,
        participant: ParticipantId,
        track: Option<TrackId>,
        by: &Claims,
    ) -> Result<view::Participant, Refusal> {
        Err(not_yet())
    }

    /// Removes a participant; answers them as they were.
    ///
    /// # Errors
    /// `forbidden`, `room_not_found`, `participant_not_found`, `overloaded`.
    pub async fn kick(
        &self,
        room: &RoomId,
        participant: ParticipantId,
        by: &Claims,
    ) -> Result<view::Participant, Refusal> {
        Err(not_yet())
    }

    /// Gives a participant a role for their stay.
    ///
    /// # Errors
    /// `forbidden`, `room_not_found`, `participant_not_found`, `overloaded`.
    pub async fn set_role(
        &self,
        room: &RoomId,
        participant: ParticipantId,
        role: Role,
        by: &Claims,
    ) -> Result<view::Participant, Refusal> {
        Err(not_yet())
    }

    /// Starts recording, or answers the recording that runs.
    ///
    /// # Errors
    /// `forbidden`, `room_not_found` (it does not run), `overloaded`, `dependency_unavailable`.
    pub async fn start_recording(&self, room: &RoomId, by: &Claims) -> Result<Recording, Refusal> {
        Err(not_yet())
    }

    /// Stops the recording, or answers the last one of this call.
    ///
    /// # Errors
    /// `forbidden`, `room_not_found`, `recording_not_found`, `overloaded`.
    pub async fn stop_recording(&self, room: &RoomId, by: &Claims) -> Result<Recording, Refusal> {
        Err(not_yet())
    }

    /// Ends the call of a room for everybody.
    ///
    /// # Errors
    /// `forbidden`, `call_not_found` (none is on), `overloaded`.
    pub async fn end_call(&self, room: &RoomId, by: &Claims) -> Result<CallId, Refusal> {
        Err(not_yet())
    }

    /// Brings a room that runs up to its changed configuration; `mode` holds from the next call on. Whoever calls has
    /// checked the right to do so and has stored it. `false` when the room does not run.
    ///
    /// # Errors
    /// `overloaded`.
    pub async fn update_room(&self, room: &RoomId, change: UpdateRoom) -> Result<bool, Refusal> {
        Err(not_yet())
    }

    /// Ends a room that was deleted, with its call. Whoever calls has checked the right to do so. `false` when the
    /// room does not run.
    ///
    /// # Errors
    /// `overloaded`.
    pub async fn delete_room(&self, room: &RoomId) -> Result<bool, Refusal> {
        Err(not_yet())
    }

    /// What runs now.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// What the mailboxes have done, by kind of actor.
    pub fn mailboxes(&self) -> Vec<MailboxReport> {
        Vec::new()
    }

    /// Whether no new sessions are taken.
    pub fn is_draining(&self) -> bool {
        false
    }

    /// Takes no new sessions, says goodbye to every socket, closes the rooms in order and waits for the journal, all
    /// within `deadline`.
    pub async fn drain(&self, deadline: Duration) {}
}

fn not_yet() -> Refusal {
    Refusal::new(ErrorCode::Internal, "not yet")
}
