//! Continuous sequence numbers and timestamps, whatever happens to where the packets come from.
//!
//! A packet of the producer has one number here for good: no two packets are ever sealed under one number of an SSRC, which
//! would give the keys away (RFC 3711 §9.1).

mod pictures;
mod skips;
mod timeline;

use std::time::Instant;

use self::pictures::Pictures;
use self::skips::Skips;
use self::timeline::Timeline;
use crate::consumer::selection::Selection;
use crate::layers::Layer;
use crate::producer::ring::PacketInfo;
use crate::rtp::dependency::Structure;
use crate::rtp::frame::FrameInfo;

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
    pub(crate) picture: PictureNumbers,
}

/// The numbers of a packet's picture towards the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PictureNumbers {
    /// The marker bit: the last packet of the picture.
    pub(crate) marker: bool,
    /// In the codec's descriptor, when it has them.
    pub(crate) picture: u16,
    pub(crate) tl0: Option<u8>,
    /// In the dependency descriptor, when there is one.
    pub(crate) frame: Option<u16>,
}

/// What becomes of a packet of the live run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forward {
    /// It goes under these numbers.
    Send(Mapped),
    /// It does not, but those after it went already: its number is used up by padding.
    Fill(Mapped),
    /// It does not, and what follows moves up.
    Skip,
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
    /// Its number was used up by padding.
    pub(crate) filled: bool,
    run: usize,
}

/// A run of packets between two interruptions, in which numbers differ from the producer's by a constant, less what was left out.
#[derive(Debug, Clone, Copy)]
struct Run {
    encoding: usize,
    epoch: u32,
    first_in: u64,
    first_out: u64,
    timeline: Timeline,
    skips: Skips,
    pictures: Pictures,
    /// Numbers of the dependency descriptor.
    frames: Pictures,
    tl0_offset: u8,
    selection: Selection,
}

impl Run {
    fn mapped(&self, info: &PacketInfo) -> Option<Mapped> {
        let place = info.extended.checked_sub(self.first_in)?;
        Some(Mapped {
            index: self.first_out + place - self.skips.before(info.extended)?,
            timestamp: self.timeline.map(info.timestamp),
            picture: self.numbers(info),
        })
    }

    fn numbers(&self, info: &PacketInfo) -> PictureNumbers {
        let frame = &info.frame;
        let picture = match frame.picture_bits {
            0 => 0,
            _ => self.pictures.map(frame.picture),
        };
        PictureNumbers {
            marker: info.marker || self.selection.ends_picture(frame, info.extended),
            picture,
            tl0: frame.tl0.map(|tl0| tl0.wrapping_add(self.tl0_offset)),
            frame: frame.described.map(|described| self.frames.map(described.frame)),
        }
    }

    /// Reads what mapping the next packet needs, line by line.
    fn preload(&self) -> u64 {
        let numbers = self.first_in ^ self.skips.preload() ^ self.pictures.preload() ^ self.frames.preload();
        numbers ^ u64::from(self.epoch) ^ u64::from(self.selection.limit().spatial)
    }

    /// Takes note of a picture that is forwarded.
    fn forwarded(&mut self, frame: &FrameInfo) {
        if frame.picture_bits > 0 {
            self.pictures.advance(frame.picture);
        }
        if let Some(described) = &frame.described {
            self.frames.advance(described.frame);
        }
    }
}

/// The numbering of one consumer.
#[derive(Debug)]
pub(crate) struct Mapping {
    clock_rate: u32,
    /// Whether pictures that are left out leave no gap. Others refer to pictures by their numbers, which then stay.
    dense_pictures: bool,
    /// Newest last.
    runs: Vec<Run>,
    live: bool,
    /// One above the highest index in use.
    next_index: u64,
    /// What was sent under lower indices does not go again.
    abandoned_below: u64,
    /// Timestamp and arrival of the latest packet.
    latest: Option<(u32, Instant)>,
    /// What the timestamps have too much since a switch to a stream that lagged behind.
    excess: u32,
    /// The number of frames of the lowest temporal layer, as last sent.
    tl0: Option<u8>,
}

impl Mapping {
    /// `dense_pictures`: the numbers of pictures of a run are made continuous, as VP8's are to be.
    pub(crate) fn new(first_index: u64, clock_rate: u32, dense_pictures: bool) -> Self {
        Self {
            clock_rate,
            dense_pictures,
            runs: Vec::with_capacity(MAX_RUNS),
            live: false,
            next_index: first_index,
            abandoned_below: 0,
            latest: None,
            excess: 0,
            tl0: None,
        }
    }

