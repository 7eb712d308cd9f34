//! Which lost packets go again, and how much of that a receiver may cause.

use std::time::{Duration, Instant};

/// Packets waiting to go again at most; what is asked for beyond that is dropped, to be asked for again.
const MAX_QUEUED: usize = 128;

/// A packet does not go again while an answer to the request before may be under way.
const MIN_REPEAT: Duration = Duration::from_millis(10);
const DEFAULT_REPEAT: Duration = Duration::from_millis(25);
const MAX_REPEAT: Duration = Duration::from_millis(250);

/// Bytes a second that may be retransmitted whatever is sent.
const BASE_RATE: u64 = 16 * 1024;

/// Each byte sent allows a part of one to be sent again: half.
const EARN_DIVISOR: u64 = 2;

/// The largest sum that may be saved up, in bytes: about 100 full packets.
const MAX_ALLOWANCE: u64 = 128 * 1024;

const RECENT: usize = 64;

/// The retransmissions to one receiver.
#[derive(Debug)]
pub(crate) struct Retransmitter {
    queue: Vec<u16>,
    allowance: u64,
    refilled: Option<Instant>,
    /// Which index went again when, by its lower bits. Empty until the first retransmission.
    recent: Vec<Option<(u64, Instant)>>,
    /// The index of the next packet on the RTX stream.
    next_rtx_index: u64,
}

impl Retransmitter {
    pub(crate) fn new(next_rtx_index: u64) -> Self {
        Self {
            queue: Vec::new(),
            allowance: MAX_ALLOWANCE / 4,
            refilled: None,
            recent: Vec::new(),
            next_rtx_index,
        }
    }

    /// A packet was asked for. `false` when too many are waiting already.
    pub(crate) fn ask(&mut self, sequence: u16) -> bool {
        if self.queue.len() >= MAX_QUEUED {
            return false;
        }
        if !self.queue.contains(&sequence) {
            self.queue.push(sequence);
        }
        true
    }

    /// Reads what [`earn`](Self::earn) needs; see [`crate::engine::ahead`].
    pub(crate) fn preload(&self) -> u64 {
        self.allowance
    }

    /// Whether packets wait to go again.
    pub(crate) fn is_asked(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes what was asked for; [`give_back`](Self::give_back) keeps the memory.
    pub(crate) fn take(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.queue)
    }

    pub(crate) fn give_back(&mut self, mut queue: Vec<u16>) {
        queue.clear();
        self.queue = queue;
    }

    /// Forgets what was asked for.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }

    /// Bytes were sent for the first time.
    pub(crate) fn earn(&mut self, bytes: usize) {
        self.allowance = (self.allowance + bytes as u64 / EARN_DIVISOR).min(MAX_ALLOWANCE);
    }

    /// Whether a packet of `bytes` may go again now; if so, it is paid for.
    pub(crate) fn admit(&mut self, now: Instant, index: u64, bytes: usize, rtt: Option<Duration>) -> bool {
        self.refill(now);
        if self.recent.is_empty() {
            self.recent.resize(RECENT, None);
        }
        let repeat = rtt.map_or(DEFAULT_REPEAT, |rtt| (rtt / 2).clamp(MIN_REPEAT, MAX_REPEAT));
        let recent = &mut self.recent[index as usize % RECENT];
        if recent.is_some_and(|(before, at)| before == index && now.saturating_duration_since(at) < repeat) {
            return false;
        }
        let Some(left) = self.allowance.checked_sub(bytes as u64) else {
            return false;
        };
        self.allowance = left;
        *recent = Some((index, now));
        true
    }

    /// The index of a packet on the RTX stream.
    pub(crate) fn take_rtx_index(&mut self) -> u64 {
        let index = self.next_rtx_index;
        self.next_rtx_index += 1;
        index
    }

    /// The index that the RTX stream goes on with.
    pub(crate) fn next_rtx_index(&self) -> u64 {
        self.next_rtx_index
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(*self.refilled.get_or_insert(now));
        let earned = passed.as_millis() as u64 * BASE_RATE / 1000;
        if earned > 0 {
            self.refilled = Some(now);
            self.allowance = (self.allowance + earned).min(MAX_ALLOWANCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::test_start;

    fn at(ms: u64) -> Instant {
        test_start() + Duration::from_millis(ms)
    }

    #[test]
    fn a_flood_is_bounded_by_what_was_sent_and_the_time() {
        let mut retransmitter = Retransmitter::new(0);
        let (mut sent, mut again) = (0, 0u64);
        for ms in 0..10_000 {
            if ms % 10 == 0 {
                retransmitter.earn(1200);
                sent += 1200;
            }
            for index in 0..50 {
                again += if retransmitter.admit(at(ms), ms * 50 + index, 1200, None) {
                    1200
                } else {
                    0
                };
            }
        }
        assert!(again <= sent / 2 + 10 * BASE_RATE + MAX_ALLOWANCE, "{again} of {sent}");
        assert!(again >= sent / 2, "{again} of {sent}");
    }

    #[test]
    fn a_packet_goes_again_once_in_half_a_round_trip() {
        let mut retransmitter = Retransmitter::new(0);
        let rtt = Some(Duration::from_millis(100));
        assert!(retransmitter.admit(at(0), 7, 100, rtt));
        assert!(!retransmitter.admit(at(49), 7, 100, rtt));
        assert!(retransmitter.admit(at(49), 8, 100, rtt));
        assert!(retransmitter.admit(at(50), 7, 100, rtt));
    }

    #[test]
    fn the_queue_is_bounded_and_holds_each_once() {
        let mut retransmitter = Retransmitter::new(0);
        assert!(retransmitter.ask(1) && retransmitter.ask(1));
        assert_eq!(retransmitter.take(), [1]);
        assert!((0..MAX_QUEUED as u16).all(|sequence| retransmitter.ask(sequence)));
        assert!(!retransmitter.ask(1000));
    }
}
