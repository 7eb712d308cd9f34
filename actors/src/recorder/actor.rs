//! One recording while it runs: hears of tracks, taps them, and gives each source group its task.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use caside_media::parameters::{MediaKind, TapId};
use caside_protocol::view::Source;
use caside_protocol::{ParticipantId, RecordingId, TrackId};
use caside_store::journal::RecordingStarted;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr};
use ractor_cluster::RactorMessage;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::finalize::Ending;
use super::group::{self, Group, GroupOutcome};
use super::numbering::Numbering;
use super::part::{Part, kind_of};
use super::recordings::{Keeping, SharedEvents};
use super::sink::{GroupItem, GroupSink, GroupTrack};
use crate::observed::{Asked, Kind, Label, Seen, Vitals};
use crate::ports::{RecorderCommand, RecorderHandle};
use crate::sfu::{PublishedTrack, SfuCommand, SfuHandle};

/// A recorder starts at most this long after its room said so; more is a clock that was set.
const LONGEST_START: Duration = Duration::from_secs(5);
/// A source of which nothing is published is written to the end after this: its memory is given back and its last segment
/// shipped. One that comes back, sooner or later, goes on in the same file.
const LINGER: Duration = Duration::from_secs(30);
/// Sentences on what is missing that a recording bears.
pub(super) const MAX_SENTENCES: usize = 8;
/// Sources that operators see.
const MOST_GROUPS: usize = 32;

/// A way to one recording.
pub(super) struct Handle {
    recording: RecordingId,
    actor: ActorRef<RecorderMsg>,
    vitals: Arc<Vitals>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecorderHandle")
            .field("recording", &self.recording)
            .finish_non_exhaustive()
    }
}

impl RecorderHandle for Handle {
    fn send(&self, command: RecorderCommand) {
        // Tracks come and go a few times a minute, so the mailbox needs no bound; a recorder that is gone has said so.
        self.vitals.arrived();
        if self.actor.cast(RecorderMsg::Command(command)).is_err() {
            self.vitals.returned();
            tracing::debug!(recording.id = %self.recording, "the recorder has ended");
        }
    }
}

#[derive(Debug, RactorMessage)]
pub(super) enum RecorderMsg {
    Command(RecorderCommand),
    /// Nothing was published of a source for a while, unless it was in the meantime.
    Lingered {
        group: u64,
        vacancy: u64,
    },
    /// An operator looks.
    Inspect(Asked),
}

pub(super) struct Recorder {
    vitals: Arc<Vitals>,
}

pub(super) struct RecorderArgs {
    pub(super) begun: RecordingStarted,
    /// Whether another node recorded before.
    pub(super) continued: bool,
    pub(super) keeping: Arc<Keeping>,
    pub(super) events: SharedEvents,
}

/// Starts the actor of a recording.
pub(super) async fn spawn(supervisor: ActorCell, args: RecorderArgs) -> Result<(ActorId, Handle), SpawnErr> {
    let recording = args.begun.recording;
    let vitals = Arc::new(Vitals::new(usize::MAX));
    let recorder = Recorder { vitals: vitals.clone() };
    let (actor, _) = Actor::spawn_linked(None, recorder, args, supervisor).await?;
    let handle = Handle {
        recording,
        actor,
        vitals,
    };
    Ok((handle.actor.get_id(), handle))
}

/// A participant's source, as groups have it.
type Origin = (ParticipantId, Source);

/// A source group that is recorded.
struct Running {
    id: u64,
    origin: Origin,
    queue: mpsc::Sender<GroupItem>,
    dropped: Arc<AtomicU64>,
    /// The tracks in it now.
    tracks: HashMap<MediaKind, TrackId>,
    /// How often it had none.
    vacancies: u64,
    stopping: CancellationToken,
    left_off: oneshot::Receiver<Numbering>,
}

