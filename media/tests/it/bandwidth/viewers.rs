//! Viewers (WHEP) get layers by their bandwidth as subscribers do: by what their own offer made of the connection.

use std::collections::BTreeSet;
use std::time::Duration;

use caside_media::parameters::{ConsumerParameters, MediaKind};
use caside_media::sdp::{CodecPolicy, ViewSession};

use crate::sdp::{CHROMIUM_RECVONLY, local};
use crate::sim::feedback::Arrivals;
use crate::sim::parameters::produced;
use crate::sim::{Sim, Watch};
use crate::transport::link::{Bottleneck, Conditions, for_seeds};

const SECOND: Duration = Duration::from_secs(1);

/// What a viewer in Chromium and our answer agree to, for a picture in VP8 with sound.
fn agreed() -> [ConsumerParameters; 2] {
    let mut session = ViewSession::new(local(), CodecPolicy::default(), "ada".to_owned());
    let sent = [MediaKind::Audio, MediaKind::Video].map(|kind| produced(kind, "0", 1).codecs.swap_remove(0));
    session
        .offer(CHROMIUM_RECVONLY, &sent, &mut || unreachable!("nothing restarts"))
        .expect("an offer that can be answered");
    let mids: Vec<String> = session.slots().map(|(mid, _)| mid.to_owned()).collect();
    sent.map(|codec| {
        let mut found = mids.iter().filter_map(|mid| session.parameters(mid, &codec));
        found.next().expect("an m-line for it")
    })
}

/// The encodings whose packets came in the last second.
fn layers(sim: &mut Sim, watch: Watch) -> BTreeSet<u32> {
    let since = sim.now - SECOND;
    let packets = sim.sink(watch).packets.values();
    packets
        .filter(|got| got.at >= since)
        .map(|got| got.piece.frame >> 24)
        .collect()
}

/// Frames that came whole, of which a packet came in the last second.
fn recent_frames(sim: &mut Sim, watch: Watch) -> usize {
    let (whole, since) = (sim.sink(watch).frames(), sim.now - SECOND);
    let packets = sim.sink(watch).packets.values().filter(|got| got.at >= since);
    let recent: BTreeSet<u32> = packets.map(|got| got.piece.frame).collect();
    recent.intersection(&whole).count()
}

#[test]
fn a_viewer_gets_the_layer_that_its_path_carries_and_the_best_again_later() {
    for_seeds(1..=3, |seed| {
        let mut sim = Sim::new(seed, Conditions::GOOD);
        let (alice, viewer) = (sim.join(), sim.join());
        let start = sim.now;
        sim.client(viewer).arrivals = Some(Arrivals::new(start));
        let microphone = sim.publish(alice, MediaKind::Audio);
        // 0.25, 0.5 and 0.75 Mbit/s.
        let camera = sim.publish_simulcast(alice, &["q", "h", "f"]);
        let [sound, picture] = agreed();
        assert!(picture.extensions.transport_cc.is_some() && picture.codec.feedback.transport_cc);
        let (_, sound) = sim.subscribe_with(viewer, microphone, sound);
        let (_, picture) = sim.subscribe_with(viewer, camera, picture);
        sim.run(SECOND * 6);
        assert_eq!(layers(&mut sim, picture), [2].into(), "seed {seed}");
        sim.client(viewer).down.conditions.bottleneck = Some(Bottleneck {
            bits_per_second: 450_000,
            queue_bytes: 30_000,
        });
        sim.run(SECOND * 6);
        // By size or by rate of frames, whichever looks better: what is sent fits, and most of the path is used.
        let before = sim.sink(picture).bytes;
        sim.run(SECOND * 4);
        let rate = (sim.sink(picture).bytes - before) * 8 / 4;
        assert!(
            (200_000..450_000).contains(&rate),
            "{rate} bit/s over 450 kbit/s; seed {seed}"
        );
        assert!(recent_frames(&mut sim, picture) >= 6, "the picture moves; seed {seed}");
        let heard = sim.sink(sound).packets.len();
        sim.client(viewer).down.conditions.bottleneck = None;
        sim.run(SECOND * 12);
        assert_eq!(layers(&mut sim, picture), [2].into(), "seed {seed}");
        assert!(
            sim.sink(sound).packets.len() - heard > 590,
            "sound goes on; seed {seed}"
        );
        assert_eq!(sim.sink(picture).holes(), 0, "in one stream; seed {seed}");
    });
}
