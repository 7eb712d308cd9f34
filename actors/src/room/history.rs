//! A session's events: numbered from 1, the last ones kept for a resume. The log goes with the session: into a room,
//! which then numbers, and out again.

use std::collections::VecDeque;
use std::sync::Arc;

use caside_protocol::node::LogState;
use caside_protocol::server::ServerMessage;
use serde_json::{Map, Value};

/// Most bytes kept, estimated; a message shared by a room counts in full in each log. Half of what a socket's queue takes,
/// so that a resume does not fill it.
const MAX_BYTES: usize = 512 * 1024;
/// What a message weighs beside its text.
const BASE_BYTES: usize = 256;

/// An event with its number.
pub(crate) type Numbered = (u64, Arc<ServerMessage>);

/// `last_seq` names an event that was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NeverSent;

/// What a resuming client has not seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Missed {
    /// These, in order.
    Events(Vec<Numbered>),
    /// More than is kept.
    Gone,
}

/// Numbered events, the last of them kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventLog {
    last: u64,
    kept: VecDeque<Arc<ServerMessage>>,
    bytes: usize,
    capacity: usize,
}

impl EventLog {
    /// A log whose next event follows `last` and that keeps `capacity` events at most.
    pub(crate) fn after(last: u64, capacity: usize) -> Self {
        Self {
            last,
            kept: VecDeque::new(),
            bytes: 0,
            capacity,
        }
    }

    /// Numbers an event and keeps it.
    pub(crate) fn push(&mut self, message: Arc<ServerMessage>) -> u64 {
        self.last += 1;
        self.bytes += weight(&message);
        self.kept.push_back(message);
        while self.kept.len() > self.capacity || (self.bytes > MAX_BYTES && self.kept.len() > 1) {
            self.drop_oldest();
        }
        self.last
    }

    /// What came after `last_seq`. What the client has seen is no longer kept.
    ///
    /// # Errors
    /// [`NeverSent`] when there was no such event.
    pub(crate) fn resume(&mut self, last_seq: u64) -> Result<Missed, NeverSent> {
        let missed = self.last.checked_sub(last_seq).ok_or(NeverSent)?;
        let kept = self.kept.len() as u64;
        if missed > kept {
            return Ok(Missed::Gone);
        }
        for _ in missed..kept {
            self.drop_oldest();
        }
        Ok(Missed::Events(
            (last_seq + 1..).zip(self.kept.iter().cloned()).collect(),
        ))
    }

    /// The client has everything up to this number, which is no longer kept.
    pub(crate) fn received(&mut self, seq: u64) {
        while self.last - (self.kept.len() as u64) < seq && !self.kept.is_empty() {
            self.drop_oldest();
        }
        self.kept.shrink_to(2 * self.kept.len());
    }

    /// As it goes to another node.
    pub(crate) fn state(&self) -> LogState {
        LogState {
            last: self.last,
            kept: self.kept.iter().cloned().collect(),
        }
    }

    /// As it came from another node; of more than may be kept the last.
    pub(crate) fn from_state(state: LogState, capacity: usize) -> Self {
        let LogState { last, kept } = state;
        let mut log = Self::after(last.saturating_sub(kept.len() as u64), capacity);
        for message in kept {
            log.push(message);
        }
        log.last = last;
        log
    }

    /// The number of the last event; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.bytes -= weight(&oldest);
        }
    }
}

/// About how many bytes a message takes.
fn weight(message: &ServerMessage) -> usize {
    use ServerMessage as M;
    BASE_BYTES
        + match message {
            M::Chat(chat) => chat.text.len(),
            M::Data(data) => data.topic.len() + value_weight(&data.value),
            M::Offer(offer) => offer.sdp.len() + offer.tracks.len() * BASE_BYTES,
            M::RelayedOffer(raw) | M::RelayedAnswer(raw) | M::RelayedCandidate(raw) => map_weight(raw),
            M::RoomUpdated(room) => room.name.as_ref().map_or(0, String::len) + value_weight(&room.metadata),
            M::PeerJoined(participant) | M::PeerUpdated(participant) => participant.tracks.len() * BASE_BYTES,
            _ => 0,
        }
}

fn map_weight(map: &Map<String, Value>) -> usize {
    map.iter()
        .map(|(key, value)| 64 + key.len() + value_weight(value))
        .sum()
}

fn value_weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(value_weight).sum(),
            Value::Object(map) => map_weight(map),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caside_protocol::server::Empty;

    fn filled(events: u64, capacity: usize) -> EventLog {
        let mut log = EventLog::after(0, capacity);
        for seq in 1..=events {
            assert_eq!(log.push(Arc::new(ServerMessage::Pong(Empty {}))), seq);
        }
        log
    }

    fn numbers(missed: Missed) -> Option<Vec<u64>> {
        match missed {
            Missed::Events(events) => Some(events.into_iter().map(|(seq, _)| seq).collect()),
            Missed::Gone => None,
        }
    }

    #[test]
    fn what_a_client_has_is_no_longer_kept_and_what_it_has_not_is() {
        let mut log = filled(5, 8);
        log.received(3);
        log.received(2);
        assert_eq!((log.last(), log.kept.len()), (5, 2));
        assert_eq!(log.clone().resume(2).map(numbers), Ok(None));
        assert_eq!(log.resume(3).map(numbers), Ok(Some(vec![4, 5])));
        log.received(9);
        assert_eq!((log.last(), log.kept.len(), log.bytes), (5, 0, 0));
        assert_eq!(log.push(Arc::new(ServerMessage::Pong(Empty {}))), 6);
    }

    #[test]
    fn a_resume_gets_exactly_what_came_after_the_last_one_seen() {
        for (last_seq, want) in [
            (10, Ok(Some(vec![]))),
            (8, Ok(Some(vec![9, 10]))),
            (6, Ok(Some(vec![7, 8, 9, 10]))),
            (5, Ok(None)),
            (0, Ok(None)),
            (11, Err(NeverSent)),
            (u64::MAX, Err(NeverSent)),
        ] {
            assert_eq!(filled(10, 4).resume(last_seq).map(numbers), want, "last_seq {last_seq}");
        }
        assert_eq!(numbers(filled(0, 4).resume(0).unwrap()), Some(vec![]));
    }

    #[test]
    fn what_was_seen_is_forgotten_and_numbers_go_on() {
        let mut log = filled(10, 256);
        log.resume(7).unwrap();
        assert_eq!(log.resume(6).map(numbers), Ok(None));
        assert_eq!(log.push(Arc::new(ServerMessage::ok())), 11);
        assert_eq!(log.resume(7).map(numbers), Ok(Some(vec![8, 9, 10, 11])));
    }

    #[test]
    fn the_log_is_bounded_in_bytes_too() {
        let mut log = EventLog::after(0, 256);
        for _ in 0..100 {
            let mut raw = Map::new();
            raw.insert("sdp".to_owned(), Value::String("x".repeat(60_000)));
            log.push(Arc::new(ServerMessage::RelayedOffer(raw)));
        }
        assert!(log.bytes <= MAX_BYTES, "{}", log.bytes);
        assert!(log.kept.len() > 5);
        assert_eq!(log.last(), 100);
    }
}
