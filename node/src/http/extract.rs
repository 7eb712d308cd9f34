//! What handlers take out of a request, as warp filters. Each refuses with a [`Problem`].

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use caside_protocol::ErrorCode;
use caside_protocol::error::Refusal;
use caside_protocol::rest::MAX_BODY_BYTES;
use caside_store::{MAX_LIMIT, PageRequest};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use warp::Filter;
use warp::http::header::CONTENT_TYPE;
use warp::http::{HeaderMap, StatusCode};
use warp::reject::{self, Rejection};

use super::SharedApp;
use super::endpoint::Params;
use super::problem::Problem;
use crate::audit::Trail;
use crate::auth::Caller;
use crate::client::Client;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

fn refuse(problem: impl Into<Problem>) -> Rejection {
    reject::custom(problem.into())
}

/// The application.
pub(crate) fn app(app: &SharedApp) -> impl Filter<Extract = (SharedApp,), Error = Rejection> + Clone + use<> {
    let app = app.clone();
    nothing().map(move || app.clone())
}

/// Nothing.
pub(crate) fn nothing() -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::any().and_then(|| async { Ok::<(), Rejection>(()) }).untuple_one()
}

/// The path's variable parts, put into the extensions by the dispatcher.
pub(crate) fn params() -> impl Filter<Extract = (Params,), Error = Rejection> + Clone {
    warp::ext::get::<Params>()
}

/// Where the request came from, put into the extensions by the dispatcher.
pub(crate) fn client() -> impl Filter<Extract = (Client,), Error = Rejection> + Clone {
    warp::ext::get::<Client>()
}

#[derive(Debug, Deserialize)]
struct TokenQuery {
    token: Option<String>,
}

/// The bearer's credential: the `Authorization` header (RFC 6750 §2.1), else `?token=`.
pub(crate) fn credential() -> impl Filter<Extract = (Option<String>,), Error = Rejection> + Clone {
    warp::header::headers_cloned()
        .and(raw_query())
        .and_then(|headers: HeaderMap, query: String| async move { find_credential(&headers, &query).map_err(refuse) })
}

fn find_credential(headers: &HeaderMap, query: &str) -> Result<Option<String>, Refusal> {
    if let Some(value) = headers.get("authorization") {
        let malformed = || Refusal::new(ErrorCode::Unauthorized, "authorization: must be `Bearer` and a token");
        let (scheme, token) = value
            .to_str()
            .ok()
            .and_then(|v| v.split_once(' '))
            .ok_or_else(malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
            return Err(malformed());
        }
        return Ok(Some(token.trim().to_owned()));
    }
    // What names a token so that it cannot be read is no credential.
    let query = parse_query::<TokenQuery>(query);
    let query = query.map_err(|e| Refusal::new(ErrorCode::Unauthorized, e.message))?;
    Ok(query.token.filter(|token| !token.is_empty()))
}

/// Whoever asks; nobody is refused here with 401.
pub(crate) fn caller(app: &SharedApp) -> impl Filter<Extract = (Caller,), Error = Rejection> + Clone + use<> {
    let app = app.clone();
    credential()
        .and(trail())
        .and_then(move |credential: Option<String>, trail: Trail| {
            let app = app.clone();
            async move {
                let missing = || Refusal::new(ErrorCode::Unauthorized, "a token is needed: `Authorization: Bearer …`");
                let credential = credential.ok_or_else(|| refuse(missing()))?;
                known(&app, &credential, &trail).await.map_err(refuse)
            }
        })
}

/// Whoever asks, if they say so; a credential that does not hold is refused all the same.
pub(crate) fn maybe_caller(
    app: &SharedApp,
) -> impl Filter<Extract = (Option<Caller>,), Error = Rejection> + Clone + use<> {
    let app = app.clone();
    credential()
        .and(trail())
        .and_then(move |credential: Option<String>, trail: Trail| {
            let app = app.clone();
            async move {
                match credential {
                    Some(credential) => known(&app, &credential, &trail).await.map(Some).map_err(refuse),
                    None => Ok(None),
                }
            }
        })
}

/// Whose credential this is, who may ask as often as a user may.
async fn known(app: &SharedApp, credential: &str, trail: &Trail) -> Result<Caller, Refusal> {
    let caller = app.auth.authenticate(credential).await?;
    trail.by(&caller);
    app.rates.user(&caller)?;
    Ok(caller)
}

