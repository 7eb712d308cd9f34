//! From frames to what a tap sees: packets by rtc-rtp's payloaders, sender reports, and a network in between.

use std::time::{Duration, Instant};

use bytes::Bytes;
use caside_media::control::{TapItem, TapPacket};
use caside_media::parameters::{Codec, CodecKind, Feedback, MediaKind, PayloadType, Ssrc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rtc_rtp::codec::{
    av1::Av1Payloader, h264::H264Payloader, opus::OpusPayloader, vp8::Vp8Payloader, vp9::Vp9Payloader,
};
use rtc_rtp::packetizer::Payloader;

use super::material::{Material, Sample};

/// The one place of these tests that asks for the time: recordings only ever see differences to it.
#[expect(clippy::disallowed_methods, reason = "an instant cannot be made otherwise")]
pub(super) fn epoch() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// What comes to the tap of a track, and when.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) track: MediaKind,
    pub(super) item: TapItem,
}

/// How a track is sent.
#[derive(Debug, Clone)]
pub(super) struct Sending {
    pub(super) ssrc: u32,
    pub(super) first_sequence: u16,
    pub(super) first_timestamp: u32,
    /// Wall clock of the sender at `start`, in seconds since 1900.
    pub(super) wall_s: f64,
    /// When the first frame is captured.
    pub(super) start: Instant,
    /// From capture to arrival.
    pub(super) delay: Duration,
    /// Between sender reports; the first comes after as much.
    pub(super) report_every: Option<Duration>,
    /// Ticks per second of the sender's RTP clock by our clock, in parts per million too many.
    pub(super) drift_ppm: i64,
    pub(super) mtu: usize,
}

impl Sending {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            ssrc: 0x1234,
            first_sequence: 65_500,
            first_timestamp: u32::MAX - 20_000,
            wall_s: 3_950_000_000.25,
            start,
            delay: Duration::from_millis(30),
            report_every: Some(Duration::from_secs(1)),
            drift_ppm: 0,
            mtu: 1100,
        }
    }
}

pub(super) fn codec(kind: CodecKind) -> Codec {
    let audio = kind == CodecKind::Opus;
    Codec {
        kind,
        payload_type: payload_type(kind),
        clock_rate: if audio { 48_000 } else { 90_000 },
        channels: if audio { 2 } else { 0 },
        fmtp: String::new(),
        feedback: Feedback::default(),
        rtx: None,
        red: None,
    }
}

fn payload_type(kind: CodecKind) -> PayloadType {
    PayloadType(match kind {
        CodecKind::Opus => 111,
        CodecKind::Vp8 => 96,
        CodecKind::H264 => 102,
        CodecKind::Vp9 => 98,
        CodecKind::Av1 => 45,
    })
}

/// A stateful payloader of the codec.
pub(super) fn payloader(kind: CodecKind) -> Box<dyn Payloader> {
    match kind {
        CodecKind::Opus => Box::new(OpusPayloader),
        CodecKind::Vp8 => {
            let mut payloader = Vp8Payloader::default();
            payloader.enable_picture_id = true;
            Box::new(payloader)
        }
        CodecKind::H264 => Box::new(H264Payloader::default()),
        CodecKind::Vp9 => Box::new(Vp9Payloader::default()),
        CodecKind::Av1 => Box::new(Av1Payloader::default()),
    }
}

/// All that arrives of a track over a perfect network, in order.
pub(super) fn send(material: &Material, sending: &Sending) -> Vec<Arrival> {
    let codec = codec(material.codec);
    let track = codec.kind.media();
    let mut payloader = payloader(codec.kind);
    let (mut arrivals, mut sequence) = (Vec::new(), sending.first_sequence);
    let mut next_report = sending.report_every;
    for Sample { ticks, data } in &material.samples {
        let elapsed = capture_time(*ticks, codec.clock_rate, sending.drift_ppm);
        let at = sending.start + elapsed + sending.delay;
        let payloads = payloader.payload(sending.mtu, &Bytes::from(data.clone())).unwrap();
        let last = payloads.len().saturating_sub(1);
        for (index, payload) in payloads.into_iter().enumerate() {
            let packet = TapPacket {
                received: at,
                ssrc: Ssrc(sending.ssrc),
                payload_type: codec.payload_type,
                sequence,
                timestamp: sending.first_timestamp.wrapping_add(*ticks),
                marker: track == MediaKind::Video && index == last,
                payload,
            };
            arrivals.push(Arrival {
                at,
                track,
                item: TapItem::Packet(packet),
            });
            sequence = sequence.wrapping_add(1);
        }
        if next_report.is_some_and(|due| due <= elapsed) {
            next_report = next_report.zip(sending.report_every).map(|(due, every)| due + every);
            let ntp = ((sending.wall_s + elapsed.as_secs_f64()) * 4_294_967_296.0) as u64;
            let rtp = sending.first_timestamp.wrapping_add(*ticks);
            arrivals.push(Arrival {
                at,
                track,
                item: TapItem::SenderReport { ntp, rtp, received: at },
            });
        }
    }
    arrivals
}

fn capture_time(ticks: u32, rate: u32, drift_ppm: i64) -> Duration {
    Duration::from_secs_f64(f64::from(ticks) / f64::from(rate) / (1.0 + drift_ppm as f64 / 1e6))
}

/// Packets that are never late.
const SPARED: usize = 40;

/// What a network does to packets; sender reports pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trouble {
    /// Of a thousand packets, those that never arrive.
    pub(super) lost_permille: u32,
    /// Of a thousand packets, those that arrive twice.
    pub(super) doubled_permille: u32,
    /// Each packet takes up to this much longer, so that they change places.
    pub(super) jitter_ms: u64,
    /// Of a thousand packets, those that come only as a retransmission, 100 ms later; none of the first ones, since what comes
    /// that late at the very beginning belongs before it.
    pub(super) late_permille: u32,
}

impl Trouble {
    pub(super) fn apply(self, arrivals: Vec<Arrival>, seed: u64) -> Vec<Arrival> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut out = Vec::with_capacity(arrivals.len());
        for (index, arrival) in arrivals.into_iter().enumerate() {
            let mut chance = |permille: u32| random.random_ratio(permille, 1000);
            if !matches!(arrival.item, TapItem::Packet(_)) {
                out.push(arrival);
            } else if !chance(self.lost_permille) {
                if chance(self.doubled_permille) {
                    out.push(arrival.clone());
                }
                let late = if chance(self.late_permille) && index > SPARED {
                    100
                } else {
                    0
                };
                let by = Duration::from_millis(late + random.random_range(0..=self.jitter_ms));
                out.push(delayed(arrival, by));
            }
        }
        out.sort_by_key(|arrival| arrival.at);
        out
    }
}

fn delayed(arrival: Arrival, by: Duration) -> Arrival {
    let at = arrival.at + by;
    received_at(arrival, at)
}

/// The same item at another time.
pub(super) fn received_at(mut arrival: Arrival, at: Instant) -> Arrival {
    arrival.at = at;
    match &mut arrival.item {
        TapItem::Packet(packet) => packet.received = at,
        TapItem::SenderReport { received, .. } => *received = at,
        TapItem::Paused(_) => {}
    }
    arrival
}

/// Arrivals of several tracks, in order of time.
pub(super) fn merged(tracks: impl IntoIterator<Item = Vec<Arrival>>) -> Vec<Arrival> {
    let mut all: Vec<Arrival> = tracks.into_iter().flatten().collect();
    all.sort_by_key(|arrival| arrival.at);
    all
}
