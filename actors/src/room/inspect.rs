//! A room as an operator sees it: in short for the list of actors, and in full.

use std::fmt;

use caside_protocol::NodeId;
use caside_protocol::inspect::{MemberInspection, RoomInspection};
use caside_protocol::view::{Connection, Mode, Quality};
use serde_json::{Value, json};

use super::actor::Running;
use super::participant::Participant;
use super::way::Contact;
use super::wiring::Sfu;

/// Participants that the short form names.
const NAMED: usize = 24;

impl Sfu {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Starting(_) => "starting",
            Self::Up(_) => "up",
        }
    }
}

impl Running {
    /// Notes what went wrong with the room, which goes on.
    pub(super) fn went_wrong(&self, what: fmt::Arguments<'_>) {
        self.shared.args.observed.went_wrong(self.actor.get_id(), &what);
    }

    /// In short.
    pub(super) fn inspect(&self) -> Value {
        let state = &self.state;
        let participants = state.participants.values();
        let named: Vec<Value> = participants
            .clone()
            .take(NAMED)
            .map(|p| {
                json!({
                    "participant_id": p.id,
                    "user": p.user,
                    "role": p.role,
                    "connection": connection(p),
                    "tracks": p.tracks.len(),
                })
            })
            .collect();
        json!({
            "mode": mode(state.mode),
            "epoch": state.setup.epoch,
            "call": state.call,
            "locked": state.setup.room.locked,
            "recording": state.recording.running(),
            "recorders": self.recorders.len(),
            "sfu": self.sfu.as_str(),
            "standby": self.mirror.standby().map(|member| &member.node),
            "being_handed_over": self.held_back.is_some(),
            "requests_pending": state.pending.len(),
            "tracks": participants.map(|p| p.tracks.len()).sum::<usize>(),
            "participants": state.len(),
            "named": named,
        })
    }

    /// In full, but for what its SFU and its recorder know.
    pub(super) fn examine(&self) -> RoomInspection {
        let state = &self.state;
        let here = &self.shared.args.member.node;
        let members = state.participants.values();
        RoomInspection {
            room: state.view(),
            node: here.clone(),
            epoch: state.setup.epoch,
            standby: self.mirror.standby().map(|member| member.node.clone()),
            mode: state.mode,
            sfu: self.sfu.as_str().to_owned(),
            recording: state.recording.to_go_on().0,
            recorder: None,
            active_speakers: state.speakers.clone(),
            members: members
                .filter_map(|p| Some(member(p, self.seats.get(&p.id)?, here)))
                .collect(),
            truncated: false,
        }
    }
}

fn member(participant: &Participant, seat: &Contact, here: &NodeId) -> MemberInspection {
    let (quality, cause) = quality(participant);
    let address = seat.link.address();
    MemberInspection {
        participant_id: participant.id,
        session: seat.session,
        node: address.map_or_else(|| here.clone(), |address| address.member.node.clone()),
        quality,
        cause: cause.map(str::to_owned),
        on_hold: participant.on_hold,
        subscribe: participant.subscribe,
        last_n: participant.last_n,
        media: None,
    }
}

/// In the order in which the room tells it: signaling first, then connections that broke, then how those do that are up.
fn quality(participant: &Participant) -> (Quality, Option<&'static str>) {
    if participant.lost_until.is_some() {
        return (Quality::Lost, None);
    }
    if !participant.down.is_empty() {
        return (Quality::Poor, Some("media_down"));
    }
    participant.judged.unwrap_or((Quality::Good, None))
}

fn connection(participant: &Participant) -> Connection {
    if participant.lost_until.is_some() {
        Connection::Lost
    } else {
        Connection::Connected
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Sfu => "sfu",
        Mode::P2p => "p2p",
        Mode::Auto => "auto",
    }
}
