//! What commands and effects say of a call.

use std::sync::Arc;

use caside_media::control::Flow;
use caside_protocol::client::{ClientMessage, Description, MediaReport, Target};
use caside_protocol::error::Refusal;
use caside_protocol::explain::{CauseCode, ExplainedParticipant, Stage};
use caside_protocol::node::ReleaseCause;
use caside_protocol::server::{MoveReason, ServerMessage};
use caside_protocol::view::{Mode, Quality};
use caside_protocol::{ParticipantId, TrackId};
use caside_store::JournalEntry;

use super::evidence::{Connection, Evidence, Refused, TrackEvidence};
use super::{Explain, MAX_LEFT};
use crate::room::command::{Command, Moment};
use crate::room::effects::Effect;
use crate::room::state::RoomState;
use crate::sfu::{ConnectionStep, SfuEvent, TrackStep};

impl Explain {
    pub(super) fn note(
        &mut self,
        now: &Moment,
        who: Option<ParticipantId>,
        stage: Stage,
        what: &'static str,
        detail: impl Into<Option<String>>,
    ) {
        self.timeline.push(now.utc, who, stage, what, detail.into());
    }

    /// Notes it of somebody who is here, and that there may be something to find.
    fn of(&mut self, who: ParticipantId) -> Option<&mut Evidence> {
        self.is_news = true;
        self.people.get_mut(&who).map(|evidence| &mut **evidence)
    }

    fn refused(&mut self, now: &Moment, who: ParticipantId, target: Target, refusal: &Refusal) {
        let detail = format!("{}: {}", refusal.code, refusal.message);
        self.note(now, Some(who), Stage::Negotiation, "refused", detail.clone());
        let code = CauseCode::of_error(refusal.code);
        if let (Some(code), Some(evidence)) = (code, self.of(who)) {
            evidence.refuse(Refused {
                target,
                code,
                at: now.elapsed,
                text: detail,
            });
        }
    }

    fn settled(&mut self, who: ParticipantId, target: Target) {
        if let Some(evidence) = self.of(who) {
            evidence.settled(target);
        }
    }

    fn left(&mut self, now: &Moment, who: ParticipantId, cause: ReleaseCause) {
        let why = match cause {
            ReleaseCause::Left => "left",
            ReleaseCause::Kicked => "kicked",
            ReleaseCause::GraceOver => "connection lost",
            ReleaseCause::CallEnded => "call ended",
            ReleaseCause::Closed => "room closed",
        };
        self.note(now, Some(who), Stage::Join, "left", why.to_owned());
        self.told.remove(&who);
        self.is_news = true;
        if let Some(evidence) = self.people.remove(&who) {
            if self.left.len() >= MAX_LEFT {
                self.left.pop_front();
            }
            self.left.push_back(ExplainedParticipant {
                left_at: Some(now.utc),
                ..evidence.told(who)
            });
        }
    }

    fn connection_step(&mut self, now: &Moment, who: ParticipantId, target: Target, number: u64, step: ConnectionStep) {
        let name = name_of(target);
        let (stage, what, detail) = match step {
            ConnectionStep::Offered { udp, tcp, .. } => {
                let by = match (udp, tcp) {
                    (true, true) => "udp, tcp",
                    (true, false) => "udp",
                    (false, true) => "tcp",
                    (false, false) => "nothing",
                };
                (Stage::Negotiation, "negotiated", format!("{name}: {by}"))
            }
            ConnectionStep::Checked { tcp } => {
                self.reached |= !tcp;
                let by = if tcp { "tcp" } else { "udp" };
                (Stage::Ice, "first check", format!("{name}: {by}"))
            }
            ConnectionStep::Connected => (Stage::Ice, "connected", name.to_owned()),
            ConnectionStep::HandshakeBegun => (Stage::Dtls, "begun", name.to_owned()),
        };
        self.note(now, Some(who), stage, what, detail);
        if let Some(evidence) = self.of(who) {
            evidence.connection(target).step(now.elapsed, number, step);
        }
    }

