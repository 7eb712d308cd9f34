//! DTLS 1.2 (RFC 6347) for keys and data channels (RFC 8827, RFC 5764), on rtc-dtls behind a [`Screen`].
//!
//! rtc-dtls knows associations by address. Ours has one fixed address, so that a client that changes networks keeps it.

mod configs;
mod connection;
mod hello;
mod screen;

pub(crate) use self::configs::HandshakeConfigs;
pub(crate) use self::connection::{Connection, DtlsEvent};
