//! What `stats` shows a participant of their two connections.

use caside_media::bandwidth::Limit;
use caside_media::control::{DownlinkStats, TransportStats};
use caside_media::layers::{Layer, LayerRate};
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
                        "bitrate_bps": p.layers.iter().map(|layer| layer.bits_per_second).max(),
                        "packets_received": p.packets_received,
                        "bytes_received": p.bytes_received,
                        "packets_lost": p.packets_lost,
                        "packets_recovered": p.packets_recovered,
                        "jitter_ms": p.jitter_ms,
                        "nacks_sent": p.nacks_sent,
                        "plis_sent": p.plis_sent,
                        "layers": p.layers.iter().map(layer_rate).collect::<Vec<_>>(),
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
                        "packets_lost": c.packets_lost,
                        "jitter_ms": c.jitter_ms,
                        "retransmitted": c.retransmitted,
                        "plis_received": c.plis_received,
                        "current_layer": c.layer.map(layer),
                        "target_layer": c.target.map(layer),
                        "ceiling_layer": layer(c.ceiling),
                    }))
                })
                .collect();
            Some(json!({
                "target": target,
                "rtt_ms": transport.rtt_ms,
                "score": transport.score,
                "downlink": transport.downlink.as_ref().map(downlink),
                "bytes_received": transport.bytes_received,
                "bytes_sent": transport.bytes_sent,
                "published": sending,
                "subscribed": receiving,
            }))
        })
        .collect();
    json!({ "connections": connections })
}

/// What the path to a client carries.
fn downlink(stats: &DownlinkStats) -> Value {
    let limit = match stats.estimate.limit {
        Limit::Delay => "delay",
        Limit::Loss => "loss",
        Limit::Receiver => "receiver",
    };
    json!({
        "estimate_bps": stats.estimate.bits_per_second.round(),
        "budget_bps": stats.estimate.budget.round(),
        "limit": limit,
        "congested": stats.estimate.congested,
        "loss": stats.estimate.loss,
        "queue_ms": stats.estimate.wait_ms,
        "given_bps": stats.given.round(),
        "desired_bps": stats.desired.round(),
        "probes": stats.probes,
        "padding_bytes": stats.padding_bytes,
    })
}

fn layer(layer: Layer) -> Value {
    json!({ "spatial": layer.spatial, "temporal": layer.temporal })
}

fn layer_rate(rate: &LayerRate) -> Value {
    json!({
        "spatial": rate.layer.spatial,
        "temporal": rate.layer.temporal,
        "bitrate_bps": rate.bits_per_second,
        "width": rate.width,
        "height": rate.height,
        "active": rate.active,
    })
}
