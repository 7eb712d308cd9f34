//! Who was not let in, and why: of somebody who never got into a room no room can tell.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::explain::{CauseCode, KnownRefusal, Stage};
use caside_protocol::{RoomId, Timestamp, UserId};

/// Refusals that are remembered; the oldest goes.
const MAX: usize = 512;
/// Of one room, or of none.
const MAX_EACH: usize = 48;

/// The last refusals of this node.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<VecDeque<KnownRefusal>>);

impl Refusals {
    /// Remembers one, unless it says only what the client did wrong.
    pub(crate) fn note(
        &self,
        stage: Stage,
        room: Option<&RoomId>,
        user: Option<&UserId>,
        refusal: &Refusal,
        is_directory_away: bool,
    ) {
        let cause = match CauseCode::of_error(refusal.code) {
            Some(CauseCode::DependencyAway) if is_directory_away => CauseCode::DirectoryAway,
            Some(cause) => cause,
            None => return,
        };
        self.push(KnownRefusal {
            at: Timestamp::now_utc(),
            room: room.cloned(),
            user: user.cloned(),
            stage,
            cause,
            error: refusal.code,
            message: refusal.message.clone(),
        });
    }

    fn push(&self, refusal: KnownRefusal) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same_room = |known: &KnownRefusal| known.room == refusal.room;
        if all.iter().filter(|known| is_same_room(known)).count() >= MAX_EACH {
            if let Some(oldest) = all.iter().position(is_same_room) {
                all.remove(oldest);
            }
        } else if all.len() >= MAX {
            all.pop_front();
        }
        all.push_back(refusal);
    }

    /// Those that `id` is about, a room or a user, and those that kept out anybody, whatever room they were for.
    pub(crate) fn about(&self, id: &str) -> Vec<KnownRefusal> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant = |known: &&KnownRefusal| {
            let named = known.room.as_ref().is_some_and(|room| room.as_str() == id);
            let of_user = known.user.as_ref().is_some_and(|user| user.as_str() == id);
            named || of_user || (known.room.is_none() && keeps_anybody_out(known.error))
        };
        all.iter().filter(is_meant).cloned().collect()
    }
}

/// Whether it has to do with the node rather than with who was refused.
fn keeps_anybody_out(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::TooManyConnections
            | ErrorCode::Overloaded
            | ErrorCode::Draining
            | ErrorCode::DependencyUnavailable
            | ErrorCode::Internal
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomId {
        RoomId::new(name).unwrap()
    }

    fn refusal(code: ErrorCode) -> Refusal {
        Refusal::new(code, "no")
    }

    #[test]
    fn a_room_is_told_of_its_own_and_of_what_kept_out_anybody() {
        let (refusals, ada) = (Refusals::default(), UserId::new("ada").unwrap());
        refusals.note(
            Stage::Join,
            Some(&room("a")),
            Some(&ada),
            &refusal(ErrorCode::Forbidden),
            false,
        );
        refusals.note(
            Stage::Join,
            Some(&room("b")),
            None,
            &refusal(ErrorCode::RoomFull),
            false,
        );
        refusals.note(Stage::Auth, None, None, &refusal(ErrorCode::TooManyConnections), false);
        refusals.note(Stage::Auth, None, None, &refusal(ErrorCode::Unauthorized), false);
        refusals.note(
            Stage::Join,
            Some(&room("a")),
            None,
            &refusal(ErrorCode::AlreadyJoined),
            false,
        );
        let causes = |id: &str| -> Vec<CauseCode> { refusals.about(id).iter().map(|known| known.cause).collect() };
        assert_eq!(causes("a"), [CauseCode::NoGrant, CauseCode::NodeFull]);
        assert_eq!(causes("b"), [CauseCode::RoomFull, CauseCode::NodeFull]);
        assert_eq!(causes("ada"), [CauseCode::NoGrant, CauseCode::NodeFull]);
    }

    #[test]
    fn what_fails_for_want_of_the_directory_is_not_put_down_to_the_database() {
        let refusals = Refusals::default();
        for away in [true, false] {
            let refusal = refusal(ErrorCode::DependencyUnavailable);
            refusals.note(Stage::Join, Some(&room("a")), None, &refusal, away);
        }
        let causes: Vec<_> = refusals.about("a").iter().map(|known| known.cause).collect();
        assert_eq!(causes, [CauseCode::DirectoryAway, CauseCode::DependencyAway]);
    }

    #[test]
    fn one_room_that_is_stormed_does_not_push_out_the_others() {
        let refusals = Refusals::default();
        refusals.note(
            Stage::Join,
            Some(&room("a")),
            None,
            &refusal(ErrorCode::RoomLocked),
            false,
        );
        for _ in 0..10_000 {
            refusals.note(
                Stage::Join,
                Some(&room("b")),
                None,
                &refusal(ErrorCode::RoomFull),
                false,
            );
        }
        assert_eq!((refusals.about("a").len(), refusals.about("b").len()), (1, MAX_EACH));
        for n in 0..10_000 {
            refusals.note(
                Stage::Join,
                Some(&room(&n.to_string())),
                None,
                &refusal(ErrorCode::RoomFull),
                false,
            );
        }
        assert_eq!(refusals.0.lock().unwrap().len(), MAX);
    }
}
