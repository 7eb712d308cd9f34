//! Calls: one sitting of a room each.

use caside_protocol::error::Refusal;
use caside_protocol::rest::{Call, CallStatus, CreateCall, CreateRoom, MAX_METADATA_BYTES, Page};
use caside_protocol::view::Room;
use caside_protocol::{CallId, ErrorCode, Role, RoomId};
use caside_store::PageRequest;
use caside_store::calls::CallFilter;
use serde::Deserialize;
use time::OffsetDateTime;
use warp::Filter;
use warp::http::Method;
use warp::reply::Response;

use crate::auth::{Caller, refused_by_store};
use crate::http::access::{visible_since, visible_to};
use crate::http::endpoint::{Endpoint, Params, absent};
use crate::http::openapi::{Busy, Forbidden, Malformed, NotFound, Unauthenticated};
use crate::http::{App, SharedApp, extract, reply};
use crate::text::without_nul;

/// `/calls` and what is below it.
pub(crate) fn endpoints(app: &SharedApp) -> Vec<Endpoint> {
    let asked = || extract::app(app).and(extract::caller(app));
    let one = || asked().and(extract::params());
    vec![
        Endpoint::new(Method::POST, "/calls", asked().and(extract::json()).then(create)),
        Endpoint::new(
            Method::GET,
            "/calls",
            asked().and(extract::query()).and(extract::page()).then(list),
        ),
        Endpoint::new(Method::GET, "/calls/{id}", one().then(read)),
        Endpoint::new(Method::POST, "/calls/{id}/end", one().then(end)),
    ]
}

/// Makes a call that the first join takes up, in a room of the caller's, which is made when it is not there. A call
/// that waits or is on is answered as it is.
#[utoipa::path(post, path = "/calls", tag = "calls", request_body = CreateCall, responses(
    (status = 201, description = "made; `Location` says where", body = Call),
    (status = 200, description = "one waits already, or is on", body = Call),
    (status = 409, description = "somebody else owns a room of this id", body = caside_protocol::rest::ErrorBody),
    Unauthenticated, Forbidden, NotFound, Malformed, Busy))]
async fn create(app: SharedApp, caller: Caller, asked: CreateCall) -> Result<Response, Refusal> {
    if asked.metadata.to_string().len() > MAX_METADATA_BYTES {
        let why = format!("metadata: may have {MAX_METADATA_BYTES} bytes as JSON at most");
        return Err(Refusal::new(ErrorCode::TooLarge, why));
    }
    without_nul("metadata", &asked.metadata)?;
    let room = app.room_for_call(&caller, asked.room_id).await?;
    if let Some(on) = room.call_id {
        return Ok(reply::ok(&app.call(on).await?));
    }
    let waiting = app
        .store
        .waiting_call(&room.id)
        .await
        .map_err(|e| refused_by_store(&e))?;
    if let Some(call) = waiting {
        return Ok(reply::ok(&call));
    }
    let now = OffsetDateTime::now_utc();
    let call = app
        .store
        .create_call(CallId::new(), &room.id, room.owner.as_ref(), &asked.metadata, now)
        .await;
    let call = call.map_err(|e| refused_by_store(&e))?;
    Ok(reply::created(&format!("/calls/{}", call.id), &call))
}

impl App {
    /// The room that a call is made for: one that the caller hosts, or a new one of theirs.
    async fn room_for_call(&self, caller: &Caller, id: Option<RoomId>) -> Result<Room, Refusal> {
        let id = match id {
            Some(id) => match self.hosted(caller, &id).await {
                Err(refusal) if refusal.code == ErrorCode::RoomNotFound && self.auto_create_rooms => id,
                found => return found,
            },
            None => caller.claims.room.clone().unwrap_or_else(RoomId::generate),
        };
        self.may_create(caller, &id).await?;
        Ok(self.create_room(caller, id, CreateRoom::default()).await?.0)
    }

    /// A call as it is in the database, after what is on its way there.
    async fn call(&self, id: CallId) -> Result<Call, Refusal> {
        self.catch_up().await;
        let call = self.store.call(id).await.map_err(|e| refused_by_store(&e))?;
        call.ok_or_else(|| absent(ErrorCode::CallNotFound))
    }

