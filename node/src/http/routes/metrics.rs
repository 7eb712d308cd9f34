//! What runs now, as Prometheus reads it (text exposition format 0.0.4).

use std::fmt::Write;

use caside_actors::mailbox::MailboxReport;
use caside_actors::media_worker::{MediaWorkerHandle, WorkerCounters};
use caside_actors::refused;
use caside_protocol::ErrorCode;
use caside_protocol::error::Refusal;
use warp::Filter;
use warp::http::Method;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use warp::reply::Response;

use crate::auth::secret;
use crate::client::Client;
use crate::http::endpoint::Endpoint;
use crate::http::openapi::{Busy, Forbidden, Unauthenticated};
use crate::http::{App, SharedApp, extract};

/// `/metrics`.
pub(crate) fn endpoint(app: &SharedApp) -> Endpoint {
    let filter = extract::app(app)
        .and(extract::client())
        .and(extract::credential())
        .then(metrics);
    Endpoint::new(Method::GET, "/metrics", filter)
}

/// Counters and gauges. Open to whoever asks on this machine without a proxy, while HTTP is on loopback only; else for
/// `CASIDE_METRICS_TOKEN` and admins.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "Prometheus text", content_type = "text/plain", body = String),
    Unauthenticated, Forbidden, Busy), security((), ("bearer" = [])))]
async fn metrics(app: SharedApp, client: Client, credential: Option<String>) -> Result<Response, Refusal> {
    if !(app.loopback_only && client.is_local()) {
        app.may_read_metrics(credential).await?;
    }
    // A worker answers between two rounds of packets, for which one waits on a thread of its own.
    let workers = app.media.clone();
    let media =
        tokio::task::spawn_blocking(move || workers.workers().iter().map(MediaWorkerHandle::counters).collect());
    let media: Vec<_> = media.await.unwrap_or_default();
    let mut response = Response::new(text(&app, &media).into());
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl App {
    async fn may_read_metrics(&self, credential: Option<String>) -> Result<(), Refusal> {
        let missing = || Refusal::new(ErrorCode::Unauthorized, "a token is needed: `Authorization: Bearer …`");
        let credential = credential.ok_or_else(missing)?;
        // Hashes are compared: how long that takes tells nothing of the token.
        if self
            .metrics_token
            .is_some_and(|token| token == secret::digest(credential.as_bytes()))
        {
            return Ok(());
        }
        if self.auth.authenticate(&credential).await?.is_admin() {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::Forbidden, "metrics are for admins"))
    }
}

/// The page; a worker that did not answer is left out.
fn text(app: &App, media: &[Option<WorkerCounters>]) -> String {
    let counts = app.node.counts();
    let journal = app.journal.stats();
    let mut page = Page::default();
    page.one("caside_websockets", "gauge", "open WebSockets", app.sockets.open());
    page.one("caside_rooms", "gauge", "rooms that run", counts.rooms);
    page.one(
        "caside_participants",
        "gauge",
        "participants in them",
        counts.participants,
    );
    page.one(
        "caside_sessions",
        "gauge",
        "sessions, with those that wait for a resume",
        counts.sessions,
    );
    page.one(
        "caside_invites",
        "gauge",
        "calls and invitations that wait for an answer",
        counts.invites,
    );
    page.one(
        "caside_journal_entries",
        "gauge",
        "writes that wait for the database",
        journal.depth,
    );
    page.one(
        "caside_journal_refused_total",
        "counter",
        "writes lost at the journal's bound",
        journal.refused,
    );
    page.refusals();
    let reports = app.node.mailboxes();
    page.each("caside_actors", "gauge", "actors that run", &reports, |r| {
        r.alive.to_string()
    });
    page.each(
        "caside_actor_messages_total",
        "counter",
        "messages handled",
        &reports,
        |r| r.handled.to_string(),
    );
    page.each(
        "caside_actor_refused_total",
        "counter",
        "messages refused at a mailbox's bound",
        &reports,
        |r| r.refused.to_string(),
    );
    page.each(
        "caside_actor_failures_total",
        "counter",
        "actors that ended by a failure",
        &reports,
        |r| r.failed.to_string(),
    );
    page.each(
        "caside_actor_wait_seconds_total",
        "counter",
        "time that messages waited",
        &reports,
        |r| seconds(r.waited_us),
    );
    page.each(
        "caside_actor_work_seconds_total",
        "counter",
        "time that handling took",
        &reports,
        |r| seconds(r.worked_us),
    );
    page.workers(
        "caside_media_busy_ratio",
        "gauge",
        "share of time that a media worker is busy, over about a second",
        media,
        |w| w.load.busy,
    );
    for (name, kind, help, value) in MEDIA {
        page.workers(name, kind, help, media, value);
    }
    page.qualities(media);
    page.drops(media);
    page.0
}

