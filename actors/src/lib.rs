//! The supervision tree: node, peers, rooms, SFUs, recorders, and the media worker threads that own the sockets.
//! Actors are thin shells around pure state machines: a mailbox message goes in, effects come out, the shell carries them out.
//!
//! Absent on purpose: HTTP, WebSocket frames, configuration files. RTP never passes through a mailbox.

pub mod audit;
mod gateway;
mod invites;
pub mod limit;
pub mod mailbox;
pub mod media_worker;
pub mod node;
pub mod observed;
pub mod outbound;
pub mod peer;
pub mod ports;
pub mod recorder;
pub mod refused;
pub mod room;
pub mod sfu;
pub mod trace;
