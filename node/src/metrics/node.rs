//! What the node has to do, how it stands with the others, and what becomes of its telemetry.

use caside_actors::refused;

use super::{Family, word};
use crate::http::App;
use crate::telemetry::Health;

/// Sockets, rooms, refusals, the journal, links and ownership.
pub(super) fn families(app: &App) -> Vec<Family> {
    let counts = app.node.counts();
    let journal = app.journal.stats();
    let mut refusals = Family::counter("caside_refused_total", "what clients were refused, by reason");
    for (reason, count) in refused::report() {
        refusals.add([("reason", word(reason))], count);
    }
    let mut families = vec![
        Family::gauge("caside_websockets", "open WebSockets").of(app.sockets.open()),
        Family::gauge("caside_rooms", "rooms that run").of(counts.rooms),
        Family::gauge("caside_participants", "participants in them").of(counts.participants),
        Family::gauge("caside_sessions", "sessions, with those that wait for a resume").of(counts.sessions),
        Family::gauge("caside_invites", "calls and invitations that wait for an answer").of(counts.invites),
        Family::gauge("caside_journal_entries", "writes that wait for the database").of(journal.depth),
        Family::counter("caside_journal_refused_total", "writes lost at the journal's bound").of(journal.refused),
        Family::counter("caside_journal_applied_total", "writes that the database took").of(journal.applied),
        Family::counter("caside_journal_skipped_total", "writes that it will never take").of(journal.skipped),
        Family::gauge("caside_database_away", "1 while the database does not answer").of(journal.away),
        refusals,
    ];
    families.extend(company(app));
    families
}

/// How it stands with the others. All zero, but for the lease, of a node that is alone.
fn company(app: &App) -> Vec<Family> {
    let owned = app.node.ownership();
    let links = app.company.as_ref().map(|company| company.counts()).unwrap_or_default();
    let members = app.company.as_ref().map_or(1, |company| company.members().len());
    let directions = [
        ("sent", links.sent, links.sent_bytes),
        ("received", links.received, links.received_bytes),
    ];
    let mut messages = Family::counter("caside_link_messages_total", "messages between nodes, by direction");
    let mut bytes = Family::counter("caside_link_bytes_total", "their bytes");
    for (direction, count, size) in directions {
        messages.add([("direction", word(direction))], count);
        bytes.add([("direction", word(direction))], size);
    }
    let mut lost = Family::counter(
        "caside_link_lost_total",
        "messages between nodes that were lost, by reason",
    );
    for (reason, count) in [
        ("expired", links.expired),
        ("overloaded", links.overloaded),
        ("undecodable", links.undecodable),
        ("stray", links.stray),
        ("panic", links.panicked),
    ] {
        lost.add([("reason", word(reason))], count);
    }
    vec![
        Family::gauge("caside_members", "nodes with a lease, this one among them").of(members),
        Family::gauge("caside_links", "nodes that are linked").of(links.linked),
        messages,
        bytes,
        Family::counter(
            "caside_link_refused_total",
            "connections of other nodes that were not let in",
        )
        .of(links.refused),
        lost,
        Family::gauge("caside_lease_held", "1 while this node may own rooms").of(owned.holds),
        Family::gauge(
            "caside_directory_away",
            "1 while the directory of rooms does not answer",
        )
        .of(owned.directory_away),
        Family::gauge(
            "caside_rooms_elsewhere",
            "rooms of other nodes whose owners are remembered",
        )
        .of(owned.routes),
        Family::gauge(
            "caside_rooms_standby",
            "rooms of other nodes that this one would take over",
        )
        .of(owned.copies),
        Family::gauge(
            "caside_orphans",
            "participants whose sessions' nodes are gone, and who may come back",
        )
        .of(owned.orphans),
        Family::gauge(
            "caside_remote_requests",
            "requests of clients here that other nodes are to answer",
        )
        .of(owned.requests),
    ]
}

/// What becomes of telemetry itself.
pub(super) fn telemetry(health: &Health) -> Vec<Family> {
    let mut sent = Family::counter("caside_telemetry_sent_total", "what a collector took, by signal");
    let mut dropped = Family::counter("caside_telemetry_dropped_total", "what was lost, by signal and reason");
    for (signal, counts) in [
        ("spans", &health.spans),
        ("points", &health.points),
        ("records", &health.records),
    ] {
        let signal = ("signal", word(signal));
        sent.add([signal.clone()], counts.sent());
        dropped.add([signal.clone(), ("reason", word("queue_full"))], counts.dropped());
        dropped.add([signal, ("reason", word("not_taken"))], counts.failed());
    }
    vec![
        sent,
        dropped,
        Family::counter(
            "caside_telemetry_spans_unsampled_total",
            "spans of traces that were not to be kept, by what became of them",
        )
        .with([("fate", word("rescued"))], health.kept.rescued())
        .with([("fate", word("let_go"))], health.kept.let_go()),
    ]
}
