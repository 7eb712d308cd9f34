//! What receivers get while the machine has too little time.

use caside_media::control::{Command, EventKind};
use caside_media::layers::Content;
use caside_media::parameters::{MediaKind, ProducerId};
use caside_media::pressure::Pressure;
use caside_media::quality::{Cause, Grade};

use super::layers::{RIDS, SECOND, check_decodable, frames};
use crate::sim::feedback::Arrivals;
use crate::sim::{At, Sim, Watch};

/// Two publishers with sound and a camera each, of whom the first speaks, a screen, and a receiver.
struct Meeting {
    sim: Sim,
    bob: At,
    sound: [Watch; 2],
    speaker: Watch,
    camera: Watch,
    screen: Watch,
    cameras: [ProducerId; 2],
    pressure: Pressure,
}

impl Meeting {
    fn new() -> Self {
        let mut sim = Sim::good();
        let (alice, carol, bob) = (sim.join(), sim.join(), sim.join());
        let start = sim.now;
        sim.client(bob).arrivals = Some(Arrivals::new(start));
        let sounds = [alice, carol].map(|at| sim.publish(at, MediaKind::Audio));
        let cameras = [alice, carol].map(|at| sim.publish_simulcast(at, &RIDS));
        let screen = sim.publish_simulcast(carol, &["only"]);
        let content = Content {
            screen: true,
            encrypted: false,
        };
        sim.command(Command::DescribeProducer {
            producer: screen,
            content,
        });
        sim.source(sounds[0]).level = 20;
        let sound = sounds.map(|sound| sim.subscribe(bob, sound));
        let [speaker, camera] = cameras.map(|camera| sim.subscribe(bob, camera));
        let screen = sim.subscribe(bob, screen);
        sim.run(3 * SECOND);
        assert_eq!(sim.speakers(), [[sounds[0]]]);
        Self {
            sim,
            bob,
            sound,
            speaker,
            camera,
            screen,
            cameras,
            pressure: Pressure::NONE,
        }
    }

    /// Sets the pressure, and gives what comes once that has settled: the encoding and the highest temporal layer of the
    /// camera, the speaker's and the screen.
    fn settled(&mut self, pressure: Pressure) -> [Option<(u32, u8)>; 3] {
        self.pressure = pressure;
        let now = self.sim.now;
        self.sim.engine.set_pressure(now, pressure);
        self.sim.flush();
        self.sim.run(2 * SECOND);
        [self.camera, self.speaker, self.screen].map(|watch| {
            let since = self.sim.now - SECOND / 2;
            let packets = self.sim.sink(watch).packets.values();
            let recent = packets.filter(|got| got.at >= since).map(|got| {
                let descriptor = caside_media::rtp::vp8::Vp8Descriptor::parse(&got.payload).unwrap();
                (got.piece.frame >> 24, descriptor.temporal.unwrap())
            });
            recent.max()
        })
    }
}

#[test]
fn pictures_are_given_up_step_by_step_and_sound_never() {
    let mut meeting = Meeting::new();
    let (full, slow) = ([0, 1, 2].map(|encoding| Some((encoding, 2))), Some((0, 0)));
    assert_eq!(meeting.settled(Pressure::NONE), [full[2], full[2], full[0]]);
    let steps = [
        [full[1], full[2], full[0]],
        [full[0], full[2], full[0]],
        [slow, full[0], full[0]],
        [None, slow, full[0]],
        [None, None, full[0]],
        [None, None, slow],
        [None, None, None],
    ];
    for expected in steps {
        let pressure = meeting.pressure.raised();
        assert_eq!(meeting.settled(pressure), expected, "{pressure:?}");
    }
    assert_eq!(meeting.pressure, Pressure::MOST);
    let plis = |meeting: &mut Meeting| -> usize {
        let [first, second] = meeting.cameras;
        let sources = meeting
            .sim
            .encodings(first)
            .into_iter()
            .map(|it| it.plis.len())
            .sum::<usize>();
        sources
            + meeting
                .sim
                .encodings(second)
                .into_iter()
                .map(|it| it.plis.len())
                .sum::<usize>()
    };
    // A receiver that asks for what is given up does not trouble the publisher.
    let before = plis(&mut meeting);
    let ssrc = meeting.sim.sink(meeting.camera).parameters.ssrc;
    let now = meeting.sim.now;
    let bob = meeting.bob;
    let us = caside_media::parameters::Ssrc(9);
    meeting
        .sim
        .client(bob)
        .send_rtcp(now, |writer| writer.picture_loss(us, ssrc));
    meeting.sim.run(2 * SECOND);
    assert_eq!(plis(&mut meeting), before);
    // And back up.
    for expected in steps.iter().rev().skip(1) {
        let pressure = meeting.pressure.lowered();
        assert_eq!(meeting.settled(pressure), *expected, "{pressure:?}");
    }
    assert_eq!(meeting.settled(Pressure::NONE), [full[2], full[2], full[0]]);
    for watch in meeting.sound {
        let sink = meeting.sim.sink(watch);
        assert_eq!(sink.holes(), 0);
        assert!(sink.packets.len() > 1500, "{}", sink.packets.len());
    }
    for watch in [meeting.camera, meeting.speaker, meeting.screen] {
        let sink = meeting.sim.sink(watch);
        assert_eq!(
            (sink.holes(), sink.filled.len()),
            (0, 0),
            "nothing that is given up leaves a gap"
        );
        check_decodable(&frames(sink));
    }
}

