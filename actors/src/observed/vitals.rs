//! How one actor does with its messages.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use caside_protocol::inspect::MailboxView;
use caside_protocol::{RoomId, Timestamp};
use tokio::time::Instant;

/// Times of messages count from here.
static BOOT: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Whatever has an actor's [`Vitals`] in it.
pub(crate) trait Observable: Send + Sync {
    fn vitals(&self) -> &Vitals;
}

/// One actor's messages: how many wait, came, were refused. Written by whoever sends and by the actor, without a lock.
#[derive(Debug)]
pub(crate) struct Vitals {
    /// 0: it takes no messages.
    bound: u32,
    depth: AtomicU32,
    high_water: AtomicU32,
    refused: AtomicU32,
    handled: AtomicU64,
    /// In ms after [`BOOT`], plus one; 0 before the first.
    last_ms: AtomicU64,
    /// The room that a session is in, as [`room_number`]; 0: none.
    room: AtomicU64,
    busy: AtomicBool,
}

impl Observable for Vitals {
    fn vitals(&self) -> &Vitals {
        self
    }
}

impl Vitals {
    /// Of a mailbox that holds so many messages; [`usize::MAX`] when nothing bounds it here.
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            bound: u32::try_from(bound).unwrap_or(u32::MAX),
            depth: AtomicU32::new(0),
            high_water: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            handled: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
            room: AtomicU64::new(0),
            busy: AtomicBool::new(false),
        }
    }

    /// Messages that wait.
    pub(crate) fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed)
    }

    /// Most messages that ever waited.
    pub(super) fn high_water(&self) -> u32 {
        self.high_water.load(Ordering::Relaxed)
    }

    /// Whether as many wait as may.
    pub(crate) fn is_full(&self) -> bool {
        self.depth() >= self.bound
    }

    /// A message was put in; how many wait now.
    pub(crate) fn arrived(&self) -> u32 {
        let depth = self.depth.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if depth > self.high_water.load(Ordering::Relaxed) {
            self.high_water.fetch_max(depth, Ordering::Relaxed);
        }
        depth
    }

    /// A message that was put in did not go: the actor is gone, or too many wait.
    pub(crate) fn returned(&self) {
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }

    /// A message was refused at the bound.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The actor takes a message out.
    pub(crate) fn taken(&self, now: Instant) {
        self.depth.fetch_sub(1, Ordering::Relaxed);
        self.last_ms.store(since_boot(now) + 1, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
    }

    /// It has handled it.
    pub(crate) fn done(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
        self.busy.store(false, Ordering::Relaxed);
    }

    /// A session is in this room now, or in none.
    pub(crate) fn in_room(&self, room: Option<&RoomId>) {
        self.room.store(room.map_or(0, room_number), Ordering::Relaxed);
    }

    /// Whether a session is in this room.
    pub(super) fn is_in(&self, room: u64) -> bool {
        self.room.load(Ordering::Relaxed) == room
    }

    /// As an operator sees it; `None` of an actor that takes no messages.
    pub(super) fn view(&self) -> Option<MailboxView> {
        if self.bound == 0 {
            return None;
        }
        let now = since_boot(Instant::now());
        let last = self.last_ms.load(Ordering::Relaxed).checked_sub(1);
        let age = last.map(|last| now.saturating_sub(last));
        let busy = self.busy.load(Ordering::Relaxed);
        let at = |age: u64| Timestamp::now_utc() - std::time::Duration::from_millis(age);
        Some(MailboxView {
            depth: self.depth(),
            high_water: self.high_water.load(Ordering::Relaxed),
            bound: (self.bound < u32::MAX).then_some(self.bound),
            handled: self.handled.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            busy_ms: age.filter(|_| busy),
            last_message_at: age.map(at),
        })
    }
}

/// A room's id as a number by which sessions are found: 64-bit FNV-1a, never 0.
pub(crate) fn room_number(room: &RoomId) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    room.as_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step).max(1)
}

fn since_boot(now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(*BOOT).as_millis()).unwrap_or(u64::MAX - 1)
}
