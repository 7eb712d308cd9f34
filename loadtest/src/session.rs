//! A bot's WebSocket: requests and their answers, and the events between them.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// How long one answer may take before the run counts it as failed.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Events that are kept while an answer is waited for; beyond it the oldest is dropped.
const MAX_EVENTS: usize = 4096;

/// A signed-in WebSocket.
pub(crate) struct Session {
    socket: WebSocketStream<TcpStream>,
    events: VecDeque<Value>,
    requests: u64,
    resume: Resume,
}

/// What a session needs to go on over another socket.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resume {
    token: String,
    last_seq: u64,
    /// The next event may have any higher number.
    anew: bool,
    /// Events whose number was not the next one.
    pub(crate) misnumbered: u64,
}

/// The node said no.
#[derive(Debug, thiserror::Error)]
#[error("{request}: {code}: {message}")]
pub(crate) struct Refused {
    request: String,
    /// Why.
    pub(crate) code: String,
    message: String,
    /// When to try again, in milliseconds.
    pub(crate) retry_after_ms: Option<u64>,
}

impl Session {
    /// Connects and waits for the welcome.
    pub(crate) async fn connect(address: &str, token: &str) -> Result<Self> {
        let mut session = Self::open(address, &format!("/ws?token={token}")).await?;
        let welcome = session.answer(|message| message["type"] == "welcome").await;
        session.may_resume(&welcome.context("no welcome")?["payload"]);
        Ok(session)
    }

    /// Goes on over a new socket. Returns the answer beside the session.
    pub(crate) async fn resume(address: &str, before: &Resume) -> Result<(Self, Value)> {
        let mut session = Self::open(address, "/ws").await?;
        let resumed = session
            .request(
                "resume",
                json!({"resume_token": before.token, "last_seq": before.last_seq}),
            )
            .await?;
        // Events that came before the answer are numbered after what was seen.
        session.resume = Resume {
            last_seq: session.resume.last_seq.max(before.last_seq),
            anew: resumed["reset"] == true && session.resume.last_seq == 0,
            misnumbered: before.misnumbered + session.resume.misnumbered,
            ..Resume::default()
        };
        session.may_resume(&resumed);
        Ok((session, resumed))
    }

    /// What it needs to go on over another socket.
    pub(crate) fn before(&self) -> &Resume {
        &self.resume
    }

    /// Connects, and waits for nothing.
    pub(crate) async fn open(address: &str, path: &str) -> Result<Self> {
        let request = format!("ws://{address}{path}").into_client_request()?;
        let stream = timeout(ANSWER_LIMIT, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let connecting = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        let (socket, _) = timeout(ANSWER_LIMIT, connecting).await.context("no handshake")??;
        Ok(Self {
            socket,
            events: VecDeque::new(),
            requests: 0,
            resume: Resume {
                anew: true,
                ..Resume::default()
            },
        })
    }

    fn may_resume(&mut self, payload: &Value) {
        self.resume.token = payload["resume_token"].as_str().unwrap_or_default().to_owned();
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
            let about = &answer["payload"];
            bail!(Refused {
                request: kind.to_owned(),
                code: about["code"].as_str().unwrap_or_default().to_owned(),
                message: about["message"].as_str().unwrap_or_default().to_owned(),
                retry_after_ms: about["retry_after_ms"].as_u64(),
            });
        }
        Ok(answer["payload"].take())
    }

    /// Says something as it is written, and waits for no answer.
    pub(crate) async fn say(&mut self, text: String) -> Result<()> {
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// The next message as it is written, whatever it is; not counted among events.
    pub(crate) async fn text(&mut self) -> Result<Utf8Bytes> {
        loop {
            if let Message::Text(text) = self.socket.next().await.context("the node closed the socket")?? {
                return Ok(text);
            }
        }
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
                let message = serde_json::from_str(message.to_text()?)?;
                self.count(&message);
                return Ok(message);
            }
        }
    }

    /// Judges an event's number by the one before it.
    fn count(&mut self, event: &Value) {
        let Some(seq) = event["seq"].as_u64() else {
            return;
        };
        let before = &mut self.resume;
        let anew = before.anew || (event["type"] == "room-moved" && event["payload"]["reset"] == true);
        let follows = if anew {
            seq > before.last_seq
        } else {
            seq == before.last_seq + 1
        };
        before.misnumbered += u64::from(!follows);
        before.last_seq = before.last_seq.max(seq);
        before.anew = false;
    }
}
