//! A bot's WebSocket: requests and their answers, and the events between them.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// How long one answer may take before the run counts it as failed.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Events that are kept while an answer is waited for; beyond it the oldest is dropped.
const MAX_EVENTS: usize = 4096;

/// A signed-in WebSocket.
pub(crate) struct Session {
    socket: WebSocketStream<TcpStream>,
    events: VecDeque<Value>,
    requests: u64,
}

impl Session {
    /// Connects and waits for the welcome.
    pub(crate) async fn connect(address: &str, token: &str) -> Result<Self> {
        let request = format!("ws://{address}/ws?token={token}").into_client_request()?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let connecting = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        let (socket, _) = timeout(ANSWER_LIMIT, connecting).await.context("no handshake")??;
        let mut session = Self {
            socket,
            events: VecDeque::new(),
            requests: 0,
        };
        session
            .answer(|message| message["type"] == "welcome")
            .await
            .context("no welcome")?;
        Ok(session)
    }

    /// Sends a request and waits for its answer's payload.
    pub(crate) async fn request(&mut self, kind: &str, payload: Value) -> Result<Value> {
        self.requests += 1;
        let id = self.requests;
        let message = json!({"type": kind, "id": id, "payload": payload});
        self.socket.send(Message::text(message.to_string())).await?;
        let mut answer = self
            .answer(|message| message["id"] == id)
            .await
            .with_context(|| format!("no answer to {kind}"))?;
        if answer["type"] == "error" {
            bail!("{kind}: {}", answer["payload"]);
        }
        Ok(answer["payload"].take())
    }

    /// The next event. Reading also answers the node's pings.
    pub(crate) async fn event(&mut self) -> Result<Value> {
        match self.events.pop_front() {
            Some(event) => Ok(event),
            None => self.read().await,
        }
    }

    /// Leaves and waits until the node has seen it.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.socket.close(None).await?;
        while let Ok(Some(Ok(_))) = timeout(ANSWER_LIMIT, self.socket.next()).await {}
        Ok(())
    }

    async fn answer(&mut self, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        timeout(ANSWER_LIMIT, async {
            loop {
                let message = self.read().await?;
                if is_it(&message) {
                    return Ok(message);
                }
                if self.events.len() >= MAX_EVENTS {
                    self.events.pop_front();
                }
                self.events.push_back(message);
            }
        })
        .await
        .context("not in time")?
    }

    async fn read(&mut self) -> Result<Value> {
        loop {
            let message = self.socket.next().await.context("the node closed the socket")??;
            if message.is_text() {
                return Ok(serde_json::from_str(message.to_text()?)?);
            }
        }
    }
}
