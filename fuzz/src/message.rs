//! WebSocket messages of clients.

use caside_protocol::client::{ClientMessage, RequestId};
use caside_protocol::codec::{DecodeError, Dialect, MAX_MESSAGE_BYTES, Tag, decode, encode};
use caside_protocol::server::ServerMessage;

/// An answer that only refuses must not be a way to make the server send much.
const LARGEST_REFUSAL: usize = 1024;

/// Reads one frame in both dialects and writes what answers it in both.
pub fn run(frame: &[u8]) {
    if frame.len() > MAX_MESSAGE_BYTES {
        return;
    }
    for dialect in [Dialect::Json, Dialect::MessagePack] {
        let (id, messages) = answers(decode(dialect, frame));
        let id_is_short = match &id {
            Some(RequestId::Text(text)) => text.chars().count() <= 64,
            Some(RequestId::Number(_)) | None => true,
        };
        assert!(id_is_short, "an id of any length would be echoed");
        for message in messages {
            let tag = Tag::Answer(id.clone());
            let json = encode(Dialect::Json, &tag, &message).expect("an answer has a form in JSON");
            let packed = encode(Dialect::MessagePack, &tag, &message).expect("an answer has a form in MessagePack");
            let read: serde_json::Value = serde_json::from_slice(&json).expect("what we write is JSON");
            match &id {
                Some(RequestId::Text(text)) => assert_eq!(read["id"], serde_json::json!(text)),
                // Read anew, a fraction of 17 digits may differ in its last.
                Some(RequestId::Number(_)) => assert!(read["id"].is_number()),
                None => assert!(read.get("id").is_none()),
            }
            if matches!(message, ServerMessage::Error(_)) {
                assert!(
                    json.len() <= LARGEST_REFUSAL && packed.len() <= LARGEST_REFUSAL,
                    "{} bytes",
                    json.len()
                );
            }
        }
    }
}

fn answers(decoded: Result<caside_protocol::client::Request, DecodeError>) -> (Option<RequestId>, Vec<ServerMessage>) {
    match decoded {
        Ok(request) => {
            let relayed = match request.message {
                ClientMessage::Offer(description) => Some(ServerMessage::RelayedOffer(description.raw)),
                ClientMessage::Answer(description) => Some(ServerMessage::RelayedAnswer(description.raw)),
                ClientMessage::IceCandidate(candidate) => Some(ServerMessage::RelayedCandidate(candidate.raw)),
                _ => None,
            };
            (request.id, relayed.into_iter().chain([ServerMessage::ok()]).collect())
        }
        Err(error) => (error.id, vec![error.refusal.into()]),
    }
}
