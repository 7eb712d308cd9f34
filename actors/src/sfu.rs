//! One room's selective forwarding unit: negotiates with each participant and drives a media worker. Its wishes come as
//! [`SfuCommand`]s from the room, what happened goes back as [`SfuEvent`]s. Packets stay in the worker.

mod actor;
mod command;

pub use actor::{SfuArgs, SfuHandle};
pub use command::{PublishedTrack, SfuCommand, SfuEvent};
