//! Traces, metrics and log records as a collector gets them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use serde_json::json;

use crate::support::collector::attributes;
use crate::support::postgres::Postgres;
use crate::support::ws::JSON;
use crate::support::{Caller, Collector, Node, PATIENCE, Redis, Span, Ws, free_port, run};

/// What a client says it is doing.
const CLIENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const CLIENTS_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// What nodes that are one system share.
const SECRET: &str = "a secret of at least thirty-two bytes";
const CLIENTS_SPAN: &str = "00f067aa0ba902b7";

/// A span of this name, and of these values among its attributes.
fn find<'s>(spans: &'s [Span], name: &str, attributes: &[(&str, &str)]) -> Option<&'s Span> {
    let has = |span: &Span| {
        let has = |(key, value): &(&str, &str)| span.attributes.get(*key).is_some_and(|it| it == value);
        attributes.iter().all(has)
    };
    spans.iter().find(|span| span.name == name && has(span))
}

fn of_trace(spans: &[Span], trace: &str) -> Vec<Span> {
    spans.iter().filter(|span| span.trace == trace).cloned().collect()
}

/// Waits until a trace has spans of all these names and values, and gives all of it.
async fn whole(collector: &Collector, trace: &str, wanted: &[(&str, &[(&str, &str)])]) -> Vec<Span> {
    let look = |taken: &crate::support::collector::Taken| {
        let spans = of_trace(&taken.spans, trace);
        let is_whole = wanted
            .iter()
            .all(|(name, attributes)| find(&spans, name, attributes).is_some());
        is_whole.then_some(spans)
    };
    let missing = || {
        let spans = collector.now(|taken| of_trace(&taken.spans, trace));
        let missing = wanted
            .iter()
            .filter(|(name, attributes)| find(&spans, name, attributes).is_none());
        format!("{:?}", missing.collect::<Vec<_>>())
    };
    let waiting = collector.until("a whole trace", look);
    tokio::select! {
        spans = waiting => spans,
        () = tokio::time::sleep(PATIENCE / 3) => panic!("missing {}:\n{}", missing(), collector.tree()),
    }
}

/// Every span but those of `roots` has its parent among the others.
fn assert_no_orphans(spans: &[Span], roots: &[&str], tree: &str) {
    let known: HashSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    assert_eq!(known.len(), spans.len(), "an id twice");
    for span in spans {
        assert!(
            known.contains(span.parent.as_str()) || roots.contains(&span.parent.as_str()),
            "{} is an orphan:\n{tree}",
            span.name
        );
        assert!(span.began <= span.ended, "{span:?}");
    }
}