    fn track_step(&mut self, now: &Moment, who: ParticipantId, track: TrackId, step: TrackStep) {
        let what = match step {
            TrackStep::Started => "first packet",
            TrackStep::KeyFrame => "first key frame",
            TrackStep::Flow(Flow::Fine) => "flows again",
            TrackStep::Flow(Flow::Silent) => "silent",
            TrackStep::Flow(Flow::NoKeyFrame) => "no key frame",
        };
        self.note(now, Some(who), Stage::Media, what, format!("track {track}"));
        let Some(evidence) = self.of(who) else { return };
        if let Some(known) = evidence.tracks.iter_mut().find(|known| known.track == track) {
            known.step(now.elapsed, step);
        }
    }

    fn reported(&mut self, now: &Moment, who: ParticipantId, report: &MediaReport) {
        let counts = report.candidates.map_or_else(String::new, |count| {
            format!(
                "; candidates: {} udp, {} tcp, {} relay",
                count.udp, count.tcp, count.relay
            )
        });
        let (name, ice) = (name_of(report.target), report.ice.as_str());
        let Some(evidence) = self.of(who) else { return };
        let connection = evidence.connection(report.target);
        if connection.report.as_ref() == Some(report) {
            return;
        }
        connection.report = Some(report.clone());
        self.note(
            now,
            Some(who),
            Stage::Ice,
            "client reports",
            format!("{name}: {ice}{counts}"),
        );
    }

    fn sfu_event(&mut self, now: &Moment, event: &SfuEvent) {
        match event {
            SfuEvent::PublishAnswered {
                participant,
                result,
                published,
                unpublished,
                ..
            } => {
                match result {
                    Ok(_) => self.settled(*participant, Target::Publish),
                    Err(refusal) => self.refused(now, *participant, Target::Publish, refusal),
                }
                for track in published {
                    let view = &track.track;
                    let what = format!("{} ({}), track {}", view.source.as_str(), view.codec, view.track);
                    self.note(now, Some(*participant), Stage::Media, "published", what);
                    if let Some(evidence) = self.of(*participant) {
                        evidence.tracks.retain(|known| known.track != view.track);
                        evidence.tracks.push(TrackEvidence::new(now.elapsed, view.track));
                    }
                }
                self.unpublished(now, *participant, unpublished);
            }
            SfuEvent::Unpublished { participant, tracks } => self.unpublished(now, *participant, tracks),
            SfuEvent::SubscribeAnswered {
                participant, result, ..
            } => match result {
                Ok(()) => self.settled(*participant, Target::Subscribe),
                Err(refusal) => self.refused(now, *participant, Target::Subscribe, refusal),
            },
            SfuEvent::Failed { participant, refusal } => self.refused(now, *participant, Target::Subscribe, refusal),
            SfuEvent::ConnectionStep {
                participant,
                target,
                connection,
                step,
            } => self.connection_step(now, *participant, *target, *connection, *step),
            SfuEvent::TrackStep {
                participant,
                track,
                step,
            } => self.track_step(now, *participant, *track, *step),
            SfuEvent::Connected { participant, target } => {
                self.note(
                    now,
                    Some(*participant),
                    Stage::Dtls,
                    "secured",
                    name_of(*target).to_owned(),
                );
                if let Some(evidence) = self.of(*participant) {
                    evidence.connection(*target).secured = Some(now.elapsed);
                    evidence.orphaned = None;
                }
            }
            SfuEvent::Disconnected {
                participant,
                target,
                cause,
            } => {
                let detail = format!("{}: {cause}", name_of(*target));
                // Clients are told the SFU's word; the same word is not told twice, another one after it.
                self.told.remove(participant);
                if *cause == CauseCode::FingerprintMismatch.as_str() {
                    self.told
                        .insert(*participant, (CauseCode::FingerprintMismatch, Quality::Poor));
                }
                self.note(now, Some(*participant), Stage::Media, "closed", detail);
                if let Some(evidence) = self.of(*participant) {
                    evidence.connection(*target).closed = Some((now.elapsed, cause));
                }
            }
            SfuEvent::WatchAnswered { .. }
            | SfuEvent::SubscribeOffer { .. }
            | SfuEvent::EncodingsWanted { .. }
            | SfuEvent::CamerasSelected { .. }
            | SfuEvent::Quality { .. }
            | SfuEvent::ActiveSpeakers { .. }
            | SfuEvent::Data { .. }
            | SfuEvent::Stats { .. } => {}
        }
    }

