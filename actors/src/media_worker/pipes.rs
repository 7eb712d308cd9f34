//! A worker's ends of the pipes to and from the others. They are made when a room first needs them, and stay.

use caside_media::engine::Engine;
use caside_media::pipe::carrier::{PipeReceiver, PipeSender};
use caside_media::pipe::{Neighbour, PipeSink, Piped};

use super::{Instant, Waker};

/// Items that wait in a pipe at most: what a hundred cameras bring in 100 ms.
pub(super) const CAPACITY: usize = 2048;
/// Items taken from one pipe before others, and sockets, have their turn.
const PER_ROUND: usize = 512;

/// The two ends that a worker has of its pipes with another.
pub(super) struct PipeEnds {
    pub(super) other: Neighbour,
    pub(super) sender: PipeSender,
    pub(super) receiver: PipeReceiver,
    /// Wakes the other.
    pub(super) waker: Waker,
}

/// What was handed over, since the worker began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PipeCounters {
    /// Packets and notices handed to other workers.
    pub sent: u64,
    /// How often another worker was woken for that.
    pub wakes: u64,
}

/// All of a worker's.
#[derive(Default)]
pub(super) struct Pipes {
    /// By the other's index.
    ends: Vec<Option<End>>,
    pub(super) counters: PipeCounters,
}

struct End {
    ends: PipeEnds,
    /// Something went in since the other was woken.
    is_fresh: bool,
}

impl Pipes {
    /// Takes the ends of new pipes.
    pub(super) fn add(&mut self, ends: PipeEnds) {
        let index = usize::from(ends.other.0);
        if self.ends.len() <= index {
            self.ends.resize_with(index + 1, || None);
        }
        self.ends[index] = Some(End { ends, is_fresh: false });
    }

    /// Hands what came to the engine. Says whether more waits.
    pub(super) fn receive(&mut self, engine: &mut Engine, now: Instant) -> bool {
        let mut more = false;
        for PipeEnds { other, receiver, .. } in self.ends.iter_mut().flatten().map(|end| &mut end.ends) {
            more |= receiver.receive(PER_ROUND, |item| engine.receive_piped(now, *other, item));
        }
        more
    }

    /// Hands over what the engine has for others, and wakes each of them once.
    pub(super) fn send(&mut self, engine: &mut Engine, now: Instant) {
        engine.flush_pipes(now, self);
        for end in self.ends.iter_mut().flatten() {
            if std::mem::take(&mut end.is_fresh) {
                self.counters.wakes += u64::from(end.ends.waker.wake());
            }
        }
    }
}

impl PipeSink for Pipes {
    fn push(&mut self, to: Neighbour, item: &Piped<'_>) -> bool {
        let Some(Some(end)) = self.ends.get_mut(usize::from(to.0)) else {
            return false;
        };
        let sent = end.ends.sender.push(item);
        end.is_fresh |= sent;
        self.counters.sent += u64::from(sent);
        sent
    }
}