fn exporting(collector: &Collector) -> Vec<(&'static str, String)> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.clone()),
        ("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned()),
        ("OTEL_BLRP_SCHEDULE_DELAY", "20".to_owned()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200".to_owned()),
    ]
}

async fn node(variables: &[(&'static str, String)]) -> Node {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Node::with(&variables).await
}

/// Of somebody who may enter any room of nodes that share the secret.
async fn token(node: &Node) -> String {
    let made = run(node.dir.path(), &["token", "--user", "ada"], &[("JWT_SECRET", SECRET)]).await;
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

async fn join(ws: &mut Ws, room: &str, traceparent: Option<&str>) {
    let mut message = json!({"type": "join", "id": "j", "payload": {"room": room}});
    if let Some(traceparent) = traceparent {
        message["traceparent"] = json!(traceparent);
    }
    ws.send(&message).await;
    let joined = ws.until("joined").await;
    assert_eq!(joined["id"], "j");
}

/// What a traced join has of spans, from the socket to the first key frame, as far as one node has them all.
const PUBLISHED: &[(&str, &[(&str, &str)])] = &[
    ("ws join", &[("caside.message.type", "join")]),
    ("actor.handle", &[("caside.actor.kind", "peer")]),
    (
        "actor.handle",
        &[("caside.actor.kind", "rooms"), ("caside.message.name", "join")],
    ),
    (
        "actor.handle",
        &[("caside.actor.kind", "room"), ("caside.message.name", "join")],
    ),
    ("room.load", &[]),
    ("room.claim", &[]),
    ("journal.write", &[("caside.journal.entry", "participant_joined")]),
    ("ws offer", &[("caside.message.type", "offer")]),
    ("sfu.start", &[]),
    (
        "actor.handle",
        &[("caside.actor.kind", "sfu"), ("caside.message.name", "publish_offer")],
    ),
    ("media.ice", &[]),
    ("media.dtls", &[]),
    (
        "media.first_rtp",
        &[("caside.media.direction", "receive"), ("caside.media.kind", "video")],
    ),
    ("media.first_key_frame", &[("caside.media.direction", "receive")]),
];

#[tokio::test]
async fn a_join_is_one_trace_from_the_socket_to_the_first_key_frame() {
    let collector = Collector::start().await;
    let mut variables = exporting(&collector);
    variables.push((
        "OTEL_RESOURCE_ATTRIBUTES",
        "deployment.environment.name=test".to_owned(),
    ));
    let node = node(&variables).await;
    let token = node.admin().await;
    let (mut ada, _) = Ws::welcomed(&node, &token, JSON).await;
    join(&mut ada, "standup", Some(CLIENT)).await;
    let mut camera = Caller::default();
    camera.publish(&mut ada).await;

    let spans = whole(&collector, CLIENTS_TRACE, PUBLISHED).await;
    assert_no_orphans(&spans, &[CLIENTS_SPAN], &collector.tree());
    let joined = find(&spans, "ws join", &[]).unwrap();
    assert_eq!(
        (joined.parent.as_str(), &joined.attributes["caside.room.id"]),
        (CLIENTS_SPAN, &"standup".to_owned())
    );
    let resource = &joined.resource;
    assert_eq!(resource["service.name"], "caside");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["deployment.environment.name"], "test");
    assert!(resource["service.instance.id"].starts_with("n1-"), "{resource:?}");
    // Each step follows the one before it.
    let step = |name| find(&spans, name, &[]).unwrap();
    for pair in ["media.ice", "media.dtls", "media.first_rtp", "media.first_key_frame"].windows(2) {
        let (one, next) = (step(pair[0]), step(pair[1]));
        assert!(one.ended <= next.began, "{pair:?}:\n{}", collector.tree());
    }
    let offer = step("ws offer");
    assert_eq!(
        offer.parent, joined.id,
        "a negotiation soon after the join belongs to it"
    );

    // Who watches has a trace of their own, which ends with the first picture that goes to them.
    let (mut bob, _) = Ws::welcomed(&node, &token, JSON).await;
    join(&mut bob, "standup", None).await;
    let mut screen = Caller::default();
    screen.receive(&mut bob).await;
    let bobs = collector
        .until("bob's join", |taken| {
            let other = |span: &&Span| span.name == "ws join" && span.trace != CLIENTS_TRACE;
            taken.spans.iter().find(other).map(|span| span.trace.clone())
        })
        .await;
    let seen: &[(&str, &[(&str, &str)])] = &[
        ("ws answer", &[]),
        ("media.ice", &[]),
        ("media.dtls", &[]),
        ("media.first_rtp", &[("caside.media.direction", "send")]),
        ("media.first_key_frame", &[("caside.media.direction", "send")]),
    ];
    let spans = whole(&collector, &bobs, seen).await;
    assert_no_orphans(&spans, &[""], &collector.tree());
    eprintln!("{}", collector.tree());
}

#[tokio::test]
async fn a_join_of_a_room_elsewhere_is_one_trace_on_both_nodes() {
    let collector = Collector::start().await;
    let (redis, database) = tokio::join!(Redis::start(), Postgres::start());
    let mut nodes = Vec::new();
    for id in ["n1", "n2"] {
        let mut variables = exporting(&collector);
        variables.extend([
            ("CASIDE_NODE_ID", id.to_owned()),
            ("REDIS_URL", redis.url.clone()),
            ("DATABASE_URL", database.url()),
            ("CASIDE_CLUSTER_LISTEN", format!("127.0.0.1:{}", free_port().await)),
            ("CASIDE_CLUSTER_COOKIE", "a cookie of sixteen bytes".to_owned()),
            ("JWT_SECRET", SECRET.to_owned()),
        ]);
        nodes.push(node(&variables).await);
    }
    for node in &nodes {
        node.line("linked").await;
    }
    let token = token(&nodes[0]).await;
    // Placement is by the room's name: some are the other node's.
    for n in 0..64 {
        let room = format!("fresh-{n}");
        let trace = format!("{:032x}", 0x1000 + n);
        let parent = format!("00-{trace}-{CLIENTS_SPAN}-01");
        let (mut ada, _) = Ws::welcomed(&nodes[0], &token, JSON).await;
        join(&mut ada, &room, Some(&parent)).await;
        let view = nodes[0]
            .request("GET", &format!("/rooms/{room}"))
            .bearer(&token)
            .send()
            .await
            .json();
        if view["node"] != "n2" {
            ada.close().await;
            continue;
        }
        let mut camera = Caller::default();
        camera.publish(&mut ada).await;
        let mut wanted = PUBLISHED.to_vec();
        wanted.extend([
            ("room.place", &[][..]),
            ("gateway.send", &[("caside.message.name", "join")]),
            ("gateway.receive", &[("caside.message.name", "join")]),
            ("gateway.receive", &[("caside.message.name", "admitted")]),
            ("gateway.receive", &[("caside.message.name", "ask")]),
        ]);
        let spans = whole(&collector, &trace, &wanted).await;
        assert_no_orphans(&spans, &[CLIENTS_SPAN], &collector.tree());
        let on = |name: &str, attributes: &[(&str, &str)]| {
            find(&spans, name, attributes).unwrap().resource["caside.node.id"].clone()
        };
        assert_eq!(on("ws join", &[]), "n1");
        assert_eq!(
            on(
                "actor.handle",
                &[("caside.actor.kind", "room"), ("caside.message.name", "join")]
            ),
            "n2"
        );
        for step in ["media.ice", "media.dtls", "media.first_rtp", "media.first_key_frame"] {
            assert_eq!(on(step, &[]), "n2", "{step}");
        }
        let sent = find(&spans, "gateway.send", &[("caside.message.name", "join")]).unwrap();
        let received = find(&spans, "gateway.receive", &[("caside.message.name", "join")]).unwrap();
        assert_eq!(received.parent, sent.id);
        eprintln!("{}", collector.tree());
        return;
    }
    panic!("no room of 64 is the other node's");
}

// ---- metrics -------------------------------------------------------------------------------------------------------

/// Values by their name and labels, as Prometheus' text has them: those of a histogram's sum and count, but not its buckets.
type Values = BTreeMap<String, f64>;

fn series(name: &str, labels: impl IntoIterator<Item = (String, String)>) -> String {
    let labels: BTreeMap<String, String> = labels.into_iter().collect();
    format!("{name} {labels:?}")
}

/// What `/metrics` says.
async fn shown(node: &Node) -> Values {
    let page = node.request("GET", "/metrics").send().await;
    assert_eq!(page.status, 200);
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let mut values = Values::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (of, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = of.split_once('{').unwrap_or((of, "}"));
        if name.ends_with("_bucket") {
            continue;
        }
        // None of our values has a quote or a comma in it.
        let pairs = labels.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap());
        // A route has braces of its own.
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()));
        values.insert(series(name, pairs), value.parse().unwrap());
    }
    values
}

