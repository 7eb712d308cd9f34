//! What waits to be written to one socket: a queue bounded in messages and bytes. Its two ends are the session, which
//! puts frames in and never waits, and the socket, which takes them out at the client's pace.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use caside_protocol::error::close;
use tokio::sync::Notify;

/// Most frames that may wait.
pub const MAX_FRAMES: usize = 512;
/// Most bytes that may wait.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Room for this many frames is kept between bursts.
const KEPT_CAPACITY: usize = 16;

/// One encoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The message's type, for counters.
    pub kind: &'static str,
    /// The message in the socket's dialect.
    pub bytes: Bytes,
    /// An event's number.
    pub seq: Option<u64>,
}

/// What a socket is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outbound {
    /// Write this.
    Frame(Frame),
    /// Close with this code and reason; nothing follows.
    Close {
        /// RFC 6455 §7.4.
        code: u16,
        /// A stable word.
        reason: &'static str,
    },
}

/// As many frames or bytes wait as may: the client does not keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the socket is too far behind")]
pub struct Behind;

/// The session's end. Dropped without a word, it closes the socket with 1011: the session ended by a failure.
#[derive(Debug)]
pub struct OutboundQueue(Arc<Shared>);

/// The socket's end.
#[derive(Debug)]
pub struct OutboundReceiver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    closing: Option<(u16, &'static str)>,
    /// Nobody reads any more.
    gone: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change, so what a poisoned lock guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, code: u16, reason: &'static str, discard: bool) {
        let mut state = self.state();
        if discard {
            state.frames = VecDeque::new();
            state.bytes = 0;
        }
        if state.closing.is_none() {
            state.closing = Some((code, reason));
        }
        drop(state);
        self.changed.notify_one();
    }
}

/// Makes the two ends of a socket's queue.
pub fn outbound() -> (OutboundQueue, OutboundReceiver) {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        changed: Notify::new(),
    });
    (OutboundQueue(shared.clone()), OutboundReceiver(shared))
}

impl OutboundQueue {
    /// Puts a frame behind the others. A frame for a socket that is closing or gone is dropped.
    ///
    /// # Errors
    /// [`Behind`] at [`MAX_FRAMES`] or [`MAX_BYTES`]; the frame is not taken.
    pub fn push(&self, frame: Frame) -> Result<(), Behind> {
        let mut state = self.0.state();
        if state.gone || state.closing.is_some() {
            return Ok(());
        }
        if state.frames.len() >= MAX_FRAMES || state.bytes + frame.bytes.len() > MAX_BYTES {
            return Err(Behind);
        }
        state.bytes += frame.bytes.len();
        state.frames.push_back(frame);
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }

    /// How many frames and bytes wait.
    pub fn waiting(&self) -> (usize, usize) {
        let state = self.0.state();
        (state.frames.len(), state.bytes)
    }

    /// Closes the socket after what waits is written. Of several closes the first counts.
    pub fn close(&self, code: u16, reason: &'static str) {
        self.0.close(code, reason, false);
    }

    /// Closes the socket at once; what waits is dropped.
    pub fn close_now(&self, code: u16, reason: &'static str) {
        self.0.close(code, reason, true);
    }
}

impl Drop for OutboundQueue {
    fn drop(&mut self) {
        self.close(close::INTERNAL, "internal");
    }
}

impl OutboundReceiver {
    /// Waits for what to do next. After [`Outbound::Close`] it is always that. Cancel safe.
    pub async fn next(&mut self) -> Outbound {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.0.changed.notified().await;
        }
    }

    /// What to do next, if anything is to be done now: lets a socket write several frames before it flushes.
    pub fn try_next(&mut self) -> Option<Outbound> {
        let mut state = self.0.state();
        if let Some(frame) = state.frames.pop_front() {
            state.bytes -= frame.bytes.len();
            if state.frames.is_empty() && state.frames.capacity() > KEPT_CAPACITY {
                state.frames = VecDeque::new();
            }
            return Some(Outbound::Frame(frame));
        }
        state.closing.map(|(code, reason)| Outbound::Close { code, reason })
    }
}

impl Drop for OutboundReceiver {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.gone = true;
        state.frames = VecDeque::new();
        state.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(size: usize) -> Frame {
        Frame {
            kind: "chat",
            bytes: Bytes::from(vec![0; size]),
            seq: None,
        }
    }

    #[tokio::test]
    async fn what_was_put_in_comes_out_in_order_and_then_the_close() {
        let (queue, mut receiver) = outbound();
        for size in 1..=3 {
            queue.push(frame(size)).unwrap();
        }
        queue.close(4403, "kicked");
        queue.push(frame(4)).unwrap();
        drop(queue);
        for size in 1..=3 {
            assert_eq!(receiver.next().await, Outbound::Frame(frame(size)));
        }
        for _ in 0..2 {
            assert_eq!(
                receiver.next().await,
                Outbound::Close {
                    code: 4403,
                    reason: "kicked"
                }
            );
        }
    }

    #[tokio::test]
    async fn a_session_that_fails_closes_its_socket_as_an_internal_error() {
        let (queue, mut receiver) = outbound();
        drop(queue);
        assert_eq!(
            receiver.next().await,
            Outbound::Close {
                code: 1011,
                reason: "internal"
            }
        );
    }

    #[test]
    fn frames_and_bytes_are_bounded_and_room_comes_back_as_they_are_taken() {
        let (queue, mut receiver) = outbound();
        for _ in 0..MAX_FRAMES {
            queue.push(frame(1)).unwrap();
        }
        assert_eq!(queue.push(frame(1)), Err(Behind));
        assert!(receiver.try_next().is_some());
        queue.push(frame(1)).unwrap();

        let (queue, mut receiver) = outbound();
        queue.push(frame(MAX_BYTES)).unwrap();
        assert_eq!(queue.push(frame(1)), Err(Behind));
        assert!(receiver.try_next().is_some());
        queue.push(frame(1)).unwrap();
    }

    #[test]
    fn closing_at_once_overtakes_what_waits() {
        let (queue, mut receiver) = outbound();
        queue.push(frame(1)).unwrap();
        queue.close_now(1008, "slow_consumer");
        assert_eq!(
            receiver.try_next(),
            Some(Outbound::Close {
                code: 1008,
                reason: "slow_consumer"
            })
        );
    }

    #[test]
    fn nothing_is_kept_for_a_socket_that_is_gone() {
        let (queue, receiver) = outbound();
        drop(receiver);
        for _ in 0..2 * MAX_FRAMES {
            queue.push(frame(10)).unwrap();
        }
        assert_eq!(queue.0.state().bytes, 0);
    }
}
