//! Forwarding a packet allocates nothing, and a receiver takes little memory.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "it/transport/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "support/connect.rs"]
mod connect;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "support/fan_out.rs"]
mod fan_out;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "support/parameters.rs"]
mod parameters;
#[path = "support/piped.rs"]
mod piped;
#[path = "support/talk.rs"]
mod talk;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caside_media::certificate::Certificate;
use caside_media::engine::EngineConfig;
use caside_media::transport::TransportConfig;
use fan_out::FanOut;
use piped::PipedFanOut;
use talk::{Talk, VOICES};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "a global allocator is unsafe by nature; this one only counts")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        LIVE_BYTES.with(|bytes| bytes.set(bytes.get() + layout.size() as isize));
        // SAFETY: the caller keeps alloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.with(|bytes| bytes.set(bytes.get() - layout.size() as isize));
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

fn config() -> EngineConfig {
    let transport = Arc::new(TransportConfig::new(Certificate::generate().unwrap()));
    EngineConfig::new(transport, (start(), Duration::from_secs(1_800_000_000)))
}

fn fan_out(receivers: usize) -> FanOut {
    let config = config();
    let now = config.clock.0 + Duration::from_secs(1);
    FanOut::new(config, now, receivers, 1100)
}

/// Two turns of the ring, and several seconds of reports: tables and buffers reach their sizes.
fn warm_up(fan_out: &mut FanOut) {
    for _ in 0..400 {
        fan_out.check();
        let mut datagrams = fan_out.datagrams(PACKETS);
        fan_out.round(&mut datagrams);
    }
}

/// Packets a round.
const PACKETS: usize = 4;

#[test]
fn a_receiver_takes_less_than_200_kib() {
    const RECEIVERS: isize = 20;
    let live = |receivers| {
        let before = LIVE_BYTES.with(Cell::get);
        let mut fan_out = fan_out(receivers);
        warm_up(&mut fan_out);
        // What the clients take is theirs, and the buffer serves all.
        fan_out.leave_clients_out();
        LIVE_BYTES.with(Cell::get) - before
    };
    let (none, some) = (live(0), live(RECEIVERS as usize));
    let each = (some - none) / RECEIVERS;
    assert!((1..200 * 1024).contains(&each), "{each} bytes a receiver");
}

#[test]
fn a_forwarded_packet_allocates_nothing() {
    const RECEIVERS: usize = 50;
    let mut fan_out = fan_out(RECEIVERS);
    warm_up(&mut fan_out);
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

#[test]
fn a_packet_over_a_pipe_allocates_nothing() {
    const RECEIVERS: usize = 20;
    let mut piped = PipedFanOut::new(config(), RECEIVERS, 1100);
    for _ in 0..400 {
        piped.check();
        let mut datagrams = piped.home.datagrams(PACKETS);
        piped.round(&mut datagrams);
    }
    let mut without = 0;
    for _ in 0..200 {
        piped.check();
        let mut datagrams = piped.home.datagrams(PACKETS);
        let soon = piped.home.now + Duration::from_millis(5);
        let engines = [&piped.home.engine, &piped.other];
        let reports_due = engines.iter().any(|it| it.poll_timeout().is_some_and(|at| at <= soon));
        let mut sent = 0;
        let allocated = allocations(|| sent = piped.round(&mut datagrams));
        if reports_due {
            continue;
        }
        assert_eq!(sent, RECEIVERS * PACKETS);
        assert_eq!(allocated, 0, "in a round of {PACKETS} packets to {RECEIVERS} receivers");
        without += 1;
    }
    assert!(without > 60, "only {without} rounds were measured");
}

#[test]
fn a_packet_of_sound_that_repeats_others_allocates_nothing_while_the_loudest_alone_are_heard() {
    const RECEIVERS: usize = 20;
    let mut talk = Talk::new(config(), RECEIVERS);
    let (mut without, mut long, mut short, mut recovered) = (0, 0, 0, 0);
    let mut heard = [0; VOICES];
    // Ten seconds until tables and buffers have their sizes, and four in which each two speak twice.
    for round in 0..2800 {
        talk.check();
        let voice = talk.voice();
        let mut datagram = talk.datagram();
        let soon = talk.now + Duration::from_millis(5);
        let reports_due = talk.engine.poll_timeout().is_some_and(|at| at <= soon);
        let mut sent = 0;
        let allocated = allocations(|| sent = talk.round(datagram.as_mut()));
        if reports_due || round < 2000 {
            continue;
        }
        assert_eq!(allocated, 0, "in a round of one packet to {RECEIVERS} receivers");
        assert_eq!(sent % RECEIVERS, 0, "{sent} to {RECEIVERS} receivers");
        without += 1;
        heard[voice] += sent / RECEIVERS;
        recovered += usize::from(sent > RECEIVERS);
        for (_, datagram) in talk.out.iter() {
            *if datagram.len() > 200 { &mut long } else { &mut short } += 1;
        }
    }
    // Every other round is of somebody who is silent, and some are left out.
    let heard_in_all: usize = heard.iter().sum();
    assert!(
        without > 200 && heard_in_all * 3 < without * 2,
        "{heard:?} of {without}"
    );
    assert!(
        heard.iter().all(|rounds| *rounds > 20),
        "each begins and ends: {heard:?}"
    );
    assert!(
        long > 500 && short > 500,
        "{long} packets with what was before, {short} without"
    );
    assert!(recovered > 10, "{recovered} rounds filled in what was lost");
}
