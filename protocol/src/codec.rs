//! The two encodings of the WebSocket protocol: the same messages as JSON text or as MessagePack maps.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::client::{
    Candidate, ClientMessage, Description, MAX_DISPLAY_NAME, MAX_ENCRYPTION, MAX_LABEL, MAX_TEXT_BYTES, MAX_TONES,
    MAX_TOPIC, Request, RequestId,
};
use crate::error::{ErrorCode, Refusal};
use crate::server::{self, ServerMessage};
use crate::trace::{self, TraceContext};

/// Largest WebSocket message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 65_536;
/// Longest quotation of a parser's complaint, in characters.
const MAX_COMPLAINT: usize = 160;

/// An encoding, named by its WebSocket subprotocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// `caside.json.v1`: text frames.
    #[default]
    Json,
    /// `caside.msgpack.v1`: binary frames.
    MessagePack,
}

impl Dialect {
    /// The subprotocol's name.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "caside.json.v1",
            Self::MessagePack => "caside.msgpack.v1",
        }
    }

    /// The dialect of this subprotocol.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        match name {
            "caside.json.v1" => Some(Self::Json),
            "caside.msgpack.v1" => Some(Self::MessagePack),
            _ => None,
        }
    }

    /// Whether its frames are binary.
    pub fn is_binary(self) -> bool {
        self == Self::MessagePack
    }
}

/// Why a frame was not understood.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodeError {
    /// The id to answer, when the envelope had one.
    pub id: Option<RequestId>,
    /// Whether the envelope itself was broken (counts towards the limit of malformed messages).
    pub malformed: bool,
    /// The answer.
    pub refusal: Refusal,
}

#[derive(Deserialize)]
struct JsonEnvelope<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<RequestId>,
    #[serde(default, deserialize_with = "trace::lenient")]
    traceparent: Option<TraceContext>,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ValueEnvelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<RequestId>,
    #[serde(default, deserialize_with = "trace::lenient")]
    traceparent: Option<TraceContext>,
    #[serde(default)]
    payload: Option<Value>,
}

/// A payload that is not yet looked at.
enum Payload<'a> {
    Json(&'a RawValue),
    Value(Value),
    Missing,
}

impl Payload<'_> {
    fn parse<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        let parsed = match self {
            Self::Json(raw) => serde_json::from_str(raw.get()),
            Self::Value(value) => serde_json::from_value(value),
            Self::Missing => serde_json::from_str("{}"),
        };
        parsed.map_err(|e| Refusal::new(ErrorCode::InvalidPayload, format!("payload: {}", complaint(&e))))
    }
}

