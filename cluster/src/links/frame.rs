//! What gateways say to each other: a kind, the connection it belongs to, when it was sent, and a body.
//!
//! Numbers are big-endian. Bytes after the known fields are passed over, so that a later version may add some; an unknown kind
//! is no frame at all.

use bytes::{Buf, BufMut, Bytes};

use super::credit::Tally;

/// Longest status that goes with a heartbeat, in bytes.
pub(crate) const MAX_STATUS: usize = 64;

/// Of every frame: kind, connection, time of sending.
const HEADER: usize = 1 + 8 + 8;

/// One message from gateway to gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Which connection it was sent over: what both ends agreed on when it was opened.
    pub(crate) connection: u64,
    /// When it was sent, in milliseconds of the sender's own clock, which began when the sender did.
    pub(crate) sent_ms: u64,
    /// What it says.
    pub(crate) body: Body,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// The sender sees our gateway and will take frames.
    Hello,
    /// The sender runs.
    Heartbeat {
        /// Grows by one with each.
        seq: u64,
        /// Of our data, what the sender has handled so far.
        handled: Tally,
        /// The sender's word of the moment.
        status: Bytes,
    },
    /// Of our data, what the sender has handled so far.
    Credit(Tally),
    /// A message for whoever uses the links.
    Data {
        /// How old it may be when it is handled, in milliseconds.
        ttl_ms: u32,
        /// The message.
        message: Bytes,
    },
}

impl Frame {
    /// As bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.body.len());
        out.put_u8(self.body.kind());
        out.put_u64(self.connection);
        out.put_u64(self.sent_ms);
        match &self.body {
            Body::Hello => {}
            Body::Heartbeat { seq, handled, status } => {
                out.put_u64(*seq);
                out.put_u64(handled.messages);
                out.put_u64(handled.bytes);
                out.put_u8(u8::try_from(status.len().min(MAX_STATUS)).unwrap_or(0));
                out.put_slice(status.get(..MAX_STATUS).unwrap_or(status));
            }
            Body::Credit(handled) => {
                out.put_u64(handled.messages);
                out.put_u64(handled.bytes);
            }
            Body::Data { ttl_ms, message } => {
                out.put_u32(*ttl_ms);
                out.put_slice(message);
            }
        }
        out
    }

    /// From bytes; `None` if they are no frame.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        let kind = bytes.try_get_u8().ok()?;
        let connection = bytes.try_get_u64().ok()?;
        let sent_ms = bytes.try_get_u64().ok()?;
        let body = match kind {
            1 => Body::Hello,
            2 => {
                let seq = bytes.try_get_u64().ok()?;
                let handled = tally(&mut bytes)?;
                let len = usize::from(bytes.try_get_u8().ok()?);
                if len > MAX_STATUS || len > bytes.len() {
                    return None;
                }
                // A copy: the frame it is cut from need not live as long.
                let status = Bytes::copy_from_slice(&bytes.split_to(len));
                Body::Heartbeat { seq, handled, status }
            }
            3 => Body::Credit(tally(&mut bytes)?),
            4 => Body::Data {
                ttl_ms: bytes.try_get_u32().ok()?,
                message: bytes,
            },
            _ => return None,
        };
        Some(Self {
            connection,
            sent_ms,
            body,
        })
    }
}

impl Body {
    fn kind(&self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Heartbeat { .. } => 2,
            Self::Credit(_) => 3,
            Self::Data { .. } => 4,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Hello => 0,
            Self::Heartbeat { status, .. } => 8 + 16 + 1 + status.len(),
            Self::Credit(_) => 16,
            Self::Data { message, .. } => 4 + message.len(),
        }
    }
}

fn tally(bytes: &mut Bytes) -> Option<Tally> {
    Some(Tally {
        messages: bytes.try_get_u64().ok()?,
        bytes: bytes.try_get_u64().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        let handled = Tally {
            messages: 7,
            bytes: 1 << 40,
        };
        [
            Body::Hello,
            Body::Heartbeat {
                seq: 3,
                handled,
                status: Bytes::from_static(b"ready"),
            },
            Body::Credit(handled),
            Body::Data {
                ttl_ms: 10_000,
                message: Bytes::from_static(b"to a room"),
            },
            Body::Data {
                ttl_ms: 0,
                message: Bytes::new(),
            },
        ]
        .into_iter()
        .map(|body| Frame {
            connection: u64::MAX - 1,
            sent_ms: 12_345,
            body,
        })
        .collect()
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        for frame in frames() {
            assert_eq!(Frame::decode(frame.encode().into()), Some(frame));
        }
    }

    #[test]
    fn a_cut_frame_is_none_and_a_longer_one_is_read() {
        for frame in frames() {
            let bytes = frame.encode();
            let fixed = bytes.len()
                - if let Body::Data { message, .. } = &frame.body {
                    message.len()
                } else {
                    0
                };
            for len in 0..fixed {
                assert_eq!(
                    Frame::decode(Bytes::copy_from_slice(&bytes[..len])),
                    None,
                    "{frame:?} cut to {len}"
                );
            }
            if !matches!(frame.body, Body::Data { .. }) {
                let longer = [bytes.as_slice(), b"from a later version"].concat();
                assert_eq!(Frame::decode(longer.into()), Some(frame));
            }
        }
    }

    #[test]
    fn an_unknown_kind_or_a_long_status_is_no_frame() {
        let mut unknown = Frame {
            connection: 1,
            sent_ms: 1,
            body: Body::Hello,
        }
        .encode();
        unknown[0] = 99;
        assert_eq!(Frame::decode(unknown.into()), None);

        let body = Body::Heartbeat {
            seq: 1,
            handled: Tally::default(),
            status: Bytes::from(vec![b'x'; 40]),
        };
        let mut long = Frame {
            connection: 1,
            sent_ms: 1,
            body,
        }
        .encode();
        long[HEADER + 24] = 200;
        long.extend([0; 200]);
        assert_eq!(Frame::decode(long.into()), None);
    }
}
