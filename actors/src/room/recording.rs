//! Recordings of a call: one at a time, started by those permitted or by the first track, ended with the call at the latest.

use std::collections::VecDeque;

use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::Report;
use caside_protocol::rest::{Recording, RecordingState};
use caside_protocol::server::{CallState, CallStateChanged, Done, ModeReason, RecordingRef, ServerMessage};
use caside_protocol::view::{Mode, RecordPolicy};
use caside_protocol::{ParticipantId, Permission, RecordingId, TrackId};
use caside_store::JournalEntry;
use caside_store::journal::RecordingStarted;

use super::command::{Moment, ReplyId, Ticket};
use super::effects::{Effect, RecorderOrder};
use super::relay::Answer;
use super::state::RoomState;
use crate::ports::{RecorderEvent, RecorderJob};
use crate::sfu::PublishedTrack;

/// Most requests that wait for one recorder to start.
const MAX_WAITING: usize = 64;
/// Most recordings of a call whose files are being made and whose end is told; of the oldest beyond it nothing is.
const MAX_FINISHING: usize = 64;

/// The call's recordings.
#[derive(Debug, Default)]
pub(super) struct RecordingRun {
    phase: Phase,
    /// The last one of this call that is over.
    last: Option<Recording>,
    /// Those of this call that were stopped and whose files are being made.
    finishing: VecDeque<RecordingId>,
    /// A room that is always recorded starts once a call by itself; stopping it holds.
    started_by_itself: bool,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Starting {
        recording: Recording,
        waiting: Vec<Waiting>,
        /// Whether it ran at another node, and everybody knows of it.
        continued: bool,
    },
    Running(Recording),
}

/// Who waits for a recorder to start.
#[derive(Debug, Clone, Copy)]
pub(super) enum Waiting {
    Client(ReplyId),
    Rest(Ticket),
}

impl RecordingRun {
    /// The recording that runs.
    pub(super) fn running(&self) -> Option<RecordingId> {
        match &self.phase {
            Phase::Running(recording)
            | Phase::Starting {
                recording,
                continued: true,
                ..
            } => Some(recording.id),
            Phase::Idle | Phase::Starting { .. } => None,
        }
    }

    /// What another owner of the room has to go on with: the recording that runs, and whether one began by itself.
    pub(super) fn to_go_on(&self) -> (Option<Recording>, bool) {
        let recording = match &self.phase {
            Phase::Running(recording) | Phase::Starting { recording, .. } => Some(recording.clone()),
            Phase::Idle => None,
        };
        (recording, self.started_by_itself)
    }
}

impl RoomState {
    pub(super) fn start_recording_by(&mut self, now: Moment, by: ParticipantId, reply: ReplyId) -> Answer {
        self.permitted(by, Permission::Record)?;
        self.start_recording(now, Some(Waiting::Client(reply)))?;
        Ok(None)
    }

    pub(super) fn stop_recording_by(&mut self, now: Moment, by: ParticipantId) -> Answer {
        self.permitted(by, Permission::Record)?;
        let recording_id = Some(self.stop_recording(now)?.id);
        Ok(Some(ServerMessage::Ok(Done {
            recording_id,
            ..Done::default()
        })))
    }

    /// Starts a recording, or joins whoever waits for the one that starts; whoever waits is answered when it runs.
    pub(super) fn start_recording(&mut self, now: Moment, who: Option<Waiting>) -> Result<(), Refusal> {
        match &mut self.recording.phase {
            Phase::Running(recording) => {
                let recording = recording.clone();
                if let Some(who) = who {
                    self.tell_started(who, Ok(&recording));
                }
                return Ok(());
            }
            Phase::Starting { waiting, .. } if waiting.len() >= MAX_WAITING => {
                return Err(Refusal::new(ErrorCode::Overloaded, "the recording is starting"));
            }
            Phase::Starting { waiting, .. } => {
                waiting.extend(who);
                return Ok(());
            }
            Phase::Idle => {}
        }
        let Some(call) = self.call else {
            return Err(Refusal::new(ErrorCode::CallNotFound, "nobody is in the room"));
        };
        if self.setup.room.record == RecordPolicy::Off {
            return Err(Refusal::new(ErrorCode::Forbidden, "this room is not recorded"));
        }
        if self.mode == Mode::P2p {
            if self.setup.room.mode != Mode::Auto {
                let text = "the media of a peer-to-peer room does not pass the server; its clients can record";
                return Err(Refusal::new(ErrorCode::Forbidden, text));
            }
            self.move_to_sfu(ModeReason::Recording);
        }
        let recording = Recording {
            id: RecordingId(self.id()),
            room_id: self.setup.room.id.clone(),
            call_id: Some(call),
            state: RecordingState::Recording,
            error: None,
            started_at: now.utc,
            ended_at: None,
            duration_ms: None,
            size_bytes: 0,
            participants: self.participants.keys().copied().collect(),
            files: Vec::new(),
            composition: None,
        };
        // Written down first: what the recorder writes refers to it.
        self.journal(JournalEntry::RecordingStarted(RecordingStarted {
            recording: recording.id,
            room: recording.room_id.clone(),
            call: Some(call),
            owner: self.setup.room.owner.clone(),
            node: self.setup.node.clone(),
            epoch: self.setup.epoch,
            started_at: now.utc,
        }));
        self.effects.push(Effect::StartRecorder(RecorderJob {
            recording: recording.id,
            call,
            room: recording.room_id.clone(),
            owner: self.setup.room.owner.clone(),
            epoch: self.setup.epoch,
            started_at: now.utc,
            continued: false,
        }));
        self.recording.phase = Phase::Starting {
            recording,
            waiting: who.into_iter().collect(),
            continued: false,
        };
        Ok(())
    }

