//! A room as a function of time and commands: `apply(now, command) -> effects`. It owns no actor, clock, socket or
//! source of randomness. Each subject has its own file; here are what they share and the way in.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use caside_protocol::client::ClientMessage;
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::rest::UpdateRoom;
use caside_protocol::server::{ModeChanged, ModeReason, RoomUpdated, ServerMessage};
use caside_protocol::view::{self, Mode, RecordPolicy, RoomActivity};
use caside_protocol::{CallId, NodeId, ParticipantId, Permission, Role};
use caside_store::JournalEntry;
use caside_store::rooms::StoredRoom;
use uuid::Uuid;

use super::command::{Command, Moment, ReplyId};
use super::effects::Effect;
use super::explain::Explain;
use super::participant::Participant;
use super::recording::RecordingRun;
use super::snapshot::changes_state;
use crate::sfu::SfuCommand;

/// Makes ids; UUIDv7 in production.
pub(crate) type Ids = Box<dyn FnMut() -> Uuid + Send>;

/// What a room begins with.
pub(crate) struct Setup {
    /// The room as configured.
    pub room: StoredRoom,
    /// Taken up by the first join.
    pub waiting_call: Option<CallId>,
    /// Whether it was made to ring a user.
    pub ringing: bool,
    /// Who runs it.
    pub node: NodeId,
    /// Of the ownership.
    pub epoch: u64,
    /// Most participants of any room here.
    pub max_size: u32,
    /// How long a dropped socket is waited for.
    pub grace: Duration,
    /// Events kept for each participant's resume.
    pub history: usize,
    /// How long the SFU's answer is waited for.
    pub media_timeout: Duration,
    /// Makes ids.
    pub ids: Ids,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("room", &self.room.id)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// A request that the SFU is to answer.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) participant: ParticipantId,
    pub(super) reply: ReplyId,
    pub(super) deadline: Duration,
}

/// A room.
#[derive(Debug)]
pub(crate) struct RoomState {
    pub(super) setup: Setup,
    /// In force: `Sfu` or `P2p`.
    pub(super) mode: Mode,
    /// On while somebody is here.
    pub(super) call: Option<CallId>,
    /// Boxed, for a map's node has place for eleven.
    pub(super) participants: BTreeMap<ParticipantId, Box<Participant>>,
    pub(super) speakers: Vec<ParticipantId>,
    pub(super) recording: RecordingRun,
    /// Whether there is an SFU; it starts when media first needs it.
    pub(super) sfu: bool,
    pub(super) pending: HashMap<u64, Pending>,
    pub(super) next_request: u64,
    pub(super) effects: Vec<Effect>,
    /// As of the last command.
    pub(super) elapsed: Duration,
    /// Grows with each change that another owner would have to know.
    pub(super) revision: u64,
    /// What happened, and what is wrong.
    pub(super) explain: Box<Explain>,
}

