//! Recordings: starting and stopping, and what became of them.

use std::time::Duration;

use caside_protocol::error::Refusal;
use caside_protocol::rest::{Page, Recording, RecordingState};
use caside_protocol::{CallId, ErrorCode, RecordingId, Role, RoomId};
use caside_store::PageRequest;
use caside_store::objects::ObjectError;
use caside_store::recordings::{RecordingFilter, StoredRecording};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use time::OffsetDateTime;
use warp::Filter;
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};

use crate::auth::{Caller, refused_by_store};
use crate::http::access::{visible_since, visible_to};
use crate::http::endpoint::{Endpoint, Params, absent};
use crate::http::openapi::{Busy, Forbidden, Malformed, NotFound, Unauthenticated};
use crate::http::problem::Problem;
use crate::http::{App, SharedApp, extract, reply};

/// How long the URL of a file is good.
const URL_VALID: Duration = Duration::from_secs(3600);

/// `/recordings`, and starting and stopping below a room.
pub(crate) fn endpoints(app: &SharedApp) -> Vec<Endpoint> {
    let asked = || extract::app(app).and(extract::caller(app));
    let one = || asked().and(extract::params());
    vec![
        Endpoint::new(Method::POST, "/rooms/{id}/recording/start", one().then(start)),
        Endpoint::new(Method::POST, "/rooms/{id}/recording/stop", one().then(stop)),
        Endpoint::new(
            Method::GET,
            "/recordings",
            asked().and(extract::query()).and(extract::page()).then(list),
        ),
        Endpoint::new(Method::GET, "/recordings/{id}", one().then(read)),
        Endpoint::new(Method::DELETE, "/recordings/{id}", one().then(delete)),
    ]
}

/// Starts recording the call that is on. A recording that runs is answered as it is. For the host, or whom a token
/// permits.
#[utoipa::path(post, path = "/rooms/{id}/recording/start", tag = "recordings",
    params(("id" = String, Path, description = "the room")),
    responses((status = 200, description = "the answer", body = Recording), Unauthenticated, Forbidden, NotFound, Busy))]
async fn start(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    let room: RoomId = params.get(0, ErrorCode::RoomNotFound)?;
    app.admitted(&caller, &room).await?;
    Ok(reply::ok(&app.node.start_recording(&room, &caller.claims).await?))
}

/// Stops recording. One that was stopped is answered as it is. For the host, or whom a token permits.
#[utoipa::path(post, path = "/rooms/{id}/recording/stop", tag = "recordings",
    params(("id" = String, Path, description = "the room")),
    responses((status = 200, description = "the answer", body = Recording), Unauthenticated, Forbidden, NotFound, Busy))]
async fn stop(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    let room: RoomId = params.get(0, ErrorCode::RoomNotFound)?;
    app.admitted(&caller, &room).await?;
    Ok(reply::ok(&app.node.stop_recording(&room, &caller.claims).await?))
}

/// Which recordings to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct RecordingsQuery {
    /// Of this room.
    room: Option<RoomId>,
    /// Of this call.
    call: Option<CallId>,
    /// In this state.
    state: Option<RecordingState>,
}

/// Recordings, newest first: an admin sees all, others those of their rooms and of calls they were in.
#[utoipa::path(get, path = "/recordings", tag = "recordings",
    params(RecordingsQuery, crate::http::openapi::PageParams),
    responses((status = 200, description = "the answer", body = Page<Recording>), Unauthenticated, Malformed, Busy))]
async fn list(app: SharedApp, caller: Caller, query: RecordingsQuery, page: PageRequest) -> Result<Response, Refusal> {
    app.catch_up().await;
    let own_room = caller.claims.room.clone();
    // The bearer of a host's token sees what its room's owner sees.
    let hosted = app.room_of_host_token(&caller).await?;
    let filter = RecordingFilter {
        room: own_room.or(query.room),
        call: query.call,
        state: query.state,
        visible_to: visible_to(&caller).filter(|_| hosted.is_none()),
        // Not what was recorded in an earlier room of that id.
        since: hosted.map(|room| room.created_at).or_else(|| visible_since(&caller)),
    };
    let found = app
        .store
        .recordings(&filter, &page)
        .await
        .map_err(|e| refused_by_store(&e))?;
    let mut items = Vec::with_capacity(found.items.len());
    for stored in found.items {
        items.push(app.with_urls(stored).await?);
    }
    Ok(reply::ok(&Page {
        items,
        next_cursor: found.next_cursor,
    }))
}

/// A recording with its files. A file's `url` plays for an hour without a header.
#[utoipa::path(get, path = "/recordings/{id}", tag = "recordings",
    params(("id" = String, Path, description = "the recording")),
    responses((status = 200, description = "the answer", body = Recording), Unauthenticated, NotFound, Busy))]
async fn read(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    let id = params.get(0, ErrorCode::RecordingNotFound)?;
    let stored = app.visible_recording(&caller, id).await?;
    Ok(reply::ok(&app.with_urls(stored).await?))
}

/// Deletes a recording and its files. For the room's host; one that still runs is to be stopped first.
#[utoipa::path(delete, path = "/recordings/{id}", tag = "recordings",
    params(("id" = String, Path, description = "the recording")), responses(
    (status = 204, description = "gone"),
    (status = 409, description = "it is not finished", body = caside_protocol::rest::ErrorBody),
    Unauthenticated, Forbidden, NotFound, Busy))]
