//! Batches of datagrams in one system call: `recvmmsg` with `UDP_GRO`, `sendmmsg` with `UDP_SEGMENT`.
//!
//! The only unsafe code of the project. One call for 50 datagrams costs about what two single sends cost, and segmentation
//! offload halves it again; no safe wrapper sets a segment size for each message of a batch.
//!
//! Safety rests on three things: the kernel is given pointers only into buffers that this module owns or borrows for the
//! length of the call; every length it is given is the length of that buffer; what it wrote is read back only as far as it
//! said it wrote.
#![allow(
    unsafe_code,
    reason = "system calls without a safe wrapper, see the module's documentation"
)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use socket2::{SockAddr, SockAddrStorage};

/// Messages taken by one `recvmmsg`.
const RECV_MESSAGES: usize = 32;
/// Room for one received message: with `UDP_GRO` up to 64 KiB of datagrams arrive as one.
const RECV_BYTES: usize = 65_536;
/// From one message's room to the next. A few lines more than a power of two: else what comes first of all messages has the same few
/// places in the cache.
const RECV_STRIDE: usize = RECV_BYTES + 320;
/// Messages handed over by one `sendmmsg`.
const SEND_MESSAGES: usize = 64;
/// Room for control messages with an `int` and a `timespec`, or with a `u16`, aligned as `cmsghdr` wants them.
const CONTROL_BYTES: usize = 64;

/// Ancillary data of one message.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Buffers to receive into; about 2 MiB, made once a thread.
pub(super) struct Receiver {
    bytes: Vec<u8>,
    names: Vec<SockAddrStorage>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
    received: usize,
}

impl Receiver {
    pub(super) fn new() -> Self {
        // SAFETY: all-zero bytes are a valid value of these plain C structures (null pointers, zero lengths).
        let (header, iovec) = unsafe { (zeroed(), zeroed()) };
        Self {
            bytes: vec![0; RECV_MESSAGES * RECV_STRIDE],
            names: std::iter::repeat_with(SockAddrStorage::zeroed)
                .take(RECV_MESSAGES)
                .collect(),
            controls: vec![Control([0; CONTROL_BYTES]); RECV_MESSAGES],
            headers: vec![header; RECV_MESSAGES],
            iovecs: vec![iovec; RECV_MESSAGES],
            received: 0,
        }
    }

    /// Takes what waits in the socket without blocking. Returns how many messages came; fewer than
    /// [`capacity`](Self::capacity) means that the socket is empty.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.received = 0;
        let buffers = self.bytes.chunks_exact_mut(RECV_STRIDE);
        let rows = self
            .headers
            .iter_mut()
            .zip(&mut self.iovecs)
            .zip(&mut self.names)
            .zip(&mut self.controls);
        for ((((header, iovec), name), control), buffer) in rows.zip(buffers) {
            iovec.iov_base = buffer.as_mut_ptr().cast();
            iovec.iov_len = RECV_BYTES.min(buffer.len());
            header.msg_len = 0;
            let hdr = &mut header.msg_hdr;
            hdr.msg_name = ptr::from_mut(name).cast();
            hdr.msg_namelen = size_of::<SockAddrStorage>() as libc::socklen_t;
            hdr.msg_iov = iovec;
            hdr.msg_iovlen = 1;
            hdr.msg_control = control.0.as_mut_ptr().cast();
            hdr.msg_controllen = CONTROL_BYTES as _;
            hdr.msg_flags = 0;
        }
        // SAFETY: `headers` has RECV_MESSAGES entries whose pointers were just set to live, exclusively borrowed buffers of
        // the stated lengths; the descriptor is open for the length of the borrow; a null timeout is allowed.
        let n = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                RECV_MESSAGES as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        self.received = usize::try_from(n)
            .map_err(|_| io::Error::last_os_error())?
            .min(RECV_MESSAGES);
        Ok(self.received)
    }

    /// Messages that one [`receive`](Self::receive) takes at most.
    pub(super) const fn capacity() -> usize {
        RECV_MESSAGES
    }

    /// Who sent the messages of the last [`receive`](Self::receive).
    pub(super) fn senders(&self) -> impl Iterator<Item = SocketAddr> {
        let messages = self.headers.iter().zip(&self.names).take(self.received);
        messages.filter_map(|(header, name)| peer_address(name, header.msg_hdr.msg_namelen))
    }

    /// Hands over each datagram of the last [`receive`](Self::receive) with its sender, and when the kernel got it: the time
    /// since the Unix epoch, if it tells.
    pub(super) fn for_each(&mut self, mut take: impl FnMut(SocketAddr, Option<Duration>, &mut [u8])) {
        let buffers = self.bytes.chunks_exact_mut(RECV_STRIDE);
        for ((header, name), buffer) in self.headers.iter().zip(&self.names).zip(buffers).take(self.received) {
            let len = (header.msg_len as usize).min(buffer.len());
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 || len == 0 {
                continue;
            }
            let Some(from) = peer_address(name, header.msg_hdr.msg_namelen) else {
                continue;
            };
            let told = Told::read(&header.msg_hdr);
            let segment = told.segment.unwrap_or(len).max(1);
            for datagram in buffer[..len].chunks_mut(segment) {
                take(from, told.arrival, datagram);
            }
        }
    }
}

