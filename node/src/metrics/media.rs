//! Media, by worker. One that did not answer is left out.

use std::borrow::Cow;

use caside_actors::media_worker::WorkerCounters;

use super::{Family, Kind, Value, word};

/// A family of one value a media worker.
type OfWorker = (&'static str, Kind, &'static str, fn(&WorkerCounters) -> Value);

const FAMILIES: [OfWorker; 34] = [
    (
        "caside_media_busy_ratio",
        Kind::Gauge,
        "share of time that a media worker is busy, over about a second",
        |w| w.load.busy.into(),
    ),
    ("caside_media_routers", Kind::Gauge, "rooms on a media worker", |w| {
        w.engine.routers.into()
    }),
    ("caside_media_transports", Kind::Gauge, "client connections", |w| {
        w.engine.transports.into()
    }),
    (
        "caside_media_paths",
        Kind::Gauge,
        "addresses that clients proved to be theirs",
        |w| w.engine.paths.into(),
    ),
    (
        "caside_media_tcp_connections",
        Kind::Gauge,
        "open connections for media over TCP",
        |w| w.tcp.open.into(),
    ),
    ("caside_media_producers", Kind::Gauge, "incoming tracks", |w| {
        w.engine.producers.into()
    }),
    ("caside_media_consumers", Kind::Gauge, "outgoing tracks", |w| {
        w.engine.consumers.into()
    }),
    (
        "caside_media_packets_received_total",
        Kind::Counter,
        "media packets from publishers",
        |w| w.totals.packets_received.into(),
    ),
    (
        "caside_media_packets_forwarded_total",
        Kind::Counter,
        "media packets to subscribers",
        |w| w.totals.packets_forwarded.into(),
    ),
    (
        "caside_media_packets_retransmitted_total",
        Kind::Counter,
        "packets sent again on request",
        |w| w.totals.packets_retransmitted.into(),
    ),
    (
        "caside_media_packets_nacked_total",
        Kind::Counter,
        "packets asked of publishers again",
        |w| w.totals.packets_nacked.into(),
    ),
    (
        "caside_media_key_frame_requests_total",
        Kind::Counter,
        "key frames asked of publishers",
        |w| w.totals.key_frame_requests.into(),
    ),
    (
        "caside_media_probes_total",
        Kind::Counter,
        "probes for more bandwidth",
        |w| w.totals.probes.into(),
    ),
    (
        "caside_media_padding_bytes_total",
        Kind::Counter,
        "bytes sent to fill probes",
        |w| w.totals.padding_bytes.into(),
    ),
    (
        "caside_media_paths_estimated",
        Kind::Gauge,
        "connections whose bandwidth is estimated",
        |w| w.totals.estimated.into(),
    ),
    (
        "caside_media_paths_constrained",
        Kind::Gauge,
        "of those, ones given less than is wanted",
        |w| w.totals.constrained.into(),
    ),
    (
        "caside_media_estimate_bits_per_second",
        Kind::Gauge,
        "the sum of the estimates",
        |w| w.totals.estimate_bps.into(),
    ),
    (
        "caside_media_packets_per_second",
        Kind::Gauge,
        "datagrams sent, over about a second",
        |w| u64::from(w.load.packets_per_second).into(),
    ),
    (
        "caside_media_participants",
        Kind::Gauge,
        "participants placed on a media worker",
        |w| w.load.participants.into(),
    ),
    (
        "caside_media_pressure",
        Kind::Gauge,
        "how much of pictures is given up for want of time, 0 to 7",
        |w| u64::from(w.load.pressure).into(),
    ),
    (
        "caside_media_consumers_pressed",
        Kind::Gauge,
        "outgoing tracks that are less for that reason",
        |w| w.totals.pressed.into(),
    ),
    (
        "caside_media_packets_piped_total",
        Kind::Counter,
        "media packets from other media workers",
        |w| w.totals.packets_piped.into(),
    ),
    (
        "caside_media_pipe_sent_total",
        Kind::Counter,
        "packets and notices to other media workers",
        |w| w.pipes.sent.into(),
    ),
    (
        "caside_media_pipe_wakes_total",
        Kind::Counter,
        "wake-ups of other media workers",
        |w| w.pipes.wakes.into(),
    ),
    (
        "caside_media_pipe_dropped_total",
        Kind::Counter,
        "packets and notices that a pipe had no room for",
        |w| w.dropped.pipe_full.into(),
    ),
    (
        "caside_media_received_bytes_total",
        Kind::Counter,
        "payload bytes of packets from publishers",
        |w| w.totals.bytes_received.into(),
    ),
    (
        "caside_media_forwarded_bytes_total",
        Kind::Counter,
        "payload bytes of packets to subscribers",
        |w| w.totals.bytes_forwarded.into(),
    ),
    (
        "caside_media_packets_lost",
        Kind::Gauge,
        "packets of publishers that never came; late ones are taken off again",
        |w| w.totals.packets_lost.into(),
    ),
    (
        "caside_media_packets_lost_downstream",
        Kind::Gauge,
        "packets that subscribers say they missed; late ones are taken off again",
        |w| w.totals.packets_lost_downstream.into(),
    ),
    (
        "caside_media_key_frame_requests_received_total",
        Kind::Counter,
        "key frames that subscribers asked for",
        |w| w.totals.key_frame_requests_received.into(),
    ),
    (
        "caside_media_datagrams_received_total",
        Kind::Counter,
        "UDP datagrams that came",
        |w| w.sockets.received.into(),
    ),
    (
        "caside_media_datagrams_sent_total",
        Kind::Counter,
        "UDP datagrams that were sent",
        |w| w.sockets.sent.into(),
    ),
    (
        "caside_media_tcp_packets_received_total",
        Kind::Counter,
        "packets that came by TCP",
        |w| w.tcp.received.into(),
    ),
    (
        "caside_media_tcp_packets_sent_total",
        Kind::Counter,
        "packets that were sent by TCP",
        |w| w.tcp.sent.into(),
    ),
];

