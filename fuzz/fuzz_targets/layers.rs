//! Packets of a layered stream.
#![no_main]

use caside_fuzz::layers::{Input, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input<'_>| run(&input));
