//! `bare-relay`: two WebSockets and nothing between them, for comparison with a node. What one client of a pair says the other hears;
//! nothing is read, checked, numbered or kept.
//!
//! Prints the address it listens on. `/NAME` is a place in a pair: the first two that come with a name are one.

#![allow(clippy::print_stdout, reason = "its address is what it prints")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Messages that may wait for a client, as many as a node lets wait.
const QUEUE: usize = 512;

type Queue = mpsc::Sender<Message>;

/// Who came first and waits for the second: where to send to it, and who gets the way to the second.
type Waiting = Arc<Mutex<HashMap<String, (Queue, tokio::sync::oneshot::Sender<Queue>)>>>;

#[tokio::main]
async fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let waiting = Waiting::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let waiting = waiting.clone();
        // A client that fails is gone; the load generator says so.
        tokio::spawn(async move { serve(stream, waiting).await.ok() });
    }
}

async fn serve(stream: TcpStream, waiting: Waiting) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut name = String::new();
    // As small as a node's.
    let config = WebSocketConfig::default().read_buffer_size(4096);
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let note = |request: &Request, response: Response| {
        request.uri().path().clone_into(&mut name);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async_with_config(stream, note, Some(config)).await?;
    let (queue, mut heard) = mpsc::channel(QUEUE);
    let (found, other) = {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.remove(&name) {
            Some((first, tell)) => {
                tell.send(queue).ok();
                (Some(first), None)
            }
            None => {
                let (tell, told) = tokio::sync::oneshot::channel();
                waiting.insert(name, (queue, tell));
                (None, Some(told))
            }
        }
    };
    let other = match (found, other) {
        (Some(other), _) => other,
        (None, Some(told)) => told.await?,
        (None, None) => return Ok(()),
    };
    loop {
        tokio::select! {
            message = heard.recv() => match message {
                Some(message) => socket.send(message).await?,
                None => return Ok(()),
            },
            message = socket.next() => match message {
                Some(message @ Ok(Message::Text(_))) => other.send(message?).await?,
                Some(Ok(_)) => {}
                _ => return Ok(()),
            },
        }
    }
}
