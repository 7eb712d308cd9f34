//! Coming and going: joins, drops, resumes, leaves, and the call that lasts from the first to the last.

use std::sync::Arc;

use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::{ReleaseCause, Resumption};
use caside_protocol::server::{
    CallState, CallStateChanged, ConnectionQuality, Joined, LeaveReason, ModeReason, MoveReason, PeerLeft, RoleChanged,
    ServerMessage,
};
use caside_protocol::view::{Mode, Quality};
use caside_protocol::{CallId, Grants, ParticipantId, Role};
use caside_store::JournalEntry;
use caside_store::journal::{CallStarted, ParticipantJoined};
use serde_json::Value;

use super::command::{Entry, Moment, ReplyId, Standing};
use super::effects::Effect;
use super::history::{EventLog, Missed, NeverSent};
use super::participant::{Asked, Participant};
use super::state::{RoomState, role_of, starting_mode};
use crate::sfu::SfuCommand;

/// From this many on, a room of mode `auto` is on the SFU.
const SFU_FROM: usize = 3;

impl RoomState {
    pub(super) fn join(&mut self, now: Moment, entry: Entry) {
        if self.participants.contains_key(&entry.participant) {
            return self.join_again(entry);
        }
        let is_owner = self.setup.room.owner.as_ref() == Some(&entry.user);
        let role = role_of(entry.standing.role, is_owner);
        if let Err(refusal) = self.knows(&entry.standing).and_then(|()| self.admits(role)) {
            let Entry {
                participant,
                reply,
                log,
                ..
            } = entry;
            self.effects.push(Effect::Refused {
                participant,
                reply,
                refusal,
                log,
            });
            return;
        }
        let call = self.call_for(now);
        let (id, reply) = (entry.participant, entry.reply);
        self.journal(JournalEntry::ParticipantJoined(ParticipantJoined {
            participant: id,
            call,
            user: entry.user.clone(),
            display_name: entry.display_name.clone(),
            role,
            joined_at: now.utc,
            client_ip: entry.client_ip,
            metadata: Value::Null,
        }));
        if self.mode == Mode::P2p && self.setup.room.mode == Mode::Auto && self.participants.len() + 1 >= SFU_FROM {
            self.move_to_sfu(ModeReason::Participants);
        }
        self.participants.insert(id, Box::new(newcomer(now, entry, role)));
        let room_state = self.seen_by(id);
        let joined = Box::new(Joined {
            participant_id: id,
            call_id: call,
            role,
            room_state,
        });
        self.effects.push(Effect::Admitted {
            participant: id,
            reply,
            joined,
        });
        if let Some(view) = self.participants.get(&id).map(|p| p.view()) {
            self.broadcast(Some(id), ServerMessage::PeerJoined(view));
        }
        if self.sfu {
            self.attach(id);
        }
    }

    /// Somebody's client has every event up to this number.
    pub(super) fn received(&mut self, participant: ParticipantId, seq: u64) {
        if let Some(member) = self.participants.get_mut(&participant) {
            member.log.received(seq);
        }
    }

    /// Somebody whose way in was cut off after the door had opened, and who was sent again.
    fn join_again(&mut self, entry: Entry) {
        let Entry {
            participant,
            reply,
            log,
            ..
        } = entry;
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        member.log = log;
        member.lost_until = None;
        member.estranged = None;
        let role = member.role;
        let Some(call_id) = self.call else { return };
        let joined = Box::new(Joined {
            participant_id: participant,
            call_id,
            role,
            room_state: self.seen_by(participant),
        });
        self.effects.push(Effect::Admitted {
            participant,
            reply,
            joined,
        });
    }

    /// Whether a token is for this room, and not for an earlier one of the same id.
    pub(super) fn knows(&self, standing: &Standing) -> Result<(), Refusal> {
        if self.setup.room.admits(standing.right_since) {
            return Ok(());
        }
        let text = "your token was made for an earlier room of this id; get a new one";
        Err(Refusal::new(ErrorCode::Forbidden, text))
    }

