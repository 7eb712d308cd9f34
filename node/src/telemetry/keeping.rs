//! What becomes of spans that ended. Those of traces that are kept are sent. The others are held until it is known how their part of
//! the trace went here: when it had an error or was slow they are sent too, else they are let go.
//!
//! Bounded: so many spans are held at most, each for so long, and the oldest trace makes room for the newest.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceId};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::time::Instant;

use super::outbox::Outbox;

/// Parts that are locked apart from each other.
const SHARDS: usize = 16;
/// Spans held in each of them.
const MAX_HELD: usize = 1024;
/// Spans of one trace.
const MAX_OF_TRACE: usize = 256;
/// Traces of which something is known in each part.
const MAX_TRACES: usize = 2048;
/// How long spans of a trace are held, and how long it is known that a trace is kept: more than from an offer to the first picture.
const HOLD: Duration = Duration::from_secs(20);

/// What was done with spans of traces that were not to be kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    rescued: AtomicU64,
    let_go: AtomicU64,
}

impl Kept {
    /// Sent for an error, or for being slow.
    pub(crate) fn rescued(&self) -> u64 {
        self.rescued.load(Ordering::Relaxed)
    }

    /// Let go.
    pub(crate) fn let_go(&self) -> u64 {
        self.let_go.load(Ordering::Relaxed)
    }
}

/// Takes spans that ended.
#[derive(Debug)]
pub(crate) struct Keeper {
    outbox: Outbox<SpanData>,
    /// From when on a request is slow.
    slow: Duration,
    shards: [Mutex<Shard>; SHARDS],
    kept: Arc<Kept>,
}

#[derive(Debug, Default)]
struct Shard {
    traces: HashMap<TraceId, Trace>,
    /// Traces in the order in which they came, and when what is known of them is forgotten.
    ages: VecDeque<(Instant, TraceId)>,
    held: usize,
}

#[derive(Debug)]
enum Trace {
    Held(Vec<SpanData>),
    Kept,
}

impl Keeper {
    /// Sends by `outbox`; a request is slow from `slow` on.
    pub(crate) fn new(outbox: Outbox<SpanData>, slow: Duration, kept: Arc<Kept>) -> Self {
        Self {
            outbox,
            slow,
            shards: Default::default(),
            kept,
        }
    }

    fn shard(&self, trace: TraceId) -> &Mutex<Shard> {
        let bytes = trace.to_bytes();
        let last = bytes.last().copied().unwrap_or_default();
        &self.shards[usize::from(last) % SHARDS]
    }

    /// Whether a span is worth keeping its trace for.
    fn is_bad(&self, span: &SpanData) -> bool {
        let took = span.end_time.duration_since(span.start_time).unwrap_or_default();
        matches!(span.status, Status::Error { .. }) || (is_call(span) && took >= self.slow)
    }

    fn take(&self, span: SpanData) {
        let now = Instant::now();
        let trace = span.span_context.trace_id();
        let is_bad = self.is_bad(&span);
        let is_over = is_local_root(&span);
        let mut shard = self.shard(trace).lock().unwrap_or_else(PoisonError::into_inner);
        let mut let_go = shard.age(now);
        match shard.traces.get_mut(&trace) {
            Some(Trace::Kept) => self.rescue([span]),
            Some(Trace::Held(_)) | None if is_bad => {
                let before = shard.keep(trace, now);
                self.rescue(before.into_iter().chain([span]));
            }
            known if is_over => {
                let_go += 1;
                if let Some(Trace::Held(spans)) = known {
                    let held = spans.len();
                    let_go += held;
                    shard.held -= held;
                    shard.traces.remove(&trace);
                }
            }
            _ => let_go += shard.hold(trace, span, now),
        }
        drop(shard);
        self.kept.let_go.fetch_add(let_go as u64, Ordering::Relaxed);
    }

    fn rescue(&self, spans: impl IntoIterator<Item = SpanData>) {
        for mut span in spans {
            // It is sampled from here on, as the collector sees it.
            let context = &span.span_context;
            span.span_context = SpanContext::new(
                context.trace_id(),
                context.span_id(),
                context.trace_flags().with_sampled(true),
                context.is_remote(),
                context.trace_state().clone(),
            );
            self.kept.rescued.fetch_add(1, Ordering::Relaxed);
            self.outbox.push(span);
        }
    }
}

impl Shard {
    /// Forgets what is old, and what is too much; says how many spans that were.
    fn age(&mut self, now: Instant) -> usize {
        let before = self.held;
        while let Some((until, trace)) = self.ages.front().copied()
            && (until <= now || self.held >= MAX_HELD || self.ages.len() > MAX_TRACES)
        {
            self.ages.pop_front();
            if let Some(Trace::Held(spans)) = self.traces.remove(&trace) {
                self.held -= spans.len();
            }
        }
        before - self.held
    }

    /// Holds a span; says how many were let go for it.
    fn hold(&mut self, trace: TraceId, span: SpanData, now: Instant) -> usize {
        let ages = &mut self.ages;
        let known = self.traces.entry(trace).or_insert_with(|| {
            ages.push_back((now + HOLD, trace));
            Trace::Held(Vec::new())
        });
        match known {
            Trace::Held(spans) if spans.len() < MAX_OF_TRACE => {
                spans.push(span);
                self.held += 1;
                0
            }
            Trace::Held(_) | Trace::Kept => 1,
        }
    }

    /// Takes note that a trace is kept; gives what was held of it.
    fn keep(&mut self, trace: TraceId, now: Instant) -> Vec<SpanData> {
        self.ages.push_back((now + HOLD, trace));
        match self.traces.insert(trace, Trace::Kept) {
            Some(Trace::Held(spans)) => {
                self.held -= spans.len();
                spans
            }
            Some(Trace::Kept) | None => Vec::new(),
        }
    }
}

