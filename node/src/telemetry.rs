//! What the node tells of itself: the log, and with a collector ([`settings`]) traces, metrics and log records by OTLP.
//!
//! Without a collector nothing but the log is there, and spans cost a look at a flag. With one, nothing here ever waits for it: what
//! it does not take in time is dropped and counted.

mod keeping;
mod levels;
mod lines;
mod metrics;
pub(crate) mod outbox;
mod records;
mod sampler;
pub(crate) mod settings;
mod transport;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use caside_actors::trace;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::layers::Configuration;
use crate::http::SharedApp;
use crate::wiring;
use keeping::{Keeper, Kept};
use outbox::{Counts, Flush, Outbox, Waiting};
use records::{Record, Records};
use sampler::Sampler;
use settings::Otlp;

pub(crate) use levels::reload;

/// What becomes of telemetry itself.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Spans.
    pub(crate) spans: Arc<Counts>,
    /// Points of metrics.
    pub(crate) points: Arc<Counts>,
    /// Log records.
    pub(crate) records: Arc<Counts>,
    /// Spans that were not to be kept.
    pub(crate) kept: Arc<Kept>,
}

/// Telemetry that has begun, and exports nothing yet.
pub(crate) struct Telemetry {
    otlp: Otlp,
    resource: Resource,
    spans: Option<(SdkTracerProvider, Waiting<SpanData>)>,
    records: Option<(SdkLoggerProvider, Waiting<Record>)>,
    health: Arc<Health>,
    /// When the process began to count.
    began: SystemTime,
}

type Layers = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

/// Starts the log; a panic becomes a line of it. With `exports`, spans and log records are gathered for a collector if there is one,
/// until [`Telemetry::export`] sends them.
pub(crate) fn start(configuration: &Configuration, exports: bool) -> Telemetry {
    let settings = &configuration.settings;
    let otlp = Otlp::read(|name| configuration.otel.get(name).filter(|_| exports).cloned());
    let resource = resource(configuration, &otlp);
    let health = Arc::new(Health::default());
    let mut layers: Layers = Vec::new();
    let spans = otlp.traces.is_some().then(|| {
        let (outbox, waiting) = Outbox::new(otlp.spans, health.spans.clone());
        let (slow, sampling) = (settings.trace_slow.0, otlp.sampling);
        let keeper = Keeper::new(outbox, slow, health.kept.clone());
        trace::follow_passed_on(sampling.ratio, sampling.keeps_bad.then_some(slow));
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::new(sampling))
            .with_resource(resource.clone())
            .with_span_processor(keeper)
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(trace::SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_level(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            // It is how log records find their spans, and else only work.
            .with_context_activation(otlp.logs.is_some());
        let filter = FilterFn::new(is_traced).with_max_level_hint(LevelFilter::DEBUG);
        layers.push(layer.with_filter(filter).boxed());
        opentelemetry::global::set_tracer_provider(provider.clone());
        (provider, waiting)
    });
    let records = otlp.logs.is_some().then(|| {
        let (outbox, waiting) = Outbox::new(otlp.records, health.records.clone());
        let provider = SdkLoggerProvider::builder()
            .with_resource(resource.clone())
            .with_log_processor(Records(outbox))
            .build();
        let levels = levels::of_records(settings);
        layers.push(OpenTelemetryTracingBridge::new(&provider).with_filter(levels).boxed());
        (provider, waiting)
    });
    let levels = levels::of_lines(settings);
    let started = if layers.is_empty() {
        // One filter for all is quicker, and there is nothing else that it could hide anything from.
        let log = tracing_subscriber::registry().with(levels);
        log.with(lines::layer(settings)).try_init()
    } else {
        layers.push(lines::layer(settings).with_filter(levels).boxed());
        tracing_subscriber::registry().with(layers).try_init()
    };
    if let Err(e) = started {
        crate::output::complaint(format_args!("the log could not be started: {e}"));
    }
    lines::catch_panics();
    for complaint in &otlp.complaints {
        tracing::warn!(complaint, "a setting of OpenTelemetry's is ignored");
    }
    Telemetry {
        otlp,
        resource,
        spans,
        records,
        health,
        began: SystemTime::now(),
    }
}

/// Our own spans; of events those that say that something went wrong in them.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("caside") && (metadata.is_span() || *metadata.level() <= Level::WARN)
}

/// Who we are.
fn resource(configuration: &Configuration, otlp: &Otlp) -> Resource {
    let member = wiring::member(&configuration.settings);
    let own = [
        (
            "service.name",
            otlp.service_name.as_deref().unwrap_or("caside").to_owned(),
        ),
        ("service.version", wiring::VERSION.to_owned()),
        ("service.instance.id", member.to_string()),
        ("caside.node.id", member.node.to_string()),
    ];
    let given = otlp.attributes.iter();
    let given = given.filter(|(key, _)| otlp.service_name.is_none() || key != "service.name");
    Resource::builder_empty()
        .with_attributes(own.map(|(key, value)| KeyValue::new(key, value)))
        // What the operator says counts.
        .with_attributes(given.map(|(key, value)| KeyValue::new(key.clone(), value.clone())))
        .build()
}

