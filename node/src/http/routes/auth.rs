//! Tokens.

use caside_protocol::error::Refusal;
use caside_protocol::rest::{LogoutRequest, TokenRequest, TokenResponse};
use caside_protocol::{ErrorCode, Role};
use warp::Filter;
use warp::http::Method;
use warp::http::header::{CACHE_CONTROL, HeaderValue};
use warp::reply::Response;

use crate::audit::{Act, Trail};
use crate::auth::Caller;
use crate::client::Client;
use crate::http::endpoint::Endpoint;
use crate::http::openapi::{Busy, Malformed, RateLimited, Unauthenticated};
use crate::http::{SharedApp, extract, reply};

/// `/login`, `/auth/…` and the public keys.
pub(crate) fn endpoints(app: &SharedApp) -> Vec<Endpoint> {
    let given = || {
        extract::app(app)
            .and(extract::client())
            .and(extract::trail())
            .and(extract::json::<TokenRequest>())
    };
    vec![
        Endpoint::new(Method::POST, "/login", given().then(login)),
        Endpoint::new(
            Method::POST,
            "/auth/token",
            given().and(extract::maybe_caller(app)).then(token),
        ),
        Endpoint::new(
            Method::POST,
            "/auth/logout",
            extract::app(app).and(extract::json()).then(logout),
        ),
        Endpoint::new(
            Method::GET,
            "/.well-known/jwks.json",
            extract::app(app).then(public_keys),
        ),
    ]
}

/// A token for a password or a refresh token. Refresh tokens are good once; one that is presented again ends its session.
#[utoipa::path(post, path = "/login", tag = "auth", request_body = TokenRequest,
    responses((status = 200, description = "the answer", body = TokenResponse), Unauthenticated, Malformed, Busy), security(()))]
async fn login(app: SharedApp, from: Client, trail: Trail, request: TokenRequest) -> Result<Response, Refusal> {
    token(app, from, trail, request, None).await
}

/// A token for a password or a refresh token; or, for an admin, an API key or a room's host, a token for anyone that is
/// good for one room.
#[utoipa::path(post, path = "/auth/token", tag = "auth", request_body = TokenRequest, responses(
    (status = 200, description = "the answer", body = TokenResponse),
    (status = 403, description = "the bearer may not make this token", body = caside_protocol::rest::ErrorBody),
    Unauthenticated, Malformed, Busy), security((), ("bearer" = [])))]
async fn token(
    app: SharedApp,
    from: Client,
    trail: Trail,
    request: TokenRequest,
    caller: Option<Caller>,
) -> Result<Response, Refusal> {
    trail.note(|act| describe(act, &request));
    let answer = match request {
        TokenRequest::Password { username, password } => app.auth.login(&from, &username, &password).await?,
        TokenRequest::Refresh { refresh_token } => app.auth.refresh(&from, &refresh_token).await?,
        TokenRequest::Mint(request) => {
            let why = "a token for somebody else needs a bearer: an admin, an API key or the room's host";
            let minter = caller.ok_or_else(|| Refusal::new(ErrorCode::Unauthorized, why))?;
            app.auth.mint(&minter, request).await?
        }
    };
    Ok(reply::ok(&answer))
}

/// What of a request for a token is written down: whom it is for, and nothing that opens anything.
fn describe(act: &mut Act, request: &TokenRequest) {
    match request {
        TokenRequest::Password { username, .. } => {
            act.action = "login";
            act.target = Some(username.clone());
        }
        TokenRequest::Refresh { .. } => act.action = "token.refresh",
        TokenRequest::Mint(mint) => {
            act.action = "token.mint";
            act.target = Some(mint.user.to_string());
            act.room = Some(mint.room.to_string());
            let role = mint.role.map_or("participant", Role::as_str);
            act.detail = Some(match mint.ttl_s {
                Some(ttl_s) => format!("role {role}, ttl_s {ttl_s}"),
                None => format!("role {role}"),
            });
        }
    }
}

/// Ends the session of a refresh token.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", request_body = LogoutRequest,
    responses((status = 204, description = "ended, now or before"), Malformed, Busy), security(()))]
async fn logout(app: SharedApp, request: LogoutRequest) -> Result<Response, Refusal> {
    app.auth.logout(&request.refresh_token).await?;
    Ok(reply::no_content())
}

/// The keys that verify our tokens (RFC 7517). Shared secrets are not among them.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth",
    responses((status = 200, description = "a JWK set", body = serde_json::Value), RateLimited), security(()))]
async fn public_keys(app: SharedApp) -> Result<Response, Refusal> {
    let mut response = reply::ok(&app.auth.public_keys());
    let kept = HeaderValue::from_static("public, max-age=300");
    response.headers_mut().insert(CACHE_CONTROL, kept);
    Ok(response)
}