// SAFETY: the raw pointers in the headers are set anew before each system call and used by nobody outside of it; what they
// point to is owned by the structure or borrowed for the call.
unsafe impl Send for Receiver {}
// SAFETY: as for `Receiver`.
unsafe impl Send for Sender {}

/// The sender's address as the kernel wrote it.
fn peer_address(name: &SockAddrStorage, len: libc::socklen_t) -> Option<SocketAddr> {
    // SAFETY: the structure is plain bytes, so it may be copied; the kernel wrote `len` bytes of an address into it, and the
    // length is capped to its size.
    let address = unsafe {
        SockAddr::new(
            ptr::read(name),
            len.min(size_of::<SockAddrStorage>() as libc::socklen_t),
        )
    };
    address.as_socket()
}

/// What the kernel told about a received message.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    /// The segment size of coalesced datagrams (`UDP_GRO`), if the message is such.
    segment: Option<usize>,
    /// When it came (`SCM_TIMESTAMPNS`), since the Unix epoch.
    arrival: Option<Duration>,
}

impl Told {
    fn read(header: &libc::msghdr) -> Self {
        let mut told = Self::default();
        // SAFETY: the kernel filled `msg_control` and `msg_controllen` of this header; the CMSG macros stay within them. The
        // data of a UDP_GRO message is an `int`, of an SCM_TIMESTAMPNS message a `timespec`; each is read without assuming
        // alignment, and only if the message is long enough.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(header);
            while !message.is_null() {
                let m = &*message;
                let has = |len: usize| m.cmsg_len as usize >= libc::CMSG_LEN(len as u32) as usize;
                match (m.cmsg_level, m.cmsg_type) {
                    (libc::SOL_UDP, libc::UDP_GRO) if has(size_of::<libc::c_int>()) => {
                        let size = ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::c_int>());
                        told.segment = usize::try_from(size).ok().filter(|s| *s > 0);
                    }
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) if has(size_of::<libc::timespec>()) => {
                        let at = ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::timespec>());
                        let parts = (u64::try_from(at.tv_sec), u32::try_from(at.tv_nsec));
                        if let (Ok(seconds), Ok(nanoseconds)) = parts {
                            told.arrival = Some(Duration::new(seconds, nanoseconds));
                        }
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(header, message);
            }
        }
        told
    }
}

/// Datagrams of equal size for one receiver, the last of which may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The receiver.
    pub(super) to: SocketAddr,
    /// Where the bytes begin.
    pub(super) start: usize,
    /// All datagrams together.
    pub(super) len: usize,
    /// One datagram; equal to `len` when there is only one.
    pub(super) segment: usize,
}

/// Structures to send with; made once a thread.
pub(super) struct Sender {
    names: Vec<SockAddr>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
}

impl Sender {
    pub(super) fn new() -> Self {
        // SAFETY: all-zero bytes are a valid value of these plain C structures (null pointers, zero lengths).
        let (header, iovec) = unsafe { (zeroed(), zeroed()) };
        Self {
            names: Vec::with_capacity(SEND_MESSAGES),
            controls: vec![Control([0; CONTROL_BYTES]); SEND_MESSAGES],
            headers: vec![header; SEND_MESSAGES],
            iovecs: vec![iovec; SEND_MESSAGES],
        }
    }

    /// Hands runs to the kernel without blocking, at most [`SEND_MESSAGES`] of them, and returns how many it took (≥ 1).
    ///
    /// An error concerns the first run. Runs that reach beyond `bytes` are a caller's mistake and refused.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, runs: &[Run], bytes: &[u8]) -> io::Result<usize> {
        let runs = &runs[..runs.len().min(SEND_MESSAGES)];
        self.names.clear();
        self.names.extend(runs.iter().map(|run| SockAddr::from(run.to)));
        let rows = self
            .headers
            .iter_mut()
            .zip(&mut self.iovecs)
            .zip(&self.names)
            .zip(&mut self.controls);
        for ((((header, iovec), name), control), run) in rows.zip(runs) {
            let data = bytes
                .get(run.start..run.start + run.len)
                .ok_or(io::ErrorKind::InvalidInput)?;
            iovec.iov_base = data.as_ptr().cast_mut().cast();
            iovec.iov_len = data.len();
            header.msg_len = 0;
            let hdr = &mut header.msg_hdr;
            hdr.msg_name = name.as_ptr().cast_mut().cast();
            hdr.msg_namelen = name.len();
            hdr.msg_iov = iovec;
            hdr.msg_iovlen = 1;
            hdr.msg_flags = 0;
            hdr.msg_control = ptr::null_mut();
            hdr.msg_controllen = 0;
            if run.segment < run.len {
                let segment = u16::try_from(run.segment).map_err(|_| io::ErrorKind::InvalidInput)?;
                set_segment(hdr, control, segment);
            }
        }
        if runs.is_empty() {
            return Ok(0);
        }
        // SAFETY: the first `runs.len()` ≤ SEND_MESSAGES headers point into `bytes`, `names` and `controls`, which all outlive
        // the call; sendmmsg reads through msg_name, msg_iov and msg_control and writes `msg_len` only, so the casts from
        // shared references never lead to a write.
        let n = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                runs.len() as libc::c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}

