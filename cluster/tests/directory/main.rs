//! Directories of several members against a real Redis, which is stopped, killed, emptied and cut off.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for other code")]

mod bench;
mod company;
mod outages;
mod rooms;
mod schedule;
mod support;
mod thaw;