pub(super) struct State {
    recording: RecordingId,
    begun: Arc<RecordingStarted>,
    start: Instant,
    keeping: Arc<Keeping>,
    events: SharedEvents,
    groups: Vec<Running>,
    next_group: u64,
    /// Files begun so far.
    parts: HashMap<Origin, Arc<AtomicU32>>,
    /// Where groups that have ended left off.
    left_off: HashMap<Origin, Vec<oneshot::Receiver<Numbering>>>,
    taps: HashMap<TrackId, (TapId, SfuHandle)>,
    tasks: JoinSet<GroupOutcome>,
    /// Tells the groups to write what they have and to end.
    stopping: CancellationToken,
    /// What is not recorded, for people.
    missing: Vec<String>,
    _seen: Seen,
    /// A stop of the node waits for this recorder.
    _token: TaskTrackerToken,
}

impl Actor for Recorder {
    type Msg = RecorderMsg;
    type State = State;
    type Arguments = RecorderArgs;

    async fn pre_start(&self, myself: ActorRef<RecorderMsg>, args: RecorderArgs) -> Result<State, ActorProcessingErr> {
        let RecorderArgs {
            begun,
            continued,
            keeping,
            events,
        } = args;
        tracing::info!(recording.id = %begun.recording, room.id = %begun.room, "a recording begins");
        // The room's moment on the clock that packets are stamped with.
        let since = OffsetDateTime::now_utc() - begun.started_at;
        let since = Duration::try_from(since).unwrap_or_default();
        let since = if continued { since } else { since.min(LONGEST_START) };
        let now = Instant::now();
        let token = keeping.token();
        let ask = |cell: &ActorCell, asked: Asked| {
            if ActorRef::from(cell.clone()).cast(RecorderMsg::Inspect(asked)).is_err() {
                tracing::debug!("a recorder that was asked for its state is gone");
            }
        };
        let label = Label::recording(begun.recording, begun.room.clone());
        let vitals = self.vitals.clone();
        let observed = &keeping.observed;
        Ok(State {
            _seen: observed.list(Kind::Recorder, label, myself.get_cell(), vitals, Some(ask)),
            recording: begun.recording,
            begun: Arc::new(begun),
            start: now.checked_sub(since).unwrap_or(now),
            keeping,
            events,
            groups: Vec::new(),
            next_group: 0,
            parts: HashMap::new(),
            left_off: HashMap::new(),
            taps: HashMap::new(),
            tasks: JoinSet::new(),
            stopping: CancellationToken::new(),
            missing: Vec::new(),
            _token: token,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<RecorderMsg>,
        message: RecorderMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.gather();
        let word = word(&message);
        let began = Instant::now();
        if word.is_some() {
            self.vitals.taken(began);
        }
        match message {
            RecorderMsg::Inspect(asked) => asked.answer(state.inspect()),
            RecorderMsg::Command(RecorderCommand::TrackPublished { track, sfu, .. }) => state.published(*track, sfu),
            RecorderMsg::Command(RecorderCommand::TrackUnpublished { track }) => {
                for lingered in state.unpublished(track) {
                    myself.send_after(LINGER, move || lingered);
                }
            }
            // The tap itself sees pauses, in order with the packets.
            RecorderMsg::Command(RecorderCommand::TrackPaused { .. }) => {}
            RecorderMsg::Lingered { group, vacancy } => state.lingered(group, vacancy),
            RecorderMsg::Command(RecorderCommand::Stop) => {
                state.stop();
                myself.stop(None);
            }
            RecorderMsg::Command(RecorderCommand::HandOver) => {
                state.hand_over();
                myself.stop(None);
            }
        }
        if let Some(word) = word {
            self.vitals.done();
            state.keeping.observed.counters(Kind::Recorder).worked(word, began);
        }
        Ok(())
    }
}

/// Names a message in counters; `None` of one that counts nowhere.
fn word(message: &RecorderMsg) -> Option<&'static str> {
    let RecorderMsg::Command(command) = message else {
        return None;
    };
    Some(match command {
        RecorderCommand::TrackPublished { .. } => "track_published",
        RecorderCommand::TrackUnpublished { .. } => "track_unpublished",
        RecorderCommand::TrackPaused { .. } => "track_paused",
        RecorderCommand::Stop => "stop",
        RecorderCommand::HandOver => "hand_over",
    })
}

impl State {
    /// For operators. What waits in a group's queue is what its disk or its muxer is behind.
    fn inspect(&self) -> Value {
        let groups: Vec<Value> = self
            .groups
            .iter()
            .take(MOST_GROUPS)
            .map(|group| {
                let (participant, source) = &group.origin;
                json!({
                    "participant_id": participant,
                    "source": source,
                    "tracks": group.tracks.values().collect::<Vec<_>>(),
                    "lag_packets": group.queue.max_capacity() - group.queue.capacity(),
                    "dropped_packets": group.dropped.load(Ordering::Relaxed),
                })
            })
            .collect();
        json!({
            "state": if self.stopping.is_cancelled() { "stopping" } else { "recording" },
            "room": self.begun.room,
            "recorded_ms": u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            "files": self.parts.values().map(|files| files.load(Ordering::Relaxed)).sum::<u32>(),
            "lag_packets": self.groups.iter().map(|it| it.queue.max_capacity() - it.queue.capacity()).max(),
            "dropped_packets": self.groups.iter().map(|it| it.dropped.load(Ordering::Relaxed)).sum::<u64>(),
            "missing": self.missing,
            "groups": groups,
        })
    }

