//! Packets in a TCP stream.
#![no_main]

use caside_fuzz::framing::{Input, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input<'_>| run(&input));