/// What a collector was told.
fn told<'m>(metrics: impl IntoIterator<Item = &'m Metric>) -> Values {
    let mut values = Values::new();
    for metric in metrics {
        let numbers = match metric.data.as_ref().unwrap() {
            metric::Data::Sum(sum) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{}", metric.name);
                for point in &sum.data_points {
                    assert!(point.start_time_unix_nano > 0 && point.start_time_unix_nano <= point.time_unix_nano);
                }
                &sum.data_points
            }
            metric::Data::Gauge(gauge) => &gauge.data_points,
            metric::Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                for point in &histogram.data_points {
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                    let labels = || attributes(point.attributes.clone());
                    values.insert(series(&format!("{}_count", metric.name), labels()), point.count as f64);
                    values.insert(series(&format!("{}_sum", metric.name), labels()), point.sum.unwrap());
                }
                continue;
            }
            other => panic!("{other:?}"),
        };
        for point in numbers {
            let value = match point.value.unwrap() {
                number_data_point::Value::AsInt(value) => value as f64,
                number_data_point::Value::AsDouble(value) => value,
            };
            values.insert(series(&metric.name, attributes(point.attributes.clone())), value);
        }
    }
    values
}

/// Of every part one that stands still while nobody does anything.
fn still() -> Vec<(String, f64)> {
    let of = |name: &str, labels: &[(&str, &str)], value: f64| {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        (series(name, labels), value)
    };
    vec![
        of("caside_websockets", &[], 1.0),
        of("caside_rooms", &[], 1.0),
        of("caside_participants", &[], 1.0),
        of("caside_lease_held", &[], 1.0),
        of("caside_links", &[], 0.0),
        of("caside_recordings", &[], 0.0),
        of("caside_spool_bytes", &[], 0.0),
        of("caside_actors", &[("actor", "node")], 1.0),
        of("caside_actors", &[("actor", "sfu")], 1.0),
        of("caside_actors", &[("actor", "peer")], 1.0),
        of("caside_actors_started_total", &[("actor", "peer")], 2.0),
        of(
            "caside_actors_stopped_total",
            &[("actor", "peer"), ("reason", "ended")],
            1.0,
        ),
        of(
            "caside_actors_stopped_total",
            &[("actor", "peer"), ("reason", "failed")],
            0.0,
        ),
        of(
            "caside_actor_handling_seconds_count",
            &[("actor", "room"), ("message", "join")],
            1.0,
        ),
        of(
            "caside_actor_handling_seconds_count",
            &[("actor", "sfu"), ("message", "publish_offer")],
            1.0,
        ),
        of("caside_media_producers", &[("worker", "0")], 1.0),
        of(
            "caside_http_requests_total",
            &[("route", "/login"), ("method", "POST"), ("status", "200")],
            1.0,
        ),
        of(
            "caside_http_requests_total",
            &[("route", "/rooms/{id}"), ("method", "GET"), ("status", "404")],
            1.0,
        ),
        of(
            "caside_http_request_duration_seconds_count",
            &[("route", "/ws"), ("method", "GET")],
            2.0,
        ),
        of(
            "caside_telemetry_dropped_total",
            &[("signal", "points"), ("reason", "not_taken")],
            0.0,
        ),
    ]
}

