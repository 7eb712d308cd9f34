//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): one POST publishes or views, PATCH is for ICE, DELETE ends.

use caside_protocol::error::Refusal;
use caside_protocol::server::IceServer;
use caside_protocol::{ErrorCode, RoomId};
use serde::Deserialize;
use warp::Filter;
use warp::http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, LINK, LOCATION};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::{Reply, Response};

use crate::auth::Caller;
use crate::client::Client;
use crate::http::endpoint::{Endpoint, Params, absent};
use crate::http::openapi::{Busy, Forbidden, NotFound, Unauthenticated};
use crate::http::problem::Problem;
use crate::http::{App, SharedApp, extract, reply};
use crate::whip::{FRAGMENT, Opened, Opening, Patched, Protocol, SessionRef, links};

/// The media type of offers and answers.
const SDP: &str = "application/sdp";
/// RFC 5789 §3.1.
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// `/whip/{room}`, `/whep/{room}` and their sessions.
pub(crate) fn endpoints(app: &SharedApp) -> Vec<Endpoint> {
    let one = || extract::app(app).and(extract::caller(app)).and(extract::params());
    let offer = || one().and(extract::client()).and(extract::text(SDP));
    let fragment = || one().and(warp::header::headers_cloned()).and(extract::text(FRAGMENT));
    vec![
        Endpoint::new(Method::POST, "/whip/{room}", offer().then(publish)).accepts(SDP),
        Endpoint::new(Method::PATCH, "/whip/{room}/{session}", fragment().then(patch)),
        Endpoint::new(Method::DELETE, "/whip/{room}/{session}", one().then(end)),
        Endpoint::new(Method::POST, "/whep/{room}", offer().and(extract::query()).then(view)).accepts(SDP),
        Endpoint::new(Method::PATCH, "/whep/{room}/{session}", fragment().then(patch_view)),
        Endpoint::new(Method::DELETE, "/whep/{room}/{session}", one().then(end_view)),
    ]
}

/// Publishes by an SDP offer: the caller becomes a participant of the room, which is made if the token may.
#[utoipa::path(post, path = "/whip/{room}", tag = "whip",
    params(("room" = String, Path, description = "the room")),
    request_body(content = String, content_type = "application/sdp", description = "the offer"),
    responses((status = 201, description = "the answer; `Location` is the session, `ETag` its ICE session, `Link` the STUN and TURN servers",
        body = String, content_type = "application/sdp"),
        (status = 400, description = "`bad_sdp`; `target_required`: the room's media goes from peer to peer"),
        (status = 406, description = "`no_common_codec`"), (status = 409, description = "`room_full`"),
        (status = 415, description = "the body is not `application/sdp`"), Unauthenticated, Forbidden, NotFound, Busy))]
async fn publish(
    app: SharedApp,
    caller: Caller,
    params: Params,
    from: Client,
    offer: String,
) -> Result<Response, Refusal> {
    let opening = opening(&app, caller, &params, from, offer)?;
    let (room, user) = (opening.room.clone(), opening.caller.user().clone());
    let opened = app.whip.publish(opening).await?;
    created("whip", &room, opened, &app.whip.ice_servers(&user))
}

/// Whom to view.
#[derive(Debug, Deserialize)]
struct Viewed {
    /// A participant; the first who publishes when left out.
    participant: Option<String>,
}

/// Views a participant by an SDP offer that receives only. The caller becomes a viewer in the room.
#[utoipa::path(post, path = "/whep/{room}", tag = "whip",
    params(("room" = String, Path, description = "the room"),
        ("participant" = Option<String>, Query, description = "whom to view; the first who publishes when left out")),
    request_body(content = String, content_type = "application/sdp", description = "the offer"),
    responses((status = 201, description = "the answer; `Location` is the session, `ETag` its ICE session, `Link` the STUN and TURN servers",
        body = String, content_type = "application/sdp"),
        (status = 400, description = "`bad_sdp`; `target_required`: the room's media goes from peer to peer"),
        (status = 406, description = "`no_common_codec`"), (status = 409, description = "`room_full`"),
        (status = 415, description = "the body is not `application/sdp`"), Unauthenticated, Forbidden, NotFound, Busy))]
async fn view(
    app: SharedApp,
    caller: Caller,
    params: Params,
    from: Client,
    offer: String,
    viewed: Viewed,
) -> Result<Response, Refusal> {
    let viewed = viewed
        .participant
        .map(|id| id.parse().map_err(|_| absent(ErrorCode::ParticipantNotFound)));
    let viewed = viewed.transpose()?;
    let opening = opening(&app, caller, &params, from, offer)?;
    let (room, user) = (opening.room.clone(), opening.caller.user().clone());
    let opened = app.whip.view(opening, viewed).await?;
    created("whep", &room, opened, &app.whip.ice_servers(&user))
}

fn opening(app: &App, caller: Caller, params: &Params, from: Client, offer: String) -> Result<Opening, Refusal> {
    Ok(Opening {
        room: params.get(0, ErrorCode::RoomNotFound)?,
        place: app.sockets.enter(&from, true)?,
        caller,
        from: from.address,
        offer,
    })
}

