//! A connection that does not wait forever for a client that does not read, and that takes little from one it does not
//! know yet.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

/// The bytes below HTTP, encrypted or not.
#[derive(Debug)]
pub(crate) enum Wire {
    /// As they are.
    Plain(TcpStream),
    /// By TLS, whose state is large.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Does the same to whichever of the two it is.
macro_rules! wire {
    ($self:expr, $stream:ident => $does:expr) => {
        match &mut $self.stream {
            Wire::Plain($stream) => {
                let $stream = Pin::new($stream);
                $does
            }
            Wire::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $does
            }
        }
    };
}

/// A connection whose writes make progress within a time, or fail.
#[derive(Debug)]
pub(crate) struct Patient {
    stream: Wire,
    limit: Duration,
    /// Runs while the client takes nothing; on the heap, for most connections never need it.
    waiting: Option<Pin<Box<Sleep>>>,
    /// How many bytes are read still; `None`: as many as come.
    allowance: Option<usize>,
    /// Set when bytes came; whoever answers them takes it back.
    unanswered: Option<Arc<AtomicBool>>,
}

impl Patient {
    /// Waits for `limit` at most until the client takes a byte.
    pub(crate) fn new(stream: Wire, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            waiting: None,
            allowance: None,
            unanswered: None,
        }
    }

    /// Has `unanswered` set whenever bytes come.
    pub(crate) fn watched(mut self, unanswered: Arc<AtomicBool>) -> Self {
        self.unanswered = Some(unanswered);
        self
    }

    /// Reads about so many bytes more and then none, until [`Patient::trust`].
    pub(crate) fn distrust(&mut self, allowance: usize) {
        self.allowance = Some(allowance);
    }

    /// Reads on. Whoever does so polls the connection again.
    pub(crate) fn trust(&mut self) {
        self.allowance = None;
    }

    /// The outcome of a write, or that the client took nothing for too long.
    fn within_limit<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.allowance == Some(0) {
            // Nobody is woken: `trust` is followed by a poll, and the deadline for the token ends all others.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let outcome = wire!(self, stream => stream.poll_read(context, buffer));
        if let Some(unanswered) = &self.unanswered
            && buffer.filled().len() > before
        {
            unanswered.store(true, Ordering::Relaxed);
        }
        if let Some(allowance) = &mut self.allowance {
            *allowance = allowance.saturating_sub(buffer.filled().len() - before);
        }
        outcome
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = wire!(self, stream => stream.poll_write(context, bytes));
        self.within_limit(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = wire!(self, stream => stream.poll_write_vectored(context, slices));
        self.within_limit(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            // Has nothing to flush.
            Wire::Plain(stream) => Pin::new(stream).poll_flush(context),
            // Holds what was written until it is taken.
            Wire::Tls(stream) => {
                let outcome = Pin::new(stream.as_mut()).poll_flush(context);
                self.within_limit(context, outcome)
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Wire::Tls(stream) => {
                let outcome = Pin::new(stream.as_mut()).poll_shutdown(context);
                self.within_limit(context, outcome)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(limit: Duration) -> (Patient, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let wire = Wire::Plain(listener.accept().await.unwrap().0);
        (Patient::new(wire, limit), client)
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut server, mut client) = pair(Duration::from_millis(50)).await;
        let endless = vec![0; 64 * 1024];
        let error = loop {
            if let Err(e) = server.write_all(&endless).await {
                break e;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(server);
        let mut taken = Vec::new();
        client.read_to_end(&mut taken).await.unwrap();
        assert!(!taken.is_empty());
    }

    #[tokio::test]
    async fn an_unknown_client_is_read_no_further_than_its_allowance() {
        let (mut server, mut client) = pair(Duration::from_secs(30)).await;
        server.distrust(1_000);
        client.write_all(&[7; 3_000]).await.unwrap();
        let (mut got, mut buffer) = (0, [0; 500]);
        while got < 1_000 {
            got += server.read(&mut buffer).await.unwrap();
        }
        {
            let reading = std::pin::pin!(server.read(&mut buffer));
            assert!(futures_util::poll!(reading).is_pending());
        }
        server.trust();
        while got < 3_000 {
            got += server.read(&mut buffer).await.unwrap();
        }
    }
}
