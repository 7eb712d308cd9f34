//! Refusals as answers: the right status, the documented body, and the headers that go with them.

use caside_protocol::ErrorCode;
use caside_protocol::error::Refusal;
use caside_protocol::rest::{ErrorBody, ErrorDetail};
use warp::http::header::{
    ALLOW, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE,
};
use warp::http::{Method, StatusCode};
use warp::reject::Reject;
use warp::reply::{Reply, Response};

/// Why a request is not answered with what it asked for. It becomes a body at the very end, where the request's id is
/// known; until then it travels in the extensions of an empty response.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    refusal: Refusal,
    status: StatusCode,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A refusal under another status than its code's.
    pub(crate) fn with_status(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            refusal: Refusal::new(code, message),
            status,
            header: None,
        }
    }

    /// There is something at this path, but not for this method (RFC 9110 §15.5.6).
    pub(crate) fn method_not_allowed(allowed: &[Method]) -> Self {
        let mut problem = Self::with_status(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorCode::NotFound,
            "this path has other methods; see Allow",
        );
        problem.header = Some((ALLOW, allow(allowed)));
        problem
    }

    /// This path speaks WebSocket only (RFC 9110 §15.5.22).
    pub(crate) fn upgrade_required() -> Self {
        let mut problem = Self::with_status(
            StatusCode::UPGRADE_REQUIRED,
            ErrorCode::InvalidPayload,
            "this path takes WebSocket upgrades only",
        );
        problem.header = Some((UPGRADE, HeaderValue::from_static("websocket")));
        problem
    }

    /// The file has no such bytes (RFC 9110 §15.5.17).
    pub(crate) fn range_not_satisfiable(size_bytes: u64) -> Self {
        let why = format!("the file has {size_bytes} bytes");
        let mut problem = Self::with_status(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::InvalidPayload, why);
        let range = HeaderValue::from_str(&format!("bytes */{size_bytes}")).expect("digits are header text");
        problem.header = Some((CONTENT_RANGE, range));
        problem
    }

    /// The refusal, for the log.
    pub(crate) fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// The answer as sent.
    pub(crate) fn into_answer(self, request_id: &str) -> Response {
        let body = ErrorBody {
            error: ErrorDetail {
                code: self.refusal.code,
                message: self.refusal.message,
                request_id: request_id.to_owned(),
                retry_after_ms: self.refusal.retry_after_ms,
                details: None,
            },
        };
        let text = serde_json::to_vec(&body).expect("a refusal has a form in JSON");
        let mut response = Response::new(text.into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(ms) = self.refusal.retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        response
    }
}

/// The methods as `Allow` lists them.
pub(crate) fn allow(methods: &[Method]) -> HeaderValue {
    let list = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&list).expect("methods are header text")
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            refusal,
            status,
            header: None,
        }
    }
}

impl Reject for Problem {}

impl Reply for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Vec::new().into());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}
