//! The life of a subscribe connection.
#![no_main]

use caside_fuzz::sdp::{Subscription, subscribe};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Subscription<'_>| subscribe(&input));
