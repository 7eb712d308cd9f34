//! A [`Transport`](caside_media::transport::Transport) against a client made of rtc-dtls, rtc-stun, rtc-srtp and rtc-sctp, over
//! a simulated link in virtual time.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

pub(crate) mod client;
mod data;
mod handshake;
mod ice;
pub(crate) mod link;
mod sctp;
mod srtp;
pub(crate) mod world;
