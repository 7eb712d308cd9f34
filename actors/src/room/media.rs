//! Media by the SFU: negotiation, tracks, mute and hold, speakers, and an SFU that comes late, fails or is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use caside_protocol::client::{Candidate, ChangePolicy, Description, HoldTarget, Subscribe, Target, TrackSource};
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::server::{
    ActiveSpeakers, CamerasSelected, MoveReason, PublishLayers, RoomMoved, ServerMessage, SfuAnswer, SfuOffer,
    TrackGone,
};
use caside_protocol::view::Mode;
use caside_protocol::{ParticipantId, Permission, TrackId};

use super::command::{Moment, ReplyId};
use super::effects::Effect;
use super::participant::Participant;
use super::relay::Answer;
use super::state::{Pending, RoomState};
use crate::sfu::{PublishedTrack, SfuCommand, SfuEvent};

/// How long a participant has to begin its media anew; then it is offered what there is all the same.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);
/// Wishes of one participant for tracks that are not there yet.
const MAX_WISHES: usize = 256;

/// Who is told of a change to a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Everybody but its publisher, who made it.
    Others,
    /// Its publisher too.
    All,
}

impl RoomState {
    // ---- negotiation ----------------------------------------------------------------------------------------------

    pub(super) fn offer(&mut self, now: Moment, from: ParticipantId, reply: ReplyId, offer: Description) -> Answer {
        if let Some(to) = offer.to {
            return self.relay(from, to, offer.raw, ServerMessage::RelayedOffer);
        }
        if self.mode == Mode::P2p {
            let to = self.only_other(from)?;
            return self.relay(from, to, offer.raw, ServerMessage::RelayedOffer);
        }
        if offer.target == Some(Target::Subscribe) {
            return self.start_anew(from, offer.sdp.as_ref());
        }
        self.permitted(from, Permission::Publish)?;
        let sdp = offer.sdp.ok_or_else(no_sdp)?;
        self.begins(from);
        let sources = self.that_go_on(from, offer.tracks);
        self.ask_sfu(now, from, reply, |participant, request| SfuCommand::PublishOffer {
            participant,
            request,
            sdp,
            sources,
        });
        Ok(None)
    }

    /// What m-lines are, the ids of tracks left out that are not waited for from this publisher.
    fn that_go_on(
        &self,
        from: ParticipantId,
        mut sources: BTreeMap<String, TrackSource>,
    ) -> BTreeMap<String, TrackSource> {
        let mut awaited: Vec<TrackId> = Vec::new();
        if let Some(member) = self.participants.get(&from) {
            awaited.extend(member.awaited.iter().map(|track| track.track));
        }
        for source in sources.values_mut() {
            let known = source
                .track
                .and_then(|id| awaited.iter().position(|known| *known == id));
            source.track = known.map(|index| awaited.swap_remove(index));
        }
        sources
    }

    /// The server offers on the subscribe connection; an offer without a description asks it to do so on a new one.
    fn start_anew(&mut self, participant: ParticipantId, sdp: Option<&String>) -> Answer {
        if sdp.is_some() {
            return Err(Refusal::new(
                ErrorCode::InvalidPayload,
                "the server offers on the subscribe connection; leave payload.sdp out to have it offer anew",
            ));
        }
        self.permitted(participant, Permission::Subscribe)?;
        let tracks = self
            .participant(participant)?
            .tracks
            .iter()
            .map(|t| t.track.track)
            .collect();
        self.unpublished(participant, tracks, Told::Others);
        if let Some(member) = self.participants.get_mut(&participant) {
            member.to_begin = None;
        }
        if self.sfu {
            self.attach(participant);
        } else {
            self.ensure_sfu();
        }
        Ok(Some(ServerMessage::ok()))
    }

    pub(super) fn answer(&mut self, now: Moment, from: ParticipantId, reply: ReplyId, answer: Description) -> Answer {
        if let Some(to) = answer.to {
            return self.relay(from, to, answer.raw, ServerMessage::RelayedAnswer);
        }
        if self.mode == Mode::P2p {
            let to = self.only_other(from)?;
            return self.relay(from, to, answer.raw, ServerMessage::RelayedAnswer);
        }
        if answer.target == Some(Target::Publish) {
            return Err(Refusal::new(
                ErrorCode::InvalidPayload,
                "the client offers on the publish connection",
            ));
        }
        let sdp = answer.sdp.ok_or_else(no_sdp)?;
        if !self.sfu {
            return Err(Refusal::new(ErrorCode::InvalidPayload, "there is no offer to answer"));
        }
        self.ask_sfu(now, from, reply, |participant, request| SfuCommand::SubscribeAnswer {
            participant,
            request,
            sdp,
        });
        Ok(None)
    }

