//! A client of the WebSocket protocol, in either dialect.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Node, PATIENCE};

pub(crate) const JSON: &str = "caside.json.v1";
pub(crate) const MSGPACK: &str = "caside.msgpack.v1";

/// A connection of any kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// An open socket.
pub(crate) struct Ws {
    stream: WebSocketStream<Box<dyn Io>>,
    binary: bool,
    next_id: u64,
}

/// How a socket was closed by the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

impl Ws {
    /// Upgrades with these headers.
    ///
    /// # Errors
    /// The status with which the upgrade was refused.
    pub(crate) async fn open(node: &Node, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let stream = TcpStream::connect(&node.address).await.unwrap();
        Self::over(Box::new(stream), node, path, headers).await
    }

    /// The same over a connection that is there.
    ///
    /// # Errors
    /// The status with which the upgrade was refused.
    pub(crate) async fn over(
        stream: Box<dyn Io>,
        node: &Node,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let mut request = format!("ws://{}{path}", node.address).into_client_request().unwrap();
        for (name, value) in headers {
            request
                .headers_mut()
                .append(*name, HeaderValue::from_str(value).unwrap());
        }
        match timeout(PATIENCE, client_async(request, stream))
            .await
            .expect("an answer in time")
        {
            Ok((stream, answer)) => {
                let chosen = answer.headers().get("sec-websocket-protocol");
                let binary = chosen.is_some_and(|name| name == MSGPACK);
                Ok(Self {
                    stream,
                    binary,
                    next_id: 0,
                })
            }
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(e) => panic!("{e}"),
        }
    }

    /// Opens with a token and takes the `welcome`.
    pub(crate) async fn welcomed(node: &Node, token: &str, dialect: &str) -> (Self, Value) {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("sec-websocket-protocol", dialect)];
        let mut ws = Self::open(node, "/ws", &headers).await.expect("an upgrade");
        let welcome = ws.receive().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (ws, welcome["payload"].clone())
    }

    /// Opens, and joins a room; what `joined` says.
    pub(crate) async fn joined(node: &Node, token: &str, room: &str, dialect: &str) -> (Self, Value) {
        let (mut ws, _) = Self::welcomed(node, token, dialect).await;
        let joined = ws.ask("join", json!({"room": room, "display_name": "Ada"})).await;
        assert_eq!(joined["type"], "joined", "{joined}");
        (ws, joined["payload"].clone())
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &Value) {
        let frame = if self.binary {
            Message::Binary(rmp_serde::to_vec_named(message).unwrap().into())
        } else {
            Message::Text(message.to_string().into())
        };
        self.send_frame(frame).await;
    }

    /// Sends a frame as it is.
    pub(crate) async fn send_frame(&mut self, frame: Message) {
        timeout(PATIENCE, self.stream.send(frame))
            .await
            .expect("written in time")
            .unwrap();
    }

    /// Sends a frame that the server may no longer want.
    pub(crate) async fn try_send_frame(&mut self, frame: Message) -> bool {
        timeout(PATIENCE, self.stream.send(frame))
            .await
            .expect("written in time")
            .is_ok()
    }

    /// Sends a request and waits for its answer; events that come before it are passed over.
    pub(crate) async fn ask(&mut self, kind: &str, payload: Value) -> Value {
        self.next_id += 1;
        let id = format!("r{}", self.next_id);
        self.send(&json!({"type": kind, "id": id, "payload": payload})).await;
        loop {
            let message = self.receive().await;
            if message["id"] == id.as_str() {
                return message;
            }
        }
    }

    /// The next message.
    pub(crate) async fn receive(&mut self) -> Value {
        match self.next().await {
            Ok(message) => message,
            Err(closed) => panic!("the socket was closed: {closed:?}"),
        }
    }

    /// The next message of this type; others are passed over.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.receive().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Reads until the server closes.
    pub(crate) async fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.next().await {
                return closed;
            }
        }
    }

    /// The next message, or how the socket was closed. A connection that breaks is code 1006.
    pub(crate) async fn next(&mut self) -> Result<Value, Closed> {
        loop {
            let broken = || Closed {
                code: 1006,
                reason: String::new(),
            };
            let frame = timeout(PATIENCE, self.stream.next()).await.expect("a message in time");
            match frame.ok_or_else(broken)?.map_err(|_| broken())? {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Binary(bytes) => return Ok(rmp_serde::from_slice(&bytes).unwrap()),
                Message::Close(frame) => {
                    let CloseFrame { code, reason } = frame.ok_or_else(broken)?;
                    return Err(Closed {
                        code: code.into(),
                        reason: reason.to_string(),
                    });
                }
                _ => {}
            }
        }
    }

    /// Closes cleanly.
    pub(crate) async fn close(mut self) {
        self.stream.close(None).await.unwrap();
        while self.next().await.is_ok() {}
    }
}
