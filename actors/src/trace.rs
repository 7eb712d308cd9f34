//! What happens as spans: those of requests, which travel with messages from actor to actor and from node to node, and those that
//! are known only when they are over.
//!
//! Near free while nobody records: then the current span is none, and nothing here does more than see that.

mod passed_on;

use std::time::SystemTime;

use caside_protocol::error::ErrorCode;
use caside_protocol::server::ServerMessage;
use caside_protocol::trace::{TraceContext, TraceParent};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, global};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub use passed_on::{follow_passed_on, follows_next};

use passed_on::Unfollowed;

/// Who makes the spans.
pub const SCOPE: &str = "caside";

/// The identity of a span, if somebody records it.
pub fn context_of(span: &Span) -> Option<SpanContext> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context().span().span_context().clone();
    context.is_valid().then_some(context)
}

/// The identity of the current span, if somebody records it.
pub fn current() -> Option<SpanContext> {
    context_of(&Span::current())
}

/// The current span as it travels to others.
pub fn travelling() -> Option<TraceContext> {
    let context = current()?;
    let parent = TraceParent {
        trace: context.trace_id().to_bytes(),
        span: context.span_id().to_bytes(),
        flags: context.trace_flags().to_u8(),
    };
    let state = context.trace_state().header();
    let state = (!state.is_empty()).then(|| state.into_boxed_str());
    Some(TraceContext { parent, state })
}

/// Makes a span that has just been made part of the trace that came with what it is of.
pub fn follow(span: &Span, from: &TraceContext) {
    let state = from.state.as_deref().and_then(|state| state.parse::<TraceState>().ok());
    let context = SpanContext::new(
        TraceId::from_bytes(from.parent.trace),
        SpanId::from_bytes(from.parent.span),
        TraceFlags::new(from.parent.flags),
        true,
        state.unwrap_or_default(),
    );
    succeed(span, context);
}

/// Makes a span that has just been made the child of another, which may have ended.
pub fn succeed(span: &Span, parent: SpanContext) {
    if span.is_disabled() {
        return;
    }
    if let Err(error) = span.set_parent(Context::new().with_remote_span_context(parent)) {
        tracing::trace!(%error, "a span is in a trace of its own");
    }
}

/// Tells of something that is over: a span of its own, in the trace of `parent`. `error` is a stable word for why it failed.
pub fn tell(
    parent: &SpanContext,
    name: &'static str,
    (began, ended): (SystemTime, SystemTime),
    attributes: Vec<KeyValue>,
    error: Option<&'static str>,
) {
    let tracer = global::tracer(SCOPE);
    let builder = tracer
        .span_builder(name)
        .with_start_time(began)
        .with_attributes(attributes);
    let parent = Context::new().with_remote_span_context(parent.clone());
    let mut span = tracer.build_with_context(builder, &parent);
    if let Some(error) = error {
        span.set_attribute(KeyValue::new("error.type", error));
        span.set_status(Status::error(error));
    }
    span.end_with_timestamp(ended);
}

/// A span for a part of what is done now; none while nobody records that.
macro_rules! step {
    ($($span:tt)*) => {
        if tracing::Span::current().is_disabled() {
            tracing::Span::none()
        } else {
            tracing::debug_span!($($span)*)
        }
    };
}
pub(crate) use step;

/// A request that is followed until it is answered: its span ends with this.
#[derive(Debug)]
pub(crate) struct Call {
    span: Span,
    unfollowed: Option<Unfollowed>,
}

impl Call {
    /// The request that is handled now.
    pub(crate) fn current() -> Self {
        Self {
            span: Span::current(),
            unfollowed: None,
        }
    }

    /// The request of this kind that a client makes now.
    pub(crate) fn of(kind: &'static str) -> Self {
        let span = Span::current();
        let unfollowed = if span.is_disabled() {
            Unfollowed::begin(kind)
        } else {
            None
        };
        Self { span, unfollowed }
    }

    /// The request's span.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Takes note of what it was answered.
    pub(crate) fn answered(&self, message: &ServerMessage) {
        let ServerMessage::Error(refusal) = message else { return };
        if !self.span.is_disabled() {
            refused(&self.span, refusal.code);
        }
        if let Some(unfollowed) = self.unfollowed.as_ref().filter(|_| is_ours(refusal.code)) {
            unfollowed.failed(refusal.code);
        }
    }
}

impl Drop for Call {
    /// A span ends with the last time that it was entered.
    fn drop(&mut self) {
        self.span.in_scope(|| {});
    }
}

/// Whether a refusal is an error of ours: as with HTTP, from status 500 on.
fn is_ours(code: ErrorCode) -> bool {
    code.http_status() >= 500
}

/// Notes a refusal.
fn refused(span: &Span, code: ErrorCode) {
    span.record("error.type", code.as_str());
    if is_ours(code) {
        span.record("otel.status_code", "ERROR");
    }
}
