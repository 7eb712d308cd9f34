//! What operators look at: every actor, and a room in full.

use caside_protocol::error::{ErrorCode, Refusal};
use caside_protocol::inspect::{ActorQuery, Actors, DEFAULT_ACTORS, MAX_ACTORS, RoomInspection};
use caside_protocol::{NodeId, RoomId};
use serde::Deserialize;
use warp::Filter;
use warp::http::Method;
use warp::reply::Response;

use super::admin::admin;
use crate::auth::Caller;
use crate::http::endpoint::{Endpoint, Params};
use crate::http::openapi::{Busy, Forbidden, Malformed, NotFound, Unauthenticated};
use crate::http::{SharedApp, extract, reply};

/// `/admin/actors`, `/admin/rooms/{id}`.
pub(crate) fn endpoints(app: &SharedApp) -> Vec<Endpoint> {
    let asked = extract::app(app).and(extract::caller(app));
    let of_query = asked.clone().and(extract::query());
    let of_room = asked.and(extract::params());
    vec![
        Endpoint::new(Method::GET, "/admin/actors", of_query.then(actors)),
        Endpoint::new(Method::GET, "/admin/rooms/{id}", of_room.then(room)),
    ]
}

/// Which actors.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ActorsQuery {
    /// Those of one kind: `node`, `rooms`, `room`, `sfu`, `peers`, `peer`, `invites`, `recordings`, `recorder`.
    kind: Option<String>,
    /// Those of one room: itself, its SFU and recorders, and the sessions that are in it.
    room: Option<String>,
    /// Those of one node.
    node: Option<String>,
    /// So many at most, those with most messages waiting first of each kind.
    #[param(minimum = 1, maximum = 1000, default = 200)]
    limit: Option<u32>,
}

/// The actors that run, on all nodes: each with its supervisor, its mailbox, what went wrong with it last, and its state in
/// short. One that does not answer within a second is shown without a state. For admins.
#[utoipa::path(get, path = "/admin/actors", tag = "admin", params(ActorsQuery),
    responses((status = 200, description = "the answer", body = Actors), Unauthenticated, Forbidden, Malformed, Busy))]
async fn actors(app: SharedApp, caller: Caller, query: ActorsQuery) -> Result<Response, Refusal> {
    admin(&caller)?;
    let limit = query.limit.unwrap_or(DEFAULT_ACTORS);
    if !(1..=MAX_ACTORS).contains(&limit) {
        let why = format!("limit: must be 1 to {MAX_ACTORS}");
        return Err(Refusal::new(ErrorCode::InvalidPayload, why));
    }
    let invalid =
        |name: &str, why: &dyn std::fmt::Display| Refusal::new(ErrorCode::InvalidPayload, format!("{name}: {why}"));
    let node = query.node.map(NodeId::new).transpose();
    let node = node.map_err(|why| invalid("node", &why))?;
    let room = query.room.map(RoomId::new).transpose();
    let asked = ActorQuery {
        kind: query.kind,
        room: room.map_err(|why| invalid("room", &why))?,
        limit,
    };
    Ok(reply::ok(&app.node.actors(&asked, node.as_ref()).await))
}

/// A room that runs, in full and from whichever node has it: who is in it, on which nodes, what they send and receive and how
/// well, its recording, its owner and who would take it over. For admins.
#[utoipa::path(get, path = "/admin/rooms/{id}", tag = "admin",
    params(("id" = String, Path, description = "the room's id")),
    responses((status = 200, description = "the answer", body = RoomInspection), Unauthenticated, Forbidden, NotFound, Busy))]
async fn room(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    admin(&caller)?;
    let room: RoomId = params.get(0, ErrorCode::RoomNotFound)?;
    let absent = || Refusal::new(ErrorCode::RoomNotFound, "nobody is in a room of this id now");
    let found = app.node.examine_room(&room).await?;
    Ok(reply::ok(&found.ok_or_else(absent)?))
}