    /// Reads what mapping the next packet needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        let run = self.run();
        self.next_index ^ run.map_or(0, Run::preload)
    }

    /// The stream and epoch it follows, unless it waits.
    pub(crate) fn live(&self) -> Option<(usize, u32)> {
        self.run().filter(|_| self.live).map(|run| (run.encoding, run.epoch))
    }

    /// The stream and epoch it follows, or followed last.
    pub(crate) fn followed(&self) -> Option<(usize, u32)> {
        self.run().map(|run| (run.encoding, run.epoch))
    }

    /// The index that the next run will begin with.
    pub(crate) fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Interrupts: what follows is a run of its own.
    pub(crate) fn stop(&mut self) {
        self.live = false;
    }

    /// Interrupts, and gives up what was lost until now: its receiver waits for a new beginning and has no use for it.
    pub(crate) fn abandon(&mut self) {
        self.stop();
        self.abandoned_below = self.next_index;
    }

    /// Sets the layer that the live run is to reach.
    pub(crate) fn want(&mut self, layer: Layer) {
        if let Some(run) = self.runs.last_mut() {
            run.selection.want(layer);
        }
    }

    /// The highest layer that the live run forwards now, within its stream.
    pub(crate) fn limit(&self) -> Option<Layer> {
        self.run().filter(|_| self.live).map(|run| run.selection.limit())
    }

    /// Begins a run with this packet. `shift` is what its stream's timestamps lack to be those of the stream before, when their
    /// clocks are known. With `gathered`, packets of the past come up to this timestamp of the publisher's.
    pub(crate) fn start(
        &mut self,
        info: &PacketInfo,
        encoding: usize,
        shift: Option<u32>,
        gathered: Option<u32>,
        wanted: Layer,
        structure: Option<&Structure>,
    ) -> Mapped {
        let frame = &info.frame;
        let before = self.run();
        let next_picture = before.and_then(|run| run.pictures.next());
        let next_frame = before.and_then(|run| run.frames.next());
        let (described, described_bits) = match &frame.described {
            Some(described) => (described.frame, 16),
            None => (0, 0),
        };
        let tl0_offset = match (self.tl0, frame.tl0) {
            (Some(last), Some(tl0)) => last.wrapping_add(1).wrapping_sub(tl0),
            _ => 0,
        };
        let run = Run {
            encoding,
            epoch: info.epoch,
            first_in: info.extended,
            first_out: self.next_index,
            timeline: Timeline::new(self.timestamp_offset(info, encoding, shift), gathered),
            skips: Skips::new(info.extended),
            pictures: Pictures::new(frame.picture, frame.picture_bits, next_picture),
            frames: Pictures::new(described, described_bits, next_frame),
            tl0_offset,
            selection: Selection::new(wanted, info, structure),
        };
        if self.runs.len() == MAX_RUNS {
            self.runs.remove(0);
        }
        self.runs.push(run);
        self.live = true;
        let numbers = run.numbers(info);
        self.tl0 = numbers.tl0.or(self.tl0);
        if let Some(run) = self.runs.last_mut() {
            run.skips.advance(info.extended);
        }
        Mapped {
            index: run.first_out,
            timestamp: run.timeline.map(info.timestamp),
            picture: numbers,
        }
    }

    /// Decides about a packet of the live run's stream.
    pub(crate) fn forward(&mut self, info: &PacketInfo, structure: Option<&Structure>) -> Forward {
        let dense = self.dense_pictures;
        let Some(run) = self.runs.last_mut().filter(|run| info.extended >= run.first_in) else {
            return Forward::Skip;
        };
        let in_order = info.extended >= run.skips.head();
        let admitted = run.selection.admits(&info.frame, info.extended, in_order, structure);
        match (admitted, in_order) {
            (true, true) => {
                run.skips.advance(info.extended);
                run.forwarded(&info.frame);
                run.timeline.advance(info.timestamp);
            }
            (false, true) => {
                run.skips.skip(info.extended);
                if dense {
                    run.pictures.skip(info.frame.picture);
                }
                return Forward::Skip;
            }
            (false, false) => run.skips.fill(info.extended),
            (true, false) => {}
        }
        let Some(mapped) = run.mapped(info) else {
            return Forward::Skip;
        };
        if !admitted {
            return Forward::Fill(mapped);
        }
        if in_order {
            self.tl0 = mapped.picture.tl0.or(self.tl0);
        }
        Forward::Send(mapped)
    }

    /// A timestamp of the live run's stream as the receiver sees it, also of a moment at which nothing was sent.
    pub(crate) fn timestamp(&self, timestamp: u32) -> Option<u32> {
        Some(timestamp.wrapping_add(self.run()?.timeline.offset()))
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
        if index < self.abandoned_below {
            return None;
        }
        let at = self.runs.iter().rposition(|run| run.first_out <= index)?;
        let run = self.runs.get(at)?;
        let (extended, filled) = run.skips.nth(run.first_in, index - run.first_out)?;
        Some(Located {
            encoding: run.encoding,
            epoch: run.epoch,
            extended,
            index,
            filled,
            run: at,
        })
    }

    /// The timestamp of a located packet and the numbers of its picture, as when it was sent.
    pub(crate) fn numbers(&self, located: &Located, info: &PacketInfo) -> Option<(u32, PictureNumbers)> {
        let run = self.runs.get(located.run)?;
        Some((run.timeline.map(info.timestamp), run.numbers(info)))
    }

    /// Whether a located packet is one that goes. What was lost before it could be decided about may not be.
    pub(crate) fn admitted(&self, located: &Located, info: &PacketInfo) -> bool {
        self.runs
            .get(located.run)
            .is_some_and(|run| run.selection.admitted(&info.frame, info.extended))
    }

    fn run(&self) -> Option<&Run> {
        self.runs.last()
    }

    /// Keeps the offset while the timestamps go on from before; else one that continues by the clocks, or the time that passed.
    fn timestamp_offset(&mut self, info: &PacketInfo, encoding: usize, shift: Option<u32>) -> u32 {
        let Some(run) = self.run() else { return 0 };
        let (before, same) = (run.timeline.offset(), run.encoding == encoding);
        let Some((latest, arrival)) = self.latest else {
            return before;
        };
        let passed = info.arrival.saturating_duration_since(arrival);
        let ticks = (passed.as_micros() * u128::from(self.clock_rate) / 1_000_000) as u32;
        let expected = latest.wrapping_add(ticks.max(1));
        // What was added too much at the switch before is taken back as soon as there is room.
        let offset = match shift {
            Some(shift) => before.wrapping_add(shift).wrapping_sub(self.excess),
            None if same => before,
            None => expected.wrapping_sub(info.timestamp),
        };
        let exact = info.timestamp.wrapping_add(offset);
        let step = exact.wrapping_sub(expected) as i32;
        if step.unsigned_abs() > self.clock_rate.saturating_mul(MAX_TIMESTAMP_STEP_S) {
            self.excess = 0;
            return expected.wrapping_sub(info.timestamp);
        }
        let ahead = exact.wrapping_sub(latest) as i32;
        if same && shift.is_none() || ahead > 0 {
            self.excess = if same { self.excess } else { 0 };
            return offset;
        }
        // The stream lags behind what was sent of the one before: time does not go back.
        self.excess = latest.wrapping_add(1).wrapping_sub(exact);
        offset.wrapping_add(self.excess)
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
            epoch,
            timestamp,
            arrival: test_start() + Duration::from_millis(at_ms),
            key_frame: true,
            ..PacketInfo::plain(extended)
        }
    }

    fn mapping(first_index: u64) -> Mapping {
        Mapping::new(first_index, 90_000, true)
    }

    fn start(mapping: &mut Mapping, info: &PacketInfo) -> Mapped {
        mapping.start(info, 0, None, None, Layer::TOP, None)
    }

    fn send(mapping: &mut Mapping, info: &PacketInfo) -> (u64, u32) {
        let mapped = if mapping.live().is_some() {
            match mapping.forward(info, None) {
                Forward::Send(mapped) => mapped,
                other => panic!("{other:?}"),
            }
        } else {
            start(mapping, info)
        };
        mapping.sent(mapped, info.arrival);
        (mapped.index, mapped.timestamp)
    }

    #[test]
    fn a_pause_leaves_no_gap_in_sequence_and_keeps_the_clock() {
        let mut mapping = mapping(100);
        assert_eq!(send(&mut mapping, &info(5000, 0, 1000, 0)), (100, 1000));
        assert_eq!(send(&mut mapping, &info(5002, 0, 4000, 33)), (102, 4000));
        mapping.stop();
        assert_eq!(send(&mut mapping, &info(6000, 0, 900_000, 10_000)), (103, 900_000));
        assert_eq!(mapping.forward(&info(5999, 0, 0, 10_000), None), Forward::Skip);
    }

    #[test]
    fn another_clock_continues_by_the_time_that_passed() {
        let mut mapping = mapping(0);
        send(&mut mapping, &info(1, 0, 1000, 0));
        mapping.stop();
        let restarted = send(&mut mapping, &info(70_000, 1, 3_000_000_000, 500));
        assert_eq!(restarted, (1, 46_000));
        assert_eq!(send(&mut mapping, &info(70_001, 1, 3_000_003_000, 533)).1, 49_000);
    }

    #[test]
    fn located_packets_are_those_that_were_sent() {
        let mut mapping = mapping(65_530);
        let mut sent = HashMap::new();
        for run in 0..6u64 {
            for n in 0..10 {
                let extended = run * 1000 + n;
                let packet = info(extended, 0, extended as u32, run * 1000);
                sent.insert(send(&mut mapping, &packet).0, extended);
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
            let mut mapping = mapping(0xfff0);
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
                let forward = match mapping.live() {
                    Some(_) => mapping.forward(&packet, None),
                    None => Forward::Send(start(&mut mapping, &packet)),
                };
                if let Forward::Send(mapped) = forward {
                    mapping.sent(mapped, packet.arrival);
                    prop_assert_eq!(owners.insert(mapped.index, extended), None, "a number used twice");
                }
            }
        }
    }
}
