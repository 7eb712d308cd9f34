//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104): the messages that forwarding needs, read and written in place.

pub mod ntp;
pub mod parse;
pub mod transport_cc;
pub mod write;

pub use ntp::NtpTime;
pub use parse::{NackPairs, Packets, ReportBlock, ReportBlocks, RtcpMessage};
pub use write::RtcpWriter;

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SOURCE_DESCRIPTION: u8 = 202;
    pub(super) const GOODBYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Feedback message types, the formats of packet types 205 and 206 (RFC 4585 §6.2, §6.3, RFC 5104 §4.3).
mod format {
    pub(super) const NACK: u8 = 1;
    pub(super) const TRANSPORT_CC: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}
