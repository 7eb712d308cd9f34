//! What a room decides; its shell carries it out, in order.

use std::sync::Arc;

use caside_protocol::error::Refusal;
use caside_protocol::node::{ReleaseCause, Report, Resumption};
use caside_protocol::server::{Joined, ServerMessage};
use caside_protocol::{ParticipantId, RecordingId, TrackId, UserId};
use caside_store::JournalEntry;

use super::command::{ReplyId, Ticket};
use super::history::EventLog;
use crate::ports::RecorderJob;
use crate::sfu::{PublishedTrack, SfuCommand};

/// A decision.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Answers a client.
    Answer {
        /// Which request.
        reply: ReplyId,
        /// The answer.
        message: ServerMessage,
    },
    /// Answers REST.
    Report {
        /// Which question.
        ticket: Ticket,
        /// The answer.
        result: Result<Report, Refusal>,
    },
    /// Lets somebody in.
    Admitted {
        /// Who.
        participant: ParticipantId,
        /// Which request.
        reply: ReplyId,
        /// The answer.
        joined: Box<Joined>,
    },
    /// Keeps somebody out.
    Refused {
        /// Who would have been.
        participant: ParticipantId,
        /// Which request.
        reply: ReplyId,
        /// Why.
        refusal: Refusal,
        /// The session's events, given back.
        log: EventLog,
    },
    /// Answers a resume.
    Resumed {
        /// Who.
        participant: ParticipantId,
        /// What was missed; `None` when `last_seq` was never sent.
        resumption: Option<Resumption>,
    },
    /// Sends an event.
    Deliver {
        /// To whom.
        to: ParticipantId,
        /// Its number.
        seq: u64,
        /// The event.
        message: Arc<ServerMessage>,
    },
    /// A participant is out; nothing more goes to them.
    Released {
        /// Who.
        participant: ParticipantId,
        /// The session's events, given back.
        log: EventLog,
        /// Why.
        cause: ReleaseCause,
    },
    /// Starts the SFU.
    StartSfu,
    /// Orders the SFU.
    Sfu(SfuCommand),
    /// Starts a recorder; what comes of it is told by `Command::RecorderStarted`.
    StartRecorder(RecorderJob),
    /// Orders a recorder.
    Recorder(RecordingId, RecorderOrder),
    /// Writes down.
    Journal(JournalEntry),
    /// Passes an invitation on to whom it is for; that answers the request.
    Invite {
        /// Which request.
        reply: ReplyId,
        /// Who invites.
        from: ParticipantId,
        /// Whom.
        user: UserId,
        /// How long it waits; the default when left out.
        expires_s: Option<u64>,
    },
}

/// An order to a recorder.
#[derive(Debug)]
pub(crate) enum RecorderOrder {
    /// A track is there.
    Published {
        /// Whose.
        participant: ParticipantId,
        /// The track.
        track: Box<PublishedTrack>,
    },
    /// It ended.
    Unpublished(TrackId),
    /// It pauses or goes on.
    Paused(TrackId, bool),
    /// The recording is over.
    Stop,
}
