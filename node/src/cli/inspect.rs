//! How `caside inspect` shows actors and a room to people.

use std::collections::{HashMap, HashSet};
use std::io::{IsTerminal, stdout};

use caside_protocol::inspect::{ActorView, Actors, MemberInspection, RoomInspection};
use caside_protocol::view::{Participant, Quality};
use caside_protocol::{NodeId, RoomId, Timestamp};
use clap::Args;
use serde_json::Value;
use time::Duration;

use super::operate::aligned;
use crate::output;

/// Longest text of a state in a row.
const LONGEST_STATE: usize = 100;

#[derive(Debug, Args)]
pub(super) struct ActorsArgs {
    /// Those of one kind: node, rooms, room, sfu, peers, peer, invites, recordings, recorder
    #[arg(long)]
    kind: Option<String>,
    /// Those of one room
    #[arg(long)]
    room: Option<RoomId>,
    /// Those of one node
    #[arg(long)]
    node: Option<NodeId>,
    /// So many at most
    #[arg(long, default_value_t = caside_protocol::inspect::DEFAULT_ACTORS,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(caside_protocol::inspect::MAX_ACTORS)))]
    limit: u32,
}

impl ActorsArgs {
    /// Where they are asked for.
    pub(super) fn path(&self) -> String {
        let mut query = format!("limit={}", self.limit);
        if let Some(kind) = &self.kind {
            let kind = percent_encoding::utf8_percent_encode(kind, percent_encoding::NON_ALPHANUMERIC);
            query.push_str(&format!("&kind={kind}"));
        }
        // Ids have no characters that a query would take for something else.
        for (name, id) in [
            ("room", self.room.as_ref().map(RoomId::as_str)),
            ("node", self.node.as_ref().map(NodeId::as_str)),
        ] {
            if let Some(id) = id {
                query.push_str(&format!("&{name}={id}"));
            }
        }
        format!("/admin/actors?{query}")
    }
}

/// What is watched: drawn in place on a terminal, else one answer after the other.
pub(super) struct Screen {
    is_terminal: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: stdout().is_terminal(),
        }
    }

    pub(super) fn show(&mut self, text: &str) {
        if !self.is_terminal {
            return output::line(text);
        }
        output::line(redrawn(text));
    }
}

/// The text over what the terminal shows: from the top, each line cleared to its end, nothing left below.
fn redrawn(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("{line}\u{1b}[K")).collect();
    format!("\u{1b}[H{}\u{1b}[J", lines.join("\n"))
}

// ---- actors -------------------------------------------------------------------------------------------------------------

