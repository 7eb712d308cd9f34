//! One data channel and the messages that establish it (RFC 8832).

use std::collections::VecDeque;

use bytes::Bytes;
use rtc_datachannel::data_channel::DataChannel;
use rtc_datachannel::message::Message;
use rtc_datachannel::message::message_channel_ack::DataChannelAck;
use rtc_datachannel::message::message_channel_open::{CHANNEL_PRIORITY_NORMAL, ChannelType, DataChannelOpen};
use rtc_sctp::{PayloadProtocolIdentifier, ReliabilityType};
use rtc_shared::marshal::{Marshal, Unmarshal};

use super::MAX_LABEL;

/// A channel that may be sent on.
pub(super) struct Channel {
    pub(super) stream: u16,
    pub(super) label: String,
    /// Bytes of the messages that wait to be sent or acknowledged.
    unreleased: VecDeque<usize>,
    /// Of the first of them, how many were released.
    released: usize,
    /// Their sum, less what was released.
    queued_bytes: usize,
}

impl Channel {
    pub(super) fn new(stream: u16, label: String) -> Self {
        Self {
            stream,
            label,
            unreleased: VecDeque::new(),
            released: 0,
            queued_bytes: 0,
        }
    }

    /// Notes that a message was queued.
    pub(super) fn note_sent(&mut self, len: usize) {
        self.unreleased.push_back(len);
        self.queued_bytes += len;
    }

    /// Notes that so many bytes were acknowledged or given up.
    pub(super) fn note_released(&mut self, bytes: usize) {
        self.released += bytes;
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        while let Some(len) = self.unreleased.front().filter(|len| **len <= self.released) {
            self.released -= len;
            self.unreleased.pop_front();
        }
    }

    /// Messages and bytes that wait.
    pub(super) fn queued(&self) -> (usize, usize) {
        (self.unreleased.len(), self.queued_bytes)
    }
}

/// What a DCEP message says.
pub(super) enum Dcep {
    /// Opens a channel.
    Open(Open),
    /// Acknowledges ours.
    Acknowledged,
}

/// A request for a channel within our limits.
pub(super) struct Open {
    pub(super) label: String,
    /// How we are to send on it.
    pub(super) unordered: bool,
    pub(super) reliability: ReliabilityType,
    pub(super) reliability_value: u32,
}

/// The types of messages (RFC 8832 §8.2.1).
const ACK: u8 = 2;
const OPEN: u8 = 3;

/// Reads a DCEP message; `None` when it is malformed or beyond our limits.
///
/// Nothing but a request reaches rtc-datachannel 0.21.1, which takes two more types for its own and panics when one is cut off.
pub(super) fn read_dcep(mut data: &[u8]) -> Option<Dcep> {
    match *data.first()? {
        ACK => return Some(Dcep::Acknowledged),
        OPEN => {}
        _ => return None,
    }
    let Message::DataChannelOpen(open) = Message::unmarshal(&mut data).ok()? else {
        return None;
    };
    if open.label.len() > MAX_LABEL || open.protocol.len() > MAX_LABEL {
        return None;
    }
    let (unordered, reliability) = DataChannel::get_reliability_params(open.channel_type);
    let label = String::from_utf8(open.label).ok()?;
    Some(Dcep::Open(Open {
        label,
        unordered,
        reliability,
        reliability_value: open.reliability_parameter,
    }))
}

/// DATA_CHANNEL_OPEN of a reliable, ordered channel (RFC 8832 §5.1).
pub(super) fn open_message(label: &str) -> Option<Bytes> {
    let open = DataChannelOpen {
        channel_type: ChannelType::Reliable,
        priority: CHANNEL_PRIORITY_NORMAL,
        reliability_parameter: 0,
        label: label.as_bytes().to_vec(),
        protocol: Vec::new(),
    };
    Message::DataChannelOpen(open)
        .marshal()
        .ok()
        .map(|message| message.freeze())
}

/// DATA_CHANNEL_ACK (RFC 8832 §5.2).
pub(super) fn ack_message() -> Option<Bytes> {
    Message::DataChannelAck(DataChannelAck {})
        .marshal()
        .ok()
        .map(|message| message.freeze())
}

/// How a message goes over SCTP, which cannot carry an empty one (RFC 8831 §6.6).
pub(super) fn encode(data: Bytes, text: bool) -> (PayloadProtocolIdentifier, Bytes) {
    use PayloadProtocolIdentifier as Ppid;
    match (text, data.is_empty()) {
        (true, true) => (Ppid::StringEmpty, Bytes::from_static(&[0])),
        (false, true) => (Ppid::BinaryEmpty, Bytes::from_static(&[0])),
        (true, false) => (Ppid::String, data),
        (false, false) => (Ppid::Binary, data),
    }
}

/// The message and whether it is text; `None` when it is no user message, or text that is not UTF-8.
pub(super) fn decode(ppid: PayloadProtocolIdentifier, data: Bytes) -> Option<(Bytes, bool)> {
    use PayloadProtocolIdentifier as Ppid;
    match ppid {
        Ppid::StringEmpty => Some((Bytes::new(), true)),
        Ppid::BinaryEmpty => Some((Bytes::new(), false)),
        Ppid::String => std::str::from_utf8(&data).is_ok().then_some((data, true)),
        Ppid::Binary => Some((data, false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cut_off_anywhere_or_of_an_unknown_type_is_refused() {
        let whole = open_message("label").unwrap();
        assert!(matches!(read_dcep(&whole), Some(Dcep::Open(open)) if open.label == "label"));
        for length in 0..whole.len() {
            assert!(read_dcep(&whole[..length]).is_none(), "{length} bytes");
        }
        assert!(matches!(read_dcep(&[ACK]), Some(Dcep::Acknowledged)));
        for kind in (0..=u8::MAX).filter(|kind| ![ACK, OPEN].contains(kind)) {
            for message in [&[kind][..], &[kind, 0], &[kind, 0, 0, 0, 0], &[kind, 1, 0, 0, 0, 0]] {
                assert!(read_dcep(message).is_none(), "{message:?}");
            }
        }
    }
}
