//! The upgrade request (RFC 6455 §4.2): what is refused before there is a socket, and the answer that makes one.

use caside_actors::node::SessionArgs;
use caside_actors::outbound::outbound;
use caside_actors::refused::{self, Reason};
use caside_protocol::ErrorCode;
use caside_protocol::codec::Dialect;
use caside_protocol::error::Refusal;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use warp::http::{Method, StatusCode};
use warp::reply::Response;
use warp::{Filter, Reply};

use super::socket::Socket;
use crate::auth::Caller;
use crate::client::Client;
use crate::http::SharedApp;
use crate::http::endpoint::Endpoint;
use crate::http::extract;
use crate::http::problem::Problem;

/// `/ws`.
pub(crate) fn endpoint(app: &SharedApp) -> Endpoint {
    let filter = extract::app(app)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(extract::client())
        .and(extract::credential())
        .then(
            |app: SharedApp,
             headers: HeaderMap,
             upgrade: Option<OnUpgrade>,
             from: Client,
             credential: Option<String>| async move {
                let caller = caller(&app, credential).await?;
                match (upgrade, accept_key(&headers)) {
                    (Some(upgrade), Some(key)) => {
                        let claims = caller.as_ref().map(|caller| &caller.claims);
                        let (room, user) = (claims.and_then(|it| it.room.clone()), claims.map(|it| it.sub.clone()));
                        let opened = open(&app, &headers, key, upgrade, from, caller).await;
                        if let Err(refusal) = &opened {
                            app.node.turned_away(room.as_ref(), user.as_ref(), refusal);
                        }
                        opened
                    }
                    // A browser does not tell a page why its upgrade was refused; the page may ask in this way.
                    _ => match app.sockets.full() {
                        Some(refusal) => Err(refusal),
                        None => Ok(Problem::upgrade_required().into_response()),
                    },
                }
            },
        );
    Endpoint::new(Method::GET, "/ws", filter)
}

/// Who asks, if they say so; a credential that does not hold is refused here, and remembered.
async fn caller(app: &SharedApp, credential: Option<String>) -> Result<Option<Caller>, Refusal> {
    let Some(credential) = credential else { return Ok(None) };
    match app.auth.authenticate(&credential).await {
        Ok(caller) => Ok(Some(caller)),
        Err(refusal) => {
            app.node.turned_away_with(&credential, &refusal);
            Err(refusal)
        }
    }
}

/// The answer to the client's key, if this is a WebSocket upgrade of the one version there is.
fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |name: HeaderName, word: &str| {
        let values = headers
            .get_all(name)
            .into_iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") || !has(SEC_WEBSOCKET_VERSION, "13") {
        return None;
    }
    // 16 bytes in base64 (RFC 6455 §4.1).
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

/// The first dialect of ours that the client names; JSON when it names none. `Err` when it only names others.
fn negotiate(headers: &HeaderMap) -> Result<(Dialect, bool), Refusal> {
    let values = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut asked = values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .peekable();
    if asked.peek().is_none() {
        return Ok((Dialect::Json, false));
    }
    let known = asked.find_map(Dialect::from_subprotocol);
    known.map(|dialect| (dialect, true)).ok_or_else(|| {
        let why = "subprotocol: must be caside.json.v1 or caside.msgpack.v1";
        Refusal::new(ErrorCode::InvalidPayload, why)
    })
}

async fn open(
    app: &SharedApp,
    headers: &HeaderMap,
    accept: HeaderValue,
    upgrade: OnUpgrade,
    from: Client,
    caller: Option<Caller>,
) -> Result<Response, Refusal> {
    if !app.origins.admit(headers) {
        refused::count(Reason::Origin);
        return Err(Refusal::new(
            ErrorCode::Forbidden,
            "the page's origin is not permitted; see CASIDE_CORS_ORIGINS",
        ));
    }
    let (dialect, named) = negotiate(headers)?;
    let place = app.sockets.enter(&from, caller.is_some())?;
    let (queue, outbound) = outbound();
    let session = SessionArgs {
        dialect,
        outbound: queue,
        client_ip: Some(from.address),
        limited_as: from.key(),
        claims: caller.map(|caller| caller.claims),
    };
    let peer = app.node.open_session(session).await?;
    let socket = Socket {
        dialect,
        peer,
        outbound,
        heartbeat: app.sockets.heartbeat,
        place,
    };
    tokio::spawn(socket.run(upgrade));
    let mut response = Response::new(Vec::new().into());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if named {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(dialect.subprotocol()));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(protocols: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for names in protocols {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(names));
        }
        headers
    }

    #[test]
    fn the_clients_first_known_dialect_is_taken() {
        for (asked, want) in [
            (&[][..], Some((Dialect::Json, false))),
            (
                &["caside.msgpack.v1, caside.json.v1"],
                Some((Dialect::MessagePack, true)),
            ),
            (
                &["chat", "caside.json.v1, caside.msgpack.v1"],
                Some((Dialect::Json, true)),
            ),
            (&["chat, superchat"], None),
        ] {
            assert_eq!(negotiate(&asking(asked)).ok(), want, "{asked:?}");
        }
    }
}
