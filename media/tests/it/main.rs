//! The crate's tests through its public interface.

mod bandwidth;
mod engine;
mod record;
mod sdp;
mod sim;
mod transport;
