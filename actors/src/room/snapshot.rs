//! What another node has to know of a room to go on with it: who is here, what they publish, what is recorded. No media, and
//! of events only what a room that is handed over in order takes along.

use std::time::Duration;

use caside_protocol::client::{ClientMessage, SubscribePolicy};
use caside_protocol::node::{Address, Credentials, LogState};
use caside_protocol::rest::Recording;
use caside_protocol::server::MoveReason;
use caside_protocol::view::{Mode, Track};
use caside_protocol::{CallId, Grants, ParticipantId, Role, Timestamp, UserId};
use caside_store::JournalEntry;
use caside_store::journal::CallStarted;
use caside_store::rooms::StoredRoom;
use serde::{Deserialize, Serialize};

use super::command::{Command, Moment};
use super::effects::Effect;
use super::history::EventLog;
use super::media::Told;
use super::participant::{Asked, Participant};
use super::state::{RoomState, Setup};
use crate::sfu::SfuEvent;

/// How long a publisher has to publish anew after the room moved, until its tracks are over.
const AWAITED_FOR: Duration = Duration::from_secs(15);

/// A room at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Of two of one ownership, the later one.
    pub(crate) revision: u64,
    /// Of the ownership.
    pub(crate) epoch: u64,
    pub(crate) room: StoredRoom,
    #[serde(default)]
    pub(crate) ringing: bool,
    /// In force.
    pub(crate) mode: Mode,
    pub(crate) call: Option<CallId>,
    pub(crate) participants: Vec<Kept>,
    pub(crate) recording: Option<Recording>,
    #[serde(default)]
    pub(crate) recorded_by_itself: bool,
}

/// A participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) id: ParticipantId,
    pub(crate) user: UserId,
    pub(crate) display_name: String,
    pub(crate) role: Role,
    pub(crate) grants: Grants,
    pub(crate) role_given: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) joined_at: Timestamp,
    pub(crate) subscribe: SubscribePolicy,
    pub(crate) last_n: Option<u32>,
    pub(crate) on_hold: bool,
    pub(crate) tracks: Vec<Track>,
    /// Where their session is; filled in by the shell.
    pub(crate) address: Option<Address>,
    /// Who they are; filled in by the shell.
    pub(crate) credentials: Option<Credentials>,
    /// What they were told; only of a room that is handed over.
    #[serde(default)]
    pub(crate) log: Option<LogState>,
}

/// Whether another owner would have to know of what a command does.
pub(super) fn changes_state(command: &Command) -> bool {
    match command {
        Command::Rejoin { .. } | Command::Post { .. } | Command::Close { .. } | Command::SfuRefused { .. } => false,
        Command::DirectoryAway(_) => false,
        Command::Ask { message, .. } => !matches!(
            message,
            ClientMessage::Offer(_)
                | ClientMessage::Answer(_)
                | ClientMessage::IceCandidate(_)
                | ClientMessage::Subscribe(_)
                | ClientMessage::Chat(_)
                | ClientMessage::Data(_)
                | ClientMessage::Dtmf(_)
                | ClientMessage::Stats
                | ClientMessage::MediaReport(_)
                | ClientMessage::GetRoomInfo
                | ClientMessage::Invite(_)
        ),
        Command::Sfu(event) => matches!(event, SfuEvent::PublishAnswered { .. } | SfuEvent::Unpublished { .. }),
        _ => true,
    }
}

impl RoomState {
    /// The room as it is, for whoever takes it over; `with_logs` when that is done in order.
    pub(crate) fn snapshot(&self, with_logs: bool) -> Snapshot {
        let (recording, recorded_by_itself) = self.recording.to_go_on();
        let keep = |p: &Participant| Kept {
            id: p.id,
            user: p.user.clone(),
            display_name: p.display_name.clone(),
            role: p.role,
            grants: p.grants,
            role_given: p.role_given,
            joined_at: p.joined_at,
            subscribe: p.subscribe,
            last_n: p.last_n,
            on_hold: p.on_hold,
            tracks: p.view().tracks,
            address: None,
            credentials: None,
            log: with_logs.then(|| p.log.state()),
        };
        Snapshot {
            revision: self.revision,
            epoch: self.setup.epoch,
            room: self.setup.room.clone(),
            ringing: self.setup.ringing,
            mode: self.mode,
            call: self.call,
            participants: self.participants.values().map(|p| keep(p)).collect(),
            recording,
            recorded_by_itself,
        }
    }

    /// The room of an owner before this one. Its participants are here when their sessions have spoken up.
    pub(crate) fn take_over(setup: Setup, snapshot: Snapshot, reason: MoveReason, now: Moment) -> (Self, Vec<Effect>) {
        let (history, grace) = (setup.history, setup.grace);
        let mut room = Self::new(setup);
        room.mode = snapshot.mode;
        room.call = snapshot.call;
        room.revision = snapshot.revision + 1;
        for kept in snapshot.participants {
            let is_awaited = snapshot.mode == Mode::Sfu && !kept.tracks.is_empty();
            let log = kept.log.map(|log| EventLog::from_state(log, history));
            let participant = Participant {
                id: kept.id,
                user: kept.user,
                display_name: kept.display_name,
                role: kept.role,
                grants: kept.grants,
                role_given: kept.role_given,
                joined_at: kept.joined_at,
                subscribe: kept.subscribe,
                last_n: kept.last_n,
                log: log.unwrap_or_else(|| EventLog::after(0, history)),
                tracks: Vec::new(),
                awaited: if is_awaited { kept.tracks } else { Vec::new() },
                awaited_until: is_awaited.then(|| now.elapsed + grace + AWAITED_FOR),
                wishes: Vec::new(),
                // Begins when they have been told.
                to_begin: (snapshot.mode == Mode::Sfu).then(|| now.elapsed + grace),
                estranged: Some(reason),
                asked: Asked::default(),
                lost_until: Some(now.elapsed + grace),
                on_hold: kept.on_hold,
                down: Vec::new(),
                judged: None,
            };
            room.participants.insert(kept.id, Box::new(participant));
        }
        room.explain_taking_over(now, reason);
        if let Some(call) = room.call {
            // Takes the call up for this node: one that is started anew does not end what it no longer has.
            room.journal(JournalEntry::CallStarted(CallStarted {
                call,
                room: room.setup.room.id.clone(),
                owner: room.setup.room.owner.clone(),
                created_at: now.utc,
                started_at: now.utc,
                node: room.setup.node.clone(),
                epoch: room.setup.epoch,
            }));
        }
        room.go_on_recording(snapshot.recording, snapshot.recorded_by_itself);
        let effects = std::mem::take(&mut room.effects);
        (room, effects)
    }

    /// Ends the tracks that were published before the room moved and were not again.
    pub(super) fn give_up_awaited(&mut self, now: Moment) {
        let due = |p: &Participant| p.awaited_until.is_some_and(|until| until <= now.elapsed);
        let late: Vec<_> = self
            .participants
            .values()
            .filter(|p| due(p))
            .map(|p| (p.id, p.awaited.iter().map(|t| t.track).collect::<Vec<_>>()))
            .collect();
        for (participant, tracks) in late {
            if let Some(member) = self.participants.get_mut(&participant) {
                member.awaited_until = None;
            }
            self.unpublished(participant, tracks, Told::All);
        }
    }
}
