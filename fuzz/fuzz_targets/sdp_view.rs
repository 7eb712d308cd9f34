//! A viewer's offers, separated by zero bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| caside_fuzz::sdp::view(text));
