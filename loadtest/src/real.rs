//! Bots on `webrtc`, a whole WebRTC implementation of other people's: what they receive went through code that shares
//! nothing with ours but DTLS.
//!
//! Absent on purpose: decoding. Their video is as synthetic as the light bots', so that both are checked alike.

mod bot;
mod connection;
mod key_frames;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use bot::RealBot;

use crate::light::{Checker, Received, Snapshot, Totals};

/// The sums of all bots; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Real {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    totals: Totals,
    /// One a connection that receives.
    receivers: Vec<Receiver>,
    connected: usize,
    failures: Vec<String>,
    /// When each source was asked for key frames.
    asked: Vec<Vec<Instant>>,
}

#[derive(Debug)]
struct Receiver {
    checker: Checker,
    began: Instant,
    decoding_after: Option<Duration>,
}

impl Real {
    /// What was seen since the last snapshot.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut state = self.state();
        let mut snapshot = Snapshot {
            totals: std::mem::take(&mut state.totals),
            connected: state.connected,
            failures: std::mem::take(&mut state.failures),
            requests: state.asked.iter().map(Vec::len).sum(),
            ..Snapshot::default()
        };
        let gaps = state
            .asked
            .iter()
            .flat_map(|asked| asked.windows(2))
            .map(|pair| pair[1] - pair[0]);
        snapshot.shortest_request = gaps.min();
        for receiver in &mut state.receivers {
            receiver.checker.end_window(&mut snapshot.totals);
            snapshot.decoding += receiver.checker.decoding();
            snapshot.decoding_after.extend(receiver.decoding_after);
        }
        snapshot
    }

    fn add_receiver(&self) -> usize {
        let mut state = self.state();
        state.receivers.push(Receiver {
            checker: Checker::default(),
            began: Instant::now(),
            decoding_after: None,
        });
        state.receivers.len() - 1
    }

    fn add_source(&self) -> usize {
        let mut state = self.state();
        state.asked.push(Vec::new());
        state.asked.len() - 1
    }

    fn asked(&self, source: usize) {
        if let Some(asked) = self.state().asked.get_mut(source) {
            asked.push(Instant::now());
        }
    }

    fn connected(&self) {
        self.state().connected += 1;
    }

    fn failed(&self, why: String) {
        self.state().failures.push(why);
    }

    fn received(&self, receiver: usize, packet: &Received<'_>) {
        let state = &mut *self.state();
        let Some(receiver) = state.receivers.get_mut(receiver) else {
            return;
        };
        if receiver.checker.take(packet, &mut state.totals) && receiver.decoding_after.is_none() {
            receiver.decoding_after = Some(receiver.began.elapsed());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
