//! Payloads of one track.
#![no_main]

use caside_fuzz::depacketize::{Input, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input<'_>| run(&input));
