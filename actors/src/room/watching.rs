//! Viewers that come by HTTP: they offer once and are sent one participant's tracks.

use std::collections::BTreeMap;

use caside_protocol::client::{Target, Watch};
use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::server::{ServerMessage, SfuAnswer};
use caside_protocol::{ParticipantId, Permission, TrackId};

use super::command::{Moment, ReplyId};
use super::participant::Participant;
use super::relay::Answer;
use super::state::{RoomState, not_here};
use crate::sfu::SfuCommand;

impl RoomState {
    /// A viewer's offer, for the named participant's tracks or those of the first who publishes.
    pub(super) fn watch(&mut self, now: Moment, from: ParticipantId, reply: ReplyId, watch: Watch) -> Answer {
        self.permitted(from, Permission::Subscribe)?;
        let publishes = |member: &Participant| member.id != from && !member.tracks.is_empty();
        let publisher = match watch.participant {
            Some(id) => {
                let named: &Participant = self.participants.get(&id).ok_or_else(not_here)?;
                Some(named).filter(|member| publishes(member))
            }
            None => {
                let all = self.participants.values().map(AsRef::as_ref);
                all.filter(|member| publishes(member))
                    .min_by_key(|member: &&Participant| (member.joined_at, member.id))
            }
        };
        let nothing = || Refusal::new(ErrorCode::NothingPublished, "nobody publishes here now");
        let publisher = publisher.ok_or_else(nothing)?.id;
        self.ask_sfu(now, from, reply, |participant, request| SfuCommand::Watch {
            participant,
            request,
            publisher,
            sdp: watch.sdp,
        });
        Ok(None)
    }

    /// The SFU's answer to a viewer's offer: its description and what is sent on each m-line now.
    pub(super) fn watch_answered(
        &mut self,
        request: u64,
        result: Result<(String, BTreeMap<String, TrackId>), Refusal>,
    ) {
        let answer = |(sdp, tracks)| {
            ServerMessage::Answer(SfuAnswer {
                target: Target::Subscribe,
                sdp,
                tracks,
            })
        };
        self.answer_pending(request, result.map_or_else(ServerMessage::from, answer));
    }
}