/// Whether this is where the trace came into this process.
fn is_local_root(span: &SpanData) -> bool {
    span.parent_span_id == SpanId::INVALID
        || span.parent_span_is_remote
        || matches!(span.span_kind, SpanKind::Server | SpanKind::Consumer)
}

/// Whether somebody waits for it: a request, or a call to another process. How long a client takes to connect says nothing.
fn is_call(span: &SpanData) -> bool {
    span.parent_span_id == SpanId::INVALID
        || matches!(span.span_kind, SpanKind::Server | SpanKind::Consumer | SpanKind::Client)
}

impl SpanProcessor for Keeper {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.outbox.push(span);
        } else {
            self.take(span);
        }
    }

    /// Whoever has the other end of the outbox flushes.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use opentelemetry::InstrumentationScope;
    use opentelemetry::trace::{TraceFlags, TraceState};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
    use tokio::sync::mpsc::error::TryRecvError;

    use super::*;
    use crate::telemetry::outbox::{Counts, Waiting};
    use crate::telemetry::settings::Batch;

    const SLOW: Duration = Duration::from_millis(500);

    struct Scene {
        keeper: Keeper,
        sent: Waiting<SpanData>,
        kept: Arc<Kept>,
    }

    fn scene() -> Scene {
        let batch = Batch {
            max_queue: 10_000,
            max_batch: 512,
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
        };
        let (outbox, sent) = Outbox::new(batch, Arc::new(Counts::default()));
        let kept = Arc::new(Kept::default());
        Scene {
            keeper: Keeper::new(outbox, SLOW, kept.clone()),
            sent,
            kept,
        }
    }

    impl Scene {
        /// The names of what was sent since the last look.
        fn sent(&mut self) -> Vec<String> {
            let mut names = Vec::new();
            loop {
                match self.sent.try_take() {
                    Ok(span) => {
                        assert!(span.span_context.is_sampled(), "{span:?}");
                        names.push(span.name.into_owned());
                    }
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => return names,
                }
            }
        }
    }

    /// A span of a trace that is not to be kept.
    fn span(trace: u128, name: &'static str, parent: u64, took: Duration) -> SpanData {
        let began = SystemTime::UNIX_EPOCH;
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(trace.to_be_bytes()),
                SpanId::from_bytes(1_u64.to_be_bytes()),
                TraceFlags::default(),
                false,
                TraceState::default(),
            ),
            parent_span_id: SpanId::from_bytes(parent.to_be_bytes()),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: began,
            end_time: began + took,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    fn root(trace: u128, took: Duration) -> SpanData {
        SpanData {
            span_kind: SpanKind::Server,
            ..span(trace, "root", 0, took)
        }
    }

    fn failed(span: SpanData) -> SpanData {
        let status = Status::error("it failed");
        SpanData { status, ..span }
    }

    const QUICK: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_trace_that_went_well_is_let_go() {
        let mut scene = scene();
        scene.keeper.on_end(span(1, "child", 7, SLOW * 10));
        scene.keeper.on_end(root(1, QUICK));
        assert!(scene.sent().is_empty());
        assert_eq!((scene.kept.let_go(), scene.kept.rescued()), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_or_a_slow_request_sends_the_whole_of_it_and_what_follows() {
        let mut scene = scene();
        scene.keeper.on_end(span(1, "before", 7, QUICK));
        scene.keeper.on_end(failed(span(1, "bad", 7, QUICK)));
        scene.keeper.on_end(root(1, QUICK));
        scene.keeper.on_end(span(1, "late", 7, QUICK));
        assert_eq!(scene.sent(), ["before", "bad", "root", "late"]);

        scene.keeper.on_end(span(2, "child", 7, QUICK));
        scene.keeper.on_end(root(2, SLOW));
        assert_eq!(scene.sent(), ["child", "root"]);
        assert_eq!(scene.kept.rescued(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_not_slow() {
        let mut scene = scene();
        scene.keeper.on_end(span(1, "media.first_rtp", 7, SLOW * 4));
        let remote = SpanData {
            parent_span_is_remote: true,
            ..span(1, "gateway.receive", 9, QUICK)
        };
        scene.keeper.on_end(remote);
        assert!(scene.sent().is_empty());
        let call = SpanData {
            span_kind: SpanKind::Client,
            ..span(1, "SELECT rooms", 9, SLOW)
        };
        scene.keeper.on_end(call);
        assert_eq!(scene.sent(), ["SELECT rooms"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_bounded_in_number_and_time() {
        let mut scene = scene();
        for trace in 0..(SHARDS * MAX_HELD * 4) as u128 {
            scene.keeper.on_end(span(trace, "child", 7, QUICK));
        }
        let held = |scene: &Scene| -> (usize, usize) {
            let shards = scene.keeper.shards.iter().map(|shard| shard.lock().unwrap());
            shards.fold((0, 0), |(held, known), shard| {
                (held + shard.held, known + shard.traces.len())
            })
        };
        let (spans, traces) = held(&scene);
        assert!(
            spans <= SHARDS * MAX_HELD && traces <= SHARDS * MAX_TRACES,
            "{spans} {traces}"
        );
        for n in 0..10 * MAX_OF_TRACE as u64 {
            scene.keeper.on_end(span(5, "many", n + 1, QUICK));
        }
        tokio::time::sleep(HOLD * 2).await;
        for shard in 0..SHARDS as u128 {
            scene.keeper.on_end(root(shard, QUICK));
        }
        assert_eq!(held(&scene), (0, 0));
        assert!(scene.sent().is_empty());
    }
}