    fn admits(&self, role: Role) -> Result<(), Refusal> {
        if self.setup.room.locked && role < Role::Moderator {
            return Err(Refusal::new(ErrorCode::RoomLocked, "the room is locked"));
        }
        if self.participants.len() >= self.capacity() {
            return Err(Refusal::new(ErrorCode::RoomFull, "the room is full"));
        }
        Ok(())
    }

    /// The call that is on, or the one that begins now: that made by REST, if one waits.
    fn call_for(&mut self, now: Moment) -> CallId {
        if let Some(call) = self.call {
            return call;
        }
        let call = self.setup.waiting_call.take().unwrap_or_else(|| CallId(self.id()));
        self.call = Some(call);
        self.mode = starting_mode(&self.setup.room);
        self.journal(JournalEntry::CallStarted(CallStarted {
            call,
            room: self.setup.room.id.clone(),
            owner: self.setup.room.owner.clone(),
            created_at: now.utc,
            started_at: now.utc,
            node: self.setup.node.clone(),
            epoch: self.setup.epoch,
        }));
        call
    }

    pub(super) fn rejoin(&mut self, participant: ParticipantId, reply: ReplyId) {
        let Some((role, call)) = self.participants.get(&participant).map(|p| p.role).zip(self.call) else {
            return self.refuse(reply, ErrorCode::NotJoined, "the call ended meanwhile; join again");
        };
        let joined = Joined {
            participant_id: participant,
            call_id: call,
            role,
            room_state: self.seen_by(participant),
        };
        self.effects.push(Effect::Answer {
            reply,
            message: ServerMessage::Joined(Box::new(joined)),
        });
    }

    /// Somebody who is out already has been told so; then there is nothing to resume here.
    pub(super) fn resume(&mut self, participant: ParticipantId, last_seq: u64) {
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        let estranged = member.estranged.take();
        if estranged == Some(MoveReason::Failover) {
            // It gets the room as it is, and numbers go on after what it has seen.
            member.log = EventLog::after(last_seq, self.setup.history);
            member.lost_until = None;
            let (you, room_state) = (member.view(), self.seen_by(participant));
            self.effects.push(Effect::Resumed {
                participant,
                resumption: Some(Resumption {
                    reset: Some(Box::new((room_state, you))),
                    events: Vec::new(),
                    last: last_seq,
                }),
            });
            return self.tell_to_begin(participant, MoveReason::Failover);
        }
        let Ok(missed) = member.log.resume(last_seq) else {
            return self.effects.push(Effect::Resumed {
                participant,
                resumption: None,
            });
        };
        let was_lost = member.lost_until.take().is_some();
        let (asked, you, last) = (member.asked, member.view(), member.log.last());
        let (events, reset) = match missed {
            Missed::Events(events) => (events, None),
            Missed::Gone => (Vec::new(), Some(Box::new((self.seen_by(participant), you)))),
        };
        let is_reset = reset.is_some();
        self.effects.push(Effect::Resumed {
            participant,
            resumption: Some(Resumption { reset, events, last }),
        });
        if is_reset {
            self.ask_again(participant, last_seq, asked);
        }
        if let Some(reason) = estranged {
            self.tell_to_begin(participant, reason);
        }
        if was_lost {
            self.tell_quality(participant, Quality::Good, None);
            self.tell_judged_again(participant);
        }
    }

    /// The room's state does not say what the client has yet to do.
    fn ask_again(&mut self, participant: ParticipantId, last_seq: u64, asked: Asked) {
        if last_seq < asked.to_move {
            self.tell_moved(participant, MoveReason::Sfu);
        }
        if last_seq < asked.to_answer {
            self.order(SfuCommand::OfferAgain { participant });
        }
    }

