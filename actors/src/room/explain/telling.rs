//! What is concluded, and who is told: clients by `connection-quality`, operators by the explained call, the database when the
//! call went badly.

use std::time::Duration;

use caside_protocol::explain::{Cause, CauseCode, ExplainedCall, MAX_CAUSES, MAX_PARTICIPANTS, Stage};
use caside_protocol::view::{Quality, Track, TrackKind};
use caside_protocol::{ParticipantId, Timestamp, TrackId};
use caside_store::JournalEntry;

use super::diagnosis::{ASK_AFTER, diagnose};
use super::{Explain, Known};
use crate::room::command::Moment;
use crate::room::state::RoomState;
use crate::sfu::SfuCommand;

/// What is told of a participant: a cause, and how good the connection is said to be with it.
type Told = (CauseCode, Quality);

/// Whether each is told of themself alone: it is so of everybody.
fn is_of_all(code: CauseCode) -> bool {
    matches!(code, CauseCode::DirectoryAway | CauseCode::OwnerLost)
}

impl RoomState {
    /// Draws conclusions anew, and tells what has changed.
    pub(super) fn look(&mut self, now: &Moment) {
        let mut found = Vec::new();
        let mut to_tell: Vec<(ParticipantId, Option<Told>)> = Vec::new();
        let mut ask: Vec<TrackId> = Vec::new();
        let mut look_again: Option<Duration> = None;
        let explain = &mut *self.explain;
        if let Some((_, since)) = explain.directory_away {
            found.push(known(CauseCode::DirectoryAway, None, None, since, ""));
        }
        for (id, evidence) in &mut explain.people {
            let Some(member) = self.participants.get(id) else {
                continue;
            };
            let tracks: Vec<&Track> = member.tracks.iter().map(|published| &published.track).collect();
            for known in &mut evidence.tracks {
                let is_paused = tracks.iter().any(|t| t.track == known.track && (t.muted || t.held));
                known.paused_since = is_paused.then(|| known.paused_since.unwrap_or(now.elapsed));
                let due = known.started.map(|started| started + ASK_AFTER);
                let is_picture = tracks
                    .iter()
                    .any(|t| t.track == known.track && t.kind == TrackKind::Video);
                let wants = is_picture && !is_paused && !known.key_frame && !known.asked;
                if wants && due.is_some_and(|due| due <= now.elapsed) {
                    known.asked = true;
                    ask.push(known.track);
                }
            }
            let diagnosis = diagnose(now.elapsed, evidence, &tracks, explain.reached);
            look_again = look_again.into_iter().chain(diagnosis.look_again).min();
            let worst = diagnosis.found.iter().find_map(|found| Some((found.code, found.tell?)));
            let away = explain.directory_away.map(|_| {
                let quality = member.judged.map_or(Quality::Good, |(quality, _)| quality);
                (CauseCode::DirectoryAway, quality)
            });
            // Who is lost is nothing else until the resume.
            if member.lost_until.is_none() {
                to_tell.push((*id, worst.or(away)));
            }
            for cause in diagnosis.found {
                let since = now.utc - now.elapsed.saturating_sub(cause.since);
                let cause = known(cause.code, Some(*id), cause.track, since, &cause.detail);
                if !found.iter().any(|other: &Known| other.is_same(&cause)) {
                    found.push(cause);
                }
            }
        }
        explain.look_again = look_again;
        explain.compare(now, found);
        for (who, told) in to_tell {
            self.tell_news(who, told);
        }
        for track in ask {
            self.order(SfuCommand::RequestKeyFrame { track });
        }
    }

    /// Tells of a participant what was not told yet.
    fn tell_news(&mut self, who: ParticipantId, told: Option<Told>) {
        let before = self.explain.told.get(&who).copied();
        match (before, told) {
            (Some(before), Some(told)) if before == told => {}
            (None, None) => {}
            (_, Some((code, quality))) => {
                self.explain.told.insert(who, (code, quality));
                self.tell_cause(who, quality, Some(code), is_of_all(code));
            }
            (Some((code, _)), None) => {
                self.explain.told.remove(&who);
                let Some(member) = self.participants.get(&who) else {
                    return;
                };
                if member.down.is_empty() {
                    let quality = member.judged.map_or(Quality::Good, |(quality, _)| quality);
                    self.tell_cause(who, quality, None, is_of_all(code));
                }
            }
        }
    }

