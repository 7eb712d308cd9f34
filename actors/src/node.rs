//! The root of the supervision tree, and the handle by which HTTP, sockets and the command line reach what runs.

mod counts;
mod explain;
mod inspect;
mod limits;
mod refusals;
mod rooms;
mod root;
mod shared;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use caside_cluster::{Directory, Gateways, Inbox};
use caside_protocol::claims::Claims;
use caside_protocol::codec::Dialect;
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::explain::Stage;
use caside_protocol::node::{Act, Answer, Member, Question, Report};
use caside_protocol::rest::{Recording, RunningRoom, UpdateRoom};
use caside_protocol::server::IceServer;
use caside_protocol::{CallId, NodeId, ParticipantId, Role, RoomId, Timestamp, TrackId, UserId, view};
use ractor::{Actor, ActorCell, SpawnErr};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

pub use counts::{Counts, Ownership};
pub use explain::Known;
pub use limits::Limits;
pub(crate) use shared::Shared;

use crate::gateway::NodeInbox;
use crate::observed::{KindReport, Observed};
use crate::outbound::OutboundQueue;
use crate::peer::{DrainGuard, Peer, PeerArgs, PeerHandle, PeerMsg};
use crate::ports::{Authenticator, CallJournal, InviteShelf, RecorderFactory, RoomCatalog, SfuFactory};
use crate::room::RoomsMsg;

/// The STUN and TURN servers for a user.
pub type IceServers = Arc<dyn Fn(&UserId) -> Vec<IceServer> + Send + Sync>;

/// What a node is started with.
pub struct NodeArgs {
    /// Its name, and which run of it this is.
    pub member: Member,
    /// The version told in `welcome`.
    pub version: String,
    /// Who owns which room.
    pub directory: Arc<dyn Directory>,
    /// The ways to other nodes.
    pub gateways: Arc<dyn Gateways>,
    /// Durable rooms.
    pub catalog: Arc<dyn RoomCatalog>,
    /// Invitations that wait for their users.
    pub invites: Arc<dyn InviteShelf>,
    /// Where calls are written down.
    pub journal: Arc<dyn CallJournal>,
    /// Reads tokens of `auth` messages.
    pub authenticator: Arc<dyn Authenticator>,
    /// Starts SFUs.
    pub sfu: Arc<dyn SfuFactory>,
    /// Starts recorders.
    pub recorders: Arc<dyn RecorderFactory>,
    /// Where actors are listed; recorders and SFUs that are made for the node know the same one.
    pub observed: Observed,
    /// Bounds and times.
    pub limits: Limits,
    /// Notified when somebody wants this node to drain and end.
    pub stop: Arc<Notify>,
    /// STUN and TURN servers for a user, told in `welcome`: TURN credentials are made for each.
    pub ice_servers: IceServers,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[error("the supervision tree did not start")]
pub struct StartError(#[from] pub SpawnErr);

/// A new socket.
#[derive(Debug)]
pub struct SessionArgs {
    /// How its messages are written.
    pub dialect: Dialect,
    /// Takes them.
    pub outbound: OutboundQueue,
    /// Where the client is.
    pub client_ip: Option<IpAddr>,
    /// What its address counts as for limits; `None`: it stands for many, and is exempt.
    pub limited_as: Option<IpAddr>,
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
    shared: Arc<Shared>,
    root: ActorCell,
}

impl std::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeHandle")
            .field("member", &self.shared.args.member)
            .finish_non_exhaustive()
    }
}

impl NodeHandle {
    /// Starts the tree.
    ///
    /// # Errors
    /// [`StartError`] when a supervisor does not start.
    pub async fn start(args: NodeArgs) -> Result<Self, StartError> {
        let shared = Shared::new(args);
        let root = root::start(shared.clone()).await?;
        Ok(Self { shared, root })
    }

    /// Where the cluster says what it has to say; to be asked for once.
    pub fn inbox(&self) -> Arc<dyn Inbox> {
        self.shared.watch_directory();
        Arc::new(NodeInbox(self.shared.clone()))
    }