/// Why packets, messages and orders were dropped, of those that a client or the machine's load can cause.
fn reasons(worker: &WorkerCounters) -> [(&'static str, u64); 10] {
    let dropped = &worker.dropped;
    [
        ("unknown_path", dropped.unknown_path),
        ("flooded", dropped.flooded),
        ("occupied_path", dropped.occupied),
        ("too_many_reports", dropped.reports),
        ("unknown_ssrc", dropped.unknown_ssrc),
        ("too_old", dropped.too_old + dropped.duplicate),
        ("retransmission", dropped.retransmissions),
        ("data_message", dropped.messages),
        ("socket_full", worker.sockets.dropped_full + worker.tcp.dropped_full),
        ("panic", dropped.panics),
    ]
}

/// The names of sizes of pictures, the smallest first.
const SIZES: [&str; 4] = ["0", "1", "2", "3"];

/// All families of media.
pub(super) fn families(media: &[Option<WorkerCounters>]) -> Vec<Family> {
    let workers = || {
        let answered = media.iter().enumerate();
        answered.filter_map(|(n, worker)| Some((("worker", Cow::Owned(n.to_string())), worker.as_ref()?)))
    };
    let mut families: Vec<Family> = FAMILIES
        .into_iter()
        .map(|(name, kind, help, value)| {
            let mut family = Family::new(name, kind, help);
            for (number, worker) in workers() {
                family.add([number], value(worker));
            }
            family
        })
        .collect();
    let mut qualities = Family::gauge("caside_media_connections_by_quality", "connections by how well they do");
    let mut sizes = Family::gauge(
        "caside_media_pictures_by_layer",
        "outgoing pictures, by the size that is sent now",
    );
    let mut drops = Family::counter("caside_media_dropped_total", "what was dropped, by reason");
    for (number, worker) in workers() {
        for (quality, count) in ["poor", "good", "excellent"].into_iter().zip(worker.totals.grades) {
            qualities.add([number.clone(), ("quality", word(quality))], count);
        }
        for (layer, count) in SIZES.into_iter().zip(worker.totals.pictures_by_size) {
            sizes.add([number.clone(), ("layer", word(layer))], count);
        }
        sizes.add(
            [number.clone(), ("layer", word("none"))],
            worker.totals.pictures_stopped,
        );
        for (reason, count) in reasons(worker) {
            drops.add([number.clone(), ("reason", word(reason))], count);
        }
    }
    families.extend([qualities, sizes, drops]);
    families
}
