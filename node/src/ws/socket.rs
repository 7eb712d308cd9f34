//! One WebSocket: one task that reads, writes and pings.
//!
//! It holds back its reading while its session has as many requests under way as it may have, but goes on writing
//! meanwhile. It never waits for its client longer than [`WRITE_TIMEOUT`].

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use caside_actors::outbound::{MAX_BYTES, Outbound, OutboundReceiver};
use caside_actors::peer::{PeerHandle, SocketClosed};
use caside_actors::refused::{self, Reason};
use caside_protocol::ErrorCode;
use caside_protocol::client::Request;
use caside_protocol::codec::{self, Dialect, MAX_MESSAGE_BYTES};
use caside_protocol::error::{Refusal, close};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tracing::Instrument;

use super::Place;
use super::flow::{Admission, Flow};
use super::spans::Spans;
use crate::http::patient::Patient;
use crate::limit::wait_ms;

/// How long one write may take; a client that does not read for so long is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the client may take to answer our close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the connection may take to become a socket after the answer.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// The read buffer, which an idle socket holds too, and most that one read takes in. Most messages fit; a longer one grows
/// it when its length is known.
const READ_BUFFER: usize = 1024;
/// Frames are gathered up to this many bytes before they are written.
const WRITE_BUFFER: usize = 4096;
/// Most that waits in front of the socket: twice what a session's queue holds.
const WRITE_LIMIT: usize = 2 * MAX_BYTES;

/// Most that is read of a client before its token is there: a token has 8 KiB at most. What it makes us answer, and what
/// we hold of its frames, is bounded by that too.
const UNKNOWN_ALLOWANCE: usize = 16 * 1024;

type Stream = WebSocketStream<Patient>;

/// What a session says to none but a client that it knows.
const KNOWN: [&str; 2] = ["welcome", "resumed"];

/// A socket that is about to open.
pub(crate) struct Socket {
    /// How messages are written.
    pub(crate) dialect: Dialect,
    /// Its session.
    pub(crate) peer: PeerHandle,
    /// What the session says.
    pub(crate) outbound: OutboundReceiver,
    /// How often it is pinged.
    pub(crate) heartbeat: Duration,
    /// Its place among all.
    pub(crate) place: Place,
}

