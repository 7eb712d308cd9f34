//! RTP and RTCP of authenticated clients.
#![no_main]

use caside_fuzz::client::{Input, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input<'_>| run(&input));