    /// Goes on with the recording of the owner before.
    pub(super) fn go_on_recording(&mut self, recording: Option<Recording>, started_by_itself: bool) {
        self.recording.started_by_itself = started_by_itself;
        let (Some(recording), Some(call)) = (recording, self.call) else {
            return;
        };
        self.journal(JournalEntry::RecordingStarted(RecordingStarted {
            recording: recording.id,
            room: recording.room_id.clone(),
            call: Some(call),
            owner: self.setup.room.owner.clone(),
            node: self.setup.node.clone(),
            epoch: self.setup.epoch,
            started_at: recording.started_at,
        }));
        self.effects.push(Effect::StartRecorder(RecorderJob {
            recording: recording.id,
            call,
            room: recording.room_id.clone(),
            owner: self.setup.room.owner.clone(),
            epoch: self.setup.epoch,
            started_at: recording.started_at,
            continued: true,
        }));
        self.recording.phase = Phase::Starting {
            recording,
            waiting: Vec::new(),
            continued: true,
        };
    }

    /// A recorder that runs but is no longer wanted is stopped.
    pub(super) fn recorder_started(&mut self, now: Moment, id: RecordingId, failure: Option<String>) {
        match std::mem::take(&mut self.recording.phase) {
            Phase::Starting {
                recording,
                waiting,
                continued,
            } if recording.id == id => match failure {
                None => self.recorder_runs(recording, waiting, continued),
                Some(reason) => self.recorder_start_failed(now, &recording, waiting, reason),
            },
            other => {
                self.recording.phase = other;
                match failure {
                    None => self.effects.push(Effect::Recorder(id, RecorderOrder::Stop)),
                    Some(reason) => self.recording_failed(id, reason),
                }
            }
        }
    }

    fn recorder_runs(&mut self, recording: Recording, waiting: Vec<Waiting>, continued: bool) {
        self.recording.phase = Phase::Running(recording.clone());
        let tracks: Vec<(ParticipantId, PublishedTrack)> = self
            .participants
            .values()
            .flat_map(|p| p.tracks.iter().map(|t| (p.id, t.clone())))
            .collect();
        for (participant, track) in &tracks {
            self.recorder_published(*participant, track);
        }
        for who in waiting {
            self.tell_started(who, Ok(&recording));
        }
        if continued {
            return;
        }
        self.broadcast(
            None,
            ServerMessage::RecordingStarted(RecordingRef {
                recording_id: recording.id,
            }),
        );
        self.tell_call_state(CallState::Recording);
    }

    fn recorder_start_failed(&mut self, now: Moment, recording: &Recording, waiting: Vec<Waiting>, reason: String) {
        let refusal = Refusal::new(
            ErrorCode::DependencyUnavailable,
            format!("the recording did not start: {reason}"),
        );
        for who in waiting {
            self.tell_started(who, Err(&refusal));
        }
        self.journal(JournalEntry::RecordingStopped {
            recording: recording.id,
            ended_at: now.utc,
        });
        self.recording_failed(recording.id, reason);
    }

    fn recording_failed(&mut self, recording: RecordingId, reason: String) {
        let state = RecordingState::Failed;
        self.journal(JournalEntry::RecordingState {
            recording,
            state,
            error: Some(reason),
            duration_ms: None,
        });
    }

