//! What recorders see.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use caside_media::control::{Command, TapItem, TapSink};
use caside_media::parameters::{MediaKind, PayloadType, TapId};

use crate::sim::Sim;
use crate::sim::source::Piece;
use crate::transport::link::Conditions;

#[derive(Debug)]
struct Channel(SyncSender<TapItem>);

impl TapSink for Channel {
    fn push(&mut self, item: TapItem) -> bool {
        self.0.try_send(item).is_ok()
    }
}

fn channel() -> (Box<dyn TapSink>, Receiver<TapItem>) {
    let (sender, receiver) = sync_channel(100_000);
    (Box::new(Channel(sender)), receiver)
}

#[test]
fn a_tap_sees_each_packet_once_with_what_was_restored() {
    let lossy = Conditions {
        loss: 0.05,
        duplicate: 0.05,
        jitter: Duration::from_millis(5),
        ..Conditions::GOOD
    };
    let mut sim = Sim::new(2, lossy);
    let alice = sim.join();
    let video = sim.publish(alice, MediaKind::Video);
    let (sink, items) = channel();
    sim.command(Command::Tap {
        producer: video,
        tap: TapId(1),
        sink,
    });
    sim.run(Duration::from_secs(5));
    sim.command(Command::Untap { tap: TapId(1) });
    sim.run(Duration::from_secs(1));
    let items: Vec<_> = items.try_iter().collect();
    let packets: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            TapItem::Packet(packet) => Some(packet),
            _ => None,
        })
        .collect();
    let mut sequences: Vec<_> = packets.iter().map(|packet| packet.sequence).collect();
    assert!(!sequences.is_sorted(), "in order of arrival, not of sequence");
    let count = sequences.len();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), count, "each packet comes once");
    let complete = sequences.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!(
        complete <= 2,
        "only the last packets may be missing still: {complete} holes"
    );
    assert!(sim.source(video).nacked > 10);
    for packet in packets {
        assert_eq!(
            packet.payload_type,
            PayloadType(96),
            "the codec's, also of what was restored"
        );
        assert_eq!(packet.ssrc, sim.source(video).ssrc);
        let piece = Piece::read(&packet.payload);
        assert_eq!(packet.marker, piece.part + 1 == piece.parts);
        assert_eq!(packet.timestamp, 5000 + piece.frame * 3600);
    }
    assert!(items.iter().any(|item| matches!(item, TapItem::SenderReport { .. })));
    assert!(
        !sim.source(video).plis.is_empty(),
        "recording a picture begins with a key frame"
    );
}

#[test]
fn a_tap_learns_of_pauses_and_sees_nothing_meanwhile() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let audio = sim.publish(alice, MediaKind::Audio);
    let (sink, items) = channel();
    sim.command(Command::Tap {
        producer: audio,
        tap: TapId(1),
        sink,
    });
    sim.run(Duration::from_secs(1));
    sim.command(Command::PauseProducer {
        producer: audio,
        paused: true,
    });
    sim.run(Duration::from_secs(1));
    sim.command(Command::PauseProducer {
        producer: audio,
        paused: false,
    });
    sim.run(Duration::from_secs(1));
    let items: Vec<_> = items
        .try_iter()
        .filter(|item| !matches!(item, TapItem::SenderReport { .. }))
        .collect();
    let paused = items
        .iter()
        .position(|item| matches!(item, TapItem::Paused(true)))
        .unwrap();
    assert!(matches!(items[paused + 1], TapItem::Paused(false)));
    assert!(paused > 40 && items.len() - paused > 40);
}
