//! Continuous sequence numbers and timestamps, whatever happens to where the packets come from.
//!
//! A packet of the producer has one number here for good: no two packets are ever sealed under one number of an SSRC, which
//! would give the keys away (RFC 3711 §9.1).

use std::time::Instant;

use crate::producer::ring::PacketInfo;

/// Earlier runs kept for retransmissions.
const MAX_RUNS: usize = 4;

/// A timestamp that differs by more than this from what the time that passed makes expect is of another origin.
const MAX_TIMESTAMP_STEP_S: u32 = 10;

/// A packet's numbers towards the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// Sequence number without wraps: the lower 16 bits go into the header, the rest is SRTP's rollover counter.
    pub(crate) index: u64,
    pub(crate) timestamp: u32,
}

/// Where a packet that was sent came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) encoding: usize,
    pub(crate) epoch: u32,
    /// Its number in the stream.
    pub(crate) extended: u64,
    /// Its number here.
    pub(crate) index: u64,
    /// What its timestamp here has more than there.
    pub(crate) timestamp_offset: u32,
}

/// A run of packets between two interruptions, in which numbers differ from the producer's by a constant.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    encoding: usize,
    epoch: u32,
    first_in: u64,
    first_out: u64,
    timestamp_offset: u32,
}

impl Run {
    fn mapped(&self, extended: u64, timestamp: u32) -> Option<Mapped> {
        let index = self.first_out + extended.checked_sub(self.first_in)?;
        Some(Mapped {
            index,
            timestamp: timestamp.wrapping_add(self.timestamp_offset),
        })
    }
}

/// The numbering of one consumer.
#[derive(Debug)]
pub(crate) struct Mapping {
    clock_rate: u32,
    /// Newest last.
    runs: [Run; MAX_RUNS],
    run_count: usize,
    live: bool,
    /// One above the highest index in use.
    next_index: u64,
    /// Timestamp and arrival of the latest packet.
    latest: Option<(u32, Instant)>,
}

impl Mapping {
    pub(crate) fn new(first_index: u64, clock_rate: u32) -> Self {
        let runs = [Run::default(); MAX_RUNS];
        Self {
            clock_rate,
            runs,
            run_count: 0,
            live: false,
            next_index: first_index,
            latest: None,
        }
    }

    /// The stream and epoch it follows, unless it waits.
    pub(crate) fn live(&self) -> Option<(usize, u32)> {
        self.run().filter(|_| self.live).map(|run| (run.encoding, run.epoch))
    }

    /// The index that the next run will begin with.
    pub(crate) fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Interrupts: what follows is a run of its own.
    pub(crate) fn stop(&mut self) {
        self.live = false;
    }

    /// Begins a run with this packet.
    pub(crate) fn start(&mut self, info: &PacketInfo, encoding: usize) -> Mapped {
        let run = Run {
            encoding,
            epoch: info.epoch,
            first_in: info.extended,
            first_out: self.next_index,
            timestamp_offset: self.timestamp_offset(info),
        };
        if self.run_count == MAX_RUNS {
            self.runs.rotate_left(1);
        } else {
            self.run_count += 1;
        }
        self.runs[self.run_count - 1] = run;
        self.live = true;
        Mapped {
            index: run.first_out,
            timestamp: info.timestamp.wrapping_add(run.timestamp_offset),
        }
    }

    /// The numbers of a packet of the live run; `None` for one before its first.
    pub(crate) fn map(&self, info: &PacketInfo) -> Option<Mapped> {
        self.run()?.mapped(info.extended, info.timestamp)
    }

    /// A timestamp of the live run's stream as the receiver sees it, also of a moment at which nothing was sent.
    pub(crate) fn timestamp(&self, timestamp: u32) -> Option<u32> {
        Some(timestamp.wrapping_add(self.run()?.timestamp_offset))
    }

    /// A packet was sent.
    pub(crate) fn sent(&mut self, mapped: Mapped, arrival: Instant) {
        if mapped.index >= self.next_index {
            self.next_index = mapped.index + 1;
            self.latest = Some((mapped.timestamp, arrival));
        }
    }

    /// The latest packet's timestamp, as the receiver sees it, and when it came.
    pub(crate) fn latest(&self) -> Option<(u32, Instant)> {
        self.latest
    }

    /// The packet that a sequence number names, if it is one of those sent or skipped in a run that is remembered.
    pub(crate) fn locate(&self, sequence: u16) -> Option<Located> {
        let highest = self.next_index.checked_sub(1)?;
        let index = highest.checked_sub(u64::from((highest as u16).wrapping_sub(sequence)))?;
        let run = self.runs[..self.run_count]
            .iter()
            .rev()
            .find(|run| run.first_out <= index)?;
        Some(Located {
            encoding: run.encoding,
            epoch: run.epoch,
            extended: run.first_in + (index - run.first_out),
            index,
            timestamp_offset: run.timestamp_offset,
        })
    }

    fn run(&self) -> Option<&Run> {
        self.runs[..self.run_count].last()
    }

