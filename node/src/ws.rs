//! The WebSocket endpoint, `/ws`: who may upgrade, and how many.
//!
//! The socket is tungstenite's on the connection that hyper hands over, with small buffers: `warp::ws` cannot set its
//! read buffer, whose 128 KiB are zeroed at every read. Absent on purpose: what messages mean; a socket passes them to
//! its session and writes what the session says.

pub(crate) mod flow;
pub(crate) mod socket;
pub(crate) mod upgrade;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use caside_protocol::ErrorCode;
use caside_protocol::error::Refusal;
use std::net::IpAddr;
use tokio::time::Instant;

use crate::limit::{AddressLimit, Rate};

/// New sockets of one address.
const NEW_SOCKETS: Rate = Rate {
    per_second: 200.0,
    burst: 200.0,
};

/// All WebSockets of this node.
#[derive(Debug)]
pub(crate) struct Sockets {
    open: Arc<AtomicUsize>,
    max: usize,
    /// How often each is pinged.
    pub(crate) heartbeat: Duration,
    fresh: AddressLimit,
}

impl Sockets {
    /// At most `max`, pinged every `heartbeat`.
    pub(crate) fn new(max: usize, heartbeat: Duration) -> Self {
        Self {
            open: Arc::default(),
            max,
            heartbeat,
            fresh: AddressLimit::new(NEW_SOCKETS),
        }
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for one more from this address.
    ///
    /// # Errors
    /// `too_many_connections`, `rate_limited`.
    pub(crate) fn enter(&self, from: IpAddr) -> Result<Place, Refusal> {
        if let Err(wait) = self.fresh.take(from, Instant::now()) {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            return Err(Refusal::new(ErrorCode::RateLimited, "too many new connections").retry_after_ms(ms));
        }
        let place = Place(self.open.clone());
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.max {
            return Err(Refusal::new(
                ErrorCode::TooManyConnections,
                "the node has as many connections as it may have",
            )
            .retry_after_ms(5000));
        }
        Ok(place)
    }
}

/// One socket's place; given up when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let sockets = Sockets::new(2, Duration::from_secs(10));
        let from: IpAddr = "127.0.0.1".parse().unwrap();
        let first = sockets.enter(from).unwrap();
        let _second = sockets.enter(from).unwrap();
        assert_eq!(sockets.enter(from).unwrap_err().code, ErrorCode::TooManyConnections);
        assert_eq!(sockets.open(), 2);
        drop(first);
        assert!(sockets.enter(from).is_ok());
    }
}