#[test]
fn a_receiver_is_told_the_cause_and_not_probed() {
    let mut meeting = Meeting::new();
    // Words are found for it after some seconds.
    meeting.sim.client(meeting.bob).reported_loss = 0;
    meeting.sim.run(10 * SECOND);
    meeting.settled(Pressure::NONE.raised());
    meeting.sim.run(8 * SECOND);
    let transport = meeting.sim.transport_of(meeting.bob);
    let told = |sim: &Sim| -> Vec<(Grade, Option<Cause>)> {
        let told = sim.events.iter().filter_map(|event| match event.kind {
            EventKind::Quality {
                transport: of,
                grade,
                cause,
            } if of == transport => Some((grade, cause)),
            _ => None,
        });
        told.collect()
    };
    assert_eq!(told(&meeting.sim).last(), Some(&(Grade::Good, Some(Cause::Overload))));
    let totals = meeting.sim.engine.totals();
    assert_eq!(totals.pressed, 1, "the other camera is as good as ever");
    meeting.settled(Pressure::MOST);
    let probes = meeting.sim.engine.totals().probes;
    meeting.sim.run(8 * SECOND);
    assert_eq!(meeting.sim.engine.totals().probes, probes);
    assert_eq!(told(&meeting.sim).last(), Some(&(Grade::Poor, Some(Cause::Overload))));
    meeting.settled(Pressure::NONE);
    meeting.sim.run(20 * SECOND);
    assert_eq!(told(&meeting.sim).last(), Some(&(Grade::Excellent, None)));
    assert_eq!(meeting.sim.engine.totals().pressed, 0);
}

#[test]
fn a_publisher_is_told_to_send_less_and_then_more_again() {
    let mut meeting = Meeting::new();
    let camera = meeting.cameras[1];
    let told = |sim: &Sim| -> Vec<u8> {
        let told = sim.events.iter().filter_map(|event| match event.kind {
            EventKind::EncodingsWanted { producer, highest } if producer == camera => Some(highest),
            _ => None,
        });
        told.collect()
    };
    let before = told(&meeting.sim).len();
    let two = Pressure::NONE.raised().raised();
    meeting.settled(two);
    meeting.sim.run(2 * SECOND);
    meeting.settled(Pressure::NONE);
    assert_eq!(told(&meeting.sim)[before..], [0, 2]);
}

#[test]
fn who_comes_meanwhile_gets_what_there_is_time_for() {
    let mut meeting = Meeting::new();
    meeting.settled(Pressure::NONE.raised().raised().raised().raised());
    let dave = meeting.sim.join();
    let [speaker, camera] = meeting.cameras.map(|camera| meeting.sim.subscribe(dave, camera));
    meeting.sim.run(2 * SECOND);
    assert!(meeting.sim.sink(camera).packets.is_empty());
    let frames = frames(meeting.sim.sink(speaker));
    let last = frames.last().unwrap();
    assert_eq!((last.encoding, last.descriptor.temporal), (0, Some(0)));
    meeting.settled(Pressure::NONE);
    assert!(!meeting.sim.sink(camera).packets.is_empty());
}
