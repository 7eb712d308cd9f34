//! What needs a role: muting and removing others, giving roles, locking, ending the call; by a participant or by REST.

use std::sync::Arc;

use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::node::{Act, ReleaseCause, Report};
use caside_protocol::server::{Kicked, LeaveReason, ServerMessage};
use caside_protocol::view;
use caside_protocol::{Grants, ParticipantId, Permission, Role, TrackId};
use caside_store::JournalEntry;

use super::command::{Authority, Moment, ReplyId, Ticket};
use super::effects::Effect;
use super::media::{Told, no_track};
use super::recording::Waiting;
use super::relay::Answer;
use super::state::{RoomState, forbidden};

/// Whoever acts: what they may do here.
#[derive(Debug, Clone, Copy)]
struct Acting {
    participant: Option<ParticipantId>,
    role: Role,
    grants: Grants,
}

impl Acting {
    fn needs(&self, permission: Permission) -> Result<(), Refusal> {
        if self.grants.permit(self.role, permission) {
            Ok(())
        } else {
            Err(forbidden(permission))
        }
    }

    /// Nobody touches a higher role.
    fn over(&self, role: Role) -> Result<(), Refusal> {
        if role > self.role {
            return Err(Refusal::new(ErrorCode::Forbidden, "they have a higher role than you"));
        }
        Ok(())
    }
}

impl RoomState {
    // ---- by a participant -----------------------------------------------------------------------------------------

    pub(super) fn mute_by(&mut self, by: ParticipantId, target: ParticipantId, track: Option<TrackId>) -> Answer {
        let acting = self.acting(by)?;
        self.mute(acting, target, track)?;
        Ok(Some(ServerMessage::ok()))
    }

    pub(super) fn kick_by(&mut self, now: Moment, by: ParticipantId, target: ParticipantId) -> Answer {
        if by == target {
            return Err(Refusal::new(ErrorCode::InvalidPayload, "to go yourself, leave"));
        }
        let acting = self.acting(by)?;
        self.kick(now, acting, target)?;
        Ok(Some(ServerMessage::ok()))
    }

    pub(super) fn set_role_by(&mut self, by: ParticipantId, target: ParticipantId, role: Role) -> Answer {
        let acting = self.acting(by)?;
        self.set_role(acting, target, role)?;
        Ok(Some(ServerMessage::ok()))
    }

    pub(super) fn lock_by(&mut self, by: ParticipantId, locked: bool) -> Answer {
        self.acting(by)?.needs(Permission::Moderate)?;
        if self.setup.room.locked != locked {
            self.setup.room.locked = locked;
            let room = self.setup.room.id.clone();
            self.journal(JournalEntry::RoomLocked { room, locked });
            self.tell_room();
        }
        Ok(Some(ServerMessage::ok()))
    }

    pub(super) fn end_call_by(&mut self, now: Moment, by: ParticipantId, reply: ReplyId) -> Answer {
        self.acting(by)?.needs(Permission::EndCall)?;
        self.end_and_answer(now, reply)
    }

    /// Hanging up a call between two ends it; from a room with more it is leaving.
    pub(super) fn hang_up(&mut self, now: Moment, by: ParticipantId, reply: ReplyId) -> Answer {
        if self.setup.ringing && self.participants.len() <= 2 {
            return self.end_and_answer(now, reply);
        }
        self.leave(now, by, Some(reply));
        Ok(None)
    }

    /// The answer comes before the end, so that it is not lost with the session of somebody whose socket is gone.
    fn end_and_answer(&mut self, now: Moment, reply: ReplyId) -> Answer {
        self.effects.push(Effect::Answer {
            reply,
            message: ServerMessage::ok(),
        });
        self.end_for_all(now, ReleaseCause::CallEnded);
        Ok(None)
    }

    fn acting(&self, by: ParticipantId) -> Result<Acting, Refusal> {
        let member = self.participant(by)?;
        Ok(Acting {
            participant: Some(by),
            role: member.role,
            grants: member.grants,
        })
    }

    // ---- by REST --------------------------------------------------------------------------------------------------