    /// The SFU is ICE-lite and learns a client's addresses from its checks: candidates for it need no action.
    pub(super) fn candidate(&mut self, from: ParticipantId, candidate: Candidate) -> Answer {
        let to = match candidate.to {
            Some(to) => to,
            None if self.mode == Mode::P2p => self.only_other(from)?,
            None => return Ok(Some(ServerMessage::ok())),
        };
        self.relay(from, to, candidate.raw, ServerMessage::RelayedCandidate)
    }

    pub(super) fn subscribe(&mut self, participant: ParticipantId, wish: Subscribe) -> Answer {
        self.permitted(participant, Permission::Subscribe)?;
        let published = |id: ParticipantId| id != participant;
        let known = self
            .participants
            .values()
            .any(|p| published(p.id) && p.track(wish.track).is_some());
        if !known {
            return self.subscribe_later(participant, wish);
        }
        self.order(SfuCommand::Subscribe { participant, wish });
        Ok(Some(ServerMessage::ok()))
    }

    /// A wish for a track that its publisher is to publish anew, as the room has moved.
    fn subscribe_later(&mut self, participant: ParticipantId, wish: Subscribe) -> Answer {
        let is_awaited = |p: &Participant| p.id != participant && p.awaited.iter().any(|t| t.track == wish.track);
        if !self.participants.values().any(|p| is_awaited(p)) {
            return Err(no_track());
        }
        let member = self.participant_mut(participant)?;
        member.wishes.retain(|earlier| earlier.track != wish.track);
        if member.wishes.len() < MAX_WISHES {
            member.wishes.push(wish);
        }
        Ok(Some(ServerMessage::ok()))
    }

    /// Passes on what was wished for a track before it was there.
    fn wished_before(&mut self, track: TrackId) {
        let mut wishes = Vec::new();
        for member in self.participants.values_mut() {
            let of_track = member.wishes.extract_if(.., |wish| wish.track == track);
            wishes.extend(of_track.map(|wish| (member.id, wish)));
        }
        for (participant, wish) in wishes {
            self.order(SfuCommand::Subscribe { participant, wish });
        }
    }

    /// How many cameras a participant receives, from now on.
    pub(super) fn change_policy(&mut self, participant: ParticipantId, change: ChangePolicy) -> Answer {
        self.permitted(participant, Permission::Subscribe)?;
        let last_n = change.last_n;
        self.participant_mut(participant)?.last_n = last_n;
        if self.sfu {
            self.order(SfuCommand::SetLastN { participant, last_n });
        }
        Ok(Some(ServerMessage::ok()))
    }

    /// Tells the SFU how many cameras and voices the room gives its members.
    pub(super) fn limit_media(&mut self) {
        let (last_n, audio_last_n) = (self.setup.room.last_n, self.setup.room.audio_last_n);
        self.order(SfuCommand::Limit { last_n, audio_last_n });
    }

    pub(super) fn stats(&mut self, now: Moment, from: ParticipantId, reply: ReplyId) -> Answer {
        if !self.sfu {
            return Ok(Some(ServerMessage::Stats(serde_json::json!({ "connections": [] }))));
        }
        self.ask_sfu(now, from, reply, |participant, request| SfuCommand::Stats {
            participant,
            request,
        });
        Ok(None)
    }

    /// Asks the SFU, starting it if need be, and remembers who waits for its answer.
    pub(super) fn ask_sfu(
        &mut self,
        now: Moment,
        participant: ParticipantId,
        reply: ReplyId,
        command: impl FnOnce(ParticipantId, u64) -> SfuCommand,
    ) {
        self.ensure_sfu();
        self.next_request += 1;
        let deadline = now.elapsed + self.setup.media_timeout;
        self.pending.insert(
            self.next_request,
            Pending {
                participant,
                reply,
                deadline,
            },
        );
        self.order(command(participant, self.next_request));
    }

    pub(super) fn fail_pending(&mut self, request: u64, refusal: Refusal) {
        if let Some(pending) = self.pending.remove(&request) {
            self.effects.push(Effect::Answer {
                reply: pending.reply,
                message: refusal.into(),
            });
        }
    }