    /// How a connection that was judged so is told of, with what is known to be wrong.
    pub(in crate::room) fn with_cause(
        &self,
        who: ParticipantId,
        quality: Quality,
        cause: Option<&'static str>,
    ) -> (Quality, Option<&'static str>) {
        match self.explain.told.get(&who) {
            None => (quality, cause),
            Some((code, _)) if is_of_all(*code) => (quality, cause),
            Some((code, Quality::Poor)) => (Quality::Poor, Some(code.as_str())),
            Some((code, _)) if quality == Quality::Excellent => (Quality::Good, Some(code.as_str())),
            Some((code, _)) => (quality, cause.or(Some(code.as_str()))),
        }
    }

    /// What happened in the call, and what is wrong.
    pub(crate) fn explained(&self) -> ExplainedCall {
        let explain = &*self.explain;
        let call = self.call.or(explain.call);
        let mut causes: Vec<Cause> = explain.now.iter().map(|known| self.cause(known)).collect();
        // What is somebody's own doing explains least.
        causes.sort_by_key(|cause| (!cause.code.is_bad(), cause.since));
        causes.extend(explain.past.iter().rev().map(|known| self.cause(known)));
        causes.truncate(MAX_CAUSES);
        let here = explain.people.iter().map(|(id, evidence)| evidence.told(*id));
        ExplainedCall {
            call,
            room: self.setup.room.id.clone(),
            node: Some(self.setup.node.clone()),
            status: match (self.call, call) {
                (Some(_), _) => "active",
                (None, Some(_)) => "ended",
                (None, None) => "none",
            }
            .to_owned(),
            causes,
            participants: here
                .chain(explain.left.iter().cloned())
                .take(MAX_PARTICIPANTS)
                .collect(),
            timeline: explain.timeline.told(),
        }
    }

    fn cause(&self, known: &Known) -> Cause {
        let explain = &*self.explain;
        let user = known.who.and_then(|who| {
            let gone = || explain.left.iter().find(|left| left.participant_id == who);
            let here = explain.people.get(&who).map(|evidence| evidence.user.clone());
            here.or_else(|| gone().map(|left| left.user.clone()))
        });
        Cause {
            code: known.code,
            participant_id: known.who,
            user,
            track: known.track,
            since: known.since,
            until: known.until,
            says: known.code.says().to_owned(),
            remedy: known.code.remedy().to_owned(),
            detail: Some(known.detail.clone()).filter(|detail| !detail.is_empty()),
        }
    }

    /// Writes a call that went badly down when it has ended.
    pub(super) fn write_down_if_over(&mut self, now: &Moment) {
        let (Some(call), None) = (self.explain.call, self.call) else {
            return;
        };
        if !self.explain.was_bad {
            self.explain.call = None;
            return;
        }
        let explained = self.explained();
        match serde_json::to_value(&explained) {
            Ok(explained) => self.journal(JournalEntry::CallExplained {
                call,
                at: now.utc,
                explained,
            }),
            Err(error) => tracing::error!(call.id = %call, %error, "a call's timeline could not be written"),
        }
        let directory_away = self.explain.directory_away;
        *self.explain = Explain {
            directory_away,
            ..Explain::default()
        };
    }
}

impl Explain {
    /// Takes what is wrong now in place of what was.
    fn compare(&mut self, now: &Moment, found: Vec<Known>) {
        for gone in std::mem::take(&mut self.now) {
            if found.iter().any(|known| known.is_same(&gone)) {
                self.now.push(gone);
                continue;
            }
            if gone.is_deliberate() {
                self.note(now, gone.who, Stage::Media, "unmuted", gone.detail);
            } else {
                self.note(now, gone.who, Stage::Cause, "over", gone.code.as_str().to_owned());
                self.is_over(gone, now.utc);
            }
        }
        for new in found {
            if self.now.iter().any(|known| known.is_same(&new)) {
                continue;
            }
            if new.is_deliberate() {
                self.note(now, new.who, Stage::Media, "muted", new.detail.clone());
            } else {
                let detail = Some(new.detail.clone()).filter(|detail| !detail.is_empty());
                self.note(now, new.who, Stage::Cause, new.code.as_str(), detail);
            }
            self.was_bad |= new.code.is_bad();
            self.now.push(new);
        }
    }
}

fn known(code: CauseCode, who: Option<ParticipantId>, track: Option<TrackId>, since: Timestamp, detail: &str) -> Known {
    Known {
        code,
        who,
        track,
        since,
        until: None,
        detail: detail.to_owned(),
    }
}
