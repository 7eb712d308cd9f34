//! Which traces are kept.

use serde_json::json;

use super::metrics::{series, shown};
use super::{CLIENT, CLIENTS_TRACE, exporting, find, node, of_trace};
use crate::support::collector::Taken;
use crate::support::ws::JSON;
use crate::support::{Collector, Node, Span, Ws};

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
    let login = |taken: &Taken| find(&taken.spans, "POST /login", &[]).map(|_| ());
    collector.until("a slow login", login).await;
    assert!(shown(&slow).await[&fate("rescued")] > 0.0);
}

/// The only trace of a chat, as far as it has come.
async fn trace_of_a_chat(collector: &Collector, node: &Node) -> Vec<Span> {
    let token = node.admin().await;
    let (mut ada, _) = Ws::joined(node, &token, "standup", JSON).await;
    ada.ask("chat", json!({"text": "hello"})).await;
    let chat = |taken: &Taken| find(&taken.spans, "ws chat", &[]).map(|span| span.trace.clone());
    let trace = collector.until("a chat", chat).await;
    collector.now(|taken| of_trace(&taken.spans, &trace))
}

#[tokio::test]
async fn what_is_passed_on_is_followed_whole_or_told_of_alone() {
    for (ratio, slow) in [("1", "7d"), ("0", "0s")] {
        let collector = Collector::start().await;
        let mut variables = exporting(&collector);
        variables.extend([
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()),
            ("OTEL_TRACES_SAMPLER_ARG", ratio.to_owned()),
            ("CASIDE_TRACE_SLOW", slow.to_owned()),
        ]);
        let node = node(&variables).await;
        let spans = trace_of_a_chat(&collector, &node).await;
        let chat = find(&spans, "ws chat", &[("caside.message.type", "chat")]).unwrap();
        assert!(chat.parent.is_empty(), "{}", collector.tree());
        let handled = find(&spans, "actor.handle", &[("caside.actor.kind", "room")]);
        assert_eq!(handled.is_some(), ratio == "1", "{}", collector.tree());
        assert!(ratio == "1" || spans.len() == 1, "{}", collector.tree());
    }
}

#[tokio::test]
async fn what_is_passed_on_in_time_and_not_drawn_has_no_trace() {
    let collector = Collector::start().await;
    let mut variables = exporting(&collector);
    variables.extend([
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()),
        ("OTEL_TRACES_SAMPLER_ARG", "0".to_owned()),
        ("CASIDE_TRACE_SLOW", "7d".to_owned()),
    ]);
    let node = node(&variables).await;
    let token = node.admin().await;
    let (mut ada, _) = Ws::joined(&node, &token, "standup", JSON).await;
    ada.ask("chat", json!({"text": "hello"})).await;
    // A client that traces decides itself.
    let chat = json!({"type": "chat", "id": "c", "traceparent": CLIENT, "payload": {"text": "traced"}});
    ada.send(&chat).await;
    let traced = |taken: &Taken| {
        let spans = of_trace(&taken.spans, CLIENTS_TRACE);
        find(&spans, "actor.handle", &[("caside.actor.kind", "room")]).map(|_| ())
    };
    collector.until("what the client traced", traced).await;
    node.stop().await;
    let others = collector.now(|taken| taken.spans.iter().filter(|span| span.trace != CLIENTS_TRACE).count());
    assert_eq!(others, 0, "{}", collector.tree());
}
