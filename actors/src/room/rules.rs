//! The rules of a room, one by one.

mod coming;
mod media;
mod moderation;
mod moving;
mod recording;
mod resuming;

use std::time::Duration;

use caside_protocol::node::{Act, ReleaseCause, Report};
use caside_protocol::rest::UpdateRoom;
use caside_protocol::server::ServerMessage;
use caside_protocol::view::{Mode, RecordPolicy, TrackKind};
use caside_protocol::{CallId, ErrorCode, Grants, Role, Timestamp};
use caside_store::JournalEntry;
use serde_json::json;
use uuid::Uuid;

use super::command::{Authority, Command, Standing};
use super::trial::{Trial, participant, published, room, track, user};
use crate::sfu::SfuEvent;

fn role_of(trial: &Trial, n: u128) -> Role {
    let view = trial.state.view();
    view.participants
        .iter()
        .find(|p| p.participant_id == participant(n))
        .expect("inside")
        .role
}

fn joined_mode(trial: &Trial) -> Mode {
    let last = trial.answers.values().next_back().expect("answered");
    let ServerMessage::Joined(joined) = last else {
        panic!("not joined: {last:?}")
    };
    joined.room_state.mode
}
