//! The engine with simulated clients.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

mod beginnings;
mod bounds;
mod data;
mod feedback;
mod key_frames;
mod layers;
mod loss;
mod pipes;
mod pressure;
mod redundancy;
mod restart;
mod rooms;
mod silence;
mod taps;
mod voices;
