//! What was sent under which transport-wide number.

use crate::rtcp::transport_cc::{Feedback, TICK_US};
use crate::rtp::unwrap_near;

/// Packets remembered, a power of two: 0.5 s at 20 Mbit/s, 16 KiB.
const WINDOW: usize = 1024;

/// Feedback that speaks of more packets than this is not about ours.
const MAX_STATUSES: u16 = 2 * WINDOW as u16;

/// No probe.
const NO_CLUSTER: u8 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    Lost,
    Received,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at_us: i64,
    /// The lower bits of the extended number.
    number: u32,
    bytes: u16,
    cluster: u8,
    fate: Fate,
}

const EMPTY: Sent = Sent {
    at_us: 0,
    number: 0,
    bytes: 0,
    cluster: NO_CLUSTER,
    fate: Fate::Received,
};

/// What became of a packet. Times are in microseconds: of sending on our clock, of arrival on the receiver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Received {
        /// When it was sent.
        sent_us: i64,
        /// When it arrived.
        arrived_us: i64,
        /// On the wire.
        bytes: u32,
        /// The probe it belonged to.
        cluster: Option<u8>,
        /// Whether it was reported as lost before.
        was_lost: bool,
    },
    /// It had not arrived when the feedback was made.
    Lost {
        /// When it was sent.
        sent_us: i64,
        /// On the wire.
        bytes: u32,
        /// The probe it belonged to.
        cluster: Option<u8>,
    },
}

/// A ring of the last packets.
#[derive(Debug)]
pub struct SentPackets {
    ring: Box<[Sent; WINDOW]>,
    /// The extended number of the next packet.
    next: u64,
    /// The last feedback's reference time, unwrapped, in its units of 64 ms.
    reference: Option<i64>,
}

impl Default for SentPackets {
    fn default() -> Self {
        Self {
            ring: vec![EMPTY; WINDOW].try_into().expect("a vector of that length"),
            // With room below, as for all extended numbers.
            next: 1 << 16,
            reference: None,
        }
    }
}

impl SentPackets {
    /// The number that the next packet goes under.
    pub fn next_number(&self) -> u16 {
        self.next as u16
    }

    /// Reads what noting the next packet needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        self.ring[self.next as usize % WINDOW].number.into()
    }

    /// Reads what feedback on the packets sent last needs; see [`crate::engine::ahead`].
    pub(crate) fn preload_told(&self) -> u64 {
        /// Four packets are a line; feedback every 100 ms on a picture of little motion is about some lines.
        const LINES: usize = 4;
        let newest_first = (0..LINES).map(|line| self.ring[(self.next as usize - 1 - 4 * line) % WINDOW]);
        newest_first.fold(0, |read, sent| read ^ u64::from(sent.number))
    }

    /// A packet of `bytes` went out under [`next_number`](Self::next_number), as part of the probe `cluster` if any (never 0).
    pub fn sent(&mut self, at_us: i64, bytes: usize, cluster: Option<u8>) {
        self.ring[self.next as usize % WINDOW] = Sent {
            at_us,
            number: self.next as u32,
            bytes: bytes.min(usize::from(u16::MAX)) as u16,
            cluster: cluster.unwrap_or(NO_CLUSTER),
            fate: Fate::Unknown,
        };
        self.next += 1;
    }

    /// What feedback says of packets in the ring that was not known before, in the order of sending.
    pub fn resolve<'s>(&'s mut self, feedback: &Feedback<'s>) -> impl Iterator<Item = Outcome> + 's {
        let reference = self.unwrap_reference(feedback.reference());
        let base_us = reference * REFERENCE_US;
        let statuses = (feedback.count() <= MAX_STATUSES).then(|| feedback.statuses());
        let first = unwrap_near(self.next, feedback.base());
        let numbers = first..;
        numbers
            .zip(statuses.into_iter().flatten())
            .filter_map(move |(number, arrival)| {
                let arrived_us = arrival.map(|ticks| base_us + ticks * TICK_US as i64);
                self.settle(number, arrived_us)
            })
    }

    fn settle(&mut self, number: u64, arrived_us: Option<i64>) -> Option<Outcome> {
        let sent = self.ring.get_mut(number as usize % WINDOW)?;
        if sent.number != number as u32 || number >= self.next {
            return None;
        }
        let cluster = Some(sent.cluster).filter(|cluster| *cluster != NO_CLUSTER);
        let bytes = u32::from(sent.bytes);
        match (sent.fate, arrived_us) {
            (Fate::Unknown | Fate::Lost, Some(arrived_us)) => {
                let was_lost = sent.fate == Fate::Lost;
                sent.fate = Fate::Received;
                Some(Outcome::Received {
                    sent_us: sent.at_us,
                    arrived_us,
                    bytes,
                    cluster,
                    was_lost,
                })
            }
            (Fate::Unknown, None) => {
                sent.fate = Fate::Lost;
                Some(Outcome::Lost {
                    sent_us: sent.at_us,
                    bytes,
                    cluster,
                })
            }
            (Fate::Received, _) | (Fate::Lost, None) => None,
        }
    }

    /// The reference time has 24 bits and wraps every 12 days.
    fn unwrap_reference(&mut self, reference: u32) -> i64 {
        let unwrapped = match self.reference {
            None => i64::from(reference),
            Some(before) => {
                let step = (reference.wrapping_sub(before as u32) << 8) as i32 >> 8;
                before + i64::from(step)
            }
        };
        self.reference = Some(unwrapped);
        unwrapped
    }
}

