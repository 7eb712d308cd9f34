//! Links between members that are processes of their own, as ractor's statics demand. Each member is this test binary once more,
//! told to be one.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for other code")]

mod bench;
mod certificates;
mod chaos;
mod links;
mod loss;
mod member;
mod process;
mod relay;
mod strangers;
