//! What one node asks another, and is answered.

use serde::{Deserialize, Serialize};

use super::Member;
use super::room::{Credentials, LogState};
use crate::claims::Claims;
use crate::error::Refusal;
use crate::explain::{ExplainedCall, KnownRefusal};
use crate::inspect::{ActorPage, ActorQuery, RoomInspection};
use crate::rest::{Recording, RunningRoom, UpdateRoom};
use crate::view::{Participant, Room};
use crate::{CallId, InviteId, ParticipantId, Role, RoomId, SessionId, TrackId, UserId};

/// A question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Question {
    /// A room as REST shows it; answered by [`Answer::Room`].
    View(RoomId),
    /// Something done to a room by REST; answered by [`Answer::Report`].
    Act {
        /// Which room.
        room: RoomId,
        /// Who does it.
        by: Box<Claims>,
        /// What.
        act: Act,
    },
    /// A room's configuration changed; answered by [`Answer::Done`], whether it runs there.
    Update {
        /// Which room.
        room: RoomId,
        /// What.
        change: Box<UpdateRoom>,
    },
    /// A room was deleted; answered by [`Answer::Done`], whether it ran there.
    Delete(RoomId),
    /// Whether a token is for the room that runs, and not for an earlier one of the same id; answered by [`Answer::Admits`].
    Admits {
        /// Which room.
        room: RoomId,
        /// The token.
        claims: Box<Claims>,
    },
    /// The rooms that run there; answered by [`Answer::Rooms`].
    Rooms,
    /// Drains and ends; answered by [`Answer::Done`].
    Drain,
    /// Whether a room runs there, and under which ownership; answered by [`Answer::Runs`].
    Runs(RoomId),
    /// The room whose call this is; answered by [`Answer::RoomOfCall`].
    RoomOfCall(CallId),
    /// Gives up the session of this resume token: its client is at the asking node now; answered by [`Answer::Session`].
    Depart {
        /// SHA-256 of the token.
        resume: [u8; 32],
    },
    /// A room that is handed over; answered by [`Answer::Done`], whether it is open there.
    Adopt {
        /// Which room.
        room: RoomId,
        /// The ownership of the one that is asked.
        epoch: u64,
        /// Its state, as rooms write it.
        #[serde(with = "serde_bytes")]
        state: Vec<u8>,
    },
    /// Whether a user has a session there by which they are called; answered by [`Answer::Done`].
    IsOnline(UserId),
    /// A session here takes an invitation of the other node's book; answered by [`Answer::Invited`].
    TakeInvite {
        /// Which.
        invite: InviteId,
        /// Whose.
        user: UserId,
        /// Who takes it.
        session: SessionId,
    },
    /// A session here turns one down; answered by [`Answer::Done`], whether it was in the book.
    DeclineInvite {
        /// Which.
        invite: InviteId,
        /// Whose.
        user: UserId,
        /// Who does.
        session: SessionId,
    },
    /// The participant of this resume token, whose session's node is gone; answered by [`Answer::Orphan`].
    FindOrphan {
        /// SHA-256 of the token.
        resume: [u8; 32],
    },
    /// What is known there of a call, by its id or its room's; answered by [`Answer::Explained`].
    Explain {
        /// A call's id, or a room's.
        id: String,
    },
    /// The actors that run there; answered by [`Answer::Actors`].
    Actors(Box<ActorQuery>),
    /// A room in full; answered by [`Answer::Examined`].
    Examine(RoomId),
}

impl Question {
    /// A stable word for its kind, for traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::View(_) => "view",
            Self::Act { .. } => "act",
            Self::Update { .. } => "update",
            Self::Delete(_) => "delete",
            Self::Admits { .. } => "admits",
            Self::Rooms => "rooms",
            Self::Drain => "drain",
            Self::Runs(_) => "runs",
            Self::RoomOfCall(_) => "room_of_call",
            Self::Depart { .. } => "depart",
            Self::Adopt { .. } => "adopt",
            Self::IsOnline(_) => "is_online",
            Self::TakeInvite { .. } => "take_invite",
            Self::DeclineInvite { .. } => "decline_invite",
            Self::FindOrphan { .. } => "find_orphan",
            Self::Explain { .. } => "explain",
            Self::Actors(_) => "actors",
            Self::Examine(_) => "examine",
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Answer {
    /// Answers [`Question::View`]; `None` when it does not run there.
    Room(Result<Option<Box<Room>>, Refusal>),
    /// Answers [`Question::Act`]; `None` when the room does not run there.
    Report(Result<Option<Report>, Refusal>),
    /// Answers [`Question::Update`] and [`Question::Delete`].
    Done(Result<bool, Refusal>),
    /// Answers [`Question::Admits`]; `None` when the room does not run there.
    Admits(Option<bool>),
    /// Answers [`Question::Rooms`]; of very many those that fit.
    Rooms(Vec<RunningRoom>),
    /// Answers [`Question::Runs`].
    Runs(Option<u64>),
    /// Answers [`Question::RoomOfCall`].
    RoomOfCall(Option<RoomId>),
    /// Answers [`Question::Depart`]; `None` when there is no such session.
    Session(Option<Box<Departing>>),
    /// Answers [`Question::TakeInvite`]; `None` when it is not in the book.
    Invited(Option<Invited>),
    /// Answers [`Question::FindOrphan`].
    Orphan(Option<Box<Orphan>>),
    /// Answers [`Question::Explain`].
    Explained {
        /// As its room tells it; `None` when it does not run there.
        call: Option<Box<ExplainedCall>>,
        /// Who was not let in there; of very many the last.
        refused: Vec<KnownRefusal>,
    },
    /// Answers [`Question::Actors`]; of very many those that fit.
    Actors(Box<ActorPage>),
    /// Answers [`Question::Examine`]; `None` when it does not run there.
    Examined(Result<Option<Box<RoomInspection>>, Refusal>),
    /// The question is of a kind that the other node does not know.
    Unsupported,
}

/// What REST may do to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Mutes one track, or all.
    Mute(ParticipantId, Option<TrackId>),
    /// Removes a participant.
    Kick(ParticipantId),
    /// Gives a role.
    SetRole(ParticipantId, Role),
    /// Starts recording.
    StartRecording,
    /// Stops it.
    StopRecording,
    /// Ends the call for everybody.
    EndCall,
}

/// What came of an [`Act`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// Of an act on a participant.
    Participant(Box<Participant>),
    /// Of starting and stopping a recording.
    Recording(Box<Recording>),
    /// Of ending a call.
    Call(CallId),
}

/// Where an invitation leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// The room.
    pub room: RoomId,
    /// Whose it is to be, of one that a call makes.
    pub caller: Option<UserId>,
}

/// A session that goes to another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Departing {
    /// What its token says.
    pub claims: Claims,
    /// Where it is.
    pub place: DepartingPlace,
    /// The last event that went to its client.
    pub last_seq: u64,
}

/// Where a session is that goes to another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DepartingPlace {
    /// In no room; with its events.
    Outside(LogState),
    /// In a room.
    Inside {
        /// Which.
        room: RoomId,
        /// As whom.
        participant: ParticipantId,
        /// Who has the room.
        owner: Member,
        /// Its ownership.
        epoch: u64,
    },
}

/// A participant whose session's node is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Orphan {
    /// Who.
    pub participant: ParticipantId,
    /// In which room, which the answering node has.
    pub room: RoomId,
    /// Its ownership.
    pub epoch: u64,
    /// Who they are.
    pub credentials: Credentials,
}
