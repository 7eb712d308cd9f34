//! What happens to every request: it gets an id, finds its endpoint, is answered in time, and leaves a line in the log.

use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use caside_actors::refused::{self, Reason};
use caside_protocol::ErrorCode;
use caside_protocol::error::Refusal;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::time::Instant;
use tracing::Instrument;
use uuid::Uuid;
use warp::reply::{Reply, Response};

use super::endpoint::{Endpoint, Params};
use super::problem::{Problem, allow};
use super::{SharedApp, cors, reply, security, spans, web_app};
use crate::audit::Trail;
use crate::client::Proxies;

/// How long an answer may take to begin.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Names a request in the log; taken from the client or a proxy when it is sensible.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a POST takes (W3C Linked Data Platform §7.1, as RFC 9725 §4.2 uses it).
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// The route of what is in no table.
const WEB_APP: &str = "(web app)";
/// Longest request id that is taken from outside.
const MAX_REQUEST_ID: usize = 64;

/// Answers requests by a table of endpoints; what is in none may be a file of the web app.
pub(crate) struct Dispatcher {
    app: SharedApp,
    endpoints: Vec<Endpoint>,
}

/// Which endpoints a path has.
struct Found<'a> {
    template: &'static str,
    endpoints: Vec<&'a Endpoint>,
    params: Params,
}

impl Found<'_> {
    /// The methods that are answered here. `HEAD` is `GET` without the body (RFC 9110 §9.3.2).
    fn methods(&self) -> Vec<Method> {
        let mut methods: Vec<_> = self.endpoints.iter().map(|endpoint| endpoint.method.clone()).collect();
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        methods.push(Method::OPTIONS);
        methods
    }

    fn endpoint(&self, method: &Method) -> Option<&Endpoint> {
        let exact = self.endpoints.iter().find(|endpoint| endpoint.method == *method);
        let instead = || {
            self.endpoints
                .iter()
                .find(|endpoint| *method == Method::HEAD && endpoint.method == Method::GET)
        };
        exact.or_else(instead).copied()
    }
}

impl Dispatcher {
    /// For this table.
    pub(crate) fn new(app: SharedApp, endpoints: Vec<Endpoint>) -> Self {
        app.traffic.begin(&endpoints, WEB_APP);
        Self { app, endpoints }
    }

    fn find(&self, path: &str) -> Option<Found<'_>> {
        let mut matching = self
            .endpoints
            .iter()
            .filter_map(|endpoint| Some((endpoint, endpoint.matches(path)?)));
        let (first, params) = matching.next()?;
        let endpoints = matching
            .map(|(endpoint, _)| endpoint)
            .filter(|endpoint| endpoint.template == first.template);
        Some(Found {
            template: first.template,
            endpoints: std::iter::once(first).chain(endpoints).collect(),
            params,
        })
    }

    /// The proxies that are trusted.
    pub(crate) fn proxies(&self) -> &Proxies {
        &self.app.proxies
    }

    /// Answers one request that came over a connection of `peer`.
    pub(crate) async fn handle(&self, mut request: Request<Incoming>, peer: IpAddr) -> Result<Response, Infallible> {
        let started = Instant::now();
        let request_id = request_id(request.headers());
        let method = request.method().clone();
        let foreign = self.app.origins.foreign(request.headers());
        let client = self.app.proxies.client(peer, request.headers());
        request.extensions_mut().insert(client);
        let found = self.find(request.uri().path());
        let route = found.as_ref().map_or(WEB_APP, |found| found.template);
        let trail = found.as_ref().map(|found| Trail::of(&method, route, &found.params));
        let trail = trail.unwrap_or_default();
        let span = spans::request(&method, route, request.headers(), &request_id);
        request.extensions_mut().insert(trail.clone());
        let mut response = match (self.app.rates.address(&client), found) {
            (Err(refusal), _) => Problem::from(refusal).into_response(),
            (Ok(()), Some(found)) => {
                answer(&found, request, foreign.is_some())
                    .instrument(span.clone())
                    .await
            }
            (Ok(()), None) => web_app::answer(&request),
        };
        let refusal = response.extensions_mut().remove::<Problem>();
        let code = refusal.as_ref().map(|problem| problem.refusal().code);
        if let Some(problem) = refusal {
            response = problem.into_answer(&request_id);
            count(response.status(), code);
        }
        trail.end(&client, &request_id, code);
        self.app.origins.mark(foreign, response.headers_mut());
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        // What answers an upgrade is no page, and there are many of it.
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            security::harden(response.headers_mut(), self.app.tls);
        }
        spans::answered(&span, response.status(), code);
        let (_within, took) = (span.entered(), started.elapsed());
        self.app.traffic.count(route, &method, response.status(), took);
        log(&method, route, response.status(), code, took, &request_id);
        Ok(response)
    }
}

