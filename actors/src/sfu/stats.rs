//! What `stats` shows a participant of their two connections.

use caside_media::control::TransportStats;
use caside_media::parameters::{ConsumerId, ProducerId, TransportId};
use caside_protocol::TrackId;
use caside_protocol::client::Target;
use serde_json::{Value, json};

/// Picks a participant's connections out of a room's and names tracks by their ids for clients.
pub(super) fn of_participant(
    transports: &[TransportStats],
    target_of: impl Fn(TransportId) -> Option<Target>,
    produced: impl Fn(ProducerId) -> Option<TrackId>,
    consumed: impl Fn(ConsumerId) -> Option<TrackId>,
) -> Value {
    let connections: Vec<Value> = transports
        .iter()
        .filter_map(|transport| {
            let target = target_of(transport.transport)?;
            let sending: Vec<Value> = transport
                .producers
                .iter()
                .filter_map(|p| {
                    Some(json!({
                        "track": produced(p.producer)?,
                        "packets_received": p.packets_received,
                        "bytes_received": p.bytes_received,
                        "packets_lost": p.packets_lost,
                        "jitter_ms": p.jitter_ms,
                        "nacks_sent": p.nacks_sent,
                        "plis_sent": p.plis_sent,
                    }))
                })
                .collect();
            let receiving: Vec<Value> = transport
                .consumers
                .iter()
                .filter_map(|c| {
                    Some(json!({
                        "track": consumed(c.consumer)?,
                        "packets_sent": c.packets_sent,
                        "bytes_sent": c.bytes_sent,
                        "fraction_lost": c.fraction_lost,
                        "retransmitted": c.retransmitted,
                        "plis_received": c.plis_received,
                    }))
                })
                .collect();
            Some(json!({
                "target": target,
                "rtt_ms": transport.rtt_ms,
                "bytes_received": transport.bytes_received,
                "bytes_sent": transport.bytes_sent,
                "published": sending,
                "subscribed": receiving,
            }))
        })
        .collect();
    json!({ "connections": connections })
}