/// A collector is told what `/metrics` shows.
async fn told_what_is_shown(protocol: &str) {
    let collector = Collector::start().await;
    let mut variables = exporting(&collector);
    variables.extend([
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-tenant=ours%20alone".to_owned()),
        ("OTEL_TRACES_EXPORTER", "none".to_owned()),
        ("OTEL_LOGS_EXPORTER", "none".to_owned()),
        ("OTEL_SERVICE_NAME", "calls".to_owned()),
        ("CASIDE_MEDIA_WORKERS", "1".to_owned()),
        ("CASIDE_TRACE_SLOW", "7d".to_owned()),
    ]);
    let node = node(&variables).await;
    let admin = node.admin().await;
    let absent = node.request("GET", "/rooms/nowhere").bearer(&admin).send().await;
    assert_eq!(absent.status, 404);
    let (bob, _) = Ws::welcomed(&node, &admin, JSON).await;
    bob.close().await;
    let (mut ada, _) = Ws::welcomed(&node, &admin, JSON).await;
    join(&mut ada, "standup", None).await;
    let mut camera = Caller::default();
    camera.publish(&mut ada).await;

    let wanted = still();
    let has = |values: &Values| wanted.iter().all(|(name, value)| values.get(name) == Some(value));
    let missing = |values: &Values| {
        let missing = wanted.iter().filter(|(name, value)| values.get(name) != Some(value));
        let missing = missing.map(|(name, value)| format!("{name}: {value}, is {:?}", values.get(name)));
        missing.collect::<Vec<_>>().join("\n")
    };
    let telling = collector.until("the metrics that are wanted", |taken| {
        has(&told(taken.metrics.values())).then(|| (taken.metrics_of.clone(), taken.headers.clone()))
    });
    let (of, headers) = tokio::select! {
        found = telling => found,
        () = tokio::time::sleep(PATIENCE / 3) => panic!("{}", missing(&collector.now(|taken| told(taken.metrics.values())))),
    };
    assert_eq!(headers["x-tenant"], "ours alone");
    assert_eq!(
        (of["service.name"].as_str(), of["service.version"].as_str()),
        ("calls", env!("CARGO_PKG_VERSION"))
    );
    assert!(of["service.instance.id"].starts_with("n1-"), "{of:?}");
    let page = shown(&node).await;
    assert!(has(&page), "{}", missing(&page));
    // One list for both: there is nothing that only one of them has, once the collector was told of that request, too.
    let names = |values: &Values| values.keys().cloned().collect::<BTreeSet<_>>();
    let page = names(&page);
    let differing = |told: &Values| {
        let told = names(told);
        let differing: Vec<String> = page.symmetric_difference(&told).cloned().collect();
        // The request for the page itself comes too late for the page, and messages of its own kind may still come.
        differing
            .into_iter()
            .filter(|name| !name.contains("/metrics") && !name.contains("handling"))
            .collect::<Vec<_>>()
    };
    let same = collector.until("all that /metrics has", |taken| {
        differing(&told(taken.metrics.values())).is_empty().then_some(())
    });
    tokio::select! {
        () = same => {},
        () = tokio::time::sleep(PATIENCE / 3) => {
            panic!("{:?}", collector.now(|taken| differing(&told(taken.metrics.values()))));
        }
    }
    eprintln!(
        "{protocol}: {} series in {} families",
        page.len(),
        collector.now(|taken| taken.metrics.len())
    );
}