    /// Opens a session for a new socket.
    ///
    /// # Errors
    /// `draining`, `dependency_unavailable`, `too_many_connections`, `internal`.
    pub async fn open_session(&self, socket: SessionArgs) -> Result<PeerHandle, Refusal> {
        let shared = &self.shared;
        if self.is_draining() {
            let refusal = Refusal::new(ErrorCode::Draining, "this node is going away; connect again");
            return Err(refusal.retry_after_ms(shared.retry_after_ms()));
        }
        if self.is_out_of_touch() {
            let text = "this node has lost touch with the others; connect to another";
            let refusal = Refusal::new(ErrorCode::DependencyUnavailable, text);
            return Err(refusal.retry_after_ms(shared.retry_after_ms()));
        }
        if shared.sessions.len() >= shared.args.limits.max_sessions {
            let refusal = Refusal::new(
                ErrorCode::TooManyConnections,
                "this node has all the sessions it may have",
            );
            return Err(refusal.retry_after_ms(shared.retry_after_ms()));
        }
        let (started, handle) = oneshot::channel();
        let args = PeerArgs {
            shared: shared.clone(),
            socket,
            started,
        };
        let failed = || Refusal::new(ErrorCode::Internal, "the session did not start");
        if let Err(error) = Actor::spawn_linked(None, Peer, args, shared.supervisors().peers).await {
            tracing::error!(error = %error, "a session did not start");
            return Err(failed());
        }
        handle.await.map_err(|_| failed())
    }

    // ---- what runs ------------------------------------------------------------------------------------------------

    /// A room as REST shows it, on whichever node it runs; `None` when it does not run.
    ///
    /// # Errors
    /// `overloaded`, `dependency_unavailable`.
    pub async fn room_view(&self, room: &RoomId) -> Result<Option<view::Room>, Refusal> {
        self.shared.view(room).await
    }

    /// The rooms that run on all nodes that can be reached, by node and id.
    pub async fn running_rooms(&self) -> Vec<RunningRoom> {
        self.shared.running().await
    }

    /// The rooms that run here.
    pub fn live_rooms(&self) -> Vec<LiveRoom> {
        let rooms = self.shared.rooms.read();
        let live = rooms.iter().map(|(id, listed)| {
            let (call, participants) = listed.card.now();
            let (owner, created_at) = (listed.card.owner.clone(), listed.card.created_at);
            LiveRoom {
                id: id.clone(),
                owner,
                call,
                participants,
                created_at,
            }
        });
        live.collect()
    }

    /// Whether a token is for a room that runs, and not for an earlier one of the same id; `None` when it does not run.
    ///
    /// # Errors
    /// `dependency_unavailable`.
    pub async fn admits(&self, room: &RoomId, claims: &Claims) -> Result<Option<bool>, Refusal> {
        self.shared.admits(room, claims).await
    }

    /// The room whose call this is, while it is on.
    pub async fn room_of_call(&self, call: CallId) -> Option<RoomId> {
        self.shared.room_of_call(call).await
    }

    /// Who is in a room; empty when it does not run.
    ///
    /// # Errors
    /// `overloaded`.
    pub async fn participants(&self, room: &RoomId) -> Result<Vec<view::Participant>, Refusal> {
        Ok(self
            .room_view(room)
            .await?
            .map(|view| view.participants)
            .unwrap_or_default())
    }

    /// What runs now.
    pub fn counts(&self) -> Counts {
        let rooms = self.shared.rooms.read();
        Counts {
            rooms: rooms.len(),
            participants: rooms.values().map(|listed| listed.card.now().1).sum(),
            sessions: self.shared.sessions.len(),
            invites: self.shared.sessions.waiting_invites(),
        }
    }

    /// What the actors have done, by kind. Looks at every mailbox.
    pub fn actors_report(&self) -> Vec<KindReport> {
        self.shared.args.observed.report()
    }

    /// What this node owns, and by which right.
    pub fn ownership(&self) -> Ownership {
        let directory = &self.shared.args.directory;
        let kept = self.shared.gateway.kept();
        Ownership {
            holds: directory.holds(),
            directory_away: directory.is_away(),
            routes: kept.routes,
            copies: kept.copies,
            orphans: kept.orphans,
            requests: kept.requests,
        }
    }

    // ---- explaining -----------------------------------------------------------------------------------------------