    /// Whether a caller is an admin, hosts the room of the call, or was in it.
    async fn saw_call(&self, caller: &Caller, call: &Call) -> Result<bool, Refusal> {
        if !caller.claims.admits(&call.room_id) {
            return Ok(false);
        }
        let was_in = call.participants.iter().any(|stay| stay.user == *caller.user());
        if was_in && visible_since(caller).is_none_or(|since| call.created_at >= since) {
            return Ok(true);
        }
        self.hosts_room_of(caller, call).await
    }

    /// Whether a caller is an admin, owned the room of the call when the call was made, or hosts the room that it was in.
    /// A later room of the same id gives no right to what was before it.
    async fn hosts_room_of(&self, caller: &Caller, call: &Call) -> Result<bool, Refusal> {
        if visible_since(caller).is_some_and(|since| call.created_at < since) {
            return Ok(false);
        }
        let owner = self.store.call_owner(call.id).await.map_err(|e| refused_by_store(&e))?;
        if caller.role_in(&call.room_id, owner.as_ref()) != Some(Role::Host) {
            return Ok(false);
        }
        if caller.is_admin() || owner.as_ref() == Some(caller.user()) {
            return Ok(true);
        }
        let room = self.store.room(&call.room_id).await.map_err(|e| refused_by_store(&e))?;
        Ok(room.is_some_and(|room| room.admits(caller.claims.right_since()) && call.created_at >= room.created_at))
    }
}

/// Which calls to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct CallsQuery {
    /// Of this room.
    room: Option<RoomId>,
    /// In this state.
    status: Option<CallStatus>,
}

/// Calls, newest first: an admin sees all, others those they were in and those of their rooms.
#[utoipa::path(get, path = "/calls", tag = "calls", params(CallsQuery, crate::http::openapi::PageParams),
    responses((status = 200, description = "the answer", body = Page<Call>), Unauthenticated, Malformed, Busy))]
async fn list(app: SharedApp, caller: Caller, query: CallsQuery, page: PageRequest) -> Result<Response, Refusal> {
    app.catch_up().await;
    let own_room = caller.claims.room.clone();
    // The bearer of a host's token sees what its room's owner sees.
    let hosted = app.room_of_host_token(&caller).await?;
    let filter = CallFilter {
        room: own_room.or(query.room),
        status: query.status,
        visible_to: visible_to(&caller).filter(|_| hosted.is_none()),
        // Not what was in an earlier room of that id.
        since: hosted.map(|room| room.created_at).or_else(|| visible_since(&caller)),
    };
    let calls = app
        .store
        .calls(&filter, &page)
        .await
        .map_err(|e| refused_by_store(&e))?;
    Ok(reply::ok(&calls))
}

/// A call with everybody who was in it.
#[utoipa::path(get, path = "/calls/{id}", tag = "calls", params(("id" = String, Path, description = "the call")),
    responses((status = 200, description = "the answer", body = Call), Unauthenticated, NotFound, Busy))]
async fn read(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    let call = app.call(params.get(0, ErrorCode::CallNotFound)?).await?;
    // To others it is as if it were not there.
    if !app.saw_call(&caller, &call).await? {
        return Err(absent(ErrorCode::CallNotFound));
    }
    Ok(reply::ok(&call))
}

/// Ends a call for everybody. One that is over is answered as it is. For the room's host.
#[utoipa::path(post, path = "/calls/{id}/end", tag = "calls", params(("id" = String, Path, description = "the call")),
    responses((status = 200, description = "the answer", body = Call), Unauthenticated, Forbidden, NotFound, Busy))]
async fn end(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    let id: CallId = params.get(0, ErrorCode::CallNotFound)?;
    if let Some(room) = app.node.room_of_call(id).await {
        app.admitted(&caller, &room).await?;
        match app.node.end_call(&room, &caller.claims).await {
            // It ended meanwhile.
            Err(refusal) if refusal.code == ErrorCode::CallNotFound => {}
            ended => drop(ended?),
        }
        return Ok(reply::ok(&app.call(id).await?));
    }
    let call = app.call(id).await?;
    if !app.saw_call(&caller, &call).await? {
        return Err(absent(ErrorCode::CallNotFound));
    }
    if call.status == CallStatus::Ended {
        return Ok(reply::ok(&call));
    }
    if !app.hosts_room_of(&caller, &call).await? {
        return Err(Refusal::new(
            ErrorCode::Forbidden,
            "only the room's host may end its call",
        ));
    }
    app.store
        .end_call(id, OffsetDateTime::now_utc())
        .await
        .map_err(|e| refused_by_store(&e))?;
    Ok(reply::ok(&app.call(id).await?))
}
