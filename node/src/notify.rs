//! What systemd is told of the node's state (`sd_notify`): one datagram to the socket that it names.
//!
//! Without `NOTIFY_SOCKET` nobody wants to know, and nothing is done.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The node serves.
pub(crate) const READY: &str = "READY=1";
/// The node has begun to stop.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// Says it, if somebody listens. That it could not be said is for the log: the node runs all the same.
pub(crate) fn say(state: &str) {
    if let Some(name) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(e) = send(name.as_bytes(), state)
    {
        tracing::warn!(error = %e, "systemd could not be told how the node is");
    }
}

fn send(name: &[u8], state: &str) -> io::Result<()> {
    // A name that begins with `@` is of the abstract namespace (unix(7)).
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    // Whoever does not read must not hold the start up.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_said_to_sockets_of_both_kinds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listening = UnixDatagram::bind(&path).unwrap();
        let mut said = [0; 32];
        send(path.as_os_str().as_bytes(), READY).unwrap();
        let length = listening.recv(&mut said).unwrap();
        assert_eq!(&said[..length], READY.as_bytes());

        let name = format!("caside-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listening = UnixDatagram::bind_addr(&address).unwrap();
        send(format!("@{name}").as_bytes(), STOPPING).unwrap();
        let length = listening.recv(&mut said).unwrap();
        assert_eq!(&said[..length], STOPPING.as_bytes());

        assert!(send(b"/nowhere/at/all", READY).is_err());
    }
}
