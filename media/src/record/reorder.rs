//! Puts the packets of one track into the order in which they were sent, and says where some are missing.
//!
//! A packet that is missing is waited for until the oldest packet behind it is [`PATIENCE`] old or [`WINDOW`] sequence numbers
//! lie behind it; a retransmission that comes later is dropped. State: at most [`WINDOW`] packets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::control::TapPacket;
use crate::parameters::Ssrc;

/// The most sequence numbers that are kept while one is missing.
pub const WINDOW: usize = 512;
/// How long a packet may be kept back by a missing one.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// How long a new stream's first packets are kept back, in case that earlier ones come behind them.
pub const START_PATIENCE: Duration = Duration::from_millis(60);
/// How long a stream has to be silent before another one takes its place. A publisher that starts anew goes silent first; the
/// layers of a simulcast do not, of which the one that came first is kept.
pub const SILENCE: Duration = Duration::from_millis(200);
/// A sequence number further off than this has nothing to do with the stream so far (RFC 3550 §A.1, MAX_DROPOUT).
const MAX_DROPOUT: i64 = 3000;

/// What comes out, in order.
#[derive(Debug, Clone)]
pub enum Ordered {
    /// The next packet.
    Packet(TapPacket),
    /// Packets that will not come; 0 when their number is unknown.
    Gap {
        /// How many.
        packets: u64,
    },
    /// Another stream (SSRC) begins: its timestamps have nothing to do with those before.
    Restart,
}

/// The reorder buffer of one track.
#[derive(Debug, Default)]
pub struct Reorder {
    ssrc: Option<Ssrc>,
    last_received: Option<Instant>,
    /// Sequence number of the window's front, unless the stream has yet to begin.
    next: Option<u16>,
    /// From `next` on; never ends with `None`.
    window: VecDeque<Option<TapPacket>>,
    /// Until when a new stream's first packets wait.
    held_until: Option<Instant>,
    /// When the oldest packet came that a missing one keeps back.
    blocked_since: Option<Instant>,
    /// A packet far from the window: the stream continues there if the next one follows it.
    suspect: Option<TapPacket>,
    ready: VecDeque<Ordered>,
    lost: u64,
    duplicates: u64,
}

impl Reorder {
    /// Takes a packet. Take what is ready by [`poll`](Self::poll) before the next call.
    pub fn push(&mut self, packet: TapPacket) {
        if !self.is_current_stream(&packet) {
            self.duplicates += 1;
            return;
        }
        let Some(next) = self.next else {
            self.begin(packet);
            return;
        };
        // Half of the sequence numbers lie before the window's front, half behind it.
        let index = i64::from(packet.sequence.wrapping_sub(next).cast_signed());
        if index.abs() >= MAX_DROPOUT {
            self.push_far(packet);
            return;
        }
        match usize::try_from(index) {
            Ok(index) => self.push_at(index, packet),
            Err(_) if self.held_until.is_some() => self.push_before(usize::try_from(-index).unwrap_or(WINDOW), packet),
            Err(_) => self.duplicates += 1,
        }
        self.drain();
    }