    fn published(&mut self, published: PublishedTrack, sfu: SfuHandle) {
        let track = published.track.track;
        if self.taps.contains_key(&track) {
            return;
        }
        let kind = kind_of(published.track.kind);
        let key = (published.track.participant_id, Part::group_of(published.track.source));
        let free = self.groups.iter().position(|g| {
            let fits = g.origin == key && !g.tracks.contains_key(&kind);
            // A group that failed takes no more.
            fits && !g.queue.is_closed()
        });
        let index = free.unwrap_or_else(|| self.begin_group(key));
        let group = &mut self.groups[index];
        group.tracks.insert(kind, track);
        let begin = GroupItem::Track(GroupTrack {
            kind,
            track,
            codecs: published.parameters.codecs,
            encryption: published.track.encryption,
            sfu: sfu.clone(),
        });
        if group.queue.try_send(begin).is_err() {
            group.tracks.remove(&kind);
            self.not_recorded(track, "its recorder does not keep up");
            return;
        }
        let sink = GroupSink {
            kind,
            queue: group.queue.clone(),
            dropped: group.dropped.clone(),
            tally: self.keeping.tally.clone(),
        };
        let tap = next_tap();
        self.taps.insert(track, (tap, sfu.clone()));
        if sfu
            .send(SfuCommand::Tap {
                track,
                tap,
                sink: Box::new(sink),
            })
            .is_err()
        {
            self.not_recorded(track, "the room's media takes no orders");
        }
    }

    fn not_recorded(&mut self, track: TrackId, why: &str) {
        tracing::error!(recording.id = %self.recording, track.id = %track, why, "a track is not recorded");
        self.note(vec![format!("track {track} was not recorded: {why}")]);
    }

