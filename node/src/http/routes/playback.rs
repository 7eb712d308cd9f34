//! The files of recordings: whole or in part, with a bearer or a signed URL.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use caside_protocol::error::Refusal;
use caside_protocol::{ErrorCode, RecordingId};
use caside_store::objects::{ObjectError, ObjectReader};
use caside_store::recordings::StoredFile;
use futures_util::Stream;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::io::ReadBuf;
use warp::Filter;
use warp::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
};
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};

use super::recordings::{file_path, refused_by_objects};
use crate::auth::{Caller, refused_by_store};
use crate::http::endpoint::{Endpoint, Params, absent};
use crate::http::openapi::{Busy, NotFound, Unauthenticated};
use crate::http::problem::Problem;
use crate::http::range::{Wanted, wanted};
use crate::http::security::RESOURCE_POLICY;
use crate::http::web_app::has_tag;
use crate::http::{App, SharedApp, extract};

/// What a page around a recording may load: it.
const CONTENT_POLICY: &str = "default-src 'none'; media-src 'self'; frame-ancestors 'none'";
/// How much of a file is in memory at a time.
const CHUNK: usize = 64 * 1024;

/// `/recordings/{id}/files/{name}`.
pub(crate) fn endpoint(app: &SharedApp) -> Endpoint {
    let filter = extract::app(app)
        .and(extract::params())
        .and(extract::query::<Signature>())
        .and(extract::maybe_caller(app))
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .then(file);
    Endpoint::new(Method::GET, "/recordings/{id}/files/{name}", filter)
}

/// What a URL of ours bears instead of a header.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Signature {
    /// Until when it is good, in seconds since 1970.
    expires: Option<i64>,
    /// Ours, of path and time.
    signature: Option<String>,
}

/// A file of a recording, or a part of it (RFC 9110 §14). With a bearer, or by the `url` that the recording names.
#[utoipa::path(get, path = "/recordings/{id}/files/{name}", tag = "recordings",
    params(("id" = String, Path, description = "the recording"), ("name" = String, Path, description = "the file"),
        Signature),
    responses(
        (status = 200, description = "all of it", content_type = "application/octet-stream"),
        (status = 206, description = "the part that `Range` asked for", content_type = "application/octet-stream"),
        (status = 304, description = "`If-None-Match` names it"),
        (status = 400, description = "`invalid_payload`: the query cannot be read", body = caside_protocol::rest::ErrorBody),
        (status = 416, description = "it does not have these bytes", body = caside_protocol::rest::ErrorBody),
        Unauthenticated, NotFound, Busy),
    security((), ("bearer" = [])))]
async fn file(
    app: SharedApp,
    params: Params,
    signature: Signature,
    caller: Option<Caller>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id: RecordingId = params.get(0, ErrorCode::RecordingNotFound)?;
    let name = params.text(1).unwrap_or_default();
    match (&caller, signature) {
        (Some(caller), _) => drop(app.visible_recording(caller, id).await?),
        (
            None,
            Signature {
                expires: Some(expires),
                signature: Some(signature),
            },
        ) => {
            let holds = app
                .auth
                .urls()
                .holds(&file_path(id, name), expires, &signature, OffsetDateTime::now_utc());
            if !holds {
                let why = "the URL has expired or was changed; ask for the recording again";
                return Err(Refusal::new(ErrorCode::TokenExpired, why));
            }
        }
        _ => {
            return Err(Refusal::new(
                ErrorCode::Unauthorized,
                "a token or a signed URL is needed",
            ));
        }
    }
    let stored = app
        .store
        .recording_file(id, name)
        .await
        .map_err(|e| refused_by_store(&e))?;
    let stored = stored.ok_or_else(|| absent(ErrorCode::NotFound))?;
    app.send(&stored, &method, &headers).await
}

impl App {
    async fn send(&self, file: &StoredFile, method: &Method, headers: &HeaderMap) -> Result<Response, Refusal> {
        // A file never changes under its key.
        let tag = format!("\"{}-{:x}\"", file.recording.0.simple(), file.size_bytes);
        let etag = HeaderValue::from_str(&tag).expect("hexadecimal is header text");
        if has_tag(headers, &etag) {
            return Ok(head(StatusCode::NOT_MODIFIED, file, etag, None));
        }
        let (status, range) = match wanted(headers, file.size_bytes, &etag) {
            Wanted::Whole => (StatusCode::OK, 0..file.size_bytes),
            Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Wanted::Nothing => return Ok(Problem::range_not_satisfiable(file.size_bytes).into_response()),
        };
        let length = range.end - range.start;
        let mut response = if *method == Method::HEAD || length == 0 {
            Response::new(Vec::new().into())
        } else {
            let object = self
                .objects
                .get(&file.storage_key, Some(range.clone()))
                .await
                .map_err(|e| match e {
                    ObjectError::NotFound { .. } => absent(ErrorCode::NotFound),
                    e => refused_by_objects(&e),
                })?;
            warp::reply::stream(Chunks::new(object.reader)).into_response()
        };
        let part = (status == StatusCode::PARTIAL_CONTENT).then_some(range);
        let told = head(status, file, etag, part);
        *response.status_mut() = status;
        *response.headers_mut() = told.headers().clone();
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        Ok(response)
    }
}

/// Status and headers without a body.
fn head(status: StatusCode, file: &StoredFile, etag: HeaderValue, part: Option<std::ops::Range<u64>>) -> Response {
    let mut response = Response::new(Vec::new().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let text = |text: &str| HeaderValue::from_str(text).ok();
    headers.insert(ETAG, etag);
    // Applications play recordings in pages of their own; the URL or the bearer is what permits it.
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    // A browser that is led to the file makes a page of its own around it.
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=3600, immutable"),
    );
    let unknown = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, text(&file.content_type).unwrap_or(unknown));
    // What was uploaded by somebody is media, or a download: never a page of ours.
    let quoted: String = file
        .name
        .chars()
        .filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\'))
        .collect();
    let kind = if is_media(&file.content_type) {
        "inline"
    } else {
        "attachment"
    };
    if let Some(value) = text(&format!("{kind}; filename=\"{quoted}\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    if let Some(part) = part
        && let Some(value) = text(&format!(
            "bytes {}-{}/{}",
            part.start,
            part.end.saturating_sub(1),
            file.size_bytes
        ))
    {
        headers.insert(CONTENT_RANGE, value);
    }
    response
}

fn is_media(content_type: &str) -> bool {
    content_type.starts_with("video/") || content_type.starts_with("audio/")
}

/// The bytes of a reader, as a body takes them. The lock is never contended: it makes the reader `Sync`, which warp
/// asks of a body and a reader need not be.
struct Chunks {
    reader: Mutex<ObjectReader>,
    buffer: BytesMut,
}

impl Chunks {
    fn new(reader: ObjectReader) -> Self {
        Self {
            reader: Mutex::new(reader),
            buffer: BytesMut::new(),
        }
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { reader, buffer } = self.get_mut();
        let reader = reader.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        buffer.resize(CHUNK, 0);
        let mut space = ReadBuf::new(buffer);
        match reader.as_mut().poll_read(cx, &mut space) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(e)) => Poll::Ready(Some(Err(e))),
            Poll::Ready(Ok(())) => {
                let read = space.filled().len();
                Poll::Ready((read > 0).then(|| Ok(buffer.split_to(read).freeze())))
            }
        }
    }
}
