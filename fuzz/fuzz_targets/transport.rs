//! DTLS of a client whose path is proven.
#![no_main]

use caside_fuzz::transport::{Input, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input<'_>| run(&input));
