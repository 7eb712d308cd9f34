//! A room on the bench: tests give it commands and read what each participant was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use caside_media::parameters::{ExtensionIds, MediaKind, ProducerParameters};
use caside_protocol::client::{ClientMessage, SubscribePolicy, TrackSource};
use caside_protocol::node::{Act, ReleaseCause, Report, Resumption};
use caside_protocol::server::{MoveReason, ServerMessage};
use caside_protocol::view::{Mode, RecordPolicy, Source, Track, TrackKind};
use caside_protocol::{ErrorCode, Grants, NodeId, ParticipantId, Role, RoomId, Timestamp, TrackId, UserId};
use caside_store::JournalEntry;
use caside_store::rooms::StoredRoom;
use serde_json::Value;
use uuid::Uuid;

use super::command::{Authority, Command, Entry, Moment, ReplyId, Standing, Ticket};
use super::effects::{Effect, RecorderOrder};
use super::history::EventLog;
use super::snapshot::Snapshot;
use super::state::{RoomState, Setup};
use crate::sfu::{PublishedTrack, SfuCommand, SfuEvent};

/// A room as configured, for tests to change.
pub(super) fn room(mode: Mode) -> StoredRoom {
    StoredRoom {
        id: RoomId::new("standup").unwrap(),
        name: None,
        mode,
        max_participants: 0,
        last_n: 0,
        audio_last_n: 0,
        record: RecordPolicy::Manual,
        locked: false,
        metadata: Value::Null,
        owner: Some(user("ada")),
        created_at: Timestamp::UNIX_EPOCH,
        tokens_since: None,
    }
}

/// What a room begins with in tests.
fn setup(room: StoredRoom) -> Setup {
    let mut made = 0;
    Setup {
        room,
        waiting_call: None,
        ringing: false,
        node: NodeId::new("n1").unwrap(),
        epoch: 7,
        max_size: 100,
        grace: Duration::from_secs(15),
        history: 256,
        media_timeout: Duration::from_secs(10),
        ids: Box::new(move || {
            made += 1;
            Uuid::from_u128(0x1d_0000 + made)
        }),
    }
}

pub(super) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

/// The `n`th id; ids of one kind sort by `n`.
pub(super) fn participant(n: u128) -> ParticipantId {
    ParticipantId(Uuid::from_u128(n))
}

pub(super) fn track(n: u128) -> TrackId {
    TrackId(Uuid::from_u128(0x7_0000 + n))
}

pub(super) fn published(owner: ParticipantId, id: TrackId, kind: TrackKind) -> PublishedTrack {
    let media = match kind {
        TrackKind::Audio => MediaKind::Audio,
        TrackKind::Video => MediaKind::Video,
    };
    PublishedTrack {
        track: Track {
            track: id,
            participant_id: owner,
            kind,
            source: Source::default_of(kind),
            label: None,
            encryption: None,
            codec: "opus".to_owned(),
            muted: false,
            held: false,
            layers: Vec::new(),
        },
        mid: "0".to_owned(),
        parameters: ProducerParameters {
            kind: media,
            mid: "0".to_owned(),
            codecs: Vec::new(),
            extensions: ExtensionIds::default(),
            encodings: Vec::new(),
        },
    }
}

/// A room with its clock, and what came out of it.
pub(super) struct Trial {
    pub(super) state: RoomState,
    pub(super) clock: Duration,
    next: u64,
    /// Events by participant, each numbered.
    pub(super) told: BTreeMap<ParticipantId, Vec<(u64, Arc<ServerMessage>)>>,
    pub(super) answers: BTreeMap<ReplyId, ServerMessage>,
    pub(super) refused: Vec<(ParticipantId, ErrorCode)>,
    pub(super) reports: BTreeMap<Ticket, Result<Report, ErrorCode>>,
    pub(super) released: Vec<(ParticipantId, ReleaseCause)>,
    pub(super) attached: BTreeSet<ParticipantId>,
    pub(super) sfu_orders: Vec<String>,
    pub(super) sfu_requests: Vec<u64>,
    /// What the last offer that went to the SFU said of its m-lines.
    pub(super) last_sources: BTreeMap<String, TrackSource>,
    pub(super) recorder_orders: Vec<String>,
    pub(super) recorders_started: Vec<caside_protocol::RecordingId>,
    pub(super) journal: Vec<JournalEntry>,
    pub(super) resumed: Vec<Option<(bool, Vec<u64>)>>,
    pub(super) resumptions: Vec<Resumption>,
}