/// The tree of each node, and what failed.
pub(super) fn actors(actors: &Actors) -> String {
    let now = Timestamp::now_utc();
    let head = [
        "ACTOR", "WAITING", "MOST", "HANDLED", "REFUSED", "LAST", "UP", "RESTARTS", "STATE",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    let mut children: HashMap<&str, Vec<&ActorView>> = HashMap::new();
    let known: HashSet<&str> = actors.items.iter().map(|actor| actor.id.as_str()).collect();
    let mut roots: Vec<&ActorView> = Vec::new();
    for actor in &actors.items {
        match actor.parent.as_deref().filter(|parent| known.contains(parent)) {
            Some(parent) => children.entry(parent).or_default().push(actor),
            None => roots.push(actor),
        }
    }
    roots.sort_by(|a, b| a.node.cmp(&b.node));
    let mut node = None;
    for root in roots {
        if node.replace(&root.node) != Some(&root.node) {
            let mut row = [const { String::new() }; 9];
            row[0] = root.node.to_string();
            rows.push(row);
        }
        branch(root, &children, 1, now, &mut rows);
    }
    let mut text = aligned(&rows);
    write_rest(&mut text, actors, now);
    text
}

fn branch(
    actor: &ActorView,
    children: &HashMap<&str, Vec<&ActorView>>,
    depth: usize,
    now: Timestamp,
    rows: &mut Vec<[String; 9]>,
) {
    rows.push(row(actor, depth, now));
    for child in children.get(actor.id.as_str()).into_iter().flatten() {
        branch(child, children, depth + 1, now, rows);
    }
}

fn row(actor: &ActorView, depth: usize, now: Timestamp) -> [String; 9] {
    let name = actor.name.as_deref().unwrap_or_default();
    let title = format!("{}{} {name}", "  ".repeat(depth), actor.kind);
    let [waiting, most, handled, refused, last] = match &actor.mailbox {
        Some(mailbox) => [
            match mailbox.bound {
                Some(bound) => format!("{}/{bound}", mailbox.depth),
                None => mailbox.depth.to_string(),
            },
            mailbox.high_water.to_string(),
            mailbox.handled.to_string(),
            mailbox.refused.to_string(),
            mailbox.last_message_at.map_or_else(dash, |at| age(now - at)),
        ],
        None => [const { String::new() }; 5],
    };
    [
        title.trim_end().to_owned(),
        waiting,
        most,
        handled,
        refused,
        last,
        age(now - actor.started_at),
        actor.restarts.to_string(),
        state(actor),
    ]
}

fn state(actor: &ActorView) -> String {
    let stuck = match actor.mailbox.as_ref().and_then(|mailbox| mailbox.busy_ms) {
        Some(ms) => format!("does not answer; at one message for {ms} ms"),
        None => "does not answer".to_owned(),
    };
    let mut text = match &actor.state {
        Some(state) => in_short(state),
        None if actor.answers => format!("{} below it", actor.children),
        None => stuck,
    };
    if let Some(error) = &actor.last_error {
        text += &format!(" | last error: {}", error.message);
    }
    text
}

/// The plain values of a state, as words.
fn in_short(state: &Value) -> String {
    let Some(fields) = state.as_object() else {
        return state.to_string();
    };
    let words = fields.iter().filter_map(|(name, value)| match value {
        Value::Null | Value::Array(_) | Value::Object(_) | Value::Bool(false) => None,
        Value::Bool(true) => Some(name.clone()),
        Value::String(text) => Some(format!("{name}={text}")),
        Value::Number(number) => Some(format!("{name}={number}")),
    });
    let text = words.collect::<Vec<_>>().join(" ");
    if text.chars().count() <= LONGEST_STATE {
        return text;
    }
    text.chars().take(LONGEST_STATE - 1).chain(['…']).collect()
}

fn write_rest(text: &mut String, actors: &Actors, now: Timestamp) {
    if actors.truncated {
        let shown = actors.items.len();
        *text += &format!(
            "\n{shown} of {} actors; --limit shows more, --kind, --room and --node fewer",
            actors.total
        );
    }
    for node in &actors.silent {
        *text += &format!("\n{node} did not answer");
    }
    if !actors.failures.is_empty() {
        let mut rows = vec![["FAILED", "NODE", "TIMES", "LAST", "ERROR"].map(str::to_owned)];
        rows.extend(actors.failures.iter().map(|failure| {
            let name = failure.name.as_deref().unwrap_or_default();
            [
                format!("{} {name}", failure.kind).trim_end().to_owned(),
                failure.node.to_string(),
                failure.failures.to_string(),
                age(now - failure.error.at),
                failure.error.message.clone(),
            ]
        }));
        *text += &format!("\n\n{}", aligned(&rows));
    }
}

// ---- a room -------------------------------------------------------------------------------------------------------------

/// A room in full.
pub(super) fn room(seen: &RoomInspection) -> String {
    let mode = serde_json::to_value(seen.mode).unwrap_or_default();
    let mut text = format!(
        "{} on {} (epoch {}), standby {}, mode {}, SFU {}",
        seen.room.id,
        seen.node,
        seen.epoch,
        seen.standby.as_ref().map_or_else(dash, ToString::to_string),
        mode.as_str().unwrap_or_default(),
        seen.sfu,
    );
    if let Some(call) = seen.room.call_id {
        text += &format!("\ncall {call}");
    }
    if let Some(recording) = &seen.recording {
        let how = seen.recorder.as_ref().map(in_short).unwrap_or_default();
        text += &format!("\nrecording {} {how}", recording.id);
    }
    let mut rows = vec![["WHO", "ROLE", "NODE", "QUALITY", "ESTIMATE", "RTT", "SENDS", "RECEIVES"].map(str::to_owned)];
    for (participant, member) in seen.room.participants.iter().zip(&seen.members) {
        rows.push(of_member(participant, member));
    }
    text += &format!("\n\n{}", aligned(&rows));
    let mut tracks = vec![["TRACK", "OF", "SOURCE", "CODEC", "STATE", "LAYERS"].map(str::to_owned)];
    for (participant, member) in seen.room.participants.iter().zip(&seen.members) {
        for track in &participant.tracks {
            tracks.push([
                track.track.to_string(),
                participant.user.to_string(),
                track.source.as_str().to_owned(),
                track.codec.clone(),
                match (track.muted, track.held) {
                    (true, _) => "muted",
                    (_, true) => "held",
                    _ => "live",
                }
                .to_owned(),
                layers(member, &track.track.to_string()),
            ]);
        }
    }
    if tracks.len() > 1 {
        text += &format!("\n\n{}", aligned(&tracks));
    }
    if seen.truncated {
        text.push_str("\nthe media of some is not shown");
    }
    text
}

/// The rows of a list in a connection of a member's media.
fn listed<'a>(member: &'a MemberInspection, list: &'a str) -> impl Iterator<Item = &'a Value> {
    let connections = member
        .media
        .iter()
        .filter_map(|media| media["connections"].as_array())
        .flatten();
    connections
        .filter_map(move |connection| connection[list].as_array())
        .flatten()
}

fn of_member(participant: &Participant, member: &MemberInspection) -> [String; 8] {
    let connections = || {
        member
            .media
            .iter()
            .filter_map(|media| media["connections"].as_array())
            .flatten()
    };
    let estimate = connections().find_map(|it| it["downlink"]["estimate_bps"].as_f64());
    let rtt = connections().filter_map(|it| it["rtt_ms"].as_f64()).reduce(f64::max);
    let quality = match member.quality {
        Quality::Excellent => "excellent",
        Quality::Good => "good",
        Quality::Poor => "poor",
        Quality::Lost => "lost",
    };
    let quality = match &member.cause {
        Some(cause) => format!("{quality} ({cause})"),
        None => quality.to_owned(),
    };
    [
        participant.user.to_string(),
        format!("{:?}", participant.role).to_lowercase(),
        member.node.to_string(),
        quality,
        estimate.map_or_else(dash, rate),
        rtt.map_or_else(dash, |rtt| format!("{rtt:.0} ms")),
        participant.tracks.len().to_string(),
        listed(member, "subscribed").count().to_string(),
    ]
}

/// What of a track its publisher sends now.
fn layers(member: &MemberInspection, track: &str) -> String {
    let sent = listed(member, "published").find(|sent| sent["track"] == track);
    let layers = sent.and_then(|sent| sent["layers"].as_array()).into_iter().flatten();
    let active = layers.filter(|layer| layer["active"] == true).map(|layer| {
        let size = match (layer["width"].as_u64(), layer["height"].as_u64()) {
            (Some(width), Some(height)) if width > 0 => format!("{width}×{height} "),
            _ => String::new(),
        };
        format!("{size}{}", layer["bitrate_bps"].as_f64().map_or_else(dash, rate))
    });
    let text = active.collect::<Vec<_>>().join(", ");
    if text.is_empty() { dash() } else { text }
}

fn rate(bits_per_second: f64) -> String {
    if bits_per_second >= 1e6 {
        format!("{:.1} Mbit/s", bits_per_second / 1e6)
    } else {
        format!("{:.0} kbit/s", bits_per_second / 1e3)
    }
}

fn dash() -> String {
    "–".to_owned()
}

/// A span in its largest two units.
fn age(span: Duration) -> String {
    let s = span.whole_seconds().max(0);
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use caside_protocol::inspect::MailboxView;

    use super::*;

    fn actor(id: &str, kind: &str, parent: Option<&str>) -> ActorView {
        ActorView {
            id: id.to_owned(),
            node: NodeId::new("n1").unwrap(),
            kind: kind.to_owned(),
            name: None,
            room: None,
            parent: parent.map(str::to_owned),
            children: 1,
            started_at: Timestamp::now_utc() - Duration::seconds(90),
            mailbox: None,
            last_error: None,
            restarts: 0,
            answers: true,
            state: None,
        }
    }

    #[test]
    fn actors_stand_below_their_supervisors_and_one_that_is_stuck_says_so() {
        let mut stuck = actor("3@n1", "room", Some("2@n1"));
        stuck.name = Some("standup".to_owned());
        stuck.answers = false;
        stuck.mailbox = Some(MailboxView {
            depth: 7,
            high_water: 9,
            bound: Some(8192),
            handled: 12,
            refused: 0,
            busy_ms: Some(1500),
            last_message_at: None,
        });
        let text = actors(&Actors {
            items: vec![actor("1@n1", "node", None), actor("2@n1", "rooms", Some("1@n1")), stuck],
            total: 9,
            truncated: true,
            failures: Vec::new(),
            silent: vec![NodeId::new("n2").unwrap()],
        });
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1] == "n1" && lines[2].starts_with("  node  ") && lines[3].starts_with("    rooms  "),
            "{text}"
        );
        let room: Vec<&str> = lines[4].split_whitespace().collect();
        assert_eq!(&room[..6], ["room", "standup", "7/8192", "9", "12", "0"]);
        assert!(
            lines[4].ends_with("does not answer; at one message for 1500 ms"),
            "{text}"
        );
        assert!(
            lines[5].starts_with("3 of 9 actors") && lines[6] == "n2 did not answer",
            "{text}"
        );
    }

    #[test]
    fn a_redrawn_screen_leaves_nothing_of_the_one_before() {
        assert_eq!(redrawn("a\nb"), "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\u{1b}[J");
    }

    #[test]
    fn spans_have_two_units() {
        let spans = [5, 65, 3_720, 90_000].map(|s| age(Duration::seconds(s)));
        assert_eq!(spans, ["5 s", "1 min 5 s", "1 h 2 min", "1 d 1 h"]);
    }
}
