//! The WebSocket endpoint, `/ws`: who may upgrade, and how many.
//!
//! The socket is tungstenite's on the connection that hyper hands over, with small buffers: `warp::ws` cannot set its
//! read buffer, whose 128 KiB are zeroed at every read. Absent on purpose: what messages mean; a socket passes them to
//! its session and writes what the session says.

pub(crate) mod flow;
pub(crate) mod socket;
mod spans;
pub(crate) mod upgrade;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use caside_actors::refused::{self, Reason};
use caside_protocol::ErrorCode;
use caside_protocol::error::Refusal;
use tokio::time::Instant;

use crate::client::{Client, Share, Shares};
use crate::limit::{AddressLimit, Rate, wait_ms};

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
    /// Sockets that have no token yet.
    unknown: Shares,
}

impl Sockets {
    /// At most `max`, pinged every `heartbeat`; of one address at most `max_unknown` that have no token yet.
    pub(crate) fn new(max: usize, heartbeat: Duration, max_unknown: usize) -> Self {
        Self {
            open: Arc::default(),
            max,
            heartbeat,
            fresh: AddressLimit::new(NEW_SOCKETS),
            unknown: Shares::new(max_unknown),
        }
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for one more of this client, whose token is `known` or is still to come.
    ///
    /// # Errors
    /// `too_many_connections`, `rate_limited`.
    pub(crate) fn enter(&self, from: &Client, known: bool) -> Result<Place, Refusal> {
        if let Err(wait) = self.fresh.take(from, Instant::now()) {
            refused::count(Reason::SocketsAddress);
            let why = "too many new connections";
            return Err(Refusal::new(ErrorCode::RateLimited, why).retry_after_ms(wait_ms(wait)));
        }
        let unknown = if known {
            None
        } else {
            let why = "too many connections of this address have sent no token yet";
            let refusal = || {
                refused::count(Reason::SocketsUnknown);
                Refusal::new(ErrorCode::TooManyConnections, why).retry_after_ms(5000)
            };
            Some(self.unknown.take(from).ok_or_else(refusal)?)
        };
        let place = Place {
            open: self.open.clone(),
            unknown,
        };
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.max {
            refused::count(Reason::Sockets);
            return Err(too_many());
        }
        Ok(place)
    }

    /// Why nobody gets a place now, if that is so.
    pub(crate) fn full(&self) -> Option<Refusal> {
        (self.open() >= self.max).then(too_many)
    }
}

fn too_many() -> Refusal {
    let why = "the node has as many connections as it may have";
    Refusal::new(ErrorCode::TooManyConnections, why).retry_after_ms(5000)
}

/// One socket's place; given up when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    open: Arc<AtomicUsize>,
    /// Until its token is there.
    unknown: Option<Share>,
}

impl Place {
    /// Whether the client's token is there.
    pub(crate) fn is_known(&self) -> bool {
        self.unknown.is_none()
    }

    /// The client's token is there.
    pub(crate) fn known(&mut self) {
        self.unknown = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Proxies;

    fn client(text: &str) -> Client {
        Proxies::new(Vec::new()).peer(text.parse().unwrap())
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let sockets = Sockets::new(2, Duration::from_secs(10), 10);
        let from = client("127.0.0.1");
        let first = sockets.enter(&from, true).unwrap();
        let _second = sockets.enter(&from, false).unwrap();
        let refused = sockets.enter(&from, true).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooManyConnections);
        assert_eq!(sockets.open(), 2);
        drop(first);
        assert!(sockets.enter(&from, true).is_ok());
    }

    #[test]
    fn an_address_has_few_sockets_without_a_token() {
        let sockets = Sockets::new(100, Duration::from_secs(10), 2);
        let (here, there) = (client("203.0.113.9"), client("203.0.113.10"));
        let mut first = sockets.enter(&here, false).unwrap();
        let _second = sockets.enter(&here, false).unwrap();
        let refused = sockets.enter(&here, false).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooManyConnections);
        assert_eq!(sockets.open(), 2, "who is refused has no place");
        assert!(sockets.enter(&there, false).is_ok() && sockets.enter(&here, true).is_ok());
        first.known();
        assert!(sockets.enter(&here, false).is_ok());
    }
}