impl Trial {
    pub(super) fn new(room: StoredRoom) -> Self {
        Self::with(room, |_| {})
    }

    pub(super) fn with(room: StoredRoom, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = setup(room);
        change(&mut setup);
        Self::of(RoomState::new(setup))
    }

    /// The next owner of a room, as it begins.
    pub(super) fn taking_over(snapshot: Snapshot, reason: MoveReason) -> Self {
        let mut setup = setup(snapshot.room.clone());
        (setup.node, setup.epoch) = (NodeId::new("n2").unwrap(), snapshot.epoch + 1);
        let now = Moment {
            elapsed: Duration::ZERO,
            utc: Timestamp::UNIX_EPOCH,
        };
        let (state, effects) = RoomState::take_over(setup, snapshot, reason, now);
        let mut trial = Self::of(state);
        trial.told = trial.state.participants.keys().map(|id| (*id, Vec::new())).collect();
        for effect in effects {
            trial.note(effect);
        }
        trial
    }

    fn of(state: RoomState) -> Self {
        Self {
            state,
            clock: Duration::ZERO,
            next: 0,
            told: BTreeMap::new(),
            answers: BTreeMap::new(),
            refused: Vec::new(),
            reports: BTreeMap::new(),
            released: Vec::new(),
            attached: BTreeSet::new(),
            sfu_orders: Vec::new(),
            sfu_requests: Vec::new(),
            last_sources: BTreeMap::new(),
            recorder_orders: Vec::new(),
            recorders_started: Vec::new(),
            journal: Vec::new(),
            resumed: Vec::new(),
            resumptions: Vec::new(),
        }
    }

    pub(super) fn apply(&mut self, command: Command) {
        let now = Moment {
            elapsed: self.clock,
            utc: Timestamp::UNIX_EPOCH + self.clock,
        };
        for effect in self.state.apply(now, command) {
            self.note(effect);
        }
    }

    fn note(&mut self, effect: Effect) {
        match effect {
            Effect::Answer { reply, message } => {
                assert!(
                    self.answers.insert(reply, message).is_none(),
                    "{reply:?} was answered twice"
                );
            }
            Effect::Report { ticket, result } => {
                assert!(
                    self.reports.insert(ticket, result.map_err(|e| e.code)).is_none(),
                    "reported twice"
                );
            }
            Effect::Admitted {
                participant,
                reply,
                joined,
            } => {
                self.told.insert(participant, Vec::new());
                let message = ServerMessage::Joined(joined);
                assert!(
                    self.answers.insert(reply, message).is_none(),
                    "{reply:?} was answered twice"
                );
            }
            Effect::Refused {
                participant, refusal, ..
            } => self.refused.push((participant, refusal.code)),
            Effect::Resumed { resumption, .. } => {
                self.resumptions.extend(resumption.clone());
                self.resumed
                    .push(resumption.map(|r| (r.reset.is_some(), r.events.into_iter().map(|(seq, _)| seq).collect())));
            }
            Effect::Deliver { to, seq, message } => {
                self.told
                    .get_mut(&to)
                    .expect("an event goes to somebody inside")
                    .push((seq, message));
            }
            Effect::Released { participant, cause, .. } => {
                assert!(
                    !self.attached.contains(&participant),
                    "{participant} left the SFU before"
                );
                self.released.push((participant, cause));
            }
            Effect::StartSfu => self.sfu_orders.push("start".to_owned()),
            Effect::Sfu(command) => self.note_sfu(&command),
            Effect::StartRecorder(job) => self.recorders_started.push(job.recording),
            Effect::Recorder(_, order) => self.recorder_orders.push(match order {
                RecorderOrder::Published { track, .. } => format!("published {}", track.track.track),
                RecorderOrder::Unpublished(track) => format!("unpublished {track}"),
                RecorderOrder::Paused(track, paused) => format!("paused {track} {paused}"),
                RecorderOrder::Stop => "stop".to_owned(),
            }),
            Effect::Journal(entry) => self.journal.push(entry),
            Effect::Invite { reply, .. } => {
                self.answers.insert(reply, ServerMessage::ok());
            }
        }
    }