#[tokio::test]
async fn metrics_by_http_are_those_of_the_page() {
    told_what_is_shown("http/protobuf").await;
}

#[tokio::test]
async fn metrics_by_grpc_are_those_of_the_page() {
    told_what_is_shown("grpc").await;
}

#[tokio::test]
async fn a_collector_that_is_away_costs_counted_drops() {
    for protocol in ["http/protobuf", "grpc"] {
        let away = format!("http://127.0.0.1:{}", free_port().await);
        let node = node(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", away),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100".to_owned()),
        ])
        .await;
        let token = node.admin().await;
        let (mut ada, _) = Ws::welcomed(&node, &token, JSON).await;
        join(&mut ada, "standup", None).await;
        let lost = |signal: &str| {
            let labels = [("reason", "not_taken"), ("signal", signal)];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
            series("caside_telemetry_dropped_total", labels)
        };
        // Points are told of by hundreds, twice over.
        let enough = async {
            loop {
                let page = shown(&node).await;
                if page[&lost("points")] > 400.0 && page[&lost("spans")] > 0.0 {
                    return page;
                }
            }
        };
        let page = tokio::time::timeout(PATIENCE / 2, enough)
            .await
            .expect("drops are counted");
        let sent = series(
            "caside_telemetry_sent_total",
            [("signal".to_owned(), "points".to_owned())],
        );
        assert_eq!(page[&sent], 0.0);
        let said = node
            .output()
            .iter()
            .filter(|line| line.contains("the collector takes nothing"))
            .count();
        assert!((1..=3).contains(&said), "once a signal, not {said} times");
        // The node is none the worse for it.
        ada.send(&json!({"type": "ping", "id": "p"})).await;
        ada.until("pong").await;
        node.stop().await;
    }
}

