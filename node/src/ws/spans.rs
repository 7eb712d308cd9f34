//! A client's message as a span, which ends when it is answered.
//!
//! A client that sends no trace context of its own has its way into a room traced all the same: what it negotiates soon after a
//! `join` is part of the join's trace.

use std::time::Duration;

use caside_actors::trace;
use caside_protocol::client::{ClientMessage, Request};
use opentelemetry::trace::SpanContext;
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

/// How long after a `join` negotiations belong to it.
const SETUP: Duration = Duration::from_secs(60);

/// Makes the spans of one socket's messages.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// The last join of this socket.
    joined: Option<(Instant, SpanContext)>,
}

impl Spans {
    /// The span of a message.
    pub(super) fn of(&mut self, request: &Request) -> Span {
        let message = &request.message;
        // A client that traces decides itself.
        let is_drawn = request.traceparent.is_none() && is_passed_on(message);
        // Pings are asked every few seconds by some, and answered at once.
        if matches!(message, ClientMessage::Ping) || (is_drawn && !trace::follows_next()) {
            return Span::none();
        }
        let kind = message.kind();
        let span = tracing::debug_span!(
            parent: None,
            "ws.message",
            otel.name = %format_args!("ws {kind}"),
            otel.kind = "server",
            network.protocol.name = "websocket",
            caside.message.type = kind,
            caside.room.id = Empty,
            // It was chosen already, so that none of its spans is made in vain.
            sampling.priority = is_drawn.then_some(1_i64),
            error.type = Empty,
            otel.status_code = Empty,
        );
        if span.is_disabled() {
            return span;
        }
        match (request.traceparent, self.setup(message)) {
            (Some(parent), _) => trace::follow(&span, &parent.into()),
            (None, Some(join)) => trace::succeed(&span, join),
            (None, None) => {}
        }
        if let ClientMessage::Join(join) = message {
            span.record("caside.room.id", join.room.as_str());
            self.joined = trace::context_of(&span).map(|context| (Instant::now(), context));
        }
        span
    }

    /// The join that a message belongs to: negotiations with us, not those with others that are passed on.
    fn setup(&self, message: &ClientMessage) -> Option<SpanContext> {
        let is_ours = match message {
            ClientMessage::Offer(description) | ClientMessage::Answer(description) => description.to.is_none(),
            ClientMessage::IceCandidate(candidate) => candidate.to.is_none(),
            _ => false,
        };
        let (when, join) = self.joined.as_ref().filter(|_| is_ours)?;
        (when.elapsed() < SETUP).then(|| join.clone())
    }
}

/// Whether a message is from client to client, and this node only the way.
fn is_passed_on(message: &ClientMessage) -> bool {
    match message {
        ClientMessage::Offer(description) | ClientMessage::Answer(description) => description.to.is_some(),
        ClientMessage::IceCandidate(candidate) => candidate.to.is_some(),
        ClientMessage::Chat(_) | ClientMessage::Data(_) => true,
        _ => false,
    }
}
