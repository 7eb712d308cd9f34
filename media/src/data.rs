//! Data channels (RFC 8831, RFC 8832) over the transport's DTLS association.

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// DTLS is not up.
    #[error("the DTLS handshake is not complete")]
    NotSecured,
    /// The message exceeds the limit.
    #[error("the message is larger than the limit")]
    MessageTooLarge,
    /// The label exceeds the limit.
    #[error("the label is longer than the limit")]
    LabelTooLong,
    /// No channel of this label, and no more may be opened.
    #[error("too many data channels")]
    TooManyChannels,
    /// The client takes messages more slowly than they are sent; the message was dropped.
    #[error("the outbound queue is full")]
    QueueFull,
    /// The SCTP association is gone.
    #[error("the association is closed")]
    Closed,
}
