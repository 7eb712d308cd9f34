//! Where a session is: outside of rooms, inside one, or between.

use caside_protocol::{InviteId, ParticipantId, RoomId};

use crate::room::{EventLog, RoomWay};

/// Where a session is. Its event log is outside with it, and else with the room.
#[derive(Debug)]
pub(super) enum Place {
    /// In no room.
    Outside(EventLog),
    /// At a room's door.
    Joining {
        participant: ParticipantId,
        room: RoomId,
        /// The invitation that led there, to be answered when it is known whether the door opened.
        invite: Option<InviteId>,
    },
    /// In a room.
    Inside { participant: ParticipantId, room: RoomWay },
    /// On the way out.
    Leaving { participant: ParticipantId },
}

impl Place {
    /// The participant that the session is, or is about to be.
    pub(super) fn participant(&self) -> Option<ParticipantId> {
        match self {
            Self::Outside(_) => None,
            Self::Joining { participant, .. } | Self::Inside { participant, .. } | Self::Leaving { participant } => {
                Some(*participant)
            }
        }
    }

    /// The room that the session is in.
    pub(super) fn room(&self) -> Option<&RoomId> {
        match self {
            Self::Inside { room, .. } => Some(room.id()),
            Self::Outside(_) | Self::Joining { .. } | Self::Leaving { .. } => None,
        }
    }

    /// Whether it is on its way in or out.
    pub(super) fn is_between(&self) -> bool {
        matches!(self, Self::Joining { .. } | Self::Leaving { .. })
    }

    /// Whether it is in a room, or on its way, as this participant.
    pub(super) fn is_of(&self, participant: ParticipantId) -> bool {
        self.participant() == Some(participant)
    }
}
