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

/// The configured origins, and our own.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    others: Vec<Origin>,
    /// Whether our own has `https:` alone.
    tls: bool,
}

impl Origins {
    /// Beside our own, which is `https:` alone when clients come by TLS of ours.
    pub(crate) fn new(others: Vec<Origin>, tls: bool) -> Self {
        Self { others, tls }
    }

    /// Whether a request may come from the page that sent it. Programs send no `Origin` and are not meant.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).into_iter();
        let Some(origin) = origins.next() else { return true };
        // Browsers send one. `null`, of sandboxed frames and files, is nobody's.
        let (Ok(origin), None) = (origin.to_str(), origins.next()) else {
            return false;
        };
        self.is_configured(origin) || is_own(origin, headers, self.tls)
    }

    fn is_configured(&self, origin: &str) -> bool {
        self.others
            .iter()
            .any(|known| known.as_str().eq_ignore_ascii_case(origin))
    }

    /// The configured origin that sent this request.
    pub(crate) fn foreign(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut values = headers.get_all(ORIGIN).into_iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        self.is_configured(value.to_str().ok()?).then(|| value.clone())
    }

    /// Tells a page of a configured origin that it may read the answer.
    pub(crate) fn mark(&self, foreign: Option<HeaderValue>, answer: &mut HeaderMap) {
        if self.others.is_empty() {
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
fn is_own(origin: &str, headers: &HeaderMap, tls: bool) -> bool {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let authority = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://").filter(|_| !tls));
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
        let origins = Origins::new(vec!["https://app.example".parse().unwrap()], false);
        for (origin, admitted) in [
            ("http://caside.example:8080", true),
            ("https://caside.example:8080", true),
            ("https://app.example", true),
            ("https://app.example.evil", false),
            ("http://app.example", false),
            ("https://evil.example", false),
            ("https://app.example:444", false),
            ("https://user@app.example", false),
            ("https://caside.example", false),
            ("caside.example:8080", false),
            ("*", false),
            ("", false),
            ("null", false),
        ] {
            assert_eq!(origins.admit(&headers(origin)), admitted, "{origin}");
        }
        assert!(origins.admit(&HeaderMap::new()));
        let mut twice = headers("https://app.example");
        twice.append(ORIGIN, HeaderValue::from_static("https://app.example"));
        assert!(!origins.admit(&twice) && origins.foreign(&twice).is_none());
        // An application that names no host has none of ours.
        let mut hostless = headers("https://");
        hostless.insert(HOST, HeaderValue::from_static(""));
        assert!(!origins.admit(&hostless));
    }

    #[test]
    fn behind_tls_of_ours_a_page_without_it_is_not_our_own() {
        let origins = Origins::new(Vec::new(), true);
        assert!(origins.admit(&headers("https://caside.example:8080")));
        assert!(!origins.admit(&headers("http://caside.example:8080")));
    }

    #[test]
    fn origins_that_would_let_everybody_in_cannot_be_configured() {
        for wrong in [
            "*",
            "null",
            "https://*",
            "https://*.example",
            "https://",
            "app.example",
            "https://a/b",
        ] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }
}
