//! Segments of recordings.
#![no_main]

use caside_fuzz::segment::{Input, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input<'_>| run(&input));