impl RoomState {
    /// An empty room.
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            mode: starting_mode(&setup.room),
            setup,
            call: None,
            participants: BTreeMap::new(),
            speakers: Vec::new(),
            recording: RecordingRun::default(),
            sfu: false,
            pending: HashMap::new(),
            next_request: 0,
            effects: Vec::new(),
            elapsed: Duration::ZERO,
            revision: 0,
            explain: Box::default(),
        }
    }

    /// Takes a command and says what follows from it.
    pub(crate) fn apply(&mut self, now: Moment, command: Command) -> Vec<Effect> {
        self.elapsed = now.elapsed;
        self.revision += u64::from(changes_state(&command));
        self.note_command(&now, &command);
        match command {
            Command::Join(entry) => self.join(now, *entry),
            Command::Rejoin { participant, reply } => self.rejoin(participant, reply),
            Command::Resume { participant, last_seq } => self.resume(participant, last_seq),
            Command::Here {
                participant,
                last_seq,
                connected,
            } => self.here(now, participant, last_seq, connected),
            Command::Departing { participant } => self.departing(now, participant),
            Command::Lost { participant } => self.lost(now, participant),
            Command::Leave { participant, reply } => self.leave(now, participant, reply),
            Command::Gone { participant } => self.gone(now, participant),
            Command::Renewed { participant, standing } => self.renewed(participant, standing),
            Command::Ask {
                participant,
                reply,
                message,
            } => self.ask(now, participant, reply, message),
            Command::Post { participant, message } => self.deliver(participant, message),
            Command::Act { by, ticket, act } => self.act(now, &by, ticket, act),
            Command::Update(change) => self.update(change),
            Command::Close { tell } => self.close(now, tell),
            Command::Sfu(event) => self.sfu_event(now, event),
            Command::SfuRefused { request } => self.sfu_refused(request),
            Command::SfuUnavailable => self.sfu_unavailable(),
            Command::SfuLost => self.sfu_lost(),
            Command::RecorderStarted { recording, failure } => self.recorder_started(now, recording, failure),
            Command::Recorder { recording, event } => self.recorder_event(now, recording, event),
            // What is to be told of it is told with what else was noted.
            Command::DirectoryAway(_) => {}
            Command::Tick => self.tick(now),
        }
        self.note_effects(&now);
        std::mem::take(&mut self.effects)
    }

    /// When the next [`Command::Tick`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let lost = self.participants.values().filter_map(|p| p.lost_until);
        let awaited = self.participants.values().filter_map(|p| p.awaited_until);
        let awaited = awaited.chain(self.participants.values().filter_map(|p| p.to_begin));
        let pending = self.pending.values().map(|p| p.deadline);
        lost.chain(awaited).chain(pending).chain(self.explain.next_look()).min()
    }

    /// Whether nobody is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.participants.is_empty()
    }

    /// How many are here.
    pub(crate) fn len(&self) -> usize {
        self.participants.len()
    }

    /// The call that is on.
    pub(crate) fn call(&self) -> Option<CallId> {
        self.call
    }

    /// As REST shows it.
    pub(crate) fn view(&self) -> view::Room {
        let room = &self.setup.room;
        view::Room {
            id: room.id.clone(),
            name: room.name.clone(),
            mode: room.mode,
            state: if self.is_empty() {
                RoomActivity::Inactive
            } else {
                RoomActivity::Active
            },
            max_participants: room.max_participants,
            last_n: room.last_n,
            audio_last_n: room.audio_last_n,
            record: room.record,
            locked: room.locked,
            metadata: room.metadata.clone(),
            created_at: room.created_at,
            owner: room.owner.clone(),
            call_id: self.call,
            node: Some(self.setup.node.clone()),
            participants: self.participants.values().map(|p| p.view()).collect(),
        }
    }

    /// As a member sees it.
    pub(super) fn seen_by(&self, reader: ParticipantId) -> view::RoomState {
        let room = &self.setup.room;
        view::RoomState {
            room: room.id.clone(),
            name: room.name.clone(),
            mode: self.mode,
            locked: room.locked,
            recording: self.recording.running(),
            participants: self
                .participants
                .values()
                .filter(|p| p.id != reader)
                .map(|p| p.view())
                .collect(),
            active_speakers: self.speakers.clone(),
            metadata: room.metadata.clone(),
        }
    }

    fn ask(&mut self, now: Moment, participant: ParticipantId, reply: ReplyId, message: ClientMessage) {
        if !self.participants.contains_key(&participant) {
            return self.refuse(reply, ErrorCode::NotJoined, "join a room first");
        }
        let result = match message {
            ClientMessage::Offer(offer) => self.offer(now, participant, reply, offer),
            ClientMessage::Answer(answer) => self.answer(now, participant, reply, answer),
            ClientMessage::Watch(watch) => self.watch(now, participant, reply, watch),
            ClientMessage::IceCandidate(candidate) => self.candidate(participant, candidate),
            ClientMessage::Mute(track) => self.mute_own(participant, track.track, true),
            ClientMessage::Unmute(track) => self.mute_own(participant, track.track, false),
            ClientMessage::Hold(hold) => self.hold(participant, hold.track, true),
            ClientMessage::Unhold(hold) => self.hold(participant, hold.track, false),
            ClientMessage::Subscribe(wish) => self.subscribe(participant, wish),
            ClientMessage::SubscribePolicy(change) => self.change_policy(participant, change),
            ClientMessage::Stats => self.stats(now, participant, reply),
            // It was noted; see `explain`.
            ClientMessage::MediaReport(_) => Ok(Some(ServerMessage::ok())),
            ClientMessage::Chat(chat) => self.chat(now, participant, chat),
            ClientMessage::Data(data) => self.data(participant, data),
            ClientMessage::Dtmf(dtmf) => self.dtmf(participant, dtmf),
            ClientMessage::Invite(invite) => self.invite(participant, reply, invite),
            ClientMessage::Kick(target) => self.kick_by(now, participant, target.participant_id),
            ClientMessage::MuteParticipant(mute) => self.mute_by(participant, mute.participant_id, mute.track),
            ClientMessage::SetRole(given) => self.set_role_by(participant, given.participant_id, given.role),
            ClientMessage::Lock => self.lock_by(participant, true),
            ClientMessage::Unlock => self.lock_by(participant, false),
            ClientMessage::StartRecording => self.start_recording_by(now, participant, reply),
            ClientMessage::StopRecording => self.stop_recording_by(now, participant),
            ClientMessage::EndCall => self.end_call_by(now, participant, reply),
            ClientMessage::Hangup => self.hang_up(now, participant, reply),
            ClientMessage::GetRoomInfo => Ok(Some(ServerMessage::RoomInfo(Box::new(self.seen_by(participant))))),
            _ => Err(Refusal::new(
                ErrorCode::UnknownType,
                "a room does not take this message",
            )),
        };
        match result {
            Ok(Some(message)) => self.effects.push(Effect::Answer { reply, message }),
            // Answered already, or when the SFU, the recorder or the invited has answered.
            Ok(None) => {}
            Err(refusal) => self.effects.push(Effect::Answer {
                reply,
                message: refusal.into(),
            }),
        }
    }

    fn update(&mut self, change: UpdateRoom) {
        let before = self.as_members_know_it();
        let room = &mut self.setup.room;
        room.name = change.name.or(room.name.take());
        room.mode = change.mode.unwrap_or(room.mode);
        room.max_participants = change.max_participants.unwrap_or(room.max_participants);
        room.record = change.record.unwrap_or(room.record);
        let limits = (room.last_n, room.audio_last_n);
        room.last_n = change.last_n.unwrap_or(room.last_n);
        room.audio_last_n = change.audio_last_n.unwrap_or(room.audio_last_n);
        let limits_changed = limits != (room.last_n, room.audio_last_n);
        room.locked = change.locked.unwrap_or(room.locked);
        if let Some(metadata) = change.metadata {
            room.metadata = metadata;
        }
        if limits_changed && self.sfu {
            self.limit_media();
        }
        if self.as_members_know_it() != before {
            self.tell_room();
        }
    }

    /// What members are told of the room itself.
    fn as_members_know_it(&self) -> RoomUpdated {
        let room = &self.setup.room;
        RoomUpdated {
            name: room.name.clone(),
            locked: room.locked,
            metadata: room.metadata.clone(),
        }
    }

    pub(super) fn tell_room(&mut self) {
        let room = self.as_members_know_it();
        self.broadcast(None, ServerMessage::RoomUpdated(Box::new(room)));
    }

    fn tick(&mut self, now: Moment) {
        let due = |deadline: Duration| deadline <= now.elapsed;
        let mut late: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, p)| due(p.deadline))
            .map(|(n, _)| *n)
            .collect();
        late.sort_unstable();
        for request in late {
            let text = "the media server did not answer in time";
            self.fail_pending(request, Refusal::new(ErrorCode::NegotiationTimeout, text));
        }
        let over: Vec<ParticipantId> = self
            .participants
            .values()
            .filter(|p| p.lost_until.is_some_and(due))
            .map(|p| p.id)
            .collect();
        for participant in over {
            self.grace_over(now, participant);
        }
        self.give_up_awaited(now);
        self.begin_without_a_word(now);
    }

    // ---- what the subjects share ----------------------------------------------------------------------------------

    /// Most participants now.
    pub(super) fn capacity(&self) -> usize {
        let own = match self.setup.room.max_participants {
            0 => self.setup.max_size,
            own => own.min(self.setup.max_size),
        };
        usize::try_from(own).unwrap_or(usize::MAX)
    }

    pub(super) fn participant(&self, id: ParticipantId) -> Result<&Participant, Refusal> {
        self.participants.get(&id).map(|p| &**p).ok_or_else(not_here)
    }

    pub(super) fn participant_mut(&mut self, id: ParticipantId) -> Result<&mut Participant, Refusal> {
        self.participants.get_mut(&id).map(|p| &mut **p).ok_or_else(not_here)
    }

    /// A participant who may do this.
    pub(super) fn permitted(&self, id: ParticipantId, permission: Permission) -> Result<&Participant, Refusal> {
        let participant = self.participant(id)?;
        if participant.may(permission) {
            Ok(participant)
        } else {
            Err(forbidden(permission))
        }
    }

    /// Numbers an event for a participant and sends it.
    pub(super) fn deliver(&mut self, to: ParticipantId, message: Arc<ServerMessage>) {
        if let Some(participant) = self.participants.get_mut(&to) {
            let seq = participant.log.push(message.clone());
            self.effects.push(Effect::Deliver { to, seq, message });
        }
    }

    /// Sends an event to everybody but `except`.
    pub(super) fn broadcast(&mut self, except: Option<ParticipantId>, message: ServerMessage) {
        let message = Arc::new(message);
        for participant in self.participants.values_mut().filter(|p| Some(p.id) != except) {
            let seq = participant.log.push(message.clone());
            self.effects.push(Effect::Deliver {
                to: participant.id,
                seq,
                message: message.clone(),
            });
        }
    }

    pub(super) fn refuse(&mut self, reply: ReplyId, code: ErrorCode, text: &str) {
        self.effects.push(Effect::Answer {
            reply,
            message: Refusal::new(code, text).into(),
        });
    }

    pub(super) fn journal(&mut self, entry: JournalEntry) {
        self.effects.push(Effect::Journal(entry));
    }

    pub(super) fn id(&mut self) -> Uuid {
        (self.setup.ids)()
    }

    /// Moves a room of two to the SFU; it does not go back while the call lasts.
    pub(super) fn move_to_sfu(&mut self, reason: ModeReason) {
        self.mode = Mode::Sfu;
        self.broadcast(
            None,
            ServerMessage::ModeChanged(ModeChanged {
                mode: Mode::Sfu,
                reason,
            }),
        );
    }

    /// Orders the SFU, if there is one.
    pub(super) fn order(&mut self, command: SfuCommand) {
        if self.sfu {
            self.effects.push(Effect::Sfu(command));
        }
    }
}

