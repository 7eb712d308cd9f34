//! SCTP and data channels of an authenticated client.
#![no_main]

use caside_fuzz::data::{Input, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input<'_>| run(&input));