async fn answer(found: &Found<'_>, mut request: Request<Incoming>, foreign: bool) -> Response {
    let methods = found.methods();
    if request.method() == Method::OPTIONS && found.endpoint(&Method::OPTIONS).is_none() {
        let mut response = reply::no_content();
        response.headers_mut().insert(ALLOW, allow(&methods));
        if let Some(media_type) = found.endpoints.iter().find_map(|endpoint| endpoint.accepts) {
            response
                .headers_mut()
                .insert(ACCEPT_POST, HeaderValue::from_static(media_type));
        }
        if foreign && cors::is_preflight(&request) {
            cors::permit(&methods, response.headers_mut());
        }
        return response;
    }
    let Some(endpoint) = found.endpoint(request.method()) else {
        return Problem::method_not_allowed(&methods).into_response();
    };
    request.extensions_mut().insert(found.params.clone());
    // One that panics is a fault of ours; it costs its own request, not the others of the connection.
    let answering = AssertUnwindSafe(endpoint.answer(request)).catch_unwind();
    match tokio::time::timeout(ANSWER_TIMEOUT, answering).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::from(Refusal::new(ErrorCode::Internal, "the request failed")).into_response(),
        Err(_) => Problem::from(Refusal::new(ErrorCode::Overloaded, "there was no answer in time")).into_response(),
    }
}

/// The client's own id of a request, when it is short and plain, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |id: &&str| {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(word)
    };
    let given = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok()).filter(plain);
    given.map_or_else(|| Uuid::now_v7().to_string(), ToOwned::to_owned)
}

/// Counts a refusal that nobody has counted: what went beyond a rate or a bound has been, where it did.
fn count(status: StatusCode, code: Option<ErrorCode>) {
    let reason = match code {
        _ if status == StatusCode::REQUEST_TIMEOUT => Reason::BodyTimeout,
        Some(ErrorCode::Unauthorized | ErrorCode::TokenExpired) => Reason::Unauthorized,
        Some(ErrorCode::InvalidCredentials) => Reason::Credentials,
        Some(ErrorCode::Forbidden) => Reason::Forbidden,
        Some(ErrorCode::TooLarge) => Reason::BodyTooLarge,
        _ => return,
    };
    refused::count(reason);
}

/// One line a request. The path as asked, its query and the client's address stay out: they name people and may bear
/// tokens.
fn log(method: &Method, route: &str, status: StatusCode, code: Option<ErrorCode>, took: Duration, request_id: &str) {
    let (method, status) = (method.as_str(), status.as_u16());
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let code = code.map(ErrorCode::as_str);
    if status >= 500 {
        tracing::warn!(
            http.method = method,
            http.route = route,
            http.status = status,
            error.code = code,
            duration_ms,
            request.id = request_id,
            "request failed"
        );
    } else if route == WEB_APP || route.starts_with("/health") || code == Some(ErrorCode::RateLimited.as_str()) {
        tracing::debug!(
            http.method = method,
            http.route = route,
            http.status = status,
            error.code = code,
            duration_ms,
            request.id = request_id,
            "request answered"
        );
    } else {
        tracing::info!(
            http.method = method,
            http.route = route,
            http.status = status,
            error.code = code,
            duration_ms,
            request.id = request_id,
            "request answered"
        );
    }
}
