//! A frame of the WebSocket protocol, in both dialects.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| caside_fuzz::message::run(bytes));
