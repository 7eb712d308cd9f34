//! The store against real databases, file systems and an S3-compatible server.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected shall panic")]

mod accounts;
mod calls;
mod database;
mod journal;
mod objects;
mod outage;
mod postgres;
mod recordings;
mod rooms;
mod s3;
mod schema;
mod spool;
mod timelines;