    pub(super) fn act(&mut self, now: Moment, by: &Authority, ticket: Ticket, act: Act) {
        let result = self
            .acting_by_rest(by)
            .and_then(|acting| self.acted(now, acting, ticket, act));
        if let Some(result) = result.transpose() {
            self.effects.push(Effect::Report { ticket, result });
        }
    }

    fn acted(&mut self, now: Moment, acting: Acting, ticket: Ticket, act: Act) -> Result<Option<Report>, Refusal> {
        let participant = |view| Report::Participant(Box::new(view));
        let report = match act {
            Act::Mute(target, track) => participant(self.mute(acting, target, track)?),
            Act::Kick(target) => participant(self.kick(now, acting, target)?),
            Act::SetRole(target, role) => participant(self.set_role(acting, target, role)?),
            Act::StartRecording => {
                acting.needs(Permission::Record)?;
                self.start_recording(now, Some(Waiting::Rest(ticket)))?;
                return Ok(None);
            }
            Act::StopRecording => {
                acting.needs(Permission::Record)?;
                Report::Recording(Box::new(self.stop_recording(now)?))
            }
            Act::EndCall => {
                acting.needs(Permission::EndCall)?;
                let none = || Refusal::new(ErrorCode::CallNotFound, "no call is on in this room");
                let call = self.call.ok_or_else(none)?;
                self.end_for_all(now, ReleaseCause::CallEnded);
                Report::Call(call)
            }
        };
        Ok(Some(report))
    }

    /// Somebody outside acts with what an admin, the room's owner or their token may; somebody inside also with their
    /// role there, the highest of their participants'.
    fn acting_by_rest(&self, by: &Authority) -> Result<Acting, Refusal> {
        self.knows(&by.standing)?;
        let grants = by.standing.grants;
        if by.admin {
            return Ok(Acting {
                participant: None,
                role: Role::Host,
                grants,
            });
        }
        let owner = (self.setup.room.owner.as_ref() == Some(&by.user)).then_some(Role::Host);
        let outside = by.standing.role.or(owner);
        let inside = self
            .participants
            .values()
            .filter(|p| p.user == by.user)
            .map(|p| p.role)
            .max();
        let role = outside.max(inside);
        role.map(|role| Acting {
            participant: None,
            role,
            grants,
        })
        .ok_or_else(|| Refusal::new(ErrorCode::Forbidden, "you have no role in this room"))
    }

    // ---- the acts -------------------------------------------------------------------------------------------------

    fn mute(
        &mut self,
        acting: Acting,
        target: ParticipantId,
        track: Option<TrackId>,
    ) -> Result<view::Participant, Refusal> {
        acting.needs(Permission::Moderate)?;
        let member = self.participant(target)?;
        acting.over(member.role)?;
        let tracks = match track {
            Some(track) if member.track(track).is_none() => return Err(no_track()),
            Some(track) => vec![track],
            None => member.held_by(None),
        };
        for track in tracks {
            self.change_track(target, track, Told::All, |t| t.track.muted = true);
        }
        Ok(self.participant(target)?.view())
    }

    fn kick(&mut self, now: Moment, acting: Acting, target: ParticipantId) -> Result<view::Participant, Refusal> {
        acting.needs(Permission::Moderate)?;
        let member = self.participant(target)?;
        acting.over(member.role)?;
        let view = member.view();
        self.deliver(
            target,
            Arc::new(ServerMessage::Kicked(Kicked { by: acting.participant })),
        );
        self.remove(now, target, LeaveReason::Kicked, ReleaseCause::Kicked);
        Ok(view)
    }

    fn set_role(&mut self, acting: Acting, target: ParticipantId, role: Role) -> Result<view::Participant, Refusal> {
        acting.needs(Permission::SetRole)?;
        acting.over(role)?;
        acting.over(self.participant(target)?.role)?;
        let member = self.participant_mut(target)?;
        member.role_given = true;
        let grants = member.grants;
        self.change_rights(target, role, grants);
        Ok(self.participant(target)?.view())
    }
}
