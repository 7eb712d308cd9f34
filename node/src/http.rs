//! The HTTP side: listeners, the table of endpoints, and what all answers have in common.
//!
//! An endpoint is a warp filter that takes out of a request what its handler needs. Which endpoint a path belongs to is
//! decided by the table in [`routes`], so that a wrong path is 404 and a wrong method 405 with `Allow`, and so that the
//! table can be compared with the OpenAPI document. Absent on purpose: what a room is.

pub(crate) mod access;
pub(crate) mod cors;
pub(crate) mod dispatch;
pub(crate) mod endpoint;
pub(crate) mod extract;
pub(crate) mod listener;
pub(crate) mod openapi;
pub(crate) mod patient;
pub(crate) mod problem;
pub(crate) mod range;
pub(crate) mod rates;
pub(crate) mod readiness;
pub(crate) mod reply;
pub(crate) mod routes;
pub(crate) mod security;
mod spans;
pub(crate) mod tls;
pub(crate) mod traffic;
pub(crate) mod web_app;

use std::sync::Arc;

use caside_actors::media_worker::MediaWorkers;
use caside_actors::node::NodeHandle;
use caside_actors::recorder::Recordings;
use caside_cluster::Company;
use caside_store::{Journal, ObjectStore, Store};

use crate::auth::Auth;
use crate::client::Proxies;
use crate::telemetry::Health;
use crate::whip::Whip;
use crate::ws::Sockets;
use cors::Origins;
use rates::Rates;
use readiness::Readiness;
use traffic::Traffic;

/// What handlers work with.
pub(crate) struct App {
    /// Who may what.
    pub(crate) auth: Arc<Auth>,
    /// What is remembered.
    pub(crate) store: Store,
    /// What will be.
    pub(crate) journal: Journal,
    /// Recordings.
    pub(crate) objects: ObjectStore,
    /// What runs.
    pub(crate) node: NodeHandle,
    /// The other nodes; `None` when there are none by configuration.
    pub(crate) company: Option<Arc<Company>>,
    /// What forwards its media.
    pub(crate) media: Arc<MediaWorkers>,
    /// What is recorded.
    pub(crate) recordings: Recordings,
    /// Requests, in numbers.
    pub(crate) traffic: Traffic,
    /// Whose pages may use the API.
    pub(crate) origins: Origins,
    /// WebSockets and their bounds.
    pub(crate) sockets: Sockets,
    /// Participants that came by HTTP.
    pub(crate) whip: Whip,
    /// What is missing.
    pub(crate) readiness: Readiness,
    /// What becomes of telemetry.
    pub(crate) telemetry: Arc<Health>,
    /// Whose word on clients' addresses is taken.
    pub(crate) proxies: Proxies,
    /// SHA-256 of what may read metrics.
    pub(crate) metrics_token: Option<[u8; 32]>,
    /// How often each may ask.
    pub(crate) rates: Rates,
    /// Rooms that one user may have made.
    pub(crate) max_rooms_per_user: u64,
    /// Whether clients come by TLS of ours.
    pub(crate) tls: bool,
    /// Whether only this machine can reach us.
    pub(crate) loopback_only: bool,
    /// Most participants that a room may ask for.
    pub(crate) max_room_size: u32,
    /// Whether rooms are made by using them.
    pub(crate) auto_create_rooms: bool,
}

/// Handlers share one.
pub(crate) type SharedApp = Arc<App>;
