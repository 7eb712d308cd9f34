//! Which requests are written down in the audit log, and what of them. The log itself is `caside_actors::audit`'s.
//!
//! An endpoint in [`ACTS`] leaves a line for each request, whatever comes of it. Who asks is filled in where the credential is
//! read, what only the body says by the handler.

use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use caside_actors::audit::{Act, Outcome, Via};
use caside_protocol::ErrorCode;
use hyper::Method;

use crate::auth::Caller;
use crate::client::Client;
use crate::http::endpoint::Params;

/// What a variable part of a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Room,
    Target,
}

/// An endpoint that is written down: method, template, action, and what its path's parts are.
type Audited = (Method, &'static str, &'static str, &'static [Part]);

const ACTS: &[Audited] = &[
    (Method::POST, "/login", "login", &[]),
    // A login, a refresh or a mint: the body says.
    (Method::POST, "/auth/token", "token", &[]),
    (Method::POST, "/auth/logout", "logout", &[]),
    (Method::POST, "/rooms", "room.create", &[]),
    (Method::PATCH, "/rooms/{id}", "room.update", &[Part::Room]),
    (Method::DELETE, "/rooms/{id}", "room.delete", &[Part::Room]),
    (
        Method::POST,
        "/rooms/{id}/participants/{pid}/mute",
        "participant.mute",
        &[Part::Room, Part::Target],
    ),
    (
        Method::POST,
        "/rooms/{id}/participants/{pid}/kick",
        "participant.kick",
        &[Part::Room, Part::Target],
    ),
    (
        Method::POST,
        "/rooms/{id}/participants/{pid}/role",
        "participant.role",
        &[Part::Room, Part::Target],
    ),
    (
        Method::POST,
        "/rooms/{id}/recording/start",
        "recording.start",
        &[Part::Room],
    ),
    (
        Method::POST,
        "/rooms/{id}/recording/stop",
        "recording.stop",
        &[Part::Room],
    ),
    (Method::POST, "/calls/{id}/end", "call.end", &[Part::Target]),
    (Method::DELETE, "/recordings/{id}", "recording.delete", &[Part::Target]),
    (Method::POST, "/admin/drain", "node.drain", &[]),
];

/// What is gathered of one request for its line. One that is not written down has none of it, and noting costs nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trail(Option<Arc<Mutex<Act>>>);

impl Trail {
    /// For a request to this endpoint.
    pub(crate) fn of(method: &Method, template: &str, params: &Params) -> Self {
        let found = ACTS.iter().find(|act| act.0 == *method && act.1 == template);
        let Some((_, _, action, parts)) = found else {
            return Self::default();
        };
        let mut act = Act {
            action,
            ..Act::default()
        };
        for (n, part) in parts.iter().enumerate() {
            let text = params.text(n).map(str::to_owned);
            match part {
                Part::Room => act.room = text,
                Part::Target => act.target = text,
            }
        }
        Self(Some(Arc::new(Mutex::new(act))))
    }

    /// Adds what is known of it now.
    pub(crate) fn note(&self, what: impl FnOnce(&mut Act)) {
        if let Some(act) = &self.0 {
            what(&mut act.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Adds who asks.
    pub(crate) fn by(&self, caller: &Caller) {
        self.note(|act| act.user = Some(caller.user().to_string()));
    }

    /// Writes the line.
    pub(crate) fn end(self, client: &Client, request_id: &str, refused: Option<ErrorCode>) {
        let outcome = refused.map_or(Outcome::Success, Outcome::Refused);
        self.note(|act| {
            act.client = Some(client.address);
            act.request = Some(request_id.to_owned());
            act.log(Via::Http, outcome);
        });
    }
}

/// Who runs a command: by the account that the system knows, which `sudo` hides behind root.
pub(crate) fn operator() -> String {
    let name = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
    let name = name("SUDO_USER").or_else(|| name("USER")).or_else(|| name("LOGNAME"));
    name.unwrap_or_else(|| "unknown".to_owned())
}

/// Writes down what a command did, or did not.
pub(crate) fn command<T>(act: Act, done: &anyhow::Result<T>) {
    let outcome = match done {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failed,
    };
    let user = Some(operator());
    Act { user, ..act }.log(Via::Cli, outcome);
}
