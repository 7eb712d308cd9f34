//! Who speaks, told by the audio levels that clients put into their packets (RFC 6464).

use std::time::Duration;

use crate::parameters::ProducerId;

/// How often levels are looked at, and so the least time between two changes.
pub(crate) const INTERVAL: Duration = Duration::from_millis(300);

/// How many speakers are named.
const MAX_SPEAKERS: usize = 3;

/// Loudness is 127 less the level in −dBov. Speech lies around 90–105, a quiet room around 55.
const BEGIN: f32 = 77.0;
const END: f32 = 65.0;

/// A speaker is overtaken by one who is this much louder.
const OVERTAKE: f32 = 5.0;

/// The levels of one producer since they were last looked at.
#[derive(Debug, Default)]
pub(crate) struct LevelMeter {
    sum: u32,
    count: u32,
    /// Smoothed loudness.
    loudness: f32,
}

impl LevelMeter {
    /// Takes the byte of the header extension: the V bit, which says what encoders hold for voice, is not relied upon.
    pub(crate) fn packet(&mut self, level: u8) {
        self.sum += 127 - u32::from(level & 0x7f);
        self.count += 1;
    }

    /// Ends an interval: the smoothed loudness.
    pub(crate) fn settle(&mut self) -> f32 {
        let now = if self.count == 0 {
            0.0
        } else {
            self.sum as f32 / self.count as f32
        };
        (self.sum, self.count) = (0, 0);
        self.loudness = (self.loudness + now) / 2.0;
        self.loudness
    }
}

/// The speakers of one router.
#[derive(Debug, Default)]
pub(crate) struct Speakers {
    /// All who speak, in the order to report, with their loudness.
    active: Vec<(ProducerId, f32)>,
    reported: Vec<ProducerId>,
}

impl Speakers {
    /// Who speaks, as reported last.
    pub(crate) fn reported(&self) -> &[ProducerId] {
        &self.reported
    }

    /// Ends an interval in which producers were this loud. Gives the speakers to report if they changed.
    pub(crate) fn settle(&mut self, loudness: impl Iterator<Item = (ProducerId, f32)>) -> Option<Vec<ProducerId>> {
        let before = std::mem::take(&mut self.active);
        let rank = |producer: ProducerId| before.iter().position(|(speaker, _)| *speaker == producer);
        let mut active: Vec<_> = loudness
            .filter_map(|(producer, loudness)| {
                let rank = rank(producer);
                let threshold = if rank.is_some() { END } else { BEGIN };
                (loudness >= threshold).then_some((rank.unwrap_or(usize::MAX), producer, loudness))
            })
            .collect();
        // Who spoke before keeps the place before those who begin, of whom the loudest goes first.
        active.sort_by(|(rank, _, loudness), (other_rank, _, other)| {
            rank.cmp(other_rank).then(other.total_cmp(loudness))
        });
        for end in (1..active.len()).rev() {
            for i in 0..end {
                if active[i + 1].2 > active[i].2 + OVERTAKE {
                    active.swap(i, i + 1);
                }
            }
        }
        self.active = active
            .into_iter()
            .map(|(_, producer, loudness)| (producer, loudness))
            .collect();
        let top = self.active.iter().take(MAX_SPEAKERS).map(|(producer, _)| *producer);
        if top.clone().eq(self.reported.iter().copied()) {
            return None;
        }
        self.reported = top.collect();
        Some(self.reported.clone())
    }

    /// Whether somebody speaks, so that a silence is still to be noticed.
    pub(crate) fn is_active(&self) -> bool {
        !self.active.is_empty() || !self.reported.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Room {
        speakers: Speakers,
        meters: Vec<LevelMeter>,
    }

    impl Room {
        fn new(producers: usize) -> Self {
            Self {
                speakers: Speakers::default(),
                meters: (0..producers).map(|_| LevelMeter::default()).collect(),
            }
        }

        /// One interval in which each producer sends this level.
        fn interval(&mut self, levels: &[u8]) -> Option<Vec<u64>> {
            for (meter, level) in self.meters.iter_mut().zip(levels) {
                (0..15).for_each(|_| meter.packet(*level));
            }
            let meters = self
                .meters
                .iter_mut()
                .zip(0..)
                .map(|(meter, id)| (ProducerId(id), meter.settle()));
            self.speakers
                .settle(meters)
                .map(|top| top.into_iter().map(|producer| producer.0).collect())
        }
    }

    #[test]
    fn names_who_begins_and_who_ends_once() {
        let mut room = Room::new(2);
        assert_eq!(room.interval(&[127, 80]), None);
        let changes: Vec<_> = (0..6).filter_map(|_| room.interval(&[25, 80])).collect();
        assert_eq!(changes, [[0]]);
        let changes: Vec<_> = (0..6).filter_map(|_| room.interval(&[127, 80])).collect();
        assert_eq!(changes, [Vec::<u64>::new()]);
        assert!(!room.speakers.is_active());
    }

    #[test]
    fn a_short_pause_is_no_end() {
        let mut room = Room::new(1);
        (0..5).for_each(|_| drop(room.interval(&[20])));
        assert_eq!(room.interval(&[70]), None);
        assert_eq!(room.interval(&[20]), None);
    }

    #[test]
    fn little_louder_does_not_overtake_and_much_louder_does() {
        let mut room = Room::new(2);
        (0..9).for_each(|_| drop(room.interval(&[30, 127])));
        let changes: Vec<_> = (0..9).filter_map(|_| room.interval(&[30, 27])).collect();
        assert_eq!(changes, [[0, 1]]);
        let changes: Vec<_> = (0..9).filter_map(|_| room.interval(&[30, 10])).collect();
        assert_eq!(changes, [[1, 0]]);
    }

    #[test]
    fn at_most_three_are_named() {
        let mut room = Room::new(5);
        let changes: Vec<_> = (0..9).filter_map(|_| room.interval(&[40, 30, 20, 10, 5])).collect();
        assert_eq!(changes.last(), Some(&vec![4, 3, 2]));
    }
}
