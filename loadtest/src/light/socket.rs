//! One UDP socket for many addresses: which of them a datagram was sent to comes with it.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use libc::in_pktinfo;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmsg, setsockopt, sockopt,
};

/// Messages taken with one system call.
const MESSAGES: usize = 32;
/// Room for one: coalesced datagrams come as one of up to 64 KiB.
const MESSAGE_BYTES: usize = 65_536;
/// A datagram's way and time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Which of our addresses it was sent to.
    pub(crate) to: Ipv4Addr,
    /// When the kernel had it, in nanoseconds since 1970; 0 when it does not say.
    pub(crate) at_ns: u64,
}

/// A socket bound to every address.
pub(crate) struct Socket {
    socket: UdpSocket,
    /// Datagrams that the kernel dropped because we were too slow.
    pub(crate) overflowed: u64,
}

/// Memory to receive into.
pub(crate) struct Inbox {
    buffers: Vec<Vec<u8>>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![vec![0; MESSAGE_BYTES]; MESSAGES],
        }
    }
}

impl Socket {
    /// Binds it to a port of the kernel's choice, and asks for a receive buffer of so many bytes, which the kernel gives in
    /// full to root alone.
    pub(crate) fn bind(buffer_bytes: usize) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot bind a UDP socket")?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &buffer_bytes).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &buffer_bytes)?;
        }
        Ok(Self { socket, overflowed: 0 })
    }

    /// Its port.
    pub(crate) fn port(&self) -> Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// To wait on.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.socket.as_fd()
    }

    /// Hands over what waits, one batch of it. Returns whether there may be more.
    pub(crate) fn receive(&mut self, inbox: &mut Inbox, mut take: impl FnMut(Arrival, &mut [u8])) -> Result<bool> {
        let mut arrivals: [(Option<Arrival>, usize, usize); MESSAGES] = [(None, 0, 0); MESSAGES];
        let mut count = 0;
        {
            // Made anew for each call: nix leaves in them how much room the last call's ancillary data took.
            let control = nix::cmsg_space!(in_pktinfo, libc::timespec, u32, i32);
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(MESSAGES, Some(control));
            let mut slices: Vec<[IoSliceMut<'_>; 1]> = inbox
                .buffers
                .iter_mut()
                .map(|buffer| [IoSliceMut::new(buffer)])
                .collect();
            let fd = self.socket.as_raw_fd();
            let results = match recvmmsg(fd, &mut headers, &mut slices, MsgFlags::MSG_DONTWAIT, None) {
                Ok(results) => results,
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(false),
                Err(error) => return Err(error).context("receiving failed"),
            };
            for (message, entry) in results.zip(&mut arrivals) {
                let mut segment = message.bytes;
                let mut arrival = None;
                let mut at_ns = 0;
                for control in message.cmsgs()? {
                    match control {
                        ControlMessageOwned::Ipv4PacketInfo(info) => {
                            arrival = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)));
                        }
                        ControlMessageOwned::ScmTimestampns(time) => {
                            let (seconds, nanos) = (time.tv_sec(), time.tv_nsec());
                            at_ns = u64::try_from(seconds * 1_000_000_000 + nanos).unwrap_or(0);
                        }
                        ControlMessageOwned::UdpGroSegments(size) => segment = usize::try_from(size).unwrap_or(segment),
                        ControlMessageOwned::RxqOvfl(total) => self.overflowed = u64::from(total),
                        _ => {}
                    }
                }
                *entry = (arrival.map(|to| Arrival { to, at_ns }), message.bytes, segment.max(1));
                count += 1;
            }
        }
        for (buffer, (arrival, len, segment)) in inbox.buffers.iter_mut().zip(arrivals).take(count) {
            let Some(arrival) = arrival else { continue };
            let whole = buffer.get_mut(..len).unwrap_or_default();
            for datagram in whole.chunks_mut(segment) {
                take(arrival, datagram);
            }
        }
        Ok(count == MESSAGES)
    }

    /// Sends datagrams of `segment` bytes each, the last of which may be shorter, from one of our addresses. What the kernel
    /// has no room for is lost, as in a network.
    pub(crate) fn send(&self, from: Ipv4Addr, to: SocketAddrV4, bytes: &[u8], segment: usize) -> Result<()> {
        let info = in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from(from).to_be(),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let segment = u16::try_from(segment).context("a datagram is longer than UDP allows")?;
        let control = [
            ControlMessage::Ipv4PacketInfo(&info),
            ControlMessage::UdpGsoSegments(&segment),
        ];
        let control = if usize::from(segment) < bytes.len() {
            &control[..]
        } else {
            &control[..1]
        };
        let to = SockaddrIn::from(to);
        let fd = self.socket.as_raw_fd();
        match sendmsg(fd, &[IoSlice::new(bytes)], control, MsgFlags::MSG_DONTWAIT, Some(&to)) {
            Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ECONNREFUSED) => Ok(()),
            Err(error) => Err(error).context("sending failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_with_the_address_they_were_sent_to() {
        let mut socket = Socket::bind(1 << 20).unwrap();
        let sender = Socket::bind(1 << 20).unwrap();
        let port = socket.port().unwrap();
        let before = super::super::unix_ns();
        let (one, two) = (Ipv4Addr::new(127, 1, 0, 1), Ipv4Addr::new(127, 1, 2, 3));
        let from = Ipv4Addr::new(127, 9, 9, 9);
        sender.send(from, SocketAddrV4::new(one, port), &[1; 250], 100).unwrap();
        sender.send(from, SocketAddrV4::new(two, port), &[2; 80], 80).unwrap();
        let mut inbox = Inbox::new();
        let mut got = Vec::new();
        while got.len() < 4 {
            socket
                .receive(&mut inbox, |arrival, datagram| {
                    assert!(arrival.at_ns >= before.saturating_sub(1_000_000), "{arrival:?}");
                    got.push((arrival.to, datagram[0], datagram.len()));
                })
                .unwrap();
        }
        assert_eq!(got, [(one, 1, 100), (one, 1, 100), (one, 1, 50), (two, 2, 80)]);
    }
}