/// Attaches a `UDP_SEGMENT` control message to a header.
fn set_segment(header: &mut libc::msghdr, control: &mut Control, segment: u16) {
    // SAFETY: `control` has CONTROL_BYTES bytes, aligned for cmsghdr, and CMSG_SPACE of a u16 is less than that; the
    // header is written before the data, and the data is written without assuming alignment.
    unsafe {
        let space = libc::CMSG_SPACE(size_of::<u16>() as u32);
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = space as _;
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<u16>(), segment);
    }
}

/// Turns on coalescing of received datagrams; `false` when the kernel does not know it.
pub(super) fn enable_gro(socket: BorrowedFd<'_>) -> bool {
    enable(socket, libc::SOL_UDP, libc::UDP_GRO)
}

/// Lets the kernel tell when each datagram came; `false` when it does not.
pub(super) fn enable_timestamps(socket: BorrowedFd<'_>) -> bool {
    enable(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)
}

fn enable(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> bool {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an `int`, given with its size; the descriptor is open for the length of the borrow.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    result == 0
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let a = UdpSocket::bind("127.0.0.1:0").unwrap();
        let b = UdpSocket::bind("127.0.0.1:0").unwrap();
        b.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (a, b)
    }

    #[test]
    fn a_run_arrives_as_its_datagrams() {
        let (a, b) = pair();
        let bytes: Vec<u8> = (0..2500u32).map(|i| i as u8).collect();
        let run = Run {
            to: b.local_addr().unwrap(),
            start: 0,
            len: 2500,
            segment: 1000,
        };
        assert_eq!(Sender::new().send(a.as_fd(), &[run], &bytes).unwrap(), 1);
        let mut buffer = [0; 2000];
        for want in [&bytes[..1000], &bytes[1000..2000], &bytes[2000..]] {
            let (n, from) = b.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], want);
            assert_eq!(from, a.local_addr().unwrap());
        }
    }

    #[test]
    fn coalesced_datagrams_are_taken_apart_again() {
        let (a, b) = pair();
        let gro = enable_gro(b.as_fd());
        let bytes = vec![7; 4100];
        let to = b.local_addr().unwrap();
        let runs = [
            Run {
                to,
                start: 0,
                len: 4000,
                segment: 1000,
            },
            Run {
                to,
                start: 4000,
                len: 100,
                segment: 100,
            },
        ];
        assert_eq!(Sender::new().send(a.as_fd(), &runs, &bytes).unwrap(), 2);
        let mut receiver = Receiver::new();
        let mut sizes = Vec::new();
        while sizes.len() < 5 {
            match receiver.receive(b.as_fd()) {
                Ok(_) => receiver.for_each(|from, _, datagram| {
                    assert_eq!(from, a.local_addr().unwrap());
                    sizes.push(datagram.len());
                }),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(e) => panic!("{e} (gro {gro})"),
            }
        }
        assert_eq!(sizes, [1000, 1000, 1000, 1000, 100]);
    }

    /// When a run of three datagrams came, and the times before and after it was sent.
    fn times_of_a_run(a: &UdpSocket, b: &UdpSocket) -> (Vec<Duration>, std::ops::RangeInclusive<Duration>) {
        let run = Run {
            to: b.local_addr().unwrap(),
            start: 0,
            len: 3000,
            segment: 1000,
        };
        let unix = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let before = unix();
        Sender::new().send(a.as_fd(), &[run], &[7; 3000]).unwrap();
        let after = unix();
        std::thread::sleep(Duration::from_millis(5));
        let mut receiver = Receiver::new();
        receiver.receive(b.as_fd()).unwrap();
        let mut times = Vec::new();
        receiver.for_each(|_, arrival, _| times.push(arrival.unwrap()));
        (times, before..=after)
    }

    #[test]
    fn the_kernel_tells_when_datagrams_came() {
        let (a, b) = pair();
        enable_gro(b.as_fd());
        assert!(enable_timestamps(b.as_fd()));
        // The kernel begins to note times a moment after the first socket asks for them; until then it tells when they are read.
        let tries = (0..400).map(|_| times_of_a_run(&a, &b));
        let told = tries.into_iter().any(|(times, sent)| {
            assert_eq!(times.len(), 3);
            times.iter().all(|time| sent.contains(time))
        });
        assert!(told, "never a time from before the datagrams were read");
    }

    #[test]
    fn a_run_beyond_the_bytes_is_refused() {
        let (a, b) = pair();
        let run = Run {
            to: b.local_addr().unwrap(),
            start: 5,
            len: 6,
            segment: 6,
        };
        let error = Sender::new().send(a.as_fd(), &[run], &[0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn an_empty_socket_would_block() {
        let (_, b) = pair();
        let error = Receiver::new().receive(b.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
