//! A node, an HTTP client and a WebSocket client.

pub(crate) mod http;
pub(crate) mod node;
pub(crate) mod tls;
pub(crate) mod ws;

pub(crate) use http::{Answer, Request};
pub(crate) use node::{Node, run};
pub(crate) use ws::{Closed, Ws};

use std::time::Duration;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
