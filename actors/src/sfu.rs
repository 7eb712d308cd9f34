//! One room's selective forwarding unit: negotiates with each participant and drives the media workers that they sit on. Its wishes come as
//! [`SfuCommand`]s from the room, what happened goes back as [`SfuEvent`]s. Packets stay in the workers.
//!
//! `state` decides, as a pure function of orders and engine events; `actor` carries the decisions out.

mod actor;
mod command;
mod factory;
mod journey;
mod member;
mod placement;
mod state;
mod stats;
mod steps;
#[cfg(test)]
mod tests;

pub use actor::{SfuArgs, SfuHandle, SfuOverloaded};
pub use command::{ConnectionStep, PublishedTrack, SfuCommand, SfuEvent, TrackStep};
pub use factory::LocalSfus;
