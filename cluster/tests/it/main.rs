//! Directories of several members against a real Redis, which is stopped, killed, emptied and cut off.

mod bench;
mod outages;
mod rooms;
mod schedule;
mod support;
mod thaw;