/// What the reference time counts, in microseconds.
const REFERENCE_US: i64 = 64_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::transport_cc::{MAX_ENCODED, encode};

    /// The outcomes of the packets that feedback from `base` on tells of; arrivals are in ticks of 250 µs.
    fn resolve(sent: &mut SentPackets, base: u16, arrivals: &[Option<i64>]) -> Vec<(i64, Option<i64>)> {
        let mut encoded = [0; MAX_ENCODED];
        let (len, taken) = encode(&mut encoded, base, 0, arrivals.iter().copied());
        assert_eq!(taken, arrivals.len());
        let feedback = Feedback::parse(&encoded[..len]).unwrap();
        sent.resolve(&feedback)
            .map(|outcome| match outcome {
                Outcome::Received {
                    sent_us, arrived_us, ..
                } => (sent_us, Some(arrived_us)),
                Outcome::Lost { sent_us, .. } => (sent_us, None),
            })
            .collect()
    }

    #[test]
    fn packets_are_told_of_once_and_lost_ones_may_still_arrive() {
        let mut sent = SentPackets::default();
        (0..5).for_each(|n| sent.sent(n * 1000, 100, None));
        let first = resolve(&mut sent, 0, &[Some(400), None, Some(402)]);
        assert_eq!(first, [(0, Some(100_000)), (1000, None), (2000, Some(100_500))]);
        let again = resolve(&mut sent, 0, &[Some(400), Some(404), Some(402), Some(405)]);
        assert_eq!(again, [(1000, Some(101_000)), (3000, Some(101_250))]);
    }

    #[test]
    fn what_was_never_sent_or_is_forgotten_tells_nothing() {
        let mut sent = SentPackets::default();
        assert_eq!(resolve(&mut sent, 0, &[Some(1), Some(2)]), []);
        (0..2000).for_each(|n| sent.sent(n, 100, None));
        assert_eq!(resolve(&mut sent, 900, &[Some(1), Some(2)]), []);
        assert_eq!(resolve(&mut sent, 976, &[Some(1)]).len(), 1);
        assert_eq!(resolve(&mut sent, 1999, &[Some(1), Some(2), Some(3)]).len(), 1);
    }

    #[test]
    fn numbers_and_reference_times_wrap() {
        let mut sent = SentPackets::default();
        (0..65_535).for_each(|n| sent.sent(n, 100, None));
        let last_reference = ((1i64 << 24) - 1) * 256;
        (0..4).for_each(|n| sent.sent(n, 100, None));
        let before = resolve(&mut sent, 65_535, &[Some(last_reference)]);
        let after = resolve(&mut sent, 0, &[Some(last_reference + 300)]);
        let (Some(a), Some(b)) = (before[0].1, after[0].1) else {
            panic!("lost")
        };
        assert_eq!(b - a, 300 * 250);
    }
}