#[tokio::test]
async fn the_last_metrics_come_when_the_node_stops() {
    let collector = Collector::start().await;
    let mut variables = exporting(&collector);
    variables.retain(|(name, _)| *name != "OTEL_METRIC_EXPORT_INTERVAL");
    let node = node(&variables).await;
    let token = node.admin().await;
    let (mut ada, _) = Ws::welcomed(&node, &token, JSON).await;
    join(&mut ada, "standup", None).await;
    assert!(collector.now(|taken| taken.metrics.is_empty()));
    node.stop().await;
    let last = collector.now(|taken| told(taken.metrics.values()));
    let labels = [("actor".to_owned(), "room".to_owned())];
    assert_eq!(last[&series("caside_actors_started_total", labels)], 1.0);
    // Media workers are asked before they end.
    assert!(last.keys().any(|name| name.starts_with("caside_media_routers")));
}

// ---- log records and sampling --------------------------------------------------------------------------------------

#[tokio::test]
async fn log_records_are_in_the_trace_of_what_they_are_of() {
    let collector = Collector::start().await;
    let node = node(&exporting(&collector)).await;
    let answer = node
        .request("GET", "/rooms/nowhere")
        .header("traceparent", CLIENT)
        .send()
        .await;
    assert_eq!(answer.status, 401);
    let record = collector
        .until("the record of the request", |taken| {
            let ours = taken.records.iter().find(|it| it.trace == CLIENTS_TRACE);
            ours.cloned()
        })
        .await;
    assert_eq!(record.body, "request answered");
    assert_eq!(
        (
            record.attributes["http.route"].as_str(),
            record.attributes["http.status"].as_str()
        ),
        ("/rooms/{id}", "401")
    );
    let spans = whole(&collector, CLIENTS_TRACE, &[("GET /rooms/{id}", &[])]).await;
    let span = find(&spans, "GET /rooms/{id}", &[]).unwrap();
    // A server's, and no error of ours.
    assert_eq!(
        (span.kind, span.is_error, span.parent.as_str()),
        (2, false, CLIENTS_SPAN)
    );
}

#[tokio::test]
async fn of_what_is_not_sampled_only_the_slow_is_kept() {
    let collector = Collector::start().await;
    let node = async |slow: &str| {
        let mut variables = exporting(&collector);
        variables.extend([
            ("OTEL_TRACES_SAMPLER", "traceidratio".to_owned()),
            ("OTEL_TRACES_SAMPLER_ARG", "0".to_owned()),
            ("CASIDE_TRACE_SLOW", slow.to_owned()),
        ]);
        node(&variables).await
    };
    let fate = |fate: &str| {
        let labels = [("fate".to_owned(), fate.to_owned())];
        series("caside_telemetry_spans_unsampled_total", labels)
    };
    let quick = node("7d").await;
    quick.admin().await;
    quick.stop().await;
    assert!(collector.now(|taken| taken.spans.is_empty()), "{}", collector.tree());
    let slow = node("1ms").await;
    slow.admin().await;
    // Its query may have been slow by itself, and come before it.
    let login = |taken: &crate::support::collector::Taken| find(&taken.spans, "POST /login", &[]).map(|_| ());
    collector.until("a slow login", login).await;
    assert!(shown(&slow).await[&fate("rescued")] > 0.0);
}