    /// Gives up on what has been waited for long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
            self.drain();
        }
        while self.blocked_since.is_some_and(|since| since + PATIENCE <= now) {
            self.give_up();
            self.drain();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.held_until.or(self.blocked_since.map(|since| since + PATIENCE))
    }

    /// What is ready.
    pub fn poll(&mut self) -> Option<Ordered> {
        self.ready.pop_front()
    }

    /// Lets everything go and forgets the position: whatever comes next begins anew, and what is missing in between is not lost.
    pub fn flush(&mut self) {
        self.held_until = None;
        self.suspect = None;
        self.drain();
        while !self.window.is_empty() {
            self.give_up();
            self.drain();
        }
        self.next = None;
    }

    /// Packets given up so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Packets dropped because they came twice, too late, or beside the current stream.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Follows changes of the SSRC; `false` for a packet of a stream beside the current one.
    fn is_current_stream(&mut self, packet: &TapPacket) -> bool {
        if self.ssrc != Some(packet.ssrc) {
            let running = self.last_received.is_some_and(|last| packet.received < last + SILENCE);
            if self.next.is_some() && running {
                return false;
            }
            if self.ssrc.replace(packet.ssrc).is_some() {
                self.flush();
                self.ready.push_back(Ordered::Restart);
            }
        }
        self.last_received = Some(packet.received);
        true
    }

    fn begin(&mut self, packet: TapPacket) {
        self.next = Some(packet.sequence);
        self.held_until = Some(packet.received + START_PATIENCE);
        self.window.push_back(Some(packet));
    }

    /// A packet at `index` of the window, which moves on if that is beyond its end.
    fn push_at(&mut self, index: usize, packet: TapPacket) {
        self.suspect = None;
        let mut index = index;
        if index >= WINDOW {
            self.held_until = None;
            let surplus = index + 1 - WINDOW;
            index -= self.advance(surplus);
        }
        if self.window.len() <= index {
            self.window.resize_with(index + 1, || None);
        }
        match self.window.get_mut(index) {
            Some(slot @ None) => {
                let received = packet.received;
                *slot = Some(packet);
                if self.held_until.is_none() && index > 0 {
                    self.blocked_since = Some(self.blocked_since.map_or(received, |since| since.min(received)));
                }
            }
            _ => self.duplicates += 1,
        }
    }

    /// A packet of `distance` before the window's front, at the start of a stream.
    fn push_before(&mut self, distance: usize, packet: TapPacket) {
        if self.window.len() + distance > WINDOW {
            self.duplicates += 1;
            return;
        }
        self.next = Some(packet.sequence);
        for _ in 1..distance {
            self.window.push_front(None);
        }
        self.window.push_front(Some(packet));
    }

    /// A packet far off: a sender that jumped if the next packet follows it, else a stray.
    fn push_far(&mut self, packet: TapPacket) {
        match self.suspect.take() {
            Some(first) if first.sequence.wrapping_add(1) == packet.sequence => {
                self.flush();
                self.ready.push_back(Ordered::Gap { packets: 0 });
                self.begin(first);
                self.push_at(1, packet);
            }
            _ => self.suspect = Some(packet),
        }
    }

    /// Moves the window's front on by at least `count`, letting packets go and giving missing ones up; tells by how many.
    fn advance(&mut self, count: usize) -> usize {
        let before = self.next;
        let mut moved = 0;
        while moved < count {
            if self.window.is_empty() {
                // Nothing is kept: the rest of the way is missing packets.
                self.skip(count - moved);
                moved = count;
            } else {
                self.give_up();
                self.drain();
                let next = self.next.unwrap_or_default();
                moved = usize::from(next.wrapping_sub(before.unwrap_or_default()));
            }
        }
        moved
    }

    /// Counts `count` packets at the front as lost.
    fn skip(&mut self, count: usize) {
        let packets = count as u64;
        self.lost += packets;
        self.move_front(count);
        self.ready.push_back(Ordered::Gap { packets });
    }

    /// Gives up on the packets that are missing at the front.
    fn give_up(&mut self) {
        let missing = self.window.iter().take_while(|slot| slot.is_none()).count();
        if missing > 0 {
            self.window.drain(..missing);
            self.skip(missing);
        }
    }

    fn move_front(&mut self, count: usize) {
        // Fewer than 2¹⁶ at a time: the window and MAX_DROPOUT bound it.
        self.next = self.next.map(|next| next.wrapping_add(count as u16));
    }

    /// Lets the packets at the front go, up to the first missing one.
    fn drain(&mut self) {
        if self.held_until.is_some() {
            return;
        }
        let mut moved = 0;
        while let Some(slot) = self.window.pop_front() {
            let Some(packet) = slot else {
                self.window.push_front(None);
                break;
            };
            self.ready.push_back(Ordered::Packet(packet));
            moved += 1;
        }
        self.move_front(moved);
        if moved > 0 || self.blocked_since.is_none() {
            // The front changed, so the oldest packet kept back may be another one.
            self.blocked_since = self.window.iter().flatten().map(|packet| packet.received).min();
        }
    }
}
