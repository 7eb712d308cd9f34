//! The signaling tree from outside: sessions open, clients speak, frames come out. The clock is paused, SFUs and recorders
//! are watched doubles, and what is asserted on is what a client receives.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for other code")]

mod calls;
mod failover;
mod failures;
mod inspect;
mod leaks;
mod leaving;
mod media;
mod nodes;
mod recorder;
mod rest;
mod resume;
mod rooms;
mod sessions;
mod support;
