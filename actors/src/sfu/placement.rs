//! On which worker a participant sits: on one that carries the room already while it has time, else on the one with the most.

use crate::media_worker::WorkerLoad;

/// From this share of busy time on, a room's newcomers are placed on other workers: bursts, and what those who are there will
/// still publish, need the rest.
const SPREAD: f64 = 0.70;

/// From this share on a worker takes nobody: it begins to give up pictures there.
const FULL: f64 = 0.85;

/// Shares of busy time are compared in steps of this, for they waver; within one, those count who were placed a moment ago
/// and are not felt yet.
const STEP: f64 = 0.05;

/// Chooses a worker, by its index in `loads`; `own` are those that the room is on. `None` when all are full.
pub(super) fn place(loads: &[WorkerLoad], own: &[usize]) -> Option<usize> {
    let rank = |index: &usize| {
        let load = &loads[*index];
        let step = (load.busy / STEP) as u32;
        (step, load.participants, load.rooms)
    };
    let has_time = |index: &usize| {
        let load = loads.get(*index);
        load.is_some_and(|load| load.busy < SPREAD && load.participants < load.max_participants)
    };
    if let Some(own) = own.iter().copied().filter(has_time).min_by_key(rank) {
        return Some(own);
    }
    let takes = |index: &usize| {
        let load = &loads[*index];
        load.busy < FULL && load.pressure == 0 && load.participants < load.max_participants
    };
    // Of equals one that carries the room: every further one costs a pipe for each track.
    (0..loads.len())
        .filter(takes)
        .min_by_key(|index| (rank(index), !own.contains(index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(busy: f64, participants: usize, rooms: usize) -> WorkerLoad {
        WorkerLoad {
            busy,
            participants,
            rooms,
            max_participants: 100,
            ..WorkerLoad::default()
        }
    }

    #[test]
    fn a_room_begins_where_there_is_the_most_time() {
        let cases = [
            (vec![load(0.5, 9, 9), load(0.1, 90, 9), load(0.3, 1, 1)], Some(1)),
            (vec![load(0.11, 9, 1), load(0.14, 3, 9), load(0.12, 4, 1)], Some(1)),
            (vec![load(0.0, 3, 2), load(0.0, 3, 1)], Some(1)),
            (vec![load(0.0, 0, 0), load(0.0, 0, 0)], Some(0)),
            (vec![load(0.1, 100, 1), load(0.8, 99, 1)], Some(1)),
            (vec![load(0.1, 100, 1), load(0.86, 1, 1)], None),
            (vec![], None),
        ];
        for (loads, expected) in cases {
            assert_eq!(place(&loads, &[]), expected, "{loads:?}");
        }
    }

    #[test]
    fn a_room_stays_together_until_its_worker_is_busy_or_full() {
        let free = load(0.0, 0, 0);
        assert_eq!(place(&[free, load(0.69, 99, 1)], &[1]), Some(1));
        assert_eq!(place(&[free, load(0.70, 5, 1)], &[1]), Some(0));
        assert_eq!(place(&[free, load(0.10, 100, 1)], &[1]), Some(0));
        // Of its own the one with more time; a third only when all of its own are busy.
        assert_eq!(place(&[free, load(0.6, 5, 1), load(0.2, 50, 1)], &[1, 2]), Some(2));
        assert_eq!(place(&[free, load(0.7, 5, 1), load(0.8, 5, 1)], &[1, 2]), Some(0));
        // All are busy, none is full.
        assert_eq!(place(&[load(0.82, 1, 1), load(0.75, 5, 1)], &[1]), Some(1));
        assert_eq!(place(&[load(0.76, 5, 1), load(0.77, 5, 1)], &[1]), Some(1));
    }

    #[test]
    fn a_worker_that_gives_up_pictures_takes_nobody_else() {
        let pressed = WorkerLoad {
            pressure: 1,
            ..load(0.75, 1, 1)
        };
        assert_eq!(place(&[pressed], &[0]), None);
        assert_eq!(place(&[pressed, load(0.84, 9, 1)], &[0]), Some(1));
    }
}
