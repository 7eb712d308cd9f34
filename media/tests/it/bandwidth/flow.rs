//! A sender that sends as much as it is told, over a link, to a receiver that tells what arrived.

use std::time::{Duration, Instant};

use caside_media::bandwidth::{Cluster, Estimate, Estimator, OVERHEAD_BYTES, SentPackets};
use caside_media::rtcp::transport_cc::Feedback;

use crate::sim::feedback::Arrivals;
use crate::transport::link::{Conditions, SimLink};
use crate::transport::world;

pub(super) const SLOT: Duration = Duration::from_millis(5);
const FRAME: Duration = Duration::from_micros(33_333);
const SOUND: Duration = Duration::from_millis(20);
const FEEDBACK: Duration = Duration::from_millis(60);
const PACKET: usize = 1200;

pub(super) struct Flow {
    start: Instant,
    pub(super) now: Instant,
    pub(super) down: SimLink,
    pub(super) up: SimLink,
    pub(super) estimator: Estimator,
    sent: SentPackets,
    last_sent_us: i64,
    arrivals: Arrivals,
    /// What the video would take, in bits a second; less is sent while the estimate is less.
    pub(super) wanted: f64,
    /// Video takes one of these rates, the highest that fits; empty: any.
    pub(super) layers: Vec<f64>,
    /// Bytes of video still to be sent.
    backlog: usize,
    /// With the bytes and packets sent of it.
    probe: Option<(Cluster, u32, u32)>,
    probe_began: Option<Instant>,
    next_slot: Instant,
    next_frame: Instant,
    next_sound: Instant,
    next_feedback: Instant,
    pub(super) arrived_bytes: u64,
    /// The estimate at each feedback, in seconds and bits a second.
    pub(super) trace: Vec<(f64, Estimate)>,
}

impl Flow {
    pub(super) fn new(seed: u64, down: Conditions, wanted: f64) -> Self {
        let now = world::start();
        let up = Conditions {
            delay: down.delay,
            ..Conditions::GOOD
        };
        Self {
            start: now,
            now,
            down: SimLink::new(down, seed),
            up: SimLink::new(up, !seed),
            estimator: Estimator::new(SLOT.as_micros() as i64),
            sent: SentPackets::default(),
            last_sent_us: 0,
            arrivals: Arrivals::new(now),
            wanted,
            layers: Vec::new(),
            backlog: 0,
            probe: None,
            probe_began: None,
            next_slot: now,
            next_frame: now,
            next_sound: now,
            next_feedback: now + FEEDBACK,
            arrived_bytes: 0,
            trace: Vec::new(),
        }
    }

    pub(super) fn seconds(&self) -> f64 {
        (self.now - self.start).as_secs_f64()
    }

    pub(super) fn rate(&self) -> f64 {
        self.estimator
            .estimate()
            .map_or(0.0, |estimate| estimate.bits_per_second)
    }

    pub(super) fn run(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        loop {
            let links = [self.down.next_arrival(), self.up.next_arrival()].into_iter().flatten();
            let own = [self.next_slot, self.next_frame, self.next_sound, self.next_feedback];
            let next = links.chain(own).min().expect("there is always a slot to come");
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    /// The estimates of a span of time.
    pub(super) fn between(&self, from: f64, to: f64) -> impl Iterator<Item = &(f64, Estimate)> {
        self.trace.iter().filter(move |(at, _)| (from..to).contains(at))
    }

    fn step(&mut self) {
        while let Some((_, datagram)) = self.down.receive(self.now) {
            self.arrived_bytes += datagram.len() as u64;
            self.arrivals
                .record(self.now, u16::from_be_bytes([datagram[0], datagram[1]]));
        }
        while let Some((_, body)) = self.up.receive(self.now) {
            let feedback = Feedback::parse(&body).expect("what a receiver sends");
            let now_us = self.now_us();
            self.estimator.feedback(now_us, self.sent.resolve(&feedback));
            let estimate = self.estimator.estimate().expect("after feedback");
            self.trace.push((self.seconds(), estimate));
        }
        if self.next_feedback <= self.now {
            self.next_feedback += FEEDBACK;
            for body in self.arrivals.take() {
                self.up.send(self.now, world::path(1), &body);
            }
        }
        if self.next_sound <= self.now {
            self.next_sound += SOUND;
            self.send(120);
        }
        if self.next_frame <= self.now {
            self.next_frame += FRAME;
            self.backlog += (self.video_rate() * FRAME.as_secs_f64() / 8.0) as usize;
        }
        if self.next_slot <= self.now {
            self.next_slot += SLOT;
            self.slot();
        }
    }

    fn video_rate(&self) -> f64 {
        let budget = self.estimator.estimate().map_or(1e6, |estimate| estimate.budget);
        let video = (budget - 60_000.0).clamp(30_000.0, self.wanted);
        if self.layers.is_empty() {
            return video;
        }
        self.layers
            .iter()
            .copied()
            .filter(|layer| *layer <= video)
            .fold(0.0, f64::max)
    }

    fn slot(&mut self) {
        let now_us = self.now_us();
        self.estimator.tick(now_us, self.last_sent_us);
        if self.probe.is_none() {
            self.probe = self.estimator.probe(now_us, self.wanted).map(|cluster| (cluster, 0, 0));
        }
        let pace = 2.5 * self.estimator.estimate().map_or(1e6, |estimate| estimate.budget);
        let mut room = (pace * SLOT.as_secs_f64() / 8.0).max(1.0) as isize;
        while self.backlog > 0 && room > 0 {
            let bytes = self.backlog.min(PACKET);
            self.backlog -= bytes;
            room -= bytes as isize;
            self.send(bytes.max(50));
        }
        let Some((cluster, _, _)) = self.probe else { return };
        let begun = self.probe_began.get_or_insert(self.now);
        let elapsed = (self.now - *begun + SLOT).as_secs_f64();
        let due = (cluster.rate * elapsed / 8.0) as u32;
        while self.probed() < due.min(cluster.bytes) {
            self.send(PACKET);
        }
        if self.probed() >= cluster.bytes {
            let (_, _, packets) = self.probe.take().expect("running");
            self.probe_began = None;
            self.estimator.probe_sent(cluster.id, packets);
        }
    }

    /// Sends so many packets at once.
    pub(super) fn burst(&mut self, packets: u32) {
        let bytes = packets * (PACKET + OVERHEAD_BYTES) as u32;
        let id = self.estimator.begin_burst(self.now_us(), bytes);
        for _ in 0..packets {
            self.send_as(PACKET, Some(id));
        }
        self.estimator.probe_sent(id, packets);
    }

    fn probed(&self) -> u32 {
        self.probe.map_or(u32::MAX, |(_, bytes, _)| bytes)
    }

    fn send(&mut self, bytes: usize) {
        let cluster = self.probe.as_mut().map(|(cluster, sent, packets)| {
            *sent += (bytes + OVERHEAD_BYTES) as u32;
            *packets += 1;
            cluster.id
        });
        self.send_as(bytes, cluster);
    }

    fn send_as(&mut self, bytes: usize, cluster: Option<u8>) {
        let on_wire = bytes + OVERHEAD_BYTES;
        let mut datagram = vec![0; bytes];
        datagram[..2].copy_from_slice(&self.sent.next_number().to_be_bytes());
        self.last_sent_us = self.now_us();
        self.sent.sent(self.last_sent_us, on_wire, cluster);
        self.down.send(self.now, world::path(1), &datagram);
    }

    fn now_us(&self) -> i64 {
        (self.now - self.start).as_micros() as i64
    }
}
