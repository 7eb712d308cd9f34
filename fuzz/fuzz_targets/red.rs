//! A payload of redundant sound.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| caside_fuzz::red::run(bytes));