    fn unpublished(&mut self, now: &Moment, who: ParticipantId, tracks: &[TrackId]) {
        for track in tracks {
            self.note(now, Some(who), Stage::Media, "unpublished", format!("track {track}"));
        }
        if let Some(evidence) = self.of(who) {
            evidence.tracks.retain(|known| !tracks.contains(&known.track));
        }
    }
}

impl RoomState {
    /// What a command says, before it is carried out.
    pub(in crate::room) fn note_command(&mut self, now: &Moment, command: &Command) {
        let explain = &mut *self.explain;
        match command {
            Command::Sfu(event) => {
                if let SfuEvent::Connected { participant, .. } = event
                    && self.participants.get(participant).is_some_and(|it| !it.down.is_empty())
                {
                    // They are said to be good again without our doing.
                    explain.told.remove(participant);
                }
                explain.sfu_event(now, event);
            }
            Command::Lost { participant }
                if self
                    .participants
                    .get(participant)
                    .is_some_and(|it| it.lost_until.is_none()) =>
            {
                explain.note(now, Some(*participant), Stage::Signaling, "socket dropped", None);
                if let Some(evidence) = explain.of(*participant) {
                    evidence.lost = Some(now.elapsed);
                }
            }
            Command::Resume { participant, .. }
            | Command::Here {
                participant,
                connected: true,
                ..
            } => self.note_back(now, *participant),
            Command::Here { participant, .. } => {
                if let Some(evidence) = explain.of(*participant) {
                    evidence.lost.get_or_insert(now.elapsed);
                }
            }
            Command::Departing { participant } => {
                explain.note(now, Some(*participant), Stage::Signaling, "goes to another node", None);
            }
            Command::Ask {
                participant,
                reply,
                message,
            } => {
                let talks = |description: &Description| description.to.is_none() && self.mode == Mode::Sfu;
                match message {
                    ClientMessage::Offer(offer) if talks(offer) => {
                        explain.asking = Some((*participant, *reply, offer.target.unwrap_or(Target::Publish)));
                    }
                    ClientMessage::Answer(answer) if talks(answer) => {
                        explain.asking = Some((*participant, *reply, Target::Subscribe));
                    }
                    ClientMessage::MediaReport(report) => explain.reported(now, *participant, report),
                    ClientMessage::Mute(_)
                    | ClientMessage::Unmute(_)
                    | ClientMessage::Hold(_)
                    | ClientMessage::Unhold(_)
                    | ClientMessage::MuteParticipant(_) => explain.is_news = true,
                    _ => {}
                }
            }
            Command::Act { .. } => explain.is_news = true,
            Command::SfuLost => {
                explain.note(now, None, Stage::Room, "media server failed", None);
                for evidence in explain.people.values_mut() {
                    (evidence.publish, evidence.subscribe) = (Connection::default(), Connection::default());
                    evidence.tracks.clear();
                }
                explain.is_news = true;
            }
            Command::SfuUnavailable => explain.note(now, None, Stage::Room, "media server did not start", None),
            Command::DirectoryAway(away) if *away != explain.directory_away.is_some() => {
                explain.directory_away = away.then_some((now.elapsed, now.utc));
                let what = if *away { "directory away" } else { "directory back" };
                explain.note(now, None, Stage::Room, what, None);
                explain.is_news = true;
            }
            _ => {}
        }
    }

    /// Somebody's session is there again.
    fn note_back(&mut self, now: &Moment, participant: ParticipantId) {
        if self
            .participants
            .get(&participant)
            .is_none_or(|it| it.lost_until.is_none())
        {
            return;
        }
        let explain = &mut *self.explain;
        explain.note(now, Some(participant), Stage::Signaling, "back", None);
        if let Some(evidence) = explain.of(participant) {
            evidence.lost = None;
            if self.mode == Mode::P2p {
                evidence.orphaned = None;
            }
        }
        // The others are told that it is good again; what is wrong is told after it.
        explain.told.remove(&participant);
    }

