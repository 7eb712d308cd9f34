//! Whether the node is there, and whether it should be sent clients.

use caside_protocol::error::Refusal;
use caside_protocol::rest::Health;
use time::OffsetDateTime;
use warp::Filter;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::http::endpoint::Endpoint;
use crate::http::openapi::RateLimited;
use crate::http::{SharedApp, extract, reply};

/// `/health` and what is below it.
pub(crate) fn endpoints(app: &SharedApp) -> Vec<Endpoint> {
    vec![
        Endpoint::new(Method::GET, "/health", extract::nothing().then(alive)),
        Endpoint::new(Method::GET, "/health/live", extract::nothing().then(live)),
        Endpoint::new(Method::GET, "/health/ready", extract::app(app).then(ready)),
    ]
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "health",
    responses((status = 200, description = "the answer", body = Health), RateLimited), security(()))]
async fn live() -> Result<Response, Refusal> {
    Ok(reply::ok(&health("ok", Vec::new())))
}

/// The process answers.
#[utoipa::path(get, path = "/health", tag = "health",
    responses((status = 200, description = "the answer", body = Health), RateLimited), security(()))]
async fn alive() -> Result<Response, Refusal> {
    live().await
}

/// Whether the node can do all that it is there for. Running calls go on without the database and the object store.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses(
    (status = 200, description = "the answer", body = Health),
    (status = 503, description = "`missing` names what: database, object_store, cluster, or draining", body = Health),
    RateLimited,
), security(()))]
async fn ready(app: SharedApp) -> Result<Response, Refusal> {
    let mut missing = app.readiness.missing().await;
    if app.node.is_draining() {
        missing.push("draining".to_owned());
    }
    if app.node.is_out_of_touch() {
        missing.push("cluster".to_owned());
    }
    if missing.is_empty() {
        return Ok(reply::ok(&health("ok", missing)));
    }
    Ok(reply::with(
        StatusCode::SERVICE_UNAVAILABLE,
        &health("unavailable", missing),
    ))
}

fn health(status: &str, missing: Vec<String>) -> Health {
    Health {
        status: status.to_owned(),
        time: OffsetDateTime::now_utc(),
        missing,
    }
}
