//! One TCP connection of a client: packets in, a bounded queue of packets out.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use caside_media::framing::{Deframer, prefix};
use caside_media::parameters::Path;
use socket2::SockRef;

/// Media that may wait for a slow client, in bytes: half a second of 2 Mb/s. Beyond it packets are dropped, which the client
/// takes for loss and which its bandwidth estimate answers to, as with UDP.
const MAX_MEDIA_QUEUE: usize = 128 << 10;
/// What STUN and DTLS may use beyond that: without them the client would believe the connection dead.
const MAX_QUEUE: usize = MAX_MEDIA_QUEUE + (32 << 10);
/// Bytes that the kernel holds unsent beside those on their way. What is queued there cannot be dropped any more.
const KERNEL_UNSENT: u32 = 32 << 10;
/// Reads from one connection before the others have their turn.
const READS_PER_ROUND: usize = 4;

/// The connection cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended;

/// What became of a packet to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    /// It goes out as soon as the client takes it.
    Yes,
    /// The client is too slow.
    Dropped,
}

/// An accepted connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Where from and where to.
    pub(super) path: Path,
    inbound: Deframer,
    queue: VecDeque<u8>,
    /// A valid STUN check came on it.
    pub(super) proven: bool,
    /// Whether its being writable is waited for.
    pub(super) awaits_room: bool,
    /// Whether something was queued since the last flush.
    pub(super) touched: bool,
}

impl Connection {
    /// Takes over an accepted, non-blocking stream.
    ///
    /// # Errors
    /// The stream is dead already.
    pub(super) fn new(stream: TcpStream, path: Path) -> io::Result<Self> {
        let socket = SockRef::from(&stream);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(KERNEL_UNSENT)?;
        Ok(Self {
            stream,
            path,
            inbound: Deframer::default(),
            queue: VecDeque::new(),
            proven: false,
            awaits_room: false,
            touched: false,
        })
    }

    /// Reads what waits and hands over the packets. `take` says whether its path is a validated one after that.
    ///
    /// # Errors
    /// [`Ended`]: the client closed it, or sent what is no STUN check on a path without one, or what is no frame.
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        mut take: impl FnMut(Path, &mut [u8]) -> bool,
    ) -> Result<(), Ended> {
        for _ in 0..READS_PER_ROUND {
            let len = match self.stream.read(scratch) {
                Ok(0) => return Err(Ended),
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(Ended),
            };
            let (path, proven) = (self.path, &mut self.proven);
            let mut is_stranger = false;
            let bytes = scratch.get_mut(..len).unwrap_or_default();
            let understood = self.inbound.take(bytes, |packet| {
                // Whoever is not a WebRTC client shows it by its first byte (RFC 7983).
                is_stranger = !*proven && !matches!(packet.first(), Some(0..=3));
                if is_stranger {
                    return false;
                }
                *proven |= take(path, packet);
                true
            });
            if understood.is_err() || is_stranger {
                return Err(Ended);
            }
            if len < scratch.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Queues a packet.
    pub(super) fn queue(&mut self, packet: &[u8]) -> Queued {
        let is_media = matches!(packet.first(), Some(128..=191));
        let bound = if is_media { MAX_MEDIA_QUEUE } else { MAX_QUEUE };
        let Some(prefix) = prefix(packet) else {
            return Queued::Dropped;
        };
        if self.queue.len() + prefix.len() + packet.len() > bound {
            return Queued::Dropped;
        }
        self.queue.extend(&prefix);
        self.queue.extend(packet);
        Queued::Yes
    }

    /// Writes as much of the queue as the kernel takes now; `true` when it is empty.
    ///
    /// # Errors
    /// [`Ended`] when the client is gone.
    pub(super) fn flush(&mut self) -> Result<bool, Ended> {
        while !self.queue.is_empty() {
            let (first, second) = self.queue.as_slices();
            match self.stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
                Ok(0) => return Err(Ended),
                Ok(written) => drop(self.queue.drain(..written)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Ended),
            }
        }
        Ok(true)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