/// What is wrong, without "at line 1 column 17", which says nothing about a nested payload, and shortened: it may quote
/// what the client sent, at any length.
fn complaint(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let text = text.rfind(" at line ").and_then(|end| text.get(..end)).unwrap_or(&text);
    match text.char_indices().nth(MAX_COMPLAINT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Reads one frame.
///
/// # Errors
/// [`DecodeError`] bears the answer to give; `malformed` is set when it was no envelope at all.
pub fn decode(dialect: Dialect, frame: &[u8]) -> Result<Request, DecodeError> {
    let malformed = |why: String| DecodeError {
        id: None,
        malformed: true,
        refusal: Refusal::new(ErrorCode::InvalidPayload, why),
    };
    let (kind, id, traceparent, payload) = match dialect {
        Dialect::Json => {
            let e: JsonEnvelope<'_> = serde_json::from_slice(frame)
                .map_err(|e| malformed(format!("not an envelope {{type, id?, payload}}: {}", complaint(&e))))?;
            (
                e.kind,
                e.id,
                e.traceparent,
                e.payload.map_or(Payload::Missing, Payload::Json),
            )
        }
        Dialect::MessagePack => {
            let mut reader = rmp_serde::Deserializer::from_read_ref(frame).with_human_readable();
            reader.set_max_depth(64);
            let e = ValueEnvelope::deserialize(&mut reader)
                .map_err(|e| malformed(format!("not an envelope {{type, id?, payload}}: {}", complaint(&e))))?;
            let payload = match e.payload {
                None | Some(Value::Null) => Payload::Missing,
                Some(value) => Payload::Value(value),
            };
            (e.kind, e.id, e.traceparent, payload)
        }
    };
    if let Some(RequestId::Text(text)) = &id
        && text.chars().count() > 64
    {
        return Err(malformed("id is longer than 64 characters".to_owned()));
    }
    match message(&kind, payload).and_then(checked) {
        Ok(message) => Ok(Request {
            id,
            traceparent: traceparent.map(|context| context.parent),
            message,
        }),
        Err(refusal) => Err(DecodeError {
            id,
            malformed: false,
            refusal,
        }),
    }
}

/// Reads a payload by its type.
fn message(kind: &str, payload: Payload<'_>) -> Result<ClientMessage, Refusal> {
    use ClientMessage as M;
    Ok(match kind {
        "auth" => M::Auth(payload.parse()?),
        "resume" => M::Resume(payload.parse()?),
        "join" => M::Join(payload.parse()?),
        "leave" => M::Leave,
        "offer" => M::Offer(description(payload.parse()?)?),
        "answer" => M::Answer(description(payload.parse()?)?),
        "ice-candidate" => M::IceCandidate(candidate(payload.parse()?)?),
        "mute" => M::Mute(payload.parse()?),
        "unmute" => M::Unmute(payload.parse()?),
        "hold" => M::Hold(payload.parse()?),
        "unhold" => M::Unhold(payload.parse()?),
        "dtmf" => M::Dtmf(payload.parse()?),
        "subscribe" => M::Subscribe(payload.parse()?),
        "subscribe-policy" => M::SubscribePolicy(payload.parse()?),
        "chat" => M::Chat(payload.parse()?),
        "data" => M::Data(payload.parse()?),
        "call" => M::Call(payload.parse()?),
        "invite" => M::Invite(payload.parse()?),
        "accept" => M::Accept(payload.parse()?),
        "decline" => M::Decline(payload.parse()?),
        "hangup" => M::Hangup,
        "kick" => M::Kick(payload.parse()?),
        "mute-participant" => M::MuteParticipant(payload.parse()?),
        "set-role" => M::SetRole(payload.parse()?),
        "lock" => M::Lock,
        "unlock" => M::Unlock,
        "start-recording" => M::StartRecording,
        "stop-recording" => M::StopRecording,
        "end-call" => M::EndCall,
        "get-room-info" => M::GetRoomInfo,
        "stats" => M::Stats,
        "media-report" => M::MediaReport(payload.parse()?),
        "ping" => M::Ping,
        other => {
            let shown: String = other.chars().take(32).collect();
            return Err(Refusal::new(
                ErrorCode::UnknownType,
                format!("no message has the type {shown:?}"),
            ));
        }
    })
}

/// An optional field of a payload that is otherwise kept as it came.
fn field<T: DeserializeOwned>(raw: &Map<String, Value>, name: &str) -> Result<Option<T>, Refusal> {
    match raw.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::deserialize(value)
            .map(Some)
            .map_err(|e| Refusal::new(ErrorCode::InvalidPayload, format!("payload.{name}: {}", complaint(&e)))),
    }
}

/// Whether a word may name an encryption.
fn is_encryption(word: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_ENCRYPTION).contains(&word.len()) && word.chars().all(allowed)
}

fn description(raw: Map<String, Value>) -> Result<Description, Refusal> {
    let to = field(&raw, "to")?;
    // What goes to another participant is theirs to read; only the SFU needs these.
    let (target, sdp, tracks) = match to {
        Some(_) => (None, None, None),
        None => (field(&raw, "target")?, field(&raw, "sdp")?, field(&raw, "tracks")?),
    };
    Ok(Description {
        target,
        to,
        sdp,
        tracks: tracks.unwrap_or_default(),
        raw,
    })
}

fn candidate(raw: Map<String, Value>) -> Result<Candidate, Refusal> {
    Ok(Candidate {
        target: field(&raw, "target")?,
        to: field(&raw, "to")?,
        raw,
    })
}

