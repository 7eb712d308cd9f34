//! How well participants' connections do, as the room tells it.
//!
//! Signaling comes first: who is `lost` is nothing else until the resume. Then media connections that broke, then how well
//! those that are up do.

use caside_protocol::ParticipantId;
use caside_protocol::client::Target;
use caside_protocol::server::{ConnectionQuality, ServerMessage};
use caside_protocol::view::Quality;

use super::state::RoomState;

impl RoomState {
    pub(super) fn connected(&mut self, participant: ParticipantId, target: Target) {
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        let was_down = !member.down.is_empty();
        member.down.retain(|t| *t != target);
        if was_down && member.down.is_empty() {
            // How well it does is judged anew.
            member.judged = None;
            self.tell_media_quality(participant, Quality::Good, None);
        }
    }

    pub(super) fn disconnected(&mut self, participant: ParticipantId, target: Target, cause: &'static str) {
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        if !member.down.contains(&target) {
            member.down.push(target);
            self.tell_media_quality(participant, Quality::Poor, Some(cause));
        }
    }

    /// The SFU judged a participant's connections anew.
    pub(super) fn judged(&mut self, participant: ParticipantId, quality: Quality, cause: Option<&'static str>) {
        let Some(member) = self.participants.get_mut(&participant) else {
            return;
        };
        member.judged = Some((quality, cause));
        if member.lost_until.is_none() && member.down.is_empty() {
            let (quality, cause) = self.with_cause(participant, quality, cause);
            self.tell_media_quality(participant, quality, cause);
        }
    }

    /// Who came back is `good`, as everybody was told; unless their media says otherwise.
    pub(super) fn tell_judged_again(&mut self, participant: ParticipantId) {
        let judged = self.participants.get(&participant).and_then(|member| member.judged);
        if let Some((quality, cause)) = judged.filter(|(quality, _)| *quality != Quality::Good) {
            self.tell_media_quality(participant, quality, cause);
        }
    }

    /// Unlike signaling, media may be down while its owner can be told.
    fn tell_media_quality(&mut self, participant_id: ParticipantId, quality: Quality, cause: Option<&'static str>) {
        let cause = cause.map(str::to_owned);
        let event = ConnectionQuality {
            participant_id,
            quality,
            cause,
        };
        self.broadcast(None, ServerMessage::ConnectionQuality(event));
    }
}
