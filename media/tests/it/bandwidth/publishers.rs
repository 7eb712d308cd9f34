//! A publisher whose path becomes too narrow for what it sends: it is told to send the lowest size only, and no more than arrives,
//! and the picture goes on.

use std::time::Duration;

use caside_media::control::EventKind;
use caside_media::parameters::ProducerId;

use crate::sim::{At, Sim, Watch};
use crate::transport::link::{Bottleneck, Bursts, Conditions, for_seeds};

const SECOND: Duration = Duration::from_secs(1);

struct Call {
    sim: Sim,
    publisher: At,
    camera: ProducerId,
    picture: Watch,
    /// The highest encodings that the publisher was told to send.
    told: Vec<u8>,
}

impl Call {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::new(seed, Conditions::GOOD);
        let (publisher, bob) = (sim.join(), sim.join());
        let camera = sim.publish_camera(publisher);
        let picture = sim.subscribe(bob, camera);
        Self {
            sim,
            publisher,
            camera,
            picture,
            told: Vec::new(),
        }
    }

    fn up(&mut self) -> &mut Conditions {
        &mut self.sim.client(self.publisher).up.conditions
    }

    /// What the publisher was told to send at most, in bits a second.
    fn caps(&mut self) -> Vec<f32> {
        self.sim.client(self.publisher).rembs.clone()
    }

    /// The highest encodings that the publisher was told to send until now.
    fn news(&self) -> Vec<u8> {
        let told = self.sim.events.iter().filter_map(|event| match event.kind {
            EventKind::EncodingsWanted { highest, .. } => Some(highest),
            _ => None,
        });
        told.collect()
    }

    /// Lets the publisher do as it is told, a moment later.
    fn run(&mut self, time: Duration) {
        let end = self.sim.now + time;
        while self.sim.now < end {
            self.sim.run(SECOND / 20);
            let told = self.news();
            if told.len() > self.told.len() {
                let (now, highest) = (self.sim.now, told.last().copied().unwrap_or_default());
                for (place, encoding) in (0..).zip(self.sim.encodings(self.camera)) {
                    let goes = place <= highest;
                    if goes != encoding.next_frame.is_some() {
                        encoding.next_frame = goes.then_some(now);
                    }
                }
                self.told = told;
            }
        }
    }

    /// When whole pictures came since `since`, with the place of their encoding; and the longest time without one.
    fn pictures(&mut self, since: std::time::Instant) -> (Vec<u32>, Duration) {
        let mut parts = std::collections::BTreeMap::<u32, (usize, std::time::Instant)>::new();
        let mut whole = Vec::new();
        for got in self.sim.sink(self.picture).packets.values() {
            let (count, last) = parts.entry(got.piece.frame).or_insert((0, got.at));
            *count += 1;
            *last = (*last).max(got.at);
            if *count == usize::from(got.piece.parts) && *last >= since {
                whole.push((*last, got.piece.frame >> 24));
            }
        }
        whole.sort_unstable();
        let times = std::iter::once(since).chain(whole.iter().map(|(at, _)| *at));
        let times: Vec<_> = times.chain([self.sim.now]).collect();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        (
            whole.into_iter().map(|(_, encoding)| encoding).collect(),
            gap.unwrap_or_default(),
        )
    }
}

#[test]
fn a_publisher_behind_a_narrow_path_sends_the_lowest_size_and_the_picture_goes_on() {
    for_seeds(1..=4, |seed| {
        let mut call = Call::new(seed);
        call.run(3 * SECOND);
        assert_eq!(call.told, [], "all of it is watched");
        let narrowed = call.sim.now;
        call.up().bottleneck = Some(Bottleneck {
            bits_per_second: 400_000,
            queue_bytes: 400_000 * 3 / 80,
        });
        call.run(2 * SECOND);
        assert_eq!(call.told, [0]);
        let caps = call.caps();
        let is_near = |cap: &f32| (0.15e6..0.45e6).contains(cap);
        assert!(!caps.is_empty() && caps.iter().all(is_near), "{caps:?}");
        for upper in &call.sim.encodings(call.camera)[1..] {
            assert!(
                upper.plis.iter().all(|at| *at < narrowed),
                "it is asked for what it is to stop"
            );
        }
        let (pictures, gap) = call.pictures(narrowed);
        assert!(gap < SECOND, "{gap:?}");
        assert_eq!(pictures.last(), Some(&0));
        let widened = call.sim.now;
        call.up().bottleneck = None;
        call.run(4 * SECOND);
        assert_eq!(call.told, [0, 2], "all of it again");
        assert!(call.caps().last().is_some_and(|cap| *cap > 1e8), "it may send anything");
        let (pictures, gap) = call.pictures(widened);
        assert_eq!(pictures.last(), Some(&2));
        let middle = &call.sim.encodings(call.camera)[1];
        assert!(middle.plis.iter().all(|at| *at < narrowed), "nobody waits for it");
        assert!(gap < SECOND, "{gap:?}");
    });
}

/// Browsers send for seconds what was lost of sizes that they stopped.
#[test]
fn a_size_that_is_to_be_stopped_is_left_though_some_of_it_still_comes() {
    for_seeds(1..=4, |seed| {
        let mut call = Call::new(seed);
        call.sim.run(3 * SECOND);
        let narrowed = call.sim.now;
        call.up().bottleneck = Some(Bottleneck {
            bits_per_second: 400_000,
            queue_bytes: 400_000 * 3 / 80,
        });
        while call.news().is_empty() {
            call.sim.run(SECOND / 20);
            assert!(call.sim.now < narrowed + SECOND);
        }
        let told = call.sim.now;
        for upper in call.sim.encodings(call.camera).into_iter().skip(1) {
            (upper.parts, upper.payload_len) = (1, 200);
        }
        call.up().loss = 0.1;
        call.sim.run(SECOND * 3 / 2);
        for upper in &call.sim.encodings(call.camera)[1..] {
            let asked = upper.plis.iter().filter(|at| **at >= narrowed).count();
            assert_eq!(asked, 0, "it is asked for what it is to stop");
        }
        // What waits in the queue comes first, and the key frame that is asked for then.
        let (pictures, _) = call.pictures(told + SECOND);
        assert!(
            pictures.len() > 5 && pictures.iter().all(|encoding| *encoding == 0),
            "{pictures:?}"
        );
    });
}

#[test]
fn a_publisher_behind_a_path_that_loses_at_random_or_in_bursts_sends_all() {
    let lossy = |call: &mut Call| call.up().loss = 0.2;
    let bursty = |call: &mut Call| {
        call.up().bursts = Some(Bursts {
            begin: 0.01,
            end: 0.2,
            loss: 0.9,
        });
    };
    for_seeds(1..=3, |seed| {
        for worsen in [&lossy as &dyn Fn(&mut Call), &bursty] {
            let mut call = Call::new(seed);
            call.run(SECOND);
            worsen(&mut call);
            call.run(8 * SECOND);
            assert_eq!(call.told, []);
            assert!(call.caps().is_empty());
        }
    });
}