/// A family of one value a media worker: name, type, help, value.
type MediaFamily = (&'static str, &'static str, &'static str, fn(&WorkerCounters) -> u64);

const MEDIA: [MediaFamily; 24] = [
    ("caside_media_routers", "gauge", "rooms on a media worker", |w| {
        w.engine.routers as u64
    }),
    ("caside_media_transports", "gauge", "client connections", |w| {
        w.engine.transports as u64
    }),
    (
        "caside_media_paths",
        "gauge",
        "addresses that clients proved to be theirs",
        |w| w.engine.paths as u64,
    ),
    (
        "caside_media_tcp_connections",
        "gauge",
        "open connections for media over TCP",
        |w| w.tcp.open,
    ),
    ("caside_media_producers", "gauge", "incoming tracks", |w| {
        w.engine.producers as u64
    }),
    ("caside_media_consumers", "gauge", "outgoing tracks", |w| {
        w.engine.consumers as u64
    }),
    (
        "caside_media_packets_received_total",
        "counter",
        "media packets from publishers",
        |w| w.totals.packets_received,
    ),
    (
        "caside_media_packets_forwarded_total",
        "counter",
        "media packets to subscribers",
        |w| w.totals.packets_forwarded,
    ),
    (
        "caside_media_packets_retransmitted_total",
        "counter",
        "packets sent again on request",
        |w| w.totals.packets_retransmitted,
    ),
    (
        "caside_media_packets_nacked_total",
        "counter",
        "packets asked of publishers again",
        |w| w.totals.packets_nacked,
    ),
    (
        "caside_media_key_frame_requests_total",
        "counter",
        "key frames asked of publishers",
        |w| w.totals.key_frame_requests,
    ),
    (
        "caside_media_probes_total",
        "counter",
        "probes for more bandwidth",
        |w| w.totals.probes,
    ),
    (
        "caside_media_padding_bytes_total",
        "counter",
        "bytes sent to fill probes",
        |w| w.totals.padding_bytes,
    ),
    (
        "caside_media_paths_estimated",
        "gauge",
        "connections whose bandwidth is estimated",
        |w| w.totals.estimated as u64,
    ),
    (
        "caside_media_paths_constrained",
        "gauge",
        "of those, ones given less than is wanted",
        |w| w.totals.constrained as u64,
    ),
    (
        "caside_media_estimate_bits_per_second",
        "gauge",
        "the sum of the estimates",
        |w| w.totals.estimate_bps,
    ),
    (
        "caside_media_packets_per_second",
        "gauge",
        "datagrams sent, over about a second",
        |w| u64::from(w.load.packets_per_second),
    ),
    (
        "caside_media_participants",
        "gauge",
        "participants placed on a media worker",
        |w| w.load.participants as u64,
    ),
    (
        "caside_media_pressure",
        "gauge",
        "how much of pictures is given up for want of time, 0 to 7",
        |w| u64::from(w.load.pressure),
    ),
    (
        "caside_media_consumers_pressed",
        "gauge",
        "outgoing tracks that are less for that reason",
        |w| w.totals.pressed as u64,
    ),
    (
        "caside_media_packets_piped_total",
        "counter",
        "media packets from other media workers",
        |w| w.totals.packets_piped,
    ),
    (
        "caside_media_pipe_sent_total",
        "counter",
        "packets and notices to other media workers",
        |w| w.pipes.sent,
    ),
    (
        "caside_media_pipe_wakes_total",
        "counter",
        "wake-ups of other media workers",
        |w| w.pipes.wakes,
    ),
    (
        "caside_media_pipe_dropped_total",
        "counter",
        "packets and notices that a pipe had no room for",
        |w| w.dropped.pipe_full,
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

fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

fn answered(media: &[Option<WorkerCounters>]) -> impl Iterator<Item = (usize, &WorkerCounters)> {
    media
        .iter()
        .enumerate()
        .filter_map(|(n, worker)| Some((n, worker.as_ref()?)))
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes any text");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        writeln!(self.0, "{name} {value}").expect("a string takes any text");
    }

    fn workers<V: std::fmt::Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        media: &[Option<WorkerCounters>],
        value: impl Fn(&WorkerCounters) -> V,
    ) {
        self.head(name, kind, help);
        for (n, worker) in answered(media) {
            writeln!(self.0, "{name}{{worker=\"{n}\"}} {}", value(worker)).expect("a string takes any text");
        }
    }

    fn qualities(&mut self, media: &[Option<WorkerCounters>]) {
        let name = "caside_media_connections_by_quality";
        self.head(name, "gauge", "connections by how well they do");
        for (n, worker) in answered(media) {
            for (word, count) in ["poor", "good", "excellent"].into_iter().zip(worker.totals.grades) {
                writeln!(self.0, "{name}{{worker=\"{n}\",quality=\"{word}\"}} {count}")
                    .expect("a string takes any text");
            }
        }
    }

    fn refusals(&mut self) {
        let name = "caside_refused_total";
        self.head(name, "counter", "what clients were refused, by reason");
        for (reason, count) in refused::report() {
            writeln!(self.0, "{name}{{reason=\"{reason}\"}} {count}").expect("a string takes any text");
        }
    }

    fn drops(&mut self, media: &[Option<WorkerCounters>]) {
        let name = "caside_media_dropped_total";
        self.head(name, "counter", "what was dropped, by reason");
        for (n, worker) in answered(media) {
            for (reason, count) in reasons(worker) {
                writeln!(self.0, "{name}{{worker=\"{n}\",reason=\"{reason}\"}} {count}")
                    .expect("a string takes any text");
            }
        }
    }

    fn each(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        reports: &[MailboxReport],
        value: impl Fn(&MailboxReport) -> String,
    ) {
        self.head(name, kind, help);
        for report in reports {
            writeln!(self.0, "{name}{{actor=\"{}\"}} {}", report.actor, value(report))
                .expect("a string takes any text");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_head_once_and_a_line_for_each_kind() {
        let report = |actor| MailboxReport {
            actor,
            alive: 1,
            handled: 2,
            refused: 0,
            waited_us: 1_500_000,
            worked_us: 7,
            failed: 0,
        };
        let mut page = Page::default();
        page.each(
            "x_seconds_total",
            "counter",
            "time",
            &[report("room"), report("peer")],
            |r| seconds(r.waited_us),
        );
        let want = "# HELP x_seconds_total time\n# TYPE x_seconds_total counter\n\
            x_seconds_total{actor=\"room\"} 1.500000\nx_seconds_total{actor=\"peer\"} 1.500000\n";
        assert_eq!(page.0, want);
        assert_eq!(seconds(7), "0.000007");
    }
}
