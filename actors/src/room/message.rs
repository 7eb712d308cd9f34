//! What a room is told by others, and the handle by which they tell it.

use std::net::IpAddr;

use caside_protocol::client::SubscribePolicy;
use caside_protocol::error::Refusal;
use caside_protocol::explain::ExplainedCall;
use caside_protocol::inspect::RoomInspection;
use caside_protocol::node::{Act, Credentials, JoinOrder, Member, Report};
use caside_protocol::rest::UpdateRoom;
use caside_protocol::view::{self, Mode};
use caside_protocol::{ParticipantId, RecordingId, RoomId, SessionId, UserId};
use tokio::sync::oneshot;

use super::command::{Authority, Standing};
use super::history::EventLog;
use super::way::Order;
use super::wiring::{OwnSfu, Recorder};
use crate::mailbox::{Inspected, Mailbox, Named, Overloaded};
use crate::observed::Asked;
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
    /// Their id, if they are let in.
    pub(crate) participant: ParticipantId,
    /// On which session they are.
    pub(crate) session: SessionId,
    /// The name to show.
    pub(crate) display_name: String,
    /// Who they are.
    pub(crate) credentials: Box<Credentials>,
    /// Whether tracks are offered unasked.
    pub(crate) subscribe: SubscribePolicy,
    /// How many cameras they receive, if they said so.
    pub(crate) last_n: Option<u32>,
    /// From where.
    pub(crate) client_ip: Option<IpAddr>,
    /// The session's events so far.
    pub(crate) log: EventLog,
    /// The caller whose room this is to be, of one that a call makes.
    pub(crate) caller: Option<UserId>,
    /// The way back.
    pub(crate) link: PeerLink,
    /// The request to answer.
    pub(crate) reply: Reply,
    /// How often it was sent to a node that turned out not to have the room.
    pub(crate) detours: u8,
}

/// How often a join is sent on from where the room turns out not to be.
pub(crate) const MAX_DETOURS: u8 = 5;

impl JoinRequest {
    /// The user.
    pub(crate) fn user(&self) -> &UserId {
        &self.credentials.claims.sub
    }

    /// What the token says of the room.
    pub(crate) fn standing(&self) -> Standing {
        Standing::from(&self.credentials.claims)
    }

    /// Whether the token makes rooms by joining them.
    pub(crate) fn may_create(&self) -> bool {
        self.credentials.claims.makes_rooms_by_joining()
    }

    /// Whose room it is that this join makes.
    pub(crate) fn owner(&self) -> Option<&UserId> {
        self.credentials.claims.owns_what_it_makes().then(|| self.user())
    }

    /// As it goes to another node.
    pub(crate) fn order(&self) -> JoinOrder {
        JoinOrder {
            request: 0,
            mode: self.mode,
            display_name: self.display_name.clone(),
            credentials: (*self.credentials).clone(),
            subscribe: self.subscribe,
            last_n: self.last_n,
            client_ip: self.client_ip,
            log: self.log.state(),
            caller: self.caller.clone(),
        }
    }

    /// Whether they are on this node.
    pub(crate) fn is_from_here(&self) -> bool {
        self.link.address().is_none()
    }

    /// Keeps them out.
    pub(crate) fn refuse(self, refusal: Refusal) {
        self.link.refuse(self.reply, refusal, self.log);
    }
}

/// Who waits for a room that is handed over.
#[derive(Debug)]
pub(crate) struct Handing {
    /// Until it is the other node's: then the next one has its turn.
    #[allow(dead_code, reason = "its end is what counts")]
    pub(crate) turn: DrainGuard,
    /// Until its media has ended here.
    pub(crate) done: DrainGuard,
}

/// A message to a room.
#[derive(Debug)]
pub(crate) enum RoomMsg {
    /// Somebody wants in; sent by the supervisor, which counts.
    Join(Box<JoinRequest>),
    /// A participant's session says something.
    Order {
        participant: ParticipantId,
        order: Order,
    },
    /// Another node can be reached from now on.
    Linked,
    /// The room was taken over, and others find it here now.
    Announce,
    /// What has changed is to be kept for others.
    Mirror,
    /// The directory has taken, or not, what was kept.
    Mirrored,
    /// Another node is to have the room.
    HandOver {
        to: Member,
        handing: Handing,
    },
    /// It has, under this ownership, or could not.
    HandedOver {
        to: Option<(Member, u64)>,
        handing: Option<Handing>,
    },
    /// The room is not this node's any more.
    LetGo,
    /// A node cannot be reached: the sessions there are lost until they say otherwise.
    Unlinked(Member),
    View(oneshot::Sender<view::Room>),
    /// What happened in the call, and what is wrong.
    Explain(oneshot::Sender<Box<ExplainedCall>>),
    /// The room directory does not answer, or answers again.
    DirectoryAway(bool),
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
    /// An operator wants it in full.
    Examine(oneshot::Sender<Box<RoomInspection>>),
    /// An operator looks.
    Inspect(Asked),
}

impl Named for RoomMsg {
    fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Order { order, .. } => order.name(),
            Self::Linked => "linked",
            Self::Announce => "announce",
            Self::Mirror => "mirror",
            Self::Mirrored => "mirrored",
            Self::HandOver { .. } => "hand_over",
            Self::HandedOver { .. } => "handed_over",
            Self::LetGo => "let_go",
            Self::Unlinked(_) => "unlinked",
            Self::View(_) => "view",
            Self::Explain(_) => "explain",
            Self::DirectoryAway(_) => "directory_away",
            Self::Act { .. } => "act",
            Self::Update { .. } => "update",
            Self::Close { .. } => "close",
            Self::SfuStarted { .. } => "sfu_started",
            Self::Sfu { .. } => "sfu",
            Self::RecorderStarted { .. } => "recorder_started",
            Self::Recorder { .. } => "recorder",
            Self::Tick => "tick",
            Self::Examine(_) => "examine",
            Self::Inspect(_) => "inspect",
        }
    }
}

impl Inspected for RoomMsg {
    fn inspect(asked: Asked) -> Self {
        Self::Inspect(asked)
    }
}

impl RoomMsg {
    /// The order that came back.
    pub(super) fn into_order(self) -> Order {
        match self {
            Self::Order { order, .. } => order,
            other => {
                tracing::error!(message = other.name(), "another message came back than was sent");
                Order::Lost
            }
        }
    }
}

/// A way to one room of this node; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RoomHandle {
    id: RoomId,
    epoch: u64,
    mailbox: Mailbox<RoomMsg>,
}

impl RoomHandle {
    pub(super) fn new(id: RoomId, epoch: u64, mailbox: Mailbox<RoomMsg>) -> Self {
        Self { id, epoch, mailbox }
    }

    /// Its ownership.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Its id.
    pub(crate) fn id(&self) -> &RoomId {
        &self.id
    }

    /// Asks for something that may be refused at the mailbox's bound.
    #[expect(
        clippy::result_large_err,
        reason = "it is what was to be sent, and goes to whoever can answer it"
    )]
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