    /// What is known of a call, by its id or its room's, on any node: as its room tells it while it runs, and who was not let
    /// in lately. Other nodes are waited for two seconds.
    pub async fn explain(&self, id: &str) -> Known {
        self.shared.explain(id).await
    }

    /// Remembers that somebody got no session here: with the room and the user that are known.
    pub fn turned_away(&self, room: Option<&RoomId>, user: Option<&UserId>, refusal: &Refusal) {
        self.shared.turned_away(Stage::Signaling, room, user, refusal);
    }

    /// Remembers that a token did not hold.
    pub fn turned_away_with(&self, token: &str, refusal: &Refusal) {
        self.shared.turned_away_with(Some(token), refusal);
    }

    // ---- moderation -----------------------------------------------------------------------------------------------

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
        self.act_on_participant(room, Act::Mute(participant, track), by).await
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
        self.act_on_participant(room, Act::Kick(participant), by).await
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
        self.act_on_participant(room, Act::SetRole(participant, role), by).await
    }

    /// Starts recording, or answers the recording that runs.
    ///
    /// # Errors
    /// `forbidden`, `room_not_found` (it does not run), `overloaded`, `dependency_unavailable`.
    pub async fn start_recording(&self, room: &RoomId, by: &Claims) -> Result<Recording, Refusal> {
        self.act_on_recording(room, Act::StartRecording, by).await
    }

    /// Stops the recording, or answers the last one of this call.
    ///
    /// # Errors
    /// `forbidden`, `room_not_found`, `recording_not_found`, `overloaded`.
    pub async fn stop_recording(&self, room: &RoomId, by: &Claims) -> Result<Recording, Refusal> {
        self.act_on_recording(room, Act::StopRecording, by).await
    }

    /// Ends the call of a room for everybody.
    ///
    /// # Errors
    /// `forbidden`, `room_not_found`, `call_not_found` (none is on), `overloaded`.
    pub async fn end_call(&self, room: &RoomId, by: &Claims) -> Result<CallId, Refusal> {
        match self.act(room, Act::EndCall, by).await? {
            Report::Call(call) => Ok(call),
            other => Err(unexpected(&other)),
        }
    }

    /// Brings a room that runs up to its changed configuration; `mode` holds from the next call on. Whoever calls has
    /// checked the right to do so and has stored it. `false` when the room does not run.
    ///
    /// # Errors
    /// `overloaded`.
    pub async fn update_room(&self, room: &RoomId, change: &UpdateRoom) -> Result<bool, Refusal> {
        self.shared.update(room, change).await
    }

    /// Ends a room that was deleted, with its call. Whoever calls has checked the right to do so. `false` when the
    /// room does not run.
    ///
    /// # Errors
    /// `dependency_unavailable`.
    pub async fn delete_room(&self, room: &RoomId) -> Result<bool, Refusal> {
        self.shared.delete(room).await
    }

    async fn act_on_participant(&self, room: &RoomId, act: Act, by: &Claims) -> Result<view::Participant, Refusal> {
        match self.act(room, act, by).await? {
            Report::Participant(participant) => Ok(*participant),
            other => Err(unexpected(&other)),
        }
    }

    async fn act_on_recording(&self, room: &RoomId, act: Act, by: &Claims) -> Result<Recording, Refusal> {
        match self.act(room, act, by).await? {
            Report::Recording(recording) => Ok(*recording),
            other => Err(unexpected(&other)),
        }
    }

    async fn act(&self, room: &RoomId, act: Act, by: &Claims) -> Result<Report, Refusal> {
        if !by.admits(room) {
            return Err(Refusal::new(ErrorCode::Forbidden, "your token is for another room"));
        }
        self.shared
            .act(room, act, by)
            .await?
            .ok_or_else(|| Refusal::new(ErrorCode::RoomNotFound, "nobody is in a room of this id now"))
    }

    // ---- among others ---------------------------------------------------------------------------------------------

    /// This node, and which run of it.
    pub fn member(&self) -> &Member {
        &self.shared.args.member
    }

    /// How busy it is, in thousandths.
    pub fn load(&self) -> u32 {
        self.shared.load()
    }

    /// Has a node drain and end, this one or another.
    ///
    /// # Errors
    /// `not_found`: no node of this id can be reached.
    pub async fn drain_node(&self, node: &NodeId) -> Result<(), Refusal> {
        let shared = &self.shared;
        if *node == shared.args.member.node {
            shared.args.stop.notify_one();
            return Ok(());
        }
        let others = shared.gateway.others();
        let other = others.into_iter().find(|other| other.member.node == *node);
        let limit = shared.args.limits.call_timeout;
        let asked = match other {
            Some(other) => shared.gateway.ask(&other.member, Question::Drain, limit).await.ok(),
            None => None,
        };
        match asked {
            Some(Answer::Done(Ok(_))) => Ok(()),
            _ => Err(Refusal::new(ErrorCode::NotFound, "no node of this id can be reached")),
        }
    }

    /// Tells the other nodes how this one is, and answers for those that do not answer; to be repeated.
    pub fn describe(&self) {
        let shared = &self.shared;
        let (rooms, load) = (shared.rooms.len(), shared.load());
        shared.args.gateways.describe(rooms, load, self.is_draining());
        shared
            .gateway
            .give_up_overdue(shared.args.limits.call_timeout * OVERDUE);
    }

    /// Hands every room over to another node, where there is one, and waits until their clients have moved.
    async fn evacuate(&self, until: Instant) {
        let shared = &self.shared;
        if shared.gateway.others().iter().all(|other| other.draining) {
            return;
        }
        let (guard, gone) = mpsc::channel(1);
        shared.rooms_supervisor().post(RoomsMsg::Evacuate {
            at_once: HANDED_OVER_AT_ONCE,
            done: DrainGuard(guard),
        });
        all_done(gone, until, "not every room was handed over").await;
    }

    // ---- the end --------------------------------------------------------------------------------------------------

    /// Whether this node may own no rooms and reaches no other: it can do nothing for a client. One that reaches others leads
    /// to their rooms.
    pub fn is_out_of_touch(&self) -> bool {
        self.shared.is_out_of_touch()
    }

    /// Whether no new sessions are taken.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Takes no new sessions, says goodbye to every socket, closes the rooms in order and waits for the journal, all
    /// within `deadline`. The tree is gone afterwards.
    pub async fn drain(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        self.shared.draining.store(true, Ordering::Relaxed);
        self.describe();
        self.evacuate(until).await;
        let (guard, told) = mpsc::channel(1);
        for peer in self.shared.sessions.all() {
            peer.post(PeerMsg::Drain(DrainGuard(guard.clone())));
        }
        drop(guard);
        all_done(told, until, "not every socket was told that the node goes").await;
        let (guard, closed) = mpsc::channel(1);
        self.shared.rooms_supervisor().post(RoomsMsg::Drain(DrainGuard(guard)));
        all_done(closed, until, "not every room was closed in order").await;
        let left = until.saturating_duration_since(Instant::now());
        if let Err(error) = self.shared.args.journal.flush(left).await {
            tracing::error!(error = %error, "the journal was not written to its end");
        }
        let left = until.saturating_duration_since(Instant::now());
        if let Err(error) = self
            .root
            .stop_and_wait(Some("drained".to_owned()), Some(left.max(MIN_STOP)))
            .await
        {
            tracing::warn!(error = %error, "the tree did not end in time");
        }
    }
}

/// A request to another node is given up after as many times the longest that one thing in it may take there.
const OVERDUE: u32 = 2;

/// Rooms that are handed over at one time.
const HANDED_OVER_AT_ONCE: usize = 8;

/// What the tree's end may take even when the drain has used its time up.
const MIN_STOP: Duration = Duration::from_millis(100);

/// Waits until every guard is dropped.
async fn all_done(mut guards: mpsc::Receiver<()>, until: Instant, otherwise: &'static str) {
    if tokio::time::timeout_at(until, guards.recv()).await.is_err() {
        tracing::warn!("{otherwise}");
    }
}

/// A report of another act than was asked for: our mistake.
fn unexpected(report: &Report) -> Refusal {
    tracing::error!(?report, "a room answered another question");
    Refusal::new(ErrorCode::Internal, "the room answered another question")
}
