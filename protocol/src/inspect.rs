//! What operators see of what runs: every actor, and a room in full. The same shapes in REST and between nodes.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::client::SubscribePolicy;
use crate::rest::Recording;
use crate::view::{Mode, Quality, Room};
use crate::{NodeId, ParticipantId, RoomId, SessionId};

/// Actors in one answer when the question does not say how many.
pub const DEFAULT_ACTORS: u32 = 200;
/// Most actors in one answer.
pub const MAX_ACTORS: u32 = 1000;

/// Which actors are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorQuery {
    /// Those of one kind.
    pub kind: Option<String>,
    /// Those of one room: itself, its SFU and recorders, and the sessions that are in it.
    pub room: Option<RoomId>,
    /// So many at most, those with most waiting first of each kind.
    pub limit: u32,
}

/// `GET /admin/actors`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Actors {
    /// By kind from the root down, and of each kind those with most messages waiting first.
    pub items: Vec<ActorView>,
    /// How many match on all nodes that answered.
    pub total: u32,
    /// Whether there are more than `items` has.
    pub truncated: bool,
    /// Actors that failed lately, the last first.
    pub failures: Vec<ActorFailure>,
    /// Nodes that were asked and did not answer in time.
    pub silent: Vec<NodeId>,
}

/// One node's part of [`Actors`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActorPage {
    /// As [`Actors::items`].
    pub items: Vec<ActorView>,
    /// How many match there.
    pub total: u32,
    /// Actors that failed there lately, the last first.
    pub failures: Vec<ActorFailure>,
}

/// An actor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActorView {
    /// Names it in the cluster, while its node runs: a number, `@` and the node.
    pub id: String,
    /// Where it runs.
    pub node: NodeId,
    /// `node`, `rooms`, `room`, `sfu`, `peers`, `peer`, `invites`, `recordings`, `recorder`.
    pub kind: String,
    /// What it is there for: a room's, session's or recording's id.
    pub name: Option<String>,
    /// The room that it belongs to, of actors that are made for one.
    pub room: Option<RoomId>,
    /// The actor that supervises it; null for a root.
    pub parent: Option<String>,
    /// How many actors it supervises.
    pub children: u32,
    /// When it was started.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// Null for one that only supervises.
    pub mailbox: Option<MailboxView>,
    /// What went wrong last with it, or with the one before it that had the same task.
    pub last_error: Option<ActorError>,
    /// How often it was started anew after a failure.
    pub restarts: u32,
    /// Whether it answered for its state in time. One that only supervises is not asked.
    pub answers: bool,
    /// Its state in short; what is in it depends on the kind. Null when it was not asked, or did not answer.
    pub state: Option<Value>,
}

/// How an actor does with its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailboxView {
    /// Messages that wait.
    pub depth: u32,
    /// Most that ever waited.
    pub high_water: u32,
    /// More are refused, or dropped; null: nothing bounds them here but where they come from.
    pub bound: Option<u32>,
    /// Messages handled.
    pub handled: u64,
    /// Messages refused at the bound.
    pub refused: u32,
    /// For how long it has been at the message that it handles now; null when it is at none.
    pub busy_ms: Option<u64>,
    /// When it last took a message.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_message_at: Option<OffsetDateTime>,
}

/// What went wrong with an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActorError {
    /// For people.
    pub message: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// An actor that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActorFailure {
    /// Where it ran.
    pub node: NodeId,
    /// Its kind, as [`ActorView::kind`].
    pub kind: String,
    /// What it was there for.
    pub name: Option<String>,
    /// How often one with this task has failed.
    pub failures: u32,
    /// The last time.
    pub error: ActorError,
}

/// `GET /admin/rooms/{id}`: a room that runs, in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoomInspection {
    /// As `GET /rooms/{room}` shows it, with who is in it and what they publish.
    pub room: Room,
    /// The node that has it.
    pub node: NodeId,
    /// Its ownership: grows each time that a node takes it.
    pub epoch: u64,
    /// The node that would take it over.
    pub standby: Option<NodeId>,
    /// In force: `sfu` or `p2p`.
    pub mode: Mode,
    /// Of its SFU: `absent` (nobody needs one), `starting`, `up`.
    pub sfu: String,
    /// The recording that runs.
    pub recording: Option<Recording>,
    /// How the recorder does, as its actor says; null when there is none or it did not answer in time.
    pub recorder: Option<Value>,
    /// Who speaks, loudest first.
    pub active_speakers: Vec<ParticipantId>,
    /// What operators see of each participant, in the order of `room.participants`.
    pub members: Vec<MemberInspection>,
    /// Whether `media` of some was left out for its size, or because the SFU did not answer in time.
    pub truncated: bool,
}

/// What operators see of a participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemberInspection {
    /// Who.
    pub participant_id: ParticipantId,
    /// Their session.
    pub session: SessionId,
    /// The node that the session is on, which need not be the room's.
    pub node: NodeId,
    /// How well their connections do.
    pub quality: Quality,
    /// What is wrong, unless nothing is: a word of `connection-quality`.
    pub cause: Option<String>,
    /// Whether they hold everything.
    pub on_hold: bool,
    /// Whether tracks are offered to them unasked: `auto` or `manual`.
    #[schema(value_type = String)]
    pub subscribe: SubscribePolicy,
    /// How many cameras they receive, if they said so.
    pub last_n: Option<u32>,
    /// Their media: `worker`, and `connections` as `stats` shows them, with tracks sent and received, layers, loss and
    /// estimates. Null where media does not go through the server.
    pub media: Option<Value>,
}
