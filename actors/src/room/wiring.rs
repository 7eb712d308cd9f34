//! What a room drives beside its participants: its SFU and its recorders. Starting one takes time, which the room does
//! not wait for.

use caside_protocol::RecordingId;
use tracing::{Instrument, Span};

use super::actor::Running;
use super::command::Command;
use super::effects::RecorderOrder;
use super::message::{RoomHandle, RoomMsg};
use crate::ports::{RecorderCommand, RecorderHandle, RecorderJob};
use crate::sfu::{SfuCommand, SfuEvent, SfuHandle, SfuOverloaded};
use crate::trace;

/// Orders that may wait for an SFU to start.
const SFU_BACKLOG: usize = 4096;
/// Said of what ended in its start without a word.
const FAILED: &str = "its start failed";

/// An SFU that closes when it is dropped, however that comes about.
#[derive(Debug)]
pub(crate) struct OwnSfu(SfuHandle);

impl OwnSfu {
    /// Whether this actor is it.
    pub(super) fn is(&self, actor: ractor::ActorId) -> bool {
        self.0.is(actor)
    }
}

impl Drop for OwnSfu {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A recorder that stops when it is dropped: with its recording, or with a room that failed.
#[derive(Debug)]
pub(crate) struct Recorder {
    handle: Box<dyn RecorderHandle>,
    is_handed_over: bool,
}

impl Recorder {
    fn new(handle: Box<dyn RecorderHandle>) -> Self {
        Self {
            handle,
            is_handed_over: false,
        }
    }

    /// Another node goes on with the recording.
    pub(super) fn hand_over(mut self) {
        self.is_handed_over = true;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.handle.send(if self.is_handed_over {
            RecorderCommand::HandOver
        } else {
            RecorderCommand::Stop
        });
    }
}

/// The room's SFU.
#[derive(Debug)]
pub(super) enum Sfu {
    Absent,
    /// Orders wait for it, with the span that each was given under.
    Starting(Vec<(SfuCommand, Span)>),
    Up(OwnSfu),
}

impl Running {
    pub(super) fn start_sfu(&mut self) {
        self.sfu_incarnation += 1;
        self.sfu = Sfu::Starting(Vec::new());
        let (incarnation, room, cell) = (self.sfu_incarnation, self.myself.clone(), self.actor.get_cell());
        let (factory, limit) = (self.shared.args.sfu.clone(), self.shared.args.limits.call_timeout);
        let starting = async move {
            let promise = room.mailbox().promise(RoomMsg::SfuStarted {
                incarnation,
                result: Err(FAILED.to_owned()),
            });
            let result = match tokio::time::timeout(limit, factory.start(cell, sfu_events(room, incarnation))).await {
                Ok(Ok(sfu)) => Ok(OwnSfu(sfu)),
                Ok(Err(e)) => Err(e.to_string()),
                Err(_) => Err("it took too long".to_owned()),
            };
            promise.keep(RoomMsg::SfuStarted { incarnation, result });
        };
        tokio::spawn(starting.instrument(trace::step!("sfu.start")));
    }

    pub(super) fn sfu_started(&mut self, incarnation: u64, result: Result<OwnSfu, String>) {
        let Sfu::Starting(backlog) = &mut self.sfu else { return };
        if incarnation != self.sfu_incarnation {
            return;
        }
        let backlog = std::mem::take(backlog);
        match result {
            Ok(sfu) => {
                self.sfu = Sfu::Up(sfu);
                let mut follow = Vec::new();
                for (command, span) in backlog {
                    span.in_scope(|| self.order_sfu(command, &mut follow));
                }
                for command in follow {
                    self.apply(command);
                }
            }
            Err(reason) => {
                tracing::error!(room.id = %self.myself.id(), reason, "the room's SFU did not start");
                self.went_wrong(format_args!("its SFU did not start: {reason}"));
                self.sfu = Sfu::Absent;
                self.apply(Command::SfuUnavailable);
            }
        }
    }

