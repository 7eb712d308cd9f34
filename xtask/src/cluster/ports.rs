//! Free ports of 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// How many ports after the wished one are tried.
const NEAR: u16 = 100;

/// Ports that were found free, held until all are found, so that none is found twice.
#[derive(Default)]
pub(super) struct Ports {
    held: Vec<TcpListener>,
}

impl Ports {
    /// Any free port.
    pub(super) fn take(&mut self) -> Result<u16> {
        self.hold(0).context("no port is free")
    }

    /// This port, or the next free one.
    pub(super) fn take_near(&mut self, wished: u16) -> Result<u16> {
        (wished..wished.saturating_add(NEAR))
            .find_map(|port| self.hold(port))
            .with_context(|| format!("no port from {wished} to {} is free", wished.saturating_add(NEAR)))
    }

    /// Lets go of them, for those to bind who are to have them.
    pub(super) fn release(self) {
        drop(self.held);
    }

    fn hold(&mut self, port: u16) -> Option<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        let port = listener.local_addr().ok()?.port();
        self.held.push(listener);
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once() {
        let mut ports = Ports::default();
        let first = ports.take().unwrap();
        assert_ne!(ports.take_near(first).unwrap(), first);
    }
}