/// Telemetry that is exported until it is dropped.
pub(crate) struct Exporting {
    otlp: Otlp,
    resource: Resource,
    flushes: Vec<(&'static str, Flush)>,
    /// Has a last reading of metrics taken.
    hold: Option<Flush>,
    began: SystemTime,
    health: Arc<Health>,
    /// Keep what they make alive.
    _spans: Option<SdkTracerProvider>,
    _records: Option<SdkLoggerProvider>,
}

impl Telemetry {
    /// Sends what is gathered from here on.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(crate) fn export(self) -> Exporting {
        let mut flushes = Vec::new();
        let mut exporting = None;
        let mut recording = None;
        if self.otlp.exports() {
            let goes = |target: &Option<settings::Target>| target.as_ref().map_or("nowhere", |_| "to a collector");
            let (traces, metrics, logs) = (&self.otlp.traces, &self.otlp.metrics, &self.otlp.logs);
            tracing::info!(
                traces = goes(traces),
                metrics = goes(metrics),
                logs = goes(logs),
                "telemetry is exported"
            );
        }
        if let (Some((provider, waiting)), Some(target)) = (self.spans, &self.otlp.traces) {
            match transport::spans(target, &self.resource) {
                Ok(exporter) => flushes.push(("spans", waiting.send("spans", exporter))),
                Err(error) => tracing::error!(error, "traces are not exported"),
            }
            exporting = Some(provider);
        }
        if let (Some((provider, waiting)), Some(target)) = (self.records, &self.otlp.logs) {
            match transport::records(target, &self.resource) {
                Ok(exporter) => flushes.push(("log records", waiting.send("log records", exporter))),
                Err(error) => tracing::error!(error, "log records are not exported"),
            }
            recording = Some(provider);
        }
        Exporting {
            otlp: self.otlp,
            resource: self.resource,
            flushes,
            hold: None,
            began: self.began,
            health: self.health,
            _spans: exporting,
            _records: recording,
        }
    }
}

impl Exporting {
    /// What becomes of telemetry.
    pub(crate) fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    /// Sends metrics of `app` from here on, if they go anywhere.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(crate) fn metrics(&mut self, app: SharedApp) {
        let Some(target) = &self.otlp.metrics else { return };
        let post = match transport::metrics(target) {
            Ok(post) => post,
            Err(error) => return tracing::error!(error, "metrics are not exported"),
        };
        let terms = metrics::Terms {
            interval: self.otlp.metric_interval,
            timeout: self.otlp.metric_timeout,
            resource: self.resource.clone(),
            began: self.began,
        };
        let read: metrics::Read = Box::new(move || {
            let app = app.clone();
            Box::pin(async move { crate::metrics::gather(&app).await })
        });
        let asking = metrics::send(read, post, terms, self.health.points.clone());
        self.flushes.push(("metrics", asking.flush));
        self.hold = Some(asking.hold);
    }

    /// Has metrics read for the last time, to be sent with the flush: what they are read from ends.
    pub(crate) async fn last_metrics(&self, limit: Duration) {
        if let Some(hold) = &self.hold {
            let (done, is_done) = oneshot::channel();
            let reading = async { hold.send(done).await.is_ok() && is_done.await.is_ok() };
            if !matches!(timeout(limit, reading).await, Ok(true)) {
                tracing::debug!("metrics were not read for the last time");
            }
        }
    }

    /// Sends what waits, and waits for that no longer than `limit`.
    pub(crate) async fn flush(&self, limit: Duration) {
        let flushing = self.flushes.iter().map(|(signal, flush)| async move {
            let (done, is_done) = oneshot::channel();
            if flush.send(done).await.is_err() || is_done.await.is_err() {
                tracing::debug!(signal, "what is sent is over already");
            }
        });
        if timeout(limit, futures_util::future::join_all(flushing)).await.is_err() {
            tracing::warn!("the collector did not take everything in time");
        }
    }
}

/// Says once that a collector takes nothing, and once that it does again.
fn note_collector(signal: &'static str, error: Option<&str>, is_away: &mut bool) {
    let was_away = std::mem::replace(is_away, error.is_some());
    match error {
        Some(error) if !was_away => {
            tracing::warn!(
                signal,
                error,
                "the collector takes nothing; what does not fit is dropped"
            );
        }
        None if was_away => tracing::info!(signal, "the collector takes what is sent again"),
        Some(_) | None => {}
    }
}
