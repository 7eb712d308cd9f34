//! A client: one socket at a time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use caside_actors::outbound::{Outbound, OutboundReceiver};
use caside_actors::peer::{PeerHandle, SocketClosed};
use caside_protocol::codec::{self, Dialect};
use serde_json::{Value, json};

/// Longer than anything takes; the clock jumps there when nothing happens any more.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) struct Client {
    handle: Option<PeerHandle>,
    receiver: OutboundReceiver,
    next_id: u64,
    pub(crate) participant: String,
    pub(crate) token: String,
    pub(crate) last_seq: u64,
    pub(crate) state: Value,
    /// What was missed could not be replayed: the next event may have any higher number.
    resync: bool,
    events: VecDeque<Value>,
    answers: HashMap<u64, Value>,
}

impl Client {
    pub(crate) fn new(handle: PeerHandle, receiver: OutboundReceiver) -> Self {
        Self {
            handle: Some(handle),
            receiver,
            next_id: 0,
            participant: String::new(),
            token: String::new(),
            last_seq: 0,
            state: Value::Null,
            resync: false,
            events: VecDeque::new(),
            answers: HashMap::new(),
        }
    }

    pub(crate) fn welcomed(&mut self, payload: &Value) {
        self.token = payload["resume_token"].as_str().unwrap().to_owned();
    }

    /// Sends without waiting for the answer; gives the id.
    pub(crate) async fn send(&mut self, kind: &str, payload: Value) -> u64 {
        self.next_id += 1;
        let text = json!({ "type": kind, "id": self.next_id, "payload": payload }).to_string();
        let request = codec::decode(Dialect::Json, text.as_bytes()).unwrap();
        self.handle.as_ref().expect("the socket is open").request(request).await;
        self.next_id
    }

    /// Sends and waits for the answer; events that come before it are kept.
    pub(crate) async fn ask(&mut self, kind: &str, payload: Value) -> Value {
        let id = self.send(kind, payload).await;
        self.answer(id).await
    }

    pub(crate) async fn answer(&mut self, id: u64) -> Value {
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return answer;
            }
            let message = self.next().await;
            match message["id"].as_u64() {
                Some(id) => assert!(self.answers.insert(id, message).is_none(), "answered twice: {id}"),
                None => self.events.push_back(message),
            }
        }
    }

    /// Asks and expects to be refused with this code.
    pub(crate) async fn refused(&mut self, kind: &str, payload: Value, code: &str) {
        let answer = self.ask(kind, payload).await;
        assert_eq!(
            (&answer["type"], &answer["payload"]["code"]),
            (&json!("error"), &json!(code)),
            "{kind}"
        );
    }

    /// Asks and expects a bare `ok`; gives its payload.
    pub(crate) async fn ok(&mut self, kind: &str, payload: Value) -> Value {
        let answer = self.ask(kind, payload).await;
        assert_eq!(answer["type"], "ok", "{kind}: {answer}");
        answer["payload"].clone()
    }

    pub(crate) async fn join(&mut self, room: &str) {
        let joined = self.ask("join", json!({ "room": room })).await;
        assert_eq!(joined["type"], "joined", "{joined}");
        self.joined(&joined["payload"]);
    }

    pub(crate) fn joined(&mut self, payload: &Value) {
        self.participant = payload["participant_id"].as_str().unwrap().to_owned();
        self.state = payload["room_state"].clone();
    }

    /// The next message, whatever it is; checks that events come without a gap.
    pub(crate) async fn next(&mut self) -> Value {
        match self.receive().await {
            Some(Outbound::Frame(frame)) => {
                let message: Value = serde_json::from_slice(&frame.bytes).unwrap();
                assert_eq!(message["type"], frame.kind);
                if let Some(seq) = message["seq"].as_u64() {
                    let skips = std::mem::take(&mut self.resync) && seq > self.last_seq;
                    assert!(skips || seq == self.last_seq + 1, "{message}");
                    self.last_seq = seq;
                }
                message
            }
            other => panic!("expected a message, got {other:?}"),
        }
    }

    async fn receive(&mut self) -> Option<Outbound> {
        tokio::time::timeout(PATIENCE, self.receiver.next()).await.ok()
    }

    /// The next event; it must be of this kind.
    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        let event = match self.events.pop_front() {
            Some(event) => event,
            None => self.next().await,
        };
        assert_eq!(event["type"], kind, "{event}");
        assert!(event["seq"].is_u64(), "{event}");
        event["payload"].clone()
    }

    /// Nothing comes, and nothing is kept.
    pub(crate) async fn silence(&mut self) {
        assert!(self.events.is_empty(), "{:?}", self.events);
        let next = tokio::time::timeout(Duration::from_millis(1), self.receiver.next()).await;
        assert!(next.is_err(), "{next:?}");
    }

    /// The socket is closed with this code; what waits before it is dropped.
    pub(crate) async fn closed_with(&mut self, want: u16, why: &str) {
        loop {
            match self.receive().await {
                Some(Outbound::Frame(_)) => {}
                Some(Outbound::Close { code, reason }) => return assert_eq!((code, reason), (want, why)),
                None => panic!("the socket was not closed"),
            }
        }
    }

    /// Reads nothing more, as a client whose network is gone.
    pub(crate) fn drop_socket(&mut self) {
        self.handle.take().unwrap().closed(SocketClosed::Dropped);
    }

    /// Its end of the socket has all events up to this one, whatever the client says later.
    pub(crate) fn has(&self, seq: u64) {
        self.handle.as_ref().expect("the socket is open").received(seq);
    }

    pub(crate) fn close(&mut self) {
        self.handle.take().unwrap().closed(SocketClosed::Clean);
    }

    /// The client goes on with another socket; gives the answer to its `resume`.
    pub(crate) async fn resume(&mut self, mut socket: Client) -> Value {
        let payload = json!({ "resume_token": self.token, "last_seq": self.last_seq });
        let answer = socket.ask("resume", payload).await;
        if answer["type"] == "resumed" {
            socket.token = answer["payload"]["resume_token"].as_str().unwrap().to_owned();
            socket.participant = std::mem::take(&mut self.participant);
            socket.last_seq = self.last_seq;
            socket.resync = answer["payload"]["reset"] == true;
            *self = socket;
        }
        answer
    }
}
