//! What happened in a call, and why something in it does not work: kept while the call runs, told to operators and to clients,
//! and written down when the call went badly.
//!
//! [`noting`] takes it from the room's commands and effects, [`diagnosis`] draws the conclusions, [`telling`] says them. The room
//! itself goes on as if there were none of it.

mod diagnosis;
mod evidence;
mod noting;
mod telling;
mod timeline;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use caside_protocol::explain::{CauseCode, ExplainedParticipant};
use caside_protocol::view::Quality;
use caside_protocol::{CallId, ParticipantId, Timestamp, TrackId};

use self::evidence::Evidence;
use self::timeline::Timeline;
use super::command::ReplyId;

/// Participants who left that are remembered.
const MAX_LEFT: usize = 64;

/// Causes that are over and are remembered.
const MAX_PAST: usize = 32;

/// A cause that was found.
#[derive(Debug, Clone)]
struct Known {
    code: CauseCode,
    who: Option<ParticipantId>,
    track: Option<TrackId>,
    since: Timestamp,
    until: Option<Timestamp>,
    detail: String,
}

impl Known {
    fn is_same(&self, other: &Self) -> bool {
        (self.code, self.who, self.track) == (other.code, other.who, other.track)
    }

    /// Somebody's own doing, of which everybody was told.
    fn is_deliberate(&self) -> bool {
        self.code == CauseCode::SourceMuted && !self.detail.ends_with(diagnosis::NOTHING_COMES)
    }
}

/// What happened in a call, and what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Explain {
    call: Option<CallId>,
    timeline: Timeline,
    people: BTreeMap<ParticipantId, Box<Evidence>>,
    left: VecDeque<ExplainedParticipant>,
    /// What is wrong now, in the order in which it was found.
    now: Vec<Known>,
    /// What was; the oldest first.
    past: VecDeque<Known>,
    /// Whether something bad was found.
    was_bad: bool,
    /// What clients were told last of whom, and how good they were said to be.
    told: BTreeMap<ParticipantId, (CauseCode, Quality)>,
    /// Since when the room directory is away.
    directory_away: Option<(Duration, Timestamp)>,
    /// Whether anybody in the room reached this node by UDP.
    reached: bool,
    /// The offer or answer that is being handled.
    asking: Option<(ParticipantId, ReplyId, caside_protocol::client::Target)>,
    /// Whether there may be something to find.
    is_news: bool,
    look_again: Option<Duration>,
}

impl Explain {
    /// When there may be more to be seen.
    pub(super) fn next_look(&self) -> Option<Duration> {
        self.look_again
    }

    /// A cause is over.
    fn is_over(&mut self, mut known: Known, at: Timestamp) {
        known.until = Some(at);
        if self.past.len() >= MAX_PAST {
            self.past.pop_front();
        }
        self.past.push_back(known);
    }
}
