//! A node, an HTTP client and a WebSocket client.

pub(crate) mod caller;
pub(crate) mod collector;
pub(crate) mod http;
pub(crate) mod node;
#[path = "../../../store/tests/it/postgres.rs"]
#[allow(dead_code, reason = "the store's tests stop and freeze it too")]
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod tls;
pub(crate) mod ws;

pub(crate) use caller::Caller;
pub(crate) use collector::{Collector, Span};
pub(crate) use http::{Answer, Request};
pub(crate) use node::{Node, run};
pub(crate) use redis::{Redis, free_port};
pub(crate) use ws::{Closed, Ws};

use std::time::Duration;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
