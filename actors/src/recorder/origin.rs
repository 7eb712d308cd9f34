//! What a recording's segments tell of its beginning, for when the database was never told.

use caside_protocol::{CallId, NodeId, RecordingId, RoomId, UserId};
use caside_store::journal::RecordingStarted;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// The beginning as it lies beside the first segment of each source.
#[derive(Serialize, Deserialize)]
struct Origin {
    room: RoomId,
    call: Option<CallId>,
    owner: Option<UserId>,
    node: NodeId,
    epoch: u64,
    /// Microseconds since 1970.
    started_us: i64,
}

/// What to keep beside a segment.
pub(super) fn metadata(begun: &RecordingStarted) -> Value {
    let started_us = begun.started_at.unix_timestamp_nanos() / 1_000;
    let origin = Origin {
        room: begun.room.clone(),
        call: begun.call,
        owner: begun.owner.clone(),
        node: begun.node.clone(),
        epoch: begun.epoch,
        started_us: i64::try_from(started_us).unwrap_or_default(),
    };
    json!({ "origin": origin })
}

/// The beginning of a recording that `metadata` tells of; `None` when it tells of none.
pub(super) fn of(recording: RecordingId, metadata: &Value) -> Option<RecordingStarted> {
    let origin = Origin::deserialize(metadata.get("origin")?).ok()?;
    Some(RecordingStarted {
        recording,
        room: origin.room,
        call: origin.call,
        owner: origin.owner,
        node: origin.node,
        epoch: origin.epoch,
        started_at: OffsetDateTime::from_unix_timestamp_nanos(i128::from(origin.started_us) * 1_000).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_comes_back_as_it_was() {
        let begun = RecordingStarted {
            recording: RecordingId::new(),
            room: RoomId::new("standup").unwrap(),
            call: Some(CallId::new()),
            owner: None,
            node: NodeId::new("n1").unwrap(),
            epoch: u64::MAX,
            started_at: OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_000).unwrap(),
        };
        let kept: Value = serde_json::from_str(&metadata(&begun).to_string()).unwrap();
        assert_eq!(of(begun.recording, &kept), Some(begun));
        for other in [Value::Null, json!({}), json!({ "origin": { "room": "a" } })] {
            assert_eq!(of(RecordingId::new(), &other), None);
        }
    }
}
