//! Whose pages may use the API: our own, and those that were configured (WHATWG Fetch §3.2).

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};
use hyper::{Method, Request};

use super::problem::allow;
use crate::config::kinds::Origin;

/// What a page may read of an answer beside the simple headers.
const EXPOSED: &str =
    "Location, Link, Retry-After, X-Request-Id, ETag, Accept-Patch, Content-Range, Accept-Ranges, WWW-Authenticate";
/// What a page may send.
const SENT: &str =
    "Authorization, Content-Type, Range, If-Match, If-None-Match, If-Range, X-Request-Id, traceparent, tracestate";

/// The configured origins.
#[derive(Debug, Clone)]
pub(crate) struct Origins(Vec<Origin>);

impl Origins {
    /// Beside our own.
    pub(crate) fn new(others: Vec<Origin>) -> Self {
        Self(others)
    }

    /// Whether a request may come from the page that sent it. Programs send no `Origin` and are not meant.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        self.is_configured(origin) || is_own(origin, headers)
    }

    fn is_configured(&self, origin: &str) -> bool {
        self.0.iter().any(|known| known.as_str().eq_ignore_ascii_case(origin))
    }

    /// The configured origin that sent this request.
    pub(crate) fn foreign(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let value = headers.get(ORIGIN)?;
        self.is_configured(value.to_str().ok()?).then(|| value.clone())
    }

    /// Tells a page of a configured origin that it may read the answer.
    pub(crate) fn mark(&self, foreign: Option<HeaderValue>, answer: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        answer.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = foreign {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

/// Whether this asks what a page may do.
pub(crate) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What the answer to a preflight adds for a configured origin.
pub(crate) fn permit(methods: &[Method], answer: &mut HeaderMap) {
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, allow(methods));
    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(SENT));
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}

/// Whether the origin's authority is the one that was asked. A proxy that ends TLS changes the scheme, not the host.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let authority = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    authority.is_some_and(|authority| !host.is_empty() && authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("caside.example:8080"));
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
        headers
    }

    #[test]
    fn our_own_and_configured_origins_are_admitted() {
        let origins = Origins::new(vec!["https://app.example".parse().unwrap()]);
        for (origin, admitted) in [
            ("http://caside.example:8080", true),
            ("https://caside.example:8080", true),
            ("https://app.example", true),
            ("https://app.example.evil", false),
            ("http://app.example", false),
            ("https://evil.example", false),
            ("null", false),
        ] {
            assert_eq!(origins.admit(&headers(origin)), admitted, "{origin}");
        }
        assert!(origins.admit(&HeaderMap::new()));
    }
}
