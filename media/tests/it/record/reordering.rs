//! The reorder buffer alone: what comes out, and when it stops waiting.

use std::time::{Duration, Instant};

use bytes::Bytes;
use caside_media::control::TapPacket;
use caside_media::parameters::{PayloadType, Ssrc};
use caside_media::record::reorder::{Ordered, PATIENCE, Reorder, SILENCE, START_PATIENCE, WINDOW};

use super::network::epoch;
use super::recorder::ms;

/// A packet of stream 1 at `at`.
fn packet(sequence: u16, at: Instant) -> TapPacket {
    TapPacket {
        received: at,
        ssrc: Ssrc(1),
        payload_type: PayloadType(96),
        sequence,
        timestamp: 0,
        marker: false,
        payload: Bytes::new(),
    }
}

/// What is ready, as text: numbers, `-n` for gaps, `new` for another stream.
fn ready(reorder: &mut Reorder) -> String {
    let mut out = Vec::new();
    while let Some(ordered) = reorder.poll() {
        out.push(match ordered {
            Ordered::Packet(packet) => packet.sequence.to_string(),
            Ordered::Gap { packets } => format!("-{packets}"),
            Ordered::Restart => "new".to_owned(),
        });
    }
    out.join(" ")
}

/// A buffer that has begun with `first` and has nothing to wait for.
fn begun(first: u16, at: Instant) -> Reorder {
    let mut reorder = Reorder::default();
    reorder.push(packet(first, at));
    reorder.handle_timeout(at + START_PATIENCE);
    assert_eq!(ready(&mut reorder), first.to_string());
    assert_eq!(reorder.poll_timeout(), None);
    reorder
}

#[test]
fn order_is_restored_over_the_wrap() {
    let at = epoch();
    let mut reorder = begun(65_533, at);
    for sequence in [65_535, 65_534, 1, 0, 2, 3] {
        reorder.push(packet(sequence, at));
    }
    assert_eq!(ready(&mut reorder), "65534 65535 0 1 2 3");
    assert_eq!(reorder.duplicates(), 0);
}

#[test]
fn the_first_packets_may_come_in_any_order_too() {
    let at = epoch();
    let mut reorder = Reorder::default();
    for sequence in [12, 10, 13, 11] {
        reorder.push(packet(sequence, at));
    }
    assert_eq!(ready(&mut reorder), "");
    assert_eq!(reorder.poll_timeout(), Some(at + START_PATIENCE));
    reorder.handle_timeout(at + START_PATIENCE);
    assert_eq!(ready(&mut reorder), "10 11 12 13");
}

#[test]
fn a_missing_packet_is_waited_for_and_given_up_in_time() {
    let at = epoch();
    let mut reorder = begun(10, at);
    let later = at + ms(200);
    reorder.push(packet(12, later));
    reorder.push(packet(14, later + ms(300)));
    assert_eq!(ready(&mut reorder), "");
    assert_eq!(reorder.poll_timeout(), Some(later + PATIENCE));
    reorder.handle_timeout(later + PATIENCE - Duration::from_micros(1));
    assert_eq!(ready(&mut reorder), "");
    reorder.handle_timeout(later + PATIENCE);
    assert_eq!(ready(&mut reorder), "-1 12");
    assert_eq!(reorder.poll_timeout(), Some(later + ms(300) + PATIENCE));
    reorder.push(packet(13, later + ms(600)));
    assert_eq!(ready(&mut reorder), "13 14");
    reorder.push(packet(11, later + ms(700)));
    assert_eq!((reorder.lost(), reorder.duplicates()), (1, 1), "11 came too late");
}

#[test]
fn no_packet_waits_longer_than_the_patience_whatever_came_after_it() {
    let at = epoch();
    let mut reorder = begun(0, at);
    // 2 waits for 1 from the beginning; 4 for 3 as long, though it comes to the front only later.
    reorder.push(packet(2, at + ms(100)));
    reorder.push(packet(4, at + ms(110)));
    reorder.handle_timeout(at + ms(100) + PATIENCE);
    assert_eq!(ready(&mut reorder), "-1 2");
    assert_eq!(reorder.poll_timeout(), Some(at + ms(110) + PATIENCE));
}

#[test]
fn the_window_is_bounded() {
    let at = epoch();
    let mut reorder = begun(0, at);
    for sequence in 2..=WINDOW as u16 {
        reorder.push(packet(sequence, at));
    }
    assert_eq!(ready(&mut reorder), "", "all wait for 1");
    reorder.push(packet(WINDOW as u16 + 1, at));
    assert!(ready(&mut reorder).starts_with("-1 2 3"), "there is no room to wait");
    reorder.push(packet(WINDOW as u16 + 2900, at));
    assert_eq!(ready(&mut reorder), format!("-{}", 2898 - WINDOW + 1));
    assert_eq!(reorder.lost() as usize, 1 + 2898 - WINDOW + 1);
}

#[test]
fn duplicates_are_dropped() {
    let at = epoch();
    let mut reorder = begun(0, at);
    for sequence in [0, 2, 2, 1, 1, 2] {
        reorder.push(packet(sequence, at));
    }
    assert_eq!(ready(&mut reorder), "1 2");
    assert_eq!(reorder.duplicates(), 4);
}

#[test]
fn a_stray_is_dropped_and_a_jump_is_followed() {
    let at = epoch();
    let mut reorder = begun(100, at);
    reorder.push(packet(30_000, at));
    reorder.push(packet(101, at));
    assert_eq!(ready(&mut reorder), "101");
    reorder.push(packet(40_000, at));
    reorder.push(packet(40_001, at));
    reorder.handle_timeout(at + START_PATIENCE);
    assert_eq!(ready(&mut reorder), "-0 40000 40001");
}

#[test]
fn another_stream_begins_when_the_current_one_is_silent() {
    let at = epoch();
    let mut reorder = begun(100, at);
    reorder.push(packet(102, at));
    let other = |sequence: u16, at: Instant| TapPacket {
        ssrc: Ssrc(2),
        ..packet(sequence, at)
    };
    reorder.push(other(6, at + SILENCE - ms(1)));
    assert_eq!(ready(&mut reorder), "", "it may be a layer beside the current one");
    let later = at + SILENCE;
    reorder.push(other(7, later));
    reorder.push(packet(101, later));
    reorder.push(other(8, later));
    reorder.handle_timeout(later + START_PATIENCE);
    assert_eq!(ready(&mut reorder), "-1 102 new 7 8");
    assert_eq!(reorder.duplicates(), 2);
}

#[test]
fn a_pause_is_no_loss() {
    let at = epoch();
    let mut reorder = begun(100, at);
    reorder.push(packet(101, at));
    reorder.flush();
    assert_eq!(ready(&mut reorder), "101");
    reorder.push(packet(900, at + ms(60_000)));
    reorder.handle_timeout(at + ms(60_000) + START_PATIENCE);
    assert_eq!(ready(&mut reorder), "900");
    assert_eq!(reorder.lost(), 0);
}
