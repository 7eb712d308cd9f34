//! Places of packets, and runs that newcomers begin with.

use std::time::Duration;

use super::*;
use crate::producer::test_start;

fn stream() -> Stream {
    Stream::new(
        &Encoding {
            ssrc: Some(Ssrc(1)),
            ..Encoding::default()
        },
        128,
        0,
    )
}

/// Places a packet and keeps it, as the engine does.
fn take(stream: &mut Stream, sequence: u16) -> Place {
    let place = stream.place(test_start(), sequence, true);
    if let Place::Next { extended }
    | Place::AfterGap { extended, .. }
    | Place::Late { extended }
    | Place::Restart { extended } = place
    {
        assert_eq!(extended as u16, sequence);
        stream.keep(info(stream, extended), &[], &[], false);
    }
    place
}

fn info(stream: &Stream, extended: u64) -> PacketInfo {
    PacketInfo {
        epoch: stream.epoch(),
        ..PacketInfo::plain(extended)
    }
}

#[test]
fn follows_a_sequence_over_its_wrap() {
    let mut stream = stream();
    let mut before = None;
    for sequence in (65_530..=65_535).chain(0..5) {
        let Place::Next { extended } = take(&mut stream, sequence) else {
            panic!("out of order")
        };
        assert!(before.is_none_or(|before| extended == before + 1));
        before = Some(extended);
    }
}

#[test]
fn tells_gaps_late_packets_and_duplicates() {
    let mut stream = stream();
    take(&mut stream, 10);
    assert!(matches!(
        take(&mut stream, 13),
        Place::AfterGap {
            gap: Gap::Repairable,
            ..
        }
    ));
    assert!(matches!(take(&mut stream, 12), Place::Late { .. }));
    assert_eq!(take(&mut stream, 12), Place::Duplicate);
    assert_eq!(take(&mut stream, 13), Place::Duplicate);
    assert!(matches!(take(&mut stream, 14), Place::Next { .. }));
    let mut pairs = Vec::new();
    assert!(!stream.nack.take_due(test_start(), stream.oldest(), &mut pairs).0);
    assert_eq!(pairs, [(11, 0)]);
}

#[test]
fn packets_before_the_first_are_taken() {
    let mut stream = stream();
    take(&mut stream, 0);
    assert!(matches!(take(&mut stream, 65_535), Place::Late { .. }));
}

#[test]
fn one_old_packet_is_dropped_and_two_in_sequence_begin_anew() {
    let mut stream = stream();
    take(&mut stream, 1000);
    assert_eq!(take(&mut stream, 500), Place::TooOld);
    assert_eq!(take(&mut stream, 600), Place::TooOld);
    assert!(matches!(take(&mut stream, 1001), Place::Next { .. }));
    assert_eq!(take(&mut stream, 500), Place::TooOld);
    let epoch = stream.epoch();
    assert!(matches!(take(&mut stream, 501), Place::Restart { .. }));
    assert_eq!(stream.epoch(), epoch + 1);
    assert!(matches!(take(&mut stream, 502), Place::Next { .. }));
}

#[test]
fn a_jump_wider_than_the_ring_begins_anew() {
    let mut stream = stream();
    take(&mut stream, 0);
    assert!(matches!(take(&mut stream, 128), Place::AfterGap { .. }));
    let Place::Restart { extended } = take(&mut stream, 300) else {
        panic!("no restart")
    };
    assert!(extended > 300);
}

#[test]
fn a_new_ssrc_begins_anew_whatever_its_sequence() {
    let mut stream = stream();
    take(&mut stream, 1000);
    stream.renew(Ssrc(1));
    assert!(matches!(take(&mut stream, 1001), Place::Next { .. }));
    for (ssrc, sequence) in [(2, 1002), (3, 1001), (4, 0)] {
        let before = stream.highest().unwrap();
        stream.renew(Ssrc(ssrc));
        let Place::Restart { extended } = take(&mut stream, sequence) else {
            panic!("no restart")
        };
        assert!(extended > before + 128);
    }
}