    /// Begins a group, in the file that an earlier one of that source left off in, if there is one.
    fn begin_group(&mut self, origin: Origin) -> usize {
        let earlier = self.left_off.get_mut(&origin).and_then(Vec::pop);
        let parts = self.parts.entry(origin).or_default().clone();
        let (leave, left) = oneshot::channel();
        let (queue, waiting) = group::queue();
        let dropped = Arc::<AtomicU64>::default();
        let stopping = self.stopping.child_token();
        let (begun, start, keeping) = (self.begun.clone(), self.start, self.keeping.clone());
        let (lost, ended) = (dropped.clone(), stopping.clone());
        self.tasks.spawn(async move {
            // One that is ending comes first: what is published meanwhile waits in the queue.
            let earlier = match earlier {
                Some(earlier) => earlier.await.ok(),
                None => None,
            };
            let Some(numbering) = earlier.or_else(|| Numbering::begin(origin.0, origin.1, parts)) else {
                return GroupOutcome::too_many_files(origin.0);
            };
            let group = Group {
                begun,
                numbering,
                left_off: leave,
                start,
                keeping,
                dropped: lost,
                told_origin: false,
                stopping: ended,
            };
            group.run(waiting).await
        });
        self.next_group += 1;
        self.groups.push(Running {
            id: self.next_group,
            origin,
            queue,
            dropped,
            tracks: HashMap::new(),
            vacancies: 0,
            stopping,
            left_off: left,
        });
        self.groups.len() - 1
    }

    /// Ends a track's tap; what to be reminded of after [`LINGER`].
    fn unpublished(&mut self, track: TrackId) -> Vec<RecorderMsg> {
        let mut vacant = Vec::new();
        for group in &mut self.groups {
            let tracks = group.tracks.len();
            group.tracks.retain(|_, t| *t != track);
            if group.tracks.is_empty() && tracks > 0 {
                group.vacancies += 1;
                vacant.push(RecorderMsg::Lingered {
                    group: group.id,
                    vacancy: group.vacancies,
                });
            }
        }
        if let Some((tap, sfu)) = self.taps.remove(&track)
            && sfu.send(SfuCommand::Untap { tap }).is_err()
        {
            tracing::debug!(recording.id = %self.recording, "the SFU is gone, and its taps with it");
        }
        vacant
    }

    fn lingered(&mut self, group: u64, vacancy: u64) {
        let vacant = |g: &mut Running| g.id == group && g.tracks.is_empty() && g.vacancies == vacancy;
        for group in self.groups.extract_if(.., vacant) {
            // By this, whether or not the engine dropped its sinks.
            group.stopping.cancel();
            self.left_off.entry(group.origin).or_default().push(group.left_off);
        }
    }

    /// Takes what groups that have ended say.
    fn gather(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            match ended {
                Ok(outcome) => self.note(outcome.missing),
                Err(error) => self.note(vec![format!("recording one source failed: {error}")]),
            }
        }
    }

    fn note(&mut self, missing: Vec<String>) {
        let room = MAX_SENTENCES.saturating_sub(self.missing.len());
        self.missing.extend(missing.into_iter().take(room));
    }

    /// Ends the groups and leaves the files to a task that outlives this actor and its room.
    fn stop(&mut self) {
        // Whoever stopped it may have been a room that failed, and could not write it down.
        let ended_at = OffsetDateTime::now_utc();
        self.end_groups();
        let ending = Ending {
            recording: self.recording,
            begun: Some(RecordingStarted::clone(&self.begun)),
            ended_at: Some(ended_at),
            missing: std::mem::take(&mut self.missing),
        };
        let groups = std::mem::take(&mut self.tasks);
        self.keeping.finalize_later(ending, groups, self.events.clone());
    }

    /// Ends the groups; what they have is shipped, and the files are another node's to make.
    fn hand_over(&mut self) {
        self.end_groups();
        let groups = std::mem::take(&mut self.tasks);
        self.keeping.leave_later(self.recording, groups);
    }

    fn end_groups(&mut self) {
        let tracks: Vec<_> = self.taps.keys().copied().collect();
        for track in tracks {
            // Nobody lingers any more.
            drop(self.unpublished(track));
        }
        self.groups.clear();
        // They end by this, whether or not the engine drops its sinks in time.
        self.stopping.cancel();
    }
}

fn next_tap() -> TapId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    TapId(NEXT.fetch_add(1, Ordering::Relaxed))
}