    /// Answers whoever waits; nobody does after a timeout.
    pub(super) fn answer_pending(&mut self, request: u64, message: ServerMessage) {
        if let Some(pending) = self.pending.remove(&request) {
            self.effects.push(Effect::Answer {
                reply: pending.reply,
                message,
            });
        }
    }

    // ---- the SFU itself -------------------------------------------------------------------------------------------

    fn ensure_sfu(&mut self) {
        if self.sfu {
            return;
        }
        self.sfu = true;
        self.effects.push(Effect::StartSfu);
        if (self.setup.room.last_n, self.setup.room.audio_last_n) != (0, 0) {
            self.limit_media();
        }
        let begun = self.participants.values().filter(|p| p.to_begin.is_none());
        let begun: Vec<ParticipantId> = begun.map(|p| p.id).collect();
        for participant in begun {
            self.attach(participant);
        }
    }

    pub(super) fn attach(&mut self, id: ParticipantId) {
        let Some(member) = self.participants.get(&id) else {
            return;
        };
        let (may_subscribe, may_send_data) = member.media_rights();
        let (subscribe, last_n, on_hold) = (member.subscribe, member.last_n, member.on_hold);
        self.order(SfuCommand::Attach {
            participant: id,
            subscribe,
            last_n,
            may_subscribe,
            may_send_data,
        });
        if on_hold {
            self.order(SfuCommand::SetReceiving {
                participant: id,
                receiving: false,
            });
        }
    }

    pub(super) fn sfu_refused(&mut self, request: u64) {
        self.fail_pending(
            request,
            Refusal::new(ErrorCode::Overloaded, "the media server is overloaded; try again"),
        );
    }

    pub(super) fn sfu_unavailable(&mut self) {
        self.sfu = false;
        self.fail_all_pending();
    }

    /// Everybody's media moves to the next SFU, which starts with the first offer.
    pub(super) fn sfu_lost(&mut self) {
        if !std::mem::take(&mut self.sfu) {
            return;
        }
        self.fail_all_pending();
        let owners: Vec<(ParticipantId, Vec<TrackId>)> = self
            .participants
            .values()
            .map(|p| (p.id, p.tracks.iter().map(|t| t.track.track).collect()))
            .collect();
        for (participant, tracks) in owners {
            self.unpublished(participant, tracks, Told::All);
        }
        self.set_speakers(Vec::new());
        let everybody: Vec<ParticipantId> = self.participants.keys().copied().collect();
        for participant in everybody {
            self.tell_to_begin(participant, MoveReason::Sfu);
        }
    }

    /// Media moves; whose room moved with it gets the room as it is, for what the last owner still said is not known.
    pub(super) fn tell_moved(&mut self, to: ParticipantId, reason: MoveReason) {
        let (node, epoch) = (self.setup.node.clone(), self.setup.epoch);
        let reset = reason != MoveReason::Sfu;
        let you = self.participants.get(&to).map(|p| p.view()).filter(|_| reset);
        let moved = RoomMoved {
            node,
            epoch,
            reason,
            reset,
            room_state: reset.then(|| self.seen_by(to)),
            you,
        };
        self.deliver(to, Arc::new(ServerMessage::RoomMoved(Box::new(moved))));
        if let Some(member) = self.participants.get_mut(&to) {
            member.asked.to_move = member.log.last();
        }
    }

    /// The same to somebody who has no media at this SFU yet.
    pub(super) fn tell_to_begin(&mut self, to: ParticipantId, reason: MoveReason) {
        let until = (self.mode == Mode::Sfu).then(|| self.elapsed + BEGINS_WITHIN);
        if let Some(member) = self.participants.get_mut(&to) {
            member.to_begin = until;
        }
        self.tell_moved(to, reason);
    }

    /// A participant begins its media anew, or is not waited for any longer.
    fn begins(&mut self, participant: ParticipantId) {
        let begins = self
            .participants
            .get_mut(&participant)
            .and_then(|member| member.to_begin.take());
        if begins.is_some() && self.sfu {
            self.attach(participant);
        }
    }

    /// Who was told that media moves and only receives may wait for offers.
    pub(super) fn begin_without_a_word(&mut self, now: Moment) {
        let is_due = |p: &Participant| p.to_begin.is_some_and(|until| until <= now.elapsed);
        let due = self.participants.values().filter(|p| is_due(p));
        let due: Vec<ParticipantId> = due.map(|p| p.id).collect();
        for participant in due {
            self.begins(participant);
        }
    }