    /// An order that is an answer's request may be refused; any other that is lost leaves the SFU in doubt, and media
    /// starts anew.
    pub(super) fn order_sfu(&mut self, command: SfuCommand, follow: &mut Vec<Command>) {
        let request = request_of(&command);
        let taken = match &mut self.sfu {
            Sfu::Up(sfu) => sfu.0.send(command),
            Sfu::Starting(backlog) if backlog.len() < SFU_BACKLOG => {
                backlog.push((command, Span::current()));
                Ok(())
            }
            Sfu::Starting(_) => Err(SfuOverloaded),
            // Lost while effects of before are carried out; what follows from that is told already.
            Sfu::Absent => Ok(()),
        };
        match (taken, request) {
            (Ok(()), _) => {}
            (Err(SfuOverloaded), Some(request)) => follow.push(Command::SfuRefused { request }),
            (Err(SfuOverloaded), None) => {
                tracing::error!(room.id = %self.myself.id(), "the room's SFU takes no orders; its media starts anew");
                self.went_wrong(format_args!("its SFU took no orders"));
                self.drop_sfu();
                follow.push(Command::SfuLost);
            }
        }
    }

    pub(super) fn lose_sfu(&mut self) {
        self.drop_sfu();
        self.apply(Command::SfuLost);
        self.settle();
    }

    fn drop_sfu(&mut self) {
        self.sfu = Sfu::Absent;
        // What the old one still says is not heard.
        self.sfu_incarnation += 1;
    }

    pub(super) fn start_recorder(&mut self, job: RecorderJob) {
        let (recording, room) = (job.recording, self.myself.clone());
        let (factory, limit) = (self.shared.args.recorders.clone(), self.shared.args.limits.call_timeout);
        let starting = async move {
            let promise = room.mailbox().promise(RoomMsg::RecorderStarted {
                recording,
                result: Err(FAILED.to_owned()),
            });
            let events = Box::new(move |event| {
                // A room that is gone has stopped its recorder.
                room.post(RoomMsg::Recorder { recording, event });
            });
            let result = match tokio::time::timeout(limit, factory.start(job, events)).await {
                Ok(Ok(recorder)) => Ok(Recorder::new(recorder)),
                Ok(Err(e)) => Err(e.to_string()),
                Err(_) => Err("it took too long".to_owned()),
            };
            promise.keep(RoomMsg::RecorderStarted { recording, result });
        };
        tokio::spawn(starting.instrument(trace::step!("recorder.start")));
    }

    pub(super) fn recorder_started(&mut self, recording: RecordingId, result: Result<Recorder, String>) {
        let failure = match result {
            Ok(recorder) => {
                self.recorders.insert(recording, recorder);
                None
            }
            Err(reason) => {
                tracing::error!(room.id = %self.myself.id(), recording.id = %recording, reason, "a recorder did not start");
                self.went_wrong(format_args!("a recorder did not start: {reason}"));
                Some(reason)
            }
        };
        self.apply(Command::RecorderStarted { recording, failure });
    }

    pub(super) fn order_recorder(&mut self, recording: RecordingId, order: RecorderOrder) {
        let Some(recorder) = self.recorders.get(&recording) else {
            return;
        };
        let command = match order {
            RecorderOrder::Published { participant, track } => match &self.sfu {
                Sfu::Up(sfu) => RecorderCommand::TrackPublished {
                    participant,
                    track,
                    sfu: sfu.0.clone(),
                },
                // Its tracks are gone with it, which the recorder is about to be told.
                Sfu::Absent | Sfu::Starting(_) => return,
            },
            RecorderOrder::Unpublished(track) => RecorderCommand::TrackUnpublished { track },
            RecorderOrder::Paused(track, paused) => RecorderCommand::TrackPaused { track, paused },
            RecorderOrder::Stop => {
                self.recorders.remove(&recording);
                return;
            }
        };
        recorder.handle.send(command);
    }
}

/// Takes what happens in an SFU to its room.
fn sfu_events(room: RoomHandle, incarnation: u64) -> Box<dyn FnMut(SfuEvent) + Send> {
    Box::new(move |event| {
        // Levels and data messages come again or may be lost; answers and changes, a few for each request, may not.
        let droppable = matches!(
            event,
            SfuEvent::ActiveSpeakers { .. } | SfuEvent::Quality { .. } | SfuEvent::Data { .. }
        );
        let message = RoomMsg::Sfu {
            incarnation,
            event: Box::new(event),
        };
        let taken = if droppable {
            room.send(message).is_ok()
        } else {
            room.post(message)
        };
        if !taken {
            tracing::debug!(room.id = %room.id(), "an SFU event was dropped");
        }
    })
}

/// The number that the SFU's answer to this order will bear.
fn request_of(command: &SfuCommand) -> Option<u64> {
    match command {
        SfuCommand::PublishOffer { request, .. }
        | SfuCommand::SubscribeAnswer { request, .. }
        | SfuCommand::Watch { request, .. }
        | SfuCommand::Stats { request, .. } => Some(*request),
        _ => None,
    }
}