async fn delete(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    let id = params.get(0, ErrorCode::RecordingNotFound)?;
    let stored = app.visible_recording(&caller, id).await?;
    // Whoever owned the room sees what was recorded there; by a token of a lower role they do no more than that.
    let host = caller.role_in(&stored.recording.room_id, stored.owner.as_ref()) == Some(Role::Host);
    if !host || !app.hosts_recording(&caller, &stored).await? {
        return Err(Refusal::new(
            ErrorCode::Forbidden,
            "only the room's host may delete its recordings",
        ));
    }
    if matches!(
        stored.recording.state,
        RecordingState::Recording | RecordingState::Finalizing
    ) {
        let why = "the recording is not finished; stop it and wait until it is ready";
        return Ok(Problem::with_status(StatusCode::CONFLICT, ErrorCode::InvalidPayload, why).into_response());
    }
    app.delete_objects(id).await?;
    app.store.delete_recording(id).await.map_err(|e| refused_by_store(&e))?;
    Ok(reply::no_content())
}

/// The path of a recording's file.
pub(crate) fn file_path(id: RecordingId, name: &str) -> String {
    format!("/recordings/{id}/files/{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

/// The answer to whoever needed the object store.
pub(crate) fn refused_by_objects(error: &ObjectError) -> Refusal {
    if error.is_unavailable() {
        tracing::warn!(error = %error, "the object store is away");
        let why = "the object store is away; try again";
        return Refusal::new(ErrorCode::DependencyUnavailable, why).retry_after_ms(1000);
    }
    tracing::error!(error = ?error, "the object store failed");
    Refusal::new(ErrorCode::Internal, "the object store failed")
}

impl App {
    /// A recording that the caller may see. To others it is as if it were not there.
    ///
    /// # Errors
    /// `recording_not_found`; the database may be away.
    pub(crate) async fn visible_recording(&self, caller: &Caller, id: RecordingId) -> Result<StoredRecording, Refusal> {
        self.catch_up().await;
        let stored = self.store.recording(id).await.map_err(|e| refused_by_store(&e))?;
        let stored = stored.ok_or_else(|| absent(ErrorCode::RecordingNotFound))?;
        if self.hosts_recording(caller, &stored).await? || self.was_recorded(caller, &stored).await? {
            return Ok(stored);
        }
        Err(absent(ErrorCode::RecordingNotFound))
    }

    /// Whether a caller is an admin, owned the room when it was recorded, or hosts the room that it was recorded in. A later
    /// room of the same id gives no right to what was recorded before it was made.
    async fn hosts_recording(&self, caller: &Caller, stored: &StoredRecording) -> Result<bool, Refusal> {
        let id = &stored.recording.room_id;
        if !caller.claims.admits(id) {
            return Ok(false);
        }
        if visible_since(caller).is_some_and(|since| stored.recording.started_at < since) {
            return Ok(false);
        }
        if caller.is_admin() || stored.owner.as_ref() == Some(caller.user()) {
            return Ok(true);
        }
        let room = self.store.room(id).await.map_err(|e| refused_by_store(&e))?;
        Ok(room.is_some_and(|room| {
            let hosts = caller.role_in(id, room.owner.as_ref()) == Some(Role::Host);
            hosts && room.admits(caller.claims.right_since()) && stored.recording.started_at >= room.created_at
        }))
    }

    /// Whether a caller was in the recorded call.
    async fn was_recorded(&self, caller: &Caller, stored: &StoredRecording) -> Result<bool, Refusal> {
        let Some(call) = stored.recording.call_id else {
            return Ok(false);
        };
        let unseen = visible_since(caller).is_some_and(|since| stored.recording.started_at < since);
        if unseen || !caller.claims.admits(&stored.recording.room_id) {
            return Ok(false);
        }
        let call = self.store.call(call).await.map_err(|e| refused_by_store(&e))?;
        Ok(call.is_some_and(|call| call.participants.iter().any(|stay| stay.user == *caller.user())))
    }

    /// The recording as REST shows it: its files with URLs that play without a header, from the object store when it
    /// has such a thing, else from us.
    async fn with_urls(&self, stored: StoredRecording) -> Result<Recording, Refusal> {
        let mut recording = stored.recording;
        if recording.files.is_empty() {
            return Ok(recording);
        }
        let kept = self
            .store
            .recording_files(recording.id)
            .await
            .map_err(|e| refused_by_store(&e))?;
        for file in &mut recording.files {
            let Some(kept) = kept.iter().find(|kept| kept.name == file.name) else {
                continue;
            };
            let presigned = self.objects.presign_get(&kept.storage_key, URL_VALID).await;
            file.url = match presigned.map_err(|e| refused_by_objects(&e))? {
                Some(url) => url,
                None => {
                    let path = file_path(recording.id, &file.name);
                    self.auth.urls().sign(&path, OffsetDateTime::now_utc(), URL_VALID)
                }
            };
        }
        Ok(recording)
    }

    /// Deletes what the object store has of a recording, listed or not. Segments that are still in the spool are its
    /// finisher's.
    async fn delete_objects(&self, id: RecordingId) -> Result<(), Refusal> {
        let files = self.store.recording_files(id).await.map_err(|e| refused_by_store(&e))?;
        for file in files {
            let deleted = self.objects.delete(&file.storage_key).await;
            deleted.map_err(|e| refused_by_objects(&e))?;
        }
        let rest = self.objects.delete_all(&format!("recordings/{id}/")).await;
        rest.map_err(|e| refused_by_objects(&e))?;
        Ok(())
    }
}
