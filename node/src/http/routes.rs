//! The table of endpoints, by what they are about.

pub(crate) mod admin;
pub(crate) mod auth;
pub(crate) mod calls;
pub(crate) mod explain;
pub(crate) mod health;
pub(crate) mod inspect;
pub(crate) mod metrics;
pub(crate) mod moderation;
pub(crate) mod playback;
pub(crate) mod recordings;
pub(crate) mod rooms;
pub(crate) mod whip;

use super::endpoint::Endpoint;
use super::{SharedApp, openapi};
use crate::ws;

/// All endpoints.
pub(crate) fn table(app: &SharedApp) -> Vec<Endpoint> {
    let mut table = Vec::new();
    table.extend(health::endpoints(app));
    table.extend(auth::endpoints(app));
    table.extend(rooms::endpoints(app));
    table.extend(moderation::endpoints(app));
    table.extend(calls::endpoints(app));
    table.extend(recordings::endpoints(app));
    table.extend(whip::endpoints(app));
    table.extend(admin::endpoints(app));
    table.push(explain::endpoint(app));
    table.extend(inspect::endpoints(app));
    table.push(playback::endpoint(app));
    table.push(metrics::endpoint(app));
    table.push(ws::upgrade::endpoint(app));
    table.push(openapi::endpoint());
    table
}