    /// Keeps the offset while the timestamps go on from before; else one that continues by the time that passed.
    fn timestamp_offset(&self, info: &PacketInfo) -> u32 {
        let before = self.run().map_or(0, |run| run.timestamp_offset);
        let Some((latest, arrival)) = self.latest else {
            return before;
        };
        let passed = info.arrival.saturating_duration_since(arrival);
        let ticks = (passed.as_micros() * u128::from(self.clock_rate) / 1_000_000) as u32;
        let expected = latest.wrapping_add(ticks.max(1));
        let step = info.timestamp.wrapping_add(before).wrapping_sub(expected) as i32;
        if step.unsigned_abs() <= self.clock_rate.saturating_mul(MAX_TIMESTAMP_STEP_S) {
            before
        } else {
            expected.wrapping_sub(info.timestamp)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::producer::test_start;

    fn info(extended: u64, epoch: u32, timestamp: u32, at_ms: u64) -> PacketInfo {
        PacketInfo {
            extended,
            epoch,
            timestamp,
            arrival: test_start() + Duration::from_millis(at_ms),
            codec: 0,
            marker: false,
            key_frame: true,
            audio_level: None,
            orientation: None,
            frame: Default::default(),
        }
    }

    fn send(mapping: &mut Mapping, info: &PacketInfo) -> Mapped {
        let mapped = if mapping.live().is_some() {
            mapping.map(info).unwrap()
        } else {
            mapping.start(info, 0)
        };
        mapping.sent(mapped, info.arrival);
        mapped
    }

    #[test]
    fn a_pause_leaves_no_gap_in_sequence_and_keeps_the_clock() {
        let mut mapping = Mapping::new(100, 90_000);
        assert_eq!(
            send(&mut mapping, &info(5000, 0, 1000, 0)),
            Mapped {
                index: 100,
                timestamp: 1000
            }
        );
        assert_eq!(
            send(&mut mapping, &info(5002, 0, 4000, 33)),
            Mapped {
                index: 102,
                timestamp: 4000
            }
        );
        mapping.stop();
        assert_eq!(
            send(&mut mapping, &info(6000, 0, 900_000, 10_000)),
            Mapped {
                index: 103,
                timestamp: 900_000
            }
        );
        assert_eq!(mapping.map(&info(5999, 0, 0, 10_000)), None);
    }

    #[test]
    fn another_clock_continues_by_the_time_that_passed() {
        let mut mapping = Mapping::new(0, 90_000);
        send(&mut mapping, &info(1, 0, 1000, 0));
        mapping.stop();
        let restarted = send(&mut mapping, &info(70_000, 1, 3_000_000_000, 500));
        assert_eq!(
            restarted,
            Mapped {
                index: 1,
                timestamp: 46_000
            }
        );
        assert_eq!(
            send(&mut mapping, &info(70_001, 1, 3_000_003_000, 533)).timestamp,
            49_000
        );
    }

    #[test]
    fn located_packets_are_those_that_were_sent() {
        let mut mapping = Mapping::new(65_530, 90_000);
        let mut sent = HashMap::new();
        for run in 0..6u64 {
            for n in 0..10 {
                let extended = run * 1000 + n;
                let packet = info(extended, 0, extended as u32, run * 1000);
                sent.insert(send(&mut mapping, &packet).index, extended);
            }
            mapping.stop();
        }
        // 6 runs of 10, of which the last 4 are remembered.
        for index in 65_530..65_590u64 {
            let located = mapping
                .locate(index as u16)
                .map(|located| (located.index, located.extended));
            let expected = (index >= 65_550).then(|| (index, sent[&index]));
            assert_eq!(located, expected, "{index}");
        }
        assert_eq!(mapping.locate(54), None);
    }

    proptest! {
        /// Over any interruptions, no number is given to two packets.
        #[test]
        fn numbers_are_given_once(
            steps in proptest::collection::vec((0u64..40, any::<bool>(), any::<bool>()), 1..200)
        ) {
            let mut mapping = Mapping::new(0xfff0, 90_000);
            let mut owners: HashMap<u64, u64> = HashMap::new();
            let mut sent = std::collections::HashSet::new();
            let (mut base, mut epoch) = (1000u64, 0);
            for (step, stop, restart) in steps {
                if stop {
                    mapping.stop();
                }
                if restart {
                    mapping.stop();
                    base += 10_000;
                    epoch += 1;
                }
                base += step / 8;
                // Reordered by up to 7; each packet is seen once.
                let extended = base + step % 8;
                if !sent.insert(extended) {
                    continue;
                }
                let packet = info(extended, epoch, extended as u32, 0);
                let mapped = match mapping.live() {
                    Some(_) => mapping.map(&packet),
                    None => Some(mapping.start(&packet, 0)),
                };
                if let Some(mapped) = mapped {
                    mapping.sent(mapped, packet.arrival);
                    prop_assert_eq!(owners.insert(mapped.index, extended), None, "a number used twice");
                }
            }
        }
    }
}
