//! Receivers who look at another camera: what one gave up the other has at once.

use std::time::{Duration, Instant};

use caside_media::control::Command;
use caside_media::layers::{Preference, Quality};
use caside_media::parameters::{ConsumerId, MediaKind};

use crate::sim::feedback::Arrivals;
use crate::sim::parameters::consumed;
use crate::sim::{Sim, Watch};
use crate::transport::link::{Conditions, for_seeds};

const SECOND: Duration = Duration::from_secs(1);

/// A path of 25 ms each way.
const NEAR: Conditions = Conditions {
    delay: Duration::from_millis(25),
    ..Conditions::GOOD
};

fn prefer(sim: &mut Sim, consumer: ConsumerId, quality: Quality) {
    let preference = Preference {
        quality,
        ..Preference::default()
    };
    sim.command(Command::PreferLayers { consumer, preference });
}

/// How long it took from `since` until the best encoding came.
fn until_best(sim: &mut Sim, watch: Watch, since: Instant) -> Option<Duration> {
    let packets = sim.sink(watch).packets.values();
    let best = packets.filter(|got| got.at >= since && got.piece.frame >> 24 == 2);
    best.map(|got| got.at - since).min()
}

#[test]
fn another_camera_is_large_with_the_next_key_frame() {
    for_seeds(1..=3, |seed| {
        let mut sim = Sim::new(seed, NEAR);
        let cameras = [0, 1].map(|_| {
            let publisher = sim.join();
            sim.publish_simulcast(publisher, &["q", "h", "f"])
        });
        let bob = sim.join();
        let start = sim.now;
        sim.client(bob).arrivals = Some(Arrivals::new(start));
        let watched = [(cameras[0], "0", 0x10_0000), (cameras[1], "1", 0x20_0000)]
            .map(|(camera, mid, ssrc)| sim.subscribe_with(bob, camera, consumed(MediaKind::Video, mid, ssrc)));
        prefer(&mut sim, watched[1].0, Quality::Low);
        sim.run(4 * SECOND);
        // However long after what was shared out last.
        for turn in 0..6 {
            let (small, large) = (watched[turn % 2], watched[(turn + 1) % 2]);
            sim.run(2 * SECOND + Duration::from_millis(170));
            let asked = sim.now;
            prefer(&mut sim, small.0, Quality::Low);
            prefer(&mut sim, large.0, Quality::High);
            sim.run(2 * SECOND);
            let took = until_best(&mut sim, large.1, asked).expect("the best picture");

            // There and back again for the key frame, and a frame.
            assert!(took <= Duration::from_millis(200), "{took:?}");
        }
    });
}
