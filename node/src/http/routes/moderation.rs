//! Who is in a room, and what is done to them. Whether the caller may is the room's decision.

use caside_protocol::error::Refusal;
use caside_protocol::rest::{MuteRequest, Page, RoleRequest};
use caside_protocol::view::Participant;
use caside_protocol::{ErrorCode, ParticipantId, RoomId};
use warp::Filter;
use warp::http::Method;
use warp::reply::Response;

use crate::audit::Trail;
use crate::auth::Caller;
use crate::http::endpoint::{Endpoint, Params};
use crate::http::openapi::{Busy, Forbidden, Malformed, NotFound, Unauthenticated};
use crate::http::{App, SharedApp, extract, reply};

/// `/rooms/{id}/participants` and what is below it.
pub(crate) fn endpoints(app: &SharedApp) -> Vec<Endpoint> {
    let one = || extract::app(app).and(extract::caller(app)).and(extract::params());
    vec![
        Endpoint::new(Method::GET, "/rooms/{id}/participants", one().then(list)),
        Endpoint::new(
            Method::POST,
            "/rooms/{id}/participants/{pid}/mute",
            one().and(extract::trail()).and(extract::json()).then(mute),
        ),
        Endpoint::new(Method::POST, "/rooms/{id}/participants/{pid}/kick", one().then(kick)),
        Endpoint::new(
            Method::POST,
            "/rooms/{id}/participants/{pid}/role",
            one().and(extract::trail()).and(extract::json()).then(set_role),
        ),
    ]
}

/// Everybody in a room.
#[utoipa::path(get, path = "/rooms/{id}/participants", tag = "participants",
    params(("id" = String, Path, description = "the room")),
    responses((status = 200, description = "the answer", body = Page<Participant>), Unauthenticated, Forbidden, NotFound, Busy))]
async fn list(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    let id: RoomId = params.get(0, ErrorCode::RoomNotFound)?;
    let mut items = app.admitted(&caller, &id).await?.participants;
    items.sort_by_key(|participant| std::cmp::Reverse((participant.joined_at, participant.participant_id)));
    let next_cursor = None;
    Ok(reply::ok(&Page { items, next_cursor }))
}

/// The room and participant of a path, where the room is one that the token is good for.
async fn target(app: &App, caller: &Caller, params: &Params) -> Result<(RoomId, ParticipantId), Refusal> {
    let room: RoomId = params.get(0, ErrorCode::RoomNotFound)?;
    app.admitted(caller, &room).await?;
    Ok((room, params.get(1, ErrorCode::ParticipantNotFound)?))
}

/// Stops forwarding a track of a participant, or all of them. For moderators.
#[utoipa::path(post, path = "/rooms/{id}/participants/{pid}/mute", tag = "participants",
    params(("id" = String, Path, description = "the room"), ("pid" = String, Path, description = "the participant")),
    request_body = MuteRequest,
    responses((status = 200, description = "the answer", body = Participant), Unauthenticated, Forbidden, NotFound, Malformed, Busy))]
async fn mute(
    app: SharedApp,
    caller: Caller,
    params: Params,
    trail: Trail,
    asked: MuteRequest,
) -> Result<Response, Refusal> {
    if let Some(track) = &asked.track {
        trail.note(|act| act.detail = Some(format!("track {track}")));
    }
    let (room, participant) = target(&app, &caller, &params).await?;
    Ok(reply::ok(
        &app.node.mute(&room, participant, asked.track, &caller.claims).await?,
    ))
}

/// Removes a participant; answers them as they were. For moderators.
#[utoipa::path(post, path = "/rooms/{id}/participants/{pid}/kick", tag = "participants",
    params(("id" = String, Path, description = "the room"), ("pid" = String, Path, description = "the participant")),
    responses((status = 200, description = "the answer", body = Participant), Unauthenticated, Forbidden, NotFound, Busy))]
async fn kick(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    let (room, participant) = target(&app, &caller, &params).await?;
    Ok(reply::ok(&app.node.kick(&room, participant, &caller.claims).await?))
}

/// Gives a participant a role for their stay. For the host.
#[utoipa::path(post, path = "/rooms/{id}/participants/{pid}/role", tag = "participants",
    params(("id" = String, Path, description = "the room"), ("pid" = String, Path, description = "the participant")),
    request_body = RoleRequest,
    responses((status = 200, description = "the answer", body = Participant), Unauthenticated, Forbidden, NotFound, Malformed, Busy))]
async fn set_role(
    app: SharedApp,
    caller: Caller,
    params: Params,
    trail: Trail,
    asked: RoleRequest,
) -> Result<Response, Refusal> {
    trail.note(|act| act.detail = Some(asked.role.as_str().to_owned()));
    let (room, participant) = target(&app, &caller, &params).await?;
    Ok(reply::ok(
        &app.node
            .set_role(&room, participant, asked.role, &caller.claims)
            .await?,
    ))
}
