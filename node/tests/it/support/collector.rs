//! A collector: takes OTLP by HTTP and by gRPC on one port, and keeps what it was sent.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::PATIENCE;

pub(crate) type Attributes = HashMap<String, String>;

/// A span as it came.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty of a root.
    pub(crate) parent: String,
    pub(crate) kind: i32,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) is_error: bool,
    pub(crate) attributes: Attributes,
    pub(crate) resource: Arc<Attributes>,
}

/// A log record as it came.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) body: String,
    pub(crate) trace: String,
    pub(crate) attributes: Attributes,
}

/// All that came.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) spans: Vec<Span>,
    pub(crate) records: Vec<Record>,
    /// The last of each name.
    pub(crate) metrics: HashMap<String, Metric>,
    /// Whose the last metrics were.
    pub(crate) metrics_of: Attributes,
    /// Of the last request.
    pub(crate) headers: HeaderMap,
}

/// It takes what comes until it is dropped.
pub(crate) struct Collector {
    /// Its address.
    pub(crate) url: String,
    taken: watch::Receiver<Taken>,
    server: tokio::task::JoinHandle<()>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, taken) = watch::channel(Taken::default());
        let sender = Arc::new(sender);
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let sender = sender.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| take(request, sender.clone()));
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // One that is cut off is the client's affair.
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { url, taken, server }
    }

    /// Looks at what has come, now and whenever more does, until `look` finds what it looks for.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl FnMut(&Taken) -> Option<T>) -> T {
        let mut taken = self.taken.clone();
        let looking = async {
            loop {
                if let Some(found) = look(&taken.borrow_and_update()) {
                    return found;
                }
                taken.changed().await.expect("the collector runs");
            }
        };
        match timeout(PATIENCE / 2, looking).await {
            Ok(found) => found,
            Err(_) => panic!("never came: {what}; what did:\n{}", self.tree()),
        }
    }

    /// Looks at what has come.
    pub(crate) fn now<T>(&self, look: impl FnOnce(&Taken) -> T) -> T {
        look(&self.taken.borrow())
    }

    /// The spans of all traces, as trees.
    pub(crate) fn tree(&self) -> String {
        self.now(|taken| {
            let mut text = String::new();
            for span in &taken.spans {
                if !taken.spans.iter().any(|other| other.id == span.parent) {
                    branch(&taken.spans, span, 0, &mut text);
                }
            }
            text
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn branch(spans: &[Span], span: &Span, depth: usize, text: &mut String) {
    let took = span.ended.saturating_sub(span.began) / 1000;
    let node = span.resource.get("caside.node.id").map_or("", String::as_str);
    let message = [
        "caside.actor.kind",
        "caside.message.name",
        "caside.media.direction",
        "caside.media.kind",
    ];
    let message: Vec<_> = message
        .iter()
        .filter_map(|key| span.attributes.get(*key))
        .map(String::as_str)
        .collect();
    let name = &span.name;
    text.push_str(&format!(
        "{:indent$}{name} {} [{node}] {took} µs{}\n",
        "",
        message.join(" "),
        if depth == 0 {
            format!(" trace {} parent {:?}", span.trace, span.parent)
        } else {
            String::new()
        },
        indent = 2 * depth
    ));
    for child in spans.iter().filter(|child| child.parent == span.id) {
        branch(spans, child, depth + 1, text);
    }
}

async fn take(
    request: Request<Incoming>,
    taken: Arc<watch::Sender<Taken>>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let is_grpc = head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"));
    // A gRPC message has a byte of flags and four of length before it.
    let message = if is_grpc { body.slice(5..) } else { body };
    let path = head.uri.path();
    let is_for =
        |http: &str, grpc: &str| path == http || path == format!("/opentelemetry.proto.collector.{grpc}/Export");
    taken.send_modify(|taken| {
        taken.headers = head.headers.clone();
        if is_for("/v1/traces", "trace.v1.TraceService") {
            let request = ExportTraceServiceRequest::decode(message).unwrap();
            taken.spans.extend(spans(request));
        } else if is_for("/v1/logs", "logs.v1.LogsService") {
            let request = ExportLogsServiceRequest::decode(message).unwrap();
            taken.records.extend(records(request));
        } else if is_for("/v1/metrics", "metrics.v1.MetricsService") {
            let request = ExportMetricsServiceRequest::decode(message).unwrap();
            for of_resource in request.resource_metrics {
                taken.metrics_of = attributes(of_resource.resource.unwrap_or_default().attributes);
                let metrics = of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
                taken
                    .metrics
                    .extend(metrics.map(|metric| (metric.name.clone(), metric)));
            }
        } else {
            panic!("nothing is at {path}");
        }
    });
    let kind = if is_grpc {
        "application/grpc"
    } else {
        "application/x-protobuf"
    };
    let body = if is_grpc {
        answer()
    } else {
        Full::new(Bytes::new()).boxed()
    };
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// An empty message, and that all is well.
fn answer() -> BoxBody<Bytes, Infallible> {
    let mut data = BytesMut::new();
    data.put_bytes(0, 5);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Ok(Frame::data(data.freeze())), Ok(Frame::trailers(trailers))];
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = Arc::new(attributes(of_resource.resource.unwrap_or_default().attributes));
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                kind: span.kind,
                began: span.start_time_unix_nano,
                ended: span.end_time_unix_nano,
                is_error: span
                    .status
                    .is_some_and(|status| status.code == StatusCode::Error as i32),
                attributes: attributes(span.attributes),
                resource: resource.clone(),
            });
        }
    }
    spans
}

fn records(request: ExportLogsServiceRequest) -> Vec<Record> {
    let scopes = request.resource_logs.into_iter().flat_map(|it| it.scope_logs);
    let records = scopes.flat_map(|scope| scope.log_records);
    let record = |record: opentelemetry_proto::tonic::logs::v1::LogRecord| Record {
        body: record.body.map(value).unwrap_or_default(),
        trace: hex(&record.trace_id),
        attributes: attributes(record.attributes),
    };
    records.map(record).collect()
}

pub(crate) fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    let pair = |pair: KeyValue| (pair.key, pair.value.map(value).unwrap_or_default());
    pairs.into_iter().map(pair).collect()
}

fn value(value: AnyValue) -> String {
    match value.value {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(flag)) => flag.to_string(),
        Some(any_value::Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
