//! What a recorder is given.
#![no_main]

use caside_fuzz::record::{Input, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input<'_>| run(&input));
