//! The OpenAPI 3.1 document of the REST API.

use std::sync::LazyLock;

use caside_protocol::error::Refusal;
use caside_protocol::rest::{ErrorBody, Page, Recording};
use caside_protocol::view;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi};
use warp::Filter;
use warp::http::Method;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use warp::reply::Response;

use super::endpoint::Endpoint;
use super::extract;
use super::routes::{
    admin, auth, calls, explain, health, inspect, metrics, moderation, playback, recordings, rooms, whip,
};

/// Without a credential that holds.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "documents answers that problems become")]
#[response(
    status = 401,
    description = "`unauthorized`, `invalid_credentials` or `token_expired`"
)]
pub(crate) struct Unauthenticated(#[to_schema] ErrorBody);

/// With one that does not suffice.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "documents answers that problems become")]
#[response(status = 403, description = "`forbidden`: the credential does not permit this")]
pub(crate) struct Forbidden(#[to_schema] ErrorBody);

/// For a thing that is not there.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "documents answers that problems become")]
#[response(status = 404, description = "there is no such thing; the code says which")]
pub(crate) struct NotFound(#[to_schema] ErrorBody);

/// For what cannot be read.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "documents answers that problems become")]
pub(crate) enum Malformed {
    /// Not what it should be.
    #[response(status = 400, description = "`invalid_payload`")]
    Payload(#[to_schema] ErrorBody),
    /// Too slow.
    #[response(status = 408, description = "the body did not arrive in time")]
    Late(#[to_schema] ErrorBody),
    /// Too much.
    #[response(
        status = 413,
        description = "`too_large`: over 64 KiB, or a field over its own limit"
    )]
    TooLarge(#[to_schema] ErrorBody),
    /// Not JSON.
    #[response(status = 415, description = "the body is not `application/json`")]
    NotJson(#[to_schema] ErrorBody),
}

/// For what may succeed later, or is our fault.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "documents answers that problems become")]
pub(crate) enum Busy {
    /// Too often.
    #[response(status = 429, description = "`rate_limited`; see `Retry-After`")]
    RateLimited(#[to_schema] ErrorBody),
    /// Our fault.
    #[response(status = 500, description = "`internal`")]
    Internal(#[to_schema] ErrorBody),
    /// Later.
    #[response(
        status = 503,
        description = "`overloaded`, `draining` or `dependency_unavailable`; see `Retry-After`"
    )]
    Unavailable(#[to_schema] ErrorBody),
}

/// For whoever asks too often, where nothing else can go wrong.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "documents answers that problems become")]
#[response(status = 429, description = "`rate_limited`; see `Retry-After`")]
pub(crate) struct RateLimited(#[to_schema] ErrorBody);

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents what `extract::page` reads")]
pub(crate) struct PageParams {
    /// Items on a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(title = "Caside", description = "Calls and their recordings. The WebSocket protocol is described in docs/protocol.md."),
    paths(
        health::alive, health::live, health::ready,
        auth::login, auth::token, auth::logout, auth::public_keys,
        admin::nodes, admin::rooms, admin::drain, explain::call, inspect::actors, inspect::room,
        rooms::create, rooms::list, rooms::read, rooms::update, rooms::delete,
        moderation::list, moderation::mute, moderation::kick, moderation::set_role,
        calls::create, calls::list, calls::read, calls::end,
        recordings::start, recordings::stop, recordings::list, recordings::read, recordings::delete,
        playback::file,
        whip::publish, whip::patch, whip::end, whip::view, whip::patch_view, whip::end_view,
        metrics::metrics,
    ),
    components(schemas(ErrorBody, Page<view::Room>, Page<Recording>)),
    security(("bearer" = [])),
    modifiers(&Bearer),
)]
struct Document;

static TEXT: LazyLock<String> = LazyLock::new(|| {
    Document::openapi()
        .to_pretty_json()
        .expect("the document has a form in JSON")
});

/// `/openapi.json`.
pub(crate) fn endpoint() -> Endpoint {
    Endpoint::new(Method::GET, "/openapi.json", extract::nothing().then(document))
}

async fn document() -> Result<Response, Refusal> {
    let mut response = Response::new(TEXT.as_str().into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::auth::keys::KeyRing;
    use crate::auth::password::Passwords;
    use crate::config::Settings;
    use crate::http::routes;
    use crate::wiring::{Running, open_store};

    /// The methods and paths that a whole node answers.
    async fn served() -> BTreeSet<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            data_dir: dir.path().to_str().unwrap().parse().unwrap(),
            media_port: "0".parse().unwrap(),
            ..Settings::default()
        };
        let keys = KeyRing::load(&settings).unwrap();
        let store = open_store(&settings).await.unwrap();
        let running = Running::start(
            &settings,
            keys,
            Passwords::new().unwrap(),
            store,
            std::sync::Arc::default(),
        )
        .await
        .unwrap();
        let table = routes::table(&running.app);
        table
            .iter()
            .map(|endpoint| (endpoint.method.to_string(), endpoint.template.to_owned()))
            .collect()
    }

    #[tokio::test]
    async fn the_document_has_every_endpoint_and_every_answer_a_description() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let mut documented = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                documented.insert((method.to_uppercase(), path.clone()));
                for (status, answer) in operation["responses"].as_object().unwrap() {
                    assert!(answer["description"].is_string(), "{method} {path} {status}");
                }
                let said = operation["summary"].is_string() || operation["description"].is_string();
                assert!(said, "{method} {path}");
            }
        }
        assert_eq!(document["openapi"], "3.1.0");
        let mut served = served().await;
        // These two are not REST.
        served.retain(|(_, path)| !matches!(path.as_str(), "/ws" | "/openapi.json"));
        assert_eq!(documented, served);
    }
}
