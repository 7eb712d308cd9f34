//! SDP for the two connections of a client: it offers what it publishes ([`PublishSession`]), we offer what it
//! subscribes to ([`SubscribeSession`]). A viewer offers and is sent one participant's tracks ([`ViewSession`]). Text comes in and goes out; what the engine needs leaves as the parameters of
//! [`crate::parameters`].
//!
//! The way of a description: [`parse`] makes a [`model::Description`] of the text, which is the only place where foreign
//! text is read; [`codecs`] and [`extensions`] match what is offered with what passes through here; [`publish`],
//! [`subscribe`] and [`view`] hold the state of a connection; [`write`] makes text again.
//!
//! Absent on purpose: ICE and DTLS themselves, trickled candidates (we are ICE-lite and need none), Plan B, and timers:
//! whoever waits for an answer calls [`SubscribeSession::abandon`].

pub mod candidate;
pub mod codecs;
mod connection;
pub mod error;
pub mod extensions;
pub mod h264;
pub mod model;
pub mod parse;
mod payload_types;
pub mod policy;
pub mod publish;
pub mod subscribe;
pub mod view;
pub mod write;

pub use candidate::{Candidate, CandidateTransport};
pub use error::{AddTrackError, NegotiateError, Rejection, SdpError};
pub use parse::parse;
pub use policy::{CodecPolicy, Connect, LocalDescription};
pub use publish::{PublishAnswer, PublishSession};
pub use subscribe::{SubscribeAnswer, SubscribeOffer, SubscribeSession, SubscribeTrack};
pub use view::{ViewAnswer, ViewSession};