/// What is to be written down of the request, put into the extensions by the dispatcher.
pub(crate) fn trail() -> impl Filter<Extract = (Trail,), Error = Rejection> + Clone {
    warp::ext::get::<Trail>()
}

fn raw_query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

/// The query, as fields.
pub(crate) fn query<T: DeserializeOwned + Send + 'static>() -> impl Filter<Extract = (T,), Error = Rejection> + Clone {
    raw_query().and_then(|query: String| async move { parse_query(&query).map_err(refuse) })
}

fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Refusal> {
    serde_urlencoded::from_str(query).map_err(|e| Refusal::new(ErrorCode::InvalidPayload, format!("query: {e}")))
}

#[derive(Debug, Deserialize)]
struct PageQuery {
    limit: Option<u64>,
    cursor: Option<String>,
}

/// Which page of a list.
pub(crate) fn page() -> impl Filter<Extract = (PageRequest,), Error = Rejection> + Clone {
    query::<PageQuery>().and_then(|query: PageQuery| async move {
        match query.limit {
            Some(limit) if !(1..=MAX_LIMIT).contains(&limit) => {
                let why = format!("limit: must be 1 to {MAX_LIMIT}");
                Err(refuse(Refusal::new(ErrorCode::InvalidPayload, why)))
            }
            limit => Ok(PageRequest::new(limit, query.cursor)),
        }
    })
}

/// A JSON body of at most 64 KiB. A body that is empty counts as `{}`, for bodies whose fields may all be left out.
pub(crate) fn json<T: DeserializeOwned + Send + 'static>() -> impl Filter<Extract = (T,), Error = Rejection> + Clone {
    warp::header::headers_cloned()
        .and(warp::body::stream())
        .and_then(|headers: HeaderMap, body| async move {
            let body = read_in_time(&headers, body, "application/json").await.map_err(refuse)?;
            parse_object(&body).map_err(refuse)
        })
}

/// A body of this media type, as text of at most 64 KiB.
pub(crate) fn text(media_type: &'static str) -> impl Filter<Extract = (String,), Error = Rejection> + Clone {
    warp::header::headers_cloned()
        .and(warp::body::stream())
        .and_then(move |headers: HeaderMap, body| async move {
            let body = read_in_time(&headers, body, media_type).await.map_err(refuse)?;
            let invalid = || Refusal::new(ErrorCode::InvalidPayload, "body: must be text in UTF-8");
            String::from_utf8(body.to_vec()).map_err(|_| refuse(invalid()))
        })
}

/// Reads an object. Lists are refused here: serde would take one for the fields in their order.
fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let text: &[u8] = if body.is_empty() { b"{}" } else { body };
    let invalid = |why: String| Refusal::new(ErrorCode::InvalidPayload, why);
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(invalid("body: must be a JSON object".to_owned()));
    }
    serde_json::from_slice(text).map_err(|e| invalid(format!("body: {e}")))
}

async fn read_in_time<B: Buf>(
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
    media_type: &str,
) -> Result<BytesMut, Problem> {
    let read = tokio::time::timeout(BODY_TIMEOUT, read_body(headers, body, media_type)).await;
    let late = || {
        let why = "the body did not arrive in time";
        Problem::with_status(StatusCode::REQUEST_TIMEOUT, ErrorCode::InvalidPayload, why)
    };
    read.map_err(|_| late())?
}

async fn read_body<B: Buf>(
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
    media_type: &str,
) -> Result<BytesMut, Problem> {
    let too_large = || {
        let why = format!("a body may have {MAX_BODY_BYTES} bytes at most");
        Problem::from(Refusal::new(ErrorCode::TooLarge, why))
    };
    let limit = usize::try_from(MAX_BODY_BYTES).unwrap_or(usize::MAX);
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|_| Refusal::new(ErrorCode::InvalidPayload, "the body was cut short"))?;
        if bytes.len() + chunk.remaining() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
    }
    if !bytes.is_empty() && !is_of(headers, media_type) {
        let why = format!("the body must be {media_type}");
        return Err(Problem::with_status(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorCode::InvalidPayload,
            why,
        ));
    }
    Ok(bytes)
}

/// Whether the body says that it is of this type, whatever its parameters. That it must say so keeps plain HTML forms of
/// other sites away, which need no preflight.
fn is_of(headers: &HeaderMap, media_type: &str) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(media_type)
}
