//! Pipes: how what one engine receives gets to receivers of another.
//!
//! A room that is too large for one worker has participants on several, each with an engine of its own. A producer lives in
//! the engine of its publisher, its *home*. Where others want it, a *piped* producer stands for it: it has the same id, streams
//! and layers, and its consumers are like any others. One copy of each packet goes over the pipe, however many receive it there.
//!
//! Down the pipe go packets, numbered as the home numbered them, and the publisher's clocks; up it go wishes for key frames.
//! What must not get lost (what is paused, what is renegotiated, which encodings are wanted) is no part of it: orders and
//! events carry that. A pipe that is full drops what comes, as a network does.
//!
//! Absent on purpose: threads and wake-ups. [`carrier`] is a queue between two threads, and knows nothing of either.

pub mod carrier;

use std::fmt;

use crate::parameters::{PayloadType, ProducerId};
use crate::producer::ring::Wrapping;

/// Another engine of this process, by its index among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Neighbour(pub u16);

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What goes over a pipe.
#[derive(Debug, Clone, Copy)]
pub enum Piped<'p> {
    /// A packet, from a producer's home.
    Packet(PipedPacket<'p>),
    /// Something about a producer.
    Notice(Notice),
}

/// A packet on its way to another engine; a retransmission is restored to its original.
#[derive(Debug, Clone, Copy)]
pub struct PipedPacket<'p> {
    /// What its header said, and its place.
    pub head: PacketHead,
    /// The dependency descriptor; empty when it has none.
    pub descriptor: &'p [u8],
    /// The payload without padding.
    pub payload: &'p [u8],
}

/// What goes with a packet's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketHead {
    /// Its producer.
    pub producer: ProducerId,
    /// Which of the producer's streams, by its place in the parameters.
    pub encoding: u8,
    /// Its sequence number without wraps, as its home counts.
    pub extended: u64,
    /// Changes where numbers or timestamps do not go on from what was before.
    pub epoch: u32,
    /// RTP timestamp, as sent.
    pub timestamp: u32,
    /// Names the codec in the producer's parameters.
    pub payload_type: PayloadType,
    /// The marker bit.
    pub marker: bool,
    /// RFC 6464: the V bit and the level.
    pub audio_level: Option<u8>,
    /// `urn:3gpp:video-orientation`.
    pub orientation: Option<u8>,
    /// How sound lies in the payload.
    pub(crate) wrapping: Wrapping,
}

/// Something about a producer that may get lost, and is told again then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// From its home: a sender report came (RFC 3550 §6.4.1).
    Clock {
        /// The producer.
        producer: ProducerId,
        /// Which of its streams.
        encoding: u8,
        /// Wall clock of the publisher, NTP format: 32.32 fixed point seconds since 1900.
        ntp: u64,
        /// The same moment on the RTP clock.
        rtp: u32,
        /// Our wall clock less the publisher's, in the unit of `ntp`. One for all producers of a publisher.
        offset: i64,
    },
    /// To its home: a receiver needs a key frame. The home decides when to ask the publisher.
    KeyFrameWanted {
        /// The producer.
        producer: ProducerId,
        /// Which of its streams.
        encoding: u8,
    },
}

/// Takes what goes to other engines.
pub trait PipeSink {
    /// Hands an item over without blocking. `false` says that it was dropped: there is no room, or no pipe.
    fn push(&mut self, to: Neighbour, item: &Piped<'_>) -> bool;
}