    /// What followed from a command.
    pub(in crate::room) fn note_effects(&mut self, now: &Moment) {
        let explain = &mut *self.explain;
        let asking = explain.asking.take();
        for effect in &self.effects {
            match effect {
                Effect::Admitted { participant, .. } => {
                    if explain.people.contains_key(participant) {
                        continue;
                    }
                    let Some(member) = self.participants.get(participant) else {
                        continue;
                    };
                    explain.note(
                        now,
                        Some(*participant),
                        Stage::Join,
                        "joined",
                        format!("as {}", member.role.as_str()),
                    );
                    let (user, name) = (member.user.clone(), member.display_name.clone());
                    let evidence = Evidence::new(user, name, member.joined_at);
                    explain.people.insert(*participant, Box::new(evidence));
                    explain.is_news |= explain.directory_away.is_some();
                }
                Effect::Released { participant, cause, .. } => explain.left(now, *participant, *cause),
                Effect::Answer { reply, message } => {
                    if let (Some((who, asked, target)), ServerMessage::Error(error)) = (asking, message)
                        && asked == *reply
                    {
                        let refusal = Refusal::new(error.code, error.message.clone());
                        explain.refused(now, who, target, &refusal);
                    }
                }
                Effect::Journal(JournalEntry::CallStarted(started)) if explain.call != Some(started.call) => {
                    explain.call = Some(started.call);
                    let place = format!("on node {}", started.node);
                    explain.note(now, None, Stage::Room, "call began", place);
                }
                Effect::Journal(JournalEntry::CallEnded { .. }) => {
                    explain.note(now, None, Stage::Room, "call ended", None);
                }
                Effect::Journal(JournalEntry::RecordingStarted(started)) => {
                    explain.note(
                        now,
                        None,
                        Stage::Room,
                        "recording began",
                        format!("recording {}", started.recording),
                    );
                }
                Effect::Deliver { message, .. } => {
                    if let ServerMessage::TrackUpdated(_) = &**message {
                        explain.is_news = true;
                    }
                }
                _ => {}
            }
        }
        let is_due = explain.look_again.is_some_and(|at| at <= now.elapsed);
        if std::mem::take(&mut explain.is_news) || is_due {
            self.look(now);
        }
        self.write_down_if_over(now);
    }

    /// The room was another node's until now.
    pub(in crate::room) fn explain_taking_over(&mut self, now: Moment, reason: MoveReason) {
        let failed = reason == MoveReason::Failover;
        let explain = &mut *self.explain;
        explain.call = self.call;
        let why = if failed { "its node is gone" } else { "its node drained" };
        let what = format!("{why}; now on node {}", self.setup.node);
        explain.note(&now, None, Stage::Room, "taken over", what);
        for member in self.participants.values() {
            let mut evidence = Evidence::new(member.user.clone(), member.display_name.clone(), member.joined_at);
            evidence.orphaned = failed.then_some(now.elapsed);
            explain.people.insert(member.id, Box::new(evidence));
        }
        self.look(&now);
        // Nobody is there yet to whom it could be told.
        self.explain.told.clear();
    }

    /// Tells everybody, or one participant only of themself.
    pub(super) fn tell_cause(&mut self, who: ParticipantId, quality: Quality, code: Option<CauseCode>, alone: bool) {
        let event = ServerMessage::ConnectionQuality(caside_protocol::server::ConnectionQuality {
            participant_id: who,
            quality,
            cause: code.map(|code| code.as_str().to_owned()),
        });
        if alone {
            self.deliver(who, Arc::new(event));
        } else {
            self.broadcast(None, event);
        }
    }
}

fn name_of(target: Target) -> &'static str {
    match target {
        Target::Publish => "publish",
        Target::Subscribe => "subscribe",
    }
}
