//! A request of the command line to a node that runs, with a token of an admin that is good for a minute.

use std::time::Duration;

use anyhow::{Context, bail};
use caside_protocol::UserId;
use caside_protocol::claims::Claims;
use caside_protocol::rest::ErrorBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::auth::ISSUER;
use crate::auth::keys::KeyRing;
use crate::config::Settings;
use crate::http::tls;
use crate::private;

use super::trusted;

/// What one request may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Most that is read of an answer.
const MAX_ANSWER: usize = 64 << 20;
/// How long its token is good, in seconds.
const TOKEN_S: i64 = 60;

/// Asks the node that these settings are of.
///
/// # Errors
/// When it does not run, refuses, or answers something else.
pub(super) async fn ask<T: DeserializeOwned>(
    settings: &Settings,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> anyhow::Result<T> {
    let address = settings.listen.first().copied().context("no address is configured")?;
    // One that listens everywhere is asked on this machine.
    let address = match (address.ip().is_unspecified(), address.is_ipv4()) {
        (true, true) => ([127, 0, 0, 1], address.port()).into(),
        (true, false) => ([0, 0, 0, 0, 0, 0, 0, 1], address.port()).into(),
        (false, _) => address,
    };
    let answer = tokio::time::timeout(LIMIT, send(settings, address, method, path, body)).await;
    let (status, bytes) = answer.context("the node did not answer in time")??;
    if !status.is_success() {
        match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(refused) => bail!("{}: {}", refused.error.code, refused.error.message),
            Err(_) => bail!("the node answered {status}"),
        }
    }
    serde_json::from_slice(&bytes).context("the node answered something else")
}

async fn send(
    settings: &Settings,
    address: std::net::SocketAddr,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> anyhow::Result<(hyper::StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await;
    let stream =
        stream.with_context(|| format!("no node answers on {address}; start one, or say where it is with --listen"))?;
    let (mut sender, connection) = match tls::files(settings) {
        Some((cert, _)) => {
            let stream = trusted::connect(cert, stream).await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            (sender, tokio::spawn(connection))
        }
        None => {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            (sender, tokio::spawn(connection))
        }
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("authorization", format!("Bearer {}", token(settings)?))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.unwrap_or_default())))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    connection.abort();
    let bytes = body
        .map_err(|error| anyhow::anyhow!("the answer was cut off: {error}"))?
        .to_bytes();
    Ok((status, bytes))
}

fn token(settings: &Settings) -> anyhow::Result<String> {
    private::data_dir(settings.data_dir())?;
    let keys = KeyRing::load(settings).context("cannot load the keys for tokens")?;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let token = keys.sign(&Claims {
        iss: ISSUER.to_owned(),
        sub: UserId::new("operator")?,
        name: None,
        iat: now,
        nbf: None,
        exp: now + TOKEN_S,
        jti: Some(Uuid::now_v7().to_string()),
        scope: "user admin".to_owned(),
        room: None,
        role: None,
        grants: None,
        room_since_us: None,
    });
    token.context("the token could not be signed")
}
