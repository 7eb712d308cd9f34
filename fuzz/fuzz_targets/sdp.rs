//! A session description.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| caside_fuzz::sdp::run(text));
