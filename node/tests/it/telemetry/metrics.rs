//! What a collector is told of numbers, beside what `/metrics` shows.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use serde_json::json;

use super::{exporting, join, node};
use crate::support::collector::attributes;
use crate::support::ws::JSON;
use crate::support::{Caller, Collector, Node, PATIENCE, Ws, free_port};

/// Values by their name and labels, as Prometheus' text has them: those of a histogram's sum and count, but not its buckets.
pub(super) type Values = BTreeMap<String, f64>;

pub(super) fn series(name: &str, labels: impl IntoIterator<Item = (String, String)>) -> String {
    let labels: BTreeMap<String, String> = labels.into_iter().collect();
    format!("{name} {labels:?}")
}

/// What `/metrics` says.
pub(super) async fn shown(node: &Node) -> Values {
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
