//! What operators ask: which nodes there are, and how they do.

use caside_protocol::ErrorCode;
use caside_protocol::error::Refusal;
use caside_protocol::node::VERSION as VERSION_OF_LINKS;
use caside_protocol::rest::{DrainNode, NodeStatus, Nodes, RunningRooms};
use warp::Filter;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::auth::Caller;
use crate::http::endpoint::Endpoint;
use crate::http::openapi::{Forbidden, Malformed, NotFound, Unauthenticated};
use crate::http::{App, SharedApp, extract, reply};

/// `/admin/…`.
pub(crate) fn endpoints(app: &SharedApp) -> Vec<Endpoint> {
    let asked = extract::app(app).and(extract::caller(app));
    let asked = || asked.clone();
    vec![
        Endpoint::new(Method::GET, "/admin/nodes", asked().then(nodes)),
        Endpoint::new(Method::GET, "/admin/rooms", asked().then(rooms)),
        Endpoint::new(Method::POST, "/admin/drain", asked().and(extract::json()).then(drain)),
    ]
}

/// The nodes of the cluster as this one sees them, itself first. For admins.
#[utoipa::path(get, path = "/admin/nodes", tag = "admin",
    responses((status = 200, description = "the answer", body = Nodes), Unauthenticated, Forbidden))]
async fn nodes(app: SharedApp, caller: Caller) -> Result<Response, Refusal> {
    admin(&caller)?;
    Ok(reply::ok(&app.nodes()))
}

/// The rooms that run, on all nodes. For admins.
#[utoipa::path(get, path = "/admin/rooms", tag = "admin",
    responses((status = 200, description = "the answer", body = RunningRooms), Unauthenticated, Forbidden))]
async fn rooms(app: SharedApp, caller: Caller) -> Result<Response, Refusal> {
    admin(&caller)?;
    let items = app.node.running_rooms().await;
    Ok(reply::ok(&RunningRooms { items }))
}

/// Has a node drain, after which it ends: its rooms go to the others while their calls go on. For admins.
#[utoipa::path(post, path = "/admin/drain", tag = "admin", request_body = DrainNode,
    responses((status = 202, description = "it has begun", body = DrainNode), Unauthenticated, Forbidden, NotFound, Malformed))]
async fn drain(app: SharedApp, caller: Caller, asked: DrainNode) -> Result<Response, Refusal> {
    admin(&caller)?;
    app.node.drain_node(&asked.node).await?;
    Ok(reply::with(StatusCode::ACCEPTED, &asked))
}

pub(super) fn admin(caller: &Caller) -> Result<(), Refusal> {
    if caller.is_admin() {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Forbidden, "this is for admins"))
}

impl App {
    fn nodes(&self) -> Nodes {
        let counts = self.node.counts();
        let me = self.node.member();
        let mut items = vec![NodeStatus {
            node: me.node.clone(),
            incarnation: me.incarnation,
            this: true,
            linked: true,
            draining: self.node.is_draining(),
            version: VERSION_OF_LINKS,
            rooms: u32::try_from(counts.rooms).unwrap_or(u32::MAX),
            load: self.node.load(),
            address: None,
        }];
        let Some(company) = &self.company else {
            return Nodes {
                items,
                directory: "process".to_owned(),
            };
        };
        let linked = company.linked();
        for info in company.members() {
            if info.member == *me {
                if let Some(own) = items.first_mut() {
                    own.address = Some(info.cluster_address);
                }
                continue;
            }
            items.push(NodeStatus {
                this: false,
                linked: linked.contains(&info.member),
                draining: info.draining,
                version: info.version,
                rooms: info.rooms,
                load: info.load,
                address: Some(info.cluster_address),
                incarnation: info.member.incarnation,
                node: info.member.node,
            });
        }
        let directory = if company.is_directory_away() { "away" } else { "redis" };
        Nodes {
            items,
            directory: directory.to_owned(),
        }
    }
}
