//! A session as an operator sees it.

use serde_json::{Value, json};

use super::actor::Session;
use super::place::Place;

impl Session {
    /// Says in which room the session is, where that has changed, so that operators find it by the room.
    pub(super) fn say_where(&mut self) {
        let inside = match &self.place {
            Place::Inside { participant, room } => Some((*participant, room)),
            Place::Outside(_) | Place::Joining { .. } | Place::Leaving { .. } => None,
        };
        let seen_as = inside.map(|(participant, _)| participant);
        if seen_as != self.seen_as {
            self.seen_as = seen_as;
            self.myself.vitals().in_room(inside.map(|(_, room)| room.id()));
        }
    }

    /// What it is about now.
    pub(super) fn inspect(&self) -> Value {
        let (place, room) = match &self.place {
            Place::Outside(_) => ("outside", None),
            Place::Joining { .. } => ("joining", None),
            Place::Inside { room, .. } => ("inside", Some(room)),
            Place::Leaving { .. } => ("leaving", None),
        };
        let user = self.claims.as_ref().map(|claims| &claims.sub);
        json!({
            "user": user,
            "place": place,
            "room": room.map(|room| room.id()),
            "room_node": room.and_then(|room| room.member()).map(|member| &member.node),
            "participant_id": self.place.participant(),
            "socket": self.socket.as_ref().map(|socket| socket.inspect()),
            "sockets_so_far": self.generation.saturating_add(1),
            "last_seq": self.last_seq,
            "requests_deferred": self.deferred.len(),
        })
    }
}
