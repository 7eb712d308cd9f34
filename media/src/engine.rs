//! The forwarding engine: datagrams, commands and the time go in; datagrams and events come out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::{Command, Event};
use crate::parameters::Path;
use crate::send_buffer::SendBuffer;
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
        Self { transport, clock, limits: Limits::default() }
    }
}

/// Bounds of what clients may make the engine keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Producers a transport.
    pub producers_per_transport: usize,
    /// Consumers a transport.
    pub consumers_per_transport: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { producers_per_transport: 64, consumers_per_transport: 1024 }
    }
}

/// Counts of datagrams and packets that were dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DropCounters {
    /// Datagrams from a path of no transport that are no valid Binding request for one.
    pub unknown_path: u64,
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
}

/// The media of all routers that one worker thread serves.
pub struct Engine {
    _config: EngineConfig,
}

#[expect(unused_variables, reason = "signatures first")]
impl Engine {
    /// An engine without routers.
    pub fn new(config: EngineConfig) -> Self {
        Self { _config: config }
    }

    /// Carries out an order.
    pub fn handle(&mut self, now: Instant, command: Command) {}

    /// Takes a datagram that came on `path`; it is decrypted in place. What it makes the engine send waits for
    /// [`flush`](Self::flush).
    pub fn receive(&mut self, now: Instant, path: Path, datagram: &mut [u8]) {}

    /// Ends a round: puts everything to send into `out`, which is not cleared before.
    pub fn flush(&mut self, now: Instant, out: &mut SendBuffer) {}

    /// When [`handle_timeout`](Self::handle_timeout) is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Acts on timers that are due. Call [`flush`](Self::flush) afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {}

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// How many of each there are.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// What was dropped since the engine began.
    pub fn dropped(&self) -> DropCounters {
        DropCounters::default()
    }
}
