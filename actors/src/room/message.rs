//! What a room is told by others, and the handle by which they tell it.

use std::net::IpAddr;
use std::sync::Arc;

use caside_protocol::client::{ClientMessage, SubscribePolicy};
use caside_protocol::error::Refusal;
use caside_protocol::rest::UpdateRoom;
use caside_protocol::server::ServerMessage;
use caside_protocol::view::{self, Mode};
use caside_protocol::{ParticipantId, RecordingId, RoomId, UserId};
use tokio::sync::oneshot;

use super::command::{Act, Authority, Standing};
use super::effects::Report;
use super::history::EventLog;
use super::wiring::{OwnSfu, Recorder};
use crate::mailbox::{Mailbox, Named, Overloaded};
use crate::peer::{DrainGuard, PeerLink, Reply};
use crate::ports::RecorderEvent;
use crate::sfu::SfuEvent;

/// Somebody at the door, with the way back to them.
#[derive(Debug)]
pub(crate) struct JoinRequest {
    /// Which room.
    pub(crate) room: RoomId,
    /// For a room that is made by this join.
    pub(crate) mode: Option<Mode>,
    /// Whether the token makes rooms by joining them.
    pub(crate) may_create: bool,
    /// Whether a room that it makes is its user's.
    pub(crate) owns: bool,
    /// Their id, if they are let in.
    pub(crate) participant: ParticipantId,
    /// The user behind it.
    pub(crate) user: UserId,
    /// The name to show.
    pub(crate) display_name: String,
    /// What the token says.
    pub(crate) standing: Standing,
    /// Whether tracks are offered unasked.
    pub(crate) subscribe: SubscribePolicy,
    /// How many cameras they receive, if they said so.
    pub(crate) last_n: Option<u32>,
    /// From where.
    pub(crate) client_ip: Option<IpAddr>,
    /// The session's events so far.
    pub(crate) log: EventLog,
    /// The way back.
    pub(crate) link: PeerLink,
    /// The request to answer.
    pub(crate) reply: Reply,
}

impl JoinRequest {
    /// Whose room it is that this join makes.
    pub(crate) fn owner(&self) -> Option<&UserId> {
        self.owns.then_some(&self.user)
    }

    /// Keeps them out.
    pub(crate) fn refuse(self, refusal: Refusal) {
        self.link.refuse(self.reply, refusal, self.log);
    }
}

/// A message to a room.
#[derive(Debug)]
pub(crate) enum RoomMsg {
    /// Somebody wants in; sent by the supervisor, which counts.
    Join(Box<JoinRequest>),
    Rejoin {
        participant: ParticipantId,
        reply: Reply,
    },
    Resume {
        participant: ParticipantId,
        last_seq: u64,
    },
    Lost {
        participant: ParticipantId,
    },
    Leave {
        participant: ParticipantId,
        reply: Option<Reply>,
    },
    Gone {
        participant: ParticipantId,
    },
    Renewed {
        participant: ParticipantId,
        standing: Standing,
    },
    Ask {
        participant: ParticipantId,
        reply: Reply,
        message: Box<ClientMessage>,
    },
    Post {
        participant: ParticipantId,
        message: Arc<ServerMessage>,
    },
    View(oneshot::Sender<view::Room>),
    Act {
        by: Authority,
        act: Act,
        answer: oneshot::Sender<Result<Report, Refusal>>,
    },
    Update {
        change: Box<UpdateRoom>,
        done: oneshot::Sender<()>,
    },
    Close {
        tell: bool,
        done: Option<DrainGuard>,
    },
    SfuStarted {
        incarnation: u64,
        result: Result<OwnSfu, String>,
    },
    Sfu {
        incarnation: u64,
        event: Box<SfuEvent>,
    },
    RecorderStarted {
        recording: RecordingId,
        result: Result<Recorder, String>,
    },
    Recorder {
        recording: RecordingId,
        event: RecorderEvent,
    },
    Tick,
}

impl Named for RoomMsg {
    fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Rejoin { .. } => "rejoin",
            Self::Resume { .. } => "resume",
            Self::Lost { .. } => "lost",
            Self::Leave { .. } => "leave",
            Self::Gone { .. } => "gone",
            Self::Renewed { .. } => "renewed",
            Self::Ask { .. } => "ask",
            Self::Post { .. } => "post",
            Self::View(_) => "view",
            Self::Act { .. } => "act",
            Self::Update { .. } => "update",
            Self::Close { .. } => "close",
            Self::SfuStarted { .. } => "sfu_started",
            Self::Sfu { .. } => "sfu",
            Self::RecorderStarted { .. } => "recorder_started",
            Self::Recorder { .. } => "recorder",
            Self::Tick => "tick",
        }
    }
}

/// A way to one room; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RoomHandle {
    id: RoomId,
    mailbox: Mailbox<RoomMsg>,
}

impl RoomHandle {
    pub(super) fn new(id: RoomId, mailbox: Mailbox<RoomMsg>) -> Self {
        Self { id, mailbox }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &RoomId {
        &self.id
    }

    /// Asks for something that may be refused at the mailbox's bound.
    pub(crate) fn send(&self, message: RoomMsg) -> Result<(), Overloaded<RoomMsg>> {
        self.mailbox.send(message)
    }

    /// Tells what must not be lost and comes once a session. `false` when the room is gone.
    pub(crate) fn post(&self, message: RoomMsg) -> bool {
        self.mailbox.post(message)
    }

    /// The actor, for supervision.
    pub(crate) fn mailbox(&self) -> &Mailbox<RoomMsg> {
        &self.mailbox
    }
}