/// What is in force when a call begins. A room whose calls are all recorded has its media at the server from the start.
pub(super) fn starting_mode(room: &StoredRoom) -> Mode {
    match (room.mode, room.record) {
        (Mode::P2p, _) => Mode::P2p,
        (Mode::Sfu, _) | (Mode::Auto, RecordPolicy::Auto) => Mode::Sfu,
        (Mode::Auto, RecordPolicy::Off | RecordPolicy::Manual) => Mode::P2p,
    }
}

pub(super) fn not_here() -> Refusal {
    Refusal::new(ErrorCode::ParticipantNotFound, "no such participant is in this room")
}

pub(super) fn forbidden(permission: Permission) -> Refusal {
    let what = match permission {
        Permission::Subscribe => "receive tracks",
        Permission::Publish => "publish",
        Permission::Data => "send messages",
        Permission::Moderate => "moderate",
        Permission::Record => "record",
        Permission::SetRole => "give roles",
        Permission::EndCall => "end the call",
    };
    Refusal::new(ErrorCode::Forbidden, format!("you may not {what} in this room"))
}

/// The one owner of a room made by joining, or by a token's word, else a participant.
pub(super) fn role_of(explicit: Option<Role>, is_owner: bool) -> Role {
    explicit.unwrap_or(if is_owner { Role::Host } else { Role::Participant })
}
