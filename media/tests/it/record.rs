//! Recording, from packets to files: with material that ffmpeg encoded, over a network that loses, repeats and reorders, and
//! with ffmpeg and ffprobe to judge what comes out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod clocks;
mod encryption;
mod files;
mod flash;
mod limits;
mod material;
mod network;
mod oracle;
mod properties;
mod recorder;
mod reordering;
