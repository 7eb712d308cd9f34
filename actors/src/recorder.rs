//! Recording of calls: taps in the media engine → segments in the spool → one seekable file a participant and source in
//! object storage.
//!
//! A `Recorder` actor runs while a call is recorded; it only hears of tracks that come and go. Packets go from the taps
//! through bounded queues to one task a source group (`group`), which writes segments. When the recording stops, or after
//! a crash at the next start, `finalize` makes the files of the segments.

mod actor;
mod finalize;
mod group;
mod numbering;
mod origin;
mod part;
mod recordings;
mod report;
mod shipping;
mod sink;

pub use recordings::{Recordings, RecordingsArgs};
pub use report::{RecordingsReport, ShippingReport};
