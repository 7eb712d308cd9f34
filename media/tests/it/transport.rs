//! A [`Transport`](caside_media::transport::Transport) against a client made of rtc-dtls, rtc-stun, rtc-srtp and rtc-sctp, over
//! a simulated link in virtual time.

mod client;
mod data;
mod handshake;
mod ice;
mod link;
mod srtp;
mod world;