/// Why a socket ends.
enum End {
    /// The client closed it, cleanly or not.
    Closed(SocketClosed),
    /// It broke, or its client is silent or too slow.
    Lost,
    /// We close it.
    Close(u16, &'static str),
}

/// What came of a message.
enum Next {
    Nothing,
    Request(Request),
    End(End),
}

impl Socket {
    /// Lives until the socket is closed.
    pub(crate) async fn run(self, upgrade: OnUpgrade) {
        let Self {
            dialect,
            peer,
            mut outbound,
            heartbeat,
            place,
        } = self;
        let Some(mut stream) = stream(upgrade).await else {
            peer.closed(SocketClosed::Dropped);
            return;
        };
        if !place.is_known() {
            stream.get_mut().distrust(UNKNOWN_ALLOWANCE);
        }
        let mut life = Life {
            dialect,
            flow: Flow::new(Instant::now()),
            beats: beats(heartbeat),
            written: 0,
            received: 0,
            place,
            spans: Spans::default(),
        };
        let how = match life.live(&mut stream, &peer, &mut outbound).await {
            End::Closed(how) => {
                finish(&mut stream).await;
                how
            }
            End::Lost => SocketClosed::Dropped,
            End::Close(code, reason) => close_with(&mut stream, code, reason).await,
        };
        peer.closed(how);
    }
}

fn beats(every: Duration) -> Interval {
    let mut beats = tokio::time::interval_at(Instant::now() + every, every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

/// The socket on the connection that hyper hands over.
async fn stream(upgrade: OnUpgrade) -> Option<Stream> {
    let upgraded = match timeout(UPGRADE_TIMEOUT, upgrade).await {
        Ok(Ok(upgraded)) => upgraded,
        Ok(Err(e)) => {
            tracing::debug!(error = %e, "a connection was lost while it became a WebSocket");
            return None;
        }
        Err(_) => return None,
    };
    // Our listener serves these; without its wrappers the socket is small.
    let parts = upgraded.downcast::<TokioIo<Patient>>().ok()?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        // A whole frame and what waits before it; a client that makes us answer and does not read is cut off here.
        .max_write_buffer_size(WRITE_LIMIT)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let read = parts.read_buf.to_vec();
    let stream = WebSocketStream::from_partially_read(parts.io.into_inner(), read, Role::Server, Some(config)).await;
    Some(stream)
}

/// The state of an open socket.
struct Life {
    dialect: Dialect,
    flow: Flow,
    beats: Interval,
    /// The last event that was written.
    written: u64,
    /// The last one that the client is known to have.
    received: u64,
    /// Given up at the socket's end.
    place: Place,
    spans: Spans,
}

impl Life {
    async fn live(&mut self, stream: &mut Stream, peer: &PeerHandle, outbound: &mut OutboundReceiver) -> End {
        loop {
            let held = self.flow.holds_until(Instant::now());
            let next = tokio::select! {
                said = outbound.next() => self.write(stream, outbound, said).await,
                message = stream.next(), if held.is_none() => self.read(peer, message),
                () = rest(held) => Next::Nothing,
                _ = self.beats.tick() => self.ping(stream).await,
            };
            match next {
                Next::Nothing => {}
                Next::Request(request) => {
                    if let Some(end) = self.pass(stream, peer, outbound, request).await {
                        return end;
                    }
                }
                Next::End(end) => return end,
            }
        }
    }

    /// Passes a request to the session, which may make it wait, and goes on writing meanwhile.
    async fn pass(
        &mut self,
        stream: &mut Stream,
        peer: &PeerHandle,
        outbound: &mut OutboundReceiver,
        request: Request,
    ) -> Option<End> {
        let span = self.spans.of(&request);
        let mut passing = pin!(peer.request(request).instrument(span));
        loop {
            let next = tokio::select! {
                biased;
                () = &mut passing => return None,
                said = outbound.next() => self.write(stream, outbound, said).await,
                _ = self.beats.tick() => self.ping(stream).await,
            };
            if let Next::End(end) = next {
                return Some(end);
            }
        }
    }

    /// Writes what the session said, and all that it has said since, in one go.
    async fn write(&mut self, stream: &mut Stream, outbound: &mut OutboundReceiver, first: Outbound) -> Next {
        let binary = self.dialect.is_binary();
        let (place, written) = (&mut self.place, &mut self.written);
        let writing = async {
            let mut said = Some(first);
            let mut closing = None;
            while let Some(next) = said.take() {
                match next {
                    Outbound::Frame(frame) => {
                        if let Some(seq) = frame.seq {
                            *written = seq;
                        }
                        if !place.is_known() && KNOWN.contains(&frame.kind) {
                            place.known();
                            stream.get_mut().trust();
                        }
                        let Some(message) = message(binary, frame.bytes) else {
                            continue;
                        };
                        stream.feed(message).await?;
                        said = outbound.try_next();
                    }
                    Outbound::Close { code, reason } => closing = Some(End::Close(code, reason)),
                }
            }
            stream.flush().await?;
            Ok::<_, WsError>(closing)
        };
        match timeout(WRITE_TIMEOUT, writing).await {
            Ok(Ok(None)) => Next::Nothing,
            Ok(Ok(Some(end))) => Next::End(end),
            Ok(Err(_)) | Err(_) => Next::End(End::Lost),
        }
    }

    async fn ping(&mut self, stream: &mut Stream) -> Next {
        if !self.flow.beat() {
            return Next::End(End::Lost);
        }
        // Its answer says that what was written before has come (RFC 6455 §5.5.3).
        let about = if self.written > self.received {
            Bytes::copy_from_slice(&self.written.to_be_bytes())
        } else {
            Bytes::new()
        };
        match timeout(WRITE_TIMEOUT, stream.send(Message::Ping(about))).await {
            Ok(Ok(())) => Next::Nothing,
            _ => Next::End(End::Lost),
        }
    }

    /// What a message of the client is.
    fn read(&mut self, peer: &PeerHandle, message: Option<Result<Message, WsError>>) -> Next {
        self.flow.heard();
        match message {
            None => Next::End(End::Lost),
            Some(Err(e)) => Next::End(broken(&e)),
            Some(Ok(Message::Close(frame))) => Next::End(End::Closed(farewell(frame.as_ref()))),
            Some(Ok(Message::Text(text))) => self.frame(peer, false, text.as_ref()),
            Some(Ok(Message::Binary(bytes))) => self.frame(peer, true, &bytes),
            // A ping is answered, so it counts as a message.
            Some(Ok(said @ (Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {
                if let Message::Pong(about) = &said {
                    self.pong(peer, about);
                }
                match self.flow.admit(Instant::now()) {
                    Admission::Act | Admission::Refuse(_) => Next::Nothing,
                    Admission::Close => Next::End(End::Close(close::POLICY, "rate_limited")),
                }
            }
        }
    }

    /// The client has all that was written before the ping that this answers.
    fn pong(&mut self, peer: &PeerHandle, about: &[u8]) {
        let Ok(seq) = about.try_into().map(u64::from_be_bytes) else {
            return;
        };
        if seq > self.received && seq <= self.written {
            self.received = seq;
            peer.received(seq);
        }
    }

    fn frame(&mut self, peer: &PeerHandle, binary: bool, bytes: &[u8]) -> Next {
        let admission = self.flow.admit(Instant::now());
        let decoded = if binary == self.dialect.is_binary() {
            codec::decode(self.dialect, bytes).map_err(|e| (e.malformed, e.id, e.refusal))
        } else {
            let kind = if binary { "text frames" } else { "binary frames" };
            let why = format!("{} has {kind} only", self.dialect.subprotocol());
            Err((true, None, Refusal::new(ErrorCode::InvalidPayload, why)))
        };
        let malformed = matches!(&decoded, Err((true, ..)));
        if malformed {
            refused::count(Reason::MessageMalformed);
        }
        if admission != Admission::Act {
            refused::count(Reason::MessagesConnection);
        }
        if !self.flow.formed(!malformed) {
            return Next::End(End::Close(close::POLICY, "malformed"));
        }
        match admission {
            Admission::Act => {}
            Admission::Refuse(wait) => {
                let id = decoded.map_or_else(|(_, id, _)| id, |request| request.id);
                let refusal = Refusal::new(ErrorCode::RateLimited, "too many messages; this one was not acted on");
                peer.refuse(id, refusal.retry_after_ms(wait_ms(wait)));
                return Next::Nothing;
            }
            Admission::Close => return Next::End(End::Close(close::POLICY, "rate_limited")),
        }
        match decoded {
            Ok(request) => Next::Request(request),
            Err((_, id, refusal)) => {
                peer.refuse(id, refusal);
                Next::Nothing
            }
        }
    }
}

/// Waits until then; for ever when there is nothing to wait for.
async fn rest(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

/// A frame of the dialect's kind. What the session wrote as JSON is UTF-8, so `None` does not occur.
fn message(binary: bool, bytes: Bytes) -> Option<Message> {
    if binary {
        return Some(Message::Binary(bytes));
    }
    match Utf8Bytes::try_from(bytes) {
        Ok(text) => Some(Message::Text(text)),
        Err(e) => {
            tracing::error!(error = %e, "a message that is no text was not sent");
            None
        }
    }
}

/// Why reading failed. What the client did wrong is told to it by the close code (RFC 6455 §7.4.1).
fn broken(error: &WsError) -> End {
    match error {
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => {
            refused::count(Reason::MessageTooLarge);
            End::Close(close::TOO_BIG, "too_large")
        }
        WsError::Utf8(_) => End::Close(1007, "not_utf8"),
        WsError::Protocol(_) => End::Close(1002, "protocol"),
        _ => End::Lost,
    }
}

/// Whether a close by the client ends its session, or leaves it to be resumed. One without a code is what browsers'
/// `close()` sends: meant, and so clean.
fn farewell(frame: Option<&CloseFrame>) -> SocketClosed {
    match frame.map(|frame| u16::from(frame.code)) {
        None | Some(close::NORMAL | close::GOING_AWAY) => SocketClosed::Clean,
        Some(_) => SocketClosed::Dropped,
    }
}

/// Answers the client's close.
async fn finish(stream: &mut Stream) {
    // tungstenite has the answer ready; flushing sends it. Whether it arrives changes nothing any more.
    let sent = timeout(CLOSE_TIMEOUT, stream.flush()).await;
    tracing::trace!(sent = sent.is_ok(), "a close was answered");
}

/// Closes, and waits a little for the client's answer (RFC 6455 §7.1.1). What the client still sends is read away: a
/// connection that is closed with bytes unread is reset, and our close would be lost with it.
async fn close_with(stream: &mut Stream, code: u16, reason: &'static str) -> SocketClosed {
    let frame = CloseFrame {
        code: CloseCode::from(code),
        reason: Utf8Bytes::from_static(reason),
    };
    let closing = async {
        stream.send(Message::Close(Some(frame))).await?;
        let connection = stream.get_mut();
        connection.trust();
        connection.shutdown().await?;
        tokio::io::copy(connection, &mut tokio::io::sink()).await?;
        Ok::<_, WsError>(())
    };
    let closed = timeout(CLOSE_TIMEOUT, closing).await;
    tracing::trace!(
        code,
        reason,
        answered = matches!(closed, Ok(Ok(()))),
        "a socket was closed"
    );
    SocketClosed::Dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clean_close_ends_the_session() {
        let frame = |code: u16| CloseFrame {
            code: CloseCode::from(code),
            reason: Utf8Bytes::default(),
        };
        for (code, how) in [
            (1000, SocketClosed::Clean),
            (1001, SocketClosed::Clean),
            (1002, SocketClosed::Dropped),
            (3000, SocketClosed::Dropped),
        ] {
            assert_eq!(farewell(Some(&frame(code))), how, "{code}");
        }
        assert_eq!(farewell(None), SocketClosed::Clean);
    }
}