    fn fail_all_pending(&mut self) {
        let mut waiting: Vec<u64> = self.pending.keys().copied().collect();
        waiting.sort_unstable();
        for request in waiting {
            let text = "the media server is not there now; try again";
            self.fail_pending(request, Refusal::new(ErrorCode::Overloaded, text));
        }
    }

    pub(super) fn sfu_event(&mut self, now: Moment, event: SfuEvent) {
        match event {
            SfuEvent::PublishAnswered {
                participant,
                request,
                result,
                published,
                unpublished,
            } => {
                let message = match result {
                    Ok((sdp, tracks)) => ServerMessage::Answer(SfuAnswer {
                        target: Target::Publish,
                        sdp,
                        tracks,
                    }),
                    Err(refusal) => refusal.into(),
                };
                self.answer_pending(request, message);
                self.unpublished(participant, unpublished, Told::Others);
                self.published(now, participant, published);
            }
            SfuEvent::SubscribeAnswered { request, result, .. } => {
                let message = result.map_or_else(ServerMessage::from, |()| ServerMessage::ok());
                self.answer_pending(request, message);
            }
            SfuEvent::WatchAnswered { request, result, .. } => self.watch_answered(request, result),
            SfuEvent::SubscribeOffer {
                participant,
                sdp,
                tracks,
            } => {
                let offer = SfuOffer {
                    target: Target::Subscribe,
                    sdp,
                    tracks,
                };
                self.deliver(participant, Arc::new(ServerMessage::Offer(offer)));
                if let Some(member) = self.participants.get_mut(&participant) {
                    member.asked.to_answer = member.log.last();
                }
            }
            SfuEvent::Failed { participant, refusal } => self.deliver(participant, Arc::new(refusal.into())),
            SfuEvent::Unpublished { participant, tracks } => self.unpublished(participant, tracks, Told::All),
            SfuEvent::Connected { participant, target } => self.connected(participant, target),
            SfuEvent::Disconnected {
                participant,
                target,
                cause,
            } => self.disconnected(participant, target, cause),
            SfuEvent::EncodingsWanted {
                participant,
                track,
                layers,
            } => {
                let event = PublishLayers { track, layers };
                self.deliver(participant, Arc::new(ServerMessage::PublishLayers(event)));
            }
            SfuEvent::Quality {
                participant,
                quality,
                cause,
            } => self.judged(participant, quality, cause),
            SfuEvent::ActiveSpeakers { tracks } => self.speaking(&tracks),
            SfuEvent::CamerasSelected { participant, tracks } => {
                let event = CamerasSelected { tracks };
                self.deliver(participant, Arc::new(ServerMessage::CamerasSelected(event)));
            }
            SfuEvent::Stats { request, stats } => self.answer_pending(request, ServerMessage::Stats(stats)),
            // Forwarded by label on the others' own data channels, inside the SFU.
            SfuEvent::Data { .. } => {}
            // Noted; see `explain`.
            SfuEvent::ConnectionStep { .. } | SfuEvent::TrackStep { .. } => {}
        }
    }

    // ---- tracks ---------------------------------------------------------------------------------------------------

    fn published(&mut self, now: Moment, participant: ParticipantId, published: Vec<PublishedTrack>) {
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        let (muted, held) = (!member.may(Permission::Publish), member.on_hold);
        let mut announced = Vec::with_capacity(published.len());
        for mut track in published {
            // One that goes on is as it was: the others know it.
            let before = member.awaited.iter().position(|known| known.track == track.track.track);
            let before = before.map(|index| member.awaited.swap_remove(index));
            track.track.muted |= muted || before.as_ref().is_some_and(|before| before.muted);
            track.track.held |= held || before.as_ref().is_some_and(|before| before.held);
            announced.push((track.clone(), before));
            member.tracks.push(track);
        }
        if member.awaited.is_empty() {
            member.awaited_until = None;
        }
        for (track, before) in announced {
            if track.track.muted || track.track.held {
                self.order(SfuCommand::SetPaused {
                    track: track.track.track,
                    paused: true,
                });
            }
            let id = track.track.track;
            self.recorder_published(participant, &track);
            match before {
                Some(before) if before == track.track => {}
                Some(_) => self.broadcast(Some(participant), ServerMessage::TrackUpdated(track.track)),
                None => self.broadcast(Some(participant), ServerMessage::TrackPublished(track.track)),
            }
            self.wished_before(id);
            self.record_from_first_track(now);
        }
    }