    /// A session speaks up after the way to it was another: what it missed is said again.
    pub(super) fn here(&mut self, now: Moment, participant: ParticipantId, last_seq: u64, connected: bool) {
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        let was_lost = member.lost_until.take().is_some() && member.estranged.is_none();
        let estranged = member.estranged.take();
        if let Some(reason) = estranged {
            self.reacquaint(participant, last_seq, reason);
        }
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        match member.log.resume(last_seq) {
            Ok(_) if estranged.is_some() => {}
            Ok(Missed::Events(events)) => {
                let deliver = |(seq, message)| Effect::Deliver {
                    to: participant,
                    seq,
                    message,
                };
                self.effects.extend(events.into_iter().map(deliver));
            }
            // What it saw and missed is not known: it gets the room as it is.
            Ok(Missed::Gone) | Err(NeverSent) => {
                member.log = EventLog::after(last_seq, self.setup.history);
                self.tell_moved(participant, MoveReason::Failover);
            }
        }
        if !connected {
            self.lost(now, participant);
        } else if was_lost {
            self.tell_quality(participant, Quality::Good, None);
            self.tell_judged_again(participant);
        }
    }

    /// The room is another owner's since the session last spoke up. What the owner before said last is known when it handed
    /// the room over; when it died it is not, and numbers go on after what the client has seen.
    fn reacquaint(&mut self, participant: ParticipantId, last_seq: u64, reason: MoveReason) {
        let history = self.setup.history;
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        let missed = match (reason, member.log.resume(last_seq)) {
            (MoveReason::Drain, Ok(Missed::Events(events))) => events,
            _ => {
                member.log = EventLog::after(last_seq, history);
                Vec::new()
            }
        };
        let deliver = |(seq, message)| Effect::Deliver {
            to: participant,
            seq,
            message,
        };
        self.effects.extend(missed.into_iter().map(deliver));
        self.tell_to_begin(participant, reason);
    }

    /// Until it resumes, a session that goes to another node is as one without a socket; nobody need know.
    pub(super) fn departing(&mut self, now: Moment, participant: ParticipantId) {
        let until = now.elapsed + self.setup.grace;
        if let Some(member) = self.participants.get_mut(&participant) {
            member.lost_until.get_or_insert(until);
        }
    }

    pub(super) fn lost(&mut self, now: Moment, participant: ParticipantId) {
        let until = now.elapsed + self.setup.grace;
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        if member.lost_until.is_none() {
            member.lost_until = Some(until);
            self.tell_quality(participant, Quality::Lost, Some("signaling_lost"));
        }
    }

    pub(super) fn tell_quality(&mut self, participant_id: ParticipantId, quality: Quality, cause: Option<&str>) {
        let cause = cause.map(str::to_owned);
        let event = ServerMessage::ConnectionQuality(ConnectionQuality {
            participant_id,
            quality,
            cause,
        });
        self.broadcast(Some(participant_id), event);
    }

    pub(super) fn leave(&mut self, now: Moment, participant: ParticipantId, reply: Option<ReplyId>) {
        self.remove(now, participant, LeaveReason::Left, ReleaseCause::Left);
        if let Some(reply) = reply {
            self.effects.push(Effect::Answer {
                reply,
                message: ServerMessage::ok(),
            });
        }
    }

    pub(super) fn gone(&mut self, now: Moment, participant: ParticipantId) {
        self.remove(now, participant, LeaveReason::ConnectionLost, ReleaseCause::GraceOver);
    }

    pub(super) fn grace_over(&mut self, now: Moment, participant: ParticipantId) {
        self.remove(now, participant, LeaveReason::ConnectionLost, ReleaseCause::GraceOver);
    }

    /// Takes one participant out and tells the others; the call ends with the last.
    pub(super) fn remove(&mut self, now: Moment, participant: ParticipantId, reason: LeaveReason, cause: ReleaseCause) {
        if self.release(now, participant, cause) {
            let left = PeerLeft {
                participant_id: participant,
                reason,
            };
            self.broadcast(None, ServerMessage::PeerLeft(left));
            self.forget_speaker(participant);
            if self.participants.is_empty() {
                self.call_over(now);
            }
        }
    }

