//! What an engine is made of, and what it counts.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::rtcp::NtpTime;
use crate::transport::TransportConfig;

/// What an engine is made of.
#[derive(Clone)]
pub struct EngineConfig {
    /// What all transports have in common.
    pub transport: Arc<TransportConfig>,
    /// One moment on both clocks: the monotonic one and the time since the Unix epoch, for NTP times in sender reports.
    pub clock: (Instant, Duration),
    /// Bounds of what clients may make the engine keep.
    pub limits: Limits,
}

impl EngineConfig {
    /// The default limits.
    pub fn new(transport: Arc<TransportConfig>, clock: (Instant, Duration)) -> Self {
        Self {
            transport,
            clock,
            limits: Limits::default(),
        }
    }

    /// Our wall clock.
    pub(crate) fn ntp(&self, now: Instant) -> NtpTime {
        let (origin, unix) = self.clock;
        NtpTime::from_unix(unix + now.saturating_duration_since(origin))
    }
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("clock", &self.clock)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Bounds of what clients may make the engine keep. An order beyond one of them is counted in
/// [`DropCounters::commands`] and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Producers a transport; 64 by default.
    pub producers_per_transport: usize,
    /// Streams (simulcast layers) a producer; 4 by default.
    pub encodings_per_producer: usize,
    /// Consumers a transport; 1024 by default.
    pub consumers_per_transport: usize,
    /// Taps a producer; 8 by default.
    pub taps_per_producer: usize,
    /// Other engines that a producer's packets go to; 64 by default.
    pub pipes_per_producer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            producers_per_transport: 64,
            encodings_per_producer: 4,
            consumers_per_transport: 1024,
            taps_per_producer: 8,
            pipes_per_producer: 64,
        }
    }
}

/// Counts of what was dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DropCounters {
    /// Datagrams from a path of no transport that are no Binding request for one.
    pub unknown_path: u64,
    /// Datagrams beyond what one client may send: 5,000 a second.
    pub flooded: u64,
    /// Checks on a path that another transport's client is using.
    pub occupied: u64,
    /// RTCP packets beyond what one client may ask or tell.
    pub reports: u64,
    /// Decrypted packets that are no RTP.
    pub malformed: u64,
    /// Packets of an SSRC that belongs to no producer.
    pub unknown_ssrc: u64,
    /// Packets of a payload type that was not agreed.
    pub unknown_payload_type: u64,
    /// Packets that came before.
    pub duplicate: u64,
    /// Packets that came too late to be of use.
    pub too_old: u64,
    /// Packets beyond what one round may hold.
    pub round_full: u64,
    /// Packets of sound in RED that its receiver does not have, and that could not be taken out of it.
    pub opaque: u64,
    /// Packets and notices that a pipe had no room for.
    pub pipe_full: u64,
    /// Packets and notices from pipes that are of no producer here: it ended, or is yet to be made.
    pub pipe_unknown: u64,
    /// Copies that would exceed [`MAX_DATAGRAM`](crate::send_buffer::MAX_DATAGRAM).
    pub oversized: u64,
    /// Copies that could not be sealed.
    pub unsealed: u64,
    /// Retransmissions asked for that are not in the ring, were just sent, or exceed their share.
    pub retransmissions: u64,
    /// Data channel messages that could not be sent, or go beyond what one client may send.
    pub messages: u64,
    /// Events that nobody polled.
    pub events: u64,
    /// Orders that name something unknown, or exceed a limit.
    pub commands: u64,
    /// Transports that were closed because handling them panicked.
    pub panics: u64,
}

/// How many of each there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Routers.
    pub routers: usize,
    /// Transports.
    pub transports: usize,
    /// Producers.
    pub producers: usize,
    /// Consumers.
    pub consumers: usize,
    /// Paths that transports have validated.
    pub paths: usize,
}
