//! The sans-I/O media engine: ICE-lite, DTLS, SRTP, RTP and RTCP, producers and consumers, data channels, SDP, and the
//! muxing of recordings. It is given datagrams and the time, and returns datagrams and events.
//!
//! Absent on purpose: sockets, tasks, clocks, rooms and users. Nothing here blocks, sleeps or asks for the time.
//!
//! The way of a packet: [`engine`] finds its [`transport`] (by path, or by the ufrag of a STUN check), which decrypts it;
//! its [`producer`] keeps it in a ring; at the end of a round each [`consumer`] rewrites and seals its copy into the
//! [`send_buffer`].

pub mod bandwidth;
pub mod certificate;
pub mod consumer;
pub mod control;
mod crypto;
pub mod data;
pub mod dtls;
pub mod engine;
pub mod framing;
pub mod ice;
pub mod layers;
pub mod parameters;
pub mod pipe;
pub mod pressure;
pub mod producer;
pub mod quality;
pub mod record;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod send_buffer;
pub mod srtp;
pub mod transport;
