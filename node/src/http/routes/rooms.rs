//! Rooms.

use caside_actors::refused::{self, Reason};
use caside_protocol::error::Refusal;
use caside_protocol::rest::{CreateRoom, MAX_LAST_N, MAX_METADATA_BYTES, MAX_ROOM_NAME, Page, UpdateRoom};
use caside_protocol::view::Room;
use caside_protocol::{ErrorCode, RoomId};
use caside_store::PageRequest;
use caside_store::rooms::StoredRoom;
use serde_json::Value;
use time::OffsetDateTime;
use warp::Filter;
use warp::http::Method;
use warp::reply::Response;

use crate::audit::Trail;
use crate::auth::{Caller, refused_by_store};
use crate::http::access::{idle, visible_to};
use crate::http::endpoint::{Endpoint, Params, absent};
use crate::http::openapi::{Busy, Forbidden, Malformed, NotFound, Unauthenticated};
use crate::http::{App, SharedApp, extract, reply};
use crate::text::{printable, without_nul};

/// `/rooms` and `/rooms/{id}`.
pub(crate) fn endpoints(app: &SharedApp) -> Vec<Endpoint> {
    let asked = || extract::app(app).and(extract::caller(app));
    let one = || asked().and(extract::params());
    vec![
        Endpoint::new(
            Method::POST,
            "/rooms",
            asked().and(extract::trail()).and(extract::json()).then(create),
        ),
        Endpoint::new(Method::GET, "/rooms", asked().and(extract::page()).then(list)),
        Endpoint::new(Method::GET, "/rooms/{id}", one().then(read)),
        Endpoint::new(
            Method::PATCH,
            "/rooms/{id}",
            one().and(extract::trail()).and(extract::json()).then(update),
        ),
        Endpoint::new(Method::DELETE, "/rooms/{id}", one().then(delete)),
    ]
}

/// Makes a room. The same room by the same owner is answered as it is.
#[utoipa::path(post, path = "/rooms", tag = "rooms", request_body = CreateRoom, responses(
    (status = 201, description = "made; `Location` says where", body = Room),
    (status = 200, description = "it was there already", body = Room),
    (status = 409, description = "somebody else owns a room of this id", body = caside_protocol::rest::ErrorBody),
    Unauthenticated, Forbidden, Malformed, Busy))]
async fn create(app: SharedApp, caller: Caller, trail: Trail, asked: CreateRoom) -> Result<Response, Refusal> {
    check(
        &app,
        asked.name.as_deref(),
        Some(asked.max_participants),
        Some(&asked.metadata),
    )?;
    check_last_n("last_n", Some(asked.last_n))?;
    check_last_n("audio_last_n", Some(asked.audio_last_n))?;
    let id = asked.id.clone().unwrap_or_else(RoomId::generate);
    trail.note(|act| act.room = Some(id.to_string()));
    app.may_create(&caller, &id).await?;
    let (room, made) = app.create_room(&caller, id, asked).await?;
    if made {
        return Ok(reply::created(&format!("/rooms/{}", room.id), &room));
    }
    Ok(reply::ok(&room))
}

impl App {
    /// Makes a room for a caller who may, or finds theirs of this id; `true` with it when it was made.
    ///
    /// # Errors
    /// `room_exists` when somebody else owns it, `forbidden` when the caller has too many; the database may be away.
    pub(crate) async fn create_room(
        &self,
        caller: &Caller,
        id: RoomId,
        asked: CreateRoom,
    ) -> Result<(Room, bool), Refusal> {
        let owned = |room: Room| {
            if room.owner.as_ref() == Some(caller.user()) {
                return Ok((room, false));
            }
            Err(Refusal::new(
                ErrorCode::RoomExists,
                "somebody else owns a room of this id",
            ))
        };
        // One that was made by joining it runs before it is in the database.
        if let Some(live) = self.node.room_view(&id).await? {
            return owned(live);
        }
        if let Some(stored) = self.store.room(&id).await.map_err(|e| refused_by_store(&e))? {
            return owned(idle(stored));
        }
        self.may_own_another(caller).await?;
        let room = StoredRoom {
            id,
            name: asked.name,
            mode: asked.mode,
            max_participants: asked.max_participants,
            last_n: asked.last_n,
            audio_last_n: asked.audio_last_n,
            record: asked.record,
            locked: false,
            metadata: object_or_null(asked.metadata),
            owner: Some(caller.user().clone()),
            created_at: OffsetDateTime::now_utc(),
            tokens_since: None,
        };
        let (room, made) = self.store.create_room(&room).await.map_err(|e| refused_by_store(&e))?;
        if made {
            Ok((idle(room), true))
        } else {
            owned(idle(room))
        }
    }
}

impl App {
    /// Whether a caller has fewer rooms than a user may have. Two requests at once may both pass: the bound is against many.
    async fn may_own_another(&self, caller: &Caller) -> Result<(), Refusal> {
        if caller.is_admin() {
            return Ok(());
        }
        let owned = self.store.rooms_owned(caller.user()).await;
        if owned.map_err(|e| refused_by_store(&e))? < self.max_rooms_per_user {
            return Ok(());
        }
        refused::count(Reason::RoomsUser);
        let why = format!(
            "you own {} rooms, as many as a user may; delete some",
            self.max_rooms_per_user
        );
        Err(Refusal::new(ErrorCode::Forbidden, why))
    }
}

/// Absent metadata is an empty object for readers.
fn object_or_null(metadata: Value) -> Value {
    if metadata.is_null() {
        Value::Object(serde_json::Map::new())
    } else {
        metadata
    }
}