    fn note_sfu(&mut self, command: &SfuCommand) {
        self.sfu_orders.push(match command {
            SfuCommand::Attach { participant, .. } => {
                self.attached.insert(*participant);
                "attach".to_owned()
            }
            SfuCommand::Detach { participant } => {
                assert!(self.attached.remove(participant), "{participant} was attached before");
                "detach".to_owned()
            }
            SfuCommand::PublishOffer { request, sources, .. } => {
                self.sfu_requests.push(*request);
                self.last_sources.clone_from(sources);
                "publish".to_owned()
            }
            SfuCommand::SubscribeAnswer { request, .. } => {
                self.sfu_requests.push(*request);
                "answer".to_owned()
            }
            SfuCommand::Watch { request, publisher, .. } => {
                self.sfu_requests.push(*request);
                format!("watch {publisher}")
            }
            SfuCommand::Stats { request, .. } => {
                self.sfu_requests.push(*request);
                "stats".to_owned()
            }
            SfuCommand::SetPaused { paused, .. } => format!("paused {paused}"),
            SfuCommand::SetRights {
                may_subscribe,
                may_send_data,
                ..
            } => format!("subscribe {may_subscribe} data {may_send_data}"),
            SfuCommand::SetReceiving { receiving, .. } => format!("receiving {receiving}"),
            other => format!("{other:?}")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_lowercase(),
        });
    }

    fn reply(&mut self) -> ReplyId {
        self.next += 1;
        ReplyId(self.next)
    }

    // ---- what tests do --------------------------------------------------------------------------------------------

    /// Joins with nothing but a name.
    pub(super) fn join(&mut self, n: u128, name: &str) -> ParticipantId {
        self.join_as(n, name, None, Grants::default())
    }

    pub(super) fn join_as(&mut self, n: u128, name: &str, role: Option<Role>, grants: Grants) -> ParticipantId {
        let standing = Standing {
            role,
            grants,
            ..Standing::default()
        };
        self.join_with(n, name, standing)
    }

    pub(super) fn join_with(&mut self, n: u128, name: &str, standing: Standing) -> ParticipantId {
        let reply = self.reply();
        let entry = Entry {
            participant: participant(n),
            reply,
            user: user(name),
            display_name: name.to_owned(),
            standing,
            subscribe: SubscribePolicy::Auto,
            last_n: None,
            client_ip: None,
            log: EventLog::after(0, 256),
        };
        self.apply(Command::Join(Box::new(entry)));
        participant(n)
    }

    /// Asks by the message's JSON, and gives the answer, if it is there.
    pub(super) fn ask(&mut self, who: ParticipantId, kind: &str, payload: &Value) -> Option<ServerMessage> {
        let text = serde_json::json!({ "type": kind, "payload": payload }).to_string();
        let request = caside_protocol::codec::decode(Default::default(), text.as_bytes()).unwrap();
        self.tell(who, request.message)
    }

    pub(super) fn tell(&mut self, who: ParticipantId, message: ClientMessage) -> Option<ServerMessage> {
        let reply = self.reply();
        self.apply(Command::Ask {
            participant: who,
            reply,
            message,
        });
        self.answers.get(&reply).cloned()
    }

    /// `ok`, or the code of the refusal.
    pub(super) fn outcome(&mut self, who: ParticipantId, kind: &str, payload: &Value) -> &'static str {
        match self.ask(who, kind, payload) {
            Some(ServerMessage::Error(error)) => error.code.as_str(),
            Some(message) => message.kind(),
            None => "later",
        }
    }

    /// Acts by REST and gives what came of it.
    pub(super) fn act(&mut self, by: Authority, act: Act) -> Option<Result<Report, ErrorCode>> {
        self.next += 1;
        let ticket = Ticket(self.next);
        self.apply(Command::Act { by, ticket, act });
        self.reports.remove(&ticket)
    }

    /// Publishes a track by an offer that the SFU answers at once.
    pub(super) fn publish(&mut self, who: ParticipantId, id: TrackId, kind: TrackKind) {
        let offered = self.ask(who, "offer", &serde_json::json!({ "sdp": "v=0" }));
        assert_eq!(offered, None, "the SFU answers");
        let request = *self.sfu_requests.last().expect("the SFU was asked");
        self.apply(Command::Sfu(SfuEvent::PublishAnswered {
            participant: who,
            request,
            result: Ok(("v=0".to_owned(), BTreeMap::new())),
            published: vec![published(who, id, kind)],
            unpublished: Vec::new(),
        }));
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.clock += time;
        self.apply(Command::Tick);
    }

    /// The kinds of the events somebody was told since this was last asked.
    pub(super) fn events(&mut self, who: ParticipantId) -> Vec<&'static str> {
        let told = self.told.get_mut(&who).map(std::mem::take).unwrap_or_default();
        told.into_iter().map(|(_, message)| message.kind()).collect()
    }
}
