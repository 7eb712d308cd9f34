//! Data channels (RFC 8831, RFC 8832) over the transport's DTLS association, on rtc-sctp behind a [`guard`].
//!
//! Channels of the client are accepted and known by their label. A message for a label that has no channel opens one,
//! reliable and ordered.

mod channel;
mod guard;
mod session;

pub(crate) use self::session::{DataEvent, DataSession};

/// Bytes of a message, either way.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Channels of a transport; further ones of the client are reset.
pub const MAX_CHANNELS: usize = 32;

/// Bytes of a label (and of a subprotocol's name); a channel with a longer one is reset.
pub const MAX_LABEL: usize = 128;

/// Bytes that wait to be sent or acknowledged on all channels; messages beyond it are refused.
pub const MAX_QUEUED: usize = 1024 * 1024;

/// Messages that wait so.
pub const MAX_QUEUED_MESSAGES: usize = 8192;

/// Bytes that wait to become whole messages, which is also what the client may have in flight.
pub const MAX_RECEIVING: usize = 2 * MAX_MESSAGE;

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// DTLS is not up.
    #[error("the DTLS handshake is not complete")]
    NotSecured,
    /// The message exceeds [`MAX_MESSAGE`].
    #[error("the message is larger than the limit")]
    MessageTooLarge,
    /// The label exceeds [`MAX_LABEL`].
    #[error("the label is longer than the limit")]
    LabelTooLong,
    /// No channel of this label, and no more may be opened.
    #[error("too many data channels")]
    TooManyChannels,
    /// The client takes messages more slowly than they are sent ([`MAX_QUEUED`], [`MAX_QUEUED_MESSAGES`]); this one was dropped.
    #[error("the outbound queue is full")]
    QueueFull,
    /// The channel or the association was closed.
    #[error("the association is closed")]
    Closed,
}
