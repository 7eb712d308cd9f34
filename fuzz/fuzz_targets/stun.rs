//! STUN at a new transport.
#![no_main]

use caside_fuzz::stun::{Input, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input<'_>| run(&input));
