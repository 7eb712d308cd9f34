//! Answers with a JSON body.

use serde::Serialize;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use warp::http::{HeaderMap, StatusCode};
use warp::reply::Response;

/// 200 with this object.
pub(crate) fn ok(body: &impl Serialize) -> Response {
    with(StatusCode::OK, body)
}

/// 201 with this object, and where it is from now on.
pub(crate) fn created(location: &str, body: &impl Serialize) -> Response {
    let mut response = with(StatusCode::CREATED, body);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// 204.
pub(crate) fn no_content() -> Response {
    let mut response = Response::new(Vec::new().into());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// This object under this status; nobody is to keep it.
pub(crate) fn with(status: StatusCode, body: &impl Serialize) -> Response {
    let text = serde_json::to_vec(body).expect("every answer has a form in JSON");
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
