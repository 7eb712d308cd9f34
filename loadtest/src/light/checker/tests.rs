use super::*;
use crate::marker::MARKER;

/// A packet of a frame of two.
#[derive(Debug, Clone, Copy)]
struct Sent {
    sequence: u16,
    frame: u32,
    packet: u16,
    key_frame: bool,
    encoding: Option<u8>,
    timestamp: u32,
    picture: u16,
}

fn sent(sequence: u16, frame: u32, packet: u16, key_frame: bool) -> Sent {
    Sent {
        sequence,
        frame,
        packet,
        key_frame,
        encoding: None,
        timestamp: frame * 3000,
        picture: 0,
    }
}

/// A frame of one of several sizes, with the numbers that it is to have.
fn sized(sequence: u16, frame: u32, encoding: u8, key_frame: bool, picture: u16) -> [Sent; 2] {
    [0, 1].map(|packet| Sent {
        encoding: Some(encoding),
        picture,
        ..sent(sequence + packet, frame, packet, key_frame)
    })
}

fn payload(sent: &Sent) -> Vec<u8> {
    let mut payload = vec![0; 14 + MARKER];
    let marker = Marker {
        stream: 1,
        frame: sent.frame,
        packet: sent.packet,
        packets: 2,
        key_frame: sent.key_frame,
        encoding: sent.encoding,
        ticks: 3000,
        sent_ns: 1000,
    };
    let [p0, p1] = sent.picture.to_be_bytes();
    payload[..4].copy_from_slice(&[0x80, 0x80, 0x80 | p0, p1]);
    assert!(marker.write(&mut payload[14..]));
    payload
}

fn feed(packets: &[(Sent, Vec<u8>)]) -> (Checker, Totals, Vec<bool>) {
    let (mut checker, mut totals) = (Checker::default(), Totals::default());
    let whole = packets
        .iter()
        .map(|(sent, payload)| {
            let packet = Received {
                ssrc: 9,
                sequence: sent.sequence,
                timestamp: sent.timestamp,
                len: 100,
                payload,
                at_ns: 3000,
            };
            checker.take(&packet, &mut totals)
        })
        .collect();
    checker.end_window(&mut totals);
    (checker, totals, whole)
}

fn take(packets: &[Sent]) -> (Checker, Totals, Vec<bool>) {
    let packets: Vec<_> = packets.iter().map(|sent| (*sent, payload(sent))).collect();
    feed(&packets)
}

/// What is found in frames of several sizes.
fn course(frames: &[[Sent; 2]]) -> Totals {
    take(frames.as_flattened()).1
}

#[test]
fn a_whole_stream_has_no_loss_and_decodes_with_its_key_frame() {
    let (checker, totals, whole) = take(&[sent(65_535, 0, 0, true), sent(0, 0, 1, true), sent(1, 1, 0, false)]);
    assert_eq!((totals.expected, totals.received, totals.bytes), (3, 3, 300));
    assert_eq!((totals.faults, totals.reordered), (Faults::default(), 0));
    assert_eq!(whole, [false, true, false]);
    assert_eq!(checker.pictures(), None);
}

#[test]
fn what_is_missing_late_or_wrong_is_counted() {
    let packets = [
        sent(10, 5, 0, false),
        sent(14, 7, 0, false),
        sent(13, 6, 1, false),
        sent(15, 4, 0, false),
    ];
    let mut packets: Vec<_> = packets.iter().map(|sent| (*sent, payload(sent))).collect();
    packets.push((sent(16, 0, 0, false), vec![0; 50]));
    let (_, totals, whole) = feed(&packets);
    assert_eq!((totals.expected, totals.received), (6, 4));
    let faults = Faults {
        began_blind: 1,
        backwards: 1,
        ..Faults::default()
    };
    assert_eq!((totals.faults, totals.reordered), (faults, 1));
    assert_eq!(totals.unmarked, 1);
    assert!(whole.iter().all(|whole| !whole));
    assert!((totals.loss() - 2.0 / 6.0).abs() < 1e-9);
}

#[test]
fn a_packet_that_comes_again_under_another_number_goes_back() {
    let (_, totals, _) = take(&[sent(1, 0, 0, true), sent(2, 0, 1, true), sent(3, 0, 1, true)]);
    assert_eq!(totals.faults.backwards, 1);
}

#[test]
fn a_change_of_size_at_a_key_frame_leaves_no_seam() {
    let mut frames = [
        sized(1, 0, 0, true, 32_766),
        sized(3, 1, 0, false, 32_767),
        // The same picture again, larger, and then smaller again.
        sized(5, 1, 2, true, 0),
        sized(7, 2, 2, false, 1),
        sized(9, 4, 1, true, 2),
    ];
    let late = frames[2..4].as_flattened_mut();
    late.iter_mut().for_each(|sent| sent.timestamp += 1);
    let (mut checker, totals, _) = take(frames.as_flattened());
    assert_eq!((totals.faults, totals.switches, totals.skew), (Faults::default(), 2, 1));
    assert_eq!((totals.expected, totals.received), (10, 10));
    for (asked, others) in [(vec![(9, 1)], 0), (vec![(9, 2)], 1), (vec![(9, 1), (10, 0)], 1)] {
        checker.expect(asked);
        let pictures = checker.pictures().unwrap();
        assert_eq!((pictures.had, pictures.others), ([0, 1, 0], others));
    }
}

#[test]
fn a_change_of_size_without_a_key_frame_is_a_fault() {
    let totals = course(&[sized(1, 0, 0, true, 1), sized(3, 1, 1, false, 2)]);
    let expected = Faults {
        switched_blind: 1,
        ..Faults::default()
    };
    assert_eq!((totals.faults, totals.switches), (expected, 1));
    // The key frame may be what is missing.
    let totals = course(&[sized(1, 0, 0, true, 1), sized(5, 2, 1, false, 3)]);
    assert_eq!((totals.faults, totals.switches), (Faults::default(), 1));
    assert_eq!(totals.expected - totals.received, 2);
}

#[test]
fn two_sizes_in_one_frame_are_a_fault() {
    let small = sized(1, 1, 0, true, 1);
    let large = sized(2, 1, 1, true, 1);
    let late = |sent: Sent, sequence| Sent { sequence, ..sent };
    // One within the other: a key frame begins in the middle, and what it interrupted goes on.
    let (_, totals, _) = take(&[small[0], large[0], late(small[1], 3), late(large[1], 4)]);
    assert_eq!((totals.faults.mixed, totals.switches), (3, 3));
    // One after the other, under the same timestamp.
    let totals = course(&[small, sized(3, 1, 1, true, 2)]);
    assert_eq!((totals.faults.mixed, totals.faults.misnumbered), (1, 1));
}

#[test]
fn numbers_and_times_of_pictures_go_on_across_sizes() {
    let first = sized(1, 0, 0, true, 7);
    let gap = course(&[first, sized(3, 1, 1, true, 9)]);
    assert_eq!(gap.faults.misnumbered, 1);
    let mut back = sized(3, 1, 1, true, 8);
    back.iter_mut()
        .for_each(|sent| sent.timestamp = first[0].timestamp.wrapping_sub(1));
    assert_eq!(course(&[first, back]).faults.misnumbered, 1);
    let mut torn = sized(3, 1, 0, false, 8);
    torn[1].timestamp += 1;
    assert_eq!(course(&[first, torn]).faults.misnumbered, 1);
}
