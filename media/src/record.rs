//! Recording, as pure code: observed packets go in, pieces of Matroska come out, and pieces are made into one file.
//!
//! [`segment::TrackGroupWriter`] takes what a tap saw of one participant's source (sound, picture or both) and yields
//! [`segment::Segment`]s of at most 2 s, each a playable file of its own. [`finish::Finisher`] makes one seekable file
//! of them, and [`inspect::inspect_segment`] recovers their metadata from their bytes alone.
//!
//! The way of a packet: [`reorder`] puts it in order, [`depacketize`] takes the codec's bytes out of it, [`assemble`]
//! makes frames, [`clock`] says when in the recording they belong, [`segment`] writes them.
//!
//! Absent on purpose: files, sockets, object stores, databases, and decoding or encoding of media.

pub mod assemble;
pub mod clock;
mod cluster;
pub mod depacketize;
mod ebml;
pub mod finish;
mod header;
pub mod inspect;
pub mod meta;
pub mod reorder;
pub mod segment;
