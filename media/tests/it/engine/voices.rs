//! Rooms in which only the loudest are heard.

use std::time::{Duration, Instant};

use caside_media::control::Command;
use caside_media::parameters::{MediaKind, ProducerId};

use crate::sim::{ROUTER, Sim, Watch};

const QUIET: u8 = 80;
const SPEECH: u8 = 30;

struct Room {
    sim: Sim,
    voices: Vec<ProducerId>,
    /// One receiver's tracks, in the same order.
    heard: Vec<Watch>,
}

/// Microphones in a quiet room, all of which one receiver is subscribed to.
fn room(microphones: usize, loudest: Option<usize>) -> Room {
    let mut sim = Sim::good();
    sim.command(Command::LimitVoices {
        router: ROUTER,
        loudest,
    });
    let receiver = sim.join();
    let voices: Vec<_> = (0..microphones)
        .map(|_| {
            let at = sim.join();
            let voice = sim.publish(at, MediaKind::Audio);
            sim.source(voice).level = QUIET;
            voice
        })
        .collect();
    let heard = voices.iter().map(|voice| sim.subscribe(receiver, *voice)).collect();
    let mut room = Room { sim, voices, heard };
    room.sim.run(Duration::from_secs(1));
    room
}

impl Room {
    fn speak(&mut self, speaking: &[usize]) {
        for (n, voice) in self.voices.iter().enumerate() {
            self.sim.source(*voice).level = if speaking.contains(&n) { SPEECH } else { QUIET };
        }
    }

    /// Lets time pass, and tells whose packets came meanwhile.
    fn heard(&mut self, time: Duration) -> Vec<usize> {
        let before: Vec<usize> = self
            .heard
            .iter()
            .map(|watch| self.sim.sink(*watch).packets.len())
            .collect();
        self.sim.run(time);
        let came = self.heard.iter().zip(before).enumerate();
        came.filter(|(_, (watch, before))| self.sim.clients[watch.0].sinks[watch.1].packets.len() > *before)
            .map(|(n, _)| n)
            .collect()
    }

    /// When the first packet came after a moment.
    fn first_after(&mut self, voice: usize, at: Instant) -> Duration {
        let packets = &self.sim.sink(self.heard[voice]).packets;
        let first = packets.values().map(|got| got.at).find(|came| *came > at);
        first.expect("heard") - at
    }
}

#[test]
fn as_many_are_heard_as_the_room_says_and_who_begins_is_heard_at_once() {
    let mut room = room(6, Some(2));
    let settled = room.heard(Duration::from_secs(1));
    assert_eq!(settled.len(), 2, "{settled:?}");
    for speaker in [5, 3, 0, 4] {
        // Between two packets, so that the next is the first that is loud.
        room.sim.run(Duration::from_millis(510));
        room.speak(&[speaker]);
        let began = room.sim.now;
        room.sim.run(Duration::from_millis(500));
        let delay = room.first_after(speaker, began);
        assert!(
            delay <= Duration::from_millis(20 + 25),
            "a packet and the way: {delay:?}"
        );
        let heard = room.heard(Duration::from_secs(1));
        assert!(heard.len() == 2 && heard.contains(&speaker), "{speaker}: {heard:?}");
    }
}

#[test]
fn two_who_talk_with_each_other_keep_their_places_over_pauses() {
    let mut room = room(5, Some(2));
    room.speak(&[1]);
    room.sim.run(Duration::from_secs(2));
    for turn in 0..6 {
        room.speak(&[if turn % 2 == 0 { 4 } else { 1 }]);
        room.sim.run(Duration::from_millis(800));
        room.speak(&[]);
        let heard = room.heard(Duration::from_millis(400));
        assert_eq!(heard, [1, 4], "turn {turn}");
    }
    assert_eq!(
        room.sim.sink(room.heard[1]).holes() + room.sim.sink(room.heard[4]).holes(),
        0
    );
}

#[test]
fn where_all_places_are_in_use_only_who_is_louder_takes_one() {
    let mut room = room(4, Some(2));
    room.speak(&[0, 1]);
    room.sim.run(Duration::from_secs(2));
    room.speak(&[0, 1, 2]);
    room.sim.run(Duration::from_secs(1));
    assert_eq!(room.heard(Duration::from_secs(1)), [0, 1], "as loud is not louder");
    let (loud, quieter) = (room.voices[2], room.voices[1]);
    room.sim.source(loud).level = SPEECH - 15;
    room.sim.source(quieter).level = SPEECH + 3;
    room.sim.run(Duration::from_millis(1500));
    assert_eq!(room.heard(Duration::from_secs(1)), [0, 2]);
}

#[test]
fn who_is_not_heard_leaves_no_holes_and_goes_on_where_they_stopped() {
    let mut room = room(3, Some(1));
    for speaker in [0, 1, 2, 1, 0, 2] {
        room.speak(&[speaker]);
        room.sim.run(Duration::from_millis(1200));
    }
    for watch in room.heard.clone() {
        let sink = room.sim.sink(watch);
        assert_eq!((sink.holes(), sink.repeated), (0, 0));
        let packets: Vec<_> = sink.packets.values().collect();
        for pair in packets.windows(2) {
            let frames = pair[1].piece.frame - pair[0].piece.frame;
            assert_eq!(
                pair[1].timestamp.wrapping_sub(pair[0].timestamp),
                frames * 960,
                "the clock runs on"
            );
        }
    }
}

#[test]
fn the_limit_may_come_change_and_go_while_people_talk() {
    let mut room = room(4, None);
    assert_eq!(room.heard(Duration::from_secs(1)).len(), 4);
    room.speak(&[2]);
    room.sim.run(Duration::from_secs(1));
    for (loudest, expected) in [(Some(1), 1), (Some(3), 3), (Some(1), 1), (None, 4)] {
        room.sim.command(Command::LimitVoices {
            router: ROUTER,
            loudest,
        });
        room.sim.run(Duration::from_millis(100));
        let heard = room.heard(Duration::from_secs(1));
        assert!(heard.contains(&2), "{heard:?}");
        // Places that became free are taken by the first who are loud.
        assert!(heard.len() <= expected, "{heard:?}");
    }
    assert_eq!(room.heard(Duration::from_secs(1)).len(), 4);
}

#[test]
fn somebody_who_left_or_is_muted_holds_no_place() {
    let mut room = room(3, Some(1));
    room.speak(&[0]);
    room.sim.run(Duration::from_secs(1));
    room.sim.command(Command::CloseProducer {
        producer: room.voices[0],
    });
    room.sim.source(room.voices[1]).level = SPEECH;
    room.sim.run(Duration::from_millis(200));
    assert_eq!(room.heard(Duration::from_millis(500)), [1]);
    room.sim.command(Command::PauseProducer {
        producer: room.voices[1],
        paused: true,
    });
    room.sim.run(Duration::from_millis(400));
    room.sim.source(room.voices[2]).level = SPEECH;
    room.sim.run(Duration::from_millis(200));
    assert_eq!(room.heard(Duration::from_millis(500)), [2]);
}

#[test]
fn taps_and_speakers_know_of_all() {
    let mut room = room(4, Some(1));
    room.speak(&[0]);
    room.sim.run(Duration::from_secs(2));
    room.speak(&[0, 3]);
    room.sim.run(Duration::from_secs(2));
    let named = room.sim.speakers();
    assert_eq!(named.last(), Some(&vec![room.voices[0], room.voices[3]]), "{named:?}");
}