/// Checks lengths and characters that types do not.
fn checked(message: ClientMessage) -> Result<ClientMessage, Refusal> {
    let too_long = |what: &str, most: usize, unit: &str| {
        Err(Refusal::new(
            ErrorCode::TooLarge,
            format!("{what} may have {most} {unit} at most"),
        ))
    };
    let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidPayload, why));
    match &message {
        ClientMessage::Join(join) => {
            if let Some(name) = &join.display_name
                && name.chars().count() > MAX_DISPLAY_NAME
            {
                return too_long("display_name", MAX_DISPLAY_NAME, "characters");
            }
            if join
                .display_name
                .as_ref()
                .is_some_and(|name| name.chars().any(char::is_control))
            {
                return invalid("payload.display_name: must not have control characters");
            }
        }
        ClientMessage::Offer(d) | ClientMessage::Answer(d)
            if d.tracks
                .values()
                .filter_map(|t| t.label.as_ref())
                .any(|l| l.chars().count() > MAX_LABEL) =>
        {
            return too_long("label", MAX_LABEL, "characters");
        }
        ClientMessage::Offer(d)
            if !d
                .tracks
                .values()
                .filter_map(|t| t.encryption.as_ref())
                .all(|word| is_encryption(word)) =>
        {
            return invalid("payload.tracks: encryption must have 1 to 64 of A-Z a-z 0-9 . _ -");
        }
        ClientMessage::Chat(chat) => {
            if chat.text.is_empty() {
                return invalid("payload.text: must not be empty");
            }
            if chat.text.len() > MAX_TEXT_BYTES {
                return too_long("text", MAX_TEXT_BYTES, "bytes");
            }
        }
        ClientMessage::Data(data) => {
            if data.topic.is_empty() || data.topic.chars().count() > MAX_TOPIC {
                return invalid("payload.topic: must have 1 to 128 characters");
            }
            if !within(&data.value, MAX_TEXT_BYTES) {
                return too_long("value", MAX_TEXT_BYTES, "bytes as JSON");
            }
        }
        ClientMessage::Dtmf(dtmf) => {
            let tone = |c: char| c.is_ascii_digit() || matches!(c, 'A'..='D' | '*' | '#' | ',' | 'w');
            if dtmf.tones.is_empty() || dtmf.tones.len() > MAX_TONES || !dtmf.tones.chars().all(tone) {
                return invalid("payload.tones: must have 1 to 32 of 0-9 A-D * # , w");
            }
        }
        ClientMessage::Invite(invite) if invite.expires_s.is_some_and(|s| !(1..=30 * 86_400).contains(&s)) => {
            return invalid("payload.expires_s: must be 1 to 2592000");
        }
        _ => {}
    }
    Ok(message)
}

/// Whether a value takes at most `most` bytes as JSON, without building that JSON.
fn within(value: &Value, most: usize) -> bool {
    struct Budget(usize);
    impl std::io::Write for Budget {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(std::io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Budget(most), value).is_ok()
}

/// What an outgoing envelope bears beside its message.
#[derive(Debug, Clone, PartialEq)]
pub enum Tag {
    /// An answer to a request, which may have had no id.
    Answer(Option<RequestId>),
    /// An event, numbered per session from 1.
    Event(u64),
}

#[derive(Serialize)]
struct OutEnvelope<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    payload: server::Payload<'a>,
}

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A value that JSON cannot have.
    #[error("message cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// A value that MessagePack cannot have.
    #[error("message cannot be written as MessagePack")]
    MessagePack(#[from] rmp_serde::encode::Error),
}

