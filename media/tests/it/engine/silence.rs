//! Discontinuous transmission: speech, then a packet of comfort noise each 400 ms.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use caside_media::control::{Command, EventKind, TapItem, TapSink};
use caside_media::parameters::{Feedback, MediaKind, ProducerId, TapId};
use caside_media::quality::Grade;
use caside_media::record::segment::{GroupParameters, Segment, TrackGroupWriter};

use crate::sim::parameters::{consumed, produced};
use crate::sim::{At, Sim};

const NACK: Feedback = Feedback {
    nack: true,
    pli: false,
    fir: false,
    transport_cc: true,
    remb: false,
};

/// How long the pauses between two packets of silence are (RFC 7587 §3.1.3 leaves it to the encoder, which takes 400 ms).
const STEP: Duration = Duration::from_millis(400);
const PACKET: Duration = Duration::from_millis(20);

/// A microphone of a client that agreed to be asked for lost sound, and to RED if it is `redundant`.
fn publish(sim: &mut Sim, at: At, redundant: Option<usize>) -> ProducerId {
    let audio = sim.publish(at, MediaKind::Audio);
    let mut parameters = produced(MediaKind::Audio, "0", sim.source(audio).ssrc.0);
    parameters.codecs[0].feedback = NACK;
    parameters.codecs[0].red = redundant.map(|_| crate::sim::source::RED);
    sim.command(Command::UpdateProducer {
        producer: audio,
        parameters,
    });
    sim.source(audio).redundant = redundant;
    audio
}

/// Speech of 2 s, then silence of 8 s, so many times. `between` runs after each step.
fn talk(sim: &mut Sim, audio: ProducerId, times: usize, mut between: impl FnMut(&mut Sim)) {
    for _ in 0..times {
        sim.source(audio).level = 25;
        sim.source(audio).payload_len = 80;
        for _ in 0..100 {
            sim.run(PACKET);
            between(sim);
        }
        sim.source(audio).level = 127;
        sim.source(audio).payload_len = 10;
        for _ in 0..20 {
            sim.run(PACKET);
            sim.source(audio).silent(STEP - PACKET);
            sim.run(STEP - PACKET);
            between(sim);
        }
    }
}

#[test]
fn silence_is_no_loss_to_anybody() {
    for redundant in [None, Some(1)] {
        let mut sim = Sim::good();
        let (alice, bob) = (sim.join(), sim.join());
        let audio = publish(&mut sim, alice, redundant);
        let mut parameters = consumed(MediaKind::Audio, "0", 0x5000);
        parameters.codec.feedback = NACK;
        let (_, watch) = sim.subscribe_with(bob, audio, parameters);
        talk(&mut sim, audio, 4, |_| {});
        assert_eq!(sim.source(audio).nacked, 0, "nothing was asked for again");
        let sent = sim.source(audio).sent.len();
        assert!(sim.sink(watch).frames().len() + 3 >= sent);
        assert_eq!((sim.sink(watch).holes(), sim.sink(watch).repeated), (0, 0));
        let worse = sim.events.iter().filter(|event| match &event.kind {
            // The sink reports a quarter lost whatever comes: of the receiver nothing is asked here.
            EventKind::Quality { transport, grade, .. } => {
                *transport == sim.transport_of(alice) && *grade < Grade::Excellent
            }
            _ => false,
        });
        assert_eq!(worse.count(), 0, "the publisher's connection is as good as before");
        let named = sim.speakers();
        assert_eq!(named.len(), 8, "begins and ends four times: {named:?}");
    }
}

#[derive(Debug)]
struct Channel(SyncSender<TapItem>);

impl TapSink for Channel {
    fn push(&mut self, item: TapItem) -> bool {
        self.0.try_send(item).is_ok()
    }
}

#[test]
fn a_recording_keeps_its_time_over_silence() {
    let mut sim = Sim::good();
    let alice = sim.join();
    let audio = publish(&mut sim, alice, None);
    let (sender, items) = sync_channel(10_000);
    sim.command(Command::Tap {
        producer: audio,
        tap: TapId(1),
        sink: Box::new(Channel(sender)),
    });
    let start = sim.now;
    let mut writer = TrackGroupWriter::new(GroupParameters {
        audio: Some(produced(MediaKind::Audio, "0", 1).codecs),
        video: None,
        recording_start: start,
        first_segment: 0,
        writing_app: "tests".to_owned(),
    });
    let mut segments: Vec<Segment> = Vec::new();
    let mut most_off_ms = 0;
    talk(&mut sim, audio, 6, |sim| {
        for item in items.try_iter() {
            writer.push(sim.now, MediaKind::Audio, item).unwrap();
        }
        writer.handle_timeout(sim.now);
        segments.extend(std::iter::from_fn(|| writer.poll_segment()));
        for segment in &segments {
            most_off_ms = most_off_ms.max(segment.meta.end_ms.saturating_sub((sim.now - start).as_millis() as u64));
        }
    });
    writer.finish(sim.now);
    segments.extend(std::iter::from_fn(|| writer.poll_segment()));
    let stats = writer.stats();
    assert_eq!(
        (stats.lost, stats.malformed, stats.frames_dropped),
        (0, 0, 0),
        "{stats:?}"
    );
    let end_ms = segments.last().unwrap().meta.end_ms;
    let lasted_ms = (sim.now - start).as_millis() as u64;
    let off_ms = (lasted_ms - end_ms.min(lasted_ms)).saturating_sub(STEP.as_millis() as u64);
    assert!(
        off_ms < 100 && most_off_ms < 100,
        "{end_ms} of {lasted_ms} ms, ahead by {most_off_ms}"
    );
}
