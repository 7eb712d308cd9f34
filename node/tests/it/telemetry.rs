//! Traces, metrics and log records as a collector gets them.

mod metrics;
mod sampling;

use std::collections::HashSet;

use serde_json::json;

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
