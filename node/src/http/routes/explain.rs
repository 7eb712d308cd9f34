//! A call explained: what happened in it, and why something does not work.

use std::collections::BTreeMap;
use std::time::Duration;

use caside_protocol::error::Refusal;
use caside_protocol::explain::{Cause, ExplainedCall, KnownRefusal, MAX_CAUSES, TimelineEntry};
use caside_protocol::{CallId, ErrorCode, RoomId};
use time::OffsetDateTime;
use uuid::Uuid;
use warp::Filter;
use warp::http::Method;
use warp::reply::Response;

use super::admin::admin;
use crate::auth::{Caller, refused_by_store};
use crate::http::endpoint::{Endpoint, Params, absent};
use crate::http::openapi::{Busy, Forbidden, NotFound, Unauthenticated};
use crate::http::{App, SharedApp, extract, reply};

/// Who was turned away so long ago may not be any more.
const STILL_SO: Duration = Duration::from_secs(60);

/// `/admin/calls/{id}`.
pub(crate) fn endpoint(app: &SharedApp) -> Endpoint {
    let asked = extract::app(app).and(extract::caller(app)).and(extract::params());
    Endpoint::new(Method::GET, "/admin/calls/{id}", asked.then(call))
}

/// What happened in a call, and what is wrong with it or was: of the call with this id, or of the room's that is on, or
/// of who was not let into it. A call that has ended is told of when it went badly. For admins.
#[utoipa::path(get, path = "/admin/calls/{id}", tag = "admin", params(("id" = String, Path, description = "a call's id, or a room's")),
    responses((status = 200, description = "the answer", body = ExplainedCall), Unauthenticated, Forbidden, NotFound, Busy))]
async fn call(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    admin(&caller)?;
    let id: String = params.get(0, ErrorCode::CallNotFound)?;
    Ok(reply::ok(&app.explained(&id).await?))
}

impl App {
    async fn explained(&self, id: &str) -> Result<ExplainedCall, Refusal> {
        let (running, refused) = self.node.explain(id).await;
        let explained = match running {
            Some(running) => Some(running),
            None => self.explained_before(id).await?,
        };
        let nobody = || {
            let room = RoomId::new(id).ok().filter(|_| !refused.is_empty())?;
            Some(ExplainedCall {
                call: None,
                room,
                node: None,
                status: "none".to_owned(),
                causes: Vec::new(),
                participants: Vec::new(),
                timeline: Vec::new(),
            })
        };
        let mut explained = explained
            .or_else(nobody)
            .ok_or_else(|| absent(ErrorCode::CallNotFound))?;
        add_refusals(&mut explained, &refused, OffsetDateTime::now_utc());
        Ok(explained)
    }

    /// What was written down of a call that has ended. A row of another version that cannot be read is as none.
    async fn explained_before(&self, id: &str) -> Result<Option<ExplainedCall>, Refusal> {
        self.catch_up().await;
        let by_call = id.parse::<Uuid>().ok();
        let mut written = match by_call {
            Some(call) => self
                .store
                .timeline(CallId(call))
                .await
                .map_err(|e| refused_by_store(&e))?,
            None => None,
        };
        if let (None, Ok(room)) = (&written, RoomId::new(id)) {
            written = self
                .store
                .last_timeline(&room)
                .await
                .map_err(|e| refused_by_store(&e))?;
        }
        Ok(written.and_then(|written| {
            let read = serde_json::from_value(written);
            read.inspect_err(|error| tracing::warn!(id, %error, "a call's timeline cannot be read"))
                .ok()
        }))
    }
}

/// Adds who was not let in: a cause for each kind and user, the current ones before what is over, and an entry for each time.
fn add_refusals(explained: &mut ExplainedCall, refused: &[KnownRefusal], now: OffsetDateTime) {
    let mut causes: BTreeMap<_, Cause> = BTreeMap::new();
    for known in refused {
        let detail = match &known.user {
            Some(user) => format!("{}: {} ({user})", known.error, known.message),
            None => format!("{}: {}", known.error, known.message),
        };
        let cause = causes
            .entry((known.cause, known.user.clone()))
            .or_insert_with(|| Cause {
                code: known.cause,
                participant_id: None,
                user: known.user.clone(),
                track: None,
                since: known.at,
                until: None,
                says: known.cause.says().to_owned(),
                remedy: known.cause.remedy().to_owned(),
                detail: None,
            });
        cause.until = Some(known.at).filter(|at| now - *at > STILL_SO);
        cause.detail = Some(detail.clone());
        explained.timeline.push(TimelineEntry {
            at: known.at,
            participant_id: None,
            stage: known.stage,
            what: "turned away".to_owned(),
            detail: Some(detail),
            left_out: 0,
        });
    }
    explained.timeline.sort_by_key(|entry| entry.at);
    explained.causes.extend(causes.into_values());
    explained
        .causes
        .sort_by_key(|cause| (cause.until.is_some(), !cause.code.is_bad()));
    explained.causes.truncate(MAX_CAUSES);
}

#[cfg(test)]
mod tests {
    use caside_protocol::explain::{CauseCode, Stage};

    use super::*;

    #[test]
    fn who_was_turned_away_again_and_again_is_one_cause() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(3_600);
        let refusal = |ago_s: u64, cause, user: &str| KnownRefusal {
            at: now - Duration::from_secs(ago_s),
            room: None,
            user: Some(user.parse().unwrap()),
            stage: Stage::Join,
            cause,
            error: ErrorCode::Forbidden,
            message: "no".to_owned(),
        };
        let refused = [
            refusal(300, CauseCode::NoGrant, "ada"),
            refusal(200, CauseCode::TokenExpired, "bob"),
            refusal(3, CauseCode::NoGrant, "ada"),
        ];
        let mut explained = ExplainedCall {
            call: None,
            room: RoomId::new("standup").unwrap(),
            node: None,
            status: "none".to_owned(),
            causes: Vec::new(),
            participants: Vec::new(),
            timeline: Vec::new(),
        };
        add_refusals(&mut explained, &refused, now);
        let causes: Vec<_> = explained
            .causes
            .iter()
            .map(|it| (it.code, it.until.is_none()))
            .collect();
        assert_eq!(causes, [(CauseCode::NoGrant, true), (CauseCode::TokenExpired, false)]);
        assert_eq!(explained.causes[0].since, now - Duration::from_secs(300));
        assert_eq!(explained.timeline.len(), 3);
    }
}
