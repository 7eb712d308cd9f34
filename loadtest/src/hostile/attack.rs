//! What an attack is to whoever runs it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::Result;

use crate::light::socket::Socket;
use crate::light::{Instant, now};

/// Asked of the kernel for what comes back, which hardly anything reads.
const BUFFER_BYTES: usize = 1 << 20;

/// Something hostile that goes on.
pub(super) trait Attack: Send {
    /// Sends some more and says how many datagrams, frames or connections that was. Must take milliseconds at most.
    ///
    /// # Errors
    /// The attacker cannot go on. Being cut off by the node is no error: then there is nothing more to send.
    fn volley(&mut self) -> Result<u64>;
}

/// How long an attack goes on: until time or number is reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) time: Duration,
    pub(super) sent: u64,
    /// How much is sent a second, at most.
    pub(super) per_second: u64,
}

/// The pause of an attack that is ahead of its rate.
const PAUSE: Duration = Duration::from_millis(1);

/// Runs an attack and says how much was sent, and for how long.
pub(super) fn run(attack: &mut dyn Attack, limit: Limit) -> Result<(u64, Duration)> {
    let start = now();
    let mut sent = 0;
    while sent < limit.sent && since(start) < limit.time {
        if sent as f64 <= limit.per_second as f64 * since(start).as_secs_f64() {
            sent += attack.volley()?;
        } else {
            std::thread::sleep(PAUSE);
        }
    }
    Ok((sent, since(start)))
}

/// The time that has passed.
pub(super) fn since(start: Instant) -> Duration {
    now().saturating_duration_since(start)
}

/// A socket that sends from any address of 127.0.0.0/8.
pub(super) struct Gun {
    socket: Socket,
    target: SocketAddrV4,
}

impl Gun {
    pub(super) fn aim(target: SocketAddrV4) -> Result<Self> {
        Ok(Self {
            socket: Socket::bind(BUFFER_BYTES)?,
            target,
        })
    }

    /// Sends one datagram.
    pub(super) fn fire(&self, from: Ipv4Addr, datagram: &[u8]) -> Result<()> {
        self.socket.send(from, self.target, datagram, datagram.len())
    }
}