/// RFC 9725 §4.2.
fn created(protocol: &str, room: &RoomId, opened: Opened, servers: &[IceServer]) -> Result<Response, Refusal> {
    let mut response = Response::new(opened.answer.into());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    let location = format!("/{protocol}/{room}/{}", opened.id);
    for (name, value) in [(LOCATION, location), (ETAG, opened.etag)] {
        headers.insert(name, HeaderValue::from_str(&value).map_err(|_| unwritable())?);
    }
    for link in links(servers) {
        headers.append(LINK, link);
    }
    Ok(response)
}

/// Which session a path names.
fn session(protocol: Protocol, params: &Params) -> Result<SessionRef, Refusal> {
    Ok(SessionRef {
        protocol,
        room: params.get(0, ErrorCode::NotFound)?,
        id: params.get(1, ErrorCode::NotFound)?,
    })
}

/// Takes candidates, which need no action, or restarts ICE. `If-Match` names the ICE session by its `ETag`; `*` is any.
#[utoipa::path(patch, path = "/whip/{room}/{session}", tag = "whip",
    params(("room" = String, Path, description = "the room"), ("session" = String, Path, description = "the session"),
        ("If-Match" = String, Header, description = "the `ETag` of the ICE session, or `*`")),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag", description = "candidates or new credentials"),
    responses((status = 204, description = "candidates"),
        (status = 200, description = "ICE was restarted: our side of it, with a new `ETag`", body = String, content_type = "application/trickle-ice-sdpfrag"),
        (status = 400, description = "`bad_sdp`"), (status = 412, description = "another ICE session runs"),
        (status = 415, description = "the body is no fragment"), (status = 428, description = "`If-Match` is missing"),
        Unauthenticated, Forbidden, NotFound, Busy))]
async fn patch(
    app: SharedApp,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    fragment: String,
) -> Result<Response, Refusal> {
    change(&app, &caller, &session(Protocol::Whip, &params)?, &headers, &fragment).await
}

/// As of a publisher's session.
#[utoipa::path(patch, path = "/whep/{room}/{session}", tag = "whip",
    params(("room" = String, Path, description = "the room"), ("session" = String, Path, description = "the session"),
        ("If-Match" = String, Header, description = "the `ETag` of the ICE session, or `*`")),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag", description = "candidates or new credentials"),
    responses((status = 204, description = "candidates"),
        (status = 200, description = "ICE was restarted: our side of it, with a new `ETag`", body = String, content_type = "application/trickle-ice-sdpfrag"),
        (status = 400, description = "`bad_sdp`"), (status = 412, description = "another ICE session runs"),
        (status = 415, description = "the body is no fragment"), (status = 428, description = "`If-Match` is missing"),
        Unauthenticated, Forbidden, NotFound, Busy))]
async fn patch_view(
    app: SharedApp,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    fragment: String,
) -> Result<Response, Refusal> {
    change(&app, &caller, &session(Protocol::Whep, &params)?, &headers, &fragment).await
}

async fn change(
    app: &App,
    caller: &Caller,
    session: &SessionRef,
    headers: &HeaderMap,
    fragment: &str,
) -> Result<Response, Refusal> {
    let Some(if_match) = headers.get(IF_MATCH).and_then(|value| value.to_str().ok()) else {
        let why = "If-Match must name the ICE session";
        let status = StatusCode::PRECONDITION_REQUIRED;
        return Ok(Problem::with_status(status, ErrorCode::InvalidPayload, why).into_response());
    };
    let patched = app
        .whip
        .patch(caller, session, if_match.trim().to_owned(), fragment)
        .await?;
    match patched {
        Patched::Noted => Ok(reply::no_content()),
        Patched::Outdated => {
            let why = "If-Match names another ICE session than the one that runs";
            let status = StatusCode::PRECONDITION_FAILED;
            Ok(Problem::with_status(status, ErrorCode::InvalidPayload, why).into_response())
        }
        Patched::Restarted { fragment, etag } => {
            let mut response = Response::new(fragment.into());
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
            headers.insert(ETAG, HeaderValue::from_str(&etag).map_err(|_| unwritable())?);
            Ok(response)
        }
    }
}

/// Ends the session: the participant leaves.
#[utoipa::path(delete, path = "/whip/{room}/{session}", tag = "whip",
    params(("room" = String, Path, description = "the room"), ("session" = String, Path, description = "the session")),
    responses((status = 200, description = "it has ended"), Unauthenticated, Forbidden, NotFound, Busy))]
async fn end(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    finish(&app, &caller, &session(Protocol::Whip, &params)?).await
}

/// Ends the session: the viewer leaves.
#[utoipa::path(delete, path = "/whep/{room}/{session}", tag = "whip",
    params(("room" = String, Path, description = "the room"), ("session" = String, Path, description = "the session")),
    responses((status = 200, description = "it has ended"), Unauthenticated, Forbidden, NotFound, Busy))]
async fn end_view(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    finish(&app, &caller, &session(Protocol::Whep, &params)?).await
}

async fn finish(app: &App, caller: &Caller, session: &SessionRef) -> Result<Response, Refusal> {
    app.whip.end(caller, session).await?;
    Ok(Response::new(Vec::new().into()))
}

fn unwritable() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the answer has no form as a header")
}