    fn tell_started(&mut self, who: Waiting, result: Result<&Recording, &Refusal>) {
        self.effects.push(match who {
            Waiting::Client(reply) => {
                let done = |r: &Recording| Done {
                    recording_id: Some(r.id),
                    ..Done::default()
                };
                let message = result.map_or_else(|e| e.clone().into(), |r| ServerMessage::Ok(done(r)));
                Effect::Answer { reply, message }
            }
            Waiting::Rest(ticket) => {
                let result = result
                    .map(|r| Report::Recording(Box::new(r.clone())))
                    .map_err(Clone::clone);
                Effect::Report { ticket, result }
            }
        });
    }

    /// Ends the recording; the last one of this call when none runs.
    pub(super) fn stop_recording(&mut self, now: Moment) -> Result<Recording, Refusal> {
        let over = match std::mem::take(&mut self.recording.phase) {
            Phase::Idle => {
                let none = || Refusal::new(ErrorCode::RecordingNotFound, "no recording runs");
                return self.recording.last.clone().ok_or_else(none);
            }
            // Its recorder is stopped when it has started.
            Phase::Starting { recording, waiting, .. } => {
                for who in waiting {
                    self.tell_started(who, Ok(&recording));
                }
                self.recording_over(now, recording)
            }
            Phase::Running(recording) => {
                self.effects.push(Effect::Recorder(recording.id, RecorderOrder::Stop));
                let over = self.recording_over(now, recording);
                self.tell_over(over.id);
                over
            }
        };
        Ok(over)
    }

    fn recording_over(&mut self, now: Moment, recording: Recording) -> Recording {
        self.journal(JournalEntry::RecordingStopped {
            recording: recording.id,
            ended_at: now.utc,
        });
        let length = now.utc - recording.started_at;
        let over = Recording {
            state: RecordingState::Finalizing,
            ended_at: Some(now.utc),
            duration_ms: u64::try_from(length.whole_milliseconds()).ok(),
            ..recording
        };
        self.recording.last = Some(over.clone());
        over
    }

    fn tell_over(&mut self, recording_id: RecordingId) {
        if self.recording.finishing.len() >= MAX_FINISHING {
            self.recording.finishing.pop_front();
        }
        self.recording.finishing.push_back(recording_id);
        self.broadcast(None, ServerMessage::RecordingStopped(RecordingRef { recording_id }));
        self.tell_call_state(CallState::Active);
    }

    fn tell_call_state(&mut self, state: CallState) {
        if let Some(call_id) = self.call {
            self.broadcast(
                None,
                ServerMessage::CallStateChanged(CallStateChanged { call_id, state }),
            );
        }
    }

    /// A recorder that fails has kept what it has. Of one that finishes those hear who are still in its call.
    pub(super) fn recorder_event(&mut self, now: Moment, id: RecordingId, event: RecorderEvent) {
        let runs = matches!(&self.recording.phase, Phase::Running(recording) if recording.id == id);
        if runs && let Phase::Running(recording) = std::mem::take(&mut self.recording.phase) {
            self.recording_over(now, recording);
            self.tell_over(id);
        }
        if let RecorderEvent::Finished(finished) = event
            && let Some(index) = self.recording.finishing.iter().position(|known| *known == id)
        {
            self.recording.finishing.remove(index);
            self.broadcast(None, ServerMessage::RecordingFinished(finished));
        }
    }

    /// The call ends, and its recording with it; the next call begins without a past.
    pub(super) fn recording_over_with_call(&mut self, now: Moment) {
        if !matches!(self.recording.phase, Phase::Idle) && self.stop_recording(now).is_err() {
            tracing::error!("a recording that runs could not be stopped");
        }
        self.recording = RecordingRun::default();
    }

    pub(super) fn record_from_first_track(&mut self, now: Moment) {
        if self.setup.room.record != RecordPolicy::Auto || self.recording.started_by_itself {
            return;
        }
        self.recording.started_by_itself = true;
        if let Err(refusal) = self.start_recording(now, None) {
            tracing::warn!(room.id = %self.setup.room.id, error = %refusal, "a room that is always recorded is not");
        }
    }

    // ---- what a recorder is told ----------------------------------------------------------------------------------

    pub(super) fn recorder_published(&mut self, participant: ParticipantId, track: &PublishedTrack) {
        self.tell_recorder(|| RecorderOrder::Published {
            participant,
            track: Box::new(track.clone()),
        });
    }

    pub(super) fn recorder_unpublished(&mut self, track: TrackId) {
        self.tell_recorder(|| RecorderOrder::Unpublished(track));
    }

    pub(super) fn recorder_paused(&mut self, track: TrackId, paused: bool) {
        self.tell_recorder(|| RecorderOrder::Paused(track, paused));
    }

    fn tell_recorder(&mut self, order: impl FnOnce() -> RecorderOrder) {
        if let Some(recording) = self.recording.running() {
            self.effects.push(Effect::Recorder(recording, order()));
        }
    }
}