/// Writes one frame.
///
/// # Errors
/// [`EncodeError`] when a value has no form in this encoding, which no message of ours has.
pub fn encode(dialect: Dialect, tag: &Tag, message: &ServerMessage) -> Result<Vec<u8>, EncodeError> {
    let (id, seq) = match tag {
        Tag::Answer(id) => (id.as_ref(), None),
        Tag::Event(seq) => (None, Some(*seq)),
    };
    let envelope = OutEnvelope {
        kind: message.kind(),
        id,
        seq,
        payload: message.payload(),
    };
    match dialect {
        Dialect::Json => Ok(serde_json::to_vec(&envelope)?),
        Dialect::MessagePack => {
            let mut bytes = Vec::with_capacity(256);
            let mut writer = rmp_serde::Serializer::new(&mut bytes)
                .with_struct_map()
                .with_human_readable();
            envelope.serialize(&mut writer)?;
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Hold, HoldTarget, SubscribePolicy};
    use crate::server::{Done, Empty};
    use crate::{ParticipantId, TrackId};

    fn json(text: &str) -> Result<Request, DecodeError> {
        decode(Dialect::Json, text.as_bytes())
    }

    fn msgpack(value: &Value) -> Vec<u8> {
        rmp_serde::to_vec_named(value).unwrap()
    }

    #[test]
    fn a_traceparent_beside_the_id_is_taken_and_a_malformed_one_ignored() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (given, taken) in [
            (serde_json::json!(good), Some(good.to_owned())),
            (serde_json::json!("00-xyz"), None),
            (serde_json::json!(17), None),
            (serde_json::json!({"a": ["b"]}), None),
            (Value::Null, None),
        ] {
            let envelope = serde_json::json!({"type": "ping", "id": 1, "traceparent": given});
            let read = [
                json(&envelope.to_string()).unwrap(),
                decode(Dialect::MessagePack, &msgpack(&envelope)).unwrap(),
            ];
            for request in read {
                assert_eq!(
                    request.traceparent.map(|parent| parent.to_string()),
                    taken,
                    "{envelope}"
                );
                assert_eq!(request.message, ClientMessage::Ping);
            }
        }
    }

    #[test]
    fn join_is_read_alike_from_both_dialects() {
        let text = r#"{"type":"join","id":"2","payload":{"room":"standup","display_name":"Ada","capabilities":{"audio":true,"video":false},"future":1}}"#;
        let from_json = json(text).unwrap();
        let from_msgpack = decode(Dialect::MessagePack, &msgpack(&serde_json::from_str(text).unwrap())).unwrap();
        assert_eq!(from_json, from_msgpack);
        let ClientMessage::Join(join) = from_json.message else {
            panic!("not a join")
        };
        assert_eq!(join.room.as_str(), "standup");
        assert_eq!(join.subscribe, SubscribePolicy::Auto);
        assert!(!join.capabilities.video);
    }

    #[test]
    fn a_number_or_a_string_id_is_echoed_as_it_came() {
        for id in ["7", "\"7\"", "1.5"] {
            let request = json(&format!(r#"{{"type":"ping","id":{id}}}"#)).unwrap();
            let answer = encode(Dialect::Json, &Tag::Answer(request.id), &ServerMessage::Pong(Empty {})).unwrap();
            assert_eq!(
                String::from_utf8(answer).unwrap(),
                format!(r#"{{"type":"pong","id":{id},"payload":{{}}}}"#)
            );
        }
    }

    #[test]
    fn what_is_no_envelope_is_malformed_and_what_is_wrong_inside_is_answered() {
        for broken in [
            "",
            "null",
            "[]",
            "{}",
            "\"join\"",
            "{\"type\":1}",
            r#"{"type":"ping","id":{}}"#,
        ] {
            let e = json(broken).unwrap_err();
            assert!(e.malformed, "{broken}");
            assert_eq!(e.refusal.code, ErrorCode::InvalidPayload);
        }
        let e = json(r#"{"type":"dance","id":3}"#).unwrap_err();
        assert_eq!((e.malformed, e.refusal.code), (false, ErrorCode::UnknownType));
        assert_eq!(e.id, Some(RequestId::Number(3.into())));
        let e = json(r#"{"type":"join","id":"x","payload":{"room":"a b"}}"#).unwrap_err();
        assert_eq!((e.malformed, e.refusal.code), (false, ErrorCode::InvalidPayload));
    }

    #[test]
    fn a_relayed_payload_keeps_unknown_fields() {
        let to = ParticipantId::new();
        let text = format!(r#"{{"type":"offer","payload":{{"to":"{to}","sdp":{{"type":"offer"}},"x":[1]}}}}"#);
        let ClientMessage::Offer(offer) = json(&text).unwrap().message else {
            panic!("not an offer")
        };
        assert_eq!(offer.to, Some(to));
        assert_eq!(offer.raw.get("x"), Some(&serde_json::json!([1])));
    }

    #[test]
    fn hold_takes_a_kind_or_a_track_or_nothing() {
        let track = TrackId::new();
        for (payload, want) in [
            ("{}".to_owned(), None),
            (r#"{"track":"audio"}"#.to_owned(), Some(HoldTarget::Audio)),
            (format!(r#"{{"track":"{track}"}}"#), Some(HoldTarget::Track(track))),
        ] {
            let request = json(&format!(r#"{{"type":"hold","payload":{payload}}}"#)).unwrap();
            assert_eq!(request.message, ClientMessage::Hold(Hold { track: want }));
        }
    }

    #[test]
    fn limits_are_named_in_the_refusal() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        for (text, code) in [
            (
                format!(r#"{{"type":"chat","payload":{{"text":"{long}"}}}}"#),
                ErrorCode::TooLarge,
            ),
            (
                r#"{"type":"chat","payload":{"text":""}}"#.to_owned(),
                ErrorCode::InvalidPayload,
            ),
            (
                format!(r#"{{"type":"data","payload":{{"topic":"t","value":"{long}"}}}}"#),
                ErrorCode::TooLarge,
            ),
            (
                r#"{"type":"dtmf","payload":{"tones":"12x"}}"#.to_owned(),
                ErrorCode::InvalidPayload,
            ),
            (
                format!(
                    r#"{{"type":"join","payload":{{"room":"r","display_name":"{}"}}}}"#,
                    "n".repeat(129)
                ),
                ErrorCode::TooLarge,
            ),
        ] {
            assert_eq!(json(&text).unwrap_err().refusal.code, code);
        }
    }

    #[test]
    fn a_refusal_is_short_whatever_it_quotes() {
        let long = "\u{1}".repeat(9000);
        for wrong in [
            serde_json::json!({"type": "mute", "payload": {"track": long}}),
            serde_json::json!({"type": "offer", "payload": {"target": long}}),
            serde_json::json!({"type": "join", "payload": {"room": "r", "mode": long}}),
            serde_json::json!({"type": "ping", "id": {long.clone(): 1}}),
            serde_json::json!({"type": long.clone()}),
            serde_json::json!(long),
        ] {
            for (dialect, frame) in [
                (Dialect::Json, wrong.to_string().into_bytes()),
                (Dialect::MessagePack, msgpack(&wrong)),
            ] {
                let e = decode(dialect, &frame).unwrap_err();
                let answer = encode(dialect, &Tag::Answer(e.id), &e.refusal.into()).unwrap();
                assert!(answer.len() < 1100, "{} bytes", answer.len());
            }
        }
    }

    #[test]
    fn deep_nesting_is_refused_not_overflowed() {
        let deep = format!(
            r#"{{"type":"data","payload":{{"topic":"t","value":{}{}}}}}"#,
            "[".repeat(30_000),
            "]".repeat(30_000)
        );
        assert!(json(&deep).is_err());
        let mut packed = vec![0x81, 0xa7];
        packed.extend_from_slice(b"payload");
        packed.extend(std::iter::repeat_n(0x91, 60_000));
        assert!(decode(Dialect::MessagePack, &packed).is_err());
    }

    #[test]
    fn message_pack_writes_ids_as_strings_in_maps() {
        let done = Done {
            message_id: Some(crate::MessageId::new()),
            ..Done::default()
        };
        let bytes = encode(Dialect::MessagePack, &Tag::Event(9), &ServerMessage::Ok(done.clone())).unwrap();
        let value: Value = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"type":"ok","seq":9,"payload":{"message_id":done.message_id.unwrap().to_string()}})
        );
    }
}
