//! Sealing and opening allocate nothing once an SSRC is known.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use caside_media::srtp::{SRTCP_OVERHEAD, SRTP_OVERHEAD, SrtpProfile, SrtpSession};

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

#[test]
fn the_counter_counts() {
    assert_eq!(
        allocations(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(100)))),
        1
    );
}

#[test]
fn packets_of_known_ssrcs_allocate_nothing() {
    const LEN: usize = 1200;
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmSha1_80] {
        let material: Vec<u8> = (0..60).collect();
        let material = &material[..if profile == SrtpProfile::AeadAes128Gcm { 56 } else { 60 }];
        let mut client = SrtpSession::new(profile, material, true).unwrap();
        let mut server = SrtpSession::new(profile, material, false).unwrap();
        let mut round = |extended: u32| {
            let mut packet = [0; LEN + SRTP_OVERHEAD];
            packet[0] = 0x80;
            packet[2..4].copy_from_slice(&(extended as u16).to_be_bytes());
            packet[11] = 1;
            let sealed = client.protect_rtp(&mut packet, LEN, 12, extended >> 16).unwrap();
            assert_eq!(server.unprotect_rtp(&mut packet[..sealed]), Some(LEN));

            let mut packet = [0; 100 + SRTCP_OVERHEAD];
            packet[..2].copy_from_slice(&[0x80, 200]);
            let sealed = client.protect_rtcp(&mut packet, 100).unwrap();
            assert_eq!(server.unprotect_rtcp(&mut packet[..sealed]), Some(100));
        };
        round(0);
        assert_eq!(allocations(|| (1..66_000).for_each(round)), 0, "{profile:?}");
    }
}
