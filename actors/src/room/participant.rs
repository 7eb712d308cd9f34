//! A member of a call.

use std::time::Duration;

use caside_protocol::client::{HoldTarget, Subscribe, SubscribePolicy, Target};
use caside_protocol::server::MoveReason;
use caside_protocol::view::{self, Connection, Quality, Track, TrackKind};
use caside_protocol::{Grants, ParticipantId, Permission, Role, Timestamp, TrackId, UserId};

use super::history::EventLog;
use crate::sfu::PublishedTrack;

/// A member of a call.
#[derive(Debug)]
pub(super) struct Participant {
    pub(super) id: ParticipantId,
    pub(super) user: UserId,
    pub(super) display_name: String,
    pub(super) role: Role,
    pub(super) grants: Grants,
    /// Whether the role was given here; then it holds for the stay, whatever a later token says.
    pub(super) role_given: bool,
    pub(super) joined_at: Timestamp,
    pub(super) subscribe: SubscribePolicy,
    /// How many cameras they receive: their own word, else the room's.
    pub(super) last_n: Option<u32>,
    pub(super) log: EventLog,
    pub(super) tracks: Vec<PublishedTrack>,
    /// What they published at the room's owner before this one, and are to publish here.
    pub(super) awaited: Vec<Track>,
    /// Until when that is waited for.
    pub(super) awaited_until: Option<Duration>,
    /// How they want tracks that others are to publish anew.
    pub(super) wishes: Vec<Subscribe>,
    /// They were told that media moves and have not begun: until then, or until they do, nothing is offered to them, which would
    /// meet their connections of before.
    pub(super) to_begin: Option<Duration>,
    /// Why the room moved, of one whose session has not spoken up since: what it has seen is not known.
    pub(super) estranged: Option<MoveReason>,
    /// The last event that asks something of the client and would not be said again: the SFU's offer, and that media
    /// begins anew.
    pub(super) asked: Asked,
    /// Until when a dropped socket is waited for; `None` while there is one.
    pub(super) lost_until: Option<Duration>,
    /// Holds everything, both ways, tracks to come among it.
    pub(super) on_hold: bool,
    /// Media connections that closed on their own and are not back.
    pub(super) down: Vec<Target>,
    /// How well those that are up do, and what is wrong.
    pub(super) judged: Option<(Quality, Option<&'static str>)>,
}

/// The numbers of events that a client must have acted on; 0 before the first.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    /// The last `offer` of the SFU.
    pub(super) to_answer: u64,
    /// The last `room-moved`.
    pub(super) to_move: u64,
}

impl Participant {
    pub(super) fn may(&self, permission: Permission) -> bool {
        self.grants.permit(self.role, permission)
    }

    /// What the SFU is told of them: whether they may receive, and send data.
    pub(super) fn media_rights(&self) -> (bool, bool) {
        (self.may(Permission::Subscribe), self.may(Permission::Data))
    }

    pub(super) fn track(&self, track: TrackId) -> Option<&PublishedTrack> {
        self.tracks.iter().find(|t| t.track.track == track)
    }

    /// Own tracks that a hold means.
    pub(super) fn held_by(&self, target: Option<HoldTarget>) -> Vec<TrackId> {
        let meant = |t: &&PublishedTrack| match target {
            None => true,
            Some(HoldTarget::Audio) => t.track.kind == TrackKind::Audio,
            Some(HoldTarget::Video) => t.track.kind == TrackKind::Video,
            Some(HoldTarget::Track(id)) => t.track.track == id,
        };
        self.tracks.iter().filter(meant).map(|t| t.track.track).collect()
    }

    /// As others see them.
    pub(super) fn view(&self) -> view::Participant {
        view::Participant {
            participant_id: self.id,
            user: self.user.clone(),
            display_name: self.display_name.clone(),
            role: self.role,
            joined_at: self.joined_at,
            connection: if self.lost_until.is_some() {
                Connection::Lost
            } else {
                Connection::Connected
            },
            tracks: {
                let published = self.tracks.iter().map(|t| &t.track);
                published.chain(&self.awaited).cloned().collect()
            },
        }
    }
}
