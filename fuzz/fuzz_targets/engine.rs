//! Datagrams and orders to an engine.
#![no_main]

use caside_fuzz::engine::{Input, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input<'_>| run(&input));