    pub(super) fn unpublished(&mut self, participant: ParticipantId, tracks: Vec<TrackId>, told: Told) {
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        let is_known = |t: &TrackId| member.track(*t).is_some() || member.awaited.iter().any(|known| known.track == *t);
        let known: Vec<TrackId> = tracks.into_iter().filter(is_known).collect();
        member.tracks.retain(|t| !known.contains(&t.track.track));
        member.awaited.retain(|t| !known.contains(&t.track));
        for track in known {
            self.recorder_unpublished(track);
            let gone = TrackGone {
                track,
                participant_id: participant,
            };
            self.broadcast(except(told, participant), ServerMessage::TrackUnpublished(gone));
        }
    }

    pub(super) fn mute_own(&mut self, participant: ParticipantId, track: TrackId, muted: bool) -> Answer {
        let member = self.participant(participant)?;
        if member.track(track).is_none() {
            return Err(no_track());
        }
        if !muted {
            self.permitted(participant, Permission::Publish)?;
        }
        self.change_track(participant, track, Told::Others, |t| t.track.muted = muted);
        Ok(Some(ServerMessage::ok()))
    }

    /// Without a target everything is held, both ways; with one, own tracks only.
    pub(super) fn hold(&mut self, participant: ParticipantId, target: Option<HoldTarget>, held: bool) -> Answer {
        let member = self.participant_mut(participant)?;
        let tracks = member.held_by(target);
        if matches!(target, Some(HoldTarget::Track(_))) && tracks.is_empty() {
            return Err(no_track());
        }
        if target.is_none() && member.on_hold != held {
            member.on_hold = held;
            self.order(SfuCommand::SetReceiving {
                participant,
                receiving: !held,
            });
        }
        for track in tracks {
            self.change_track(participant, track, Told::Others, |t| t.track.held = held);
        }
        Ok(Some(ServerMessage::ok()))
    }

    /// Changes a track and tells what follows: the others, and the SFU and the recorder when it pauses or goes on.
    pub(super) fn change_track(
        &mut self,
        participant: ParticipantId,
        track: TrackId,
        told: Told,
        change: impl FnOnce(&mut PublishedTrack),
    ) {
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        let Some(published) = member.tracks.iter_mut().find(|t| t.track.track == track) else {
            return;
        };
        let before = published.track.clone();
        change(published);
        let after = published.track.clone();
        if after == before {
            return;
        }
        let paused = after.muted || after.held;
        if paused != (before.muted || before.held) {
            self.order(SfuCommand::SetPaused { track, paused });
            self.recorder_paused(track, paused);
        }
        self.broadcast(except(told, participant), ServerMessage::TrackUpdated(after));
    }

    /// Mutes what a participant may no longer publish; they may unmute it when they may again.
    pub(super) fn silence_unless_permitted(&mut self, participant: ParticipantId) {
        let Some(member) = self.participants.get(&participant) else {
            return;
        };
        if member.may(Permission::Publish) {
            return;
        }
        for track in member.held_by(None) {
            self.change_track(participant, track, Told::All, |t| t.track.muted = true);
        }
    }

    // ---- speakers -------------------------------------------------------------------------------------------------

    fn speaking(&mut self, tracks: &[TrackId]) {
        let mut speakers = Vec::new();
        for track in tracks {
            let speaker = self
                .participants
                .values()
                .find(|p| p.track(*track).is_some())
                .map(|p| p.id);
            if let Some(speaker) = speaker.filter(|s| !speakers.contains(s)) {
                speakers.push(speaker);
            }
        }
        self.set_speakers(speakers);
    }

    pub(super) fn forget_speaker(&mut self, participant: ParticipantId) {
        let speakers = self.speakers.iter().copied().filter(|s| *s != participant).collect();
        self.set_speakers(speakers);
    }

    fn set_speakers(&mut self, speakers: Vec<ParticipantId>) {
        if speakers != self.speakers {
            self.speakers.clone_from(&speakers);
            self.broadcast(
                None,
                ServerMessage::ActiveSpeakers(ActiveSpeakers { participants: speakers }),
            );
        }
    }
}

fn except(told: Told, participant: ParticipantId) -> Option<ParticipantId> {
    match told {
        Told::Others => Some(participant),
        Told::All => None,
    }
}

fn no_sdp() -> Refusal {
    Refusal::new(ErrorCode::InvalidPayload, "payload.sdp: missing")
}

pub(super) fn no_track() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "no such track is published here")
}
