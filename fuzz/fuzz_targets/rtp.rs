//! A plain RTP packet.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| caside_fuzz::rtp::run(bytes));