    /// Takes a participant out of everything without a word to the others. `false` when they are not here.
    fn release(&mut self, now: Moment, participant: ParticipantId, cause: ReleaseCause) -> bool {
        let Some(member) = self.participants.remove(&participant) else {
            return false;
        };
        for track in &member.tracks {
            self.recorder_unpublished(track.track.track);
        }
        if member.to_begin.is_none() {
            self.order(SfuCommand::Detach { participant });
        }
        let mut waiting: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, p)| p.participant == participant)
            .map(|(n, _)| *n)
            .collect();
        waiting.sort_unstable();
        for request in waiting {
            self.fail_pending(request, Refusal::new(ErrorCode::NotJoined, "you left the room"));
        }
        self.journal(JournalEntry::ParticipantLeft {
            participant,
            left_at: now.utc,
        });
        self.effects.push(Effect::Released {
            participant,
            log: member.log,
            cause,
        });
        true
    }

    /// Ends the call for everybody.
    pub(super) fn end_for_all(&mut self, now: Moment, cause: ReleaseCause) {
        if let (Some(call_id), ReleaseCause::CallEnded) = (self.call, cause) {
            let ended = CallStateChanged {
                call_id,
                state: CallState::Ended,
            };
            self.broadcast(None, ServerMessage::CallStateChanged(ended));
        }
        while let Some(participant) = self.participants.keys().next().copied() {
            self.release(now, participant, cause);
        }
        self.speakers.clear();
        self.call_over(now);
    }

    fn call_over(&mut self, now: Moment) {
        self.recording_over_with_call(now);
        if let Some(call) = self.call.take() {
            self.journal(JournalEntry::CallEnded {
                call,
                ended_at: now.utc,
            });
        }
    }

    pub(super) fn close(&mut self, now: Moment, tell: bool) {
        self.end_for_all(
            now,
            if tell {
                ReleaseCause::CallEnded
            } else {
                ReleaseCause::Closed
            },
        );
    }

    pub(super) fn renewed(&mut self, participant: ParticipantId, standing: Standing) {
        let Some(member) = self.participants.get(&participant) else {
            return;
        };
        // A token for an earlier room gives nothing here; it takes nothing either.
        if self.knows(&standing).is_err() {
            return;
        }
        let kept = member.role_given.then_some(member.role);
        let role = kept.or(standing.role).unwrap_or(member.role);
        self.change_rights(participant, role, standing.grants);
    }

    /// Gives a participant another role or other grants, which hold at once: for what they ask from here on, and for the
    /// media that flows.
    pub(super) fn change_rights(&mut self, participant: ParticipantId, role: Role, grants: Grants) {
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        let before = (member.role, member.media_rights());
        member.role = role;
        member.grants = grants;
        let (view, rights) = (member.view(), member.media_rights());
        if role != before.0 {
            self.journal(JournalEntry::ParticipantRole { participant, role });
            self.deliver(participant, Arc::new(ServerMessage::RoleChanged(RoleChanged { role })));
            self.broadcast(Some(participant), ServerMessage::PeerUpdated(view));
        }
        if rights != before.1 {
            let (may_subscribe, may_send_data) = rights;
            self.order(SfuCommand::SetRights {
                participant,
                may_subscribe,
                may_send_data,
            });
        }
        self.silence_unless_permitted(participant);
    }
}

fn newcomer(now: Moment, entry: Entry, role: Role) -> Participant {
    Participant {
        id: entry.participant,
        user: entry.user,
        display_name: entry.display_name,
        role,
        grants: entry.standing.grants,
        role_given: false,
        joined_at: now.utc,
        subscribe: entry.subscribe,
        last_n: entry.last_n,
        log: entry.log,
        tracks: Vec::new(),
        awaited: Vec::new(),
        awaited_until: None,
        wishes: Vec::new(),
        to_begin: None,
        estranged: None,
        asked: Asked::default(),
        lost_until: None,
        on_hold: false,
        down: Vec::new(),
        judged: None,
    }
}
