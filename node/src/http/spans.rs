//! A request as a span, by OpenTelemetry's semantic conventions for HTTP servers.

use caside_actors::trace;
use caside_protocol::ErrorCode;
use caside_protocol::trace::TraceContext;
use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use tracing::Span;
use tracing::field::Empty;

/// The span of a request to this route, in the trace that its client says it is part of. What is asked every few seconds, and files of
/// the web app, are none.
pub(super) fn request(method: &Method, route: &'static str, headers: &HeaderMap, request_id: &str) -> Span {
    if !route.starts_with('/') || route.starts_with("/health") || route == "/metrics" {
        return Span::none();
    }
    // Others than those that are known could be anything (`http.request.method`).
    let known = match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            method.as_str()
        }
        _ => "_OTHER",
    };
    let span = tracing::debug_span!(
        parent: None,
        "http.request",
        otel.name = %format_args!("{known} {route}"),
        otel.kind = "server",
        http.request.method = known,
        http.route = route,
        http.response.status_code = Empty,
        error.type = Empty,
        otel.status_code = Empty,
        caside.request.id = request_id,
    );
    if !span.is_disabled()
        && let Some(context) = context(headers)
    {
        trace::follow(&span, &context);
    }
    span
}

/// What the client says in `traceparent` and `tracestate`. Several of the first are as good as none (W3C Trace Context §3.2).
fn context(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all("traceparent").iter();
    let parent = parents.next().filter(|_| parents.next().is_none())?;
    let states: Vec<_> = headers
        .get_all("tracestate")
        .iter()
        .filter_map(|state| state.to_str().ok())
        .collect();
    TraceContext::new(parent.to_str().ok()?, Some(&states.join(",")))
}

/// Notes what was answered.
pub(super) fn answered(span: &Span, status: StatusCode, code: Option<ErrorCode>) {
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", status.as_u16());
    if let Some(code) = code {
        span.record("error.type", code.as_str());
    }
    if status.is_server_error() {
        if code.is_none() {
            span.record("error.type", status.as_str());
        }
        span.record("otel.status_code", "ERROR");
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_context_is_taken_from_one_header_and_any_number_of_states() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        assert_eq!(context(&headers), None);
        headers.append("traceparent", HeaderValue::from_static(parent));
        headers.append("tracestate", HeaderValue::from_static("a=1"));
        headers.append("tracestate", HeaderValue::from_static("b=2"));
        let read = context(&headers).unwrap();
        assert_eq!(read.parent.to_string(), parent);
        assert_eq!(read.state.as_deref(), Some("a=1,b=2"));
        headers.append("traceparent", HeaderValue::from_static(parent));
        assert_eq!(context(&headers), None);
    }
}
