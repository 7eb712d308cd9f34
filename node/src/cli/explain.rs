//! `caside inspect call`: what happened in a call, and why something in it does not work.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use caside_protocol::ParticipantId;
use caside_protocol::explain::{Cause, ExplainedCall, TimelineEntry};
use clap::Args;
use hyper::Method;
use time::OffsetDateTime;
use time::macros::format_description;

use super::ask::ask;
use crate::config::Settings;

#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// The call's id, or its room's
    id: String,
}

impl CallArgs {
    /// The call, for people or as the node answers it.
    pub(super) async fn ask(&self, settings: &Settings, json: bool) -> anyhow::Result<String> {
        let path = format!("/admin/calls/{}", encoded(&self.id));
        let call: ExplainedCall = ask(settings, Method::GET, &path, None).await?;
        Ok(if json {
            serde_json::to_string(&call)?
        } else {
            written(&call)
        })
    }
}

/// What a path may have of an id as it is (RFC 3986 §2.3), the rest in percent.
fn encoded(id: &str) -> String {
    let mut path = String::new();
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            write!(path, "%{byte:02X}").unwrap_or_default();
        }
    }
    path
}

/// A call as people read it.
fn written(call: &ExplainedCall) -> String {
    let mut lines = Vec::new();
    let id = call
        .call
        .map_or_else(|| "no call".to_owned(), |id| format!("call {id}"));
    let node = call
        .node
        .as_ref()
        .map_or_else(String::new, |node| format!(" on {node}"));
    lines.push(format!("{id}, room {}: {}{node}", call.room, call.status));

    let names: BTreeMap<ParticipantId, &str> = call
        .participants
        .iter()
        .map(|it| (it.participant_id, it.display_name.as_str()))
        .collect();
    let name = |who: Option<ParticipantId>| who.and_then(|who| names.get(&who).copied()).map(plain);
    lines.push(String::new());
    if call.causes.is_empty() {
        lines.push("nothing is known to be wrong".to_owned());
    }
    for cause in &call.causes {
        lines.push(headline(cause, name(cause.participant_id)));
        lines.push(format!("  {}", cause.says));
        lines.push(format!("  {}", cause.remedy));
        if let Some(detail) = &cause.detail {
            lines.push(format!("  ({})", plain(detail)));
        }
    }
    lines.push(String::new());
    for who in &call.participants {
        let left = who
            .left_at
            .map_or_else(String::new, |at| format!(", left {}", clock(at)));
        let (id, user) = (who.participant_id, &who.user);
        let media = format!("publish {}, subscribe {}", plain(&who.publish), plain(&who.subscribe));
        lines.push(format!("{} ({user}, {id}): {media}{left}", plain(&who.display_name)));
    }
    lines.push(String::new());
    for entry in &call.timeline {
        if entry.left_out > 0 {
            lines.push(format!("              … {} left out", entry.left_out));
        }
        lines.push(row(entry, name(entry.participant_id)));
    }
    lines.join("\n")
}

fn headline(cause: &Cause, name: Option<String>) -> String {
    let user = || cause.user.as_ref().map(ToString::to_string);
    let whom = name.or_else(user).map_or_else(String::new, |whom| format!(" – {whom}"));
    let when = match cause.until {
        None => format!("since {}", clock(cause.since)),
        Some(until) => format!("{} to {}, over", clock(cause.since), clock(until)),
    };
    format!("{}{whom}, {when}", cause.code.as_str().to_uppercase())
}

fn row(entry: &TimelineEntry, name: Option<String>) -> String {
    let whom = name.unwrap_or_else(|| "–".to_owned());
    let detail = entry
        .detail
        .as_deref()
        .map_or_else(String::new, |detail| format!("  {}", plain(detail)));
    let (at, stage, what) = (clock(entry.at), entry.stage.as_str(), plain(&entry.what));
    format!("{at}  {stage:<11}  {whom:<16}  {what}{detail}")
}

/// The time of day in UTC, to the millisecond.
fn clock(at: OffsetDateTime) -> String {
    let format = format_description!("[hour]:[minute]:[second].[subsecond digits:3]");
    at.format(&format).unwrap_or_else(|_| at.to_string())
}

/// Without what a terminal would act upon: names are anybody's choice.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use caside_protocol::explain::{CauseCode, ExplainedParticipant, Stage};
    use caside_protocol::{RoomId, UserId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_call_reads_as_causes_people_and_times() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let ada = ParticipantId(Uuid::from_u128(1));
        let code = CauseCode::UdpBlocked;
        let call = ExplainedCall {
            call: None,
            room: RoomId::new("standup").unwrap(),
            node: None,
            status: "active".to_owned(),
            causes: vec![Cause {
                code,
                participant_id: Some(ada),
                user: None,
                track: None,
                since: at,
                until: None,
                says: code.says().to_owned(),
                remedy: code.remedy().to_owned(),
                detail: None,
            }],
            participants: vec![ExplainedParticipant {
                participant_id: ada,
                user: UserId::new("ada").unwrap(),
                display_name: "Ada\u{1b}[2J".to_owned(),
                joined_at: at,
                left_at: None,
                publish: "offered".to_owned(),
                subscribe: "none".to_owned(),
            }],
            timeline: vec![TimelineEntry {
                at,
                participant_id: Some(ada),
                stage: Stage::Join,
                what: "joined".to_owned(),
                detail: None,
                left_out: 2,
            }],
        };
        let text = written(&call);
        assert!(text.contains("UDP_BLOCKED – Ada"), "{text}");
        assert!(text.contains("00:00:00.000  join"), "{text}");
        assert!(text.contains("2 left out") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn an_id_is_one_step_of_a_path() {
        assert_eq!(encoded("a:b/../c?"), "a%3Ab%2F..%2Fc%3F");
    }
}
