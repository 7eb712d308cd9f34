//! Rooms: who is in a call, what they may do, and what each is told, in order and once.
//!
//! [`state`] decides, as a pure function of time and commands; [`actor`] carries the decisions out; [`supervisor`] has one
//! room for each id in use. Absent on purpose: sockets and tokens (the peers'), packets (the SFU's).

mod actor;
mod command;
mod effects;
mod explain;
mod history;
mod inspect;
mod join;
mod keeping;
mod media;
mod message;
mod moderation;
mod participant;
mod quality;
mod recording;
mod relay;
mod snapshot;
mod state;
mod supervisor;
mod watching;
mod way;
mod wiring;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod trial;

pub(crate) use command::{Authority, Standing};
pub(crate) use history::{EventLog, Missed};
pub(crate) use message::{JoinRequest, MAX_DETOURS, RoomHandle, RoomMsg};
pub(crate) use snapshot::Snapshot;
pub(crate) use supervisor::{RoomTable, Rooms, RoomsArgs, RoomsMsg};
pub(crate) use way::{Contact, Order, RemoteRoom, RoomWay};
