//! Forwarding a packet allocates nothing.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "it/transport/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "support/connect.rs"]
mod connect;
#[path = "support/fan_out.rs"]
mod fan_out;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "support/parameters.rs"]
mod parameters;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caside_media::certificate::Certificate;
use caside_media::engine::EngineConfig;
use caside_media::transport::TransportConfig;
use fan_out::FanOut;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "a global allocator is unsafe by nature; this one only counts")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps alloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps dealloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[expect(clippy::disallowed_methods, reason = "an arbitrary start of virtual time")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn a_forwarded_packet_allocates_nothing() {
    const RECEIVERS: usize = 50;
    const PACKETS: usize = 4;
    let transport = Arc::new(TransportConfig::new(Certificate::generate().unwrap()));
    let config = EngineConfig::new(transport, (start(), Duration::from_secs(1_800_000_000)));
    let now = config.clock.0 + Duration::from_secs(1);
    let mut fan_out = FanOut::new(config, now, RECEIVERS, 1100);
    // The ring, the tables and the buffers reach their sizes: two turns of the ring, and several seconds of reports.
    for _ in 0..400 {
        fan_out.check();
        let mut datagrams = fan_out.datagrams(PACKETS);
        fan_out.round(&mut datagrams);
    }
    // Reports are made anew each second; between two of them nothing is.
    let mut without = 0;
    for _ in 0..200 {
        fan_out.check();
        let mut datagrams = fan_out.datagrams(PACKETS);
        let mut sent = 0;
        let reports_due = fan_out
            .engine
            .poll_timeout()
            .is_some_and(|at| at <= fan_out.now + Duration::from_millis(5));
        let allocated = allocations(|| sent = fan_out.round(&mut datagrams));
        if reports_due {
            continue;
        }
        assert_eq!(sent, RECEIVERS * PACKETS);
        assert_eq!(allocated, 0, "in a round of {PACKETS} packets to {RECEIVERS} receivers");
        without += 1;
    }
    assert!(without > 60, "only {without} rounds were measured");
}