/// Places a packet of video and keeps it, as the engine does.
fn film(stream: &mut Stream, sequence: u16, timestamp: u32, ms: u64, begins: bool) {
    let now = test_start() + Duration::from_millis(ms);
    let place = stream.place(now, sequence, true);
    let (Place::Next { extended }
    | Place::AfterGap { extended, .. }
    | Place::Late { extended }
    | Place::Restart { extended }) = place
    else {
        panic!("{place:?}")
    };
    let info = PacketInfo {
        timestamp,
        arrival: now,
        key_frame: begins,
        ..info(stream, extended)
    };
    stream.keep(info, &[], &[0; 100], begins);
}

/// The first packet of the run that can be begun with, and how many it has.
fn run(stream: &Stream, ms: u64) -> Option<(u16, u64)> {
    let run = stream.kept_run(test_start() + Duration::from_millis(ms))?;
    assert_eq!(run.bytes as u64, 100 * run.packets);
    Some((run.first as u16, run.packets))
}

#[test]
fn the_run_is_what_came_since_the_latest_key_frame_while_it_is_recent() {
    let mut stream = stream();
    film(&mut stream, 9, 0, 0, false);
    assert_eq!(run(&stream, 0), None);
    film(&mut stream, 10, 3000, 0, true);
    film(&mut stream, 11, 3000, 0, false);
    film(&mut stream, 12, 6000, 33, false);
    assert_eq!(run(&stream, 33), Some((10, 3)));
    film(&mut stream, 13, 9000, 66, true);
    assert_eq!(run(&stream, 66), Some((13, 1)));
    assert_eq!(run(&stream, 586), Some((13, 1)));
    assert_eq!(run(&stream, 587), None);
    stream.forget_run();
    film(&mut stream, 14, 9000, 66, false);
    assert_eq!(run(&stream, 66), None);
}

#[test]
fn a_key_frame_that_begins_with_several_packets_begins_with_the_first() {
    for order in [[10, 11, 12], [11, 10, 12], [12, 11, 10]] {
        let mut stream = stream();
        film(&mut stream, 9, 0, 0, false);
        for sequence in order {
            film(&mut stream, sequence, 3000, 10, sequence < 12);
        }
        assert_eq!(run(&stream, 10), Some((10, 3)), "{order:?}");
        film(&mut stream, 13, 6000, 43, false);
        assert_eq!(run(&stream, 43), Some((10, 4)), "{order:?}");
    }
}

#[test]
fn a_run_has_no_holes_but_those_that_are_asked_for() {
    let mut stream = stream();
    film(&mut stream, 9, 0, 0, false);
    film(&mut stream, 10, 3000, 0, true);
    film(&mut stream, 13, 3000, 0, false);
    assert_eq!(run(&stream, 0), Some((10, 2)));
    film(&mut stream, 11, 3000, 5, false);
    assert_eq!(run(&stream, 5), Some((10, 3)));
    stream.nack.clear();
    assert_eq!(run(&stream, 5), None);
    film(&mut stream, 12, 3000, 5, false);
    assert_eq!(run(&stream, 5), Some((10, 4)));
    // Of parameter sets that are missing nobody knows.
    film(&mut stream, 15, 6000, 40, true);
    assert_eq!(run(&stream, 40), None);
    film(&mut stream, 14, 6000, 41, true);
    assert_eq!(run(&stream, 41), Some((14, 2)));
}

#[test]
fn what_does_not_go_on_or_is_not_kept_is_no_run() {
    let mut stream = stream();
    film(&mut stream, 10, 3000, 0, true);
    stream.renew(Ssrc(2));
    assert_eq!(run(&stream, 0), None);
    film(&mut stream, 500, 3000, 0, false);
    assert_eq!(run(&stream, 0), None);
    film(&mut stream, 501, 6000, 0, true);
    (502..629).for_each(|sequence| film(&mut stream, sequence, 6000, 1, false));
    assert_eq!(run(&stream, 1), Some((501, 128)));
    film(&mut stream, 629, 6000, 1, false);
    assert_eq!(run(&stream, 1), None);
}