/// Checks what types do not.
fn check(
    app: &App,
    name: Option<&str>,
    max_participants: Option<u32>,
    metadata: Option<&Value>,
) -> Result<(), Refusal> {
    let refuse = |code, why: String| Err(Refusal::new(code, why));
    if let Some(name) = name {
        printable("name", name)?;
    }
    if let Some(metadata) = metadata {
        without_nul("metadata", metadata)?;
    }
    if name.is_some_and(|name| name.chars().count() > MAX_ROOM_NAME) {
        return refuse(
            ErrorCode::TooLarge,
            format!("name: may have {MAX_ROOM_NAME} characters at most"),
        );
    }
    if max_participants.is_some_and(|most| most > app.max_room_size) {
        return refuse(
            ErrorCode::InvalidPayload,
            format!("max_participants: must be 0 to {}", app.max_room_size),
        );
    }
    if metadata.is_some_and(|metadata| metadata.to_string().len() > MAX_METADATA_BYTES) {
        return refuse(
            ErrorCode::TooLarge,
            format!("metadata: may have {MAX_METADATA_BYTES} bytes as JSON at most"),
        );
    }
    Ok(())
}

/// Checks a number of cameras or voices.
fn check_last_n(name: &str, count: Option<u32>) -> Result<(), Refusal> {
    if count.is_some_and(|count| count > MAX_LAST_N) {
        let why = format!("{name}: must be 0 to {MAX_LAST_N}");
        return Err(Refusal::new(ErrorCode::InvalidPayload, why));
    }
    Ok(())
}

/// Rooms, newest first: an admin sees all, others their own, the bearer of a room's token that room.
#[utoipa::path(get, path = "/rooms", tag = "rooms", params(crate::http::openapi::PageParams),
    responses((status = 200, description = "the answer", body = Page<Room>), Unauthenticated, Malformed, Busy))]
async fn list(app: SharedApp, caller: Caller, page: PageRequest) -> Result<Response, Refusal> {
    if let Some(only) = &caller.claims.room {
        let items = match app.admitted(&caller, only).await {
            Ok(room) => vec![room],
            Err(refusal) if refusal.code == ErrorCode::RoomNotFound => Vec::new(),
            Err(refusal) => return Err(refusal),
        };
        let next_cursor = None;
        return Ok(reply::ok(&Page { items, next_cursor }));
    }
    let owner = visible_to(&caller);
    let stored = app
        .store
        .rooms(owner.as_ref(), &page)
        .await
        .map_err(|e| refused_by_store(&e))?;
    let mut items = Vec::with_capacity(stored.items.len());
    for room in stored.items {
        items.push(app.node.room_view(&room.id).await?.unwrap_or_else(|| idle(room)));
    }
    Ok(reply::ok(&Page {
        items,
        next_cursor: stored.next_cursor,
    }))
}

/// A room, with who is in it.
#[utoipa::path(get, path = "/rooms/{id}", tag = "rooms", params(("id" = String, Path, description = "the room")),
    responses((status = 200, description = "the answer", body = Room), Unauthenticated, Forbidden, NotFound, Busy))]
async fn read(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    let id: RoomId = params.get(0, ErrorCode::RoomNotFound)?;
    Ok(reply::ok(&app.admitted(&caller, &id).await?))
}

/// Changes a room; fields that are left out stay. For its host.
#[utoipa::path(patch, path = "/rooms/{id}", tag = "rooms", params(("id" = String, Path, description = "the room")),
    request_body = UpdateRoom,
    responses((status = 200, description = "the answer", body = Room), Unauthenticated, Forbidden, NotFound, Malformed, Busy))]
async fn update(
    app: SharedApp,
    caller: Caller,
    params: Params,
    trail: Trail,
    change: UpdateRoom,
) -> Result<Response, Refusal> {
    if let Some(locked) = change.locked {
        trail.note(|act| act.action = if locked { "room.lock" } else { "room.unlock" });
    }
    let id: RoomId = params.get(0, ErrorCode::RoomNotFound)?;
    check(
        &app,
        change.name.as_deref(),
        change.max_participants,
        change.metadata.as_ref(),
    )?;
    check_last_n("last_n", change.last_n)?;
    check_last_n("audio_last_n", change.audio_last_n)?;
    app.hosted(&caller, &id).await?;
    app.catch_up().await;
    let stored = app
        .store
        .update_room(&id, &change)
        .await
        .map_err(|e| refused_by_store(&e))?;
    let stored = stored.ok_or_else(|| absent(ErrorCode::RoomNotFound))?;
    app.node.update_room(&id, &change).await?;
    let live = app.node.room_view(&id).await?;
    Ok(reply::ok(&live.unwrap_or_else(|| idle(stored))))
}

/// Deletes a room and ends its call; calls and recordings of it stay. For its host.
#[utoipa::path(delete, path = "/rooms/{id}", tag = "rooms", params(("id" = String, Path, description = "the room")),
    responses((status = 204, description = "gone"), Unauthenticated, Forbidden, NotFound, Busy))]
async fn delete(app: SharedApp, caller: Caller, params: Params) -> Result<Response, Refusal> {
    let id: RoomId = params.get(0, ErrorCode::RoomNotFound)?;
    app.hosted(&caller, &id).await?;
    // Its end is remembered before it runs no more: whoever joins meanwhile does not bring it back.
    app.catch_up().await;
    let deleted = app.store.delete_room(&id, OffsetDateTime::now_utc()).await;
    deleted.map_err(|e| refused_by_store(&e))?;
    app.node.delete_room(&id).await?;
    Ok(reply::no_content())
}
