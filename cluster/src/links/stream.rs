//! A connection as ractor_cluster gets to see it: halves that can be closed from outside, that take in little before the other end
//! is known, and that remember who ended it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::connection::Connection;

/// A session reads a length, then what it is the length of; both, and what follows, come from here with one system call.
const READ_AHEAD: usize = 32 << 10;
/// As much is read at once before the other end is known.
const FIRST_READ: usize = 1 << 10;

/// A socket, encrypted or not.
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Sets what every socket of a link has.
pub(crate) fn prepare(stream: &TcpStream, user_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(user_timeout))?;
    #[cfg(not(target_os = "linux"))]
    let _ = user_timeout;
    Ok(())
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A socket on its way to a session.
pub(crate) struct Conduit {
    pub(crate) socket: Socket,
    pub(crate) connection: Arc<Connection>,
}

impl ClusterBidiStream for Conduit {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let Self { socket, connection } = *self;
        let (read, write): (BoxRead, BoxWrite) = match socket {
            Socket::Plain(stream) => {
                let (read, write) = stream.into_split();
                (Box::new(read), Box::new(write))
            }
            Socket::Tls(stream) => {
                let (read, write) = tokio::io::split(stream);
                (Box::new(read), Box::new(write))
            }
        };
        let reader = Reader {
            half: read,
            closed: closed(&connection),
            connection: connection.clone(),
        };
        let writer = Writer {
            half: write,
            closed: closed(&connection),
            connection,
        };
        (Box::new(BufReader::with_capacity(READ_AHEAD, reader)), Box::new(writer))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.connection.label())
    }
}

type Closed = Pin<Box<WaitForCancellationFutureOwned>>;

fn closed(connection: &Connection) -> Closed {
    Box::pin(connection.closing.clone().cancelled_owned())
}

/// The half that a session reads; when it is dropped the connection has ended.
struct Reader {
    half: BoxRead,
    closed: Closed,
    connection: Arc<Connection>,
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if this.connection.up.is_cancelled() {
            let before = buf.filled().len();
            let result = ready!(Pin::new(&mut this.half).poll_read(cx, buf));
            return Poll::Ready(this.heard(result, buf.filled().len() - before));
        }
        // Before the other end is known it has said only so much.
        let budget = this.connection.budget.load(Ordering::Relaxed);
        if budget == 0 {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too much before the handshake was done",
            )));
        }
        let mut room = [0; FIRST_READ];
        let len = budget.min(buf.remaining()).min(FIRST_READ);
        let mut part = ReadBuf::new(&mut room[..len]);
        let result = ready!(Pin::new(&mut this.half).poll_read(cx, &mut part));
        let read = part.filled();
        buf.put_slice(read);
        this.connection.budget.fetch_sub(read.len(), Ordering::Relaxed);
        Poll::Ready(this.heard(result, read.len()))
    }
}

impl Reader {
    /// Notes who ended the connection, if it did.
    fn heard(&self, result: io::Result<()>, read: usize) -> io::Result<()> {
        let by_peer = match &result {
            Ok(()) => read == 0,
            Err(error) => ended_by_peer(error),
        };
        if by_peer {
            self.connection.by_peer.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.connection.closing.cancel();
        self.connection.ended.cancel();
    }
}

/// The half that a session writes.
struct Writer {
    half: BoxWrite,
    closed: Closed,
    connection: Arc<Connection>,
}

impl Writer {
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    fn told<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(ended_by_peer) {
            self.connection.by_peer.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.poll_closed(cx)?;
        let result = ready!(Pin::new(&mut this.half).poll_write(cx, buf));
        Poll::Ready(this.told(result))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poll_closed(cx)?;
        let result = ready!(Pin::new(&mut this.half).poll_flush(cx));
        Poll::Ready(this.told(result))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().half).poll_shutdown(cx)
    }
}

/// Whether the other end's kernel said that the connection is over, rather than nobody saying anything.
fn ended_by_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | BrokenPipe | UnexpectedEof)
}
