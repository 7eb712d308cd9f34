//! Who speaks, told by the audio levels that clients put into their packets (RFC 6464).
//!
//! What counts is how loud somebody is over time, not for a moment: a cough, a door or single keys are loud and short. So levels are
//! weighted by what their packets last, silence counts where none come (discontinuous transmission), and about half a second
//! of speech is needed to begin. Once named, less is enough to stay, and only who is clearly louder overtakes.

use std::time::{Duration, Instant};

use crate::parameters::ProducerId;

/// How often levels are looked at, and so the least time between two changes.
pub(crate) const INTERVAL: Duration = Duration::from_millis(300);

/// How many speakers are named.
const MAX_SPEAKERS: usize = 3;

/// Loudness is 127 less the level in −dBov. Speech lies around 90–105, a quiet room around 55.
pub(super) const BEGIN: f32 = 77.0;
const END: f32 = 65.0;

/// A speaker is overtaken by one who is this much louder.
pub(super) const OVERTAKE: f32 = 5.0;

/// What packets last, in ticks of 48 kHz: usually, and at most (RFC 7587 §4.2). A longer step of timestamps is a pause.
const USUAL_TICKS: u32 = 960;
const MAX_TICKS: u32 = 5760;

/// Sound that fills an interval, in ticks: two thirds, for packets do not fall evenly into intervals. What is missing of it is silence.
const FULL_TICKS: f32 = 9600.0;

/// The levels of one producer since they were last looked at.
#[derive(Debug, Default)]
pub(crate) struct LevelMeter {
    /// Loudness by ticks, and ticks.
    sum: u32,
    ticks: u32,
    /// Of the packet before.
    timestamp: Option<u32>,
    /// Smoothed loudness.
    loudness: f32,
    /// When a packet came that may be speech.
    loud_at: Option<Instant>,
    /// Whether packets say nothing of their level.
    untold: bool,
}

impl LevelMeter {
    /// Takes the byte of the header extension: the V bit, which says what encoders hold for voice, is not relied upon.
    /// Without one the packet may be anything, and counts as speech where that is the question. Whether it may be speech.
    pub(crate) fn packet(&mut self, now: Instant, timestamp: u32, level: Option<u8>) -> bool {
        let loudness = level.map(|level| 127 - u32::from(level & 0x7f));
        let before = self.timestamp.replace(timestamp);
        let step = before.map_or(USUAL_TICKS, |before| timestamp.wrapping_sub(before));
        let ticks = if (1..=MAX_TICKS).contains(&step) {
            step
        } else {
            USUAL_TICKS
        };
        if let Some(loudness) = loudness {
            // An interval ends long before the sums could overflow, for clients at their clock's pace; others only harm themselves.
            self.sum = self.sum.saturating_add(loudness * ticks);
            self.ticks = self.ticks.saturating_add(ticks);
        }
        self.untold = loudness.is_none();
        let loud = loudness.is_none_or(|loudness| loudness as f32 >= BEGIN);
        if loud {
            self.loud_at = Some(now);
        }
        loud
    }

    /// Ends an interval: the smoothed loudness.
    pub(crate) fn settle(&mut self) -> f32 {
        let now = self.sum as f32 / (self.ticks as f32).max(FULL_TICKS);
        (self.sum, self.ticks) = (0, 0);
        self.loudness = (self.loudness + now) / 2.0;
        self.loudness
    }

    /// The smoothed loudness at the end of the last interval.
    pub(super) fn loudness(&self) -> f32 {
        if self.untold { BEGIN } else { self.loudness }
    }

    /// When a packet came last that may be speech.
    pub(super) fn loud_at(&self) -> Option<Instant> {
        self.loud_at
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
    use crate::producer::test_start;

    /// A packet of 20 ms with a level; nothing is sent without one.
    type Sent = Option<u8>;

    struct Room {
        speakers: Speakers,
        meters: Vec<LevelMeter>,
        /// Since the beginning, in packets.
        elapsed: u32,
    }

    impl Room {
        fn new(producers: usize) -> Self {
            Self {
                speakers: Speakers::default(),
                meters: (0..producers).map(|_| LevelMeter::default()).collect(),
                elapsed: 0,
            }
        }

        /// One interval in which each producer sends this level.
        fn interval(&mut self, levels: &[u8]) -> Option<Vec<u64>> {
            let levels: Vec<[Sent; 15]> = levels.iter().map(|level| [Some(*level); 15]).collect();
            self.packets(&levels)
        }

        /// One interval in which each producer sends these packets.
        fn packets(&mut self, sent: &[[Sent; 15]]) -> Option<Vec<u64>> {
            for (meter, sent) in self.meters.iter_mut().zip(sent) {
                for (packet, n) in sent.iter().zip(self.elapsed..) {
                    if packet.is_some() {
                        meter.packet(test_start(), n * USUAL_TICKS, *packet);
                    }
                }
            }
            self.elapsed += 15;
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

    /// Sound of so many packets within an interval or over two, over `quiet`.
    fn burst(level: u8, packets: usize, from: usize, quiet: Sent) -> [[Sent; 15]; 2] {
        let mut both = [quiet; 30];
        both[from..from + packets].fill(Some(level));
        let (first, second) = both.split_at(15);
        [first, second].map(|half| half.try_into().unwrap())
    }

    #[test]
    fn a_cough_a_door_and_keys_are_nobody_speaking_with_silence_sent_or_not() {
        // 0.36 s as loud as a shout, wherever it lies, in a quiet room and where silence is not sent.
        for quiet in [Some(82), None] {
            for from in 0..12 {
                let mut room = Room::new(1);
                (0..5).for_each(|_| assert_eq!(room.packets(&[[quiet; 15]]), None));
                for interval in burst(22, 18, from, quiet) {
                    assert_eq!(room.packets(&[interval]), None, "from {from}, {quiet:?}");
                }
                (0..5).for_each(|_| assert_eq!(room.packets(&[[quiet; 15]]), None));
            }
            // A key in each interval, as long as one types.
            let mut keys = [quiet; 15];
            keys[2..5].fill(Some(35));
            let mut room = Room::new(1);
            (0..50).for_each(|_| assert_eq!(room.packets(&[keys]), None));
        }
    }

    #[test]
    fn noise_does_not_take_the_place_of_who_speaks() {
        let mut room = Room::new(2);
        let speech = [Some(30); 15];
        (0..9).for_each(|_| drop(room.packets(&[speech, [Some(80); 15]])));
        for interval in burst(10, 18, 6, Some(80)) {
            let told = room.packets(&[speech, interval]);
            assert!(told.is_none_or(|told| told[0] == 0), "the first place is kept");
        }
    }

    #[test]
    fn who_speaks_is_named_within_a_second_whatever_packets_last() {
        for every in [1, 3] {
            let mut sent = [None; 15];
            sent.iter_mut().step_by(every).for_each(|packet| *packet = Some(32));
            let mut room = Room::new(1);
            let named = (0..3).find_map(|_| room.packets(&[sent]));
            assert_eq!(named, Some(vec![0]), "a packet in {every}");
        }
    }

    #[test]
    fn a_packet_without_a_level_names_nobody() {
        let mut meter = LevelMeter::default();
        assert!((0..15).all(|n| meter.packet(test_start(), n * USUAL_TICKS, None)));
        assert_eq!(meter.settle(), 0.0);
        assert!(!meter.packet(test_start(), 0, Some(100)));
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
