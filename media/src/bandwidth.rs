//! How much may be sent to a receiver, and how that is shared.
//!
//! [`SentPackets`] remembers what was sent under which transport-wide number. Feedback about it (RFC 8888's predecessor,
//! [`crate::rtcp::transport_cc`]) becomes [`Outcome`]s, from which the [`Estimator`] learns what the path carries: by the trend
//! of the delay, by losses that grow with the rate, and by probes. Everything here is told the time, allocates nothing after
//! it was made, and knows of no packet's content.
//!
//! Absent on purpose: sockets, timers and packets; the engine has them.

pub mod acked;
pub mod aimd;
pub mod allocator;
pub mod delay;
pub mod estimator;
pub mod history;
pub mod loss;
pub mod pacer;
pub mod probe;
pub mod trend;

pub use estimator::{Estimate, Estimator, Limit};
pub use history::{Outcome, SentPackets};
pub use pacer::Pacer;
pub use probe::Cluster;

/// What IPv4 and UDP add to a datagram: rates here are those of the wire. IPv6's 20 bytes more are within the error.
pub const OVERHEAD_BYTES: usize = 28;

/// No path is taken to carry less, in bits a second: sound at its lowest.
pub const MIN_RATE: f64 = 30_000.0;

/// No path is taken to carry more, in bits a second.
pub const MAX_RATE: f64 = 200_000_000.0;
